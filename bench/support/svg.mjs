// Charts without a library: bars for contenders, lines for scaling.

import { number } from "./suite.mjs";

/** @typedef {import("./suite.mjs").Result} Result */

const COLORS = { ours: "#1b6ac9", peer: "#b9bec6", detail: "#8fb8e8" };
const LINES = ["#1b6ac9", "#8a8f98", "#c9651b", "#4f9a4f"];
const TEXT = "#24292f";
const FAINT = "#d0d7de";
const WIDTH = 760;
const LABELS = 190;
const BAR = 16;
const GAP = 4;
const TITLE = 26;
const PLOT = 200;

/** @param {string} raw */
function escape(raw) {
  return raw.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** @param {number} x @param {number} y @param {string} content @param {string} [more] attributes */
function text(x, y, content, more = "") {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escape(content)}</text>`;
}

/** @param {number} height @param {readonly string[]} parts */
function svg(height, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}"`,
    ` font-family="system-ui, sans-serif" font-size="12" fill="${TEXT}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

/** A group of bars for each workload; shorter is better. @param {readonly Result[]} results */
export function barChart(results) {
  const parts = [];
  let y = 0;
  for (const { workload, unit, figures, busy } of results) {
    // As in the tables: disturbed.
    const mark = busy ? " *" : "";
    const most = Math.max(...figures.map(({ median }) => median).filter(Number.isFinite));
    parts.push(
      text(
        8,
        (y += TITLE) - 8,
        `${workload}${mark} (${unit}, less is better)`,
        'font-weight="600"',
      ),
    );
    for (const { name, role, median } of figures) {
      if (!Number.isFinite(median)) continue;
      const width = Math.max(1, (median / most) * (WIDTH - LABELS - 70));
      const color = COLORS[/** @type {keyof typeof COLORS} */ (role)];
      parts.push(text(LABELS - 8, y + 12, name, 'text-anchor="end"'));
      parts.push(
        `<rect x="${LABELS}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${color}"/>`,
      );
      parts.push(text(LABELS + width + 6, y + 12, number(median)));
      y += BAR + GAP;
    }
  }
  return svg(y + 8, parts);
}

/**
 * One panel: figures of all contenders over the number of entries, both axes logarithmic.
 * @param {string} title @param {readonly Result[]} results @param {number} top
 */
function panel(title, results, top) {
  const sizes = results.map(({ at }) => Math.log10(at?.entries ?? 1));
  const all = results.flatMap(({ figures }) => figures.map(({ median }) => Math.log10(median)));
  const [left, right] = [Math.min(...sizes), Math.max(...sizes)];
  const [low, high] = [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all))];
  const bottom = top + PLOT;
  /** @param {number} log */
  const x = (log) => 60 + ((log - left) / (right - left || 1)) * (WIDTH - 220);
  /** @param {number} log */
  const y = (log) => bottom - ((log - low) / (high - low || 1)) * (PLOT - 20);
  const mark = results.some(({ busy }) => busy) ? " *" : "";
  const parts = [
    text(8, top - 4, `${title}${mark} (${results[0].unit}, less is better)`, 'font-weight="600"'),
  ];
  for (let power = low; power <= high; power++) {
    parts.push(`<path d="M60 ${y(power).toFixed(1)}H${WIDTH - 150}" stroke="${FAINT}"/>`);
    parts.push(text(54, y(power) + 4, number(10 ** power), 'text-anchor="end"'));
  }
  for (const { at } of results) {
    const entries = at?.entries ?? 1;
    const name = entries >= 1e6 ? `${entries / 1e6}M` : `${entries / 1e3}k`;
    parts.push(text(x(Math.log10(entries)), bottom + 16, name, 'text-anchor="middle"'));
  }
  const names = [...new Set(results.flatMap(({ figures }) => figures.map(({ name }) => name)))];
  names.forEach((name, i) => {
    const points = results.flatMap(({ at, figures }) => {
      const figure = figures.find((one) => one.name === name);
      if (figure === undefined) return [];
      return [
        `${x(Math.log10(at?.entries ?? 1)).toFixed(1)},${y(Math.log10(figure.median)).toFixed(1)}`,
      ];
    });
    const color = LINES[i % LINES.length];
    parts.push(
      `<polyline points="${points.join(" ")}" fill="none" stroke="${color}" stroke-width="2"/>`,
    );
    parts.push(text(WIDTH - 140, top + 20 + i * 18, name, `fill="${color}"`));
  });
  return parts;
}

/** Scaling: a panel for each operation. @param {readonly Result[]} results */
export function lineChart(results) {
  const panels = [...new Set(results.map(({ at }) => at?.panel ?? ""))];
  const parts = panels.flatMap((title, i) => {
    const own = results.filter(({ at }) => at?.panel === title);
    return panel(title, own, TITLE + i * (PLOT + 50));
  });
  return svg(panels.length * (PLOT + 50) + 10, parts);
}

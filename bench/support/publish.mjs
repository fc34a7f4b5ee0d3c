// Writes a report to bench/results and between the markers of the READMEs.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryFile } from "./ours.mjs";
import { fullMarkdown, shortMarkdown } from "./report.mjs";
import { barChart, lineChart } from "./svg.mjs";

/** @typedef {import("./report.mjs").Report} Report */

const RESULTS = "bench/results";

/** Charts that README.md shows. */
const SHOWN = ["get", "lru", "scaling"];

/**
 * Replaces what stands between `<!-- NAME:start -->` and `<!-- NAME:end -->`.
 * @param {string} path @param {string} name @param {string} content
 */
export function replaceSection(path, name, content) {
  const file = repositoryFile(path);
  const [start, end] = [`<!-- ${name}:start -->`, `<!-- ${name}:end -->`];
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const [from, to] = [text.indexOf(start), text.indexOf(end)];
  if (from < 0 || to < from) {
    console.log(`${path} has no markers ${start} and ${end}: left as it is`);
    return;
  }
  writeFileSync(file, `${text.slice(0, from + start.length)}\n\n${content}\n\n${text.slice(to)}`);
  const formatter = repositoryFile("node_modules/.bin/oxfmt");
  execFileSync(formatter, [path], { cwd: repositoryFile(".") });
}

/** @param {string} name @param {string} content @returns {string} its path in the repository */
export function writeResult(name, content) {
  mkdirSync(repositoryFile(RESULTS), { recursive: true });
  writeFileSync(repositoryFile(join(RESULTS, name)), content);
  return `${RESULTS}/${name}`;
}

/** @param {unknown} report */
export function toJson(report) {
  return `${JSON.stringify(report, (_, value) => (typeof value === "number" ? Number(value.toPrecision(5)) : value), 2)}\n`;
}

/** One chart for each family. @param {Report["results"]} results @param {string} [prefix] */
export function writeCharts(results, prefix = "") {
  const families = [...new Set(results.map(({ family }) => family))];
  for (const family of families) {
    const own = results.filter((result) => result.family === family);
    const isScaling = own.some(({ at }) => at !== undefined);
    writeResult(`${prefix}${family}.svg`, isScaling ? lineChart(own) : barChart(own));
  }
}

/** @param {Report} report */
export function publish(report) {
  writeResult("bench.json", toJson(report));
  writeCharts(report.results);
  const families = new Set(report.results.map(({ family }) => family));
  const charts = SHOWN.filter((family) => families.has(family)).map(
    (family) => `${RESULTS}/${family}.svg`,
  );
  replaceSection("bench/README.md", "bench", fullMarkdown(report));
  replaceSection("README.md", "bench", shortMarkdown(report, charts));
}

// The results as tables: plain text for the terminal, Markdown for the READMEs.

import { number } from "./suite.mjs";

/** @typedef {import("./suite.mjs").Result} Result */
/** @typedef {import("./suite.mjs").Row} Row */

/**
 * A whole run, as it is written to JSON.
 * @typedef {object} Report
 * @property {string} mode
 * @property {import("./machine.mjs").Machine} machine
 * @property {{ start: number, end: number }} load
 * @property {Result[]} results
 * @property {string[]} skipped
 */

const HEAD = [
  "goal",
  "workload",
  "ours",
  "peer",
  "ratio",
  "p25..p75",
  "to the best peer",
  "must",
  "aim",
  "verdict",
];
/** Of README.md. */
const SHORT_HEAD = [
  "workload",
  "bpfmaps",
  "peer",
  "ratio (lower is faster)",
  "to the best peer",
  "verdict",
  "remarks",
];
const RANK = { aim: 2, must: 1, BELOW: 0 };
/** Of rows that were measured while others were at work. */
export const BUSY_MARK = "*";

/** @param {number | null} value */
function limit(value) {
  return value === null ? "" : `<= ${value}`;
}

/** Where there are several peers. @param {Row} row */
function toBest({ best }) {
  return best ? `${best.ratio.toFixed(3)} (${best.name})` : "";
}

/** @param {Result} result @param {Row} row */
function verdictOf({ busy }, { verdict }) {
  return verdict + (busy ? BUSY_MARK : "");
}

/** @param {Result} result @param {Row} row @returns {string[]} */
function cells(result, row) {
  const { ratio } = row;
  return [
    result.goal,
    row.workload,
    `${number(row.ours)} ${result.unit}`,
    row.peer === null ? "" : `${number(row.peer)} ${result.unit} (${row.peerName})`,
    ratio === null ? "" : ratio.median.toFixed(3),
    ratio === null ? "" : `${ratio.p25.toFixed(3)}..${ratio.p75.toFixed(3)}`,
    toBest(row),
    limit(row.must),
    limit(row.aim),
    verdictOf(result, row),
  ];
}

/** Lines of a table. The curves have charts instead. @param {Report} report @param {typeof cells} [line] @returns {string[][]} */
function ratioRows({ results }, line = cells) {
  return withoutCurves(results).flatMap((result) => result.rows.map((row) => line(result, row)));
}

/** @param {readonly Result[]} results */
const withoutCurves = (results) => results.filter(({ at }) => at === undefined);

/** For README.md. @param {Result} result @param {Row} row @returns {string[]} */
function shortCells(result, row) {
  const [, workload, ours, peer, ratio] = cells(result, row);
  return [workload, ours, peer, ratio, toBest(row), verdictOf(result, row), result.remark ?? ""];
}

/** The worst verdict of each goal. @param {Report} report */
function verdicts({ results }) {
  /** @type {Map<string, keyof typeof RANK>} */
  const worst = new Map();
  for (const { goal, rows } of results) {
    for (const { verdict, aim } of rows) {
      // Where there is no aim, must is all there is to reach.
      if (!(verdict in RANK) || (verdict === "must" && aim === null)) continue;
      const now = /** @type {keyof typeof RANK} */ (verdict);
      const before = worst.get(goal) ?? "aim";
      worst.set(goal, RANK[now] < RANK[before] ? now : before);
    }
  }
  return worst;
}

/** @param {Report} report */
export function summary(report) {
  const goals = verdicts(report);
  const worst = [...goals];
  const count = (/** @type {string} */ wanted) =>
    worst.filter(([, verdict]) => verdict === wanted).length;
  const below = worst.filter(([, verdict]) => verdict === "BELOW").map(([goal]) => goal);
  const missed = below.length === 0 ? "none below must" : `below must: ${below.join(", ")}`;
  const disturbedResults = report.results.filter(({ goal, busy }) => busy && goals.has(goal));
  const marked = [...new Set(disturbedResults.map(({ goal }) => goal))];
  const disturbed =
    marked.length === 0 ? "" : `; rows marked ${BUSY_MARK} in: ${marked.join(", ")}`;
  return `${goals.size} goals judged: ${count("aim")} reach aim in every row, ${count("must")} must; ${missed}${disturbed}`;
}

/** @param {Report} report */
export function busyWarning({ load, machine, results }) {
  const marked = `rows marked ${BUSY_MARK} mean little`;
  if (Math.max(load.start, load.end) > machine.cpus) {
    const loads = `${load.start.toFixed(2)} at the start, ${load.end.toFixed(2)} at the end`;
    return `WARNING: load average ${loads}, ${machine.cpus} CPUs: ${marked}`;
  }
  return results.some(({ busy }) => busy)
    ? `WARNING: most rounds of some workloads were disturbed by others on the same core: ${marked}`
    : undefined;
}

/** @param {Report} report */
export function textTable(report) {
  const rows = [HEAD, ...ratioRows(report)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** @param {readonly string[]} head @param {readonly (readonly string[])[]} rows */
export function markdown(head, rows) {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** @param {Report} report */
export function conditions({ machine, load, mode }) {
  const loads = `load average ${load.start.toFixed(2)} to ${load.end.toFixed(2)}`;
  const { date, cpu, cpus, system, node, v8, commit, jit } = machine;
  const settings = jit
    ? `, bpf_jit_enable ${jit.enable ?? "?"}, bpf_jit_harden ${jit.harden ?? "?"}`
    : "";
  return `${date}, ${cpu} (${cpus} CPUs), ${system}${settings}, Node ${node} (V8 ${v8}), commit ${commit}, ${mode} run, ${loads}.`;
}

/** For bench/README.md: everything. @param {Report} report */
export function fullMarkdown(report) {
  const warning = busyWarning(report);
  const all = report.results.map(({ goal, workload, unit, figures, remark, note, busy }) => {
    const list = figures.map(({ name, median, p25, p75 }) => {
      return p25 === p75
        ? `${name} ${number(median)}`
        : `${name} ${number(median)} (${number(p25)}..${number(p75)})`;
    });
    const remarks = [remark, note].filter((text) => text !== undefined);
    return [goal, workload + (busy ? BUSY_MARK : ""), list.join("; "), unit, remarks.join("; ")];
  });
  return [
    conditions(report),
    ...(warning ? [warning] : []),
    `${summary(report)}.`,
    markdown(HEAD, ratioRows(report)),
    "Every contender (median, p25..p75):",
    markdown(["goal", "workload", "figures", "unit", "remarks"], all),
    ...(report.skipped.length > 0 ? [`Skipped: ${report.skipped.join("; ")}.`] : []),
  ].join("\n\n");
}

/** For README.md: the ratios, the charts. @param {Report} report @param {readonly string[]} charts paths */
export function shortMarkdown(report, charts) {
  const warning = busyWarning({ ...report, results: withoutCurves(report.results) });
  const images = charts
    .map((path) => `![${path.replace(/^.*\/|\.svg$/g, "")}](${path})`)
    .join("\n");
  return [
    conditions(report),
    ...(warning ? [warning] : []),
    `${summary(report)}.`,
    markdown(SHORT_HEAD, ratioRows(report, shortCells)),
    images,
  ].join("\n\n");
}

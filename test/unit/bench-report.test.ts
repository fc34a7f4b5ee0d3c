// The tables of the benchmarks tell what is not in favour of this library, too.

import { expect, it } from "vitest";

/** JavaScript, which this project of TypeScript does not read. */
interface Tables {
  fullMarkdown(report: object): string;
  shortMarkdown(report: object, charts: readonly string[]): string;
  summary(report: object): string;
}

const tables = new URL("../../bench/support/report.mjs", import.meta.url).href;
const { fullMarkdown, shortMarkdown, summary } = (await import(tables)) as Tables;

const machine = {
  cpu: "a CPU",
  cpus: 2,
  system: "linux",
  node: "v20",
  v8: "11",
  jit: { enable: 1, harden: 0 },
  commit: "abc",
  date: "2026-01-01",
};

function result(goal: string, workload: string, verdict: string, more: object): object {
  const ratio = { median: 1.5, p25: 1.4, p75: 1.6 };
  const best = { name: "quick-lru", ratio: 2 };
  const row = { workload, ours: 3, peer: 2, peerName: "Map", ratio, best, must: 1, aim: 0.5 };
  const rows = [{ ...row, verdict }];
  const figures = [{ name: "bpfmaps", role: "ours", median: 3, p25: 3, p75: 3 }];
  return { goal, family: "get", workload, unit: "ns", figures, rows, busy: false, ...more };
}

const report = {
  mode: "quick",
  machine,
  load: { start: 0.1, end: 0.2 },
  results: [
    result("1", "get", "BELOW", { busy: true, remark: "a remark", note: "a note" }),
    result("-", "forEach", "-", {}),
    result("scaling", "a curve", "-", { at: { panel: "HASH get", entries: 1 } }),
  ],
  skipped: [],
};

/** The cells of the line that begins with a workload. */
function lineOf(markdown: string, workload: string): string[] {
  const line = markdown.split("\n").find((text) => text.startsWith(`| ${workload} |`));
  return (line ?? "").split("|").map((cell) => cell.trim());
}

it("README.md has the rows without a goal, what was missed, and what was disturbed", () => {
  const short = shortMarkdown(report, []);
  expect(lineOf(short, "get").slice(2, -1)).toEqual([
    "3.00 ns",
    "2.00 ns (Map)",
    "1.500",
    "2.000 (quick-lru)",
    "BELOW*",
    "a remark",
  ]);
  expect(lineOf(short, "forEach")[6]).toBe("-");
  expect(lineOf(short, "a curve")).toEqual([""]);
  expect(short).toContain("WARNING");
  expect(short).toContain("bpf_jit_enable 1");
});

it("the summary names the goals below must, and the disturbed ones", () => {
  expect(summary(report)).toContain("below must: 1; rows marked * in: 1");
});

it("bench/README.md has remarks and notes", () => {
  expect(fullMarkdown(report)).toContain("a remark; a note");
});

it("a disturbed curve is marked where it is listed, and no warning to README.md, which has no row of it", () => {
  const [, , curve] = report.results;
  const disturbed = { ...report, results: [{ ...curve, busy: true }] };
  expect(fullMarkdown(disturbed)).toContain("a curve*");
  expect(fullMarkdown(disturbed)).toContain("WARNING");
  expect(shortMarkdown(disturbed, [])).not.toContain("WARNING");
});

// `npm run bench:trace`: caches on recorded accesses.
//
// Each round replays the whole trace on an empty cache: get, and set after a miss. Dimensions: trace x capacity (1, 5, 10,
// 20 % of the distinct keys) x cache. Hit ratios differ, since LRU_HASH is the kernel's approximation of LRU.

import { exitWithUsage, parseCommandLine } from "./support/command-line.mjs";
import { cacheAsideLoop } from "./support/loops.mjs";
import { CoreProbe, describeMachine, load } from "./support/machine.mjs";
import { loadLibrary } from "./support/ours.mjs";
import { LRU_PEERS, MapLru, Peers } from "./support/peers.mjs";
import { replaceSection, toJson, writeCharts, writeResult } from "./support/publish.mjs";
import { fresh, race } from "./support/race.mjs";
import { keyOf } from "./support/random.mjs";
import { BUSY_MARK, busyWarning, conditions, markdown } from "./support/report.mjs";
import { ratios, spread } from "./support/stats.mjs";
import { MOST, number } from "./support/suite.mjs";
import { readTrace, traceFiles } from "./support/traces.mjs";

/** @typedef {import("./support/loops.mjs").MapLike & { close?: () => void }} Cache */
/** @typedef {{ name: string, role: "ours" | "peer", make: (capacity: number) => Cache }} Side */

const PERCENTS = [1, 5, 10, 20];
const WITH = ["lru-cache", "mnemonist"];
const HEAD = [
  "trace",
  "capacity",
  "cache",
  "hits %",
  "ns an access",
  "ratio to lru-cache",
  "p25..p75",
];
/** Column of what a disturbance makes meaningless. */
const RATIO = HEAD.indexOf("ratio to lru-cache");

/** @param {import("./support/ours.mjs").Library} library @returns {Promise<Side[]>} */
async function makeSides({ createRuntime, u32, u64 }) {
  const rt = await createRuntime({ seed: 1 });
  /** @type {Side[]} */
  const sides = [
    {
      name: "LRU_HASH",
      role: "ours",
      make: (maxEntries) =>
        rt.createMap({ type: "lru_hash", key: u32, value: u64.asNumber, maxEntries }),
    },
  ];
  const peers = new Peers();
  for (const { name, make } of LRU_PEERS.filter((row) => WITH.includes(row.name))) {
    const module = await peers.load(name);
    if (module !== undefined)
      sides.push({ name, role: "peer", make: (capacity) => make(module, capacity) });
  }
  return [...sides, { name: "Map", role: "peer", make: (capacity) => new MapLru(capacity) }];
}

/** @param {Side} side @param {Int32Array} keys @param {number} capacity */
function replayer({ name, role, make }, keys, capacity) {
  const loop = fresh(cacheAsideLoop);
  /** @type {Cache | undefined} */
  let cache;
  const counts = { hits: 0 };
  const before = () => {
    cache?.close?.();
    cache = make(capacity);
  };
  const run = () => (counts.hits = loop(/** @type {Cache} */ (cache), keys));
  return { name, role, ops: keys.length, before, run, counts, close: () => cache?.close?.() };
}

/**
 * The keys of a trace by 30-bit numbers: small integers, which suit Map best.
 * @param {import("./support/traces.mjs").Trace} trace
 */
function renumber({ name, keys }) {
  /** @type {Map<number, number>} */
  const numbers = new Map();
  for (const key of keys) if (!numbers.has(key)) numbers.set(key, keyOf(numbers.size));
  const renumbered = Int32Array.from(keys, (key) => numbers.get(key) ?? 0);
  return { name, keys: renumbered, distinct: numbers.size };
}

/** @param {ReturnType<typeof renumber>} trace @param {number} percent @param {Side[]} sides @param {{ rounds: number, warmup: number }} plan */
async function replay(trace, percent, sides, plan) {
  const { keys, distinct } = trace;
  const capacity = Math.max(1, Math.floor((distinct * percent) / 100));
  const contenders = sides.map((side) => replayer(side, keys, capacity));
  const { samples, disturbed } = await race(contenders, plan, core);
  const figures = contenders.map(({ name, role, counts, close }) => {
    close();
    return { name, role, hits: counts.hits / keys.length, ...spread(samples.get(name) ?? []) };
  });
  const base = samples.get("lru-cache") ?? [];
  const rows = figures.map(({ name, hits, median }) => {
    const ratio = ratios(samples.get(name) ?? [], base);
    const range = `${ratio.p25.toFixed(3)}..${ratio.p75.toFixed(3)}`;
    const size = `${capacity} (${percent} %)`;
    return [
      trace.name,
      size,
      name,
      (hits * 100).toFixed(2),
      number(median),
      ratio.median.toFixed(3),
      range,
    ];
  });
  return { figures, rows, workload: `${trace.name}, ${percent} %`, disturbed };
}

const USAGE = `usage: npm run bench:trace -- DIR [options]; DIR holds *.u32.gz or traces/*.u32.gz
  --quick        fewer rounds
  --update       write bench/results and the table of the README`;

const OPTIONS = /** @type {const} */ ({
  quick: { type: "boolean", default: false },
  update: { type: "boolean", default: false },
});
const { values, positionals } = parseCommandLine(
  { allowPositionals: true, options: OPTIONS },
  USAGE,
);
const [folder] = positionals;
const files = folder === undefined ? [] : traceFiles(folder);
if (files.length === 0) {
  exitWithUsage(USAGE, folder === undefined ? "expected a folder" : `no traces in ${folder}`);
}
const machine = describeMachine();
const startLoad = load();
const sides = await makeSides(await loadLibrary());
const core = new CoreProbe(values.quick ? 0 : 60_000);
const plan = values.quick ? { rounds: 3, warmup: 1 } : { rounds: 7, warmup: 2 };
const results = [];
const table = [];
for (const file of files) {
  const trace = renumber(readTrace(file));
  for (const percent of PERCENTS) {
    const { rows, figures, workload, disturbed } = await replay(trace, percent, sides, plan);
    const busy = disturbed > MOST || load() > machine.cpus;
    if (busy) for (const row of rows) row[RATIO] += BUSY_MARK;
    for (const row of rows) console.log(row.join("  "));
    table.push(...rows);
    results.push({ goal: "-", family: trace.name, workload, unit: "ns", figures, rows: [], busy });
  }
}
const mode = values.quick ? "quick" : "normal";
const report = { mode, machine, load: { start: startLoad, end: load() }, results, skipped: [] };
const warning = busyWarning(report);
if (warning !== undefined) console.log(warning);
if (values.update) {
  writeResult("trace.json", toJson(report));
  writeCharts(results, "trace-");
  const parts = [
    conditions(report),
    ...(warning === undefined ? [] : [warning]),
    markdown(HEAD, table),
  ];
  replaceSection("bench/README.md", "trace", parts.join("\n\n"));
}

// LPM lookups in a full IPv4 table against one JavaScript Map per prefix length (probed from the longest to the shortest):
// `node bench/lpm.bench.mjs <table.txt.gz> [rounds]`. Contenders take turns; medians; only the ratios mean something.
//
// Dimensions: data 4 bytes, value u32; addresses drawn at random inside the prefixes (all hit); single calls that read the
// value, and batches of 4096.

import { createRuntime } from "../dist/index.js";
import { fillTrie, readRoutes } from "./support/routes.mjs";

const LOOKUPS = 1 << 20;
const BATCH = 4096;

/** mulberry32 @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** @param {number} length prefix length */
function maskOf(length) {
  return length === 0 ? 0 : -1 << (32 - length);
}

function networkWord(data, i) {
  return (data[i * 4] << 24) | (data[i * 4 + 1] << 16) | (data[i * 4 + 2] << 8) | data[i * 4 + 3];
}

function swap(word) {
  return (
    ((word & 255) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | ((word >>> 24) & 255)
  );
}

/** One Map per length, the longest first. */
function makeMaps(routes) {
  const byLength = new Map();
  for (let i = 0; i < routes.count; i++) {
    const length = routes.lengths[i];
    let map = byLength.get(length);
    if (map === undefined) byLength.set(length, (map = new Map()));
    map.set(networkWord(routes.data, i) & maskOf(length), i);
  }
  const lengths = [...byLength.keys()].toSorted((a, b) => b - a);
  return { masks: lengths.map(maskOf), maps: lengths.map((length) => byLength.get(length)) };
}

function lookupsInMaps({ masks, maps }, addresses) {
  const n = maps.length;
  let sum = 0;
  for (let i = 0; i < addresses.length; i++) {
    const address = addresses[i];
    for (let j = 0; j < n; j++) {
      const value = maps[j].get(address & masks[j]);
      if (value !== undefined) {
        sum = (sum + value) | 0;
        break;
      }
    }
  }
  return sum;
}

function lookupsInTrie(exports, handle, values, words) {
  const { map_lpm_match4 } = exports;
  const map = exports.map_by_handle(handle);
  let sum = 0;
  for (let i = 0; i < words.length; i++) {
    const ptr = map_lpm_match4(map, handle, words[i]);
    if (ptr !== 0) sum = (sum + values[ptr >>> 2]) | 0;
  }
  return sum;
}

/** keys and out are views of the runtime's memory, BATCH words each. */
function batchesInTrie(exports, handle, keys, out, words) {
  let sum = 0;
  for (let at = 0; at < words.length; at += BATCH) {
    keys.set(words.subarray(at, at + BATCH));
    exports.map_lpm_match_many4(handle, keys.byteOffset, BATCH, out.byteOffset, 0xffffffff);
    for (let i = 0; i < BATCH; i++) sum = (sum + out[i]) | 0;
  }
  return sum;
}

function time(run) {
  const start = performance.now();
  const sum = run();
  return { ns: ((performance.now() - start) * 1e6) / LOOKUPS, sum };
}

function median(times) {
  return times.toSorted((a, b) => a - b)[times.length >> 1];
}

const [file, roundsText = "15"] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: node bench/lpm.bench.mjs <table.txt.gz> [rounds]");
  process.exit(2);
}
const routes = readRoutes(file);
const runtime = await createRuntime();
const filling = performance.now();
const { handle, used } = fillTrie(runtime, routes);
const fillNs = ((performance.now() - filling) * 1e6) / routes.count;
const maps = makeMaps(routes);
const next = random(1);
const addresses = new Int32Array(LOOKUPS);
for (let i = 0; i < LOOKUPS; i++) {
  const route = next() % routes.count;
  const mask = maskOf(routes.lengths[route]);
  addresses[i] = (networkWord(routes.data, route) & mask) | (next() & ~mask);
}
const words = addresses.map(swap);
const buffer = runtime.alloc(BATCH * 8);
const keys = new Int32Array(runtime.memory.buffer, buffer, BATCH);
const out = new Int32Array(runtime.memory.buffer, buffer + BATCH * 4, BATCH);
const values = new Int32Array(runtime.memory.buffer);
const contenders = {
  "Map per length": () => lookupsInMaps(maps, addresses),
  map_lpm_match4: () => lookupsInTrie(runtime.exports, handle, values, words),
  map_lpm_match_many4: () => batchesInTrie(runtime.exports, handle, keys, out, words),
};
const times = new Map(Object.keys(contenders).map((name) => [name, []]));
const sums = new Set();
for (let round = 0; round < Number(roundsText) + 2; round++) {
  // Who comes first finds the caches as the one before left them: everybody in turn.
  const entries = Object.entries(contenders);
  for (const [name, run] of [...entries.slice(round % 3), ...entries.slice(0, round % 3)]) {
    const { ns, sum } = time(run);
    if (round >= 2) times.get(name).push(ns);
    sums.add(sum);
  }
}
const base = median(times.get("Map per length"));
console.log(`${routes.count} prefixes, ${maps.maps.length} lengths, ${LOOKUPS} lookups a round`);
console.log(
  `${(used / routes.count).toFixed(1)} bytes a prefix, filled in ${fillNs.toFixed(0)} ns a prefix`,
);
for (const [name, list] of times) {
  const ns = median(list);
  console.log(
    `${name.padEnd(20)} ${ns.toFixed(1).padStart(7)} ns  ratio ${(ns / base).toFixed(3)}`,
  );
}
console.log(sums.size === 1 ? "all agree" : "RESULTS DIFFER");

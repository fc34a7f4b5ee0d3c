// The curves: the same operations at 1k to 4M entries (--full: 16M), HASH against Map, LRU_HASH against lru-cache. Filling
// includes creation. Dimensions: u32 -> u64, full, uniform; the stall is the longest that 16 operations took while filling.

import { churner, evicter, filled, getter, reader } from "../support/contenders.mjs";
import { keyOf, uniform } from "../support/random.mjs";
import { label } from "../support/suite.mjs";
import { filler, staller } from "./07-fill.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */
/** @typedef {import("../support/contenders.mjs").Role} Role */
/** @typedef {import("../support/loops.mjs").MapLike & { close?: () => void }} Closable */
/** @typedef {{ name: string, role: "ours" | "peer", make: () => Closable }} Side */

const SIZES = [1000, 10_000, 100_000, 1_000_000, 4_000_000];
const LARGE = 16_000_000;
/** Smaller ones fill too fast for a clock. */
const FILL_FROM = 10_000;
/** V8's Map, in which lru-cache has its keys, throws where it would have to double beyond this; deleted entries count. */
const MAP_MAX = 2 ** 24;

/** @param {string} type @param {string} operation @param {number} entries @param {string} [unit] */
function workload(type, operation, entries, unit = "ns") {
  const panel = `${type} ${operation}`;
  const at = { panel, entries };
  return { goal: "scaling", family: "scaling", workload: `${panel}, ${label(entries)}`, unit, at };
}

/** @param {Suite} suite @param {string} type @param {Side[]} sides @param {number} entries */
async function fill(suite, type, sides, entries) {
  const keys = Int32Array.from({ length: entries }, (_, i) => keyOf(i));
  const fillers = sides.map(({ name, role, make }) => filler(name, role, make, keys));
  await suite.race(workload(type, "create + fill", entries), fillers, suite.heavyPlan);
  for (const { close } of fillers) close();
  const stallers = sides.map(({ name, role, make }) => staller(name, role, make, keys));
  await suite.race(workload(type, "worst 16 operations", entries, "ms"), stallers, suite.heavyPlan);
  for (const { close } of stallers) close();
}

/** @param {Suite} suite @param {string} type @param {Side[]} sides @param {number} entries */
async function steady(suite, type, sides, entries) {
  const maps = sides.map(({ name, role, make }) => ({ name, role, map: filled(make(), entries) }));
  const distribution = uniform(entries);
  const { window } = suite.plan;
  const isLru = type !== "HASH";
  // LRU_HASH begins to evict a little before it is full, as in the kernel.
  const get = isLru ? reader : getter;
  await suite.race(
    workload(type, "get", entries),
    maps.map(({ name, role, map }, i) => {
      return get(name, role, map, suite.window("int32", distribution, i));
    }),
  );
  const operation = isLru ? "set + evict" : "delete + insert";
  const isTooLarge = entries * 2 > MAP_MAX;
  if (isTooLarge)
    suite.skip(
      "scaling",
      `the peer of ${type} ${operation}, ${label(entries)}`,
      "too large for it",
    );
  await suite.race(
    workload(type, operation, entries),
    maps
      .filter(({ role }) => role === "ours" || !isTooLarge)
      .map(({ name, role, map }, i) => {
        return isLru
          ? evicter(name, role, map, entries, window)
          : churner(name, role, map, entries, window, i);
      }),
  );
  for (const { map } of maps) map.close?.();
}

/** @param {Suite} suite @param {number} maxEntries @returns {Promise<[string, Side[]][]>} */
async function contestants({ rt, library, peers }, maxEntries) {
  const { u32, u64 } = library;
  /** @type {(type: "hash" | "lru_hash") => Side} */
  const ours = (type) => ({
    name: "bpfmaps",
    role: "ours",
    make: () => rt.createMap({ type, key: u32, value: u64.asNumber, maxEntries }),
  });
  const lru = await peers.load("lru-cache");
  /** @type {Side[]} */
  const lruPeers =
    lru === undefined
      ? []
      : [{ name: "lru-cache", role: "peer", make: () => new lru.LRUCache({ max: maxEntries }) }];
  return [
    ["HASH", [ours("hash"), { name: "Map", role: "peer", make: () => new Map() }]],
    ["LRU_HASH", [ours("lru_hash"), ...lruPeers]],
  ];
}

/** @param {Suite} suite */
async function run(suite) {
  const wanted = suite.options.large ? [...SIZES, LARGE] : SIZES;
  for (const entries of wanted.filter((n) => n <= suite.plan.entries)) {
    for (const [type, sides] of await contestants(suite, entries)) {
      await steady(suite, type, sides, entries);
      if (entries >= FILL_FROM) await fill(suite, type, sides, entries);
    }
  }
}

export default { goals: ["scaling"], optional: true, run };

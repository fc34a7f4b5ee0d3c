// Goal 7: filling from empty, creation included. Dimensions: HASH, u32 -> u64, 2M entries. Peer: Map. The stall is the
// longest that 16 operations in a row took; making the map is none of them, though that is where ours takes all its memory, so
// its time stands beside it. From the second round on ours finds pages that maps before it have used, and the system hands Map
// new ones: "first of a process" is a process that fills one map.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { setLoop, stallLoop } from "../support/loops.mjs";
import { repositoryFile } from "../support/ours.mjs";
import { fresh } from "../support/race.mjs";
import { keyOf } from "../support/random.mjs";
import { spread } from "../support/stats.mjs";
import { STALL_STEP, label, number } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */
/** @typedef {import("../support/loops.mjs").MapLike & { close?: () => void }} Filled */
/** @typedef {{ fill: number, create: number, stall: number }} FirstFill */

const ENTRIES = 2_000_000;
/** Milliseconds. */
const now = () => performance.now();

/** One map at a time; the one before is given back first. @param {() => Filled} make */
function holder(make) {
  /** @type {Filled | undefined} */
  let map;
  const drop = () => {
    map?.close?.();
    map = undefined;
    globalThis.gc?.();
  };
  return { drop, make: () => (map = make()) };
}

/**
 * A round makes a map and fills it.
 * @param {string} name @param {"ours" | "peer"} role @param {() => Filled} make @param {Int32Array} keys
 */
export function filler(name, role, make, keys) {
  const loop = fresh(setLoop);
  const held = holder(make);
  const fill = () => loop(held.make(), keys, 0);
  return { name, role, ops: keys.length, before: held.drop, run: fill, close: held.drop };
}

/**
 * The longest stall while filling. Creation is none; `creations` has its milliseconds.
 * @param {string} name @param {"ours" | "peer"} role @param {() => Filled} make @param {Int32Array} keys
 */
export function staller(name, role, make, keys) {
  const loop = fresh(stallLoop);
  const held = holder(make);
  /** @type {number[]} */
  const creations = [];
  const worst = () => {
    const start = now();
    const map = held.make();
    creations.push(now() - start);
    return loop(map, keys, STALL_STEP, now);
  };
  const { drop } = held;
  return { name, role, ops: 1, answers: true, before: drop, run: worst, close: drop, creations };
}

/** What a process that does nothing else measures (support/fill-child.mjs). @param {"ours" | "Map"} side @param {number} entries @param {number} times */
async function firstFills(side, entries, times) {
  const script = repositoryFile("bench/support/fill-child.mjs");
  /** @type {FirstFill[]} */
  const fills = [];
  for (let i = 0; i < times; i++) {
    const child = await promisify(execFile)(process.execPath, [script, side, String(entries)]);
    fills.push(JSON.parse(child.stdout));
  }
  return fills;
}

/** @param {Suite} suite */
async function run(suite) {
  const { u32, u64 } = suite.library;
  const maxEntries = suite.size(ENTRIES);
  const keys = Int32Array.from({ length: maxEntries }, (_, i) => keyOf(i));
  const make = () =>
    suite.rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries });
  const fills = [
    filler("bpfmaps", "ours", make, keys),
    filler("Map", "peer", () => new Map(), keys),
  ];
  const fill = { workload: `create + fill, ${label(maxEntries)}`, must: 0.6, aim: 0.4 };
  const filled = await suite.race({ goal: "7", family: "fill", ...fill }, fills, suite.heavyPlan);
  for (const contender of fills) contender.close();
  const times = Math.ceil(suite.plan.heavy / 3);
  const ours = await firstFills("ours", maxEntries, times);
  const theirs = await firstFills("Map", maxEntries, times);
  /** @param {readonly FirstFill[]} all @param {keyof FirstFill} what */
  const samples = (all, what) => all.map((one) => one[what]);
  suite.detail(filled, "bpfmaps, first of a process", samples(ours, "fill"));
  suite.detail(filled, "Map, first of a process", samples(theirs, "fill"));

  const stalls = [
    staller("bpfmaps", "ours", make, keys),
    staller("Map", "peer", () => new Map(), keys),
  ];
  const stall = {
    workload: `worst ${STALL_STEP} operations, ${label(maxEntries)}`,
    must: 0.25,
    aim: 0.125,
  };
  const stalled = await suite.race(
    { goal: "7", family: "stall", unit: "ms", ...stall },
    stalls,
    suite.heavyPlan,
  );
  for (const contender of stalls) contender.close();
  suite.detail(stalled, "bpfmaps, first of a process", samples(ours, "stall"));
  suite.detail(stalled, "bpfmaps, creation", stalls[0].creations);
  suite.detail(stalled, "bpfmaps, creation, first of a process", samples(ours, "create"));
  const [again, first] = [stalls[0].creations, samples(ours, "create")].map((all) =>
    number(spread(all).median),
  );
  suite.remark(
    stalled,
    `creation does not count: ours takes ${again} ms, the first of a process ${first} ms`,
  );
}

export default { goals: ["7"], run };

// Goal 7: filling from empty, creation included. Dimensions: HASH, u32 -> u64, 2M entries. Peer: Map. The stall is the
// longest that 16 operations in a row took.

import { setLoop, stallLoop } from "../support/loops.mjs";
import { fresh } from "../support/race.mjs";
import { keyOf } from "../support/random.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/loops.mjs").MapLike & { close?: () => void }} Filled */

const ENTRIES = 2_000_000;
const STEP = 16;
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

/** Filling alone: the map is made outside the clock. @param {string} name @param {() => Filled} make @param {Int32Array} keys */
function fillerAlone(name, make, keys) {
  const loop = fresh(setLoop);
  const held = holder(make);
  /** @type {Filled} */
  let map;
  const before = () => {
    held.drop();
    map = held.make();
  };
  const role = /** @type {const} */ ("detail");
  return { name, role, ops: keys.length, before, run: () => loop(map, keys, 0), close: held.drop };
}

/**
 * The longest stall while filling; creation does not count.
 * @param {string} name @param {"ours" | "peer"} role @param {() => Filled} make @param {Int32Array} keys
 */
export function staller(name, role, make, keys) {
  const loop = fresh(stallLoop);
  const held = holder(make);
  const worst = () => loop(held.make(), keys, STEP, now);
  return { name, role, ops: 1, answers: true, before: held.drop, run: worst, close: held.drop };
}

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const { u32, u64 } = suite.library;
  const maxEntries = suite.size(ENTRIES);
  const keys = Int32Array.from({ length: maxEntries }, (_, i) => keyOf(i));
  const make = () =>
    suite.rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries });
  const fills = [
    filler("bpfmaps", "ours", make, keys),
    filler("Map", "peer", () => new Map(), keys),
    fillerAlone("fill alone", make, keys),
  ];
  const fill = { workload: `create + fill, ${label(maxEntries)}`, must: 0.6, aim: 0.4 };
  await suite.race({ goal: "7", family: "fill", ...fill }, fills, suite.heavyPlan);
  for (const contender of fills) contender.close();
  const stalls = [
    staller("bpfmaps", "ours", make, keys),
    staller("Map", "peer", () => new Map(), keys),
  ];
  const stall = {
    workload: `worst ${STEP} operations, ${label(maxEntries)}`,
    must: 0.25,
    aim: 0.125,
  };
  await suite.race({ goal: "7", family: "stall", unit: "ms", ...stall }, stalls, suite.heavyPlan);
  for (const contender of stalls) contender.close();
}

export default { goals: ["7"], run };

// Maps of many kinds in one program: what V8 has learned about code that all of them share must not slow each of them down.
// Dimensions: keys and values other than those of goals 1 to 8, full, 1k entries (in the caches, where it shows); get and set,
// all kinds in one race. Peer: Map with small integers.

import { fresh, takingTurns } from "../support/race.mjs";
import { Random, keyOf } from "../support/random.mjs";
import { label, mustBe } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */

const ENTRIES = 1000;

/** @param {any} map @param {unknown[]} keys */
function getLoop(map, keys) {
  let hits = 0;
  for (let i = 0; i < keys.length; i++) if (map.get(keys[i]) !== undefined) hits++;
  return hits;
}

/** @param {any} map @param {unknown[]} keys @param {unknown[]} values */
function setLoop(map, keys, values) {
  for (let i = 0; i < keys.length; i++) map.set(keys[i], values[i]);
  return keys.length;
}

/** @param {number} i */
const same = (i) => i;

/**
 * @typedef {object} Kind
 * @property {string} name
 * @property {any} map
 * @property {(i: number) => unknown} key
 * @property {(i: number) => unknown} value
 */

/** @param {Suite} suite @returns {Kind[]} */
function kindsOf({ rt, library }) {
  const { bytes, f64, i32, struct, u16, u32, u64 } = library;
  const maxEntries = ENTRIES;
  /** @param {unknown} key @param {unknown} value */
  const hash = (key, value) =>
    rt.createMap(/** @type {any} */ ({ type: "hash", key, value, maxEntries }));
  const array = rt.createMap({ type: "array", value: u64, maxEntries });
  const point = struct({ x: u32, y: u32 });
  return [
    { name: "u32 -> u64 (bigint)", map: hash(u32, u64), key: keyOf, value: BigInt },
    { name: "u64 -> u64 (bigint)", map: hash(u64, u64), key: BigInt, value: BigInt },
    { name: "i32 -> i32", map: hash(i32, i32), key: keyOf, value: same },
    { name: "u32 -> u16", map: hash(u32, u16), key: keyOf, value: same },
    { name: "u32 -> f64", map: hash(u32, f64), key: keyOf, value: same },
    { name: "array of u64 (bigint)", map: array, key: same, value: BigInt },
    {
      name: "u32 -> struct",
      map: hash(u32, point),
      key: keyOf,
      value: (i) => ({ x: i, y: i }),
    },
    {
      name: "8 bytes -> u32",
      map: hash(bytes(8), u32),
      key: (i) => new Uint8Array(new Uint32Array([keyOf(i), i]).buffer),
      value: same,
    },
  ];
}

/** @param {Kind} kind @param {number} ops @param {number} seed @param {(map: any, keys: unknown[], values: unknown[]) => number} loop */
function turns({ map, key, value }, ops, seed, loop) {
  const random = new Random(seed);
  // Few objects, or their memory is what is measured.
  const keys = Array.from({ length: ENTRIES }, (_, i) => key(i));
  const values = Array.from({ length: ENTRIES }, (_, i) => value(i));
  const make = () => ({
    keys: Array.from({ length: ops }, () => keys[0]),
    values: Array.from({ length: ops }, () => values[0]),
    refill() {
      for (let i = 0; i < ops; i++) {
        const entry = random.below(ENTRIES);
        this.keys[i] = keys[entry];
        this.values[i] = values[entry];
      }
    },
  });
  return takingTurns(make, ops, (queries) =>
    mustBe(loop(map, queries.keys, queries.values), queries.keys.length),
  );
}

/** @param {Suite} suite */
async function run(suite) {
  const ops = suite.plan.window >> 3;
  const kinds = kindsOf(suite);
  const map = { name: "Map", map: new Map(), key: keyOf, value: same };
  for (const kind of [...kinds, map])
    for (let i = 0; i < ENTRIES; i++) kind.map.set(kind.key(i), kind.value(i));
  for (const [verb, loop] of Object.entries({ get: getLoop, set: setLoop })) {
    const workload = `${verb}, maps of many kinds, ${label(ENTRIES)}`;
    await suite.race({ goal: "-", family: "kinds", workload }, [
      ...kinds.map((kind, i) => ({
        name: kind.name,
        role: /** @type {const} */ ("ours"),
        ...turns(kind, ops, i, fresh(loop)),
      })),
      { name: "Map", role: "peer", ...turns(map, ops, kinds.length, fresh(loop)) },
    ]);
  }
  for (const kind of kinds) kind.map.close();
}

export default { goals: ["kinds"], run };

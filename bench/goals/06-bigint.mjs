// Goal 6: get with u64 keys, BigInts at the API. Dimensions: HASH, full, u64 -> u64 (as a number) x entries; uniform, all
// hit. Peer: Map with BigInt keys. The queries are BigInts of their own, not the objects that are in the map.

import { getLoop } from "../support/loops.mjs";
import { fresh, takingTurns } from "../support/race.mjs";
import { Random, wideKeyOf } from "../support/random.mjs";
import { label, mustBe } from "../support/suite.mjs";

const SIZES = [100_000, 1_000_000];

/**
 * @param {string} name @param {"ours" | "peer"} role @param {import("../support/loops.mjs").MapLike} map
 * @param {readonly bigint[]} queries @param {number} ops @param {number} seed
 */
function getter(name, role, map, queries, ops, seed) {
  const random = new Random(seed);
  const loop = fresh(getLoop);
  const make = () => ({
    keys: Array.from({ length: ops }, () => queries[0]),
    // Values are the entries' numbers.
    expected: 0,
    refill() {
      this.expected = 0;
      for (let i = 0; i < ops; i++) {
        const entry = random.below(queries.length);
        this.keys[i] = queries[entry];
        this.expected += entry;
      }
    },
  });
  const use = (/** @type {ReturnType<typeof make>} */ { keys, expected }) =>
    mustBe(loop(map, keys), expected);
  return { name, role, ...takingTurns(make, ops, use) };
}

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const { u64 } = suite.library;
  for (const wanted of SIZES) {
    const entries = suite.size(wanted);
    const ours = suite.rt.createMap({
      type: "hash",
      key: u64,
      value: u64.asNumber,
      maxEntries: entries,
    });
    const map = new Map();
    for (let i = 0; i < entries; i++) {
      ours.set(wideKeyOf(i), i);
      map.set(wideKeyOf(i), i);
    }
    const queries = Array.from({ length: entries }, (_, i) => wideKeyOf(i));
    const { window } = suite.plan;
    const workload = `get u64 (BigInt), ${label(entries)}`;
    await suite.race({ goal: "6", family: "bigint", workload, must: 0.4, aim: 0.25 }, [
      getter("bpfmaps", "ours", ours, queries, window, 1),
      getter("Map<bigint>", "peer", map, queries, window, 2),
    ]);
    ours.close();
  }
}

export default { goals: ["6"], run };

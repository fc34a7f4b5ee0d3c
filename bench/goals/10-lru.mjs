// Goals 10 and 11: LRU_HASH. Dimensions: u32 -> u64 x capacity. Cache-aside (get, set after a miss) over 4 times as many
// keys as fit, zipf .99; set of new keys into a full cache, which evicts one for each. Peers: lru-cache, and others.

import { cacheAside, evicter, filled } from "../support/contenders.mjs";
import { zipf } from "../support/random.mjs";
import { WINDOWS, label } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */
/** @typedef {import("../support/loops.mjs").MapLike} MapLike */

const SIZES = [1000, 100_000, 1_000_000];
const EVICT_SIZE = 100_000;
/** Keys there are, in multiples of those that fit. */
const UNIVERSE = 4;
/** Accesses of a full cache before the first round, in multiples of the capacity. */
const SETTLING = 2;
/** Passes at most that are not timed (suite.mjs, Plan). */
const WARM = 2;

/** Ours first. @param {Suite} suite @param {number} maxEntries */
async function makeCaches({ rt, library, peers }, maxEntries) {
  const { u32, u64 } = library;
  const ours = rt.createMap({ type: "lru_hash", key: u32, value: u64.asNumber, maxEntries });
  /** @type {[string, MapLike][]} */
  const caches = [["bpfmaps", ours], ...(await peers.lruCaches(maxEntries))];
  return { ours, caches };
}

/** @param {Suite} suite @param {number} capacity */
async function raceCacheAside(suite, capacity) {
  const distribution = zipf(capacity * UNIVERSE);
  const { ours, caches } = await makeCaches(suite, capacity);
  const { plan } = suite;
  const isFlowing = capacity * UNIVERSE > plan.window * WINDOWS;
  const contenders = caches.map(([name, cache], i) =>
    cacheAside(
      name,
      i === 0 ? "ours" : "peer",
      cache,
      suite.window("int32", distribution, i + 1),
      isFlowing,
    ),
  );
  for (const [, cache] of caches) filled(cache, capacity);
  const settling = Math.ceil((SETTLING * capacity) / (plan.window * WINDOWS));
  for (const contender of contenders) {
    for (let i = 0; i < settling; i++) {
      contender.before();
      for (let j = 0; j < WINDOWS; j++) {
        contender.run();
        contender.next();
      }
    }
    contender.counts.hits = contender.counts.accesses = 0;
  }
  const workload = {
    workload: `LRU cache-aside, ${label(capacity)}, zipf .99`,
    must: 0.55,
    aim: 0.33,
  };
  // Six contenders, and most of them are slow.
  const rounds = isFlowing ? suite.heavyPlan : plan;
  const result = await suite.race({ goal: "10", family: "lru", ...workload }, contenders, {
    rounds: rounds.rounds,
    warmup: rounds.warmup,
    warm: Math.min(plan.warm, WARM),
  });
  const hits = contenders.map(
    ({ name, counts }) => `${name} ${((counts.hits / counts.accesses) * 100).toFixed(1)} %`,
  );
  suite.note(result, `hits: ${hits.join(", ")}`);
  ours.close();
}

/** @param {Suite} suite @param {number} capacity */
async function raceEvict(suite, capacity) {
  const { ours, caches } = await makeCaches(suite, capacity);
  for (const [, cache] of caches) filled(cache, capacity);
  const { window } = suite.plan;
  const workload = { workload: `LRU set + evict, ${label(capacity)}`, must: 0.45, aim: 0.25 };
  await suite.race(
    { goal: "11", family: "lru-evict", ...workload },
    caches.map(([name, cache], i) =>
      evicter(name, i === 0 ? "ours" : "peer", cache, capacity, window),
    ),
  );
  ours.close();
}

/** @param {Suite} suite */
async function run(suite) {
  if (suite.wants("10"))
    for (const wanted of SIZES) await raceCacheAside(suite, suite.size(wanted));
  if (suite.wants("11")) await raceEvict(suite, suite.size(EVICT_SIZE));
}

export default { goals: ["10", "11"], run };

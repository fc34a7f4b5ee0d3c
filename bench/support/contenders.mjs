// Contenders that several goals have.

import { cacheAsideLoop, churnLoop, getLoop, readLoop, setLoop } from "./loops.mjs";
import { fresh } from "./race.mjs";
import { Random, keyOf } from "./random.mjs";
import { WINDOWS } from "./suite.mjs";

/** @typedef {import("./race.mjs").Contender} Contender */
/** @typedef {import("./loops.mjs").MapLike} MapLike */
/** @typedef {import("./suite.mjs").KeyWindow} KeyWindow */
/** @typedef {Contender["role"]} Role */

/** Entries 0 to n - 1, each with its number. @template {MapLike} M @param {M} map @param {number} n */
export function filled(map, n) {
  for (let i = 0; i < n; i++) map.set(keyOf(i), i);
  return map;
}

/** How a contender comes by its queries. @param {KeyWindow} window */
export function queriesOf(window) {
  const next = () => window.next();
  return { before: next, next, spare: WINDOWS - 1 };
}

/** Gets of present keys. @param {string} name @param {Role} role @param {MapLike} map @param {KeyWindow} window */
export function getter(name, role, map, window) {
  const loop = fresh(getLoop);
  const run = () => window.check(loop(map, window.keys));
  return { name, role, ops: window.ops, ...queriesOf(window), run };
}

/** Gets of keys that a cache has, nearly all. @param {string} name @param {Role} role @param {MapLike} cache @param {KeyWindow} window */
export function reader(name, role, cache, window) {
  const loop = fresh(readLoop);
  return { name, role, ops: window.ops, ...queriesOf(window), run: () => loop(cache, window.keys) };
}

/** Sets of present keys. @param {string} name @param {Role} role @param {MapLike} map @param {KeyWindow} window */
export function setter(name, role, map, window) {
  const loop = fresh(setLoop);
  let value = 0;
  const run = () => loop(map, window.keys, (value = (value + 1) & 0xffff));
  return { name, role, ops: window.ops, ...queriesOf(window), run };
}

/**
 * Deletes one of `entries` entries, inserts a new one, for ever. An operation is both.
 * @param {string} name @param {Role} role @param {MapLike} map filled
 * @param {number} entries @param {number} ops @param {number} seed
 */
export function churner(name, role, map, entries, ops, seed) {
  const random = new Random(seed);
  const loop = fresh(churnLoop);
  const live = Int32Array.from({ length: entries }, (_, i) => keyOf(i));
  const slots = new Int32Array(ops);
  const keys = new Int32Array(ops);
  let next = entries;
  const before = () => {
    for (let i = 0; i < ops; i++) {
      slots[i] = random.below(entries);
      keys[i] = keyOf(next++);
    }
  };
  const run = () => loop(/** @type {Required<MapLike>} */ (map), live, slots, keys);
  return { name, role, ops, before, run };
}

/** Sets of new keys; a full cache evicts one for each. @param {string} name @param {Role} role @param {MapLike} cache @param {number} entries @param {number} ops */
export function evicter(name, role, cache, entries, ops) {
  const loop = fresh(setLoop);
  const keys = new Int32Array(ops);
  let next = entries;
  const before = () => {
    for (let i = 0; i < ops; i++) keys[i] = keyOf(next++);
  };
  return { name, role, ops, before, run: () => loop(cache, keys, 0) };
}

/**
 * Get, and set after a miss.
 * @param {string} name @param {Role} role @param {MapLike} cache @param {KeyWindow} window
 * @param {boolean} isFlowing other queries in each turn: a cache that has room for all of them would never miss
 */
export function cacheAside(name, role, cache, window, isFlowing) {
  const loop = fresh(cacheAsideLoop);
  const counts = { hits: 0, accesses: 0 };
  const run = () => {
    const hits = loop(cache, /** @type {Int32Array} */ (window.keys));
    counts.hits += hits;
    counts.accesses += window.ops;
    return hits;
  };
  const queries = queriesOf(window);
  const before = () => {
    if (isFlowing) window.forget();
    queries.before();
  };
  return { name, role, ops: window.ops, ...queries, before, run, counts };
}

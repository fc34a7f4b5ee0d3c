// The loops of the contenders. Each contender runs a copy of its own (race.mjs, fresh): so they may use nothing but their
// parameters. Every loop returns something of all results, so that nothing can be left out.

/**
 * @typedef {{ get(key: any): any, set(key: any, value: any): unknown, delete?(key: any): unknown }} MapLike
 * Anything with Map's verbs.
 */

/** Values are the entries' numbers. @param {MapLike} map @param {ArrayLike<unknown>} keys */
export function getLoop(map, keys) {
  const n = keys.length;
  let sum = 0;
  for (let i = 0; i < n; i++) sum = (sum + map.get(keys[i])) | 0;
  return sum;
}

/** As getLoop, for caches: some keys may be gone. @param {MapLike} cache @param {ArrayLike<unknown>} keys */
export function readLoop(cache, keys) {
  const n = keys.length;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const value = cache.get(keys[i]);
    if (value !== undefined) sum = (sum + value) | 0;
  }
  return sum;
}

/** @param {MapLike} map @param {ArrayLike<unknown>} keys @param {number} from value of the first */
export function setLoop(map, keys, from) {
  const n = keys.length;
  for (let i = 0; i < n; i++) map.set(keys[i], from + i);
  return n;
}

/**
 * One entry goes, a new one comes.
 * @param {Required<MapLike>} map
 * @param {Int32Array} live   keys of the entries there are
 * @param {Int32Array} slots  which of them go
 * @param {Int32Array} keys   who comes
 */
export function churnLoop(map, live, slots, keys) {
  const n = slots.length;
  for (let i = 0; i < n; i++) {
    const slot = slots[i];
    map.delete(live[slot]);
    live[slot] = keys[i];
    map.set(keys[i], i);
  }
  return n;
}

/** A cache in front of something: get, and set after a miss. @param {MapLike} cache @param {Int32Array} keys */
export function cacheAsideLoop(cache, keys) {
  const n = keys.length;
  let hits = 0;
  for (let i = 0; i < n; i++) {
    const key = keys[i];
    if (cache.get(key) === undefined) cache.set(key, i);
    else hits++;
  }
  return hits;
}

/**
 * Fills from empty; the longest time that `step` operations took.
 * @param {MapLike} map @param {Int32Array} keys @param {number} step
 * @param {() => number} now milliseconds
 */
export function stallLoop(map, keys, step, now) {
  const n = keys.length;
  let worst = 0;
  let before = now();
  for (let i = 0; i < n;) {
    const end = Math.min(n, i + step);
    for (; i < end; i++) map.set(keys[i], i);
    const after = now();
    worst = Math.max(worst, after - before);
    before = after;
  }
  return worst;
}

/**
 * The doors of the typed API's `get` without the typed API. A negative answer is not the value, or one above 2^31: the second
 * door knows.
 * @param {(map: number, handle: number, key: any) => number} get @param {(map: number, handle: number, key: any) => number} more
 * @param {number} map @param {number} handle @param {ArrayLike<unknown>} keys
 */
export function rawGetLoop(get, more, map, handle, keys) {
  const n = keys.length;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const key = keys[i];
    let value = get(map, handle, key);
    if (value < 0) value = more(map, handle, key);
    sum = (sum + value) | 0;
  }
  return sum;
}

/**
 * Adds every `step`th word, of a multiple of four. Four at a time: one by one the loop takes longer than the adding, and that is
 * nothing a getMany does.
 * @param {Uint32Array} words @param {number} step
 */
export function sumLoop(words, step) {
  const n = words.length;
  let sum = 0;
  for (let i = 0; i < n; i += 4 * step) {
    sum = (sum + words[i] + words[i + step] + words[i + 2 * step] + words[i + 3 * step]) | 0;
  }
  return sum;
}

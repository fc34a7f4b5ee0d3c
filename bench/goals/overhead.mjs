// What the typed API costs over the raw exports, for keys of 4, 8 and 16 bytes. Dimensions: HASH, full, 1k entries (in the
// caches, where it shows); get and set x key. "Raw" is a loop over the sized doors of the core, with the views and words
// that a caller without the typed API has to keep himself; results are read and keys are given in the same form.

import { fresh } from "../support/race.mjs";
import { Random, keyOf, wideKeyOf } from "../support/random.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */

const ENTRIES = 1000;
const MUST = 1.25;

/** @param {any} map @param {ArrayLike<unknown>} keys */
function typedGet(map, keys) {
  let sum = 0;
  for (let i = 0; i < keys.length; i++) sum = (sum + map.get(keys[i])) | 0;
  return sum;
}

/** @param {any} map @param {ArrayLike<unknown>} keys */
function typedSet(map, keys) {
  for (let i = 0; i < keys.length; i++) map.set(keys[i], i);
  return keys.length;
}

/** @param {any} map @param {Uint32Array} words @param {Uint8Array} key @param {Uint32Array} keyWords @param {Uint8Array} out */
function typedGetBytes(map, words, key, keyWords, out) {
  let sum = 0;
  for (let i = 0; i < words.length; i += 4) {
    for (let j = 0; j < 4; j++) keyWords[j] = words[i + j];
    map.getInto(key, out);
    sum += out[0];
  }
  return sum;
}

/** @param {any} map @param {Uint32Array} words @param {Uint8Array} key @param {Uint32Array} keyWords @param {Uint8Array} value */
function typedSetBytes(map, words, key, keyWords, value) {
  for (let i = 0; i < words.length; i += 4) {
    for (let j = 0; j < 4; j++) keyWords[j] = words[i + j];
    map.set(key, value);
  }
  return words.length;
}

/** @param {any} lookup @param {number} map @param {number} handle @param {Uint32Array} memory @param {ArrayLike<unknown>} keys */
function rawGet(lookup, map, handle, memory, keys) {
  let sum = 0;
  for (let i = 0; i < keys.length; i++)
    sum = (sum + memory[lookup(map, handle, keys[i]) >>> 2]) | 0;
  return sum;
}

/** @param {any} update @param {number} map @param {number} handle @param {Uint32Array} memory @param {number} ptr @param {ArrayLike<unknown>} keys */
function rawSet(update, map, handle, memory, ptr, keys) {
  for (let i = 0; i < keys.length; i++) {
    memory[ptr >>> 2] = i;
    update(map, handle, keys[i], ptr, 0);
  }
  return keys.length;
}

/**
 * @param {any} lookup @param {number} map @param {number} handle @param {Uint32Array} memory @param {Uint32Array} words
 * @param {Uint32Array} key @param {Uint8Array} out @param {Uint32Array} outWords
 */
function rawGetBytes(lookup, map, handle, memory, words, key, out, outWords) {
  let sum = 0;
  for (let i = 0; i < words.length; i += 4) {
    for (let j = 0; j < 4; j++) key[j] = words[i + j];
    const at = lookup(map, handle, key[0], key[1], key[2], key[3]) >>> 2;
    for (let j = 0; j < 4; j++) outWords[j] = memory[at + j];
    sum += out[0];
  }
  return sum;
}

/**
 * @param {any} update @param {number} map @param {number} handle @param {Uint32Array} memory @param {number} ptr
 * @param {Uint32Array} words @param {Uint32Array} key @param {Uint32Array} value
 */
function rawSetBytes(update, map, handle, memory, ptr, words, key, value) {
  for (let i = 0; i < words.length; i += 4) {
    for (let j = 0; j < 4; j++) key[j] = words[i + j];
    for (let j = 0; j < 4; j++) memory[(ptr >>> 2) + j] = value[j];
    update(map, handle, key[0], key[1], key[2], key[3], ptr, 0);
  }
  return words.length;
}

/** @param {Suite} suite @param {string} workload @param {number} ops @param {() => void} before @param {() => number} typed @param {() => number} raw */
async function compare(suite, workload, ops, before, typed, raw) {
  const name = `API overhead: ${workload}, ${label(ENTRIES)}`;
  await suite.race({ goal: "api", family: "overhead", workload: name, must: MUST, aim: 1.1 }, [
    { name: "bpfmaps", role: "ours", ops, before, run: typed },
    { name: "raw exports", role: "peer", ops, before, run: raw },
  ]);
}

/** @param {Suite} suite @param {string} name @param {any} codec @param {(i: number) => unknown} keyOfEntry @param {string} lookup @param {string} update */
async function scalars(suite, name, codec, keyOfEntry, lookup, update) {
  const { rt } = suite;
  const { u32 } = suite.library;
  const exports = /** @type {any} */ (rt.exports);
  const map = rt.createMap({ type: "hash", key: codec, value: u32, maxEntries: ENTRIES });
  for (let i = 0; i < ENTRIES; i++) map.set(keyOfEntry(i), i);
  const handle = exports.bpf_map_by_fd(map.fd);
  const ptr = exports.map_by_handle(handle);
  const value = rt.alloc(8);
  const memory = new Uint32Array(rt.memory.buffer);
  const random = new Random(1);
  // Not the objects that are in the map, and few of them, or their memory is what is measured.
  const pool = Array.from({ length: ENTRIES }, (_, i) => keyOfEntry(i));
  const keys = Array.from({ length: suite.plan.window }, () => pool[0]);
  const before = () => {
    for (let i = 0; i < keys.length; i++) keys[i] = pool[random.below(ENTRIES)];
  };
  const loops = {
    get: fresh(typedGet),
    set: fresh(typedSet),
    rawGet: fresh(rawGet),
    rawSet: fresh(rawSet),
  };
  const ops = keys.length;
  const get = () => loops.get(map, keys);
  const raw = () => loops.rawGet(exports[lookup], ptr, handle, memory, keys);
  await compare(suite, `get ${name}`, ops, before, get, raw);
  const set = () => loops.set(map, keys);
  const put = () => loops.rawSet(exports[update], ptr, handle, memory, value, keys);
  await compare(suite, `set ${name}`, ops, before, set, put);
  rt.free(value);
  map.close();
}

/** @param {Suite} suite */
async function sixteenBytes(suite) {
  const { rt } = suite;
  const { bytes } = suite.library;
  const exports = /** @type {any} */ (rt.exports);
  const map = rt.createMap({
    type: "hash",
    key: bytes(16),
    value: bytes(16),
    maxEntries: ENTRIES,
  });
  const key = new Uint8Array(16);
  const keyWords = new Uint32Array(key.buffer);
  const out = new Uint8Array(16);
  const outWords = new Uint32Array(out.buffer);
  /** @param {Uint32Array} to @param {number} at @param {number} i */
  const fill = (to, at, i) => {
    for (let j = 0; j < 4; j++) to[at + j] = keyOf(i + j * 0x1000000);
  };
  for (let i = 0; i < ENTRIES; i++) {
    fill(keyWords, 0, i);
    map.set(key, key);
  }
  const handle = exports.bpf_map_by_fd(map.fd);
  const ptr = exports.map_by_handle(handle);
  const value = rt.alloc(16);
  const memory = new Uint32Array(rt.memory.buffer);
  const random = new Random(1);
  const ops = suite.plan.window;
  const words = new Uint32Array(ops * 4);
  const before = () => {
    for (let i = 0; i < ops; i++) fill(words, i * 4, random.below(ENTRIES));
  };
  const loops = {
    get: fresh(typedGetBytes),
    set: fresh(typedSetBytes),
    rawGet: fresh(rawGetBytes),
    rawSet: fresh(rawSetBytes),
  };
  const { map_lookup16, map_update16 } = exports;
  const get = () => loops.get(map, words, key, keyWords, out);
  const raw = () => loops.rawGet(map_lookup16, ptr, handle, memory, words, keyWords, out, outWords);
  await compare(suite, "get 16 bytes", ops, before, get, raw);
  const set = () => loops.set(map, words, key, keyWords, out);
  const put = () =>
    loops.rawSet(map_update16, ptr, handle, memory, value, words, keyWords, outWords);
  await compare(suite, "set 16 bytes", ops, before, set, put);
  rt.free(value);
  map.close();
}

/** @param {Suite} suite */
async function run(suite) {
  const { u32, u64 } = suite.library;
  await scalars(suite, "u32", u32, keyOf, "map_lookup4", "map_update4");
  await scalars(suite, "u64", u64, wideKeyOf, "map_lookup_u64", "map_update_u64");
  await sixteenBytes(suite);
}

export default { goals: ["api"], run };

// What the typed API costs over the raw exports, for keys of 4, 8 and 16 bytes. Dimensions: HASH, full, 1k entries (in the
// caches, where it shows); get and set x key. "Raw" is a loop over the doors of the core that the typed API itself uses for
// these keys and values, with the views that a caller without the typed API has to keep himself. Keys are given and results are
// read in the same form: numbers, bigints, 16 bytes in one array. Detail: "raw, of words", a caller who has the words of a key
// at hand, and so no use for an array of its bytes.

import { rawGetLoop } from "../support/loops.mjs";
import { fresh, takingTurns } from "../support/race.mjs";
import { Random, keyOf, wideKeyOf } from "../support/random.mjs";
import { label, mustBe } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */

const ENTRIES = 1000;
const MUST = 1.25;
const AIM = 1.1;

/** @param {any} map @param {ArrayLike<unknown>} keys */
function typedGet(map, keys) {
  let sum = 0;
  for (let i = 0; i < keys.length; i++) sum = (sum + map.get(keys[i])) | 0;
  return sum;
}

/** @param {any} map @param {ArrayLike<unknown>} keys */
function typedSet(map, keys) {
  for (let i = 0; i < keys.length; i++) map.set(keys[i], i);
  return 0;
}

/** @param {any} map @param {Uint32Array} words @param {Uint8Array} key @param {Uint32Array} keyWords @param {Uint8Array} out */
function typedGetBytes(map, words, key, keyWords, out) {
  let sum = 0;
  for (let i = 0; i < words.length; i += 4) {
    keyWords[0] = words[i];
    keyWords[1] = words[i + 1];
    keyWords[2] = words[i + 2];
    keyWords[3] = words[i + 3];
    map.getInto(key, out);
    sum += out[0];
  }
  return sum;
}

/** @param {any} map @param {Uint32Array} words @param {Uint8Array} key @param {Uint32Array} keyWords @param {Uint8Array} value */
function typedSetBytes(map, words, key, keyWords, value) {
  for (let i = 0; i < words.length; i += 4) {
    keyWords[0] = words[i];
    keyWords[1] = words[i + 1];
    keyWords[2] = words[i + 2];
    keyWords[3] = words[i + 3];
    map.set(key, value);
  }
  return 0;
}

/** @param {any} put @param {number} map @param {number} handle @param {ArrayLike<unknown>} keys @returns {number} 0, unless one failed */
function rawSet(put, map, handle, keys) {
  let failed = 0;
  for (let i = 0; i < keys.length; i++) failed |= put(map, handle, keys[i], i, 0);
  return failed;
}

/**
 * The second door is for keys that the first one leaves to it, which answers 1; 0 is the answer for keys that are absent.
 * @param {any} at @param {any} lookup @param {number} map @param {number} handle @param {BigInt64Array} memory
 * @param {Uint32Array} words @param {Uint32Array} key @param {Uint8Array} out @param {BigInt64Array} outLongs
 */
function rawGetBytes(at, lookup, map, handle, memory, words, key, out, outLongs) {
  let sum = 0;
  for (let i = 0; i < words.length; i += 4) {
    key[0] = words[i];
    key[1] = words[i + 1];
    key[2] = words[i + 2];
    key[3] = words[i + 3];
    let ptr = at(map, handle, key[0], key[1], key[2], key[3]);
    if (ptr === 1) ptr = lookup(map, handle, key[0], key[1], key[2], key[3]);
    if (ptr === 0) continue;
    outLongs[0] = memory[ptr >>> 3];
    outLongs[1] = memory[(ptr >>> 3) + 1];
    sum += out[0];
  }
  return sum;
}

/**
 * rawGetBytes without an array for the key.
 * @param {any} at @param {any} lookup @param {number} map @param {number} handle @param {BigInt64Array} memory
 * @param {Uint32Array} words @param {Uint8Array} out @param {BigInt64Array} outLongs
 */
function rawGetWords(at, lookup, map, handle, memory, words, out, outLongs) {
  let sum = 0;
  for (let i = 0; i < words.length; i += 4) {
    let ptr = at(map, handle, words[i], words[i + 1], words[i + 2], words[i + 3]);
    if (ptr === 1) ptr = lookup(map, handle, words[i], words[i + 1], words[i + 2], words[i + 3]);
    if (ptr === 0) continue;
    outLongs[0] = memory[ptr >>> 3];
    outLongs[1] = memory[(ptr >>> 3) + 1];
    sum += out[0];
  }
  return sum;
}

/**
 * @param {any} update @param {number} map @param {number} handle @param {Int32Array} memory @param {number} ptr of a value's
 * copy @param {Uint32Array} words @param {Uint32Array} key @param {Int32Array} value @returns {number} 0, unless one failed
 */
function rawSetBytes(update, map, handle, memory, ptr, words, key, value) {
  const to = ptr >>> 2;
  let failed = 0;
  for (let i = 0; i < words.length; i += 4) {
    key[0] = words[i];
    key[1] = words[i + 1];
    key[2] = words[i + 2];
    key[3] = words[i + 3];
    memory[to] = value[0];
    memory[to + 1] = value[1];
    memory[to + 2] = value[2];
    memory[to + 3] = value[3];
    failed |= update(map, handle, key[0], key[1], key[2], key[3], ptr, 0);
  }
  return failed;
}

/**
 * @template Q
 * @typedef {object} Comparison
 * @property {string} workload
 * @property {(random: Random) => Q & { refill(): void }} make queries
 * @property {(queries: Q) => number} expected of the loops' results
 * @property {(queries: Q) => number} typed
 * @property {(queries: Q) => number} raw
 * @property {(queries: Q) => number} [words] raw, without an array for the key
 */

/** @template Q @param {Suite} suite @param {Comparison<Q>} comparison */
async function compare(suite, { workload, make, expected, typed, raw, words }) {
  const ops = suite.plan.window;
  /** @param {number} seed @param {(queries: Q) => number} use */
  const turns = (seed, use) => {
    const random = new Random(seed);
    return takingTurns(
      () => make(random),
      ops,
      (queries) => mustBe(use(queries), expected(queries)),
    );
  };
  const name = `API overhead: ${workload}, ${label(ENTRIES)}`;
  await suite.race({ goal: "api", family: "overhead", workload: name, must: MUST, aim: AIM }, [
    { name: "bpfmaps", role: "ours", ...turns(1, typed) },
    { name: "raw exports", role: "peer", ...turns(2, raw) },
    ...(words
      ? [/** @type {const} */ ({ name: "raw, of words", role: "detail", ...turns(3, words) })]
      : []),
  ]);
}

/** @param {Suite} suite @param {number} fd */
function rawMap({ rt }, fd) {
  const exports = /** @type {any} */ (rt.exports);
  const handle = exports.bpf_map_by_fd(fd);
  return { exports, handle, map: exports.map_by_handle(handle) };
}

/**
 * @param {Suite} suite @param {string} name @param {any} codec @param {(i: number) => unknown} keyOfEntry
 * @param {{ get: string, more: string, put: string }} doors
 */
async function scalars(suite, name, codec, keyOfEntry, doors) {
  const { u32 } = suite.library;
  const typed = suite.rt.createMap({ type: "hash", key: codec, value: u32, maxEntries: ENTRIES });
  for (let i = 0; i < ENTRIES; i++) typed.set(keyOfEntry(i), i);
  const { exports, handle, map } = rawMap(suite, typed.fd);
  const { [doors.get]: get, [doors.more]: more, [doors.put]: put } = exports;
  // Not the objects that are in the map, and few of them, or their memory is what is measured.
  const pool = Array.from({ length: ENTRIES }, (_, i) => keyOfEntry(i));
  /** @param {Random} random */
  const make = (random) => ({
    keys: Array.from({ length: suite.plan.window }, () => pool[0]),
    sum: 0,
    refill() {
      this.sum = 0;
      for (let i = 0; i < this.keys.length; i++) {
        const entry = random.below(ENTRIES);
        this.keys[i] = pool[entry];
        this.sum += entry;
      }
    },
  });
  const loops = {
    get: fresh(typedGet),
    set: fresh(typedSet),
    rawGet: fresh(rawGetLoop),
    rawSet: fresh(rawSet),
  };
  await compare(suite, {
    workload: `get ${name}`,
    make,
    expected: ({ sum }) => sum,
    typed: ({ keys }) => loops.get(typed, keys),
    raw: ({ keys }) => loops.rawGet(get, more, map, handle, keys),
  });
  await compare(suite, {
    workload: `set ${name}`,
    make,
    expected: () => 0,
    typed: ({ keys }) => loops.set(typed, keys),
    raw: ({ keys }) => loops.rawSet(put, map, handle, keys),
  });
  typed.close();
}

/** @param {Uint32Array} to @param {number} at @param {number} i */
function writeWords(to, at, i) {
  for (let j = 0; j < 4; j++) to[at + j] = keyOf(i + j * 0x1000000);
}

/** @param {Suite} suite */
async function sixteenBytes(suite) {
  const { rt } = suite;
  const { bytes } = suite.library;
  const typed = rt.createMap({
    type: "hash",
    key: bytes(16),
    value: bytes(16),
    maxEntries: ENTRIES,
  });
  const key = new Uint8Array(16);
  const keyWords = new Uint32Array(key.buffer);
  const out = new Uint8Array(16);
  const outLongs = new BigInt64Array(out.buffer);
  const value = new Uint8Array(16);
  const valueWords = new Int32Array(value.buffer);
  for (let i = 0; i < ENTRIES; i++) {
    writeWords(keyWords, 0, i);
    typed.set(key, key);
  }
  const { exports, handle, map } = rawMap(suite, typed.fd);
  const { map_at16, map_lookup16, map_update16 } = exports;
  const valuePtr = rt.alloc(16);
  const longs = new BigInt64Array(rt.memory.buffer);
  const ints = new Int32Array(rt.memory.buffer);
  /** @param {Random} random */
  const make = (random) => ({
    words: new Uint32Array(suite.plan.window * 4),
    firstBytes: 0,
    refill() {
      this.firstBytes = 0;
      for (let i = 0; i < this.words.length; i += 4) {
        writeWords(this.words, i, random.below(ENTRIES));
        this.firstBytes += this.words[i] & 255;
      }
    },
  });
  const loops = {
    get: fresh(typedGetBytes),
    set: fresh(typedSetBytes),
    rawGet: fresh(rawGetBytes),
    words: fresh(rawGetWords),
    rawSet: fresh(rawSetBytes),
  };
  await compare(suite, {
    workload: "get 16 bytes",
    make,
    // Values have their keys' bytes.
    expected: ({ firstBytes }) => firstBytes,
    typed: ({ words }) => loops.get(typed, words, key, keyWords, out),
    raw: ({ words }) =>
      loops.rawGet(map_at16, map_lookup16, map, handle, longs, words, keyWords, out, outLongs),
    words: ({ words }) =>
      loops.words(map_at16, map_lookup16, map, handle, longs, words, out, outLongs),
  });
  await compare(suite, {
    workload: "set 16 bytes",
    make,
    expected: () => 0,
    typed: ({ words }) => loops.set(typed, words, key, keyWords, value),
    raw: ({ words }) =>
      loops.rawSet(map_update16, map, handle, ints, valuePtr, words, keyWords, valueWords),
  });
  rt.free(valuePtr);
  typed.close();
}

/** @param {Suite} suite */
async function run(suite) {
  const { u32, u64 } = suite.library;
  await scalars(suite, "u32", u32, keyOf, {
    get: "map_get4",
    more: "map_get4_any",
    put: "map_put4",
  });
  await scalars(suite, "u64", u64, wideKeyOf, {
    get: "map_get_u64",
    more: "map_get_u64_any",
    put: "map_put_u64",
  });
  await sixteenBytes(suite);
}

export default { goals: ["api"], run };

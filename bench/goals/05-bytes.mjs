// Goal 5: single get, 16 bytes -> 16 bytes. Dimensions: HASH, full, 1M entries; uniform, all hit. Peer: Map with strings of
// the same bytes (latin1) as keys and values, ready before the clock starts (new strings, not those in the map). Ours, both
// judged: "one key" where the bytes of all queries lie one behind the other, as in a buffer of packets, and the loop copies each
// into the one array it uses as a key; "an array a key" where each query is a Uint8Array that is at hand, as the peer's strings
// are. Both read into the one array `out`. Details: `get`, which makes an array for each value; and Map when the string has to
// be made of the bytes.

import { fresh, takingTurns } from "../support/race.mjs";
import { Random, keyOf } from "../support/random.mjs";
import { label, mustBe } from "../support/suite.mjs";

/** @typedef {import("../support/race.mjs").Contender} Contender */

const BYTES = 16;
const ENTRIES = 1_000_000;
const WINDOW = 1 << 16;

/** The key of entry i; its value has the same bytes. @param {Buffer} to @param {number} at @param {number} i */
function writeKey(to, at, i) {
  for (let word = 0; word < BYTES; word += 4)
    to.writeUInt32LE(keyOf(i + word * 0x1000000), at + word);
}

/**
 * Queries as bytes one behind the other, and what a contender wants to have made of them. `firstBytes` is what a loop must
 * come to: values have their keys' bytes.
 * @template T
 * @param {number} entries @param {number} count @param {Random} random @param {(buffer: Buffer, at: number) => T} make
 */
function byteWindow(entries, count, random, make) {
  const buffer = Buffer.from(new ArrayBuffer(count * BYTES));
  const words = new Uint32Array(buffer.buffer);
  /** @type {T[]} */
  const keys = [];
  const queries = { buffer, words, keys, firstBytes: 0, refill };
  function refill() {
    queries.firstBytes = 0;
    for (let i = 0; i < count; i++) {
      writeKey(buffer, i * BYTES, random.below(entries));
      queries.firstBytes += buffer[i * BYTES];
    }
    for (let i = 0; i < count; i++) keys[i] = make(buffer, i * BYTES);
  }
  return queries;
}

/** @param {Buffer} buffer @param {number} at */
const bytesAt = (buffer, at) => new Uint8Array(buffer.buffer, buffer.byteOffset + at, BYTES);
/** @param {Buffer} buffer @param {number} at */
const textAt = (buffer, at) => buffer.toString("latin1", at, at + BYTES);
const nothing = () => 0;

/**
 * @param {{ getInto(key: Uint8Array, out: Uint8Array): Uint8Array | undefined }} map
 * @param {Uint32Array} queries 4 words each @param {Uint8Array} key @param {Uint32Array} words of key @param {Uint8Array} out
 */
function getFlatLoop(map, queries, key, words, out) {
  let sum = 0;
  for (let i = 0; i < queries.length; i += 4) {
    words[0] = queries[i];
    words[1] = queries[i + 1];
    words[2] = queries[i + 2];
    words[3] = queries[i + 3];
    map.getInto(key, out);
    sum += out[0];
  }
  return sum;
}

/** @param {{ getInto(key: Uint8Array, out: Uint8Array): Uint8Array | undefined }} map @param {Uint8Array[]} keys @param {Uint8Array} out */
function getIntoLoop(map, keys, out) {
  let sum = 0;
  for (let i = 0; i < keys.length; i++) {
    map.getInto(keys[i], out);
    sum += out[0];
  }
  return sum;
}

/** @param {{ get(key: Uint8Array): Uint8Array | undefined }} map @param {Uint8Array[]} keys */
function getBytesLoop(map, keys) {
  let sum = 0;
  for (let i = 0; i < keys.length; i++) sum += /** @type {Uint8Array} */ (map.get(keys[i]))[0];
  return sum;
}

/** @param {Map<string, string>} map @param {string[]} keys */
function getTextLoop(map, keys) {
  let sum = 0;
  for (let i = 0; i < keys.length; i++)
    sum += /** @type {string} */ (map.get(keys[i])).charCodeAt(0);
  return sum;
}

/** @param {Map<string, string>} map @param {Buffer} buffer @param {number} count @param {number} bytes */
function makeTextLoop(map, buffer, count, bytes) {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const key = buffer.toString("latin1", i * bytes, (i + 1) * bytes);
    sum += /** @type {string} */ (map.get(key)).charCodeAt(0);
  }
  return sum;
}

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const { bytes } = suite.library;
  const entries = suite.size(ENTRIES);
  const ops = Math.min(WINDOW, suite.plan.window);
  const ours = suite.rt.createMap({
    type: "hash",
    key: bytes(BYTES),
    value: bytes(BYTES),
    maxEntries: entries,
  });
  /** @type {Map<string, string>} */
  const map = new Map();
  const one = Buffer.alloc(BYTES);
  for (let i = 0; i < entries; i++) {
    writeKey(one, 0, i);
    ours.set(one, one);
    map.set(one.toString("latin1"), one.toString("latin1"));
  }
  const out = new Uint8Array(BYTES);
  const key = new Uint8Array(BYTES);
  const keyWords = new Uint32Array(key.buffer);
  const loops = {
    flat: fresh(getFlatLoop),
    into: fresh(getIntoLoop),
    get: fresh(getBytesLoop),
    text: fresh(getTextLoop),
    make: fresh(makeTextLoop),
  };
  /**
   * @template T
   * @param {number} seed @param {(buffer: Buffer, at: number) => T} make
   * @param {(queries: ReturnType<typeof byteWindow<T>>) => number} use
   */
  const turns = (seed, make, use) => {
    const random = new Random(seed);
    return takingTurns(
      () => byteWindow(entries, ops, random, make),
      ops,
      (queries) => mustBe(use(queries), queries.firstBytes),
    );
  };
  const flat = turns(5, nothing, ({ words }) => loops.flat(ours, words, key, keyWords, out));
  const text = turns(3, textAt, ({ keys }) => loops.text(map, keys));
  const into = turns(1, bytesAt, ({ keys }) => loops.into(ours, keys, out));
  const get = turns(2, bytesAt, ({ keys }) => loops.get(ours, keys));
  const made = turns(4, nothing, ({ buffer }) => loops.make(map, buffer, ops, BYTES));
  /** @type {Contender[]} */
  const contenders = [
    { name: "bpfmaps getInto, one key", role: "ours", ...flat },
    { name: "bpfmaps getInto, an array a key", role: "ours", ...into },
    { name: "Map<string>", role: "peer", ...text },
    { name: "bpfmaps get", role: "detail", ...get },
    { name: "Map<string> of bytes", role: "detail", ...made },
  ];
  const workload = `get 16 B -> 16 B, ${label(entries)}`;
  await suite.race({ goal: "5", family: "bytes", workload, must: 0.25, aim: 0.14 }, contenders);
  ours.close();
}

export default { goals: ["5"], run };

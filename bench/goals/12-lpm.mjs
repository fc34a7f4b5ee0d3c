// Goal 12: longest prefix match in an IPv4 table. Dimensions: LPM_TRIE, 4 bytes of data, u32 values, 500k prefixes: a real
// table with --data DIR (routes/*.txt.gz), else synthetic ones with the lengths of the Internet's. Addresses at random
// inside the prefixes (all match). Peer: a Map for each prefix length, asked from the longest to the shortest.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fresh, takingTurns } from "../support/race.mjs";
import { Random } from "../support/random.mjs";
import { fillTrie, readRoutes } from "../support/routes.mjs";
import { label, mustBe } from "../support/suite.mjs";

/** @typedef {import("../support/routes.mjs").Routes} Routes */
/** @typedef {import("../support/suite.mjs").Suite} Suite */

const LPM_TRIE = 11;
const ENTRIES = 500_000;
const SHORTEST = 8;
/** Of 10000 synthetic prefixes, how many have length 8, 9, ... 32: about as in an Internet routing table. */
const SHARES = [
  1, 1, 1, 2, 5, 10, 19, 34, 254, 138, 233, 486, 699, 734, 1127, 924, 5267, 18, 21, 10, 3, 6, 6, 1,
  3,
];

/** @param {number} length */
function maskOf(length) {
  return length === 0 ? 0 : -1 << (32 - length);
}

/** @param {Uint8Array} data @param {number} i big-endian word i */
function networkWord(data, i) {
  return (data[i * 4] << 24) | (data[i * 4 + 1] << 16) | (data[i * 4 + 2] << 8) | data[i * 4 + 3];
}

/** @param {number} word */
function swap(word) {
  return ((word & 255) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** @param {number} count @returns {Routes} */
function synthesize(count) {
  const random = new Random(12);
  const lengths = new Uint8Array(count);
  const data = new Uint8Array(count * 4);
  const view = new DataView(data.buffer);
  const wheel = SHARES.flatMap((share, i) => Array.from({ length: share }, () => SHORTEST + i));
  const seen = new Set();
  for (let i = 0; i < count;) {
    const length = wheel[random.below(wheel.length)];
    // 1.0.0.0 to 223.255.255.255.
    const word = (random.below(0xdf000000) + 0x01000000) & maskOf(length);
    const id = word * 64 + length;
    if (seen.has(id)) continue;
    seen.add(id);
    lengths[i] = length;
    view.setInt32(i * 4, word);
    i++;
  }
  return { count, dataSize: 4, lengths, data };
}

/** How far a table is from the goal's size. @param {{ routes: Routes }} table */
function distance({ routes }) {
  return Math.abs(routes.count - ENTRIES);
}

/** The real IPv4 table whose size is closest to the goal's. @param {string} folder */
function realTable(folder) {
  const routes = join(folder, "routes");
  const place = existsSync(routes) ? routes : folder;
  const files = readdirSync(place).filter((name) => name.endsWith(".txt.gz"));
  const tables = files.map((name) => ({
    name: name.replace(".txt.gz", ""),
    routes: readRoutes(join(place, name)),
  }));
  return tables
    .filter(({ routes: { dataSize } }) => dataSize === 4)
    .toSorted((a, b) => distance(a) - distance(b))
    .at(0);
}

/** @param {Routes} routes */
function makeMaps(routes) {
  /** @type {Map<number, Map<number, number>>} */
  const byLength = new Map();
  for (let i = 0; i < routes.count; i++) {
    const length = routes.lengths[i];
    const map = byLength.get(length) ?? new Map();
    byLength.set(length, map.set(networkWord(routes.data, i) & maskOf(length), i));
  }
  const sorted = [...byLength].toSorted(([a], [b]) => b - a);
  return { masks: sorted.map(([length]) => maskOf(length)), maps: sorted.map(([, map]) => map) };
}

/** @param {Map<number, number>[]} maps @param {number[]} masks @param {Int32Array} addresses */
function mapsLoop(maps, masks, addresses) {
  let sum = 0;
  for (let i = 0; i < addresses.length; i++) {
    for (let j = 0; j < maps.length; j++) {
      const value = maps[j].get(addresses[i] & masks[j]);
      if (value === undefined) continue;
      sum = (sum + value) | 0;
      break;
    }
  }
  return sum;
}

/**
 * The door that the typed API's `matchU32` uses.
 * @param {(map: number, handle: number, address: number) => number} match
 * @param {number} map @param {number} handle @param {Uint32Array} memory @param {Int32Array} addresses
 */
function matchLoop(match, map, handle, memory, addresses) {
  let sum = 0;
  for (let i = 0; i < addresses.length; i++) {
    sum = (sum + memory[match(map, handle, addresses[i]) >>> 2]) | 0;
  }
  return sum;
}

/** @param {{ matchU32(address: number): number | undefined }} trie @param {Int32Array} addresses */
function typedLoop(trie, addresses) {
  let sum = 0;
  for (let i = 0; i < addresses.length; i++) {
    const value = trie.matchU32(addresses[i]);
    if (value !== undefined) sum = (sum + value) | 0;
  }
  return sum;
}

/** The helper's way: the key is written to memory. @param {(handle: number, key: number) => number} lookup @param {number} handle @param {Uint32Array} memory @param {Int32Array} words @param {number} key */
function lookupLoop(lookup, handle, memory, words, key) {
  const at = key >>> 2;
  memory[at] = 32;
  let sum = 0;
  for (let i = 0; i < words.length; i++) {
    memory[at + 1] = words[i];
    sum = (sum + memory[lookup(handle, key) >>> 2]) | 0;
  }
  return sum;
}

/** Addresses inside the prefixes, drawn anew for each round. @param {Routes} routes @param {number} ops @param {Random} random @param {boolean} asLoaded as a little-endian machine loads them */
function addressWindow(routes, ops, random, asLoaded) {
  const words = new Int32Array(ops);
  const refill = () => {
    for (let i = 0; i < ops; i++) {
      const route = random.below(routes.count);
      const mask = maskOf(routes.lengths[route]);
      const address = (networkWord(routes.data, route) & mask) | (random.word() & ~mask);
      words[i] = asLoaded ? swap(address) : address;
    }
  };
  return { words, refill };
}

/**
 * All must find the same.
 * @param {Routes} routes @param {(words: Int32Array) => number} theirs
 * @param {readonly ((words: Int32Array) => number)[]} ours @param {(words: Int32Array) => number} byHelper
 */
function checkAgreement(routes, theirs, ours, byHelper) {
  const { words, refill } = addressWindow(routes, 1 << 14, new Random(99), false);
  refill();
  const expected = theirs(words);
  for (const use of ours) mustBe(use(words), expected);
  mustBe(byHelper(words.map(swap)), expected);
}

/** @param {Suite} suite */
async function run(suite) {
  const { rt, plan } = suite;
  if (rt.exports.map_type_supported(LPM_TRIE) === 0)
    return suite.skip("12", "LPM", "the core has no LPM_TRIE yet");
  const real = suite.options.data === undefined ? undefined : realTable(suite.options.data);
  const routes = real?.routes ?? synthesize(suite.size(ENTRIES));
  const what = `${label(Number((routes.count / 1000).toFixed(0)) * 1000)} ${real === undefined ? "synthetic" : "real"} prefixes`;
  const { handle, used, fd } = fillTrie(rt, routes);
  const { maps, masks } = makeMaps(routes);
  const key = rt.alloc(8);
  const memory = new Uint32Array(rt.memory.buffer);
  const exports = /** @type {Record<string, any>} */ (/** @type {unknown} */ (rt.exports));
  const loops = {
    maps: fresh(mapsLoop),
    match: fresh(matchLoop),
    lookup: fresh(lookupLoop),
    typed: fresh(typedLoop),
  };
  const { ipv4, lpmKey, u32 } = suite.library;
  const trie = rt.mapFromFd(fd, { type: "lpm_trie", key: lpmKey(ipv4), value: u32 });
  const match = exports.map_lpm_match_u32;
  const map = exports.map_by_handle(handle);
  /** @param {Int32Array} words */
  const byHelper = (words) => loops.lookup(exports.bpf_map_lookup_elem, handle, memory, words, key);
  /** @param {Int32Array} words */
  const byDoor = (words) => loops.match(match, map, handle, memory, words);
  const theirs = (/** @type {Int32Array} */ words) => loops.maps(maps, masks, words);
  const ours = (/** @type {Int32Array} */ words) => loops.typed(trie, words);
  checkAgreement(routes, theirs, [ours, byDoor], byHelper);
  /** @param {number} seed @param {boolean} asLoaded @param {(words: Int32Array) => number} use */
  const turns = (seed, asLoaded, use) => {
    const random = new Random(seed);
    const make = () => addressWindow(routes, plan.window, random, asLoaded);
    return takingTurns(make, plan.window, ({ words }) => use(words));
  };
  /** @type {import("../support/race.mjs").Contender[]} */
  const contenders = [
    { name: "bpfmaps", role: "ours", ...turns(1, false, ours) },
    { name: "Map per length", role: "peer", ...turns(2, false, theirs) },
    { name: "raw exports", role: "detail", ...turns(4, false, byDoor) },
    { name: "helper", role: "detail", ...turns(3, true, byHelper) },
  ];
  await suite.race(
    { goal: "12", family: "lpm", workload: `LPM, ${what}`, must: 0.3, aim: 0.2 },
    contenders,
  );
  const bytes = {
    goal: "12",
    family: "lpm-memory",
    workload: `LPM bytes a prefix, ${what}`,
    unit: "B",
    must: 150,
    aim: 60,
  };
  suite.figure(bytes, [used / routes.count]);
  rt.free(key);
  trie.close();
}

export default { goals: ["12"], run };

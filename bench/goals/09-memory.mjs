// Goal 9: bytes an entry, full maps of 1M entries, u32 -> u64. Ours: what the core's allocator has given out for the map.
// Peers: growth of the heap (and of array buffers) in a process of their own, after collection.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { LRU_PEERS } from "../support/peers.mjs";
import { filled } from "../support/contenders.mjs";
import { repositoryFile } from "../support/ours.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/race.mjs").Contender} Contender */

const ENTRIES = 1_000_000;
const BYTES = { unit: "B", family: "memory", goal: "9" };

/** @param {string} peer @param {number} entries @returns {Promise<number>} bytes an entry, NaN: not installed */
async function heapOf(peer, entries) {
  const script = repositoryFile("bench/support/heap-child.mjs");
  const child = await promisify(execFile)(process.execPath, [
    "--expose-gc",
    script,
    peer,
    String(entries),
  ]);
  return Number.parseFloat(child.stdout);
}

/** @param {import("../support/suite.mjs").Suite} suite @param {"hash" | "lru_hash"} type @param {number} maxEntries */
function ourBytes({ rt, library }, type, maxEntries) {
  const { u32, u64 } = library;
  const before = rt.exports.mem_used();
  const map = filled(rt.createMap({ type, key: u32, value: u64.asNumber, maxEntries }), maxEntries);
  const bytes = ((rt.exports.mem_used() - before) >>> 0) / maxEntries;
  map.close();
  return bytes;
}

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const entries = suite.size(ENTRIES);
  const once = { rounds: 1, warmup: 0 };
  /** @type {(type: "hash" | "lru_hash") => Contender} */
  const ours = (type) => ({
    name: "bpfmaps",
    role: "ours",
    ops: 1,
    answers: true,
    run: () => ourBytes(suite, type, entries),
  });
  /** @type {(name: string) => Contender} */
  const peer = (name) => ({
    name,
    role: "peer",
    ops: 1,
    answers: true,
    run: () => heapOf(name, entries),
  });
  const hash = { ...BYTES, workload: `bytes an entry, ${label(entries)}`, must: 0.9 };
  await suite.race(hash, [ours("hash"), peer("Map")], once);
  suite.figure({ ...BYTES, workload: "bytes an entry, absolute", must: 26, aim: 23 }, [
    ourBytes(suite, "hash", entries),
  ]);
  const installed = [];
  for (const { name } of LRU_PEERS) if (await suite.peers.load(name)) installed.push(peer(name));
  const lru = { ...BYTES, goal: "-", workload: `LRU: bytes an entry, ${label(entries)}` };
  await suite.race(lru, [ours("lru_hash"), ...installed], once);
}

export default { goals: ["9"], run };

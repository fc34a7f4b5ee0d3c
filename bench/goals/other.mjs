// What has no goal but a peer. Dimensions:
//   iteration  HASH u32 -> u64, 100k entries: forEach and cursor against Map.forEach
//   bloom      100k u32 values in it, 4 hash functions, half of the queries present, against npm bloomfilter of that size
//   ring       records of 32 bytes, written 64 at a time and read back, against ringbuf.js

import { filled } from "../support/contenders.mjs";
import { fresh } from "../support/race.mjs";
import { Random, keyOf } from "../support/random.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */
/** @typedef {import("../support/race.mjs").Contender} Contender */

const ENTRIES = 100_000;
const HASHES = 4;
const RECORD = 32;
const BURST = 64;
const RING_BYTES = 65_536;

/** @param {{ forEach(callback: (value: number, key: number) => void): void }} map */
function forEachLoop(map) {
  let sum = 0;
  map.forEach((value, key) => {
    sum = (sum + value + key) | 0;
  });
  return sum;
}

/** @param {{ cursor(): Iterable<{ key: number, value: number }> }} map */
function cursorLoop(map) {
  let sum = 0;
  for (const element of map.cursor()) sum = (sum + element.key + element.value) | 0;
  return sum;
}

/** @param {Suite} suite */
async function iteration(suite) {
  const { u32, u64 } = suite.library;
  const ops = suite.size(ENTRIES);
  const ours = filled(
    suite.rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries: ops }),
    ops,
  );
  const map = filled(new Map(), ops);
  const [each, cursor, theirs] = [fresh(forEachLoop), fresh(cursorLoop), fresh(forEachLoop)];
  await suite.race({ goal: "-", family: "iterate", workload: `forEach, ${label(ops)}` }, [
    { name: "bpfmaps forEach", role: "ours", ops, run: () => each(ours) },
    { name: "bpfmaps cursor", role: "ours", ops, run: () => cursor(ours) },
    { name: "Map.forEach", role: "peer", ops, run: () => theirs(map) },
  ]);
  ours.close();
}

/** @param {(value: number) => boolean} has @param {Int32Array} queries */
function bloomLoop(has, queries) {
  let hits = 0;
  for (let i = 0; i < queries.length; i++) if (has(queries[i])) hits++;
  return hits;
}

/** @param {string} name @param {"ours" | "peer"} role @param {(value: number) => boolean} has @param {Suite} suite @param {number} entries */
function bloomContender(name, role, has, suite, entries) {
  const random = new Random(role.length);
  const queries = new Int32Array(suite.plan.window);
  const loop = fresh(bloomLoop);
  const before = () => {
    for (let i = 0; i < queries.length; i++) queries[i] = keyOf(random.below(2 * entries));
  };
  /** @type {Contender} */
  const contender = { name, role, ops: queries.length, before, run: () => loop(has, queries) };
  return contender;
}

/** @param {Suite} suite */
async function bloom(suite) {
  const entries = suite.size(ENTRIES);
  const ours = suite.tryMap({
    type: "bloom_filter",
    value: suite.library.u32,
    maxEntries: entries,
    mapExtra: HASHES,
  });
  if (ours === undefined) return suite.skip("-", "bloom filter", "there is no typed class for it");
  const peer = await suite.peers.load("bloomfilter");
  // The kernel's size: entries * hashes / ln 2, up to a power of two.
  const bits = 2 ** Math.ceil(Math.log2((entries * HASHES * 7) / 5));
  const theirs = peer === undefined ? undefined : new peer.BloomFilter(bits, HASHES);
  for (let i = 0; i < entries; i++) {
    ours.add(keyOf(i));
    theirs?.add(keyOf(i));
  }
  const contenders = [
    bloomContender("bpfmaps", "ours", (value) => ours.mightHave(value), suite, entries),
  ];
  if (theirs !== undefined) {
    contenders.push(
      bloomContender("bloomfilter", "peer", (value) => theirs.test(value), suite, entries),
    );
  }
  await suite.race(
    { goal: "-", family: "bloom", workload: `bloom filter test, ${label(entries)}` },
    contenders,
  );
  ours.close();
}

/** @param {any} buffer @param {Uint8Array} record @param {Uint8Array} out @param {Uint32Array} lengths @param {number} bursts @param {number} burst */
function ourRingLoop(buffer, record, out, lengths, bursts, burst) {
  let count = 0;
  for (let i = 0; i < bursts; i++) {
    for (let j = 0; j < burst; j++) buffer.output(record);
    count += buffer.recordsInto(out, lengths);
  }
  return count;
}

/** @param {any} buffer @param {Uint8Array} record @param {Uint8Array} out @param {number} bursts @param {number} burst */
function peerRingLoop(buffer, record, out, bursts, burst) {
  let count = 0;
  for (let i = 0; i < bursts; i++) {
    for (let j = 0; j < burst; j++) buffer.push(record);
    for (let j = 0; j < burst; j++) count += buffer.pop(out);
  }
  return count;
}

/** @param {Suite} suite */
async function ring(suite) {
  const ours = suite.tryMap({
    type: "ringbuf",
    value: suite.library.bytes(RECORD),
    maxEntries: RING_BYTES,
  });
  if (ours === undefined) return suite.skip("-", "ring buffer", "there is no typed class for it");
  const peer = await suite.peers.load("ringbuf.js");
  const record = new Uint8Array(RECORD).fill(1);
  const [out, one, lengths] = [
    new Uint8Array(RECORD * BURST),
    new Uint8Array(RECORD),
    new Uint32Array(BURST),
  ];
  const bursts = Math.ceil(suite.plan.window / BURST / 4);
  const ops = bursts * BURST;
  const [ourLoop, peerLoop] = [fresh(ourRingLoop), fresh(peerRingLoop)];
  /** @type {Contender[]} */
  const contenders = [
    {
      name: "bpfmaps",
      role: "ours",
      ops,
      run: () => ourLoop(ours, record, out, lengths, bursts, BURST),
    },
  ];
  if (peer !== undefined) {
    const theirs = new peer.RingBuffer(
      peer.RingBuffer.getStorageForCapacity(RING_BYTES, Uint8Array),
      Uint8Array,
    );
    contenders.push({
      name: "ringbuf.js",
      role: "peer",
      ops,
      run: () => peerLoop(theirs, record, one, bursts, BURST),
    });
  }
  await suite.race(
    { goal: "-", family: "ring", workload: `ring buffer, ${RECORD}-byte records, in and out` },
    contenders,
  );
  ours.close();
}

/** @param {Suite} suite */
async function run(suite) {
  await iteration(suite);
  await bloom(suite);
  await ring(suite);
}

export default { goals: ["other"], run };

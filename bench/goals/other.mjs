// What has no goal but a peer. Dimensions:
//   iteration  HASH u32 -> u64, 100k entries: forEach and cursor against Map.forEach
//   structs    HASH, key of 5 fields (16 bytes) -> value of 2 numbers, 1k entries, read into an object at hand; against Map
//              with the fields joined to a string
//   bloom      100k u32 values in it, 4 hash functions, half of the queries present, against npm bloomfilter of that size,
//              which makes a string of each number
//   ring       records of 32 bytes, written one by one; 64 of them are read back at once. Peer: ringbuf.js of bytes, and of
//              32-bit words, which it copies faster; it keeps no lengths

import { filled } from "../support/contenders.mjs";
import { fresh, takingTurns } from "../support/race.mjs";
import { Random, keyOf } from "../support/random.mjs";
import { label, mustBe } from "../support/suite.mjs";

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
  let sum = 0;
  for (let i = 0; i < ops; i++) sum += keyOf(i) + i;
  const [each, cursor, theirs] = [fresh(forEachLoop), fresh(cursorLoop), fresh(forEachLoop)];
  await suite.race({ goal: "-", family: "iterate", workload: `forEach, ${label(ops)}` }, [
    { name: "bpfmaps forEach", role: "ours", ops, run: () => mustBe(each(ours), sum) },
    { name: "bpfmaps cursor", role: "ours", ops, run: () => mustBe(cursor(ours), sum) },
    { name: "Map.forEach", role: "peer", ops, run: () => mustBe(theirs(map), sum) },
  ]);
  ours.close();
}

/** @typedef {{ src: number, dst: number, sport: number, dport: number, proto: number }} Flow */

/** @param {number} i @returns {Flow} */
function flowOf(i) {
  return { src: keyOf(i), dst: keyOf(i + ENTRIES), sport: i & 0xffff, dport: 443, proto: 6 };
}

/** @param {any} map @param {Flow[]} flows @param {{ packets: number, bytes: number }} out */
function structLoop(map, flows, out) {
  let sum = 0;
  for (let i = 0; i < flows.length; i++) sum = (sum + map.getInto(flows[i], out).packets) | 0;
  return sum;
}

/** @param {any} map @param {Flow[]} flows */
function joinedLoop(map, flows) {
  let sum = 0;
  for (let i = 0; i < flows.length; i++) {
    const { src, dst, sport, dport, proto } = flows[i];
    sum = (sum + map.get(`${src} ${dst} ${sport} ${dport} ${proto}`).packets) | 0;
  }
  return sum;
}

/** @param {Flow[]} flows @param {number} ops @param {number} seed @param {(queries: Flow[]) => number} use */
function flowTurns(flows, ops, seed, use) {
  const random = new Random(seed);
  const make = () => ({
    queries: Array.from({ length: ops }, () => flows[0]),
    packets: 0,
    refill() {
      this.packets = 0;
      for (let i = 0; i < ops; i++) {
        const entry = random.below(flows.length);
        this.queries[i] = flows[entry];
        this.packets += entry;
      }
    },
  });
  return takingTurns(make, ops, ({ queries, packets }) => mustBe(use(queries), packets));
}

/** @param {Suite} suite */
async function structs(suite) {
  const { struct, u16, u32, u64 } = suite.library;
  const entries = suite.size(1000);
  const ours = suite.rt.createMap({
    type: "hash",
    key: struct({ src: u32, dst: u32, sport: u16, dport: u16, proto: u32 }),
    value: struct({ packets: u64.asNumber, bytes: u64.asNumber }),
    maxEntries: entries,
  });
  const map = new Map();
  const flows = Array.from({ length: entries }, (_, i) => flowOf(i));
  flows.forEach((flow, i) => {
    ours.set(flow, { packets: i, bytes: 1 });
    map.set(Object.values(flow).join(" "), { packets: i, bytes: 1 });
  });
  const out = { packets: 0, bytes: 0 };
  const [ourLoop, theirLoop] = [fresh(structLoop), fresh(joinedLoop)];
  const ops = suite.plan.window >> 2;
  const getInto = flowTurns(flows, ops, 1, (queries) => ourLoop(ours, queries, out));
  const joined = flowTurns(flows, ops, 2, (queries) => theirLoop(map, queries));
  await suite.race(
    { goal: "-", family: "structs", workload: `get by a struct, ${label(entries)}` },
    [
      { name: "bpfmaps getInto", role: "ours", ...getInto },
      { name: "Map<string>", role: "peer", ...joined },
    ],
  );
  ours.close();
}

/** @param {(value: number) => boolean} has @param {Int32Array} queries */
function bloomLoop(has, queries) {
  let hits = 0;
  for (let i = 0; i < queries.length; i++) if (has(queries[i])) hits++;
  return hits;
}

/** @param {(value: number) => boolean} has @param {number} ops @param {number} entries @param {number} seed */
function bloomTurns(has, ops, entries, seed) {
  const random = new Random(seed);
  const loop = fresh(bloomLoop);
  const make = () => ({
    queries: new Int32Array(ops),
    present: 0,
    refill() {
      this.present = 0;
      for (let i = 0; i < ops; i++) {
        const entry = random.below(2 * entries);
        this.queries[i] = keyOf(entry);
        if (entry < entries) this.present++;
      }
    },
  });
  return takingTurns(make, ops, ({ queries, present }) => {
    const hits = loop(has, queries);
    if (hits < present) throw new Error(`${hits} hits, and ${present} of the values are present`);
    return hits;
  });
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
  const { window } = suite.plan;
  const mightHave = bloomTurns((value) => ours.mightHave(value), window, entries, 1);
  /** @type {Contender[]} */
  const contenders = [{ name: "bpfmaps", role: "ours", ...mightHave }];
  if (theirs !== undefined) {
    const test = bloomTurns((value) => theirs.test(value), window, entries, 2);
    contenders.push({ name: "bloomfilter", role: "peer", ...test });
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

/**
 * The whole burst is popped at once.
 * @template {Uint8Array | Uint32Array} A
 * @param {any} buffer @param {A} record @param {A} out of a burst @param {number} bursts @param {number} burst
 */
function peerRingLoop(buffer, record, out, bursts, burst) {
  let count = 0;
  for (let i = 0; i < bursts; i++) {
    for (let j = 0; j < burst; j++) buffer.push(record);
    count += buffer.pop(out);
  }
  return count;
}

/**
 * ringbuf.js with elements of some type.
 * @param {string} name @param {any} RingBuffer @param {Uint8ArrayConstructor | Uint32ArrayConstructor} Elements @param {number} bursts
 * @returns {Contender}
 */
function peerRing(name, RingBuffer, Elements, bursts) {
  const size = Elements.BYTES_PER_ELEMENT;
  const storage = RingBuffer.getStorageForCapacity(RING_BYTES / size, Elements);
  const buffer = new RingBuffer(storage, Elements);
  const loop = fresh(peerRingLoop);
  const record = new Elements(RECORD / size).fill(1);
  const out = new Elements((RECORD * BURST) / size);
  const ops = bursts * BURST;
  const pass = () => mustBe(loop(buffer, record, out, bursts, BURST), ops * record.length);
  return { name, role: "peer", ops, run: pass };
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
  const [out, lengths] = [new Uint8Array(RECORD * BURST), new Uint32Array(BURST)];
  const bursts = Math.ceil(suite.plan.window / BURST / 4);
  const ops = bursts * BURST;
  const loop = fresh(ourRingLoop);
  /** @type {Contender[]} */
  const contenders = [
    {
      name: "bpfmaps",
      role: "ours",
      ops,
      run: () => mustBe(loop(ours, record, out, lengths, bursts, BURST), ops),
    },
  ];
  if (peer !== undefined) {
    contenders.push(
      peerRing("ringbuf.js", peer.RingBuffer, Uint8Array, bursts),
      peerRing("ringbuf.js of words", peer.RingBuffer, Uint32Array, bursts),
    );
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
  await structs(suite);
  await bloom(suite);
  await ring(suite);
}

export default { goals: ["other"], run };

// Measures what calls of the typed maps allocate: run by test/typed/allocation.test.ts in a process of its own, with
// --expose-gc and a young generation so large that nothing is collected while it measures.
// Prints one JSON object: bytes per call, by the name of the call.
//
// node --expose-gc --min-semi-space-size=128 --max-semi-space-size=128 test/support/allocation.mjs [shared]

import { bytes, createRuntime, ipv4, lpmKey, struct, u16, u32, u64 } from "../../dist/index.js";

const CALLS = 100_000;
const ROUNDS_MAX = 30;
const KEYS = 1024;
const BATCH = 256;

const rt = await createRuntime({ shared: process.argv[2] === "shared", cpus: 2 });
const Stats = struct({ packets: u64.asNumber, bytes: u64.asNumber, port: u16, flags: u32 });
const Flow = struct({ src: u32, dst: u32, ports: u32, proto: u32 });
const options = { type: "hash", key: u32, maxEntries: 2 * KEYS };
const numbers = rt.createMap({ ...options, value: u32 });
const wide = rt.createMap({ ...options, value: u64.asNumber });
const bigs = rt.createMap({ ...options, value: u64 });
const structs = rt.createMap({ ...options, value: Stats });
const blobs = rt.createMap({ ...options, value: bytes(40) });
const flows = rt.createMap({ ...options, type: "lru_hash", key: Flow, value: Stats });
const array = rt.createMap({ type: "array", value: u32, maxEntries: KEYS });
const routes = rt.createMap({ ...options, type: "lpm_trie", key: lpmKey(ipv4), value: u32 });
routes.set("10.0.0.0/8", 1);
const percpu = rt.createMap({ ...options, type: "percpu_hash", value: u32 });

const flow = { src: 0, dst: 2, ports: 3, proto: 4 };
const stats = { packets: 1, bytes: 2, port: 3, flags: 4 };
const blob = new Uint8Array(40);
const counts = [1, 2];
for (let key = 0; key < KEYS; key++) {
  flow.src = key;
  numbers.set(key, key);
  wide.set(key, key);
  bigs.set(key, 1n);
  structs.set(key, stats);
  blobs.set(key, blob);
  flows.set(flow, stats);
  percpu.set(key, counts);
}
const ref = structs.ref(0);
const bigRef = bigs.ref(0);
const cpuRef = percpu.refOn(0, 0);
const keys = Uint32Array.from({ length: BATCH }, (_, i) => i);
const out = new Uint32Array(BATCH);
const found = new Uint8Array(BATCH);
const absent = new Uint32Array(BATCH).fill(KEYS);
const addresses = new Uint8Array(4 * BATCH).fill(10);
const ownBlock = rt.alloc(BATCH * 8);
const ownKeys = new Uint32Array(rt.memory.buffer, ownBlock, BATCH).fill(5);
const ownOut = new Uint32Array(rt.memory.buffer, ownBlock + BATCH * 4, BATCH);
const long = rt.createMap({ type: "array", value: Stats, maxEntries: 100_000 });
const cursors = Array.from({ length: 80 }, () => long.cursor());
let nextCursor = 0;
let cursor = long.cursor();
/** Not a variable: numbers beyond 31 bits would be allocated. */
const sink = new Float64Array(1);
const kept = [];

/** One step of a walk; walks end and begin again with cursors that exist already. */
function walk() {
  if (!cursor.step()) {
    cursor = cursors[nextCursor++];
    cursor.step();
  }
}

const calls = {
  "control: one object": (i) => {
    kept[i & 7] = { i };
  },
  "get of a u32": (i) => {
    sink[0] += numbers.get(i & 1023);
  },
  "get of a small u64 as a number": (i) => {
    sink[0] += wide.get(i & 1023);
  },
  "get of an array's u32": (i) => {
    sink[0] += array.get(i & 1023);
  },
  "get of an absent key": (i) => {
    sink[0] += numbers.get(KEYS + (i & 1023)) === undefined ? 1 : 0;
  },
  "peek and has": (i) => {
    sink[0] += numbers.peek(i & 1023) + (numbers.has(i) ? 1 : 0);
  },
  "set of a u32": (i) => {
    numbers.set(i & 1023, i);
  },
  "set and getInto of a struct": (i) => {
    stats.port = i & 0xffff;
    structs.set(i & 1023, stats);
    structs.getInto(i & 1023, stats);
  },
  "set and getInto by a struct, LRU": (i) => {
    flow.src = i & 1023;
    flows.set(flow, stats);
    flows.getInto(flow, stats);
  },
  "getInto of bytes": (i) => {
    blobs.getInto(i & 1023, blob);
  },
  "lookupInto of a struct": (i) => {
    structs.lookupInto(i & 1023, stats);
  },
  "getInto of a per-CPU value": (i) => {
    percpu.getInto(i & 1023, counts);
  },
  "delete and set": (i) => {
    numbers.delete(i & 1023);
    numbers.set(i & 1023, i);
  },
  "ref and add to a field": (i) => {
    structs.ref(i & 1023, ref);
    ref.add("packets", 1);
    ref.add("flags", i);
  },
  "ref and add to a u64": (i) => {
    bigs.ref(i & 1023, bigRef);
    bigRef.add(i);
  },
  "ref and fields": (i) => {
    structs.ref(i & 1023, ref);
    ref.fields.flags += 1;
  },
  "refOn and add": (i) => {
    percpu.refOn(i & 1023, i & 1, cpuRef);
    cpuRef.add(1);
  },
  "cursor step with key and fields": () => {
    walk();
    sink[0] += cursor.key + cursor.fields.packets;
  },
  "cursor step with valueInto": () => {
    walk();
    cursor.valueInto(stats);
  },
  getMany: () => {
    sink[0] += numbers.getMany(keys, out, found);
  },
  setMany: () => {
    numbers.setMany(keys, out);
  },
  deleteMany: () => {
    sink[0] += numbers.deleteMany(absent);
  },
  "matchMany and matchManyU32": () => {
    sink[0] += routes.matchMany(addresses, out, found) + routes.matchManyU32(keys, out, found);
  },
  "getMany and setMany in the runtime's memory": () => {
    sink[0] += numbers.getMany(ownKeys, ownOut);
    numbers.setMany(ownKeys, ownOut);
  },
};

/** The least of some rounds: the compiler allocates too, and on a busy machine it is late. */
async function bytesPerCall(call, count) {
  for (let i = 0; i < count; i++) call(i);
  let least = Infinity;
  for (let round = 0; round < ROUNDS_MAX && least > 0.5; round++) {
    globalThis.gc();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < count; i++) call(i);
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / count);
    await new Promise((resolve) => setTimeout(resolve, round));
  }
  return least;
}

const result = {};
for (const [name, call] of Object.entries(calls)) {
  result[name] = await bytesPerCall(call, /Many/.test(name) ? CALLS / 10 : CALLS);
}
result.sink = sink[0];
rt.dispose();
console.log(JSON.stringify(result));

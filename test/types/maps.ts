// What createMap and the typed maps infer and refuse. Every `@ts-expect-error` line must fail to compile.

import {
  array,
  bpftoolDump,
  bpftoolShow,
  bytes,
  createRuntime,
  cstring,
  ipv4,
  lpmKey,
  struct,
  u16be,
  u32,
  u64,
  u8,
} from "../../ts/index.js";
import type {
  ArrayMap,
  BatchCursor,
  ArrayOfMaps,
  BatchedMap,
  BloomFilter,
  BpftoolMap,
  BpfRuntime,
  HashMap,
  HashOfMaps,
  Json,
  LpmKey,
  LruHashMap,
  LruPerCpuHashMap,
  MapCursor,
  MapInfo,
  MapOf,
  MapSpec,
  MapTypeName,
  PerCpuArrayMap,
  PerCpuHashMap,
  PerfEventArray,
  Queue,
  RingBuffer,
  SkStorage,
  Stack,
  TypedMap,
  UserRingBuffer,
  ValueRef,
} from "../../ts/index.js";
import { assertType } from "./equal.js";
import type { Equal } from "./equal.js";

declare const rt: BpfRuntime;

const Flow = struct({ src: ipv4, port: u16be });
const Stats = struct({ packets: u64, bytes: u64.asNumber, name: cstring(16), list: array(u8, 3) });

interface FlowValue {
  src: string;
  port: number;
}
interface StatsValue {
  packets: bigint;
  bytes: number;
  name: string;
  list: number[];
}

export function classes(): void {
  const spec = { key: u32, value: u64, maxEntries: 1 } as const;
  const hash = rt.createMap({ ...spec, type: "hash" });
  const lru = rt.createMap({ ...spec, type: "lru_hash" });
  const percpu = rt.createMap({ ...spec, type: "percpu_hash" });
  const lruPercpu = rt.createMap({ ...spec, type: "lru_percpu_hash" });
  const list = rt.createMap({ ...spec, type: "array" });
  const percpuList = rt.createMap({ type: "percpu_array", value: u64, maxEntries: 1 });
  assertType<Equal<typeof hash, HashMap<number, number, bigint, bigint>>>();
  assertType<Equal<typeof lru, LruHashMap<number, number, bigint, bigint>>>();
  assertType<Equal<typeof percpu, PerCpuHashMap<number, number, bigint, bigint>>>();
  assertType<Equal<typeof lruPercpu, LruPerCpuHashMap<number, number, bigint, bigint>>>();
  assertType<Equal<typeof list, ArrayMap<bigint, bigint>>>();
  assertType<Equal<typeof percpuList, PerCpuArrayMap<bigint, bigint>>>();
  assertType<Equal<keyof MapOf<typeof u32, typeof u64> & "hash", "hash">>();
}

export function otherClasses(): void {
  const maxEntries = 1;
  const queue = rt.createMap({ type: "queue", value: u64.asNumber, maxEntries });
  const stack = rt.createMap({ type: "stack", value: Flow, maxEntries });
  const filter = rt.createMap({ type: "bloom_filter", value: u32, maxEntries });
  const bytesRing = rt.createMap({ type: "ringbuf", maxEntries });
  const ring = rt.createMap({ type: "ringbuf", value: Flow, maxEntries });
  const userRing = rt.createMap({ type: "user_ringbuf", maxEntries });
  const events = rt.createMap({ type: "perf_event_array", maxEntries });
  const sk = rt.createMap({ type: "sk_storage", value: u64 });
  assertType<Equal<typeof queue, Queue<number, number>>>();
  assertType<Equal<typeof stack, Stack<FlowValue, Readonly<FlowValue>>>>();
  assertType<Equal<typeof filter, BloomFilter<number>>>();
  assertType<Equal<typeof bytesRing, RingBuffer>>();
  assertType<Equal<typeof ring, RingBuffer<FlowValue>>>();
  assertType<Equal<typeof userRing, UserRingBuffer>>();
  assertType<Equal<typeof events, PerfEventArray>>();
  assertType<Equal<typeof sk, SkStorage<bigint, bigint>>>();
}

/** A function over types. */
export function generic<T extends "hash" | "lru_hash">(type: T): MapOf<typeof u32, typeof u64>[T] {
  const map = rt.createMap({ type, key: u32, value: u64, maxEntries: 1 });
  const value = map.get(1);
  assertType<Equal<typeof value, bigint | undefined>>();
  return map;
}

/** The type may be one of several, and a blueprint a constant. */
export function blueprints(isLru: boolean): void {
  const either = isLru ? "lru_hash" : "hash";
  const one = rt.createMap({ type: either, key: u32, value: u64, maxEntries: 1 });
  assertType<
    Equal<
      typeof one,
      HashMap<number, number, bigint, bigint> | LruHashMap<number, number, bigint, bigint>
    >
  >();
  const spec: MapSpec<"queue", never, typeof u32> = { type: "queue", value: u32, maxEntries: 1 };
  const queue: MapOf<never, typeof u32>["queue"] = rt.createMap(spec);
  queue.push(1);
  assertType<Equal<keyof MapOf<never, never>, MapTypeName>>();
}

export function reading(): void {
  const map = rt.createMap({ type: "lru_hash", key: Flow, value: Stats, maxEntries: 1 });
  const key = { src: "10.0.0.1", port: 80 };
  const got = map.get(key);
  const into = map.getInto(key, { packets: 0n, bytes: 0, name: "", list: [] });
  const looked = map.lookup(key, 0);
  const taken = map.lookupAndDelete(key);
  const next = map.nextKey(key);
  assertType<Equal<typeof got, StatsValue | undefined>>();
  assertType<Equal<typeof into, StatsValue | undefined>>();
  assertType<Equal<typeof looked, StatsValue | undefined>>();
  assertType<Equal<typeof taken, StatsValue | undefined>>();
  assertType<Equal<typeof next, FlowValue | undefined>>();
  const entries = [...map];
  const keys = [...map.keys()];
  const values = [...map.values()];
  assertType<Equal<typeof entries, [FlowValue, StatsValue][]>>();
  assertType<Equal<typeof keys, FlowValue[]>>();
  assertType<Equal<typeof values, StatsValue[]>>();
  map.forEach((value, at, self) => {
    assertType<Equal<typeof value, StatsValue>>();
    assertType<Equal<typeof at, FlowValue>>();
    assertType<Equal<typeof self, typeof map>>();
  });
  const cursor = map.cursor();
  assertType<Equal<typeof cursor, MapCursor<FlowValue, StatsValue>>>();
  const { packets } = cursor.fields;
  assertType<Equal<typeof packets, bigint>>();
  const batch = map.lookupBatch(map.batchCursor(), 10);
  assertType<Equal<typeof batch, [FlowValue, StatsValue][]>>();
  for (const walked of map.batches(10)) {
    assertType<Equal<typeof walked.keys, readonly FlowValue[]>>();
    assertType<Equal<typeof walked.values, readonly StatsValue[]>>();
    // @ts-expect-error -- the arrays are the walk's
    walked.keys.length = 0;
  }
  const drained = [...map.drain()];
  assertType<Equal<typeof drained, [FlowValue, StatsValue][]>>();
  const info = map.info();
  assertType<Equal<typeof info, MapInfo>>();
}

export function perCpu(): void {
  const map = rt.createMap({ type: "percpu_hash", key: u32, value: Stats, maxEntries: 1 });
  const got = map.get(1);
  const one = map.getOn(1, 0);
  const ref = map.refOn(1, 0);
  const folded = map.reduce(1, (sum, value) => sum + value.packets, 0n);
  assertType<Equal<typeof got, StatsValue[] | undefined>>();
  assertType<Equal<typeof one, StatsValue | undefined>>();
  assertType<Equal<ReturnType<NonNullable<typeof ref>["at"]>["value"], StatsValue>>();
  assertType<Equal<typeof folded, bigint | undefined>>();
  const counts = rt.createMap({ type: "percpu_array", value: u32, maxEntries: 1 });
  const sum = counts.sum(0);
  assertType<Equal<typeof sum, number | undefined>>();
}

export function tries(): void {
  const trie = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u64, maxEntries: 1 });
  const batch = trie.lookupBatch(trie.batchCursor(), 10);
  assertType<Equal<typeof batch, [LpmKey<string>, bigint][]>>();
  trie.updateBatch([["10.0.0.0/8", 1n]]);
  trie.deleteBatch(["10.0.0.0/8", { prefixlen: 8, data: "10.0.0.0" }]);
  const out = new BigUint64Array(1);
  const hits = trie.matchManyU32(Uint32Array.of(1), out, new Uint8Array(1));
  assertType<Equal<typeof hits, number>>();
  trie.matchMany(new Uint8Array(4), out);
  // @ts-expect-error -- numbers are for matchManyU32
  trie.matchMany(Uint32Array.of(1), out);
  // @ts-expect-error -- bytes are for matchMany
  trie.matchManyU32(new Uint8Array(4), out);
  // @ts-expect-error -- the kernel has no such batch for tries
  trie.lookupAndDeleteBatch(trie.batchCursor(), 10);
}

export function outerMaps(): void {
  const inner = rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 1 });
  const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 1 });
  const hash = rt.createMap({ type: "hash_of_maps", key: Flow, inner, maxEntries: 1 });
  const id = outer.lookup(0);
  assertType<Equal<typeof id, number | undefined>>();
  const got = hash.get({ src: "10.0.0.1", port: 1 });
  assertType<Equal<typeof got, typeof inner | undefined>>();
  const values = [...hash.values()];
  assertType<Equal<typeof values, (typeof inner)[]>>();
  const next = hash.nextKey();
  assertType<Equal<typeof next, FlowValue | undefined>>();
  const batch = hash.lookupAndDeleteBatch(hash.batchCursor(), 1);
  assertType<Equal<typeof batch, [FlowValue, number][]>>();
  outer.updateBatch([
    [0, inner],
    [1, inner.fd],
  ]);
  hash.forEach((map, key) => {
    assertType<Equal<typeof map, typeof inner>>();
    assertType<Equal<typeof key, FlowValue>>();
  });
  // @ts-expect-error -- another type of map
  outer.set(0, rt.createMap({ type: "queue", value: u32, maxEntries: 1 }));
  // @ts-expect-error -- the kernel has no such batch for arrays
  outer.deleteBatch([0]);
}

export function dumps(map: TypedMap): void {
  const json: Json = bpftoolDump(map)[0]?.formatted?.key ?? null;
  const shown = bpftoolShow(map);
  assertType<Equal<typeof shown, BpftoolMap>>();
  assertType<Equal<typeof json extends Json ? true : false, true>>();
}

export function refs(
  stats: ValueRef<StatsValue>,
  count: ValueRef<number>,
  blob: ValueRef<Uint8Array>,
): void {
  stats.add("packets", 1);
  stats.add("bytes", 1n);
  count.add(1);
  // @ts-expect-error -- not an integer field
  stats.add("name", 1);
  // @ts-expect-error -- no such field
  stats.add("nothing", 1);
  // @ts-expect-error -- a struct needs a field
  stats.add(1);
  // @ts-expect-error -- a scalar has no fields
  count.add("bytes", 1);
  // @ts-expect-error -- bytes are no integer
  blob.add(1);
  stats.fields.bytes = 5;
  // @ts-expect-error -- packets is a bigint
  stats.fields.packets = 5;
}

export function opening(): void {
  const byNumber = rt.mapFromId(1, { key: u32, value: u64 });
  const byName = rt.mapFromName("x", { key: u32, value: u64 });
  const byPath = rt.open("/sys/fs/bpf/x", { key: u32, value: u64 });
  const typed = rt.mapFromFd(3, { type: "lru_hash", key: Flow, value: u64 });
  const value = typed.get({ src: "10.0.0.1", port: 1 });
  assertType<Equal<typeof value, bigint | undefined>>();
  const list = rt.open("/sys/fs/bpf/x", { type: "array", value: u32 });
  assertType<Equal<typeof list, ArrayMap<number, number>>>();
  const byId = rt.mapFromId(1, { type: "hash", key: u32, value: bytes(4) });
  const blob = byId.get(1);
  assertType<Equal<typeof blob, Uint8Array | undefined>>();
  const keyed = rt.mapFromFd(3, { key: u32, value: u64 });
  assertType<Equal<typeof keyed, BatchedMap<number, number, bigint, bigint>>>();
  const found = keyed.set(1, 2n).get(1);
  assertType<Equal<typeof found, bigint | undefined>>();
  const wasThere = keyed.has(1) && keyed.delete(1);
  assertType<Equal<typeof wasThere, boolean>>();
  keyed.update(1, 2n, 0);
  for (const [key] of keyed) keyed.nextKey(key);
  keyed.close();
  // @ts-expect-error -- the value is a bigint
  keyed.set(1, 1);
  // @ts-expect-error -- not all maps with keys can be cleared
  keyed.clear();
  assertType<Equal<typeof keyed, typeof byNumber>>();
  assertType<Equal<typeof keyed, typeof byName>>();
  assertType<Equal<typeof keyed, typeof byPath>>();
  const queue = rt.mapFromFd(3, { type: "queue", value: u32 });
  assertType<Equal<typeof queue, Queue<number, number>>>();
  const ring = rt.open("/sys/fs/bpf/x", { type: "ringbuf" });
  assertType<Equal<typeof ring, RingBuffer>>();
  const storage = rt.mapFromId(1, { type: "sk_storage", value: u64 });
  assertType<Equal<typeof storage, SkStorage<bigint, bigint>>>();
  const lists = rt.mapFromName("x", { type: "array_of_maps", inner: list });
  assertType<Equal<typeof lists, ArrayOfMaps<ArrayMap<number, number>>>>();
  const tables = rt.mapFromFd(3, { type: "hash_of_maps", key: u32, inner: list });
  assertType<Equal<typeof tables, HashOfMaps<number, number, ArrayMap<number, number>>>>();
  // @ts-expect-error -- queues have values
  rt.mapFromFd(3, { type: "queue" });
  // @ts-expect-error -- no such type
  rt.mapFromFd(3, { type: "tree", key: u32, value: u32 });
  const untyped = rt.mapFromFd(3, { value: u64 });
  assertType<Equal<typeof untyped, TypedMap>>();
  // @ts-expect-error -- the class of the map is not known without its type, or the codec of its keys
  untyped.get(1);
}

export function refusals(cursor: BatchCursor): void {
  // @ts-expect-error -- no such type
  rt.createMap({ type: "tree", key: u32, value: u64, maxEntries: 1 });
  // @ts-expect-error -- hash types need a key
  rt.createMap({ type: "hash", value: u64, maxEntries: 1 });
  // @ts-expect-error -- a map needs a value
  rt.createMap({ type: "hash", key: u32, maxEntries: 1 });
  // @ts-expect-error -- maxEntries is missing
  rt.createMap({ type: "hash", key: u32, value: u64 });
  // @ts-expect-error -- a codec, not its size
  rt.createMap({ type: "hash", key: 4, value: u64, maxEntries: 1 });
  // @ts-expect-error -- indices are numbers
  rt.createMap({ type: "array", key: u64, value: u64, maxEntries: 1 });
  // @ts-expect-error -- maxEntries is a number
  rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: "1" });
  // @ts-expect-error -- misspelt option
  rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 1, nmae: "x" });

  // @ts-expect-error -- misspelt option of another kind of map
  rt.createMap({ type: "queue", value: u32, maxEntries: 1, nmae: "x" });
  // @ts-expect-error -- queues have values
  rt.createMap({ type: "queue", maxEntries: 1 });
  // @ts-expect-error -- and no keys
  rt.createMap({ type: "queue", key: u32, value: u32, maxEntries: 1 });
  // @ts-expect-error -- storages have no size
  rt.createMap({ type: "sk_storage", value: u32, maxEntries: 1 });
  // @ts-expect-error -- maps of maps need a template
  rt.createMap({ type: "array_of_maps", maxEntries: 1 });

  const map = rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 1 });
  // @ts-expect-error -- the key is a number
  map.get("1");
  // @ts-expect-error -- the key is a number
  map.get(1n);
  // @ts-expect-error -- the value is a bigint
  map.set(1, 1);
  // @ts-expect-error -- the value is a bigint
  map.update(1, 1, 0);
  // @ts-expect-error -- flags are a number
  map.update(1, 1n, 1n);
  // @ts-expect-error -- a plain array is no typed array
  map.getMany([1], new BigUint64Array(1));
  // @ts-expect-error -- the cursor comes first
  map.lookupBatch(10, cursor);
  // @ts-expect-error -- values are bigints
  map.updateBatch([[1, 1]]);

  const flows = rt.createMap({ type: "hash", key: Flow, value: Stats, maxEntries: 1 });
  // @ts-expect-error -- port is missing
  flows.get({ src: "10.0.0.1" });
  // @ts-expect-error -- one field too many
  flows.get({ src: "10.0.0.1", port: 1, proto: 6 });
  // @ts-expect-error -- list is missing
  flows.set({ src: "10.0.0.1", port: 1 }, { packets: 1n, bytes: 1, name: "" });

  const list = rt.createMap({ type: "array", value: u32, maxEntries: 1 });
  // @ts-expect-error -- elements of an array are not deleted
  list.delete(0);
  // @ts-expect-error -- nor is an array cleared
  list.clear();

  const percpu = rt.createMap({ type: "percpu_hash", key: u32, value: u32, maxEntries: 1 });
  // @ts-expect-error -- one value a CPU
  percpu.set(1, 5);
  // @ts-expect-error -- a value has no single address
  percpu.ref(1);
}

export async function options(
  number: number | undefined,
  flag: boolean | undefined,
): Promise<void> {
  // Undefined is as good as not given, for all options.
  const made = await createRuntime({ cpus: number, seed: number, shared: flag, core: undefined });
  const flags = { flags: number, mapFlags: number, name: undefined, numaNode: number };
  made.createMap({ type: "array", key: undefined, value: u32, maxEntries: 1, ...flags });
  made.socket({ optmemMax: number, family: undefined });
  made.cgroup({ parent: undefined, version: undefined });
  made.task({ pid: number, cgroup: undefined });
  made.inode({ anonymous: flag });
  made.mmap(3, { offset: number, length: number, readonly: flag });
  struct({ a: u32 }, { packed: flag });
}

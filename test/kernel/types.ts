// One row per map type: how its maps, keys and values look and which operations it is given.

import { F, TYPE } from "./abi.js";
import type { Random } from "./random.js";
import { OBJECT } from "./wire.js";

/** What one session's map looks like. */
export interface Shape {
  keySize: number;
  valueSize: number;
  /** Bytes of a value on the syscall side. */
  userValueSize: number;
  maxEntries: number;
  mapFlags: number;
  mapExtra: number;
  /** Keys are drawn from [0, universe). */
  universe: number;
  /** Where the value's bpf_spin_lock is, -1 for a value of plain bytes; absent: no BTF. */
  lockOffset?: number;
}

/** What a session does. */
export const VERBS = [
  "update",
  "lookup",
  "delete",
  "lookupAndDelete",
  "nextKey",
  "walk",
  "lookupBatch",
  "lookupAndDeleteBatch",
  "updateBatch",
  "deleteBatch",
  "info",
  "object",
  "progLookup",
  "progUpdate",
  "progDelete",
  "progLookupPercpu",
  "progPush",
  "progPop",
  "progPeek",
  "owner",
  "script",
  "ring",
] as const;

export type Verb = (typeof VERBS)[number];

/** Relative frequencies of the verbs. */
export type Weights = Partial<Record<Verb, number>>;

export interface TypeRow {
  readonly name: string;
  readonly type: number;
  /** Share of the sessions, relative to the other rows; 0: attrs are tried only. */
  readonly weight: number;
  /** Batch cursor: a bucket index, the last key, or none where the type has no batches. */
  readonly cursor: "bucket" | "key";
  readonly weights: Weights;
  /** Flags that a MAP_CREATE of this type may have, tried together with illegal ones. */
  readonly createFlags: readonly number[];
  shape(random: Random, cpus: number): Shape;
  /** Writes key number `index` to `out`, which has keySize bytes. */
  key(random: Random, shape: Shape, index: number, out: Uint8Array): void;
  /** Values have a slot per CPU, and a new element's slots may be another's before it. */
  readonly recycledSlots?: boolean;
  /** The maps have BTF. */
  readonly btf?: boolean;
  /** Descriptors in the slots from INNER_SLOT on are the values: of maps of one of these types. */
  readonly inner?: readonly number[];
  /** Descriptors of objects of this kind, in the slots from OWNER_SLOT on, are the keys. */
  readonly owner?: number;
  /** Values are one of these words. */
  readonly words?: readonly number[];
  /** Or the descriptor of an object of any kind, in the slots from OWNER_SLOT on. */
  readonly takesObjects?: boolean;
}

/** Slots of the inner maps that a map of maps is filled with. */
export const INNER_SLOT = 8;
export const INNER_MAPS = 6;

/** Slots of the objects that storages hang on. */
export const OWNER_SLOT = 16;
export const OWNERS = 5;

const HASH_WEIGHTS: Weights = {
  update: 30,
  lookup: 12,
  delete: 8,
  lookupAndDelete: 4,
  nextKey: 6,
  walk: 3,
  lookupBatch: 3,
  lookupAndDeleteBatch: 1,
  updateBatch: 2,
  deleteBatch: 2,
  info: 1,
  object: 1,
  progLookup: 10,
  progUpdate: 6,
  progDelete: 3,
  script: 6,
};

const KEY_SIZES = [1, 2, 3, 4, 4, 4, 4, 5, 6, 7, 8, 8, 8, 11, 12, 13, 16, 16, 17, 24, 31, 40, 64];
const VALUE_SIZES = [1, 2, 3, 4, 4, 5, 7, 8, 8, 8, 9, 13, 16, 16, 24, 33, 48, 64];

/** All values of a map, as bpf(2) has them: hosts may have very many CPUs. */
const VALUES_BYTES_MAX = 1 << 20;

function round8(size: number): number {
  return (size + 7) & ~7;
}

/** Mostly tiny maps, where a few operations reach every edge; some with many buckets or LRU rounds. */
function entries(random: Random): number {
  if (random.chance(0.4)) return random.between(1, 8);
  if (random.chance(0.7)) return random.between(1, 64);
  if (random.chance(0.5))
    return random.pick([16, 32, 64, 128, 256, 512, 1024]) + random.between(-1, 1);
  return random.between(65, 1024);
}

function hashShape(random: Random, cpus: number, perCpu: boolean, flags: readonly number[]): Shape {
  const valueSize = random.pick(VALUE_SIZES);
  const keySize = random.pick(KEY_SIZES);
  const userValueSize = perCpu ? round8(valueSize) * cpus : valueSize;
  const maxEntries = Math.min(entries(random), Math.floor(VALUES_BYTES_MAX / userValueSize));
  return {
    keySize,
    valueSize,
    userValueSize,
    maxEntries,
    mapFlags: F.ZERO_SEED | random.pick(flags),
    mapExtra: 0,
    universe: Math.max(2, Math.ceil(maxEntries * random.pick([0.8, 1.3, 1.7, 3]))),
  };
}

/** Low bytes count, the rest depends on them: keys differ in the first word and in the last byte. */
function hashKey(random: Random, _shape: Shape, index: number, out: Uint8Array): void {
  for (let i = 0; i < out.length; i++) {
    out[i] = i < 4 ? index >>> (8 * i) : Math.imul(index + i, 0x9e3779b1) >>> 24;
  }
  if (random.chance(0.02)) out[out.length - 1] = random.u32();
}

function arrayShape(random: Random, cpus: number, perCpu: boolean): Shape {
  const valueSize = random.pick(VALUE_SIZES);
  const userValueSize = perCpu ? round8(valueSize) * cpus : valueSize;
  const maxEntries = Math.min(entries(random), Math.floor(VALUES_BYTES_MAX / userValueSize));
  return {
    keySize: 4,
    valueSize,
    userValueSize,
    maxEntries,
    mapFlags: perCpu ? 0 : random.pick([0, 0, F.MMAPABLE, F.INNER_MAP]),
    mapExtra: 0,
    universe: maxEntries + 2,
  };
}

function arrayKey(random: Random, _shape: Shape, index: number, out: Uint8Array): void {
  const key = random.chance(0.01) ? random.pick([0xffff_ffff, 0x8000_0000, random.u32()]) : index;
  for (let i = 0; i < 4; i++) out[i] = key >>> (8 * i);
}

function lpmKey(random: Random, shape: Shape, index: number, out: Uint8Array): void {
  const bits = (shape.keySize - 4) * 8;
  // The same index gives the same data, any prefix length: prefixes that contain each other.
  const prefix = random.chance(0.02)
    ? random.pick([bits + 1, bits + 8, 0xffff_ffff])
    : random.chance(0.6)
      ? Math.min(bits, Math.imul(index, 7) % (bits + 1))
      : random.between(0, bits);
  for (let i = 0; i < 4; i++) out[i] = prefix >>> (8 * i);
  for (let i = 4; i < out.length; i++) {
    out[i] = random.chance(0.03) ? random.u32() : Math.imul((index >> 1) + i, 0x9e3779b1) >>> 24;
  }
}

function queueShape(random: Random): Shape {
  const valueSize = random.pick(VALUE_SIZES);
  const maxEntries = random.chance(0.7) ? random.between(1, 12) : random.between(1, 300);
  return {
    keySize: 0,
    valueSize,
    userValueSize: valueSize,
    maxEntries,
    mapFlags: 0,
    mapExtra: 0,
    universe: 1,
  };
}

function noKey(): void {}

const QUEUE_WEIGHTS: Weights = {
  update: 30,
  lookup: 10,
  lookupAndDelete: 20,
  delete: 1,
  nextKey: 1,
  lookupBatch: 0.5,
  updateBatch: 0.5,
  info: 1,
  object: 1,
  progPush: 10,
  progPop: 8,
  progPeek: 6,
  script: 8,
};

const COMMON_FLAGS = [0, F.RDONLY, F.WRONLY, F.RDONLY_PROG, F.WRONLY_PROG, F.NUMA_NODE];
const HASH_FLAGS = [...COMMON_FLAGS, F.ZERO_SEED, F.NO_PREALLOC];
const LRU_FLAGS = [...COMMON_FLAGS, F.ZERO_SEED, F.NO_COMMON_LRU];

function hashRow(name: string, type: number, perCpu: boolean, lru: boolean): TypeRow {
  const flags = lru ? [0, F.NO_COMMON_LRU] : [0, F.NO_PREALLOC];
  return {
    name,
    type,
    weight: lru ? 5 : 3,
    cursor: "bucket",
    weights: perCpu ? { ...HASH_WEIGHTS, progLookupPercpu: 4 } : HASH_WEIGHTS,
    createFlags: lru ? LRU_FLAGS : HASH_FLAGS,
    recycledSlots: perCpu,
    shape: (random, cpus) => hashShape(random, cpus, perCpu, flags),
    key: hashKey,
  };
}

function arrayRow(name: string, type: number, perCpu: boolean): TypeRow {
  return {
    name,
    type,
    weight: 1,
    cursor: "key",
    weights: {
      ...HASH_WEIGHTS,
      delete: 1,
      lookupAndDelete: 1,
      lookupAndDeleteBatch: 0.3,
      deleteBatch: 0.3,
      progDelete: 0.5,
      progLookupPercpu: perCpu ? 5 : 0,
    },
    createFlags: [...COMMON_FLAGS, F.MMAPABLE, F.INNER_MAP],
    shape: (random, cpus) => arrayShape(random, cpus, perCpu),
    key: arrayKey,
  };
}

function queueRow(name: string, type: number): TypeRow {
  return {
    name,
    type,
    weight: 1,
    cursor: "key",
    weights: QUEUE_WEIGHTS,
    createFlags: COMMON_FLAGS,
    shape: queueShape,
    key: noKey,
  };
}

/** Maps of maps: slot numbers stand for the inner maps' descriptors and ids. */
function outerShape(random: Random, keySize: number, flags: number): Shape {
  const maxEntries = random.between(1, 12);
  return {
    keySize,
    valueSize: 4,
    userValueSize: 4,
    maxEntries,
    mapFlags: flags,
    mapExtra: 0,
    universe: maxEntries + 3,
  };
}

const OUTER_WEIGHTS: Weights = {
  lookupBatch: 8,
  lookupAndDeleteBatch: 3,
  updateBatch: 5,
  deleteBatch: 5,
  update: 30,
  lookup: 20,
  delete: 10,
  lookupAndDelete: 1,
  nextKey: 6,
  walk: 3,
  info: 1,
  object: 1,
  script: 15,
};

/** A lock takes 4 aligned bytes of the value. */
function lockIn(random: Random, valueSize: number): number {
  return 4 * random.below(Math.floor(valueSize / 4));
}

const LOCK_WEIGHTS: Weights = {
  ...HASH_WEIGHTS,
  // The kernel keeps tracing programs away from maps with a lock.
  progLookup: 0,
  progUpdate: 0,
  progDelete: 0,
};

function lockRow(row: TypeRow): TypeRow {
  return {
    ...row,
    name: `${row.name} with a lock`,
    weight: 0.5,
    btf: true,
    weights: { ...row.weights, ...LOCK_WEIGHTS },
    shape(random, cpus) {
      const shape = row.shape(random, cpus);
      const valueSize = Math.max(4, shape.valueSize);
      return {
        ...shape,
        valueSize,
        userValueSize: valueSize,
        lockOffset: lockIn(random, valueSize),
      };
    },
  };
}

function storageRow(name: string, type: number, owner: number): TypeRow {
  return {
    name,
    type,
    weight: 0.3,
    cursor: "key",
    weights: {
      update: 30,
      lookup: 20,
      delete: 10,
      lookupAndDelete: 1,
      nextKey: 1,
      walk: 0.3,
      lookupBatch: 0.5,
      updateBatch: 0.5,
      info: 1,
      object: 1,
      owner: 4,
      // Only sockets are within the reach of a program that runs here.
      script: owner === OBJECT.SOCKET ? 15 : 0,
    },
    createFlags: [F.NO_PREALLOC],
    shape(random) {
      const valueSize = random.pick(VALUE_SIZES);
      const locked = valueSize >= 4 && random.chance(0.4);
      return {
        keySize: 4,
        valueSize,
        userValueSize: valueSize,
        maxEntries: 0,
        mapFlags: F.NO_PREALLOC,
        mapExtra: 0,
        universe: OWNERS,
        lockOffset: locked ? lockIn(random, valueSize) : -1,
      };
    },
    key: noKey,
    btf: true,
    owner,
  };
}

function ringRow(name: string, type: number): TypeRow {
  return {
    name,
    type,
    weight: 1,
    cursor: "key",
    weights: { update: 0.5, lookup: 0.5, nextKey: 0.3, info: 1, object: 1, script: 30, ring: 15 },
    createFlags: COMMON_FLAGS,
    shape: (random) => ({
      keySize: 0,
      valueSize: 0,
      userValueSize: 0,
      maxEntries: random.pick([4096, 4096, 8192, 65536]),
      mapFlags: 0,
      mapExtra: 0,
      universe: 1,
    }),
    key: noKey,
  };
}

/** Numbers that are no descriptors. */
const NO_FDS = [500, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/** 1 is lo, the others may be as well. */
const NO_DEVICES = [0, 0, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
const QUEUES = [0, 1, 64, 192, 16384, 16385, 0xffff_ffff];

/** Maps of objects: words are what is put in beside descriptors. */
function objectRow(
  name: string,
  type: number,
  valueSizes: readonly number[],
  words: readonly number[],
  keySizes: readonly number[] = [4],
): TypeRow {
  return {
    name,
    type,
    weight: 0.2,
    cursor: "key",
    weights: {
      update: 30,
      lookup: 15,
      delete: 10,
      lookupAndDelete: 1,
      nextKey: 6,
      walk: 1,
      lookupBatch: 0.5,
      updateBatch: 0.5,
      deleteBatch: 0.5,
      info: 1,
      object: 1,
    },
    createFlags: COMMON_FLAGS,
    shape(random) {
      const [keySize, valueSize] = [random.pick(keySizes), random.pick(valueSizes)];
      const maxEntries = random.between(1, 9);
      const shape = { keySize, valueSize, userValueSize: valueSize, maxEntries };
      return { ...shape, mapFlags: 0, mapExtra: 0, universe: maxEntries + 3 };
    },
    key: keySizes.length > 1 ? hashKey : arrayKey,
    words,
    takesObjects: words === NO_FDS,
  };
}

const HASH_ROW = hashRow("hash", TYPE.HASH, false, false);
export const ARRAY_ROW = arrayRow("array", TYPE.ARRAY, false);

/** A type without sessions of its own: what bpf(2) says to its maps when attrs are tried. */
function bareRow(
  name: string,
  type: number,
  keySize: number,
  maxEntries: number,
  valueSizes: readonly number[],
): TypeRow {
  return {
    ...ARRAY_ROW,
    name,
    type,
    weight: 0,
    createFlags: COMMON_FLAGS,
    shape(random, cpus) {
      const valueSize = random.pick(valueSizes);
      const userValueSize = Math.max(valueSize, round8(valueSize) * cpus);
      const shape = { keySize, valueSize, userValueSize, maxEntries };
      return { ...shape, mapFlags: 0, mapExtra: 0, universe: 6 };
    },
  };
}

const INNER_TYPES = [TYPE.ARRAY, TYPE.HASH];
/** Maps of maps that programs cannot do anything with. */
const OF_OBJECTS: Pick<TypeRow, "weight" | "weights" | "inner"> = {
  // The kernel takes its time to end such maps.
  weight: 0.05,
  weights: { ...OUTER_WEIGHTS, script: 0 },
  // Those that also take values of 8 bytes, which the template's are not.
  inner: [
    TYPE.DEVMAP,
    TYPE.DEVMAP_HASH,
    TYPE.CPUMAP,
    TYPE.SOCKMAP,
    TYPE.SOCKHASH,
    TYPE.REUSEPORT_SOCKARRAY,
  ],
};

const ARRAY_OF_MAPS_ROW: TypeRow = {
  name: "array_of_maps",
  type: TYPE.ARRAY_OF_MAPS,
  weight: 0.3,
  cursor: "key",
  weights: OUTER_WEIGHTS,
  createFlags: COMMON_FLAGS,
  shape: (random) => outerShape(random, 4, 0),
  key: arrayKey,
  inner: INNER_TYPES,
};

const HASH_OF_MAPS_ROW: TypeRow = {
  name: "hash_of_maps",
  type: TYPE.HASH_OF_MAPS,
  weight: 0.3,
  cursor: "bucket",
  weights: OUTER_WEIGHTS,
  createFlags: HASH_FLAGS,
  shape(random) {
    const flags = F.ZERO_SEED | random.pick([0, F.NO_PREALLOC]);
    return outerShape(random, random.pick(KEY_SIZES), flags);
  },
  key: hashKey,
  inner: INNER_TYPES,
};

export const TYPES: readonly TypeRow[] = [
  HASH_ROW,
  hashRow("percpu_hash", TYPE.PERCPU_HASH, true, false),
  hashRow("lru_hash", TYPE.LRU_HASH, false, true),
  hashRow("lru_percpu_hash", TYPE.LRU_PERCPU_HASH, true, true),
  ARRAY_ROW,
  arrayRow("percpu_array", TYPE.PERCPU_ARRAY, true),
  {
    name: "lpm_trie",
    type: TYPE.LPM_TRIE,
    weight: 2,
    cursor: "key",
    weights: { ...HASH_WEIGHTS, lookupAndDelete: 0.5, lookupAndDeleteBatch: 0.3 },
    createFlags: [F.NO_PREALLOC, F.NO_PREALLOC, F.NO_PREALLOC, ...COMMON_FLAGS],
    shape(random) {
      const valueSize = random.pick(VALUE_SIZES);
      const maxEntries = Math.min(200, entries(random));
      return {
        keySize: 4 + random.pick([1, 2, 3, 4, 4, 4, 5, 8, 16, 16, 20]),
        valueSize,
        userValueSize: valueSize,
        maxEntries,
        mapFlags: F.NO_PREALLOC,
        mapExtra: 0,
        universe: Math.ceil(maxEntries * random.pick([0.7, 1.2, 2])) + 1,
      };
    },
    key: lpmKey,
  },
  ringRow("ringbuf", TYPE.RINGBUF),
  ringRow("user_ringbuf", TYPE.USER_RINGBUF),
  queueRow("queue", TYPE.QUEUE),
  queueRow("stack", TYPE.STACK),
  {
    name: "bloom_filter",
    type: TYPE.BLOOM_FILTER,
    weight: 1,
    cursor: "key",
    weights: { ...QUEUE_WEIGHTS, lookupAndDelete: 1, lookup: 30, progPop: 0 },
    createFlags: [...COMMON_FLAGS, F.ZERO_SEED],
    shape(random) {
      return { ...queueShape(random), mapFlags: F.ZERO_SEED, mapExtra: random.below(16) };
    },
    key: noKey,
  },
  ARRAY_OF_MAPS_ROW,
  HASH_OF_MAPS_ROW,
  { ...ARRAY_OF_MAPS_ROW, ...OF_OBJECTS, name: "array_of_maps of objects" },
  { ...HASH_OF_MAPS_ROW, ...OF_OBJECTS, name: "hash_of_maps of objects" },
  lockRow(HASH_ROW),
  lockRow(ARRAY_ROW),
  storageRow("sk_storage", TYPE.SK_STORAGE, OBJECT.SOCKET),
  storageRow("cgrp_storage", TYPE.CGRP_STORAGE, OBJECT.CGROUP),
  storageRow("task_storage", TYPE.TASK_STORAGE, OBJECT.TASK),
  storageRow("inode_storage", TYPE.INODE_STORAGE, OBJECT.FILE),
  bareRow("stack_trace", TYPE.STACK_TRACE, 4, 4, [8, 64, 1016]),
  bareRow("perf_event_array", TYPE.PERF_EVENT_ARRAY, 4, 3, [4]),
  objectRow("prog_array", TYPE.PROG_ARRAY, [4], NO_FDS),
  objectRow("cgroup_array", TYPE.CGROUP_ARRAY, [4], NO_FDS),
  objectRow("devmap", TYPE.DEVMAP, [4, 8], NO_DEVICES),
  objectRow("devmap_hash", TYPE.DEVMAP_HASH, [4, 8], NO_DEVICES),
  objectRow("cpumap", TYPE.CPUMAP, [4, 8], QUEUES),
  objectRow("xskmap", TYPE.XSKMAP, [4], NO_FDS),
  objectRow("sockmap", TYPE.SOCKMAP, [4, 8], NO_FDS),
  objectRow("sockhash", TYPE.SOCKHASH, [4, 8], NO_FDS, KEY_SIZES),
  objectRow("reuseport_sockarray", TYPE.REUSEPORT_SOCKARRAY, [4, 8], NO_FDS),
  bareRow("cgroup_storage", TYPE.CGROUP_STORAGE, 16, 0, [4, 13]),
  bareRow("percpu_cgroup_storage", TYPE.PERCPU_CGROUP_STORAGE, 8, 0, [8]),
];

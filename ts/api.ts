// The public surface: exports only.

export * from "./codec.js";
export { BatchCursor } from "./batch.js";
export type { MapBatch } from "./batch.js";
export { CgroupAttachment } from "./cgroup-storage.js";
export type { CgroupAttachmentOptions } from "./cgroup-storage.js";
export { BatchedMap, ErasableMap } from "./batched-map.js";
export type { CoreExports } from "./core.js";
export { MapCursor } from "./cursor.js";
export type { Bpffs, BpffsEntry } from "./bpffs.js";
export { bpftoolDump, bpftoolShow } from "./dump.js";
export type { BpftoolElement, BpftoolMap, BpftoolValue } from "./dump.js";
export { BpfError, errnoName } from "./errors.js";
export { Cgroup, HostObject, Inode, Socket, Task } from "./host.js";
export type {
  CgroupOptions,
  InodeOptions,
  SocketFamily,
  SocketOptions,
  SocketType,
  TaskOptions,
} from "./host.js";
export type { Json } from "./json.js";
export type { NumericArray } from "./lane.js";
export { ElementMap, KeyedMap, TypedMap } from "./map.js";
export type { StorageTypeName } from "./create-storage.js";
export type { KeyedTypeName, MapOptions } from "./map-spec.js";
export type { SpecialTypeName } from "./special-spec.js";
export type {
  Codecs,
  CodecsOf,
  IndexAndValue,
  KeyAndValue,
  KeyedCodecs,
  KeyedMapOf,
  MapCodecs,
  MapOf,
  MapSpec,
  MapTypeName,
  NoCodecs,
  OptionsOf,
  Records,
  UntypedCodecs,
  ValueOnly,
} from "./map-types.js";
export { ArrayLikeMap, ArrayMap, PerCpuArrayMap } from "./maps/array.js";
export {
  HashLikeMap,
  HashMap,
  LruHashMap,
  LruPerCpuHashMap,
  PerCpuHashLikeMap,
  PerCpuHashMap,
} from "./maps/hash.js";
export { BloomFilter } from "./maps/bloom-filter.js";
export { ArrayOfMaps, HashOfMaps, MapOfMaps } from "./maps/map-in-map.js";
export { PerfEventArray } from "./maps/perf-event-array.js";
export { Queue, QueueLikeMap, Stack } from "./maps/queue-stack.js";
export { RingBuffer, RingMap, RingRecord, UserRingBuffer } from "./maps/ringbuf.js";
export { LpmTrie } from "./maps/lpm-trie.js";
export type { LpmData } from "./maps/lpm-trie.js";
export type { MmapOptions, MmapWindow } from "./mmap.js";
export {
  CgrpStorage,
  InodeStorage,
  LocalStorage,
  SkStorage,
  TaskStorage,
} from "./maps/local-storage.js";
export type { Arena, RuntimeOptions, SharedRuntime } from "./options.js";
export type { AddableField } from "./ref.js";
export { ValueRef } from "./ref.js";
export { BpfRuntime } from "./runtime.js";
export type { CallbackDispatcher } from "./runtime.js";
export type { MapInfo } from "./syscall.js";
export * from "./uapi.js";

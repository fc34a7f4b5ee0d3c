// The public surface: exports only.

export * from "./codec.js";
export { BatchCursor } from "./batch.js";
export type { NumericArray } from "./batch.js";
export type { CoreExports } from "./core.js";
export type { MapOf, MapParts } from "./create-map.js";
export { MapCursor } from "./cursor.js";
export type { Bpffs, BpffsEntry } from "./bpffs.js";
export { BpfError, errnoName } from "./errors.js";
export { KeyedMap, TypedMap } from "./map.js";
export type { MapOptions, MapSpec, MapTypeName, OuterSpec, RingSpec } from "./map-spec.js";
export { ArrayMap, PerCpuArrayMap } from "./maps/array.js";
export { BloomFilter } from "./maps/bloom-filter.js";
export { HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap } from "./maps/hash.js";
export type { MmapOptions, MmapWindow } from "./mmap.js";
export { ArrayOfMaps, HashOfMaps } from "./maps/map-in-map.js";
export { Queue, Stack } from "./maps/queue-stack.js";
export { RingBuffer, RingRecord, UserRingBuffer } from "./maps/ringbuf.js";
export type { Arena, RuntimeOptions, SharedRuntime } from "./options.js";
export { ValueRef } from "./ref.js";
export { BpfRuntime } from "./runtime.js";
export type { CallbackDispatcher } from "./runtime.js";
export type { MapInfo } from "./syscall.js";
export * from "./uapi.js";

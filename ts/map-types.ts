// What createMap, mapFromFd and their like take and give for each type name: types only.

import type { AnyCodec, Codec, Infer, InferInput } from "./codec.js";
import type { BatchedMap } from "./batched-map.js";
import type { StorageTypeName } from "./create-storage.js";
import type { TypedMap } from "./map.js";
import type { KeyedTypeName, MapOptions } from "./map-spec.js";
import type { ArrayMap, PerCpuArrayMap } from "./maps/array.js";
import type { BloomFilter } from "./maps/bloom-filter.js";
import type { HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap } from "./maps/hash.js";
import type { CgrpStorage, InodeStorage, SkStorage, TaskStorage } from "./maps/local-storage.js";
import type { LpmTrie } from "./maps/lpm-trie.js";
import type { ArrayOfMaps, HashOfMaps } from "./maps/map-in-map.js";
import type { PerfEventArray } from "./maps/perf-event-array.js";
import type { Queue, Stack } from "./maps/queue-stack.js";
import type { RingBuffer, UserRingBuffer } from "./maps/ringbuf.js";
import type { SpecialTypeName } from "./special-spec.js";

/** The typed class of each type name, for codecs of key and value and, in maps of maps, the class of the inner maps. */
export interface MapOf<KC, VC, M extends TypedMap = TypedMap> {
  hash: HashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  lru_hash: LruHashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  percpu_hash: PerCpuHashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  lru_percpu_hash: LruPerCpuHashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  array: ArrayMap<Infer<VC>, InferInput<VC>>;
  percpu_array: PerCpuArrayMap<Infer<VC>, InferInput<VC>>;
  lpm_trie: LpmTrie<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  queue: Queue<Infer<VC>, InferInput<VC>>;
  stack: Stack<Infer<VC>, InferInput<VC>>;
  bloom_filter: BloomFilter<InferInput<VC>>;
  ringbuf: RingBuffer<Infer<VC>>;
  user_ringbuf: UserRingBuffer;
  perf_event_array: PerfEventArray;
  array_of_maps: ArrayOfMaps<M>;
  hash_of_maps: HashOfMaps<Infer<KC>, InferInput<KC>, M>;
  sk_storage: SkStorage<Infer<VC>, InferInput<VC>>;
  cgrp_storage: CgrpStorage<Infer<VC>, InferInput<VC>>;
  task_storage: TaskStorage<Infer<VC>, InferInput<VC>>;
  inode_storage: InodeStorage<Infer<VC>, InferInput<VC>>;
}

/** A type name of createMap (those of bpftool). */
export type MapTypeName = KeyedTypeName | SpecialTypeName | StorageTypeName;

/**
 * The typed class of a map whose type is not named, for codecs of key and value: what all maps with keys have in common.
 * Values of per-CPU types are arrays, which only the name of the type can tell.
 */
export type KeyedMapOf<KC, VC> = BatchedMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;

/** Codecs of key and value, and the template of maps of maps: what there may be, whatever the type. */
export interface Codecs<
  KC extends AnyCodec = AnyCodec,
  VC extends AnyCodec = AnyCodec,
  M extends TypedMap = TypedMap,
> {
  /** Codec of the keys; types indexed by number may leave it out. */
  readonly key?: KC | undefined;
  /** Codec of the values, of a ring's records (without one they are bytes); per-CPU types: of one CPU's value. */
  readonly value?: VC | undefined;
  /** Maps of maps: a map made with createMap; all inner maps must look like it. It may be closed afterwards. */
  readonly inner?: M | undefined;
}

/** Keys and values both need a codec. */
export interface KeyAndValue<KC, VC> {
  readonly key: KC;
  readonly value: VC;
  readonly inner?: undefined;
}

/** Keys are indices: they need none. */
export interface IndexAndValue<VC> {
  readonly key?: Codec<number> | undefined;
  readonly value: VC;
  readonly inner?: undefined;
}

/** There are no keys, or none with a codec. */
export interface ValueOnly<VC> {
  readonly key?: undefined;
  readonly value: VC;
  readonly inner?: undefined;
}

/** Records are bytes, or have a codec. */
export interface Records<VC> {
  readonly key?: undefined;
  readonly value?: VC | undefined;
  readonly inner?: undefined;
}

/** What is in the map has no codec. */
export interface NoCodecs {
  readonly key?: undefined;
  readonly value?: undefined;
  readonly inner?: undefined;
}

/** Which of them each type needs, and which it may not have. */
export interface CodecsOf<KC, VC, M> extends Record<StorageTypeName, ValueOnly<VC>> {
  hash: KeyAndValue<KC, VC>;
  lru_hash: KeyAndValue<KC, VC>;
  percpu_hash: KeyAndValue<KC, VC>;
  lru_percpu_hash: KeyAndValue<KC, VC>;
  lpm_trie: KeyAndValue<KC, VC>;
  array: IndexAndValue<VC>;
  percpu_array: IndexAndValue<VC>;
  queue: ValueOnly<VC>;
  stack: ValueOnly<VC>;
  bloom_filter: ValueOnly<VC>;
  ringbuf: Records<VC>;
  user_ringbuf: NoCodecs;
  perf_event_array: NoCodecs;
  array_of_maps: { readonly key?: undefined; readonly value?: undefined; readonly inner: M };
  hash_of_maps: { readonly key: KC; readonly value?: undefined; readonly inner: M };
}

/** Codecs for a map whose type is named. */
export type MapCodecs<
  T extends MapTypeName = MapTypeName,
  KC extends AnyCodec = AnyCodec,
  VC extends AnyCodec = AnyCodec,
  M extends TypedMap = TypedMap,
> = Codecs<KC, VC, M> & { readonly type: T } & CodecsOf<KC, VC, M>[T];

/** Codecs for a map with keys whose type is not named. */
export interface KeyedCodecs<KC extends AnyCodec, VC extends AnyCodec> {
  readonly type?: undefined;
  readonly key: KC;
  readonly value: VC;
}

/** Codecs for a map of which no more is known. */
export interface UntypedCodecs extends Codecs {
  readonly type?: undefined;
}

/** Storages grow as they are used: they have no size. */
export type OptionsOf<T extends MapTypeName> = T extends StorageTypeName
  ? Omit<MapOptions, "maxEntries" | "numaNode" | "mapExtra">
  : MapOptions;

/** Blueprint of a map: options and codecs. */
export type MapSpec<
  T extends MapTypeName = MapTypeName,
  KC extends AnyCodec = AnyCodec,
  VC extends AnyCodec = AnyCodec,
  M extends TypedMap = TypedMap,
> = OptionsOf<T> & MapCodecs<T, KC, VC, M>;

/** What a caller without types may have given. */
export interface AnyCodecs extends Codecs {
  readonly type?: string | undefined;
}

/** The same for createMap. */
export interface AnySpec extends MapOptions, Codecs {
  readonly type: string;
}

// The types of createMap that are no plain key/value maps: what a blueprint of each looks like.

import type { AnyCodec, BytesCodec } from "./codec.js";
import type { TypedMap } from "./map.js";
import type { MapOptions } from "./map-spec.js";
import * as uapi from "./uapi.js";

/** Type names (those of bpftool) and their numbers. */
export const SPECIAL_TYPES = {
  queue: uapi.BPF_MAP_TYPE_QUEUE,
  stack: uapi.BPF_MAP_TYPE_STACK,
  bloom_filter: uapi.BPF_MAP_TYPE_BLOOM_FILTER,
  perf_event_array: uapi.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  ringbuf: uapi.BPF_MAP_TYPE_RINGBUF,
  user_ringbuf: uapi.BPF_MAP_TYPE_USER_RINGBUF,
  array_of_maps: uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  hash_of_maps: uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
} as const;

/** A type name of createMap for a map that is no plain key/value map. */
export type SpecialTypeName = keyof typeof SPECIAL_TYPES;

/** Codecs for an existing map of these types, and for maps of maps the template. */
export interface SpecialParts {
  readonly type?: SpecialTypeName | undefined;
  /** Codec of the keys (hash_of_maps). */
  readonly key?: AnyCodec | undefined;
  /** Codec of the values (queue, stack, bloom_filter), of the records (ringbuf; without one they are bytes). */
  readonly value?: AnyCodec | undefined;
  /** A map like the inner ones (array_of_maps, hash_of_maps). */
  readonly inner?: TypedMap | undefined;
}

/** Blueprint of a queue, stack or bloom filter. */
export interface QueueSpec<T extends SpecialTypeName, VC extends AnyCodec> extends MapOptions {
  readonly type: T;
  /** Codec of the values. */
  readonly value: VC;
}

/** Blueprint of a map that has no codecs of its own. */
export interface PlainSpec<T extends SpecialTypeName> extends MapOptions {
  readonly type: T;
}

/** Blueprint of a ring buffer; `maxEntries` is its size in bytes. */
export interface RingSpec<
  T extends SpecialTypeName,
  VC extends AnyCodec = BytesCodec,
> extends MapOptions {
  readonly type: T;
  /** Codec of the records; without one they are bytes. */
  readonly value?: VC | undefined;
}

/** Blueprint of a map of maps. */
export interface OuterSpec<
  T extends SpecialTypeName,
  M extends TypedMap,
  KC extends AnyCodec = AnyCodec,
> extends MapOptions {
  readonly type: T;
  /** Codec of the keys (hash_of_maps). */
  readonly key?: KC | undefined;
  /** The template: a map made with createMap; all inner maps must look like it. It may be closed afterwards. */
  readonly inner: M;
}

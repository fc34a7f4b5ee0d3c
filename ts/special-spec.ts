// The types of createMap that are no plain key/value maps.

import * as uapi from "./uapi.js";

/** Type names (those of bpftool) and their numbers. */
export const SPECIAL_TYPES: Readonly<Record<SpecialTypeName, number>> = {
  queue: uapi.BPF_MAP_TYPE_QUEUE,
  stack: uapi.BPF_MAP_TYPE_STACK,
  bloom_filter: uapi.BPF_MAP_TYPE_BLOOM_FILTER,
  perf_event_array: uapi.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  ringbuf: uapi.BPF_MAP_TYPE_RINGBUF,
  user_ringbuf: uapi.BPF_MAP_TYPE_USER_RINGBUF,
  array_of_maps: uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  hash_of_maps: uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
};

/** A type name of createMap for a map that is no plain key/value map. */
export type SpecialTypeName =
  | "queue"
  | "stack"
  | "bloom_filter"
  | "perf_event_array"
  | "ringbuf"
  | "user_ringbuf"
  | "array_of_maps"
  | "hash_of_maps";

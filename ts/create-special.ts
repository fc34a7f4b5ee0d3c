// createMap and mapFromFd for the types that are no plain key/value maps: queues, filters, rings, maps of maps.

import { u32 } from "./codec.js";
import type { AnyCodec, Codec } from "./codec.js";
import { TypedMap } from "./map.js";
import type { MapIdentity } from "./map.js";
import { checkSize, codecOf, commonAttr, mapCreate } from "./map-spec.js";
import type { MapOptions } from "./map-spec.js";
import type { Codecs } from "./map-types.js";
import { BloomFilter } from "./maps/bloom-filter.js";
import { ArrayOfMaps, HashOfMaps, innerFd } from "./maps/map-in-map.js";
import { PerfEventArray } from "./maps/perf-event-array.js";
import { Queue, Stack } from "./maps/queue-stack.js";
import { RingBuffer, UserRingBuffer } from "./maps/ringbuf.js";
import type { BpfRuntime } from "./runtime.js";
import { SPECIAL_TYPES } from "./special-spec.js";
import type { SpecialTypeName } from "./special-spec.js";
import { mapInfo } from "./syscall.js";

// Which codecs a class takes is settled by the signatures of createMap; here they are all alike.
type LooseCodec = Codec<never, never> & Codec<Uint8Array>;

/** Is this one of the types of this file? */
export function isSpecialType(name: string): name is SpecialTypeName {
  return Object.hasOwn(SPECIAL_TYPES, name);
}

/** See {@link BpfRuntime.createMap}. */
export function createSpecial(
  runtime: BpfRuntime,
  type: SpecialTypeName,
  spec: MapOptions & Codecs,
): TypedMap {
  const [keySize, valueSize] = sizesOf(type, spec);
  const inner = type === "array_of_maps" || type === "hash_of_maps" ? template(spec) : undefined;
  const innerMapFd = inner === undefined ? 0 : innerFd(runtime, inner, "inner");
  const mapType = SPECIAL_TYPES[type];
  const attr = { ...commonAttr(spec), mapType, keySize, valueSize, innerMapFd };
  const fd = mapCreate(runtime, attr);
  try {
    return construct(runtime, { fd, info: mapInfo(runtime, fd) }, type, spec);
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
}

/** See {@link BpfRuntime.mapFromFd}. */
export function specialFromFd(
  runtime: BpfRuntime,
  identity: MapIdentity,
  type: SpecialTypeName,
  codecs: Codecs,
): TypedMap {
  const { info } = identity;
  const [keySize, valueSize] = sizesOf(type, codecs);
  checkSize("key", keySize, info.keySize);
  checkSize("value", valueSize, info.valueSize);
  return construct(runtime, identity, type, codecs);
}

/** Bytes of key and value that the codecs stand for. */
function sizesOf(type: SpecialTypeName, codecs: Codecs): [key: number, value: number] {
  switch (type) {
    case "array_of_maps":
    case "perf_event_array":
      return [u32.size, u32.size];
    case "hash_of_maps":
      return [codec("key", codecs.key).size, u32.size];
    case "ringbuf":
    case "user_ringbuf":
      return [0, 0];
    default:
      return [0, codec("value", codecs.value).size];
  }
}

function construct(
  runtime: BpfRuntime,
  identity: MapIdentity,
  type: SpecialTypeName,
  codecs: Codecs,
): TypedMap {
  switch (type) {
    case "queue":
      return new Queue(runtime, identity, codec("value", codecs.value));
    case "stack":
      return new Stack(runtime, identity, codec("value", codecs.value));
    case "bloom_filter":
      return new BloomFilter(runtime, identity, codec("value", codecs.value));
    case "ringbuf": {
      const value = codecs.value === undefined ? undefined : codec("value", codecs.value);
      return new RingBuffer(runtime, identity, value);
    }
    case "perf_event_array":
      return new PerfEventArray(runtime, identity);
    case "user_ringbuf":
      return new UserRingBuffer(runtime, identity, undefined);
    case "array_of_maps":
      return new ArrayOfMaps(runtime, identity, u32, opener(template(codecs), runtime));
    default:
      return new HashOfMaps(
        runtime,
        identity,
        codec("key", codecs.key),
        opener(template(codecs), runtime),
      );
  }
}

function template({ inner }: Codecs): TypedMap {
  if (inner instanceof TypedMap) return inner;
  throw new TypeError("inner: expected a typed map");
}

/** Wraps fds as maps like another one. */
function opener(inner: TypedMap, runtime: BpfRuntime): (fd: number) => TypedMap {
  // For maps that exist: the template of mapFromFd.
  innerFd(runtime, inner, "inner");
  const { reopen } = inner;
  if (reopen === undefined) throw new TypeError("inner: expected a map made with createMap");
  return reopen;
}

function codec(name: string, value: AnyCodec | undefined): LooseCodec {
  return codecOf(name, value) as LooseCodec;
}

// createMap and mapFromFd: from a blueprint, or an fd, to a typed map. The table of typed classes, one row a type.

import { u32 } from "./codec.js";
import type { AnyCodec, Codec, Infer, InferInput } from "./codec.js";
import { BpfError, check } from "./errors.js";
import { TypedMap } from "./map.js";
import type { MapIdentity } from "./map.js";
import { MAP_TYPES, commonAttr, mapCreateAttr } from "./map-spec.js";
import type { MapOptions, MapTypeName } from "./map-spec.js";
import { ArrayMap, PerCpuArrayMap } from "./maps/array.js";
import { BloomFilter } from "./maps/bloom-filter.js";
import { HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap } from "./maps/hash.js";
import { ArrayOfMaps, HashOfMaps } from "./maps/map-in-map.js";
import { Queue, Stack } from "./maps/queue-stack.js";
import { RingBuffer, UserRingBuffer } from "./maps/ringbuf.js";
import type { BpfRuntime } from "./runtime.js";
import { mapInfo } from "./syscall.js";
import * as uapi from "./uapi.js";

/** The typed class of each type name, for codecs of key and value. */
export interface MapOf<KC, VC> {
  hash: HashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  lru_hash: LruHashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  percpu_hash: PerCpuHashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  lru_percpu_hash: LruPerCpuHashMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
  array: ArrayMap<Infer<VC>, InferInput<VC>>;
  percpu_array: PerCpuArrayMap<Infer<VC>, InferInput<VC>>;
  queue: Queue<Infer<VC>, InferInput<VC>>;
  stack: Stack<Infer<VC>, InferInput<VC>>;
  bloom_filter: BloomFilter<InferInput<VC>>;
  ringbuf: RingBuffer<Infer<VC>>;
  user_ringbuf: UserRingBuffer;
  array_of_maps: never;
  hash_of_maps: never;
}

// Which codecs a class takes is settled by MapOf, for callers; here they are all alike.
type LooseCodec = Codec<never, never> & Codec<number> & Codec<Uint8Array>;
type AnyMapClass = new (
  runtime: BpfRuntime,
  identity: MapIdentity,
  key: LooseCodec,
  value: LooseCodec,
) => TypedMap;
type OuterMapClass = new (
  runtime: BpfRuntime,
  identity: MapIdentity,
  key: LooseCodec,
  openInner: (fd: number) => TypedMap,
) => TypedMap;

/** The same, for when the program runs. */
const MAP_CLASSES: Readonly<Record<Exclude<MapTypeName, OuterTypeName>, AnyMapClass>> = {
  hash: HashMap,
  lru_hash: LruHashMap,
  percpu_hash: PerCpuHashMap,
  lru_percpu_hash: LruPerCpuHashMap,
  array: ArrayMap,
  percpu_array: PerCpuArrayMap,
  queue: Queue,
  stack: Stack,
  bloom_filter: BloomFilter,
  ringbuf: RingBuffer,
  user_ringbuf: UserRingBuffer,
};

type OuterTypeName = "array_of_maps" | "hash_of_maps";
const OUTER_CLASSES: Readonly<Record<OuterTypeName, OuterMapClass>> = {
  array_of_maps: ArrayOfMaps,
  hash_of_maps: HashOfMaps,
};

const INDEXED: readonly MapTypeName[] = ["array", "percpu_array", "array_of_maps"];
const KEYLESS: readonly MapTypeName[] = [
  "queue",
  "stack",
  "bloom_filter",
  "ringbuf",
  "user_ringbuf",
];
const RINGS: readonly MapTypeName[] = ["ringbuf", "user_ringbuf"];

/** What makes a typed map of an fd: codecs, and for maps of maps the template. */
export interface MapParts {
  readonly key?: AnyCodec;
  readonly value?: AnyCodec;
  readonly inner?: TypedMap;
}

/** The parts, checked: what a type does not have is undefined. */
interface Shape {
  readonly key: AnyCodec | undefined;
  readonly value: AnyCodec | undefined;
  readonly inner: TypedMap | undefined;
  /** Bytes, as the map has them. */
  readonly keySize: number;
  readonly valueSize: number;
}

function shapeOf(type: MapTypeName, parts: MapParts): Shape {
  const key = KEYLESS.includes(type) ? undefined : keyCodec(type, parts.key);
  const keySize = key?.size ?? 0;
  if (type in OUTER_CLASSES) {
    const { inner } = parts;
    if (!(inner instanceof TypedMap)) throw new TypeError("inner: expected a typed map");
    return { key, value: undefined, inner, keySize, valueSize: u32.size };
  }
  if (RINGS.includes(type)) {
    const value = parts.value === undefined ? undefined : codec("value", parts.value);
    return { key, value, inner: undefined, keySize, valueSize: 0 };
  }
  const value = codec("value", parts.value);
  return { key, value, inner: undefined, keySize, valueSize: value.size };
}

/** See {@link BpfRuntime.createMap}. */
export function createMap(
  runtime: BpfRuntime,
  spec: MapOptions & MapParts & { readonly type: MapTypeName },
): TypedMap {
  if (typeof spec !== "object" || spec === null)
    throw new TypeError("createMap: expected an object");
  const mapType = MAP_TYPES[spec.type];
  if (mapType === undefined) {
    throw new RangeError(
      `type: expected one of ${Object.keys(MAP_TYPES).join(", ")}, got ${spec.type}`,
    );
  }
  const shape = shapeOf(spec.type, spec);
  const { keySize, valueSize, inner } = shape;
  const innerMapFd = inner === undefined ? 0 : inner.closed ? -1 : inner.fd;
  const attr = { ...commonAttr(spec), mapType, keySize, valueSize, innerMapFd };
  const fd = check(runtime.bpf(uapi.BPF_MAP_CREATE, mapCreateAttr(attr)), "bpf_map_create");
  return wrap(runtime, fd, spec.type, shape);
}

/** See {@link BpfRuntime.mapFromFd}. */
export function mapFromFd(runtime: BpfRuntime, fd: number, parts: MapParts): TypedMap {
  const info = mapInfo(runtime, fd);
  const name = typeName(info.type);
  const shape = shapeOf(name, parts);
  if (shape.keySize !== info.keySize) {
    throw new RangeError(
      `key: the map's keys have ${info.keySize} bytes, the codec has ${shape.keySize}`,
    );
  }
  if (shape.valueSize !== info.valueSize) {
    throw new RangeError(
      `value: the map's values have ${info.valueSize} bytes, the codec has ${shape.valueSize}`,
    );
  }
  return wrap(runtime, fd, name, shape);
}

function typeName(mapType: number): MapTypeName {
  for (const [name, number] of Object.entries(MAP_TYPES)) {
    if (number === mapType) return name as MapTypeName;
  }
  throw new BpfError(
    "bpf_obj_get_info_by_fd",
    -uapi.EINVAL,
    `no typed class for map type ${mapType}`,
  );
}

function wrap(runtime: BpfRuntime, fd: number, type: MapTypeName, shape: Shape): TypedMap {
  try {
    const map = construct(runtime, { fd, info: mapInfo(runtime, fd) }, type, shape);
    map.reopen = (other) => wrap(runtime, other, type, shape);
    return map;
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
}

function construct(
  runtime: BpfRuntime,
  identity: MapIdentity,
  type: MapTypeName,
  { key, value, inner }: Shape,
): TypedMap {
  if (type !== "array_of_maps" && type !== "hash_of_maps") {
    const MapClass = MAP_CLASSES[type];
    return new MapClass(runtime, identity, key as LooseCodec, value as LooseCodec);
  }
  const { reopen } = inner ?? {};
  if (reopen === undefined) throw new TypeError("inner: expected a map made with createMap");
  const OuterClass = OUTER_CLASSES[type];
  return new OuterClass(runtime, identity, key as LooseCodec, reopen);
}

function keyCodec(type: MapTypeName, key: AnyCodec | undefined): AnyCodec {
  return key === undefined && INDEXED.includes(type) ? u32 : codec("key", key);
}

function codec(name: string, value: AnyCodec | undefined): AnyCodec {
  if (typeof value !== "object" || value === null || typeof value.read !== "function") {
    throw new TypeError(`${name}: expected a codec`);
  }
  return value;
}

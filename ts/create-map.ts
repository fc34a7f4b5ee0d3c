// createMap and mapFromFd: from a blueprint, or an fd, to a typed map. The table of typed classes, one row a type.

import { u32 } from "./codec.js";
import type { AnyCodec, Codec, Infer, InferInput } from "./codec.js";
import { storageFromFd } from "./create-storage.js";
import { BpfError, check } from "./errors.js";
import type { MapIdentity, TypedMap } from "./map.js";
import { MAP_TYPES, commonAttr, mapCreateAttr } from "./map-spec.js";
import type { KeyNeeded, MapCodecs, MapSpec, MapTypeName } from "./map-spec.js";
import { ArrayMap, PerCpuArrayMap } from "./maps/array.js";
import { HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap } from "./maps/hash.js";
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
}

// Which codecs a class takes is settled by MapOf, for callers; here they are all alike.
type LooseCodec = Codec<never, never> & Codec<number>;
type AnyMapClass = new (
  runtime: BpfRuntime,
  identity: MapIdentity,
  key: LooseCodec,
  value: LooseCodec,
) => TypedMap;

/** The same, for when the program runs. */
const MAP_CLASSES: Readonly<Record<MapTypeName, AnyMapClass>> = {
  hash: HashMap,
  lru_hash: LruHashMap,
  percpu_hash: PerCpuHashMap,
  lru_percpu_hash: LruPerCpuHashMap,
  array: ArrayMap,
  percpu_array: PerCpuArrayMap,
};

const INDEXED: readonly MapTypeName[] = ["array", "percpu_array"];

/** See {@link BpfRuntime.createMap}. */
export function createMap<T extends MapTypeName, KC extends AnyCodec, VC extends AnyCodec>(
  runtime: BpfRuntime,
  spec: MapSpec<T, KC, VC> & KeyNeeded<T, KC>,
): MapOf<KC, VC>[T] {
  if (typeof spec !== "object" || spec === null)
    throw new TypeError("createMap: expected an object");
  if (!Object.hasOwn(MAP_TYPES, spec.type)) {
    throw new RangeError(
      `type: expected one of ${Object.keys(MAP_TYPES).join(", ")}, got ${spec.type}`,
    );
  }
  const mapType = MAP_TYPES[spec.type];
  const key = keyCodec(spec.type, spec.key);
  const value = codec("value", spec.value);
  const attr = { ...commonAttr(spec), mapType, keySize: key.size, valueSize: value.size };
  const fd = check(runtime.bpf(uapi.BPF_MAP_CREATE, mapCreateAttr(attr)), "bpf_map_create");
  try {
    return wrap(runtime, fd, spec.type, key, value) as MapOf<KC, VC>[T];
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
}

/** See {@link BpfRuntime.mapFromFd}. */
export function mapFromFd(runtime: BpfRuntime, fd: number, codecs: MapCodecs): TypedMap {
  if (typeof codecs !== "object" || codecs === null) {
    throw new TypeError("mapFromFd: expected an object of codecs");
  }
  const info = mapInfo(runtime, fd);
  const storage = storageFromFd(runtime, fd, info.type, codecs.value);
  if (storage !== undefined) return storage;
  const name = typeName(info.type);
  if (codecs.type !== undefined && codecs.type !== name) {
    throw new RangeError(`type: the map is of type ${name}, not ${codecs.type}`);
  }
  const key = keyCodec(name, codecs.key);
  const value = codec("value", codecs.value);
  checkSize("key", key, info.keySize);
  checkSize("value", value, info.valueSize);
  return wrap(runtime, fd, name, key, value);
}

function checkSize(name: string, { size }: AnyCodec, bytes: number): void {
  if (size !== bytes) {
    throw new RangeError(`${name}: the map's ${name}s have ${bytes} bytes, the codec has ${size}`);
  }
}

/** mapFromFd for an fd that is closed when it fails. */
export function adoptFd(runtime: BpfRuntime, fd: number, codecs: MapCodecs): TypedMap {
  try {
    return mapFromFd(runtime, fd, codecs);
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
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

function wrap(
  runtime: BpfRuntime,
  fd: number,
  type: MapTypeName,
  key: AnyCodec,
  value: AnyCodec,
): TypedMap {
  const MapClass = MAP_CLASSES[type];
  const identity = { fd, info: mapInfo(runtime, fd) };
  return new MapClass(runtime, identity, key as LooseCodec, value as LooseCodec);
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

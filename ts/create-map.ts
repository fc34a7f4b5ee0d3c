// createMap and mapFromFd: from a blueprint, or an fd, to a typed map. The table of typed classes, one row a type.

import type { BatchedMap } from "./batched-map.js";
import { u32 } from "./codec.js";
import type { AnyCodec, Codec, Infer, InferInput } from "./codec.js";
import { createSpecial, isSpecialType, specialFromFd, specialTypeName } from "./create-special.js";
import { STORAGE_TYPES, storageFromFd } from "./create-storage.js";
import { BpfError } from "./errors.js";
import type { MapIdentity, TypedMap } from "./map.js";
import { MAP_TYPES, checkSize, codecOf, commonAttr, mapCreate } from "./map-spec.js";
import type { MapCodecs, MapOptions, MapSpec, MapTypeName } from "./map-spec.js";
import { ArrayMap, PerCpuArrayMap } from "./maps/array.js";
import { HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap } from "./maps/hash.js";
import { LpmTrie } from "./maps/lpm-trie.js";
import type { BpfRuntime } from "./runtime.js";
import { SPECIAL_TYPES } from "./special-spec.js";
import type { SpecialParts, SpecialTypeName } from "./special-spec.js";
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
  lpm_trie: LpmTrie<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;
}

/**
 * The typed class of a map whose type is not named, for codecs of key and value: what all maps with keys have in common.
 * Values of per-CPU types are arrays, which only the name of the type can tell.
 */
export type KeyedMapOf<KC, VC> = BatchedMap<Infer<KC>, InferInput<KC>, Infer<VC>, InferInput<VC>>;

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
  lpm_trie: LpmTrie,
};

/** Flags without which the kernel makes no map of a type. */
const FLAGS_NEEDED: Partial<Record<MapTypeName, number>> = { lpm_trie: uapi.BPF_F_NO_PREALLOC };

const INDEXED: readonly MapTypeName[] = ["array", "percpu_array"];

/** See {@link BpfRuntime.createMap}. */
export function createMap(runtime: BpfRuntime, spec: MapSpec | SpecialSpec): TypedMap {
  if (typeof spec !== "object" || spec === null)
    throw new TypeError("createMap: expected an object");
  if (isSpecial(spec)) return createSpecial(runtime, spec);
  if (!Object.hasOwn(MAP_TYPES, spec.type)) {
    const names = Object.keys({ ...MAP_TYPES, ...SPECIAL_TYPES, ...STORAGE_TYPES }).join(", ");
    throw new RangeError(`type: expected one of ${names}, got ${spec.type}`);
  }
  const mapType = MAP_TYPES[spec.type];
  const key = keyCodec(spec.type, spec.key);
  const value = codecOf("value", spec.value);
  const common = commonAttr(spec);
  const mapFlags = common.mapFlags | (FLAGS_NEEDED[spec.type] ?? 0);
  const attr = { ...common, mapFlags, mapType, keySize: key.size, valueSize: value.size };
  const fd = mapCreate(runtime, attr);
  try {
    return wrap(runtime, fd, spec.type, key, value);
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
}

type SpecialSpec = MapOptions & SpecialParts & { readonly type: SpecialTypeName };

function isSpecial(spec: MapSpec | SpecialSpec): spec is SpecialSpec {
  return isSpecialType(spec.type);
}

/** See {@link BpfRuntime.mapFromFd}. */
export function mapFromFd(
  runtime: BpfRuntime,
  fd: number,
  codecs: MapCodecs | SpecialParts,
): TypedMap {
  if (typeof codecs !== "object" || codecs === null) {
    throw new TypeError("mapFromFd: expected an object of codecs");
  }
  const info = mapInfo(runtime, fd);
  const special = specialTypeName(info.type);
  if (special !== undefined) {
    return specialFromFd(runtime, { fd, info }, special, codecs as SpecialParts);
  }
  const storage = storageFromFd(runtime, fd, info.type, codecs.value);
  if (storage !== undefined) return storage;
  const name = typeName(info.type);
  if (codecs.type !== undefined && codecs.type !== name) {
    throw new RangeError(`type: the map is of type ${name}, not ${codecs.type}`);
  }
  const key = keyCodec(name, codecs.key);
  const value = codecOf("value", codecs.value);
  checkSize("key", key.size, info.keySize);
  checkSize("value", value.size, info.valueSize);
  return wrap(runtime, fd, name, key, value);
}

/** mapFromFd for an fd that is closed when it fails. */
export function adoptFd(
  runtime: BpfRuntime,
  fd: number,
  codecs: MapCodecs | SpecialParts,
): TypedMap {
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
  const map = new MapClass(runtime, identity, key as LooseCodec, value as LooseCodec);
  map.reopen = (other) => adoptFd(runtime, other, { type, key, value });
  return map;
}

function keyCodec(type: MapTypeName, key: AnyCodec | undefined): AnyCodec {
  return key === undefined && INDEXED.includes(type) ? u32 : codecOf("key", key);
}

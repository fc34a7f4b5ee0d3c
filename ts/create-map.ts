// createMap and mapFromFd: from a blueprint, or an fd, to a typed map. The table of typed classes, one row a type.

import { u32 } from "./codec.js";
import type { AnyCodec, Codec } from "./codec.js";
import { createSpecial, isSpecialType, specialFromFd } from "./create-special.js";
import { STORAGE_TYPES, createStorage, isStorageType, storageFromFd } from "./create-storage.js";
import { BpfError } from "./errors.js";
import type { MapIdentity, TypedMap } from "./map.js";
import { MAP_TYPES, checkSize, codecOf, commonAttr, mapCreate } from "./map-spec.js";
import type { KeyedTypeName } from "./map-spec.js";
import type { AnyCodecs, AnySpec, MapTypeName } from "./map-types.js";
import { ArrayMap, PerCpuArrayMap } from "./maps/array.js";
import { HashMap, LruHashMap, LruPerCpuHashMap, PerCpuHashMap } from "./maps/hash.js";
import { LpmTrie } from "./maps/lpm-trie.js";
import type { BpfRuntime } from "./runtime.js";
import { SPECIAL_TYPES } from "./special-spec.js";
import { mapInfo } from "./syscall.js";
import * as uapi from "./uapi.js";

// Which codecs a class takes is settled by MapOf, for callers; here they are all alike.
type LooseCodec = Codec<never, never> & Codec<number>;
type AnyMapClass = new (
  runtime: BpfRuntime,
  identity: MapIdentity,
  key: LooseCodec,
  value: LooseCodec,
) => TypedMap;

/** MapOf for plain key/value maps, for when the program runs. */
const MAP_CLASSES: Readonly<Record<KeyedTypeName, AnyMapClass>> = {
  hash: HashMap,
  lru_hash: LruHashMap,
  percpu_hash: PerCpuHashMap,
  lru_percpu_hash: LruPerCpuHashMap,
  array: ArrayMap,
  percpu_array: PerCpuArrayMap,
  lpm_trie: LpmTrie,
};

/** The names of type numbers. */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries({ ...MAP_TYPES, ...SPECIAL_TYPES }).map(
    ([name, mapType]) => [mapType, name] as const,
  ),
  ...Object.entries(STORAGE_TYPES).map(([name, { mapType }]) => [mapType, name] as const),
]);

/** Flags without which the kernel makes no map of a type. */
const FLAGS_NEEDED: Partial<Record<KeyedTypeName, number>> = { lpm_trie: uapi.BPF_F_NO_PREALLOC };

const INDEXED: readonly KeyedTypeName[] = ["array", "percpu_array"];

/** See {@link BpfRuntime.createMap}. */
export function createMap(runtime: BpfRuntime, spec: AnySpec): TypedMap {
  if (typeof spec !== "object" || spec === null)
    throw new TypeError("createMap: expected an object");
  const { type } = spec;
  if (isStorageType(type)) return createStorage(runtime, type, spec);
  if (isSpecialType(type)) return createSpecial(runtime, type, spec);
  if (!isKeyedType(type)) {
    const names = Object.keys({ ...MAP_TYPES, ...SPECIAL_TYPES, ...STORAGE_TYPES }).join(", ");
    throw new RangeError(`type: expected one of ${names}, got ${type}`);
  }
  const mapType = MAP_TYPES[type];
  const key = keyCodec(type, spec.key);
  const value = codecOf("value", spec.value);
  const common = commonAttr(spec);
  const mapFlags = common.mapFlags | (FLAGS_NEEDED[type] ?? 0);
  const attr = { ...common, mapFlags, mapType, keySize: key.size, valueSize: value.size };
  const fd = mapCreate(runtime, attr);
  try {
    return wrap(runtime, fd, type, key, value);
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
}

function isKeyedType(name: string): name is KeyedTypeName {
  return Object.hasOwn(MAP_TYPES, name);
}

/** See {@link BpfRuntime.mapFromFd}. */
export function mapFromFd(runtime: BpfRuntime, fd: number, codecs: AnyCodecs): TypedMap {
  if (typeof codecs !== "object" || codecs === null) {
    throw new TypeError("mapFromFd: expected an object of codecs");
  }
  const info = mapInfo(runtime, fd);
  const name = typeName(info.type);
  if (codecs.type !== undefined && codecs.type !== name) {
    throw new RangeError(`type: the map is of type ${name}, not ${codecs.type}`);
  }
  if (isStorageType(name)) return storageFromFd(runtime, { fd, info }, name, codecs.value);
  if (isSpecialType(name)) return specialFromFd(runtime, { fd, info }, name, codecs);
  const key = keyCodec(name, codecs.key);
  const value = codecOf("value", codecs.value);
  checkSize("key", key.size, info.keySize);
  checkSize("value", value.size, info.valueSize);
  return wrap(runtime, fd, name, key, value);
}

/** mapFromFd for an fd that is closed when it fails. */
export function adoptFd(runtime: BpfRuntime, fd: number, codecs: AnyCodecs): TypedMap {
  try {
    return mapFromFd(runtime, fd, codecs);
  } catch (error) {
    runtime.close(fd);
    throw error;
  }
}

function typeName(mapType: number): MapTypeName {
  const name = TYPE_NAMES.get(mapType);
  if (name !== undefined) return name as MapTypeName;
  throw new BpfError(
    "bpf_obj_get_info_by_fd",
    -uapi.EINVAL,
    `no typed class for map type ${mapType}`,
  );
}

function wrap(
  runtime: BpfRuntime,
  fd: number,
  type: KeyedTypeName,
  key: AnyCodec,
  value: AnyCodec,
): TypedMap {
  const MapClass = MAP_CLASSES[type];
  const identity = { fd, info: mapInfo(runtime, fd) };
  const map = new MapClass(runtime, identity, key as LooseCodec, value as LooseCodec);
  map.reopen = (other) => adoptFd(runtime, other, { type, key, value });
  return map;
}

function keyCodec(type: KeyedTypeName, key: AnyCodec | undefined): AnyCodec {
  return key === undefined && INDEXED.includes(type) ? u32 : codecOf("key", key);
}

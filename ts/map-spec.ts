// What a map is to be: the options of createMap, checked, and the attr of BPF_MAP_CREATE made of them.

import type { AnyCodec } from "./codec.js";
import { describe } from "./codec/problem.js";
import { BpfError } from "./errors.js";
import { integer } from "./numbers.js";
import type { BpfRuntime } from "./runtime.js";
import * as uapi from "./uapi.js";

/** Type names of the plain key/value maps (those of bpftool) and their numbers. */
export const MAP_TYPES: Readonly<Record<KeyedTypeName, number>> = {
  hash: uapi.BPF_MAP_TYPE_HASH,
  array: uapi.BPF_MAP_TYPE_ARRAY,
  percpu_hash: uapi.BPF_MAP_TYPE_PERCPU_HASH,
  percpu_array: uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
  lru_hash: uapi.BPF_MAP_TYPE_LRU_HASH,
  lru_percpu_hash: uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  lpm_trie: uapi.BPF_MAP_TYPE_LPM_TRIE,
};

/** A type name of a plain key/value map. */
export type KeyedTypeName =
  | "hash"
  | "array"
  | "percpu_hash"
  | "percpu_array"
  | "lru_hash"
  | "lru_percpu_hash"
  | "lpm_trie";

/** Options of `createMap` that all types share. */
export interface MapOptions {
  /** Most elements the map can hold. */
  readonly maxEntries: number;
  /** BPF_F_* flags; default 0. */
  readonly mapFlags?: number | undefined;
  /** The same as `mapFlags`. */
  readonly flags?: number | undefined;
  /** At most 15 bytes of letters, digits, `_` and `.`. */
  readonly name?: string | undefined;
  /** BPF_F_NUMA_NODE's node; 0 is the only one. */
  readonly numaNode?: number | undefined;
  /** Type-specific: the number of hash functions of a bloom filter. */
  readonly mapExtra?: number | undefined;
}

/** Attributes of BPF_MAP_CREATE. */
export interface MapAttr {
  readonly mapType: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly mapFlags: number;
  readonly name: string;
  readonly numaNode?: number | undefined;
  readonly innerMapFd?: number;
  readonly mapExtra?: number | undefined;
  readonly btf?: { readonly fd: number; readonly keyTypeId: number; readonly valueTypeId: number };
}

/** Lays out the attr of BPF_MAP_CREATE. */
export function mapCreateAttr(attr: MapAttr): Uint8Array {
  const bytes = new Uint8Array(uapi.BPF_ATTR_SIZE);
  const view = new DataView(bytes.buffer);
  const words: readonly [offset: number, value: number][] = [
    [0, attr.mapType],
    [4, attr.keySize],
    [8, attr.valueSize],
    [12, attr.maxEntries],
    [16, attr.mapFlags],
    [20, attr.innerMapFd ?? 0],
    [24, attr.numaNode ?? 0],
    [48, attr.btf?.fd ?? 0],
    [52, attr.btf?.keyTypeId ?? 0],
    [56, attr.btf?.valueTypeId ?? 0],
    [64, attr.mapExtra ?? 0],
  ];
  for (const [offset, value] of words) view.setUint32(offset, value, true);
  bytes.set(new TextEncoder().encode(attr.name), 28);
  return bytes;
}

const RINGS: readonly number[] = [uapi.BPF_MAP_TYPE_RINGBUF, uapi.BPF_MAP_TYPE_USER_RINGBUF];
const ARRAYS: readonly number[] = [uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_MAP_TYPE_PERCPU_ARRAY];
/** Bytes of the prefix length in front of an LPM trie's data. */
const LPM_KEY_HDR = 4;

/**
 * BPF_MAP_CREATE.
 * @returns the fd
 * @throws {BpfError} what it says
 */
export function mapCreate(runtime: BpfRuntime, attr: MapAttr): number {
  const ret = runtime.bpf(uapi.BPF_MAP_CREATE, mapCreateAttr(attr));
  if (ret < 0) throw new BpfError("bpf_map_create", ret, refusal(ret, attr));
  return ret;
}

/** What an errno is about, as far as it can be seen here; undefined for the general text. */
function refusal(ret: number, attr: MapAttr): string | undefined {
  const { mapType, keySize, valueSize, maxEntries, mapFlags, innerMapFd = 0 } = attr;
  if (ret === -uapi.EBADF && innerMapFd !== 0) return "inner: the map is closed";
  if (ret === -uapi.EINVAL) {
    // Rings are checked first: their keys and values have no bytes.
    if (RINGS.includes(mapType)) {
      if (maxEntries < uapi.PAGE_SIZE || !Number.isInteger(Math.log2(maxEntries))) {
        return `maxEntries: a ring has a power of two of bytes, at least 4096, got ${maxEntries}`;
      }
    } else if (attr.btf === undefined && maxEntries === 0) {
      return "maxEntries: expected at least 1";
    }
    if (mapType === uapi.BPF_MAP_TYPE_LPM_TRIE && keySize <= LPM_KEY_HDR) {
      return "key: expected a codec made by lpmKey, with data of at least 1 byte";
    }
    if (ARRAYS.includes(mapType) && keySize !== 4) {
      return `key: an index has 4 bytes, the codec has ${keySize}`;
    }
  }
  if (ret !== -uapi.EINVAL && ret !== -uapi.E2BIG) return undefined;
  const sizes = `keys of ${keySize} and values of ${valueSize} bytes, maxEntries ${maxEntries}`;
  const rest = `flags 0x${mapFlags.toString(16)}, mapExtra ${attr.mapExtra ?? 0}`;
  const inner = innerMapFd === 0 ? "" : ", or inner is a map of maps itself";
  return `no map of this type can have ${sizes}${ret === -uapi.EINVAL ? `, ${rest}${inner}` : ""}`;
}

/**
 * Checks the options that all types share.
 * @throws {TypeError} a wrong type
 * @throws {RangeError} a number outside its range, a name that is too long
 */
export function commonAttr(
  options: MapOptions,
): Pick<MapAttr, "maxEntries" | "mapFlags" | "name" | "numaNode" | "mapExtra"> {
  const { maxEntries, name = "", numaNode = 0, mapExtra = 0 } = options;
  const mapFlags = flagsOf(options);
  word("maxEntries", maxEntries);
  word("mapExtra", mapExtra);
  if (!Number.isInteger(numaNode)) throw new TypeError("numaNode: expected an integer");
  if (typeof name !== "string") throw new TypeError(`name: expected a string, got ${typeof name}`);
  if (!/^[A-Za-z0-9_.]*$/.test(name)) {
    throw new RangeError(
      `name: expected letters, digits, "_" and ".", got ${JSON.stringify(name)}`,
    );
  }
  if (name.length >= uapi.BPF_OBJ_NAME_LEN) {
    throw new RangeError(`name: expected at most 15 characters, got ${name.length}`);
  }
  return { maxEntries, mapFlags, name, numaNode, mapExtra };
}

/**
 * What was given as a codec, seen to be one.
 * @throws {TypeError} it is none
 */
export function codecOf(name: string, value: AnyCodec | undefined): AnyCodec {
  if (typeof value !== "object" || value === null || typeof value.read !== "function") {
    throw new TypeError(`${name}: expected a codec such as u32, got ${describe(value)}`);
  }
  return value;
}

/** @throws {RangeError} a codec of `size` bytes is not for a map whose keys or values (`name`) have `bytes` */
export function checkSize(name: "key" | "value", size: number, bytes: number): void {
  if (size !== bytes) {
    throw new RangeError(`${name}: the map's ${name}s have ${bytes} bytes, the codec has ${size}`);
  }
}

/** `flags` and `mapFlags` are one option. */
function flagsOf({ flags, mapFlags }: MapOptions): number {
  if (flags !== undefined) word("flags", flags);
  if (mapFlags !== undefined) word("mapFlags", mapFlags);
  if (flags !== undefined && mapFlags !== undefined && flags !== mapFlags) {
    throw new RangeError("flags, mapFlags: they are the same option, give one of them");
  }
  return mapFlags ?? flags ?? 0;
}

function word(name: string, value: unknown): void {
  integer(name, value, 0, 0xffffffff);
}

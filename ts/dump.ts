// Typed maps as `bpftool -j map show` and `bpftool -j map dump` print them: for tools that read bpftool's JSON.

import { decode } from "./codec.js";
import type { AnyCodec } from "./codec.js";
import { BpfError } from "./errors.js";
import { plain } from "./json.js";
import type { Json } from "./json.js";
import { ElementMap } from "./map.js";
import type { TypedMap } from "./map.js";
import { ArrayOfMaps, HashOfMaps } from "./maps/map-in-map.js";
import { round8 } from "./numbers.js";
import { mapIsFrozen } from "./syscall.js";
import * as uapi from "./uapi.js";
import type { LiveViews } from "./views.js";

/** A map as `bpftool -j map show` prints it, as far as it exists here. */
export interface BpftoolMap {
  readonly id: number;
  /** `"lru_hash"`; a number for a type without a name. */
  readonly type: string | number;
  /** Left out when empty. */
  readonly name?: string;
  readonly flags: number;
  readonly bytes_key: number;
  readonly bytes_value: number;
  readonly max_entries: number;
  readonly frozen: 0 | 1;
  /** Maps with BTF only. */
  readonly btf_id?: number;
}

/** A value, or in per-CPU types those of all CPUs. */
export interface BpftoolValue<T> {
  readonly value?: T;
  readonly values?: readonly { readonly cpu: number; readonly value: T }[];
}

/** An element as `bpftool -j map dump` prints it; bytes are `"0x0a"`. */
export interface BpftoolElement extends BpftoolValue<readonly string[]> {
  readonly key: readonly string[];
  /** Maps of maps only. */
  readonly inner_map_id?: number;
  /** What bpftool knows by BTF, here by the codecs. Left out where a codec refuses the bytes. */
  readonly formatted?: BpftoolValue<Json> & { readonly key: Json };
}

/**
 * A map as `bpftool -j map show` prints it, without `bytes_memlock`.
 * @throws {BpfError} EBADF: the map is closed
 */
export function bpftoolShow(map: TypedMap): BpftoolMap {
  const info = map.info();
  return {
    id: info.id,
    type: typeName(info.type),
    ...(info.name === "" ? {} : { name: info.name }),
    flags: info.mapFlags,
    bytes_key: info.keySize,
    bytes_value: info.valueSize,
    max_entries: info.maxEntries,
    frozen: mapIsFrozen(map.runtime, map.fd) ? 1 : 0,
    ...(info.btfId === 0 ? {} : { btf_id: info.btfId }),
  };
}

/** bpftool's names are those of the constants. */
function typeName(type: number): string | number {
  const prefix = "BPF_MAP_TYPE_";
  for (const [name, number] of Object.entries(uapi)) {
    if (number === type && name.startsWith(prefix)) return name.slice(prefix.length).toLowerCase();
  }
  return type;
}

/**
 * The elements of a map as `bpftool -j map dump` prints them, with `formatted` by the codecs: structs as objects, bytes as
 * arrays of numbers. It is strict JSON: bigints are numbers where those are exact and strings elsewhere, NaN and infinities
 * are strings. Types whose elements are not read by keys (queues, filters, rings, storages) give `[]`.
 *
 * @example
 * ```ts
 * const map = rt.createMap({ type: "hash", key: u8, value: u16, maxEntries: 4 });
 * bpftoolDump(map.set(7, 10)); // [{ key: ["0x07"], value: ["0x0a", "0x00"], formatted: { key: 7, value: 10 } }]
 * ```
 * @throws {BpfError} EBADF: the map is closed; EPERM: the fd is not open for reading
 */
export function bpftoolDump(map: TypedMap): BpftoolElement[] {
  map.info();
  return map instanceof ElementMap ? [...elementsOf(map)] : [];
}

function* elementsOf(
  map: ElementMap<unknown, never, unknown, never>,
): IterableIterator<BpftoolElement> {
  const { door, runtime, valueSize } = map;
  const isOuter = map instanceof ArrayOfMaps || map instanceof HashOfMaps;
  for (const { keyPtr } of map.cursor()) {
    // As a lookup by bpf(2): all CPUs' values, without the lock.
    const ret = runtime.exports.map_lookup_copy(door.handle, keyPtr, door.valuePtr, 0);
    // Another thread has deleted it meanwhile.
    if (ret === -uapi.ENOENT) continue;
    if (ret !== 0) throw new BpfError("bpf_map_lookup_elem", ret);
    const keyBytes = bytesAt(door.mem, keyPtr, door.key.size);
    const bytes = bytesAt(door.mem, door.valuePtr, door.value.size);
    const key = formatted(door.key, keyBytes);
    const value = formatted(door.value, bytes);
    const isReadable = key !== undefined && value !== undefined;
    yield {
      key: hex(keyBytes),
      ...(door.isPerCpu ? perCpu(slotsOf(bytes, valueSize)) : { value: hex(bytes) }),
      ...(isOuter ? { inner_map_id: value as number } : {}),
      ...(isReadable
        ? { formatted: { key, ...(door.isPerCpu ? perCpu(value as Json[]) : { value }) } }
        : {}),
    };
  }
}

/** A copy: the codecs of users may do anything with the map. */
function bytesAt(mem: LiveViews, ptr: number, size: number): Uint8Array {
  mem.reach(ptr, size);
  return new Uint8Array(mem.u8.subarray(ptr, ptr + size));
}

function perCpu<T>(values: readonly T[]): BpftoolValue<T> {
  return { values: values.map((value, cpu) => ({ cpu, value })) };
}

/** The bytes of each CPU's value. */
function slotsOf(bytes: Uint8Array, valueSize: number): string[][] {
  const slot = round8(valueSize);
  return Array.from({ length: bytes.length / slot }, (_, cpu) =>
    hex(bytes.subarray(cpu * slot, cpu * slot + valueSize)),
  );
}

function hex(bytes: Uint8Array): string[] {
  return Array.from(bytes, (byte) => `0x${byte.toString(16).padStart(2, "0")}`);
}

/** Undefined: the codec refuses the bytes. */
function formatted(codec: AnyCodec, bytes: Uint8Array): Json | undefined {
  try {
    return plain(decode(codec, bytes));
  } catch {
    return undefined;
  }
}

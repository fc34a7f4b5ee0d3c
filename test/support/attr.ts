// union bpf_attr of Linux 6.18 as the tests write it: the end of the last field of each command
// (what a client of that command passes as size) and the attrs of creation and of one element.

import * as uapi from "../../ts/uapi.js";

/** Name of a map: text, or the sixteen bytes themselves where the test is about them. */
export type MapName = string | Uint8Array;

/** The fields of BPF_MAP_CREATE; absent ones are zero. */
export interface CreateSpec {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags?: number;
  readonly innerMapFd?: number;
  readonly numaNode?: number;
  readonly name?: MapName;
  readonly ifindex?: number;
  readonly btfFd?: number;
  readonly btfKeyTypeId?: number;
  readonly btfValueTypeId?: number;
  readonly btfVmlinuxValueTypeId?: number;
  readonly mapExtra?: bigint;
}

/** End of the last field a command knows, bytes; a non-zero byte after it is -EINVAL. */
export const ATTR_END: Readonly<Record<number, number>> = {
  [uapi.BPF_MAP_CREATE]: 92,
  [uapi.BPF_MAP_LOOKUP_ELEM]: 32,
  [uapi.BPF_MAP_UPDATE_ELEM]: 32,
  [uapi.BPF_MAP_DELETE_ELEM]: 16,
  [uapi.BPF_MAP_GET_NEXT_KEY]: 24,
  [uapi.BPF_OBJ_PIN]: 20,
  [uapi.BPF_OBJ_GET]: 20,
  [uapi.BPF_MAP_GET_NEXT_ID]: 8,
  [uapi.BPF_MAP_GET_FD_BY_ID]: 12,
  [uapi.BPF_OBJ_GET_INFO_BY_FD]: 16,
  [uapi.BPF_BTF_LOAD]: 40,
  [uapi.BPF_BTF_GET_FD_BY_ID]: 16,
  [uapi.BPF_BTF_GET_NEXT_ID]: 8,
  [uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM]: 32,
  [uapi.BPF_MAP_FREEZE]: 4,
  [uapi.BPF_MAP_LOOKUP_BATCH]: 56,
  [uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH]: 56,
  [uapi.BPF_MAP_UPDATE_BATCH]: 56,
  [uapi.BPF_MAP_DELETE_BATCH]: 56,
};

/** A u64 field: flags beyond 53 bits need the bigint. */
export type U64 = number | bigint;

export function setU64(view: DataView, offset: number, value: U64): void {
  if (typeof value === "bigint") view.setBigUint64(offset, BigInt.asUintN(64, value), true);
  else {
    view.setUint32(offset, value >>> 0, true);
    view.setUint32(offset + 4, Math.floor(value / 2 ** 32) >>> 0, true);
  }
}

function setName(view: DataView, name: MapName): void {
  const bytes = typeof name === "string" ? new TextEncoder().encode(name) : name;
  const count = Math.min(bytes.length, uapi.BPF_OBJ_NAME_LEN);
  for (let i = 0; i < count; i++) view.setUint8(28 + i, bytes[i] ?? 0);
}

/** Fills the attr of BPF_MAP_CREATE. The bytes of `view` must be zero before. */
export function writeCreateAttr(view: DataView, spec: CreateSpec): void {
  view.setUint32(0, spec.type, true);
  view.setUint32(4, spec.keySize, true);
  view.setUint32(8, spec.valueSize, true);
  view.setUint32(12, spec.maxEntries, true);
  view.setUint32(16, spec.flags ?? 0, true);
  view.setInt32(20, spec.innerMapFd ?? 0, true);
  view.setUint32(24, spec.numaNode ?? 0, true);
  if (spec.name !== undefined) setName(view, spec.name);
  view.setUint32(44, spec.ifindex ?? 0, true);
  view.setInt32(48, spec.btfFd ?? 0, true);
  view.setUint32(52, spec.btfKeyTypeId ?? 0, true);
  view.setUint32(56, spec.btfValueTypeId ?? 0, true);
  view.setUint32(60, spec.btfVmlinuxValueTypeId ?? 0, true);
  view.setBigUint64(64, BigInt.asUintN(64, spec.mapExtra ?? 0n), true);
}

/** Fills the attr of the element commands; addresses are u32, 0 is NULL. */
export function writeElemAttr(
  view: DataView,
  fd: number,
  keyPtr: number,
  valuePtr: number,
  flags: U64,
): void {
  view.setInt32(0, fd, true);
  view.setUint32(8, keyPtr, true);
  view.setUint32(16, valuePtr, true);
  setU64(view, 24, flags);
}

const PERCPU_TYPES: ReadonlySet<number> = new Set([
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
]);

const FD_VALUED_TYPES: ReadonlySet<number> = new Set([
  uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
  uapi.BPF_MAP_TYPE_PROG_ARRAY,
  uapi.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  uapi.BPF_MAP_TYPE_CGROUP_ARRAY,
]);

/** Bytes of one value as the syscall transfers it. */
export function userValueSize(type: number, valueSize: number, cpus: number): number {
  if (PERCPU_TYPES.has(type)) return Math.ceil(valueSize / 8) * 8 * cpus;
  return FD_VALUED_TYPES.has(type) ? 4 : valueSize;
}

const BUCKET_TOKEN_TYPES: ReadonlySet<number> = new Set([
  uapi.BPF_MAP_TYPE_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
]);

/** Bytes of a batch token: a bucket index for hash tables, the last key for all other types. */
export function tokenSize(type: number, keySize: number): number {
  return BUCKET_TOKEN_TYPES.has(type) ? 4 : keySize;
}

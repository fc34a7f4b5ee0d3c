// Commands of bpf(2) that the typed side uses, as calls with numbers and buffers.

import { describe } from "./codec/problem.js";
import { BpfError, check } from "./errors.js";
import { isFd, isU32 } from "./numbers.js";
import type { BpfRuntime } from "./runtime.js";
import * as uapi from "./uapi.js";

/** What the core says of a map. Source: struct bpf_map_info. */
export interface MapInfo {
  readonly type: number;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  /** LRU maps with BPF_F_NO_COMMON_LRU: rounded up to a multiple of the CPUs. */
  readonly maxEntries: number;
  readonly mapFlags: number;
  readonly name: string;
  readonly mapExtra: number;
  readonly btfId: number;
}

/**
 * OBJ_GET_INFO_BY_FD of a map.
 * @throws {BpfError} EBADFD: not open; EINVAL: not a map
 */
export function mapInfo(rt: BpfRuntime, fd: number): MapInfo {
  if (!isFd(fd)) {
    throw new BpfError("bpf_obj_get_info_by_fd", -uapi.EBADFD, `no fd: ${describe(fd)}`);
  }
  const ptr = allocate(rt, uapi.BPF_MAP_INFO_SIZE);
  try {
    const at = new Uint8Array(rt.memory.buffer, ptr, uapi.BPF_MAP_INFO_SIZE);
    at.fill(0);
    const attr = new Uint8Array(16);
    const view = new DataView(attr.buffer);
    view.setInt32(0, fd, true);
    view.setUint32(4, uapi.BPF_MAP_INFO_SIZE, true);
    view.setBigUint64(8, BigInt(ptr), true);
    const ret = rt.bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr);
    check(
      ret,
      "bpf_obj_get_info_by_fd",
      `fd ${fd} is ${ret === -uapi.EINVAL ? "no map" : "not open"}`,
    );
    return parseInfo(at.slice());
  } finally {
    rt.free(ptr);
  }
}

function parseInfo(bytes: Uint8Array): MapInfo {
  const view = new DataView(bytes.buffer);
  const word = (offset: number): number => view.getUint32(offset, true);
  const name = bytes.subarray(24, 40);
  return {
    type: word(0),
    id: word(4),
    keySize: word(8),
    valueSize: word(12),
    maxEntries: word(16),
    mapFlags: word(20),
    name: new TextDecoder("latin1").decode(name.subarray(0, name.indexOf(0))),
    mapExtra: word(80),
    btfId: word(64),
  };
}

/** MAP_FREEZE. */
export function mapFreeze(rt: BpfRuntime, fd: number): void {
  const attr = new Uint8Array(4);
  new DataView(attr.buffer).setInt32(0, fd, true);
  check(rt.bpf(uapi.BPF_MAP_FREEZE, attr), "bpf_map_freeze");
}

/** Is it? struct bpf_map_info does not say; but a deletion of no keys changes nothing, and is refused all the same. */
export function mapIsFrozen(rt: BpfRuntime, fd: number): boolean {
  const error = allocate(rt, 8);
  rt.exports.map_delete_many(rt.mapHandle(fd), 0, 0, error);
  const ret = new DataView(rt.memory.buffer).getInt32(error, true);
  rt.free(error);
  return ret === -uapi.EPERM;
}

/** MAP_GET_NEXT_ID: the smallest id above `id`; 0 when there is none. */
export function mapNextId(rt: BpfRuntime, id: number): number {
  const attr = new Uint8Array(8);
  const view = new DataView(attr.buffer);
  view.setUint32(0, id, true);
  const ret = rt.bpf(uapi.BPF_MAP_GET_NEXT_ID, attr);
  if (ret === -uapi.ENOENT) return 0;
  check(ret, "bpf_map_get_next_id");
  return view.getUint32(4, true);
}

/**
 * MAP_GET_FD_BY_ID.
 * @throws {BpfError} ENOENT: no map with this id
 */
export function mapFdById(rt: BpfRuntime, id: number): number {
  return check(findFdById(rt, id), "bpf_map_get_fd_by_id");
}

/** MAP_GET_FD_BY_ID. @returns the new fd or -errno */
export function findFdById(rt: BpfRuntime, id: number): number {
  if (!isU32(id)) return -uapi.ENOENT;
  const attr = new Uint8Array(12);
  new DataView(attr.buffer).setUint32(0, id, true);
  return rt.bpf(uapi.BPF_MAP_GET_FD_BY_ID, attr);
}

/**
 * A path as the core reads it.
 * @throws {TypeError} no string, or one that a NUL would cut off
 */
export function pathBytes(path: string): Uint8Array {
  if (typeof path !== "string") throw new TypeError(`path: expected a string, got ${typeof path}`);
  if (path.includes("\0")) throw new TypeError("path: a NUL would end it");
  return new TextEncoder().encode(`${path}\0`);
}

/** OBJ_PIN, and OBJ_GET for fd 0. @returns 0 or the new fd; or -errno */
export function objPath(
  rt: BpfRuntime,
  cmd: number,
  path: string,
  fd: number,
  flags: number,
): number {
  const name = pathBytes(path);
  const ptr = allocate(rt, name.length);
  try {
    new Uint8Array(rt.memory.buffer).set(name, ptr);
    const attr = new Uint8Array(20);
    const view = new DataView(attr.buffer);
    view.setBigUint64(0, BigInt(ptr), true);
    view.setInt32(8, fd, true);
    view.setUint32(12, flags, true);
    return rt.bpf(cmd, attr);
  } finally {
    rt.free(ptr);
  }
}

/** rt.alloc that throws. */
export function allocate(rt: BpfRuntime, bytes: number): number {
  rt.mustLive("alloc");
  const ptr = rt.alloc(bytes);
  if (ptr === 0) throw new BpfError("alloc", -uapi.ENOMEM);
  return ptr;
}

// bpf(2): the envelope and the commands on single elements. Kernel: kernel/bpf/syscall.c (behaviour checked against 6.18;
// spec hash-array-syscall.md 1 and 3).
//
// The attr is copied in before a command looks at it. What a command writes back goes to the caller's attr.

import {
  BPF_ATTR_SIZE,
  BPF_BTF_GET_FD_BY_ID,
  BPF_BTF_GET_NEXT_ID,
  BPF_BTF_LOAD,
  BPF_F_LOCK,
  BPF_MAP_CREATE,
  BPF_MAP_DELETE_BATCH,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_FREEZE,
  BPF_MAP_GET_FD_BY_ID,
  BPF_MAP_GET_NEXT_ID,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_AND_DELETE_BATCH,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  BPF_MAP_LOOKUP_BATCH,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_STACK,
  BPF_MAP_UPDATE_BATCH,
  BPF_MAP_UPDATE_ELEM,
  BPF_OBJ_GET,
  BPF_OBJ_GET_INFO_BY_FD,
  BPF_OBJ_PIN,
  E2BIG,
  EFAULT,
  EINVAL,
  ENOTSUPP,
  EPERM,
  PAGE_SIZE,
} from "../ts/uapi";
import { deleteBatch, updateBatch } from "./batch";
import { objGet, objPin } from "./bpffs";
import { btfGetFdById, btfGetNextId, btfLoad } from "./btf";
import { FMODE_READ, FMODE_WRITE, fdMap, fdMode } from "./fd";
import { scratchPtr } from "./kernel";
import { copyBytes, isUserRange, isZero, zeroBytes } from "./lib/bytes";
import {
  BATCH_DELETE,
  BATCH_LOOKUP,
  BATCH_LOOKUP_AND_DELETE,
  BATCH_UPDATE,
  BatchAttr,
  BpfMap,
  MapCreateAttr,
  NO_LOCK,
  isErr,
  mapGet,
  mapPut,
} from "./map";
import { mapCreate } from "./map_create";
import { mapFreeze, mapGetFdById, mapGetNextId, objGetInfoByFd } from "./map_obj";

/** The attr of the commands on one element. */
@unmanaged
class ElemAttr {
  mapFd: i32;
  pad: u32;
  key: u64;
  /** Value, or next key. */
  value: u64;
  flags: u64;
}
if (offsetof<ElemAttr>("flags") != 24) ERROR("ElemAttr mirrors union bpf_attr");

/** End of the last field a command knows: bytes behind it must be zero. */
function attrEnd(cmd: u32): u32 {
  switch (cmd) {
    case BPF_MAP_CREATE:
      return 92;
    case BPF_MAP_LOOKUP_ELEM:
    case BPF_MAP_UPDATE_ELEM:
    case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
      return 32;
    case BPF_MAP_DELETE_ELEM:
      return 16;
    case BPF_MAP_GET_NEXT_KEY:
      return 24;
    case BPF_OBJ_PIN:
    case BPF_OBJ_GET:
      return 20;
    case BPF_MAP_GET_NEXT_ID:
    case BPF_BTF_GET_NEXT_ID:
      return 8;
    case BPF_MAP_GET_FD_BY_ID:
      return 12;
    case BPF_OBJ_GET_INFO_BY_FD:
    case BPF_BTF_GET_FD_BY_ID:
      return 16;
    case BPF_BTF_LOAD:
      return 40;
    case BPF_MAP_FREEZE:
      return 4;
    case BPF_MAP_LOOKUP_BATCH:
    case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
    case BPF_MAP_UPDATE_BATCH:
    case BPF_MAP_DELETE_BATCH:
      return 56;
    default:
      return 0;
  }
}

/**
 * bpf(2).
 * @param attr address of `size` bytes of union bpf_attr; shorter ones count as zero-padded
 * @returns >= 0, or -errno
 */
export function bpf(cmd: i32, attr: u32, size: u32): i32 {
  if (size > <u32>PAGE_SIZE) return -E2BIG;
  if (size > 0 && !isUserRange(attr, size)) return -EFAULT;
  if (size > <u32>BPF_ATTR_SIZE && !isZero(attr + BPF_ATTR_SIZE, size - BPF_ATTR_SIZE))
    return -E2BIG;
  const copy = scratchPtr();
  const taken = min<u32>(size, BPF_ATTR_SIZE);
  copyBytes(copy, attr, taken);
  zeroBytes(copy + taken, BPF_ATTR_SIZE - taken);
  const end = attrEnd(cmd);
  if (end == 0) return -EINVAL;
  if (!isZero(copy + end, BPF_ATTR_SIZE - end)) return -EINVAL;
  switch (cmd) {
    case BPF_MAP_CREATE:
      return mapCreate(changetype<MapCreateAttr>(copy));
    case BPF_OBJ_PIN:
      return objPin(copy);
    case BPF_OBJ_GET:
      return objGet(copy);
    case BPF_MAP_GET_NEXT_ID:
      return mapGetNextId(copy, attr);
    case BPF_MAP_GET_FD_BY_ID:
      return mapGetFdById(copy);
    case BPF_OBJ_GET_INFO_BY_FD:
      return objGetInfoByFd(copy, attr);
    case BPF_BTF_LOAD:
      return btfLoad(copy, attr, size);
    case BPF_BTF_GET_FD_BY_ID:
      return btfGetFdById(copy);
    case BPF_BTF_GET_NEXT_ID:
      return btfGetNextId(copy, attr);
    default:
      return cmd >= BPF_MAP_LOOKUP_BATCH
        ? mapCommand(cmd, load<i32>(copy, 36), copy, attr)
        : elemCommand(cmd, copy);
  }
}

/** The commands whose attr begins with the map's fd. */
function elemCommand(cmd: i32, copy: usize): i32 {
  // Flags of lookups are looked at before the fd.
  const isLookup = cmd == BPF_MAP_LOOKUP_ELEM || cmd == BPF_MAP_LOOKUP_AND_DELETE_ELEM;
  if (isLookup && (changetype<ElemAttr>(copy).flags & ~(<u64>BPF_F_LOCK)) != 0) return -EINVAL;
  return mapCommand(cmd, load<i32>(copy), copy, 0);
}

/** Holds the map while the command runs. */
function mapCommand(cmd: i32, fd: i32, copy: usize, userAttr: u32): i32 {
  const ptr = fdMap(fd);
  if (isErr(ptr)) return <i32>ptr;
  const map = changetype<BpfMap>(ptr);
  const mode = map.frozen ? fdMode(fd) & ~FMODE_WRITE : fdMode(fd);
  const needs = modeNeeded(cmd);
  mapGet(map);
  let ret = -EPERM;
  if (cmd == BPF_MAP_FREEZE) ret = mapFreeze(map, mode);
  else if ((mode & needs) == needs) ret = runOn(map, cmd, copy, userAttr);
  mapPut(map);
  return ret;
}

function modeNeeded(cmd: i32): u32 {
  switch (cmd) {
    case BPF_MAP_LOOKUP_ELEM:
    case BPF_MAP_GET_NEXT_KEY:
    case BPF_MAP_LOOKUP_BATCH:
      return FMODE_READ;
    case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
    case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
      return FMODE_READ | FMODE_WRITE;
    default:
      return FMODE_WRITE;
  }
}

function runOn(map: BpfMap, cmd: i32, copy: usize, userAttr: u32): i32 {
  switch (cmd) {
    case BPF_MAP_LOOKUP_ELEM:
      return lookupElem(map, changetype<ElemAttr>(copy));
    case BPF_MAP_UPDATE_ELEM:
      return updateElem(map, changetype<ElemAttr>(copy));
    case BPF_MAP_DELETE_ELEM:
      return deleteElem(map, changetype<ElemAttr>(copy));
    case BPF_MAP_GET_NEXT_KEY:
      return getNextKey(map, changetype<ElemAttr>(copy));
    case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
      return lookupAndDeleteElem(map, changetype<ElemAttr>(copy));
    default:
      return batchCommand(map, cmd, changetype<BatchAttr>(copy), userAttr);
  }
}

/** The key of a command: its address, 0 for the NULL of a keyless type, or -errno as an address. */
function userKey(map: BpfMap, key: u64): usize {
  if (map.keySize == 0) return key == 0 ? 0 : <usize>-EINVAL;
  return isUserRange(key, map.keySize) ? <usize>key : <usize>-EFAULT;
}

/** BPF_F_LOCK needs a lock in the value. */
function lockMissing(map: BpfMap, flags: u64): bool {
  return (flags & BPF_F_LOCK) != 0 && map.lockOffset == NO_LOCK;
}

function lookupElem(map: BpfMap, attr: ElemAttr): i32 {
  if (lockMissing(map, attr.flags)) return -EINVAL;
  const key = userKey(map, attr.key);
  return isErr(key) ? <i32>key : map.lookupUser(key, attr.value, attr.flags);
}

function updateElem(map: BpfMap, attr: ElemAttr): i32 {
  if (lockMissing(map, attr.flags)) return -EINVAL;
  const key = userKey(map, attr.key);
  if (isErr(key)) return <i32>key;
  const size = map.userValueSize();
  if (size != 0 && !isUserRange(attr.value, size)) return -EFAULT;
  if (map.keySize == 0) return map.pushElem(<usize>attr.value, attr.flags);
  return map.updateElem(key, <usize>attr.value, attr.flags, true);
}

function deleteElem(map: BpfMap, attr: ElemAttr): i32 {
  const key = userKey(map, attr.key);
  return isErr(key) ? <i32>key : map.deleteElem(key);
}

function getNextKey(map: BpfMap, attr: ElemAttr): i32 {
  const key = attr.key == 0 ? 0 : userKey(map, attr.key);
  return isErr(key) ? <i32>key : map.getNextKey(key, attr.value);
}

function lookupAndDeleteElem(map: BpfMap, attr: ElemAttr): i32 {
  const isQueue = map.mapType == BPF_MAP_TYPE_QUEUE || map.mapType == BPF_MAP_TYPE_STACK;
  if (attr.flags != 0 && isQueue) return -EINVAL;
  if (lockMissing(map, attr.flags)) return -EINVAL;
  const key = userKey(map, attr.key);
  return isErr(key) ? <i32>key : map.lookupAndDeleteUser(key, attr.value, attr.flags);
}

function batchCommand(map: BpfMap, cmd: i32, attr: BatchAttr, userAttr: u32): i32 {
  const op = batchOp(cmd);
  if ((map.batchOps() & op) == 0) return -ENOTSUPP;
  // The count is written back whatever size the caller gave for the attr.
  if (!isUserRange(userAttr, offsetof<BatchAttr>("mapFd"))) return -EFAULT;
  const userCount = <usize>userAttr + offsetof<BatchAttr>("count");
  if (op == BATCH_UPDATE) return updateBatch(map, attr, userCount);
  if (op == BATCH_DELETE) return deleteBatch(map, attr, userCount);
  return map.lookupBatch(attr, userCount, op == BATCH_LOOKUP_AND_DELETE);
}

function batchOp(cmd: i32): u32 {
  switch (cmd) {
    case BPF_MAP_LOOKUP_BATCH:
      return BATCH_LOOKUP;
    case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
      return BATCH_LOOKUP_AND_DELETE;
    case BPF_MAP_UPDATE_BATCH:
      return BATCH_UPDATE;
    default:
      return BATCH_DELETE;
  }
}

// bpf(2): the envelope and the commands on single elements. Kernel: kernel/bpf/syscall.c (behaviour checked against 6.18).
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
  BPF_MAP_UPDATE_BATCH,
  BPF_MAP_UPDATE_ELEM,
  BPF_OBJ_GET,
  BPF_OBJ_GET_INFO_BY_FD,
  BPF_OBJ_PIN,
  EBADF,
  EFAULT,
  EINVAL,
  ENOTSUPP,
  EPERM,
} from "../ts/uapi";
import { batchFlagsLegal, changeBatch } from "./batch";
import { objGet, objPin } from "./bpffs";
import { btfGetFdById, btfLoad } from "./btf";
import {
  FD_MAP,
  FMODE_READ,
  FMODE_WRITE,
  entryKind,
  entryMode,
  entryObject,
  fdHold,
  fdPut,
} from "./fd";
import { scratchPtr } from "./kernel";
import { isUserRange, isZero } from "./lib/bytes";
import {
  BATCH_DELETE,
  BATCH_LOOKUP_AND_DELETE,
  BATCH_UPDATE,
  BatchAttr,
  BpfMap,
  MapCreateAttr,
  isErr,
  lockMissing,
} from "./map";
import { mapCreate } from "./map_create";
import { getNextId, mapFreeze, mapGetFdById, objGetInfoByFd } from "./map_obj";
import { copyStructFromUser } from "./uaccess";

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
    case BPF_MAP_DELETE_ELEM:
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
  const copy = scratchPtr();
  const ret = copyStructFromUser(copy, BPF_ATTR_SIZE, attr, size);
  if (ret != 0) return ret;
  const end = attrEnd(cmd);
  if (end == 0 || !isZero(copy + end, BPF_ATTR_SIZE - end)) return -EINVAL;
  switch (cmd) {
    case BPF_MAP_CREATE:
      return mapCreate(changetype<MapCreateAttr>(copy));
    case BPF_OBJ_PIN:
      return objPin(copy);
    case BPF_OBJ_GET:
      return objGet(copy);
    case BPF_MAP_GET_NEXT_ID:
      return getNextId(copy, attr, false);
    case BPF_MAP_GET_FD_BY_ID:
      return mapGetFdById(copy);
    case BPF_OBJ_GET_INFO_BY_FD:
      return objGetInfoByFd(copy, attr);
    case BPF_BTF_LOAD:
      return btfLoad(copy, attr, size);
    case BPF_BTF_GET_FD_BY_ID:
      return btfGetFdById(copy);
    case BPF_BTF_GET_NEXT_ID:
      return getNextId(copy, attr, true);
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

/** Sets of commands have a bit for each; there are less than 32. */
const READING: u32 =
  (1 << BPF_MAP_LOOKUP_ELEM) |
  (1 << BPF_MAP_GET_NEXT_KEY) |
  (1 << BPF_MAP_LOOKUP_AND_DELETE_ELEM) |
  (1 << BPF_MAP_LOOKUP_BATCH) |
  (1 << BPF_MAP_LOOKUP_AND_DELETE_BATCH);
const WRITING: u32 =
  (1 << BPF_MAP_UPDATE_ELEM) |
  (1 << BPF_MAP_DELETE_ELEM) |
  (1 << BPF_MAP_LOOKUP_AND_DELETE_ELEM) |
  (1 << BPF_MAP_LOOKUP_AND_DELETE_BATCH) |
  (1 << BPF_MAP_UPDATE_BATCH) |
  (1 << BPF_MAP_DELETE_BATCH);

function modeNeeded(cmd: i32): u32 {
  return ((READING >> cmd) & 1) * FMODE_READ + ((WRITING >> cmd) & 1) * FMODE_WRITE;
}

/** Holds the map while the command runs. */
function mapCommand(cmd: i32, fd: i32, copy: usize, userAttr: u32): i32 {
  const entry = fdHold(fd);
  const ret =
    entryKind(entry) == FD_MAP
      ? onMap(changetype<BpfMap>(entryObject(entry)), entryMode(entry), cmd, copy, userAttr)
      : entry == 0
        ? -EBADF
        : -EINVAL;
  fdPut(entry);
  return ret;
}

function onMap(map: BpfMap, mode: u32, cmd: i32, copy: usize, userAttr: u32): i32 {
  if (map.frozen) mode &= ~FMODE_WRITE;
  const needs = modeNeeded(cmd);
  if ((mode & needs) != needs) return -EPERM;
  if (cmd == BPF_MAP_FREEZE) return mapFreeze(map, mode);
  return cmd >= BPF_MAP_LOOKUP_BATCH
    ? onBatch(map, cmd, changetype<BatchAttr>(copy), userAttr)
    : onElem(map, cmd, changetype<ElemAttr>(copy));
}

/** The key of a command: its address, 0 for the NULL of a keyless type, or -errno as an address. */
function userKey(map: BpfMap, key: u64): usize {
  if (map.keySize == 0) return key == 0 ? 0 : <usize>-EINVAL;
  return isUserRange(key, map.keySize) ? <usize>key : <usize>-EFAULT;
}

/** Commands without a value or flags have zeros there (attrEnd). */
function onElem(map: BpfMap, cmd: i32, attr: ElemAttr): i32 {
  const value = attr.value;
  const flags = attr.flags;
  if (lockMissing(map, flags)) return -EINVAL;
  const isFirst = cmd == BPF_MAP_GET_NEXT_KEY && attr.key == 0;
  const key = isFirst ? 0 : userKey(map, attr.key);
  if (isErr(key)) return <i32>key;
  switch (cmd) {
    case BPF_MAP_LOOKUP_ELEM:
      return map.lookupUser(key, value, flags);
    case BPF_MAP_UPDATE_ELEM:
      return updateElem(map, key, value, flags);
    case BPF_MAP_DELETE_ELEM:
      return map.deleteElem(key);
    case BPF_MAP_GET_NEXT_KEY:
      return map.getNextKey(key, value);
    default:
      return map.lookupAndDeleteUser(key, value, flags);
  }
}

function updateElem(map: BpfMap, key: usize, value: u64, flags: u64): i32 {
  const size = map.userValueSize();
  if (size != 0 && !isUserRange(value, size)) return -EFAULT;
  return map.keySize == 0
    ? map.pushElem(<usize>value, flags)
    : map.updateElem(key, <usize>value, flags, true);
}

function onBatch(map: BpfMap, cmd: i32, attr: BatchAttr, userAttr: u32): i32 {
  // BATCH_* bits are in the order of the commands.
  const op: u32 = 1 << (cmd - BPF_MAP_LOOKUP_BATCH);
  if ((map.batchOps() & op) == 0) return -ENOTSUPP;
  // The count is written back whatever size the caller gave for the attr.
  if (!isUserRange(userAttr, offsetof<BatchAttr>("mapFd"))) return -EFAULT;
  if (!batchFlagsLegal(map, attr.elemFlags)) return -EINVAL;
  const userCount = <usize>userAttr + offsetof<BatchAttr>("count");
  return op >= BATCH_UPDATE
    ? changeBatch(map, attr, userCount, op == BATCH_DELETE)
    : map.lookupBatch(attr, userCount, op == BATCH_LOOKUP_AND_DELETE);
}

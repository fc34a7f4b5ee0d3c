// The commands on maps as objects: freeze, ids, info. Kernel: kernel/bpf/syscall.c (behaviour checked against 6.18).

import {
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_MAP_INFO_SIZE,
  BPF_MAP_TYPE_ARRAY,
  E2BIG,
  EACCES,
  EBADF,
  EBADFD,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOTSUPP,
  EPERM,
  PAGE_SIZE,
} from "../ts/uapi";
import {
  FD_BTF,
  FD_MAP,
  FMODE_READ,
  FMODE_WRITE,
  entryKind,
  entryMode,
  entryObject,
  fdHold,
  fdInstall,
  fdPut,
} from "./fd";
import { BTF_INFO_SIZE, Btf, btfIdAfter, btfInfo } from "./btf";
import { copyBytes } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import { BpfMap, NO_LOCK, isErr, mapIdAfter, mapPut, mapTakeById } from "./map";
import { openMode } from "./map_create";
import { SCRATCH_INFO, kernelLockWord, scratchPtr } from "./kernel";
import { copyStructFromUser, putAttr } from "./uaccess";

/** Bytes of a SHA-256. */
const HASH_BYTES: u32 = 32;

/** struct bpf_map_info. */
@unmanaged
class BpfMapInfo {
  type: u32;
  id: u32;
  keySize: u32;
  valueSize: u32;
  maxEntries: u32;
  mapFlags: u32;
  name: u64;
  nameRest: u64;
  ifindex: u32;
  btfVmlinuxValueTypeId: u32;
  netnsDev: u64;
  netnsIno: u64;
  btfId: u32;
  btfKeyTypeId: u32;
  btfValueTypeId: u32;
  btfVmlinuxId: u32;
  mapExtra: u64;
  hash: u64;
  hashSize: u32;
  /** Copied, but must be zero. */
  padding: u32;
}
if (offsetof<BpfMapInfo>("padding") != 100) ERROR("BpfMapInfo mirrors struct bpf_map_info");

/**
 * A frozen map grants no write access, so a second freeze is -EPERM; EBUSY is for open writable windows. Differs: not for
 * updates that are under way on other threads, which may end a moment later.
 */
export function mapFreeze(map: BpfMap, mode: u32): i32 {
  if (map.lockOffset != NO_LOCK) return -ENOTSUPP;
  if ((mode & FMODE_WRITE) == 0) return -EPERM;
  lock(kernelLockWord());
  const isBusy = map.writableMmaps != 0;
  if (!isBusy) {
    map.frozen = 1;
    map.storeHandle = 0;
  }
  unlock(kernelLockWord());
  return isBusy ? -EBUSY : 0;
}

/**
 * mmap(2) with MAP_SHARED: the values themselves as a window of memory. It holds the map, and while it is writable the map
 * cannot be frozen. The order of the checks is the kernel's. So is -EINVAL for a read-only fd: there, a shared mapping of a
 * file that is not open for writing counts as a private one, and maps refuse those.
 * @returns the address, or -errno as an address
 */
export function mapMmap(fd: i32, offset: u64, length: u64, writable: bool): usize {
  if (offset & (<u64>PAGE_SIZE - 1)) return <usize>-EINVAL;
  const entry = fdHold(fd);
  const ptr = openWindow(entry, offset, length, writable);
  if (isErr(ptr)) fdPut(entry);
  return ptr;
}

/** mapMmap for an entry that fdHold gave: its reference becomes the window's. */
function openWindow(entry: u64, offset: u64, length: u64, writable: bool): usize {
  if (entry == 0) return <usize>-EBADF;
  if (length == 0) return <usize>-EINVAL;
  const mode = entryMode(entry);
  const needs = writable ? FMODE_READ | FMODE_WRITE : FMODE_READ;
  if ((mode & needs) != needs) return <usize>-EACCES;
  if (entryKind(entry) != FD_MAP) return <usize>-ENODEV;
  const map = changetype<BpfMap>(entryObject(entry));
  const ptr = map.lockOffset == NO_LOCK ? map.mmap(offset, length, false) : <usize>-ENOTSUPP;
  if (<i32>ptr == -ENOTSUPP) return ptr;
  if ((mode & FMODE_WRITE) == 0) return <usize>-EINVAL;
  return writable ? openWritable(map, offset, length) : ptr;
}

/** A map is frozen, or has a writable window, but never both. */
function openWritable(map: BpfMap, offset: u64, length: u64): usize {
  lock(kernelLockWord());
  let ptr = <usize>-EPERM;
  if (!map.frozen)
    ptr = map.mapFlags & BPF_F_RDONLY_PROG ? <usize>-EACCES : map.mmap(offset, length, true);
  unlock(kernelLockWord());
  return ptr;
}

/** munmap(2) of a whole window. */
export function mapMunmap(map: BpfMap, writable: bool): void {
  if (writable) {
    lock(kernelLockWord());
    map.writableMmaps--;
    unlock(kernelLockWord());
  }
  mapPut(map);
}

/** MAP_GET_NEXT_ID, BTF_GET_NEXT_ID. attr: start_id 0, next_id 4. */
export function getNextId(copy: usize, userAttr: u32, ofBtf: bool): i32 {
  const start = load<u32>(copy);
  if (start >= 0x7fffffff) return -EINVAL;
  const id = ofBtf ? btfIdAfter(start) : mapIdAfter(start);
  return id == 0 ? -ENOENT : putAttr(userAttr, id);
}

/** MAP_GET_FD_BY_ID. attr: map_id 0, open_flags 8. */
export function mapGetFdById(copy: usize): i32 {
  const flags = load<u32>(copy, 8);
  const mode = openMode(flags);
  if (flags & ~(BPF_F_RDONLY | BPF_F_WRONLY) || mode == 0) return -EINVAL;
  const map = mapTakeById(load<u32>(copy));
  return map == 0 ? -ENOENT : fdInstall(FD_MAP, mode, map);
}

/** OBJ_GET_INFO_BY_FD. attr: bpf_fd 0, info_len 4, info 8. The buffer is input, too. */
export function objGetInfoByFd(copy: usize, userAttr: u32): i32 {
  const entry = fdHold(load<i32>(copy));
  const ret = entry == 0 ? -EBADFD : infoOf(entry, copy, userAttr);
  fdPut(entry);
  return ret;
}

function infoOf(entry: u64, copy: usize, userAttr: u32): i32 {
  const kind = entryKind(entry);
  const isMap = kind == FD_MAP;
  if (!isMap && kind != FD_BTF) return -EINVAL;
  const object = entryObject(entry);
  const length = load<u32>(copy, 4);
  const user = load<u64>(copy, 8);
  const known: u32 = isMap ? BPF_MAP_INFO_SIZE : BTF_INFO_SIZE;
  const info = scratchPtr() + SCRATCH_INFO;
  let ret = copyStructFromUser(info, known, user, length);
  if (ret != 0) return ret;
  ret = isMap
    ? mapInfo(changetype<BpfMap>(object), changetype<BpfMapInfo>(info))
    : btfInfo(changetype<Btf>(object), info);
  if (ret != 0) return ret;
  const taken = min(length, known);
  copyBytes(<usize>user, info, taken);
  return putAttr(userAttr, taken);
}

/**
 * What the kernel has nothing to say about keeps the caller's bytes: the device's fields, and the BTF's of a map without it.
 * Differs: the hash of a frozen ARRAY's values is not computed; asking for it is EINVAL, as with all other types.
 */
function mapInfo(map: BpfMap, info: BpfMapInfo): i32 {
  if (info.padding != 0) return -E2BIG;
  if (info.hash != 0 || info.hashSize != 0) {
    const mustFreeze = map.mapType == BPF_MAP_TYPE_ARRAY && !map.frozen;
    return mustFreeze && info.hash != 0 && info.hashSize == HASH_BYTES ? -EPERM : -EINVAL;
  }
  info.type = map.mapType;
  info.id = map.id;
  info.keySize = map.keySize;
  info.valueSize = map.valueSize;
  info.maxEntries = map.maxEntries;
  info.mapFlags = map.mapFlags;
  info.name = map.name;
  info.nameRest = map.nameRest;
  info.btfVmlinuxValueTypeId = 0;
  if (map.btf != 0) {
    info.btfId = changetype<Btf>(map.btf).id;
    info.btfKeyTypeId = map.btfKeyTypeId;
    info.btfValueTypeId = map.btfValueTypeId;
  }
  info.mapExtra = map.mapExtra;
  return 0;
}

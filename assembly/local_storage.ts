// CGROUP_STORAGE and PERCPU_CGROUP_STORAGE: a value for each cgroup that a program is attached to. Deprecated in Linux in
// favour of CGRP_STORAGE. Kernel: kernel/bpf/local_storage.c (behaviour checked against 6.18).
//
// There are no programs here: cgroup_storage_attach says that one that uses the map is attached to a cgroup. That makes the
// element, and the last detach, or the end of the cgroup, takes it away. While a program runs, cgroup_storage_enter says for
// which attachment.
//
//   key of 8 bytes     the cgroup's id; shared by all attach types
//   key of 16 bytes    { u64 id; u32 attach type; u32 pad }
//
//   Value, in the pool:  | free list | element, 0: free | value, or one value (padded to 8) a CPU |

import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  E2BIG,
  EBADF,
  EINVAL,
  ENOENT,
  ENOMEM,
} from "../ts/uapi";
import { PERCPU_VALUE_MAX } from "./arraymap";
import { STORAGE_VALUE_MAX } from "./bpf_local_storage";
import { FD_CGROUP, FD_MAP, fdObjectOf, fdTake } from "./fd";
import { Cgroup, hostBySerial, hostLockWord } from "./host";
import { allocZeroed, cpu, free, kernel } from "./kernel";
import { copyBytes, round8 } from "./lib/bytes";
import { slistDel } from "./lib/hlist";
import { lock, unlock } from "./lib/lock";
import { Pool, poolCreate, poolDestroy, poolElemAt, poolFree, poolZalloc } from "./lib/pool";
import { DEAD } from "./lib/region";
import { BpfMap, MapCreateAttr, flagsAllowed, isErr, mapGet } from "./map";
import { copyMapValue, copyMapValueLocked, copyOut, copyValueOut, mapPut } from "./map";

const FLAGS: u32 =
  BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
/** Header of a value in the pool; the element is at 4. */
const VALUE_HDR: u32 = 8;

@unmanaged
class Storage {
  /** The key as users see it. */
  id: u64;
  attachType: u32;
  pad: u32;
  cgroup: u32;
  map: u32;
  /** Newest first. */
  nextOfMap: u32;
  nextOfCgroup: u32;
  /** Attachments. */
  users: u32;
  /** In the pool. */
  value: u32;
}

export class CgroupStorage extends BpfMap {
  storages: u32;
  pool: u32;
  /** Bytes from one CPU's value to the next's; 0 for shared values. */
  cpuStride: u32;

  /** EINVAL: sizes, flags. E2BIG: value too large. */
  static checkAttr(attr: MapCreateAttr): i32 {
    const isPercpu = attr.mapType == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
    if ((attr.keySize != 8 && attr.keySize != 16) || attr.valueSize == 0) return -EINVAL;
    if (attr.valueSize > (isPercpu ? PERCPU_VALUE_MAX : STORAGE_VALUE_MAX)) return -E2BIG;
    return flagsAllowed(attr.mapFlags, FLAGS) && attr.maxEntries == 0 ? 0 : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    const ret = CgroupStorage.checkAttr(attr);
    if (ret != 0) return ret;
    let bytes = round8(this.valueSize);
    if (this.mapType == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE) {
      this.cpuStride = bytes;
      bytes *= kernel().nrCpus;
    }
    this.pool = poolCreate(changetype<usize>(this), VALUE_HDR + bytes, 0, u32.MAX_VALUE);
    return this.pool == 0 ? -ENOMEM : 0;
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    lock(hostLockWord());
    const found = this.findKey(key);
    let ret = -ENOENT;
    if (found != 0) {
      const at = changetype<Storage>(found).value + VALUE_HDR;
      ret =
        this.cpuStride == 0
          ? copyValueOut(this, value, at, flags)
          : copyOut(value, at, this.userValueSize());
    }
    unlock(hostLockWord());
    return ret;
  }

  /** Only attachments make elements: BPF_NOEXIST makes no sense, and a missing element stays missing. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    const allowed: u64 = this.cpuStride == 0 ? BPF_F_LOCK | BPF_EXIST : BPF_EXIST;
    if (flags & ~allowed) return -EINVAL;
    lock(hostLockWord());
    const found = this.findKey(key);
    if (found != 0) this.replaceValue(changetype<Storage>(found), value, flags);
    unlock(hostLockWord());
    return found == 0 ? -ENOENT : 0;
  }

  /** Differs: a shared value is overwritten where it is; the kernel swaps in another one. */
  private replaceValue(storage: Storage, value: usize, flags: u64): void {
    const at = storage.value + VALUE_HDR;
    if (this.cpuStride != 0) copyBytes(at, value, this.userValueSize());
    else if (flags & BPF_F_LOCK) copyMapValueLocked(this, at, value);
    else copyMapValue(this, at, value);
  }

  override deleteElem(key: usize): i32 {
    return -EINVAL;
  }

  /** A key that is not there is -ENOENT: this walk does not begin again. */
  override getNextKey(key: usize, next: u64): i32 {
    lock(hostLockWord());
    let at = this.storages;
    if (key != 0) {
      const found = <u32>this.findKey(key);
      at = found == 0 ? 0 : changetype<Storage>(found).nextOfMap;
    }
    const ret = at == 0 ? -ENOENT : copyOut(next, at, this.keySize);
    unlock(hostLockWord());
    return ret;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    const value = poolElemAt(changetype<Pool>(this.pool), lo, addr);
    if (value == 0 || load<u32>(value, 4) == 0 || addr < value + VALUE_HDR) return DEAD;
    const offset = addr - value - VALUE_HDR;
    return this.cpuStride != 0 ? offset % this.cpuStride : offset;
  }

  /** Elements hold the map, so there are none now. */
  override release(): void {
    assert(this.storages == 0);
    poolDestroy(this.pool);
  }

  private findKey(key: usize): usize {
    return this.find(load<u64>(key), this.keySize == 8 ? 0 : load<u32>(key, 8));
  }

  private find(id: u64, attachType: u32): usize {
    let at = this.storages;
    while (at != 0) {
      const storage = changetype<Storage>(at);
      if (storage.id == id && storage.attachType == attachType) break;
      at = storage.nextOfMap;
    }
    return at;
  }

  /** The element for an attachment to a cgroup; 0 when there is none, or `cgroup` is 0. */
  findOn(cgroup: usize, attachType: u32): usize {
    return cgroup == 0 ? 0 : this.find(changetype<Cgroup>(cgroup).id, this.typeOf(attachType));
  }

  /** The attach type in the key of an element. */
  typeOf(attachType: u32): u32 {
    return this.keySize == 8 ? 0 : attachType;
  }

  /** A zeroed value for an element; 0 when out of memory. */
  newValue(storage: usize): usize {
    const value = poolZalloc(changetype<Pool>(this.pool), true);
    if (value != 0) store<u32>(value, storage, 4);
    return value;
  }

  dropValue(value: u32): void {
    store<u32>(value, 0, 4);
    poolFree(changetype<Pool>(this.pool), value);
  }
}

// ---- attachments ------------------------------------------------------------------------------------------------------

function isOurs(map: BpfMap): bool {
  const type = map.mapType;
  return type == BPF_MAP_TYPE_CGROUP_STORAGE || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

/**
 * A program that uses the map is attached to the cgroup.
 * @returns 0; -EBADF: not open, or no cgroup; -EINVAL: no map of these types; -ENOENT: the cgroup is removed; -ENOMEM
 */
export function cgroup_storage_attach(mapFd: i32, cgroupFd: i32, attachType: u32): i32 {
  const mapPtr = fdTake(mapFd, FD_MAP);
  if (isErr(mapPtr)) return <i32>mapPtr;
  const map = changetype<BpfMap>(mapPtr);
  let ret = -EINVAL;
  if (isOurs(map)) {
    lock(hostLockWord());
    ret = attachTo(changetype<CgroupStorage>(mapPtr), fdObjectOf(cgroupFd, FD_CGROUP), attachType);
    unlock(hostLockWord());
  }
  mapPut(map);
  return ret;
}

/** The lock is held. */
function attachTo(map: CgroupStorage, object: usize, attachType: u32): i32 {
  if (object == 0) return -EBADF;
  const cgroup = changetype<Cgroup>(object);
  if (cgroup.dying) return -ENOENT;
  let storage = map.findOn(object, attachType);
  if (storage == 0) storage = addStorage(map, cgroup, map.typeOf(attachType));
  if (storage == 0) return -ENOMEM;
  changetype<Storage>(storage).users++;
  return 0;
}

/** An element that nothing uses yet; 0 when out of memory. */
function addStorage(map: CgroupStorage, cgroup: Cgroup, attachType: u32): usize {
  const ptr = allocZeroed(offsetof<Storage>());
  if (ptr == 0) return 0;
  const value = map.newValue(ptr);
  if (value == 0) {
    free(ptr);
    return 0;
  }
  const storage = changetype<Storage>(ptr);
  storage.id = cgroup.id;
  storage.attachType = attachType;
  storage.cgroup = <u32>changetype<usize>(cgroup);
  storage.map = <u32>changetype<usize>(map);
  storage.value = <u32>value;
  storage.nextOfMap = map.storages;
  map.storages = <u32>ptr;
  storage.nextOfCgroup = cgroup.attached;
  cgroup.attached = <u32>ptr;
  mapGet(map);
  return ptr;
}

/**
 * One attachment ends; the last one takes the value away.
 * @param handle of the map, which an attachment keeps
 * @param cgroup where programs see it, with its serial number
 * @returns 0; -ENOENT: there is no attachment
 */
export function cgroup_storage_detach(handle: u32, cgroup: u32, serial: u32, attachType: u32): i32 {
  lock(hostLockWord());
  const found = findAttached(hostBySerial(FD_CGROUP, cgroup, serial), handle, attachType);
  const map: usize = found == 0 ? 0 : changetype<Storage>(found).map;
  const isLast = found != 0 && --changetype<Storage>(found).users == 0;
  if (isLast) unlinkStorage(changetype<Storage>(found));
  unlock(hostLockWord());
  if (isLast) mapPut(changetype<BpfMap>(map));
  return found == 0 ? -ENOENT : 0;
}

/**
 * The cgroup's (0: none) element of a map, which it holds: by way of the map it could not be found when another thread removes
 * the cgroup, and with it the map ends. The lock is held.
 */
function findAttached(cgroup: usize, handle: u32, attachType: u32): usize {
  let at: u32 = cgroup == 0 ? 0 : changetype<Cgroup>(cgroup).attached;
  while (at != 0) {
    const storage = changetype<Storage>(at);
    const map = changetype<CgroupStorage>(storage.map);
    if (map.handle == handle && storage.attachType == map.typeOf(attachType)) break;
    at = storage.nextOfCgroup;
  }
  return at;
}

/** The cgroup is removed, and with it what is attached. */
export function detachAll(cgroup: Cgroup): void {
  while (true) {
    lock(hostLockWord());
    const storage = cgroup.attached;
    const map = storage == 0 ? 0 : changetype<Storage>(storage).map;
    if (storage != 0) unlinkStorage(changetype<Storage>(storage));
    unlock(hostLockWord());
    if (storage == 0) return;
    mapPut(changetype<BpfMap>(map));
  }
}

/** Takes an element from both lists and frees it; the map's reference passes to the caller. */
function unlinkStorage(storage: Storage): void {
  const self = <u32>changetype<usize>(storage);
  const map = changetype<CgroupStorage>(storage.map);
  slistDel(
    changetype<usize>(map) + offsetof<CgroupStorage>("storages"),
    self,
    offsetof<Storage>("nextOfMap"),
  );
  slistDel(storage.cgroup + offsetof<Cgroup>("attached"), self, offsetof<Storage>("nextOfCgroup"));
  map.dropValue(storage.value);
  free(self);
}

// ---- the program that runs --------------------------------------------------------------------------------------------

/** For which attachment this instance's program runs: where programs see the cgroup, its serial number, the type. */
let currentCgroup: u32 = 0;
let currentSerial: u32 = 0;
let currentType: u32 = 0;

/** The programs that follow run for this attachment; cgroup 0: for none. */
export function cgroup_storage_enter(cgroup: u32, serial: u32, attachType: u32): void {
  currentCgroup = cgroup;
  currentSerial = serial;
  currentType = attachType;
}

/** Of per-CPU maps this CPU's. */
function valueOf(storage: Storage): usize {
  return storage.value + VALUE_HDR + cpu() * changetype<CgroupStorage>(storage.map).cpuStride;
}

/** bpf_get_local_storage: the value of the attachment that runs; of per-CPU maps this CPU's. 0 when there is none. */
export function bpf_get_local_storage(handle: u32, flags: u64): usize {
  if (flags != 0) return 0;
  lock(hostLockWord());
  const cgroup = currentCgroup == 0 ? 0 : hostBySerial(FD_CGROUP, currentCgroup, currentSerial);
  const found = findAttached(cgroup, handle, currentType);
  const value = found == 0 ? 0 : valueOf(changetype<Storage>(found));
  unlock(hostLockWord());
  return value;
}

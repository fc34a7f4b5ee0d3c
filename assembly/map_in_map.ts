// ARRAY_OF_MAPS and HASH_OF_MAPS. Kernel: kernel/bpf/map_in_map.c, arraymap.c, hashtab.c (behaviour checked against 6.18).
//
// An outer map holds references to inner maps, which all look like the template given at its creation. bpf(2) puts in
// fds and reads ids; a program's lookup answers the inner map's handle.
//
//   ARRAY_OF_MAPS   slots:    | handle of inner map 0, u32 | ... |            0: empty
//   HASH_OF_MAPS    element value: | handle of the inner map, u32 |           BpfHtab with ownsValues
//
// Invariant: every handle in an outer map stands for one reference (mapGet) to a live map. Handles, since lookups take no
// lock: what they have read may be out of the map, and ended, the moment after, and then the handle says so. Where bpf(2)
// reads a value it gets the inner map's id (valueOf), which is read under a lock that keeps the map from ending: the outer
// hash table's, or of an array, whose slots have none that readers take, the kernel's, without which no handle ends. No byte of
// an outer map may be touched by a program.
//
// Locks: dropping an inner map's last reference takes the kernel's lock inside the outer map's. That is safe, because
// nothing takes a map's lock inside the kernel's.

import {
  BPF_F_INNER_MAP,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE_PROG_ARRAY,
  BPF_MAP_TYPE_XSKMAP,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOTSUPP,
} from "../ts/uapi";
import { BpfFdArray } from "./arraymap";
import { FD_MAP, fdTake } from "./fd";
import { BpfHtab, ITER_FREE, lockOf } from "./hashtab";
import { SCRATCH_INNER, allocGrow, free, kernelLockWord, scratchPtr } from "./kernel";
import { lock, unlock } from "./lib/lock";
import { DEAD } from "./lib/region";
import { BATCH_LOOKUP, BATCH_UPDATE, BpfMap, MapCreateAttr } from "./map";
import { attrLegal, copyOut, isErr, mapByHandle, mapPut } from "./map";

const ARRAY_OF_MAPS_FLAGS: u32 = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
/** Bytes of a value: an fd going in, an id coming out. */
const VALUE_SIZE: u32 = 4;

// ---- the template ---------------------------------------------------------------------------------------------------

/** May a map be the template of an outer map? EINVAL: it is an outer map itself; ENOTSUPP: it, or its type, cannot be inner. */
function checkTemplate(map: BpfMap): i32 {
  switch (map.mapType) {
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return -EINVAL;
    case BPF_MAP_TYPE_CGROUP_STORAGE:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
    case BPF_MAP_TYPE_PROG_ARRAY:
      return -ENOTSUPP;
    default:
      return map.isExclusive ? -ENOTSUPP : 0;
  }
}

/**
 * Copies the common attributes of the map behind an fd, so that it may be closed.
 * @returns the template's address (a BpfMap without a type of its own: data only), or -errno: EBADF, EINVAL no map or an
 *   outer one, ENOTSUPP, ENOMEM
 */
function makeTemplate(fd: i32): usize {
  const ptr = fdTake(fd, FD_MAP);
  if (isErr(ptr)) return ptr;
  const map = changetype<BpfMap>(ptr);
  const ret = checkTemplate(map);
  const meta = ret == 0 ? copyTemplate(map) : <usize>ret;
  mapPut(map);
  return meta;
}

function copyTemplate(map: BpfMap): usize {
  const meta = allocGrow(offsetof<BpfMap>());
  if (meta == 0) return <usize>-ENOMEM;
  memory.copy(meta, changetype<usize>(map), offsetof<BpfMap>());
  return meta;
}

/** May a map take the place of the template? Only an ARRAY without BPF_F_INNER_MAP and an XSKMAP must be as long. */
function matches(inner: BpfMap, meta: BpfMap): bool {
  if (inner.mapType != meta.mapType || inner.mapFlags != meta.mapFlags) return false;
  if (inner.keySize != meta.keySize || inner.valueSize != meta.valueSize) return false;
  if (inner.lockOffset != meta.lockOffset) return false;
  const isArray = inner.mapType == BPF_MAP_TYPE_ARRAY && (inner.mapFlags & BPF_F_INNER_MAP) == 0;
  const isFixed = isArray || inner.mapType == BPF_MAP_TYPE_XSKMAP;
  return !isFixed || inner.maxEntries == meta.maxEntries;
}

/**
 * The handle of the map behind a user's fd, with a reference taken; or -EBADF, -ENOTSUPP: exclusive, -EINVAL: no map, or
 * unlike the template.
 */
function innerFromFd(fd: i32, meta: u32): usize {
  const ptr = fdTake(fd, FD_MAP);
  if (isErr(ptr)) return ptr;
  const inner = changetype<BpfMap>(ptr);
  const isExclusive = inner.isExclusive;
  if (!isExclusive && matches(inner, changetype<BpfMap>(meta))) return inner.handle;
  mapPut(inner);
  return <usize>(isExclusive ? -ENOTSUPP : -EINVAL);
}

/** Drops the reference that a handle in an outer map stands for. */
function putInner(handle: u32): void {
  mapPut(changetype<BpfMap>(mapByHandle(handle)));
}

/** What bpf(2) reads as the value: the address of the inner map's id; 0 for no handle. A lock keeps it from ending. */
function valueOf(handle: u32): usize {
  const inner = mapByHandle(handle);
  return inner == 0 ? 0 : inner + offsetof<BpfMap>("id");
}

/** A copy of valueOf at an address, where it stays when the map ends. @returns the address, 0 for no handle */
function copyId(to: usize, handle: u32): usize {
  const value = valueOf(handle);
  if (value == 0) return 0;
  store<u32>(to, load<u32>(value));
  return to;
}

/** Copies it to a user's address. */
function copyIdOut(to: u64, handle: u32): i32 {
  const value = valueOf(handle);
  return value == 0 ? -ENOENT : copyOut(to, value, VALUE_SIZE);
}

// ---- ARRAY_OF_MAPS --------------------------------------------------------------------------------------------------

export class BpfArrayOfMaps extends BpfFdArray {
  meta: u32;

  /** Sizes and flags; the template comes after them. */
  static allocCheck(attr: MapCreateAttr): i32 {
    const isLegal = attr.valueSize == VALUE_SIZE && attrLegal(attr, 4, ARRAY_OF_MAPS_FLAGS);
    return isLegal ? 0 : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    const meta = makeTemplate(attr.innerMapFd);
    if (isErr(meta)) return <i32>meta;
    this.meta = <u32>meta;
    return super.init(attr);
  }

  override fdGetPtr(fd: i32): usize {
    return innerFromFd(fd, this.meta);
  }

  override fdPutPtr(ptr: usize): void {
    putInner(<u32>ptr);
  }

  /** Handle of the inner map; 0: empty slot, or no such index. */
  private inner(key: usize): u32 {
    const index = load<u32>(key);
    return index < this.maxEntries ? load<u32>(this.slotAt(index)) : 0;
  }

  /** The inner map's handle. */
  override lookupElem(key: usize): usize {
    return this.inner(key);
  }

  override peekElem(key: usize): usize {
    lock(kernelLockWord());
    const value = copyId(scratchPtr() + SCRATCH_INNER, this.inner(key));
    unlock(kernelLockWord());
    return value;
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    lock(kernelLockWord());
    const ret = copyIdOut(value, this.inner(key));
    unlock(kernelLockWord());
    return ret;
  }

  /** Steps over empty slots. iter: the next index, u32; the value, u32. */
  override iterNext(iter: usize, key: usize): usize {
    let index = load<u32>(iter);
    let value: usize = 0;
    while (value == 0 && index < this.maxEntries) {
      store<u32>(key, index);
      lock(kernelLockWord());
      value = copyId(iter + 4, this.inner(key));
      unlock(kernelLockWord());
      index++;
    }
    store<u32>(iter, index);
    return value;
  }

  override batchOps(): u32 {
    return BATCH_LOOKUP | BATCH_UPDATE;
  }

  override release(): void {
    super.release();
    free(this.meta);
  }
}

// ---- HASH_OF_MAPS ---------------------------------------------------------------------------------------------------

export class BpfHashOfMaps extends BpfHtab {
  meta: u32;

  static override allocCheck(attr: MapCreateAttr): i32 {
    return attr.valueSize == VALUE_SIZE ? BpfHtab.allocCheck(attr) : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    const meta = makeTemplate(attr.innerMapFd);
    if (isErr(meta)) return <i32>meta;
    this.meta = <u32>meta;
    this.ownsValues = true;
    return super.init(attr);
  }

  /** The inner map's handle. */
  override lookupElem(key: usize): usize {
    const value = super.peekElem(key);
    return value == 0 ? 0 : load<u32>(value);
  }

  override peekElem(key: usize): usize {
    lock(lockOf(this));
    const value = super.peekElem(key);
    const id = value == 0 ? 0 : copyId(scratchPtr() + SCRATCH_INNER, load<u32>(value));
    unlock(lockOf(this));
    return id;
  }

  override iterNext(iter: usize, key: usize): usize {
    lock(lockOf(this));
    const value = this.step(iter, key);
    const id = value == 0 ? 0 : copyId(iter + ITER_FREE, load<u32>(value));
    unlock(lockOf(this));
    return id;
  }

  override copyValueTo(to: u64, value: usize, flags: u64): i32 {
    return copyIdOut(to, load<u32>(value));
  }

  /** bpf(2) only. Order of checks: fd, then those of every hash table. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (!syscall) return -EINVAL;
    const inner = innerFromFd(load<i32>(value), this.meta);
    if (isErr(inner)) return <i32>inner;
    const word = scratchPtr() + SCRATCH_INNER;
    store<u32>(word, inner);
    const ret = super.updateElem(key, word, flags, true);
    if (ret != 0) putInner(<u32>inner);
    return ret;
  }

  override dropValue(value: usize): void {
    putInner(load<u32>(value));
  }

  override lookupAndDeleteUser(key: usize, value: u64, flags: u64): i32 {
    return -ENOTSUPP;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    return DEAD;
  }

  override forEach(fn: u64, ctx: u64): i64 {
    return -EINVAL;
  }

  override release(): void {
    super.release();
    free(this.meta);
  }
}

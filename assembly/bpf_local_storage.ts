// Storage attached to host objects: the engine of SK_STORAGE, CGRP_STORAGE, TASK_STORAGE and INODE_STORAGE.
// Kernel: kernel/bpf/bpf_local_storage.c (behaviour checked against 6.18).
//
// A value lives with its owner. An element belongs to one map and one owner and is on a list of both; the map is the key
// when an owner is asked. In front of the owner's list is a cache of 16 slots; a map has one for its life, the least used
// when it was made. An element goes with its owner or with its map, whichever ends first.
//
//   Elem  0           4           8       12    16          20          24
//         +-----------+-----------+-------+-----+-----------+-----------+=======+
//         | node on the owner's   | owner | map | node on the map's     | value |
//         | list (hlist)          |       |     | list (hlist)          |       |
//         +-----------+-----------+-------+-----+-----------+-----------+=======+      owner 0: free
//
// Invariants: an elem is on its owner's list exactly when it is on its map's; an owner has one elem of a map at most; a
// cache slot holds 0 or an elem of the owner whose map has that slot.
//
// One lock for all storages (shared build): they change rarely, and an elem is on lists of two objects.

import {
  BPF_EXIST,
  BPF_F_CLONE,
  BPF_F_LOCK,
  BPF_F_NO_PREALLOC,
  BPF_LOCAL_STORAGE_GET_F_CREATE,
  BPF_NOEXIST,
  E2BIG,
  EBADF,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
} from "../ts/uapi";
import { FD_INODE, FD_SOCKET, fdObjectOf } from "./fd";
import {
  CACHE_SLOTS,
  HostObject,
  HostPool,
  HostState,
  freeIfIdle,
  hostByPtr,
  hostLockWord,
  hostPool,
  hostState,
} from "./host";
import { reserve, usePromise } from "./kernel";
import { hlistAddHead, hlistDel } from "./lib/hlist";
import { isUserRange, round8 } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import {
  Pool,
  poolCreate,
  poolDestroy,
  poolElemAt,
  poolFree,
  poolZalloc,
  slabBytes,
} from "./lib/pool";
import { DEAD } from "./lib/region";
import { BpfMap, MapCreateAttr, NO_LOCK, mapOfType } from "./map";
import { copyMapValue, copyMapValueLocked, copyValueOut, isErr, updateFlagsLegal } from "./map";

/** The kernel's sizes, which the memory charge of sockets counts: an element without its value, the storage itself. */
const KERNEL_ELEM_BYTES: u32 = 72;
const KERNEL_STORAGE_BYTES: u32 = 176;
/** Largest value, bytes: with the kernel's headers it fits a kmalloc of 64 KiB. */
export const STORAGE_VALUE_MAX: u32 = 65407;
/** Elements are promised memory up to this much in all, bytes. */
const RESERVE_MAX: u64 = 64 << 20;

@unmanaged
export class Elem {
  nextOfOwner: u32;
  pprevOfOwner: u32;
  owner: u32;
  map: u32;
  nextOfMap: u32;
  pprevOfMap: u32;
}
const MAP_NODE: u32 = offsetof<Elem>("nextOfMap");
const VALUE_OFF: u32 = offsetof<Elem>();
if (VALUE_OFF != 24) ERROR("values start at 24");

export function elemValue(elem: usize): usize {
  return elem + VALUE_OFF;
}

/** What all storage maps have in common; a subclass says who the owners are, and what a value costs them. */
export abstract class LocalStorage extends BpfMap {
  /** Of the owners: FD_SOCKET to FD_INODE. */
  ownerKind: u32;
  cacheSlot: u32;
  /** The elements' nodes of this list, newest first. */
  elems: u32;
  pool: u32;

  // ---- what a kind decides ----

  /**
   * The owner behind a user's fd.
   * @param create make what can be made on demand (inodes of fds)
   * @returns the object, or -errno as an address
   */
  ownerByFd(fd: i32, create: bool): usize {
    const owner = fdObjectOf(fd, this.ownerKind);
    if (owner == 0) return <usize>-EBADF;
    return changetype<HostObject>(owner).dying ? <usize>-ENOENT : owner;
  }

  /** Charges bytes to the owner; false when it may not have so much. */
  charge(owner: HostObject, bytes: u32): bool {
    return true;
  }

  uncharge(owner: HostObject, bytes: u32): void {}

  // ---- syscall side ----

  // An fd is resolved under the lock: an object that is found there cannot end before the lock is given back.

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    lock(hostLockWord());
    const owner = this.ownerByFd(load<i32>(key), false);
    let ret = <i32>owner;
    if (!isErr(owner)) {
      const elem = findElem(this, owner, true);
      ret = elem == 0 ? -ENOENT : copyValueOut(this, value, elemValue(elem), flags);
    }
    unlock(hostLockWord());
    return ret;
  }

  /** The owner is looked for before the flags are looked at. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    lock(hostLockWord());
    const owner = this.ownerByFd(load<i32>(key), true);
    let ret = <i32>owner;
    if (!isErr(owner)) {
      ret = updateStorage(this, changetype<HostObject>(owner), value, flags);
      // An inode made for this call goes again when it got nothing.
      freeIfIdle(changetype<HostObject>(owner));
    }
    unlock(hostLockWord());
    return ret;
  }

  override deleteElem(key: usize): i32 {
    lock(hostLockWord());
    const owner = this.ownerByFd(load<i32>(key), false);
    const ret = isErr(owner) ? <i32>owner : deleteStorage(this, owner);
    unlock(hostLockWord());
    return ret;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    const elem = poolElemAt(changetype<Pool>(this.pool), lo, addr);
    return elem != 0 && changetype<Elem>(elem).owner != 0 ? addr - elem - VALUE_OFF : DEAD;
  }

  /** 1: an element that is not on its owner's list exactly once; 2: a cache slot with a stranger; 3: broken back links. */
  override check(): i32 {
    const self = <u32>changetype<usize>(this);
    let pprev = <u32>listOf(this);
    for (let node = this.elems; node != 0; node = load<u32>(node)) {
      const at = node - MAP_NODE;
      const elem = changetype<Elem>(at);
      if (elem.pprevOfMap != pprev || elem.map != self) return 3;
      pprev = node;
      let found: u32 = 0;
      let before = <u32>listOfOwner(elem.owner);
      for (let other = load<u32>(before); other != 0;) {
        if (changetype<Elem>(other).pprevOfOwner != before) return 3;
        if (changetype<Elem>(other).map == self) found += other == at ? 1 : 2;
        before = other;
        other = changetype<Elem>(other).nextOfOwner;
      }
      if (found != 1) return 1;
      const cached = load<u32>(cacheWord(elem.owner, this.cacheSlot));
      if (cached != 0 && changetype<Elem>(cached).owner != elem.owner) return 2;
    }
    return 0;
  }

  override release(): void {
    lock(hostLockWord());
    while (this.elems != 0) dropElem(this.elems - MAP_NODE);
    if (this.pool != 0) {
      const pool = changetype<Pool>(this.pool);
      const elemSize = pool.elemSize;
      hostState().slabBytes -= slabBytes(pool) * pool.slabTotal;
      poolDestroy(this.pool);
      countMap(this, -1, -elemSize);
    }
    unlock(hostLockWord());
  }
}

// ---- creation ---------------------------------------------------------------------------------------------------------

/** EINVAL: flags, sizes, no BTF. E2BIG: value too large. */
export function storageAllocCheck(attr: MapCreateAttr): i32 {
  if ((attr.mapFlags & ~BPF_F_CLONE) != BPF_F_NO_PREALLOC) return -EINVAL;
  if (attr.maxEntries != 0 || attr.keySize != 4 || attr.valueSize == 0) return -EINVAL;
  if (attr.btfKeyTypeId == 0 || attr.btfValueTypeId == 0) return -EINVAL;
  return attr.valueSize > STORAGE_VALUE_MAX ? -E2BIG : 0;
}

/** BpfMap#init. @returns 0 or -ENOMEM */
export function storageInit(map: LocalStorage, ownerKind: u32): i32 {
  map.ownerKind = ownerKind;
  const elemSize = VALUE_OFF + round8(map.valueSize);
  map.pool = poolCreate(changetype<usize>(map), elemSize, 0, u32.MAX_VALUE);
  if (map.pool == 0) return -ENOMEM;
  lock(hostLockWord());
  map.cacheSlot = leastUsedSlot(hostPool(ownerKind));
  countMap(map, 1, elemSize);
  unlock(hostLockWord());
  return 0;
}

/** The lowest of the slots with the fewest maps. */
function leastUsedSlot(owners: HostPool): u32 {
  let best: u32 = 0;
  for (let slot: u32 = 1; slot < CACHE_SLOTS; slot++) {
    if (load<u32>(owners.slotMaps(slot)) < load<u32>(owners.slotMaps(best))) best = slot;
  }
  return best;
}

/** Adds a map to the totals of its kind of owners; or takes it out: one and elemBytes are negative then. */
function countMap(map: LocalStorage, one: i32, elemBytes: i32): void {
  const owners = hostPool(map.ownerKind);
  const ofSlot = owners.slotMaps(map.cacheSlot);
  owners.maps += one;
  owners.elemBytes += elemBytes;
  store<u32>(ofSlot, load<u32>(ofSlot) + one);
  reserveStorage();
}

/**
 * Promises memory for all elements that the present maps and owners could have, so that an update does not have to grow the
 * memory. Called when a map or an owner comes or goes; in steps, so that not each of them makes the memory grow.
 */
export function reserveStorage(): void {
  const state = hostState();
  let bytes: u64 = 0;
  for (let kind = FD_SOCKET; kind <= FD_INODE; kind++) {
    const owners = hostPool(kind);
    // An element each, and a slab that is not full each.
    bytes += <u64>owners.elemBytes * owners.live + <u64>owners.maps * 16384;
  }
  bytes = min(bytes, RESERVE_MAX);
  const wanted = bytes > state.slabBytes ? bytes - state.slabBytes : 0;
  if (wanted > state.reserved) {
    const more = wanted + wanted / 2 - state.reserved;
    reserve(more);
    state.reserved += more;
  } else if (wanted < state.reserved / 4) {
    usePromise(promiseOf(state), state.reserved - wanted);
  }
}

function promiseOf(state: HostState): usize {
  return changetype<usize>(state) + offsetof<HostState>("reserved");
}

/** A zeroed element; 0 when out of memory. */
function takeElem(map: LocalStorage): usize {
  const pool = changetype<Pool>(map.pool);
  const slab = pool.slabs;
  const elem = poolZalloc(pool, false);
  if (pool.slabs != slab) {
    const state = hostState();
    const bytes = slabBytes(pool);
    usePromise(promiseOf(state), bytes);
    state.slabBytes += bytes;
  }
  return elem;
}

// ---- lists and cache --------------------------------------------------------------------------------------------------

function cacheWord(owner: usize, slot: u32): usize {
  return owner + offsetof<HostObject>("cache0") + slot * 4;
}

/**
 * The owner's element of a map, 0 when it has none: the cache, then the list, newest first.
 * @param intoCache does a find go into the cache? Lookups do that, updates and deletions do not.
 */
export function findElem(map: LocalStorage, owner: usize, intoCache: bool): usize {
  const self = <u32>changetype<usize>(map);
  const word = cacheWord(owner, map.cacheSlot);
  const cached = load<u32>(word);
  if (cached != 0 && changetype<Elem>(cached).map == self) return cached;
  let elem: u32 = changetype<HostObject>(owner).elems;
  while (elem != 0 && changetype<Elem>(elem).map != self) elem = changetype<Elem>(elem).nextOfOwner;
  if (elem != 0 && intoCache) store<u32>(word, elem);
  return elem;
}

function listOfOwner(owner: usize): usize {
  return owner + offsetof<HostObject>("elems");
}

function listOf(map: LocalStorage): usize {
  return changetype<usize>(map) + offsetof<LocalStorage>("elems");
}

function linkElem(map: LocalStorage, owner: HostObject, ptr: usize): void {
  const elem = changetype<Elem>(ptr);
  elem.owner = <u32>changetype<usize>(owner);
  elem.map = <u32>changetype<usize>(map);
  hlistAddHead(listOfOwner(elem.owner), ptr);
  hlistAddHead(listOf(map), ptr + MAP_NODE);
}

/** Takes an element from both lists and frees it; the lock is held. */
function unlinkElem(ptr: usize): void {
  const elem = changetype<Elem>(ptr);
  const owner = changetype<HostObject>(elem.owner);
  const map = changetype<LocalStorage>(elem.map);
  hlistDel(ptr);
  hlistDel(ptr + MAP_NODE);
  const word = cacheWord(elem.owner, map.cacheSlot);
  if (load<u32>(word) == <u32>ptr) store<u32>(word, 0);
  elem.owner = 0;
  dropNewElem(map, owner, ptr);
  if (owner.elems == 0) map.uncharge(owner, KERNEL_STORAGE_BYTES);
}

/** As unlinkElem, for an owner that stays if it has a reason to. */
function dropElem(ptr: usize): void {
  const owner = changetype<Elem>(ptr).owner;
  unlinkElem(ptr);
  freeIfIdle(changetype<HostObject>(owner));
}

/** The owner ends: its elements of all maps go. The lock is held. */
export function destroyStorage(owner: HostObject): void {
  while (owner.elems != 0) unlinkElem(owner.elems);
}

// ---- operations -------------------------------------------------------------------------------------------------------

/** A charged element with its value (all zero for value 0) that is on no list yet; 0 when there is no room. */
function newElem(map: LocalStorage, owner: HostObject, value: usize): usize {
  const bytes = KERNEL_ELEM_BYTES + map.valueSize;
  if (!map.charge(owner, bytes)) return 0;
  const elem = takeElem(map);
  if (elem == 0) {
    map.uncharge(owner, bytes);
    return 0;
  }
  if (value != 0) copyMapValue(map, elemValue(elem), value);
  return elem;
}

/** Gives back an element that is on no list. */
function dropNewElem(map: LocalStorage, owner: HostObject, elem: usize): void {
  poolFree(changetype<Pool>(map.pool), elem);
  map.uncharge(owner, KERNEL_ELEM_BYTES + map.valueSize);
}

/**
 * Creates or replaces; the lock is held. Order of checks: flags; of an owner without storage whether the element must
 * exist; room for the new element; whether it exists; room for the storage itself, which comes with the first element.
 * @param value address of valueSize bytes; 0: all zero, of an element that is not there yet
 */
export function updateStorage(map: LocalStorage, owner: HostObject, value: usize, flags: u64): i32 {
  if (!updateFlagsLegal(map, flags)) return -EINVAL;
  const isFirst = owner.elems == 0;
  if (isFirst && flags & BPF_EXIST) return -ENOENT;
  const self = changetype<usize>(owner);
  const old = findElem(map, self, false);
  if (old != 0 && (flags & (BPF_F_LOCK | BPF_NOEXIST)) == BPF_F_LOCK) {
    copyMapValueLocked(map, elemValue(old), value);
    return 0;
  }
  if (old != 0) return replaceValue(map, owner, old, value, flags);
  const fresh = newElem(map, owner, value);
  if (fresh == 0) return -ENOMEM;
  let ret = 0;
  if (flags & BPF_EXIST) ret = -ENOENT;
  else if (isFirst && !map.charge(owner, KERNEL_STORAGE_BYTES)) ret = -ENOMEM;
  if (ret != 0) {
    dropNewElem(map, owner, fresh);
    return ret;
  }
  linkElem(map, owner, fresh);
  return 0;
}

/**
 * Differs: in place, so that the value's address stays; in the kernel a new element takes the place of the old one. There both
 * are charged for a moment, so there has to be room for both here, too.
 */
function replaceValue(
  map: LocalStorage,
  owner: HostObject,
  elem: usize,
  value: usize,
  flags: u64,
): i32 {
  const bytes = KERNEL_ELEM_BYTES + map.valueSize;
  if (!map.charge(owner, bytes)) return -ENOMEM;
  map.uncharge(owner, bytes);
  if (flags & BPF_NOEXIST) return -EEXIST;
  copyMapValue(map, elemValue(elem), value);
  return 0;
}

/** The lock is held. */
export function deleteStorage(map: LocalStorage, owner: usize): i32 {
  const elem = findElem(map, owner, false);
  if (elem == 0) return -ENOENT;
  dropElem(elem);
  return 0;
}

/**
 * BPF_F_CLONE: copies the elements of such maps to a new owner of the same kind.
 * @returns 0; -ENOMEM with what was copied so far still there
 */
export function cloneStorage(from: HostObject, to: HostObject): i32 {
  lock(hostLockWord());
  let ret = 0;
  for (let at = from.elems; at != 0 && ret == 0; at = changetype<Elem>(at).nextOfOwner) {
    const map = changetype<LocalStorage>(changetype<Elem>(at).map);
    if ((map.mapFlags & BPF_F_CLONE) == 0) continue;
    const hasLock = map.lockOffset != NO_LOCK;
    const value = elemValue(at);
    if (hasLock) lock(value + map.lockOffset);
    ret = updateStorage(map, to, value, BPF_NOEXIST);
    if (hasLock) unlock(value + map.lockOffset);
  }
  unlock(hostLockWord());
  return ret;
}

// ---- program side -----------------------------------------------------------------------------------------------------

/**
 * bpf_*_storage_get: address of the owner's value; with BPF_LOCAL_STORAGE_GET_F_CREATE a missing one is created, as a copy
 * of the value at `value`, or all zero for 0.
 * @returns 0 for everything that is not right
 */
export function storageGet(mapType: u32, handle: u32, ptr: u32, value: u32, flags: u64): usize {
  const mapPtr = mapOfType(handle, mapType);
  if (mapPtr == 0 || flags > <u64>BPF_LOCAL_STORAGE_GET_F_CREATE) return 0;
  const map = changetype<LocalStorage>(mapPtr);
  lock(hostLockWord());
  const owner = hostByPtr(map.ownerKind, ptr);
  const elem = owner == 0 ? 0 : findOrCreate(map, changetype<HostObject>(owner), value, flags);
  unlock(hostLockWord());
  return elem == 0 ? 0 : elemValue(elem);
}

function findOrCreate(map: LocalStorage, owner: HostObject, value: u32, flags: u64): usize {
  const elem = findElem(map, changetype<usize>(owner), true);
  if (elem != 0 || flags == 0 || owner.dying) return elem;
  if (value != 0 && !isUserRange(value, map.valueSize)) return 0;
  // The newest element is the owner's first.
  return updateStorage(map, owner, value, BPF_NOEXIST) == 0 ? owner.elems : 0;
}

/** bpf_*_storage_delete: 0; -ENOENT: none; -EINVAL: no such map or object. */
export function storageDelete(mapType: u32, handle: u32, ptr: u32): i32 {
  const mapPtr = mapOfType(handle, mapType);
  if (mapPtr == 0) return -EINVAL;
  const map = changetype<LocalStorage>(mapPtr);
  lock(hostLockWord());
  const owner = hostByPtr(map.ownerKind, ptr);
  const ret = owner == 0 ? -EINVAL : deleteStorage(map, owner);
  unlock(hostLockWord());
  return ret;
}

// What all maps have in common: attributes, the operations with the kernel's default answers, handles, ids, references.
//
// A map type is a class that extends BpfMap and overrides what it can do. AssemblyScript turns the overrides into a
// br_table on the class id, which it reads in front of the object; placeObject puts it there. That is the one trick.

import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERCPU_HASH,
  EFAULT,
  EINVAL,
  ENOTSUPP,
  PAGE_SIZE,
} from "../ts/uapi";
import { genericLookupBatch } from "./batch";
import { Btf, btfPut } from "./btf";
import { allocZeroed, free, freeReplaced, kernel, kernelLockWord } from "./kernel";
import { copyBytes, isUserRange, round8 } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import { refcountDecAndTest, refcountIncNotZero, refcountInc } from "./lib/refcount";
import { NO_LOCK, RegionOwner } from "./lib/region";

export { NO_LOCK } from "./lib/region";

/** The most that the kernel allocates in one piece, bytes: a bound of many types' values. */
export const KMALLOC_MAX_SIZE: u32 = 4194304;

/** Batch commands a type has (BpfMap#batchOps). */
export const BATCH_LOOKUP: u32 = 1;
export const BATCH_LOOKUP_AND_DELETE: u32 = 2;
export const BATCH_UPDATE: u32 = 4;
export const BATCH_DELETE: u32 = 8;

/** The attr of MAP_CREATE: union bpf_attr, offsets 0..92. */
@unmanaged
export class MapCreateAttr {
  mapType: u32;
  keySize: u32;
  valueSize: u32;
  maxEntries: u32;
  mapFlags: u32;
  innerMapFd: i32;
  numaNode: u32;
  name0: u32;
  name1: u32;
  name2: u32;
  name3: u32;
  mapIfindex: u32;
  btfFd: i32;
  btfKeyTypeId: u32;
  btfValueTypeId: u32;
  btfVmlinuxValueTypeId: u32;
  mapExtra: u64;
  valueTypeBtfObjFd: i32;
  mapTokenFd: i32;
  exclProgHash: u64;
  exclProgHashSize: u32;
}
if (offsetof<MapCreateAttr>("mapExtra") != 64) ERROR("MapCreateAttr mirrors union bpf_attr");
if (offsetof<MapCreateAttr>("exclProgHashSize") != 88)
  ERROR("MapCreateAttr mirrors union bpf_attr");

/** The attr of the *_BATCH commands, and where it came from (count is written back there). */
@unmanaged
export class BatchAttr {
  inBatch: u64;
  outBatch: u64;
  keys: u64;
  values: u64;
  count: u32;
  mapFd: i32;
  elemFlags: u64;
  flags: u64;
}
if (offsetof<BatchAttr>("flags") != 48) ERROR("BatchAttr mirrors union bpf_attr");

/** Types with a value for each CPU (isOneOf). */
export const PERCPU_TYPES: u64 =
  (1 << BPF_MAP_TYPE_PERCPU_HASH) |
  (1 << BPF_MAP_TYPE_PERCPU_ARRAY) |
  (1 << BPF_MAP_TYPE_LRU_PERCPU_HASH) |
  (1 << BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);

/** Is a map of one of these types? A bit for each, by number. */
export function isOneOf(map: BpfMap, types: u64): bool {
  return ((types >> map.mapType) & 1) != 0;
}

export abstract class BpfMap extends RegionOwner {
  mapType: u32;
  keySize: u32;
  maxEntries: u32;
  /** Without BPF_F_RDONLY and BPF_F_WRONLY: those belong to the fd. */
  mapFlags: u32;
  id: u32;
  handle: u32;
  /** fds, pins, maps of maps that hold it, running calls. */
  refcnt: u32;
  frozen: u32;
  /** Writable windows (mmap) that are open. */
  writableMmaps: u32;
  /** Held while the structure changes; shared build only. */
  lockWord: u32;
  /** Made for one program (excl_prog_hash): it cannot be in an outer map. */
  isExclusive: bool;
  /** A hash table with its elements inside (htab_inline.ts). */
  isInline: bool;
  /** The handle of such a table, otherwise 0: one comparison decides whether a shortcut may do without a virtual call. */
  inlineHandle: u32;
  /** inlineHandle while values may be stored without further checks: the map is not frozen, and they have no lock. */
  storeHandle: u32;
  /** A hash table with separate elements of one value each, and no order to keep. */
  isPlain: bool;
  /** The handle of such a table, otherwise 0. */
  plainHandle: u32;
  mapExtra: u64;
  name: u64;
  nameRest: u64;
  btf: u32;
  btfKeyTypeId: u32;
  btfValueTypeId: u32;

  // ---- program side: addresses, the current CPU's slot ----

  /** The value of `key` for a program (LRU types: the entry is now referenced); 0 when absent. */
  lookupElem(key: usize): usize {
    return 0;
  }

  /** As lookupElem, without a trace: iteration and reads that must not count as a use. */
  peekElem(key: usize): usize {
    return this.lookupElem(key);
  }

  /**
   * Inserts or replaces.
   * @param value   address of userValueSize() bytes from bpf(2) (checked range), valueSize bytes from a program
   * @param syscall true from bpf(2): all CPUs' slots are written
   */
  updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    return -ENOTSUPP;
  }

  deleteElem(key: usize): i32 {
    return -ENOTSUPP;
  }

  pushElem(value: usize, flags: u64): i32 {
    return -ENOTSUPP;
  }

  /** Copies the next value to a program's `value`; andPop: and removes it. */
  takeValue(value: usize, andPop: bool): i32 {
    return -EINVAL;
  }

  /** Live elements; -EINVAL for types that do not count. */
  elemCount(): i64 {
    return -EINVAL;
  }

  // ---- syscall side: copies. User addresses are u64 and unchecked, except keys, which bpf(2) has checked ----

  /** Copies the value of `key` to the user address `value`. */
  lookupUser(key: usize, value: u64, flags: u64): i32 {
    return -ENOTSUPP;
  }

  lookupAndDeleteUser(key: usize, value: u64, flags: u64): i32 {
    return -ENOTSUPP;
  }

  /** Copies the key after `key` (0: the first) to the user address `next`. */
  getNextKey(key: usize, next: u64): i32 {
    return -ENOTSUPP;
  }

  /** BATCH_* bits. */
  batchOps(): u32 {
    return 0;
  }

  /** LOOKUP_BATCH and LOOKUP_AND_DELETE_BATCH of types that have them; count goes to the user's attr. */
  lookupBatch(attr: BatchAttr, userCount: usize, andDelete: bool): i32 {
    return genericLookupBatch(this, attr, userCount);
  }

  /** Bytes of a value at bpf(2): of per-CPU types all CPUs' values. */
  userValueSize(): u32 {
    const size = this.valueSize;
    return isOneOf(this, PERCPU_TYPES) ? round8(size) * kernel().nrCpus : size;
  }

  /** Bytes that mmap can map at most; 0 for types without it. */
  mmapBytes(): u64 {
    return 0;
  }

  /**
   * Maps a part of the values, of one byte at least and from the start of a page on; counts a writable window.
   * @returns the address, or -errno as an address (isErr)
   */
  mmap(offset: u64, length: u64, writable: bool): usize {
    return <usize>-ENOTSUPP;
  }

  /** Address of byte `off` of the one value of the map, for programs that carry it; -errno as an address. */
  directValueAddr(off: u32): usize {
    return <usize>-ENOTSUPP;
  }

  // ---- life ----

  /**
   * Allocates what a new map of this type consists of.
   * @returns 0, or -errno: release() follows, and finds what had been allocated by then
   */
  init(attr: MapCreateAttr): i32 {
    return 0;
  }

  /**
   * One step of an iteration that goes on from a place, not from a key: deleting the current element (or any other) does
   * not restart it. Writes the key to `key`, which also holds the last key for types that walk by keys.
   * @param iter 16 bytes, zero at the start: whatever the type needs to remember
   * @returns the value's address on the current CPU, 0 at the end
   */
  iterNext(iter: usize, key: usize): usize {
    const last = load<u32>(iter) == 0 ? 0 : key;
    store<u32>(iter, 1);
    return this.getNextKey(last, key) == 0 ? this.peekElem(key) : 0;
  }

  /**
   * Calls the program's callback `fn` with (map, key, value, ctx) for each element in iteration order until it answers
   * non-zero. The callback may change the map, and end it.
   * @returns the number of calls
   */
  forEach(fn: u64, ctx: u64): i64 {
    return -EINVAL;
  }

  /** Gives back everything the map owns, except its own structure. */
  release(): void {}

  /** Debug builds: walks the structure; 0 when every invariant holds, else the number of the broken one. */
  check(): i32 {
    return 0;
  }
}

// ---- errors as addresses ------------------------------------------------------------------------------------------

/** -errno in the range of addresses: the allocator never hands out the last page. */
export function isErr(ptr: usize): bool {
  return <u32>ptr > <u32>0xfffff000;
}

// ---- creation -----------------------------------------------------------------------------------------------------

/** Bytes in front of an AssemblyScript object; its class id is the word at -8. */
const OBJECT_HDR: u32 = 24;

/** A zeroed object of class T with its class id; 0 when out of memory. */
export function placeObject<T extends RegionOwner>(): usize {
  return placeBytes(offsetof<T>(), idof<T>());
}

function placeBytes(bytes: u32, classId: u32): usize {
  const block = allocZeroed(OBJECT_HDR + bytes);
  if (block == 0) return 0;
  store<u32>(block + OBJECT_HDR - 8, classId);
  changetype<RegionOwner>(block + OBJECT_HDR).lockOffset = NO_LOCK;
  return block + OBJECT_HDR;
}

/** Gives a new map the attributes that all types have. */
export function setAttributes(map: BpfMap, attr: MapCreateAttr): void {
  map.mapType = attr.mapType;
  map.keySize = attr.keySize;
  map.valueSize = attr.valueSize;
  map.maxEntries = attr.maxEntries;
  map.mapFlags = attr.mapFlags & ~(BPF_F_RDONLY | BPF_F_WRONLY);
  map.mapExtra = attr.mapExtra;
}

/** Frees a map that has no id (yet, or any more), with all it owns. */
export function freeMap(map: BpfMap): void {
  map.handle = 0;
  map.inlineHandle = 0;
  map.storeHandle = 0;
  map.plainHandle = 0;
  map.release();
  if (map.btf != 0) btfPut(changetype<Btf>(map.btf));
  free(changetype<usize>(map) - OBJECT_HDR);
}

const BOTH_PROG: u32 = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

/** The flags every type checks alike: not both *_PROG bits, nothing outside `allowed`. */
export function flagsAllowed(flags: u32, allowed: u32): bool {
  return (flags & ~allowed) == 0 && (flags & BOTH_PROG) != BOTH_PROG;
}

/** What most types check: nothing is 0, keys have `keySize` bytes, the flags are `allowed`. */
export function attrLegal(attr: MapCreateAttr, keySize: u32, allowed: u32): bool {
  if (attr.maxEntries == 0 || attr.keySize != keySize || attr.valueSize == 0) return false;
  return flagsAllowed(attr.mapFlags, allowed);
}

// ---- update flags and values --------------------------------------------------------------------------------------

/** BPF_F_LOCK needs a lock in the value. */
export function lockMissing(map: BpfMap, flags: u64): bool {
  return (flags & BPF_F_LOCK) != 0 && map.lockOffset == NO_LOCK;
}

/** BPF_ANY, BPF_NOEXIST, BPF_EXIST; BPF_F_LOCK with a value that has a lock. */
export function updateFlagsLegal(map: BpfMap, flags: u64): bool {
  return (flags & ~(<u64>BPF_F_LOCK)) <= <u64>BPF_EXIST && !lockMissing(map, flags);
}

/** Copies a value into the map, leaving out the lock. */
export function copyMapValue(map: BpfMap, dst: usize, src: usize): void {
  const at = map.lockOffset;
  if (at == NO_LOCK) {
    copyBytes(dst, src, map.valueSize);
    return;
  }
  copyBytes(dst, src, at);
  copyBytes(dst + at + 4, src + at + 4, map.valueSize - at - 4);
}

/** copyMapValue under the value's own lock (BPF_F_LOCK). */
export function copyMapValueLocked(map: BpfMap, dst: usize, src: usize): void {
  lock(dst + map.lockOffset);
  copyMapValue(map, dst, src);
  unlock(dst + map.lockOffset);
}

/** Copies a value out to a user address: the lock reads as zero. */
export function copyValueOut(map: BpfMap, dst: u64, value: usize, flags: u64): i32 {
  if (!isUserRange(dst, map.valueSize)) return -EFAULT;
  const to = <usize>dst;
  if (map.lockOffset == NO_LOCK) {
    copyBytes(to, value, map.valueSize);
    return 0;
  }
  if (flags & BPF_F_LOCK) lock(value + map.lockOffset);
  copyMapValue(map, to, value);
  if (flags & BPF_F_LOCK) unlock(value + map.lockOffset);
  store<u32>(to + map.lockOffset, 0);
  return 0;
}

export function copyOut(dst: u64, src: usize, bytes: u32): i32 {
  if (!isUserRange(dst, bytes)) return -EFAULT;
  copyBytes(<usize>dst, src, bytes);
  return 0;
}

/**
 * Opens a window of a map whose pages start at `base`, and counts it when it is writable.
 * @returns its address; -EINVAL as an address: it does not lie within the map
 */
export function mmapWindow(
  map: BpfMap,
  base: usize,
  offset: u64,
  length: u64,
  writable: bool,
): usize {
  const page: u64 = PAGE_SIZE;
  const bytes = (map.mmapBytes() + page - 1) & ~(page - 1);
  if (offset > bytes || length > bytes - offset) return <usize>-EINVAL;
  if (writable) map.writableMmaps++;
  return base + <usize>offset;
}

// ---- handles ------------------------------------------------------------------------------------------------------

//   handle: | generation, lower 7 bits | offset of its entry, 24 bits of which 4 are the generation's upper ones |
//     generation: 1..2047. The topmost bit is 0, so a handle is never negative in JavaScript, nor an address that isErr.
//     The first handles are 2^24 and more: used as addresses by mistake they do not hit the beginning of the memory.
//   entry:  | handle (0: free) | map, or next free entry | generation | handle, if small |      entry 0 is never used
//     handle, if small: again if the map is an inline table with 4-byte keys, else 0. One comparison recognises the maps
//     that programs use most.
const HANDLE_ENTRY: u32 = 16;
const HANDLE_BYTES_MAX: u32 = HANDLE_ENTRY << 20;
const ENTRY_MAP: u32 = 4;
const ENTRY_GENERATION: u32 = 8;
const ENTRY_SMALL: u32 = 12;
const GENERATIONS: u32 = 2047;
/** Behind the entries is room for the address of a map for each of them: the live maps, by id. */
const BY_ID: u32 = 4;
const HANDLE_BYTES_MIN: u32 = HANDLE_ENTRY * 64;
const MAP_ID_MAX: u32 = 0x7fffffff;

/** Inlined where they are used. */
export class Handles {
  /** The entry a handle names. Any number names one; it is a handle only if the entry holds this very number. */
  @inline
  static entry(handle: u32): u32 {
    const k = kernel();
    // In this order: growHandles sets k.handles before the mask, so the table that is read is large enough for the mask.
    const at = handle & k.handleMask;
    return k.handles + at;
  }

  /** mapByHandle. */
  @inline
  static map(handle: u32): usize {
    const entry = Handles.entry(handle);
    return load<u32>(entry) == handle ? load<u32>(entry, ENTRY_MAP) : 0;
  }

  /** Is this the entry of a small map with this handle? */
  @inline
  static isSmall(entry: u32, handle: u32): bool {
    return load<u32>(entry, ENTRY_SMALL) == handle;
  }

  @inline
  static mapAt(entry: u32): usize {
    return load<u32>(entry, ENTRY_MAP);
  }
}

/** The map of a handle; 0 for 0, a stale handle, or any other number. */
export function mapByHandle(handle: u32): usize {
  return Handles.map(handle);
}

/** The map of a handle; 0 also when it is of another type. */
export function mapOfType(handle: u32, type: u32): usize {
  const map = mapByHandle(handle);
  return map != 0 && changetype<BpfMap>(map).mapType == type ? map : 0;
}

function takeHandle(map: BpfMap): bool {
  const k = kernel();
  if (k.handleFree == 0 && !growHandles()) return false;
  const at = k.handleFree;
  const entry = k.handles + at;
  k.handleFree = load<u32>(entry, ENTRY_MAP);
  if (k.handleFree == 0) k.handleFreeTail = 0;
  const generation = (load<u32>(entry, ENTRY_GENERATION) % GENERATIONS) + 1;
  map.handle = ((generation & 127) << 24) | at | (generation >> 7);
  if (map.isInline) map.inlineHandle = map.handle;
  if (map.isPlain) map.plainHandle = map.handle;
  if (map.lockOffset == NO_LOCK) map.storeHandle = map.inlineHandle;
  store<u32>(entry, changetype<usize>(map), ENTRY_MAP);
  store<u32>(entry, generation, ENTRY_GENERATION);
  store<u32>(entry, map.handle);
  if (map.keySize == 4) store<u32>(entry, map.inlineHandle, ENTRY_SMALL);
  return true;
}

/** Freed entries queue up at the tail, so that a number comes back as late as possible. */
function dropHandle(handle: u32): void {
  const entry = Handles.entry(handle);
  store<u32>(entry, 0, ENTRY_SMALL);
  store<u32>(entry, 0);
  queueHandle(handle & kernel().handleMask);
}

function queueHandle(at: u32): void {
  const k = kernel();
  store<u32>(k.handles + at, 0, ENTRY_MAP);
  if (k.handleFreeTail != 0) store<u32>(k.handles + k.handleFreeTail, at, ENTRY_MAP);
  else k.handleFree = at;
  k.handleFreeTail = at;
}

/** Makes the table of handles of a new kernel. */
export function handlesInit(): bool {
  if (!growHandles()) return false;
  // No number is a handle here, 0 neither.
  store<u32>(kernel().handles, ~0, ENTRY_SMALL);
  return true;
}

/** The table's size is a power of two. */
function growHandles(): bool {
  const k = kernel();
  const old: u32 = k.handles == 0 ? 0 : k.handleMask + HANDLE_ENTRY;
  const bytes = max(old * 2, HANDLE_BYTES_MIN);
  if (bytes > HANDLE_BYTES_MAX) return false;
  const table = allocZeroed(bytes + (bytes / HANDLE_ENTRY) * BY_ID);
  if (table == 0) return false;
  memory.copy(table, k.handles, old);
  memory.copy(table + bytes, k.handles + old, k.mapCount * BY_ID);
  freeReplaced(k.handles);
  k.handles = <u32>table;
  k.handleMask = bytes - HANDLE_ENTRY;
  for (let at = max(old, HANDLE_ENTRY); at < bytes; at += HANDLE_ENTRY) queueHandle(at);
  return true;
}

// ---- ids and references -------------------------------------------------------------------------------------------

/** Gives a new map its id and handle; its first reference is the caller's. */
export function publishMap(map: BpfMap): bool {
  lock(kernelLockWord());
  const ok = takeHandle(map);
  if (ok) {
    map.refcnt = 1;
    map.id = takeId();
    const at = firstAfterId(map.id);
    memory.copy(at + BY_ID, at, endOfIds() - at);
    store<u32>(at, changetype<usize>(map));
    kernel().mapCount++;
  }
  unlock(kernelLockWord());
  return ok;
}

/** Ids are handed out in a cycle: from its second round on some are taken. */
function takeId(): u32 {
  const k = kernel();
  let id: u32;
  do {
    id = k.nextMapId;
    k.nextMapId = id == MAP_ID_MAX ? 1 : id + 1;
  } while (mapById(id) != 0);
  return id;
}

/** Where the list of the live maps by id ends. */
function endOfIds(): usize {
  const k = kernel();
  return k.handles + k.handleMask + HANDLE_ENTRY + k.mapCount * BY_ID;
}

/** The place in the list by id of the first map whose id is > start. */
function firstAfterId(start: u32): usize {
  let high = endOfIds();
  let low = high - kernel().mapCount * BY_ID;
  while (low < high) {
    const mid = low + (((high - low) >>> 3) << 2);
    if (changetype<BpfMap>(<usize>load<u32>(mid)).id <= start) low = mid + BY_ID;
    else high = mid;
  }
  return low;
}

/** The live map with the smallest id > start; 0 when there is none. The lock of the tables is held. */
export function mapAfterId(start: u32): usize {
  const at = firstAfterId(start);
  return at == endOfIds() ? 0 : load<u32>(at);
}

function mapById(id: u32): usize {
  if (id == 0) return 0;
  const map = mapAfterId(id - 1);
  return map != 0 && changetype<BpfMap>(map).id == id ? map : 0;
}

/** The map with an id, with a reference; 0 when there is none. */
export function mapTakeById(id: u32): usize {
  lock(kernelLockWord());
  let map = mapById(id);
  if (map != 0 && !refcountIncNotZero(refcountWord(changetype<BpfMap>(map)))) map = 0;
  unlock(kernelLockWord());
  return map;
}

/** mapAfterId's id; 0 when there is none. */
export function mapIdAfter(start: u32): u32 {
  lock(kernelLockWord());
  const map = mapAfterId(start);
  const id = map == 0 ? 0 : changetype<BpfMap>(map).id;
  unlock(kernelLockWord());
  return id;
}

function refcountWord(map: BpfMap): usize {
  return changetype<usize>(map) + offsetof<BpfMap>("refcnt");
}

export function mapGet(map: BpfMap): void {
  refcountInc(refcountWord(map));
}

/** Drops a reference; the last one ends the map. Differs: at once, in the kernel a little later. */
export function mapPut(map: BpfMap): void {
  if (!refcountDecAndTest(refcountWord(map))) return;
  lock(kernelLockWord());
  const at = firstAfterId(map.id - 1);
  memory.copy(at, at + BY_ID, endOfIds() - at - BY_ID);
  kernel().mapCount--;
  dropHandle(map.handle);
  unlock(kernelLockWord());
  freeMap(map);
}

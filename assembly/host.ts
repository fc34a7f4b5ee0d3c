// Host objects: what storages are attached to. Sockets, cgroups, tasks and inodes live in linear memory, in a pool a kind;
// host_objects.ts says how they come and go.
//
//   | HostObject and what its kind adds (the core's own) | what programs see, at `ptr` |
//
// A program may touch the second part only: it cannot break the core by writing there, and what it writes has no effect.

import { BPF_MAP_TYPE_RINGBUF } from "../ts/uapi";
import { allocZeroed, kernel } from "./kernel";
import { FD_CGROUP, FD_INODE, FD_SOCKET, FD_TASK } from "./fd";
import { Pool, poolCreate, poolElemAt, poolEmpty, poolFree, poolZalloc } from "./lib/pool";
import { DEAD, RegionOwner, findRegion, regionLo, regionOwner } from "./lib/region";
import { BpfMap, placeObject } from "./map";

/** Kinds of objects: FD_SOCKET to FD_INODE. */
const KINDS: u32 = 4;

export function isHostKind(kind: u32): bool {
  return kind >= FD_SOCKET && kind <= FD_INODE;
}

/** Slots of the cache in front of an owner's list. */
export const CACHE_SLOTS: u32 = 16;

/** Bytes that programs see, for each kind. */
const SOCKET_BYTES: u32 = 80;
const OTHER_BYTES: u32 = 16;

@unmanaged
export class HostObject {
  /** The next task of a bucket; free objects: the pool's list. */
  next: u32;
  /** FD_*; 0 when the object is free. */
  kind: u32;
  /** fds, children, tasks inside: whatever keeps the object. */
  refcnt: u32;
  /** A number nobody else has: tells an object from another one at its address later. */
  serial: u32;
  /** Programs cannot reach it any more: a reaped task, or nothing refers to it. */
  gone: u8;
  /** A removed cgroup, a reaped task: fds do not lead there any more, and nothing new is stored. */
  dying: u8;
  pad: u16;
  /** The inode behind the fd, where that is another object. */
  inode: u32;
  /** First element of the storage (bpf_local_storage.ts), newest first. */
  elems: u32;
  /** The cgroup that it is in, which it holds: a cgroup's parent, a task's cgroup. */
  parent: u32;
  /** The cache: CACHE_SLOTS elements. */
  cache0: u64;
  cache1: u64;
  cache2: u64;
  cache3: u64;
  cache4: u64;
  cache5: u64;
  cache6: u64;
  cache7: u64;
}
if (offsetof<HostObject>() != 32 + CACHE_SLOTS * 4) ERROR("the cache has CACHE_SLOTS words");

@unmanaged
export class Socket extends HostObject {
  family: u32;
  type: u32;
  /** Bytes charged, and the limit (net.core.optmem_max). */
  omemAlloc: u32;
  optmemMax: u32;
  /** Children whose handshake is over, waiting for accept: the newest, whose nextChild is the oldest. */
  lastChild: u32;
  nextChild: u32;
  cookie: u64;
}

@unmanaged
export class Cgroup extends HostObject {
  id: u64;
  /** 1 or 2. */
  version: u32;
  /** Children that are not removed, and tasks that run. */
  members: u32;
  /** First of its CGROUP_STORAGE elements (local_storage.ts). */
  attached: u32;
  pad1: u32;
}

export const TASK_RUNNING: u32 = 0;
export const TASK_ZOMBIE: u32 = 1;

@unmanaged
export class Task extends HostObject {
  pid: u32;
  /** TASK_*. */
  state: u32;
}

@unmanaged
export class Inode extends HostObject {
  /** Address of the word that refers to this inode; 0 when only fds do. */
  home: u32;
  pad1: u32;
}

/** All objects of one kind, and totals of the maps that store values on them. Its slabs go when the last object goes. */
export class HostPool extends RegionOwner {
  /** FD_*. */
  kind: u32;
  live: u32;
  /** Bytes of an object in front of the part that programs see, which has valueSize bytes. */
  hidden: u32;
  pool: u32;
  /** Number of maps; sum of the bytes of one element of each. */
  maps: u32;
  elemBytes: u32;
  /** Maps of each cache slot (u32 each). */
  slotMaps0: u64;
  slotMaps1: u64;
  slotMaps2: u64;
  slotMaps3: u64;
  slotMaps4: u64;
  slotMaps5: u64;
  slotMaps6: u64;
  slotMaps7: u64;

  /** Address of the number of maps that have a cache slot. */
  slotMaps(slot: u32): usize {
    return changetype<usize>(this) + offsetof<HostPool>("slotMaps0") + slot * 4;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    const object = poolElemAt(changetype<Pool>(this.pool), lo, addr);
    return object != 0 && isVisible(object, this.kind) ? addr - object - this.hidden : DEAD;
  }
}

// commit (ringbuf.ts) reads the mapType of a region's owner, which need not be a map. Of a HostPool it reads the kind, which
// lies in the same place and never equals the type of a ring buffer (addPool).
if (offsetof<HostPool>("kind") != offsetof<BpfMap>("mapType")) ERROR("kind must lie at mapType");

function isVisible(object: u32, kind: u32): bool {
  return changetype<HostObject>(object).kind == kind && !changetype<HostObject>(object).gone;
}

/** The kernel's part about host objects and storages. */
@unmanaged
export class HostState {
  lockWord: u32;
  nextSerial: u32;
  nextPid: u32;
  pad: u32;
  /** The one inode of all anonymous files, and the one of fds 0, 1 and 2. */
  anonInode: u32;
  fileInode: u32;
  /** Memory for the elements of storages, bytes (bpf_local_storage.ts): promised and not used yet; taken by slabs. */
  reserved: u64;
  slabBytes: u64;
  nextCgroupId: u64;
  // Then the HostPools of KINDS (addresses), and TASK_BUCKETS lists of tasks.
}
const POOLS: u32 = offsetof<HostState>();
const TASKS: u32 = POOLS + KINDS * 4;
const TASK_BUCKETS: u32 = 512;

/** Part of kernel_init. @returns false when out of memory */
export function hostInit(): bool {
  const k = kernel();
  k.host = <u32>allocZeroed(TASKS + TASK_BUCKETS * 4);
  if (k.host == 0) return false;
  const state = hostState();
  state.nextSerial = 1;
  state.nextPid = 1;
  state.nextCgroupId = 1;
  return (
    addPool(FD_SOCKET, offsetof<Socket>(), SOCKET_BYTES) &&
    addPool(FD_CGROUP, offsetof<Cgroup>(), OTHER_BYTES) &&
    addPool(FD_TASK, offsetof<Task>(), OTHER_BYTES) &&
    addPool(FD_INODE, offsetof<Inode>(), OTHER_BYTES)
  );
}

function addPool(kind: u32, hidden: usize, visible: u32): bool {
  assert(kind < <u32>BPF_MAP_TYPE_RINGBUF);
  const ptr = placeObject<HostPool>();
  if (ptr == 0) return false;
  const pool = changetype<HostPool>(ptr);
  pool.kind = kind;
  pool.hidden = <u32>hidden;
  pool.valueSize = visible;
  pool.pool = poolCreate(ptr, <u32>hidden + visible, 0, u32.MAX_VALUE);
  store<u32>(kernel().host + POOLS + (kind - FD_SOCKET) * 4, ptr);
  return pool.pool != 0;
}

export function hostState(): HostState {
  return changetype<HostState>(kernel().host);
}

export function hostLockWord(): usize {
  return kernel().host + offsetof<HostState>("lockWord");
}

export function hostPool(kind: u32): HostPool {
  return changetype<HostPool>(load<u32>(kernel().host + POOLS + (kind - FD_SOCKET) * 4));
}

/** Head of the list that a task of this number is on. */
export function taskBucket(pid: u32): usize {
  return kernel().host + TASKS + (pid % TASK_BUCKETS) * 4;
}

/** A zeroed object with one reference; 0 when out of memory. May grow the memory when `creating`. */
export function hostAlloc(kind: u32, creating: bool): usize {
  const pool = hostPool(kind);
  const ptr = poolZalloc(changetype<Pool>(pool.pool), creating);
  if (ptr == 0) return 0;
  const object = changetype<HostObject>(ptr);
  object.kind = kind;
  object.refcnt = 1;
  object.serial = hostState().nextSerial++;
  pool.live++;
  return ptr;
}

/** Gives an object back; it has no elements any more. */
export function hostFree(object: HostObject): void {
  assert(object.elems == 0);
  const pool = hostPool(object.kind);
  object.kind = 0;
  poolFree(changetype<Pool>(pool.pool), changetype<usize>(object));
  pool.live--;
  if (pool.live == 0) poolEmpty(changetype<Pool>(pool.pool));
}

/** Where programs see an object. */
export function hostPtr(object: HostObject): u32 {
  return <u32>changetype<usize>(object) + hostPool(object.kind).hidden;
}

/** The object that programs see at `ptr`; 0 when there is none of this kind. */
export function hostByPtr(kind: u32, ptr: u32): usize {
  const region = findRegion(ptr);
  const pool = hostPool(kind);
  if (changetype<usize>(regionOwner(region)) != changetype<usize>(pool)) return 0;
  const object = poolElemAt(changetype<Pool>(pool.pool), regionLo(region), ptr);
  if (object == 0 || object + pool.hidden != ptr) return 0;
  return isVisible(object, kind) ? object : 0;
}

/** hostByPtr for the object that has this serial number: not for a later one at its address. */
export function hostBySerial(kind: u32, ptr: u32, serial: u32): usize {
  const object = hostByPtr(kind, ptr);
  return object != 0 && changetype<HostObject>(object).serial == serial ? object : 0;
}

// ---- inodes without an fd -----------------------------------------------------------------------------------------

/**
 * A new inode with one reference.
 * @param home address of the word that refers to it
 * @returns 0 when out of memory
 */
export function makeInode(home: usize, creating: bool): usize {
  const ptr = hostAlloc(FD_INODE, creating);
  if (ptr == 0) return 0;
  changetype<Inode>(ptr).home = <u32>home;
  store<u32>(home, ptr);
  return ptr;
}

/** Nothing leads to the inode any more. */
export function leaveHome(inode: Inode): void {
  if (inode.home != 0) store<u32>(inode.home, 0);
  inode.home = 0;
}

/** Frees an inode without elements. */
export function freeInode(inode: Inode): void {
  leaveHome(inode);
  hostFree(inode);
}

/** Frees an inode that no fd leads to once nothing is stored on it any more; other owners stay. */
export function freeIfIdle(owner: HostObject): void {
  if (owner.elems != 0 || owner.refcnt != 0 || owner.gone) return;
  freeInode(changetype<Inode>(changetype<usize>(owner)));
}

// The fd table: one per kernel, like one process. Maps, BTF objects and host objects share the numbers; the lowest free
// number is used. 0, 1 and 2 are taken from the start, as in a process: open files that are no objects of this kernel.

import { EBADF, EINVAL, EMFILE, ENOMEM } from "../ts/uapi";
import { allocZeroed, freeReplaced, kernel, kernelLockWord } from "./kernel";
import { fdRelease } from "./fd_release";
import { Btf } from "./btf";
import { loadAcquire } from "./lib/atomic";
import { lock, unlock } from "./lib/lock";
import { refcountInc } from "./lib/refcount";
import { BpfMap } from "./map";
import { PerfEvent } from "./perf_event";

export const FD_FREE: u32 = 0;
export const FD_FILE: u32 = 1;
export const FD_MAP: u32 = 2;
export const FD_BTF: u32 = 3;
export const FD_SOCKET: u32 = 4;
export const FD_CGROUP: u32 = 5;
export const FD_TASK: u32 = 6;
export const FD_INODE: u32 = 7;
/** A directory of bpffs.ts. */
export const FD_DIRECTORY: u32 = 8;
export const FD_PERF_EVENT: u32 = 9;
/** A BPF token: there are none, so no fd is one. */
export const FD_TOKEN: u32 = 10;

export const FMODE_READ: u32 = 1;
export const FMODE_WRITE: u32 = 2;

//   fd entry:  | kind u16 | mode u16 | object u32 |
const ENTRY_SIZE: u32 = 8;
const FD_MAX: u32 = 1 << 20;

function entryPtr(fd: u32): usize {
  return kernel().fds + fd * ENTRY_SIZE;
}

export function fdTableInit(): bool {
  if (!growTable()) return false;
  for (let fd: u32 = 0; fd < 3; fd++)
    store<u32>(entryPtr(fd), ((FMODE_READ | FMODE_WRITE) << 16) | FD_FILE);
  return true;
}

/**
 * Gives the lowest free number to an object, whose reference the fd takes over.
 * @returns the fd, -EMFILE or -ENOMEM (then the reference is dropped)
 */
export function fdInstall(kind: u32, mode: u32, object: usize): i32 {
  const fd = takeFd(kind, mode, object);
  if (fd < 0) fdRelease(kind, object);
  return fd;
}

function takeFd(kind: u32, mode: u32, object: usize): i32 {
  const k = kernel();
  lock(kernelLockWord());
  let fd = k.fdHint;
  while (fd < k.fdCapacity && fdKindAt(fd) != FD_FREE) fd++;
  k.fdHint = fd;
  let ret: i32 = fd;
  if (fd >= FD_MAX) ret = -EMFILE;
  else if (fd == k.fdCapacity && !growTable()) ret = -ENOMEM;
  if (ret >= 0) store<u64>(entryPtr(fd), ((<u64>object) << 32) | (mode << 16) | kind);
  unlock(kernelLockWord());
  return ret;
}

/**
 * An fd's entry, 0 when the number is not open. In the shared build kind and object are read at once: another thread may be
 * closing it.
 */
export function entryOf(fd: i32): u64 {
  if (fd < 0 || <u32>fd >= kernel().fdCapacity) return 0;
  return loadAcquire<u64>(entryPtr(fd));
}

/** FD_*: the kind of the object in an entry. */
export function entryKind(entry: u64): u32 {
  return <u32>entry & 0xffff;
}

/** FMODE_* bits in an entry: how the fd was opened. */
export function entryMode(entry: u64): u32 {
  return <u32>entry >> 16;
}

/** The object in an entry. */
export function entryObject(entry: u64): usize {
  return <usize>(entry >> 32);
}

/** FD_FREE for a number that is not open. */
export function fdKind(fd: i32): u32 {
  return entryKind(entryOf(fd));
}

/** The object behind an fd when it is of this kind, else 0. */
export function fdObjectOf(fd: i32, kind: u32): usize {
  const entry = entryOf(fd);
  return entryKind(entry) == kind ? entryObject(entry) : 0;
}

/** FMODE_* bits: how an fd was opened; 0 when it is not open. */
export function fdMode(fd: i32): u32 {
  return entryMode(entryOf(fd));
}

/**
 * Takes the number out of the table; the object's reference passes to the caller.
 * @returns its entry, 0 when it was not open
 */
export function fdRemove(fd: i32): u64 {
  lock(kernelLockWord());
  const entry = entryOf(fd);
  if (entry != 0) {
    store<u64>(entryPtr(fd), 0);
    if (<u32>fd < kernel().fdHint) kernel().fdHint = fd;
  }
  unlock(kernelLockWord());
  return entry;
}

/** The object of this kind behind fd: EBADF when it is not open, EINVAL when it is something else. No reference is taken. */
export function fdGet(fd: i32, kind: u32): usize {
  const entry = entryOf(fd);
  if (entryKind(entry) == kind) return entryObject(entry);
  return <usize>(entry == 0 ? -EBADF : -EINVAL);
}

/** Does fdHold take a reference to objects of this kind? The other kinds have counts that only their own lock guards. */
function isHeld(kind: u32): bool {
  return kind == FD_MAP || kind == FD_BTF || kind == FD_PERF_EVENT;
}

/** The count of an object that isHeld. */
function refcountOf(kind: u32, object: usize): usize {
  return kind == FD_MAP ? object + offsetof<BpfMap>("refcnt") : object;
}
if (offsetof<Btf>("refcnt") + offsetof<PerfEvent>("refcnt") != 0) ERROR("refcountOf");

/**
 * An fd's entry, with a reference to what is behind it: another thread may close the fd the moment after. fdPut drops it.
 * Maps, BTF and perf events; the entries of other kinds are as entryOf has them.
 */
export function fdHold(fd: i32): u64 {
  lock(kernelLockWord());
  const entry = entryOf(fd);
  const kind = entryKind(entry);
  if (isHeld(kind)) refcountInc(refcountOf(kind, entryObject(entry)));
  unlock(kernelLockWord());
  return entry;
}

/** Drops the reference of fdHold. */
export function fdPut(entry: u64): void {
  const kind = entryKind(entry);
  if (isHeld(kind)) fdRelease(kind, entryObject(entry));
}

/** fdGet with a reference, of a kind that fdHold knows. */
export function fdTake(fd: i32, kind: u32): usize {
  const entry = fdHold(fd);
  if (entryKind(entry) == kind) return entryObject(entry);
  fdPut(entry);
  return <usize>(entry == 0 ? -EBADF : -EINVAL);
}

function fdKindAt(fd: u32): u32 {
  return load<u16>(entryPtr(fd));
}

function growTable(): bool {
  const k = kernel();
  const capacity: u32 = k.fdCapacity == 0 ? 64 : k.fdCapacity * 2;
  const table = allocZeroed(<u64>capacity * ENTRY_SIZE);
  if (table == 0) return false;
  memory.copy(table, k.fds, k.fdCapacity * ENTRY_SIZE);
  freeReplaced(k.fds);
  k.fds = <u32>table;
  k.fdCapacity = capacity;
  return true;
}

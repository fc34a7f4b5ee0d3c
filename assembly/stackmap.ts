// STACK_TRACE: call stacks by id. Kernel: kernel/bpf/stackmap.c (behaviour checked against 6.18). Who calls
// whom is the host's knowledge: it hands the stacks in.
//
//   buckets:  | address of an elem, u32; 0: empty | ...     nBuckets = max_entries rounded up to a power of two
//   elem:     | next free, u32 | hash u32 | nr u32 | pad | nr addresses, u64 |      max_entries of them, from the start
//
// bpf(2) reads entries: | address u64 |, with BPF_F_STACK_BUILD_ID | status s32 | id 20 bytes | address u64 |
//
// The id of a stack is its hash's bucket. A bucket holds one stack: another one with the same id is refused, or takes its
// place (BPF_F_REUSE_STACKID). Differs: build ids are never found here, so such entries carry plain addresses.

import {
  BPF_F_FAST_STACK_CMP,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_REUSE_STACKID,
  BPF_F_SKIP_FIELD_MASK,
  BPF_F_STACK_BUILD_ID,
  BPF_F_USER_STACK,
  BPF_F_WRONLY,
  BPF_MAP_TYPE_STACK_TRACE,
  E2BIG,
  EEXIST,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
} from "../ts/uapi";
import { putIndex } from "./arraymap";
import { allocGrow, allocZeroed, free } from "./kernel";
import { copyBytes, equalBytes, isUserRange, roundupPow2 } from "./lib/bytes";
import { jhash } from "./lib/jhash";
import { lock, unlock } from "./lib/lock";
import { BpfMap, MapCreateAttr, attrLegal, mapOfType } from "./map";

const STACK_FLAGS: u32 = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_STACK_BUILD_ID;
const STACKID_FLAGS: u64 =
  BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID;
/** kernel.perf_event_max_stack. */
const DEPTH_MAX: u32 = 127;
const IP_BYTES: u32 = 8;
const BUILD_ID_BYTES: u32 = 32;
/** The status of a build id entry that says there is only the address. */
const BPF_STACK_BUILD_ID_IP: i32 = 2;

@unmanaged
class StackElem {
  nextFree: u32;
  hash: u32;
  nr: u32;
  pad: u32;

  get ips(): usize {
    return changetype<usize>(this) + offsetof<StackElem>();
  }
}
if (offsetof<StackElem>() != 16) ERROR("addresses are 8-aligned");

export class BpfStackMap extends BpfMap {
  buckets: u32;
  nBuckets: u32;
  elems: u32;
  elemSize: u32;
  freeList: u32;
  /** Elems that were never used; they are taken from the end. */
  fresh: u32;
  /** Bytes of an entry. */
  entrySize: u32;

  /** EINVAL: sizes, flags. */
  static checkAttr(attr: MapCreateAttr): i32 {
    const size = attr.mapFlags & BPF_F_STACK_BUILD_ID ? BUILD_ID_BYTES : IP_BYTES;
    if (!attrLegal(attr, 4, STACK_FLAGS)) return -EINVAL;
    return attr.valueSize % size == 0 && attr.valueSize / size <= DEPTH_MAX ? 0 : -EINVAL;
  }

  /** E2BIG: max_entries above 2^31. */
  override init(attr: MapCreateAttr): i32 {
    const ret = BpfStackMap.checkAttr(attr);
    if (ret != 0) return ret;
    if (this.maxEntries > 0x80000000) return -E2BIG;
    this.nBuckets = roundupPow2(this.maxEntries);
    this.entrySize = this.mapFlags & BPF_F_STACK_BUILD_ID ? BUILD_ID_BYTES : IP_BYTES;
    this.elemSize = offsetof<StackElem>() + (this.valueSize / this.entrySize) * IP_BYTES;
    this.fresh = this.maxEntries;
    this.buckets = <u32>allocZeroed(<u64>this.nBuckets * 4);
    if (this.buckets != 0) this.elems = <u32>allocGrow(<u64>this.elemSize * this.maxEntries);
    return this.elems == 0 ? -ENOMEM : 0;
  }

  bucketPtr(id: u32): usize {
    assert(id < this.nBuckets);
    return this.buckets + id * 4;
  }

  /** The elem of an id; 0 when there is none. */
  private elemAt(id: u32): u32 {
    return id < this.nBuckets ? load<u32>(this.bucketPtr(id)) : 0;
  }

  isFull(): bool {
    return this.freeList == 0 && this.fresh == 0;
  }

  takeElem(): u32 {
    const head = this.freeList;
    if (head != 0) {
      this.freeList = changetype<StackElem>(head).nextFree;
      return head;
    }
    return this.fresh == 0 ? 0 : this.elems + --this.fresh * this.elemSize;
  }

  /** Puts an elem (0: none) into a bucket; the one before is free again. */
  putElem(id: u32, elem: u32): void {
    const old = load<u32>(this.bucketPtr(id));
    if (old != 0) {
      changetype<StackElem>(old).nextFree = this.freeList;
      this.freeList = old;
    }
    store<u32>(this.bucketPtr(id), elem);
  }

  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    return -EINVAL;
  }

  override deleteElem(key: usize): i32 {
    const id = load<u32>(key);
    if (id >= this.nBuckets) return -E2BIG;
    lock(lockOf(this));
    const isEmpty = this.elemAt(id) == 0;
    this.putElem(id, 0);
    unlock(lockOf(this));
    return isEmpty ? -ENOENT : 0;
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    return this.copyStack(load<u32>(key), value, false);
  }

  override lookupAndDeleteUser(key: usize, value: u64, flags: u64): i32 {
    return this.copyStack(load<u32>(key), value, true);
  }

  private copyStack(id: u32, value: u64, andDelete: bool): i32 {
    lock(lockOf(this));
    const elem = this.elemAt(id);
    let ret = -ENOENT;
    if (elem != 0) {
      ret = isUserRange(value, this.valueSize) ? 0 : -EFAULT;
      if (ret == 0) copyEntries(this, changetype<StackElem>(elem), <usize>value);
      if (andDelete) this.putElem(id, 0);
    }
    unlock(lockOf(this));
    return ret;
  }

  /** Ids in use, ascending; from one that is not in use it starts anew. */
  override getNextKey(key: usize, next: u64): i32 {
    let id: u32 = 0;
    if (key != 0 && this.elemAt(load<u32>(key)) != 0) id = load<u32>(key) + 1;
    while (id < this.nBuckets && load<u32>(this.bucketPtr(id)) == 0) id++;
    if (id == this.nBuckets) return -ENOENT;
    return putIndex(next, id);
  }

  override release(): void {
    free(this.buckets);
    free(this.elems);
  }
}

function lockOf(map: BpfStackMap): usize {
  return changetype<usize>(map) + offsetof<BpfStackMap>("lockWord");
}

/** Entries that a stack does not have read as zero. */
function copyEntries(map: BpfStackMap, elem: StackElem, to: usize): void {
  const size = map.entrySize;
  memory.fill(to, 0, map.valueSize);
  for (let i: u32 = 0; i < elem.nr; i++) {
    const entry = to + i * size;
    if (size != IP_BYTES) store<i32>(entry, BPF_STACK_BUILD_ID_IP);
    store<u64>(entry + size - IP_BYTES, load<u64>(elem.ips + i * IP_BYTES));
  }
}

/** The id of a stack of `nr` addresses; the lock is held. */
function stackId(map: BpfStackMap, ips: usize, nr: u32, flags: u64): i64 {
  const bytes = nr * IP_BYTES;
  const hash = jhash(ips, bytes, 0);
  const id = hash & (map.nBuckets - 1);
  const ptr = load<u32>(map.bucketPtr(id));
  const old = changetype<StackElem>(ptr);
  const isAlike = ptr != 0 && old.hash == hash;
  if (isAlike && flags & BPF_F_FAST_STACK_CMP) return id;
  // With build ids the kernel has a new elem before it compares.
  if (map.entrySize != IP_BYTES && map.isFull()) return -ENOMEM;
  if (isAlike && old.nr == nr && equalBytes(old.ips, ips, bytes)) return id;
  if (ptr != 0 && (flags & BPF_F_REUSE_STACKID) == 0) return -EEXIST;
  const fresh = map.takeElem();
  if (fresh == 0) return -ENOMEM;
  const elem = changetype<StackElem>(fresh);
  elem.hash = hash;
  elem.nr = nr;
  copyBytes(elem.ips, ips, bytes);
  map.putElem(id, fresh);
  return id;
}

/**
 * The id of a call stack, which is stored if it is new.
 * @param chain address of the stack as the host has it: u64 count, then count addresses (u64), the innermost first. Where
 *   the kernel would walk the stack of `ctx`, here it is the context.
 * @param flags BPF_F_SKIP_FIELD_MASK: frames to leave out; BPF_F_USER_STACK (the host's affair); BPF_F_FAST_STACK_CMP:
 *   equal hashes are equal stacks; BPF_F_REUSE_STACKID: another stack of this id is replaced
 * @returns the id, or -errno: EINVAL flags, no such map; EFAULT nothing left after skipping, bad address; EEXIST another
 *   stack has the id; ENOMEM max_entries stacks are there
 */
export function bpf_get_stackid(chain: u32, handle: u32, flags: u64): i64 {
  const ptr = mapOfType(handle, BPF_MAP_TYPE_STACK_TRACE);
  if (ptr == 0 || flags & ~STACKID_FLAGS) return -EINVAL;
  if (!isUserRange(chain, 8)) return -EFAULT;
  const map = changetype<BpfStackMap>(ptr);
  const skip = <u32>flags & BPF_F_SKIP_FIELD_MASK;
  const room = min(map.valueSize / map.entrySize + skip, DEPTH_MAX);
  const depth = <u32>min<u64>(load<u64>(chain), room);
  if (!isUserRange(chain, 8 + depth * IP_BYTES) || depth <= skip) return -EFAULT;
  lock(lockOf(map));
  const id = stackId(map, chain + 8 + skip * IP_BYTES, depth - skip, flags);
  unlock(lockOf(map));
  return id;
}

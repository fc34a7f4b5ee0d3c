// Updates and deletions of the hash types, and where their elements come from. What the operations mean: hashtab.ts.

import {
  BPF_ANY,
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_NOEXIST,
  E2BIG,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
} from "../ts/uapi";
import { lruPopFree, lruPushFree, lruReplace } from "./bpf_lru_list";
import { BpfHtab, lockOf } from "./hashtab";
import {
  ELEM_LIVE,
  ELEM_REF,
  SeparateTable,
  find,
  firstElem,
  hashKey,
  nextElem,
  publishSlot,
  removeElem,
  takeSlot,
  valueAt,
} from "./htab_table";
import { inlineFind, inlinePublish, inlineRemove, inlineTake } from "./htab_inline";
import { cpu, kernel } from "./kernel";
import { copyBytes, zeroBytes } from "./lib/bytes";
import { hash8, upper4 } from "./lib/hash";
import { lock, unlock } from "./lib/lock";
import { Pool, poolAlloc, poolExtra, poolFree } from "./lib/pool";
import { copyMapValue, copyMapValueLocked, updateFlagsLegal } from "./map";

// ---- elements of the separate layout --------------------------------------------------------------------------------

/** A new element; 0: none left (preallocated), or out of memory. */
function takeElem(h: BpfHtab): usize {
  if (!h.isPrealloc) {
    const pool = changetype<Pool>(h.pool);
    const elem = poolAlloc(pool);
    if (elem == 0) return 0;
    if (h.isPercpu && load<u32>(elem + h.valueOff) == 0) {
      // Fresh from the newest slab: its per-CPU slots are at its index there.
      const index = (<u32>elem - pool.slabs - 8) / h.elemSize;
      store<u32>(elem + h.valueOff, poolExtra(pool, pool.slabs) + index * h.slotSize);
    }
    return elem;
  }
  const head = h.freeList;
  if (head != 0) {
    h.freeList = load<u32>(head);
    return head;
  }
  if (h.fresh == 0) return 0;
  h.fresh--;
  return h.elems + (h.maxEntries - 1 - h.fresh) * h.elemSize;
}

function giveElem(h: BpfHtab, elem: usize): void {
  if (h.isLru) {
    lruPushFree(h, <u32>elem);
  } else if (h.isPrealloc) {
    store<u32>(elem, h.freeList);
    h.freeList = <u32>elem;
  } else {
    poolFree(changetype<Pool>(h.pool), elem);
  }
}

/** Takes a live elem out of the table for the LRU lists; false when it is not live (just handed out). */
export function evictElem(h: BpfHtab, elem: u32): bool {
  if (load<u8>(elem, ELEM_LIVE) == 0) return false;
  removeElem(h, elem);
  h.count--;
  return true;
}

/** Unlinks the element of a value; the lock is held. */
export function removeValue(h: BpfHtab, value: usize, hash: u32): void {
  h.count--;
  if (h.isInline) {
    h.removals++;
    inlineRemove(h, hash, <u32>value);
    return;
  }
  const elem = value - h.valueOff;
  removeElem(h, elem);
  if (h.ownsValues) h.dropValue(value);
  giveElem(h, elem);
}

export function dropAllValues(h: BpfHtab): void {
  let pos = h.count == 0 ? 0 : firstElem(h);
  while (pos != 0) {
    h.dropValue(valueAt(h, pos));
    pos = nextElem(h, pos);
  }
}

/** 0 or -ENOENT. */
export function htabDelete(h: BpfHtab, a: u64, b: u64): i32 {
  const hash = hashKey(h, a, b);
  lock(lockOf(h));
  const value = find(h, hash, a, b);
  if (value != 0) removeValue(h, value, hash);
  unlock(lockOf(h));
  return value == 0 ? -ENOENT : 0;
}

/** Values of up to so many bytes are stored word by word. */
const SHORT: u32 = 24;

// ---- update ---------------------------------------------------------------------------------------------------------

export function htabUpdate(
  h: BpfHtab,
  a: u64,
  b: u64,
  value: usize,
  flags: u64,
  syscall: bool,
): i32 {
  if (flags > <u64>BPF_EXIST && !updateFlagsLegal(h, flags)) return -EINVAL;
  const hash = hashKey(h, a, b);
  lock(lockOf(h));
  const ret = h.isInline
    ? updateInline(h, hash, a, b, value, flags)
    : updateSeparate(h, hash, a, b, value, flags, syscall);
  unlock(lockOf(h));
  return ret;
}

/** htabUpdate with BPF_ANY for a plain table (BpfMap#isPlain) with keys of 4 or 8 bytes. */
export function htabUpdatePlain(h: BpfHtab, key: u64, value: usize): i32 {
  const hash = h.keySize == 4 ? upper4(<u32>key, <u32>h.seed) : hash8(key, h.seed);
  lock(lockOf(h));
  const ret = updateSeparate(h, hash, key, 0, value, BPF_ANY, true);
  unlock(lockOf(h));
  return ret;
}

/** Order of checks: flags; then, for LRU types, a node is taken (which may evict); then the key. */
function updateSeparate(
  h: BpfHtab,
  hash: u32,
  a: u64,
  b: u64,
  value: usize,
  flags: u64,
  syscall: bool,
): i32 {
  // A per-CPU value is written in place, so BPF_EXIST needs no node there.
  const needsNode = h.isLru && (!h.isPercpu || flags != BPF_EXIST);
  const node = needsNode ? lruPopFree(h, cpu()) : 0;
  if (node == 0 && needsNode) return -ENOMEM;
  const at = find(h, hash, a, b);
  return at != 0
    ? updateElem(h, at, node, hash, value, flags, syscall)
    : insertElem(h, node, hash, a, b, value, flags, syscall);
}

function updateInline(h: BpfHtab, hash: u32, a: u64, b: u64, value: usize, flags: u64): i32 {
  let at = inlineFind(h, hash, a, b);
  const isNew = at == 0;
  const ret = mayWrite(h, isNew, flags);
  if (ret != 0) return ret;
  let pos: u32 = 0;
  if (isNew) {
    pos = inlineTake(h, hash);
    at = valueAt(h, pos);
  }
  ElemValue.write(h, at, value, flags, isNew);
  if (isNew) {
    inlinePublish(h, pos, a, b);
    h.count++;
  }
  return 0;
}

/** 0 or -errno. LRU types have room: they evict. */
function mayWrite(h: BpfHtab, isNew: bool, flags: u64): i32 {
  if (!isNew) return flags & BPF_NOEXIST ? -EEXIST : 0;
  if (flags & BPF_EXIST) return -ENOENT;
  return h.count >= h.maxEntries && !h.isLru ? -E2BIG : 0;
}

/** Inlined where it is used, because the call would cost a tenth of an update. */
class ElemValue {
  /**
   * Stores a value that is no per-CPU one. In the shared build a reader may see half of a replaced one, as in the kernel's
   * ARRAY. A new element's lock is free.
   */
  @inline
  static write(h: BpfHtab, to: usize, value: usize, flags: u64, isNew: bool): void {
    const size = h.valueSize;
    if (h.lockOffset >= 0) {
      if (!isNew && flags & BPF_F_LOCK) copyMapValueLocked(h, to, value);
      else copyMapValue(h, to, value);
      if (isNew) store<u32>(to + h.lockOffset, 0);
    } else if (size > SHORT || (size & 3) != 0) {
      copyMapValue(h, to, value);
    } else {
      // Word by word: JavaScript may have stored words, and a wide load of fresh narrow stores stalls.
      for (let i: u32 = 0; i < size; i += 4) store<u32>(to + i, load<u32>(value + i));
    }
  }
}

/** The key is there, its value at `at`. `node` is a fresh node of the LRU types, or 0. */
function updateElem(
  h: BpfHtab,
  at: usize,
  node: u32,
  hash: u32,
  value: usize,
  flags: u64,
  syscall: bool,
): i32 {
  const ret = mayWrite(h, false, flags);
  if (ret == 0) replaceValue(h, at, hash, value, flags, syscall);
  if (h.isLru) {
    const elem = <u32>at - h.valueOff;
    if (ret == 0 && !h.isPercpu) {
      lruReplace(h, elem, node);
    } else {
      if (ret == 0) store<u8>(elem, 1, ELEM_REF);
      if (node != 0) lruPushFree(h, node);
    }
  }
  return ret;
}

/** The key is absent. */
function insertElem(
  h: BpfHtab,
  node: u32,
  hash: u32,
  a: u64,
  b: u64,
  value: usize,
  flags: u64,
  syscall: bool,
): i32 {
  const ret = mayWrite(h, true, flags);
  if (ret != 0) {
    if (node != 0) lruPushFree(h, node);
    return ret;
  }
  const elem: usize = h.isLru ? node : takeElem(h);
  if (elem == 0) return -ENOMEM;
  const pos = takeSlot(h, elem, hash, a, b);
  const at = elem + h.valueOff;
  if (h.isPercpu) writePercpu(h, at, value, syscall, true);
  else ElemValue.write(h, at, value, flags, true);
  publishSlot(h, pos, elem, hash);
  h.count++;
  return 0;
}

/** BPF_F_LOCK, and a map of maps, overwrite where the element stands; otherwise it is its bucket's newest now. */
function replaceValue(
  h: BpfHtab,
  at: usize,
  hash: u32,
  value: usize,
  flags: u64,
  syscall: bool,
): void {
  if (h.isPercpu) {
    writePercpu(h, at, value, syscall, false);
    return;
  }
  if (h.ownsValues) h.dropValue(at);
  ElemValue.write(h, at, value, flags, false);
  if (!h.ownsValues && !(flags & BPF_F_LOCK)) SeparateTable.makeNewest(h, at - h.valueOff, hash);
}

/**
 * bpf(2) writes the slots of all CPUs, padding included; a program writes that of its CPU, and an insert by a program zeroes
 * the others. Differs: it also zeroes all padding, where the kernel keeps what was there.
 */
function writePercpu(h: BpfHtab, at: usize, value: usize, syscall: bool, isNew: bool): void {
  const first = <usize>load<u32>(at);
  if (!syscall && !isNew) {
    copyBytes(first + cpu() * h.cpuStride, value, h.valueSize);
    return;
  }
  for (let i: u32 = 0; i < kernel().nrCpus; i++) {
    const slot = first + i * h.cpuStride;
    if (syscall) {
      copyBytes(slot, value + i * h.slotSize, h.slotSize);
    } else {
      // The value may be that of the element which was evicted for this one: it is where it goes.
      const kept = i == cpu() ? h.valueSize : 0;
      copyBytes(slot, value, kept);
      zeroBytes(slot + kept, h.slotSize - kept);
    }
  }
}

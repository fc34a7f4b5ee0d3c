// HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH. Kernel: kernel/bpf/hashtab.c (behaviour checked against 6.18).
//
// The table is htab_table.ts, eviction bpf_lru_list.ts, batches htab_batch.ts; here is what an operation means.
//
// Invariants (check): count is the number of used slots; a live elem is in exactly one slot, at or behind its home with
// an overflow mark on every chunk between; a free elem is on one free list.
//
// Differs: replacing the value of a HASH or LRU_HASH element happens in place, where the kernel swaps in another element.
// An address therefore stays as long as its key is present, and a program that holds one sees the new value.

import {
  BPF_F_NO_COMMON_LRU,
  BPF_F_NO_PREALLOC,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_F_ZERO_SEED,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_HASH,
  E2BIG,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOTSUPP,
} from "../ts/uapi";
import { REMOVALS_AT } from "../ts/abi";
import {
  BATCH_DELETE,
  BATCH_LOOKUP,
  BATCH_LOOKUP_AND_DELETE,
  BATCH_UPDATE,
  BatchAttr,
  BpfMap,
  KMALLOC_MAX_SIZE,
  MapCreateAttr,
} from "./map";
import { copyOut, copyValueOut, flagsAllowed } from "./map";
import { PERCPU_VALUE_MAX } from "./arraymap";
import {
  ELEM_LIVE,
  ELEM_REF,
  SEPARATE_SLOTS,
  behindInBucket,
  find,
  findKey,
  elemBehind,
  firstElem,
  hashAt,
  holdsHash,
  isUsed,
  keyAt,
  hashOfKey,
  keyHigh,
  keyLow,
  nextElem,
  positionOfValue,
  rankAt,
  valueAt,
} from "./htab_table";
import { chunkCount } from "./htab_chunk";
import { inlineFits, inlineInit, inlineLayout } from "./htab_inline";
import { LRU_ELEM_HDR, lruInit, lruRelease } from "./bpf_lru_list";
import { callBackOnElem, keyWord } from "./callback";
import { htabLookupBatch } from "./htab_batch";
import { dropAllValues, htabDelete, htabUpdate, removeValue } from "./htab_update";
import { htabCheck } from "./htab_check";
import { allocZeroed, allocGrow, cpu, free, kernel, random64 } from "./kernel";
import { copyBytes, isUserRange, round8, roundupPow2 } from "./lib/bytes";
import { SHARED, lock, unlock } from "./lib/lock";
import { Pool, poolCreate, poolDestroy, poolElemAt, poolExtra } from "./lib/pool";
import { DEAD, addRegion, removeRegion } from "./lib/region";

const HTAB_FLAGS: u32 =
  BPF_F_NO_PREALLOC |
  BPF_F_NO_COMMON_LRU |
  BPF_F_NUMA_NODE |
  BPF_F_RDONLY |
  BPF_F_WRONLY |
  BPF_F_RDONLY_PROG |
  BPF_F_WRONLY_PROG |
  BPF_F_ZERO_SEED;
/** keySize + valueSize stays below this: the kernel has a header of 48 bytes in front of them. */
const ELEM_BYTES_MAX: u64 = KMALLOC_MAX_SIZE - 48;
const BUCKETS_MAX: u32 = 0xffffffff / 16;
/** Offset of 4 bytes in an iterNext's memory that hash types have no use for. */
export const ITER_FREE: u32 = 12;

export class BpfHtab extends BpfMap {
  // What lookups read.
  // The table (htab_table.ts).
  chunks: u32;
  chunksEnd: u32;
  chunkSize: u32;
  nChunks: u32;
  /** The bits of a hash that decide about the home chunk. */
  hashMask: u32;
  keyOff: u32;
  valueOff: u32;
  zeroSeed: bool;
  isPercpu: bool;
  isLru: bool;
  seed: u64;
  // Inline tables (htab_inline.ts).
  valueStride: u32;
  chunkShift: u32;
  metas: u32;
  metaShift: u32;
  // Per-CPU slots: CPU i's is cpuStride * i behind CPU 0's.
  cpuStride: u32;
  // What lookups do not read. At least as long as a cache line, it keeps what updates write away from what lookups read.
  slots: u32;
  slotSize: u32;
  bucketMask: u32;
  bucketShift: u32;
  // Inline tables.
  slotCount: u32;
  keyStride: u32;
  emptyHome: u32;
  emptyKey: u32;
  // Elements of the separate layout: preallocated, or from the pool.
  elems: u32;
  elemSize: u32;
  pool: u32;
  isPrealloc: bool;
  /** BPF_F_NO_COMMON_LRU. */
  lruPerCpu: bool;
  /** Values refer to something: dropValue is told when one goes. Such a map has the separate layout. */
  ownsValues: bool;
  // LRU (bpf_lru_list.ts).
  lruSets: u32;
  lruLocals: u32;
  lruTarget: u32;
  /** Unused: fills the line, as is checked below the class. */
  gap: u32;
  // What updates write.
  count: u32;
  /** Elements of a preallocated map that were never used. */
  fresh: u32;
  freeList: u32;
  /** Inline tables: elements that went away, modulo 2^32. A cursor that has fetched ahead sees by it that it must look again. */
  removals: u32;
  /** The lock of the hash types: BpfMap#lockWord lies among what lookups read. */
  tableLock: u32;
  /** Inline tables of the shared build: elements that came, modulo 2^32. */
  insertions: u32;

  /** The order of the checks is the kernel's. */
  static allocCheck(attr: MapCreateAttr): i32 {
    const type = attr.mapType;
    const flags = attr.mapFlags;
    const isLru = isLruType(type);
    const isPercpu = isPercpuType(type);
    const noCommon = (flags & BPF_F_NO_COMMON_LRU) != 0;
    if (!flagsAllowed(flags, HTAB_FLAGS)) return -EINVAL;
    if (!isLru && noCommon) return -EINVAL;
    if (isLru && flags & BPF_F_NO_PREALLOC) return -ENOTSUPP;
    const hasNode = flags & BPF_F_NUMA_NODE && attr.numaNode != 0xffffffff;
    if (hasNode && (isPercpu || noCommon)) return -EINVAL;
    if (attr.maxEntries == 0 || attr.keySize == 0 || attr.valueSize == 0) return -EINVAL;
    if (<u64>attr.keySize + attr.valueSize >= ELEM_BYTES_MAX) return -E2BIG;
    if (isPercpu && round8(attr.valueSize) > PERCPU_VALUE_MAX) return -E2BIG;
    return 0;
  }

  /** Sizes the table and allocates it. */
  override init(attr: MapCreateAttr): i32 {
    const type = this.mapType;
    const flags = this.mapFlags;
    this.isLru = isLruType(type);
    this.isPercpu = isPercpuType(type);
    this.isPrealloc = (flags & BPF_F_NO_PREALLOC) == 0;
    this.lruPerCpu = (flags & BPF_F_NO_COMMON_LRU) != 0;
    this.zeroSeed = (flags & BPF_F_ZERO_SEED) != 0;
    this.seed = random64();
    if (this.lruPerCpu) this.maxEntries = roundToCpus(this.maxEntries);
    if (this.maxEntries > 0x80000000) return -E2BIG;
    const nBuckets = roundupPow2(this.maxEntries);
    if (nBuckets > BUCKETS_MAX) return -E2BIG;
    this.bucketMask = nBuckets - 1;
    this.bucketShift = ctz(nBuckets);
    // Homes go by the bucket where the order shows, otherwise by the whole hash: a bucket may then begin in one chunk and
    // end in the next (htab_table.ts, nextInBucket).
    this.hashMask = this.zeroSeed ? ~(<u32>~0 >> this.bucketShift) : ~0;
    this.isInline =
      type == BPF_MAP_TYPE_HASH &&
      (flags & (BPF_F_NO_PREALLOC | BPF_F_ZERO_SEED)) == 0 &&
      inlineFits(this.keySize, this.valueSize, this.maxEntries);
    this.isPlain = !this.isPercpu && !this.zeroSeed && !this.isInline;
    return this.isInline ? this.initInline() : this.initSeparate();
  }

  private initInline(): i32 {
    if (!this.allocChunks(inlineLayout(this))) return -ENOMEM;
    this.chunks = this.asRegion(this.chunks, this.chunksEnd - this.chunks);
    if (this.chunks == 0) return -ENOMEM;
    inlineInit(this);
    return 0;
  }

  private initSeparate(): i32 {
    const nrCpus = kernel().nrCpus;
    this.keyOff = this.isLru ? LRU_ELEM_HDR : 8;
    this.valueOff = round8(this.keyOff + this.keySize);
    this.slotSize = round8(this.valueSize);
    this.elemSize = this.valueOff + (this.isPercpu ? 8 : this.slotSize);
    this.chunkSize = 64;
    // Seven of twelve slots in use: a search for an absent key, as in front of each insertion, seldom meets a chunk that
    // was full once, and goes on. Small tables: four of twelve.
    this.nChunks = chunkCount(this, SEPARATE_SLOTS, 171, 300);
    if (!this.allocChunks(0)) return -ENOMEM;
    if (!this.isPrealloc) {
      const extra = this.isPercpu ? this.slotSize * nrCpus : 0;
      this.pool = poolCreate(changetype<usize>(this), this.elemSize, extra, this.maxEntries);
      if (this.pool == 0) return -ENOMEM;
      this.cpuStride = changetype<Pool>(this.pool).slabCount * this.slotSize;
      return 0;
    }
    const bytes = <u64>this.elemSize * this.maxEntries;
    this.elems = this.asRegion(allocGrow(bytes), bytes);
    if (this.elems == 0) return -ENOMEM;
    this.fresh = this.maxEntries;
    if (this.isPercpu) {
      const perCpu = (<u64>this.slotSize * this.maxEntries + 63) & ~63;
      if (perCpu > 0xffffffff) return -ENOMEM;
      this.cpuStride = <u32>perCpu;
      this.slots = this.asRegion(allocZeroed(perCpu * nrCpus, 64), perCpu * nrCpus);
      if (this.slots == 0) return -ENOMEM;
      for (let index: u32 = 0; index < this.maxEntries; index++) {
        const elem = this.elems + index * this.elemSize;
        store<u32>(elem + this.valueOff, this.slots + index * this.slotSize);
        store<u8>(elem, 0, ELEM_LIVE);
      }
    }
    return this.isLru && !lruInit(this) ? -ENOMEM : 0;
  }

  /** extra: bytes behind the chunks. */
  private allocChunks(extra: u64): bool {
    const bytes = <u64>this.nChunks * this.chunkSize;
    this.chunks = <u32>allocZeroed(bytes + extra, this.chunkSize);
    this.chunksEnd = this.chunks + <u32>bytes;
    return this.chunks != 0;
  }

  /** Makes a fresh allocation a region of this map. @returns its address; 0: there was none, or out of memory, and it is free */
  private asRegion(at: usize, bytes: u64): u32 {
    if (at == 0 || addRegion(at, at + <usize>bytes, changetype<usize>(this), true)) return <u32>at;
    free(at);
    return 0;
  }

  override release(): void {
    this.removals++;
    if (this.ownsValues) dropAllValues(this);
    removeRegion(this.chunks);
    removeRegion(this.elems);
    removeRegion(this.slots);
    poolDestroy(this.pool);
    free(this.chunks);
    free(this.elems);
    free(this.slots);
    lruRelease(this);
  }

  override check(): i32 {
    return htabCheck(this);
  }

  /** A value goes away (deleted, replaced, or with its map); the lock is held. Called for maps with ownsValues. */
  dropValue(value: usize): void {}

  // ---- program side ----

  override lookupElem(key: usize): usize {
    const value = findKey(this, key);
    return value == 0 ? 0 : htabUse(this, value);
  }

  override peekElem(key: usize): usize {
    const value = findKey(this, key);
    return value == 0 ? 0 : valueOn(this, value, cpu());
  }

  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    const a = keyLow(this, key);
    return htabUpdate(this, a, keyHigh(this, key), value, flags, syscall);
  }

  override deleteElem(key: usize): i32 {
    return htabDelete(this, keyLow(this, key), keyHigh(this, key));
  }

  override elemCount(): i64 {
    return this.count;
  }

  /**
   * The next element of the bucket is chosen before the callback runs, as in the kernel: one that the callback replaces is
   * visited although it is its bucket's newest now. Differs: one that it deletes, or has evicted, is not, where the kernel shows
   * what its memory holds by then: it as it was, or another element for the second time.
   */
  override forEach(fn: u64, ctx: u64): i64 {
    let visited: i64 = 0;
    let pos = firstElem(this);
    let rank = pos == 0 ? 0 : rankAt(this, pos);
    while (pos != 0) {
      const next = this.zeroSeed ? behindInBucket(this, rank, pos) : 0;
      const nextHash = next == 0 ? 0 : hashAt(this, next);
      const nextRank = next == 0 ? 0 : rankAt(this, next);
      const key = SHARED && this.isInline ? this.copyKey(pos) : keyAt(this, pos);
      if (key != 0) {
        visited++;
        const value = valueOn(this, valueAt(this, pos), cpu());
        if (!callBackOnElem(fn, this, key, value, ctx)) break;
      }
      if (next != 0) {
        pos = next;
        rank = nextRank;
        if (holdsHash(this, pos, nextHash)) continue;
      }
      pos = elemBehind(this, rank, pos);
      if (pos != 0) rank = rankAt(this, pos);
    }
    return visited;
  }

  /**
   * A copy of the key at pos for the next callback; 0 when it is not there any more. An empty slot of an inline table holds
   * a key that nobody put there, which is not to be shown when another thread has just emptied it.
   */
  private copyKey(pos: u32): usize {
    lock(lockOf(this));
    const key = isUsed(this, pos) ? keyWord() : 0;
    if (key != 0) copyBytes(key, keyAt(this, pos), this.keySize);
    unlock(lockOf(this));
    return key;
  }

  override iterNext(iter: usize, key: usize): usize {
    lock(lockOf(this));
    const value = this.step(iter, key);
    unlock(lockOf(this));
    return value;
  }

  /** iterNext under the lock. iter: rank u64, position u32 (0: not started), 4 bytes of no use here (ITER_FREE). */
  step(iter: usize, key: usize): usize {
    const last = load<u32>(iter, 8);
    const pos = last == 0 ? firstElem(this) : elemBehind(this, load<u64>(iter), last);
    if (pos == 0) return 0;
    if (this.zeroSeed) store<u64>(iter, rankAt(this, pos));
    store<u32>(iter, pos, 8);
    copyBytes(key, keyAt(this, pos), this.keySize);
    return valueOn(this, valueAt(this, pos), cpu());
  }

  // ---- syscall side ----

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    lock(lockOf(this));
    const from = findKey(this, key);
    const ret = from == 0 ? -ENOENT : this.copyValueTo(value, from, flags);
    unlock(lockOf(this));
    return ret;
  }

  /** The element goes whether or not its value can be copied: a bad address loses it, as in the kernel. */
  override lookupAndDeleteUser(key: usize, value: u64, flags: u64): i32 {
    // Now: the value may be copied over the key.
    const hash = hashOfKey(this, key);
    lock(lockOf(this));
    const from = find(this, hash, keyLow(this, key), keyHigh(this, key));
    let ret = -ENOENT;
    if (from != 0) {
      ret = this.copyValueTo(value, from, flags);
      removeValue(this, from, hash);
    }
    unlock(lockOf(this));
    return ret;
  }

  override getNextKey(key: usize, next: u64): i32 {
    lock(lockOf(this));
    const current = key == 0 ? 0 : findKey(this, key);
    const pos = current == 0 ? firstElem(this) : nextElem(this, positionOfValue(this, current));
    const ret = pos == 0 ? -ENOENT : copyOut(next, keyAt(this, pos), this.keySize);
    unlock(lockOf(this));
    return ret;
  }

  override batchOps(): u32 {
    return BATCH_LOOKUP | BATCH_LOOKUP_AND_DELETE | BATCH_UPDATE | BATCH_DELETE;
  }

  override lookupBatch(attr: BatchAttr, userCount: usize, andDelete: bool): i32 {
    return htabLookupBatch(this, attr, userCount, andDelete);
  }

  /** Copies the value (all CPUs' slots) to a user address. */
  copyValueTo(to: u64, value: usize, flags: u64): i32 {
    if (!this.isPercpu) return copyValueOut(this, to, value, flags);
    if (!isUserRange(to, this.userValueSize())) return -EFAULT;
    let slot = <usize>load<u32>(value);
    for (let i: u32 = 0; i < kernel().nrCpus; i++) {
      copyBytes(<usize>to + i * this.slotSize, slot, this.slotSize);
      slot += this.cpuStride;
    }
    return 0;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    if (this.isInline) {
      const offset = (addr - lo) % this.chunkSize;
      if (offset < this.valueOff) return DEAD;
      const slot = (offset - this.valueOff) / this.valueStride;
      if (slot >= this.slotCount || !isUsed(this, (addr - offset) | slot)) return DEAD;
      return (offset - this.valueOff) % this.valueStride;
    }
    if (lo == this.slots)
      return this.offsetInSlot(this.elems, (addr - lo) % this.cpuStride, this.maxEntries);
    if (lo == this.elems) {
      const index = (addr - lo) / this.elemSize;
      if (!this.isLru && !this.isPercpu && index >= this.maxEntries - this.fresh) return DEAD;
      return this.offsetInElem(lo + index * this.elemSize, addr);
    }
    const pool = changetype<Pool>(this.pool);
    const elem = poolElemAt(pool, lo, addr);
    if (elem != 0) return this.offsetInElem(elem, addr);
    const extra = poolExtra(pool, lo);
    if (addr < extra) return DEAD;
    return this.offsetInSlot(lo + 8, (addr - extra) % this.cpuStride, pool.slabCount);
  }

  private offsetInElem(elem: u32, addr: u32): u32 {
    const isLive = !this.isPercpu && load<u8>(elem, ELEM_LIVE) != 0;
    return isLive ? addr - elem - this.valueOff : DEAD;
  }

  /** offset: from the CPU's first slot; elems: the elements whose slots these are. */
  private offsetInSlot(elems: u32, offset: u32, count: u32): u32 {
    const index = offset / this.slotSize;
    const isLive = index < count && load<u8>(elems + index * this.elemSize, ELEM_LIVE) != 0;
    return isLive ? offset % this.slotSize : DEAD;
  }
}
if (offsetof<BpfHtab>("removals") != REMOVALS_AT) ERROR("REMOVALS_AT: ts/abi.ts");
if (offsetof<BpfHtab>("count") - offsetof<BpfHtab>("slots") < 64) ERROR("less than a cache line");

/** Is this one of the types of this file? */
export function isHtab(map: BpfMap): bool {
  const type = map.mapType;
  return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_PERCPU_HASH || isLruType(type);
}

function isLruType(type: u32): bool {
  return type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

function isPercpuType(type: u32): bool {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/** BPF_F_NO_COMMON_LRU: as many entries for each CPU, more than asked for where they fit 32 bits. */
function roundToCpus(maxEntries: u32): u32 {
  const down = maxEntries - (maxEntries % kernel().nrCpus);
  const up = down + kernel().nrCpus;
  return down == maxEntries || up < down ? down : up;
}

export function lockOf(h: BpfHtab): usize {
  return changetype<usize>(h) + offsetof<BpfHtab>("tableLock");
}

/** The address of a value that `find` gave; of per-CPU types, of its slot on one CPU. */
function valueOn(h: BpfHtab, value: usize, cpuIndex: u32): usize {
  return h.isPercpu ? load<u32>(value) + cpuIndex * h.cpuStride : value;
}

/** valueOn for the current CPU, as a use that LRU types remember. */
export function htabUse(h: BpfHtab, value: usize): usize {
  if (h.isLru) markUsed(value - h.valueOff);
  return valueOn(h, value, cpu());
}

/**
 * Sets the reference bit of an LRU element, without asking whether it is set: among the hits of a cache the answer varies so
 * much that a branch costs more than the store (bench: goal 10). Where threads share the cache line it is the other way.
 */
export function markUsed(elem: usize): void {
  if (!SHARED || load<u8>(elem, ELEM_REF) == 0) store<u8>(elem, 1, ELEM_REF);
}

// Elements that are allocated while a map runs (BPF_F_NO_PREALLOC hashes, LPM tries, local storages): equal-sized
// elements cut from slabs. Slabs are registered as regions of the owner and given back when the pool ends; a free
// element is reused by its pool only, last freed first.
//
//   Slab: | next slab (u32) | pad (u32) | element 0 | element 1 | ... | extra bytes (per-CPU slots) |

import { alloc, allocGrow, allocZeroed, free, reserve, usePromise } from "../kernel";
import { zeroBytes } from "./bytes";
import { addRegion, removeRegion } from "./region";

const SLAB_HDR: u32 = 8;
/** Slabs are about this large; an element that is larger has a slab of its own. */
const SLAB_BYTES: u32 = 16384;

@unmanaged
export class Pool {
  /** The region's owner: a BpfMap. */
  owner: u32;
  /** Bytes per element, a multiple of 8. */
  elemSize: u32;
  /** Further bytes per element behind all elements of the slab (per-CPU slots of all CPUs). */
  extraSize: u32;
  /** Elements per slab. */
  slabCount: u32;
  /** The newest slab. */
  slabs: u32;
  /** How many slabs there are. */
  slabTotal: u32;
  /** Free elements, linked through their first word. */
  freeList: u32;
  /** Elements of the newest slab that were never handed out. */
  fresh: u32;
  /** What is left of the promise that the slabs will find memory, bytes. */
  reserved: u64;
}

/** Promises above this are not made: nobody fills such a map here. */
const RESERVE_MAX: u64 = 1 << 30;

/** @returns a Pool without slabs; 0 when out of memory */
export function poolCreate(owner: usize, elemSize: u32, extraSize: u32, maxCount: u32): u32 {
  const ptr = allocZeroed(offsetof<Pool>());
  if (ptr == 0) return 0;
  const pool = changetype<Pool>(ptr);
  pool.owner = <u32>owner;
  pool.elemSize = elemSize;
  pool.extraSize = extraSize;
  pool.slabCount = max(1, min(maxCount, SLAB_BYTES / (elemSize + extraSize)));
  const slabs = (<u64>maxCount + pool.slabCount - 1) / pool.slabCount;
  const bytes = slabs * (slabBytes(pool) + 16);
  if (bytes <= RESERVE_MAX) {
    pool.reserved = bytes;
    reserve(bytes);
  }
  return <u32>ptr;
}

/**
 * @param creating may the memory grow?
 * @returns an element with unspecified contents; 0 when out of memory
 */
export function poolAlloc(pool: Pool, creating: bool = false): usize {
  const head = pool.freeList;
  if (head != 0) {
    pool.freeList = load<u32>(head);
    return head;
  }
  if (pool.fresh == 0 && !addSlab(pool, creating)) return 0;
  pool.fresh--;
  return pool.slabs + SLAB_HDR + pool.fresh * pool.elemSize;
}

/** poolAlloc of a zeroed element. */
export function poolZalloc(pool: Pool, creating: bool): usize {
  const elem = poolAlloc(pool, creating);
  if (elem != 0) zeroBytes(elem, pool.elemSize);
  return elem;
}

export function poolFree(pool: Pool, elem: usize): void {
  store<u32>(elem, pool.freeList);
  pool.freeList = <u32>elem;
}

/** Ends a pool; 0 is none. */
export function poolDestroy(ptr: u32): void {
  if (ptr == 0) return;
  poolEmpty(changetype<Pool>(ptr));
  free(ptr);
}

/** Gives all slabs back, and the promise. */
export function poolEmpty(pool: Pool): void {
  let slab = pool.slabs;
  while (slab != 0) {
    const next = load<u32>(slab);
    removeRegion(slab);
    free(slab);
    slab = next;
  }
  usePromise(promiseOf(pool), pool.reserved);
  pool.slabs = 0;
  pool.slabTotal = 0;
  pool.freeList = 0;
  pool.fresh = 0;
}

function promiseOf(pool: Pool): usize {
  return changetype<usize>(pool) + offsetof<Pool>("reserved");
}

/** The element that holds addr; addr is inside the slab that starts at `slab` (a region's lo). 0: the slab's header. */
export function poolElemAt(pool: Pool, slab: u32, addr: u32): u32 {
  const offset = addr - slab;
  if (offset < SLAB_HDR) return 0;
  const index = (offset - SLAB_HDR) / pool.elemSize;
  return index < pool.slabCount ? slab + SLAB_HDR + index * pool.elemSize : 0;
}

/** Start of the slab's extra bytes. */
export function poolExtra(pool: Pool, slab: u32): u32 {
  return slab + SLAB_HDR + pool.slabCount * pool.elemSize;
}

export function slabBytes(pool: Pool): u64 {
  return <u64>SLAB_HDR + <u64>pool.slabCount * (<u64>pool.elemSize + pool.extraSize);
}

function addSlab(pool: Pool, creating: bool): bool {
  const bytes = slabBytes(pool);
  const slab = creating ? allocGrow(bytes) : alloc(bytes);
  if (slab == 0) return false;
  if (!addRegion(slab, slab + <usize>bytes, pool.owner, creating)) {
    free(slab);
    return false;
  }
  // Whoever asks whether an element is live reads its header: it must say "no" before its first use.
  memory.fill(slab, 0, <usize>bytes);
  store<u32>(slab, pool.slabs);
  pool.slabs = <u32>slab;
  pool.slabTotal++;
  pool.fresh = pool.slabCount;
  usePromise(promiseOf(pool), bytes);
  return true;
}

// The allocator: two-level segregated fit (TLSF; Masmano et al., 2004) with boundary tags, O(1) per call.
//
// Memory comes from one of three sources, fixed when the kernel is made:
//   HEAP_GROW    the memory's own end: memory.grow; a host that grows in between is no problem (a new segment starts)
//   HEAP_ARENA   one range given by the host; never grows
//   HEAP_MALLOC  the host's malloc and free, one call a block
//
//   Block, 8-aligned                                  payload handed out: `ptr`
//   +-----------------+--------------------------+===================================+
//   | prev block (u32)| payload bytes | FREE bit | payload (free: next u32, prev u32)|
//   +-----------------+--------------------------+===================================+
//   ptr-8             ptr-4                      ptr
//
//   Segment: | next segment u32 | pad u32 | blocks ... | header of a used block of size 0 |
//
// Invariants (heap_check.ts): neighbours in memory are never both free; a block is on the free list of its size class
// exactly when its FREE bit is set; each segment ends in a used block of size 0; usedBytes is the sum of the used,
// freeBytes of the free.

import { lock, unlock } from "./lock";
import { memoryBytes } from "./bytes";
import { free as hostFree, malloc as hostMalloc } from "./env";

export const HEAP_GROW: u32 = 0;
export const HEAP_ARENA: u32 = 1;
export const HEAP_MALLOC: u32 = 2;

export const HDR: u32 = 8;
const FREE: u32 = 1;
/** Size classes: 16 per power of two, 8 bytes apart below 128. */
const SL_BITS: u32 = 4;
export const SL_COUNT: u32 = 1 << SL_BITS;
export const FL_COUNT: u32 = 26;
/** Where the tables of a Heap start. */
const TABLES_AT: u32 = 56;
/** No block ends beyond this, so that the highest addresses can stand for errors (map.ts isErr). */
const ADDRESS_MAX: u64 = 0xfffff000;
const GROW_MIN: u64 = 1 << 20;

@unmanaged
export class Heap {
  /** HEAP_GROW, HEAP_ARENA or HEAP_MALLOC. */
  source: u32;
  lockWord: u32;
  /** HEAP_GROW: the memory is never grown beyond this many bytes. */
  maxBytes: u64;
  /** End of the newest segment: growth that starts there extends it. */
  segmentEnd: u32;
  usedBytes: u32;
  usedBlocks: u32;
  /** HEAP_MALLOC: the newest block; each is linked to its neighbours so that heapFreeAll finds them. */
  mallocHead: u32;
  /** Bytes promised to maps that allocate while they run (reserve). */
  reservedBytes: u64;
  /** Debug builds: allocations left until one fails; -1 is never. */
  failAfter: i32;
  flBitmap: u32;
  /** The newest segment. */
  segments: u32;
  /** Sum of the free blocks. */
  freeBytes: u32;
  // Then FL_COUNT bitmaps of second-level lists and FL_COUNT * SL_COUNT list heads.
}

/** Bytes of a Heap with its tables. */
export const HEAP_SIZE: u32 = TABLES_AT + FL_COUNT * 4 + FL_COUNT * SL_COUNT * 4;
if (offsetof<Heap>("freeBytes") + 4 != TABLES_AT) ERROR("the tables of Heap start at TABLES_AT");

export function heapInit(heap: Heap, source: u32, maxBytes: u64): void {
  memory.fill(changetype<usize>(heap), 0, HEAP_SIZE);
  heap.source = source;
  heap.maxBytes = maxBytes;
  heap.failAfter = -1;
}

/**
 * Hands [base, limit) to the heap.
 * @returns false when the range is too small to hold a block
 */
export function heapAddSegment(heap: Heap, base: u32, limit: u32): bool {
  base = (base + 7) & ~7;
  limit &= ~7;
  if (limit < base || limit - base < 5 * HDR) return false;
  const end = limit - HDR;
  let block = base;
  // Right behind the last segment, the old end marker becomes the header of the new space.
  if (heap.segmentEnd != base || base == 0) {
    store<u32>(base, heap.segments);
    heap.segments = base;
    block = base + 2 * HDR;
    store<u32>(block - HDR, 0);
  }
  setBlock(block, end - block, false);
  endMark(end, block);
  heap.segmentEnd = limit;
  insertFree(heap, mergeFree(heap, block));
  return true;
}

/** Writes the used block of size 0 that ends a segment; `end` is the address of its header. */
function endMark(end: u32, previous: u32): void {
  store<u32>(end, previous);
  store<u32>(end + 4, 0);
}

/**
 * Allocates without growing the memory: what operations on maps use.
 * @param align power of two, 8 at least
 * @returns the address, or 0 when out of memory
 */
export function heapAlloc(heap: Heap, bytes: u64, align: u32): usize {
  if (bytes > 0xffff0000) return 0;
  if (!ASC_NO_ASSERT) {
    if (heap.failAfter == 0) return 0;
    if (heap.failAfter > 0) heap.failAfter--;
  }
  lock(changetype<usize>(heap) + offsetof<Heap>("lockWord"));
  const ptr =
    heap.source == HEAP_MALLOC
      ? mallocBlock(heap, <u32>bytes, align)
      : takeBlock(heap, <u32>bytes, align);
  unlock(changetype<usize>(heap) + offsetof<Heap>("lockWord"));
  return ptr;
}

/**
 * As heapAlloc, but grows the memory where it may. For creation only: views of the memory go stale. What was promised
 * (heapReserve) stays free where the memory can grow.
 */
export function heapAllocGrow(heap: Heap, bytes: u64, align: u32): usize {
  const ptr = heapAlloc(heap, bytes, align);
  if (heap.source != HEAP_GROW || bytes > 0xffff0000) return ptr;
  if (!ASC_NO_ASSERT && heap.failAfter == 0) return ptr;
  if (ptr != 0) {
    keepPromise(heap);
    return ptr;
  }
  return heapGrow(heap, bytes + align + 5 * HDR) ? heapAlloc(heap, bytes, align) : 0;
}

/** Grows the memory by what the promises lack; where not all of it can be had, by as much as half of what can be. */
function keepPromise(heap: Heap): void {
  if (heap.freeBytes >= heap.reservedBytes) return;
  let want = heap.reservedBytes - heap.freeBytes;
  while (!heapGrow(heap, want) && want >= 0x20000) want >>= 1;
}

export function heapFree(heap: Heap, ptr: usize): void {
  if (ptr == 0) return;
  lock(changetype<usize>(heap) + offsetof<Heap>("lockWord"));
  if (heap.source == HEAP_MALLOC) {
    freeMallocBlock(heap, <u32>ptr);
  } else {
    const block = <u32>ptr;
    assert((load<u32>(block - 4) & FREE) == 0);
    heap.usedBytes -= blockBytes(block);
    heap.usedBlocks--;
    insertFree(heap, mergeFree(heap, block));
  }
  unlock(changetype<usize>(heap) + offsetof<Heap>("lockWord"));
}

/**
 * Sees to it that `bytes` more than all earlier reservations could be allocated later without growth. Best effort:
 * a map that allocates while it runs answers -ENOMEM when the promise could not be kept.
 */
export function heapReserve(heap: Heap, bytes: u64): void {
  heap.reservedBytes += bytes;
  if (heap.source == HEAP_GROW) keepPromise(heap);
}

export function heapUnreserve(heap: Heap, bytes: u64): void {
  heap.reservedBytes -= bytes;
}

function heapGrow(heap: Heap, bytes: u64): bool {
  const size = memoryBytes();
  const room = heap.maxBytes > size ? heap.maxBytes - size : 0;
  // Grow by some reserve, so that many small maps are not many small growths.
  let want = max(bytes, min(GROW_MIN, room));
  if (want > room) return false;
  want = (want + 0xffff) & ~0xffff;
  if (want > room) want = (bytes + 0xffff) & ~0xffff;
  if (want > room || size + want > 0x100000000) return false;
  const old = memory.grow(<i32>(want >> 16));
  if (old < 0) return false;
  const base = (<u64>(<u32>old)) << 16;
  lock(changetype<usize>(heap) + offsetof<Heap>("lockWord"));
  const ok = heapAddSegment(heap, <u32>base, <u32>min(base + want, ADDRESS_MAX));
  unlock(changetype<usize>(heap) + offsetof<Heap>("lockWord"));
  return ok;
}

// ---- blocks -------------------------------------------------------------------------------------------------------

export function blockBytes(block: u32): u32 {
  return load<u32>(block - 4) & ~7;
}

export function isFree(block: u32): bool {
  return (load<u32>(block - 4) & FREE) != 0;
}

export function nextBlock(block: u32): u32 {
  return block + blockBytes(block) + HDR;
}

/** Writes the size of a block and the back link of the one behind it. */
function setBlock(block: u32, bytes: u32, free: bool): void {
  store<u32>(block - 4, bytes | (free ? FREE : 0));
}

function linkNext(block: u32): void {
  store<u32>(nextBlock(block) - HDR, block);
}

function takeBlock(heap: Heap, bytes: u32, align: u32): usize {
  bytes = bytes < 8 ? 8 : (bytes + 7) & ~7;
  const want = align > 8 ? bytes + align + 2 * HDR : bytes;
  if (want < bytes) return 0;
  let block = findFree(heap, want);
  if (block == 0) return 0;
  removeFree(heap, block);
  if (align > 8) block = alignBlock(heap, block, align);
  splitTail(heap, block, bytes);
  setBlock(block, blockBytes(block), false);
  heap.usedBytes += blockBytes(block);
  heap.usedBlocks++;
  return block;
}

/** Cuts the front off a block (not on a free list) so that its payload is aligned; the front becomes a free block. */
function alignBlock(heap: Heap, block: u32, align: u32): u32 {
  let aligned = (block + align - 1) & ~(align - 1);
  if (aligned == block) return block;
  if (aligned - block < 2 * HDR) aligned += align;
  const end = block + blockBytes(block);
  setBlock(aligned, end - aligned, false);
  store<u32>(aligned - HDR, block);
  linkNext(aligned);
  setBlock(block, aligned - HDR - block, false);
  insertFree(heap, block);
  return aligned;
}

/** Gives back what a block (not on a free list) has beyond `bytes`. */
function splitTail(heap: Heap, block: u32, bytes: u32): void {
  const rest = blockBytes(block) - bytes;
  if (rest < 2 * HDR) return;
  setBlock(block, bytes, false);
  const tail = nextBlock(block);
  store<u32>(tail - HDR, block);
  setBlock(tail, rest - HDR, false);
  linkNext(tail);
  insertFree(heap, mergeFree(heap, tail));
}

/** Joins a block (not on a free list) with its free neighbours; @returns the joined block. */
function mergeFree(heap: Heap, block: u32): u32 {
  const next = nextBlock(block);
  if (isFree(next)) {
    removeFree(heap, next);
    setBlock(block, blockBytes(block) + HDR + blockBytes(next), false);
  }
  const prev = load<u32>(block - HDR);
  if (prev != 0 && isFree(prev)) {
    removeFree(heap, prev);
    setBlock(prev, blockBytes(prev) + HDR + blockBytes(block), false);
    block = prev;
  }
  linkNext(block);
  return block;
}

// ---- free lists ---------------------------------------------------------------------------------------------------

/** Class of a size: first level * SL_COUNT + second level. */
export function classOf(bytes: u32): u32 {
  if (bytes < 1 << (SL_BITS + 3)) return bytes >> 3;
  const fl = 31 - clz(bytes);
  const sl = (bytes >> (fl - SL_BITS)) ^ SL_COUNT;
  return (fl - (SL_BITS + 2)) * SL_COUNT + sl;
}

function slBitmapPtr(heap: Heap, fl: u32): usize {
  return changetype<usize>(heap) + TABLES_AT + fl * 4;
}

export function headPtr(heap: Heap, index: u32): usize {
  return changetype<usize>(heap) + TABLES_AT + FL_COUNT * 4 + index * 4;
}

/** A free block of at least `bytes`, still on its list; 0 when there is none. */
function findFree(heap: Heap, bytes: u32): u32 {
  // Any block of the class above fits without looking; round up to its start.
  let search = bytes;
  if (bytes >= 1 << (SL_BITS + 3)) search += (1 << (31 - clz(bytes) - SL_BITS)) - 1;
  if (search < bytes) return 0;
  const index = classOf(search);
  let fl = index / SL_COUNT;
  if (fl >= FL_COUNT) return 0;
  let sls = load<u32>(slBitmapPtr(heap, fl)) & (~0 << (index % SL_COUNT));
  if (sls == 0) {
    const fls = fl + 1 < 32 ? heap.flBitmap & (~0 << (fl + 1)) : 0;
    if (fls == 0) return firstFit(heap, bytes);
    fl = ctz(fls);
    sls = load<u32>(slBitmapPtr(heap, fl));
  }
  return load<u32>(headPtr(heap, fl * SL_COUNT + ctz(sls)));
}

/** The list of the size's own class may hold a block that fits: walk it before giving up. */
function firstFit(heap: Heap, bytes: u32): u32 {
  let block = load<u32>(headPtr(heap, classOf(bytes)));
  while (block != 0 && blockBytes(block) < bytes) block = load<u32>(block);
  return block;
}

function insertFree(heap: Heap, block: u32): void {
  const bytes = blockBytes(block);
  const index = classOf(bytes);
  const fl = index / SL_COUNT;
  const head = headPtr(heap, index);
  const first = load<u32>(head);
  heap.freeBytes += bytes;
  setBlock(block, bytes, true);
  store<u32>(block, first);
  store<u32>(block + 4, 0);
  if (first != 0) store<u32>(first + 4, block);
  store<u32>(head, block);
  heap.flBitmap |= 1 << fl;
  store<u32>(slBitmapPtr(heap, fl), load<u32>(slBitmapPtr(heap, fl)) | (1 << (index % SL_COUNT)));
}

function removeFree(heap: Heap, block: u32): void {
  heap.freeBytes -= blockBytes(block);
  const index = classOf(blockBytes(block));
  const fl = index / SL_COUNT;
  const next = load<u32>(block);
  const prev = load<u32>(block + 4);
  if (next != 0) store<u32>(next + 4, prev);
  if (prev != 0) {
    store<u32>(prev, next);
  } else {
    store<u32>(headPtr(heap, index), next);
    if (next == 0) {
      const sls = load<u32>(slBitmapPtr(heap, fl)) & ~(1 << (index % SL_COUNT));
      store<u32>(slBitmapPtr(heap, fl), sls);
      if (sls == 0) heap.flBitmap &= ~(1 << fl);
    }
  }
  setBlock(block, blockBytes(block), false);
}

// ---- the host's malloc --------------------------------------------------------------------------------------------

/** In front of the payload: next and previous block, the host's pointer, the payload's size. */
const MALLOC_HDR: u32 = 16;

function mallocBlock(heap: Heap, bytes: u32, align: u32): usize {
  const whole = <u64>bytes + align + MALLOC_HDR;
  if (whole > 0xffff0000) return 0;
  const raw = hostMalloc(<u32>whole);
  if (raw == 0) return 0;
  if (!isHostBlock(raw, whole)) {
    hostFree(raw);
    return 0;
  }
  const ptr = (raw + MALLOC_HDR + align - 1) & ~(align - 1);
  store<u32>(ptr - 16, heap.mallocHead);
  store<u32>(ptr - 12, 0);
  store<u32>(ptr - 8, raw);
  store<u32>(ptr - 4, bytes);
  if (heap.mallocHead != 0) store<u32>(heap.mallocHead - 12, ptr);
  heap.mallocHead = ptr;
  heap.usedBytes += bytes;
  heap.usedBlocks++;
  return ptr;
}

function freeMallocBlock(heap: Heap, ptr: u32): void {
  const next = load<u32>(ptr - 16);
  const prev = load<u32>(ptr - 12);
  if (next != 0) store<u32>(next - 12, prev);
  if (prev != 0) store<u32>(prev - 16, next);
  else heap.mallocHead = next;
  heap.usedBytes -= load<u32>(ptr - 4);
  heap.usedBlocks--;
  hostFree(load<u32>(ptr - 8));
}

/** Gives every block back to the host (HEAP_MALLOC; the other sources have nobody to give it to). */
export function heapFreeAll(heap: Heap): void {
  while (heap.mallocHead != 0) freeMallocBlock(heap, heap.mallocHead);
}

/** The host's word is not trusted beyond the memory's end. */
function isHostBlock(raw: u32, bytes: u64): bool {
  return <u64>raw + bytes <= min(memoryBytes(), ADDRESS_MAX);
}

const ROOT_ALIGN: u32 = 64;

/** A block from the host's allocator itself, for what holds the Heap; 0 when there is none. The host's pointer is in front. */
export function hostAlloc(bytes: u32): u32 {
  const whole = bytes + ROOT_ALIGN + 4;
  const raw = hostMalloc(whole);
  if (raw == 0) return 0;
  if (!isHostBlock(raw, whole)) {
    hostFree(raw);
    return 0;
  }
  const ptr = (raw + 4 + ROOT_ALIGN - 1) & ~(ROOT_ALIGN - 1);
  store<u32>(ptr - 4, raw);
  return ptr;
}

export function hostRelease(ptr: u32): void {
  hostFree(load<u32>(ptr - 4));
}

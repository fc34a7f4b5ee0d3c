// The allocator: two-level segregated fit (TLSF; Masmano et al., 2004) with boundary tags, O(1) per call.
//
// Memory comes from one of three sources, fixed when the kernel is made:
//   HEAP_GROW    the memory's own end: memory.grow; a host that grows in between is no problem (a new segment starts)
//   HEAP_ARENA   one range given by the host; never grows
//   HEAP_MALLOC  the host's malloc and free, one call a block
//
// Differs: addresses have 32 bits, so that whatever needs more than 4 GiB is -ENOMEM.
//
//   Block, 8-aligned                                  payload handed out: `ptr`
//   +-----------------+--------------------------+===================================+
//   | prev block (u32)| payload bytes | FREE bit | payload (free: an hlist node)     |
//   +-----------------+--------------------------+===================================+
//   ptr-8             ptr-4                      ptr
//
//   Segment: | next segment u32 | pad u32 | blocks ... | header of a used block of size 0 |
//
// Invariants (heap_check.ts): neighbours in memory are never both free; a block is on the free list of its size class
// exactly when its FREE bit is set; each segment ends in a used block of size 0; usedBytes is the sum of the used,
// freeBytes of the free.

import { hlistAddHead, hlistDel } from "./hlist";
import { SHARED, lock, unlock } from "./lock";
import { memoryBytes, round8 } from "./bytes";
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
const TABLES_AT: u32 = 48;
/** No block ends beyond this, so that the highest addresses can stand for errors (map.ts isErr). */
const ADDRESS_MAX: u64 = 0xfffff000;
/** No larger block is handed out: rounded up to its size class, the next power of two must be a u32. */
const BYTES_MAX: u64 = 0xf7ff0000;
/** Pages. */
const GROW_MIN: u32 = 16;

@unmanaged
export class Heap {
  /** HEAP_GROW, HEAP_ARENA or HEAP_MALLOC. */
  source: u32;
  lockWord: u32;
  /** HEAP_GROW: the memory is never grown beyond this many pages. */
  maxPages: u32;
  /** End of the newest segment: growth that starts there extends it. */
  segmentEnd: u32;
  usedBytes: u32;
  /** HEAP_MALLOC: all blocks (MallocHdr), newest first, so that heapFreeAll finds them. */
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

function lockOf(heap: Heap): usize {
  return changetype<usize>(heap) + offsetof<Heap>("lockWord");
}

/** Of zeroed memory. */
export function heapInit(heap: Heap, source: u32, maxBytes: u64): void {
  heap.source = source;
  heap.maxPages = <u32>(maxBytes >> 16);
  heap.failAfter = -1;
}

/**
 * Hands [base, limit) to the heap.
 * @returns false when the range is too small to hold a block
 */
export function heapAddSegment(heap: Heap, base: u32, limit: u32): bool {
  base = (base + 7) & ~7;
  limit &= ~7;
  if (<u64>base + 5 * HDR > limit) return false;
  let block = base;
  // Right behind the last segment, the old end marker becomes the header of the new space.
  if (heap.segmentEnd != base) {
    store<u32>(base, heap.segments);
    heap.segments = base;
    block = base + 2 * HDR;
    store<u32>(block - HDR, 0);
  }
  setBlock(block, limit - HDR - block);
  setBlock(limit, 0);
  heap.segmentEnd = limit;
  giveBlock(heap, block);
  return true;
}

/**
 * Allocates without growing the memory: what operations on maps use.
 * @param align power of two, 8 to a page of the kernel's
 * @returns the address, or 0 when out of memory
 */
export function heapAlloc(heap: Heap, bytes: u64, align: u32): usize {
  return allocBlock(heap, bytes, align, false);
}

function allocBlock(heap: Heap, bytes: u64, align: u32, mayGrow: bool): usize {
  if (bytes > BYTES_MAX) return 0;
  if (!ASC_NO_ASSERT) {
    if (heap.failAfter == 0) return 0;
    if (heap.failAfter > 0) heap.failAfter--;
  }
  lock(lockOf(heap));
  const size = max(round8(<u32>bytes), 8);
  let block =
    heap.source == HEAP_MALLOC ? mallocBlock(heap, size, align) : takeBlock(heap, size, align);
  if (block == 0 && mayGrow && grow(heap, bytes + align + 5 * HDR))
    block = takeBlock(heap, size, align);
  if (block != 0) {
    heap.usedBytes += blockBytes(block);
    if (mayGrow) keepPromise(heap);
  }
  unlock(lockOf(heap));
  return block;
}

/**
 * As heapAlloc, but grows the memory where it may. For creation only: views of the memory go stale. What was promised
 * (heapReserve) stays free where the memory can grow.
 */
export function heapAllocGrow(heap: Heap, bytes: u64, align: u32): usize {
  return allocBlock(heap, bytes, align, heap.source == HEAP_GROW);
}

/**
 * Grows the memory by what is missing to keep all promises; where that is too much, by a half, a quarter, ... of it. The
 * lock is held.
 */
function keepPromise(heap: Heap): void {
  // Read once: other threads change it.
  const reserved = heap.reservedBytes;
  if (heap.freeBytes >= reserved) return;
  let want = reserved - heap.freeBytes;
  while (!grow(heap, want) && want >= 0x20000) want >>= 1;
}

export function heapFree(heap: Heap, ptr: usize): void {
  if (ptr == 0) return;
  const block = <u32>ptr;
  lock(lockOf(heap));
  assert(!isFree(block));
  heap.usedBytes -= blockBytes(block);
  if (heap.source == HEAP_MALLOC) freeMallocBlock(block - offsetof<MallocHdr>());
  else giveBlock(heap, block);
  unlock(lockOf(heap));
}

/**
 * Sees to it that `bytes` more than all earlier reservations could be allocated later without growth. Best effort:
 * a map that allocates while it runs answers -ENOMEM when the promise could not be kept.
 */
export function heapReserve(heap: Heap, bytes: u64): void {
  changeReserved(heap, bytes);
  if (heap.source != HEAP_GROW) return;
  lock(lockOf(heap));
  keepPromise(heap);
  unlock(lockOf(heap));
}

export function heapUnreserve(heap: Heap, bytes: u64): void {
  changeReserved(heap, -bytes);
}

function changeReserved(heap: Heap, change: u64): void {
  if (SHARED) atomic.add<u64>(changetype<usize>(heap) + offsetof<Heap>("reservedBytes"), change);
  else heap.reservedBytes += change;
}

/** Grows the memory by so many bytes at least. The lock is held: no other thread takes the room that was seen, or what was made of it. */
function grow(heap: Heap, bytes: u64): bool {
  const size: u32 = memory.size();
  const room = max(heap.maxPages, size) - size;
  const want = (bytes + 0xffff) >> 16;
  if (want > room) return false;
  // Grow by some reserve, so that many small maps are not many small growths.
  const pages = max(<u32>want, min(GROW_MIN, room));
  const old = memory.grow(pages);
  if (old < 0) return false;
  const limit = (<u64>(<u32>old + pages)) << 16;
  return heapAddSegment(heap, (<u32>old) << 16, <u32>min(limit, ADDRESS_MAX));
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

/** Writes the size of a used block. */
function setBlock(block: u32, bytes: u32): void {
  store<u32>(block - 4, bytes);
}

/** Writes the back link of the block behind. */
function linkNext(block: u32): void {
  store<u32>(nextBlock(block) - HDR, block);
}

function takeBlock(heap: Heap, bytes: u32, align: u32): u32 {
  let block = findFree(heap, align > 8 ? bytes + align + 2 * HDR : bytes);
  if (block == 0) return 0;
  removeFree(heap, block);
  block = alignBlock(heap, block, align);
  splitTail(heap, block, bytes);
  return block;
}

/** Cuts the front off a block (not on a free list) so that its payload is aligned; the front becomes a free block. */
function alignBlock(heap: Heap, block: u32, align: u32): u32 {
  let aligned = (block + align - 1) & ~(align - 1);
  if (aligned == block) return block;
  if (aligned - block < 2 * HDR) aligned += align;
  setBlock(aligned, nextBlock(block) - HDR - aligned);
  linkNext(aligned);
  setBlock(block, aligned - HDR - block);
  giveBlock(heap, block);
  return aligned;
}

/** Gives back what a block (not on a free list) has beyond `bytes`. */
function splitTail(heap: Heap, block: u32, bytes: u32): void {
  const rest = blockBytes(block) - bytes;
  if (rest < 2 * HDR) return;
  setBlock(block, bytes);
  linkNext(block);
  const tail = nextBlock(block);
  setBlock(tail, rest - HDR);
  giveBlock(heap, tail);
}

/** Puts a block on its free list, joined with its free neighbours. */
function giveBlock(heap: Heap, block: u32): void {
  const next = nextBlock(block);
  if (isFree(next)) {
    removeFree(heap, next);
    setBlock(block, nextBlock(next) - HDR - block);
  }
  const prev = load<u32>(block - HDR);
  if (prev != 0 && isFree(prev)) {
    removeFree(heap, prev);
    setBlock(prev, nextBlock(block) - HDR - prev);
    block = prev;
  }
  linkNext(block);
  insertFree(heap, block);
}

// ---- free lists ---------------------------------------------------------------------------------------------------

/** Class of a size: first level * SL_COUNT + second level. */
export function classOf(bytes: u32): u32 {
  if (bytes < 1 << (SL_BITS + 3)) return bytes >> 3;
  const fl = 31 - clz(bytes);
  return (fl - (SL_BITS + 3)) * SL_COUNT + (bytes >> (fl - SL_BITS));
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
  const index = classOf(search);
  let fl = index / SL_COUNT;
  let sls = load<u32>(slBitmapPtr(heap, fl)) & (~0 << (index % SL_COUNT));
  if (sls == 0) {
    const fls = heap.flBitmap & (~0 << (fl + 1));
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
  const sls = slBitmapPtr(heap, fl);
  heap.freeBytes += bytes;
  setBlock(block, bytes | FREE);
  hlistAddHead(headPtr(heap, index), block);
  heap.flBitmap |= 1 << fl;
  store<u32>(sls, load<u32>(sls) | (1 << (index % SL_COUNT)));
}

function removeFree(heap: Heap, block: u32): void {
  const bytes = blockBytes(block);
  const index = classOf(bytes);
  heap.freeBytes -= bytes;
  setBlock(block, bytes);
  hlistDel(block);
  if (load<u32>(headPtr(heap, index)) != 0) return;
  const fl = index / SL_COUNT;
  const left = load<u32>(slBitmapPtr(heap, fl)) & ~(1 << (index % SL_COUNT));
  store<u32>(slBitmapPtr(heap, fl), left);
  if (left == 0) heap.flBitmap &= ~(1 << fl);
}

// ---- the host's malloc --------------------------------------------------------------------------------------------

/** In front of the payload. */
@unmanaged
export class MallocHdr {
  /** Neighbours in Heap.mallocHead (hlist). */
  next: u32;
  pprev: u32;
  /** The host's pointer. */
  raw: u32;
  /** Of the payload: where blockBytes reads them. */
  bytes: u32;
}

function mallocBlock(heap: Heap, bytes: u32, align: u32): u32 {
  const ptr = hostAlloc(bytes, align);
  if (ptr == 0) return 0;
  setBlock(ptr, bytes);
  hlistAddHead(changetype<usize>(heap) + offsetof<Heap>("mallocHead"), ptr - offsetof<MallocHdr>());
  return ptr;
}

function freeMallocBlock(hdr: u32): void {
  hlistDel(hdr);
  hostFree(changetype<MallocHdr>(hdr).raw);
}

/** Gives every block back to the host (HEAP_MALLOC; the other sources have nobody to give it to). */
export function heapFreeAll(heap: Heap): void {
  while (heap.mallocHead != 0) freeMallocBlock(heap.mallocHead);
}

/** A block from the host, with a MallocHdr in front that remembers the host's pointer; 0: no room. Also for the root. */
export function hostAlloc(bytes: u32, align: u32): u32 {
  const whole = bytes + align + <u32>offsetof<MallocHdr>();
  const raw = hostMalloc(whole);
  if (raw == 0) return 0;
  // The host's word is not trusted beyond the memory's end.
  if (<u64>raw + whole > min(memoryBytes(), ADDRESS_MAX)) {
    hostFree(raw);
    return 0;
  }
  const ptr = (raw + <u32>offsetof<MallocHdr>() + align - 1) & ~(align - 1);
  changetype<MallocHdr>(ptr - offsetof<MallocHdr>()).raw = raw;
  return ptr;
}

/** Gives back what hostAlloc has handed out. */
export function hostRelease(ptr: u32): void {
  hostFree(changetype<MallocHdr>(ptr - offsetof<MallocHdr>()).raw);
}

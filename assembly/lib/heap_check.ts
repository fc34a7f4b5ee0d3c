// Walks the allocator's segments and free lists: the invariants in the head of heap.ts. Debug build only.

import {
  FL_COUNT,
  HDR,
  HEAP_MALLOC,
  Heap,
  MallocHdr,
  SL_COUNT,
  blockBytes,
  classOf,
  headPtr,
  isFree,
  nextBlock,
} from "./heap";
import { memoryBytes } from "./bytes";

/** What a walk of the segments adds up to. */
@unmanaged
class Sums {
  usedBytes: u32;
  freeBlocks: u32;
  freeBytes: u32;
}

/**
 * @param sums address of the 12 bytes of a Sums to count in
 * @returns 0, or the number of the first invariant that does not hold (the numbers below)
 */
export function heapCheck(heap: Heap, sums: usize): i32 {
  memory.fill(sums, 0, offsetof<Sums>());
  const counted = changetype<Sums>(sums);
  const ret =
    heap.source == HEAP_MALLOC ? checkMalloc(heap, counted) : checkSegments(heap, counted);
  if (ret != 0) return ret;
  if (counted.usedBytes != heap.usedBytes) return 1;
  if (counted.freeBytes != heap.freeBytes) return 3;
  return heap.source == HEAP_MALLOC ? 0 : checkFreeLists(heap, counted.freeBlocks);
}

function checkSegments(heap: Heap, sums: Sums): i32 {
  let segment = heap.segments;
  while (segment != 0) {
    let previous: u32 = 0;
    let block = segment + 2 * HDR;
    // The end is the used block of size 0.
    while (blockBytes(block) != 0) {
      if (load<u32>(block - HDR) != previous) return 10;
      if (<u64>nextBlock(block) > memoryBytes()) return 11;
      if (isFree(block)) {
        if (previous != 0 && isFree(previous)) return 12;
        if (!isListed(heap, block)) return 13;
        sums.freeBlocks++;
        sums.freeBytes += blockBytes(block);
      } else {
        sums.usedBytes += blockBytes(block);
      }
      previous = block;
      block = nextBlock(block);
    }
    if (isFree(block) || load<u32>(block - HDR) != previous) return 14;
    segment = load<u32>(segment);
  }
  return 0;
}

function isListed(heap: Heap, block: u32): bool {
  let at = load<u32>(headPtr(heap, classOf(blockBytes(block))));
  while (at != 0 && at != block) at = load<u32>(at);
  return at == block;
}

function checkFreeLists(heap: Heap, freeBlocks: u32): i32 {
  let listed: u32 = 0;
  for (let index: u32 = 0; index < FL_COUNT * SL_COUNT; index++) {
    let pprev = headPtr(heap, index);
    let block = load<u32>(pprev);
    while (block != 0) {
      if (!isFree(block) || classOf(blockBytes(block)) != index) return 20;
      if (load<u32>(block + 4) != pprev) return 21;
      listed++;
      pprev = block;
      block = load<u32>(block);
    }
  }
  return listed == freeBlocks ? 0 : 22;
}

/** Blocks of the host's allocator are linked to each other. */
function checkMalloc(heap: Heap, sums: Sums): i32 {
  let pprev = changetype<usize>(heap) + offsetof<Heap>("mallocHead");
  let at = heap.mallocHead;
  while (at != 0) {
    const hdr = changetype<MallocHdr>(at);
    if (hdr.pprev != pprev) return 30;
    sums.usedBytes += hdr.bytes;
    pprev = at;
    at = hdr.next;
  }
  return 0;
}

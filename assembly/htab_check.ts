// Walks a hash map: every invariant that htab_table.ts and hashtab.ts name. Debug build only.

import { BpfHtab } from "./hashtab";
import {
  ELEM_LIVE,
  ELSEWHERE,
  SEPARATE_SLOTS,
  bucketOf,
  chunkAt,
  elemAt,
  findKey,
  firstFrom,
  hashAt,
  hashOfKey,
  homeIndex,
  isUsed,
  keyAt,
  nextAfter,
  nextInBucket,
  positionOfValue,
  overflowOf,
  valueAt,
} from "./htab_table";
import { STICKY, tagOf } from "./htab_chunk";
import { inlineForgot, inlineWentOn } from "./htab_inline";
import { lruCheck } from "./bpf_lru_list";
import { allocGrow, free } from "./kernel";
import { Pool } from "./lib/pool";

/** @returns 0, or the number of the first invariant that does not hold; -1: no memory to check with */
export function htabCheck(h: BpfHtab): i32 {
  const bytes = h.nChunks * 4;
  const passed = allocGrow(bytes);
  if (passed == 0) return -1;
  memory.fill(passed, 0, bytes);
  let ret = checkSlots(h, passed);
  if (ret == 0) ret = checkOverflow(h, passed);
  free(passed);
  if (ret == 0) ret = h.zeroSeed ? checkOrder(h) : checkBuckets(h);
  if (ret == 0 && !h.isInline && !h.isLru) ret = checkFreeElems(h);
  return ret == 0 && h.isLru ? lruCheck(h) : ret;
}

/** @param passed u32 per chunk: counts the elems that went on from it */
function checkSlots(h: BpfHtab, passed: usize): i32 {
  let count: u32 = 0;
  const slots = h.isInline ? h.slotCount : SEPARATE_SLOTS;
  for (let index: u32 = 0; index < h.nChunks; index++) {
    const chunk = chunkAt(h, index);
    for (let slot: u32 = 0; slot < slots; slot++) {
      if (!isUsed(h, chunk | slot)) {
        // What stands in an empty slot of an inline table must not be found.
        if (h.isInline && homeIndex(h, hashAt(h, chunk | slot)) == index) return 9;
        continue;
      }
      count++;
      const ret = checkElem(h, chunk | slot);
      if (ret != 0) return ret;
      const hash = hashAt(h, chunk | slot);
      let from = homeIndex(h, hash);
      while (from != index) {
        if (h.isInline && !inlineWentOn(h, chunkAt(h, from), hash)) return 11;
        store<u32>(passed + from * 4, load<u32>(passed + from * 4) + 1);
        from = from + 1 == h.nChunks ? 0 : from + 1;
      }
    }
  }
  if (count != h.count) return 1;
  return count <= h.maxEntries ? 0 : 2;
}

/** Number of elements that are not in their home chunk: what a bad hash or a bad order of keys shows in. */
export function displacedElems(h: BpfHtab): u32 {
  let displaced: u32 = 0;
  const slots = h.isInline ? h.slotCount : SEPARATE_SLOTS;
  for (let index: u32 = 0; index < h.nChunks; index++) {
    for (let slot: u32 = 0; slot < slots; slot++) {
      const pos = chunkAt(h, index) | slot;
      if (isUsed(h, pos) && homeIndex(h, hashAt(h, pos)) != index) displaced++;
    }
  }
  return displaced;
}

function checkElem(h: BpfHtab, pos: u32): i32 {
  const hash = hashAt(h, pos);
  if (!h.isInline && load<u8>((pos & ~15) + (pos & 15)) != tagOf(hash, h.nChunks)) return 3;
  if (findKey(h, keyAt(h, pos)) != valueAt(h, pos)) return 4;
  if (positionOfValue(h, valueAt(h, pos)) != pos) return 4;
  if (h.isInline) return 0;
  if (hash != hashOfKey(h, keyAt(h, pos))) return 5;
  const elem = elemAt(pos);
  const isHome = (pos & ~15) == chunkAt(h, homeIndex(h, hash));
  if (load<u8>(elem, ELEM_LIVE) != (isHome ? (pos & 15) + 1 : ELSEWHERE)) return 6;
  if (!h.isPrealloc) return 0;
  const index = (elem - h.elems) / h.elemSize;
  if (elem < h.elems || index >= h.maxEntries || elem != h.elems + index * h.elemSize) return 7;
  return h.isPercpu && load<u32>(valueAt(h, pos)) != h.slots + index * h.slotSize ? 8 : 0;
}

function checkOverflow(h: BpfHtab, passed: usize): i32 {
  for (let index: u32 = 0; index < h.nChunks; index++) {
    const chunk = chunkAt(h, index);
    const overflow = overflowOf(h, chunk);
    if (h.isInline && inlineForgot(h, chunk)) return 12;
    if (overflow != STICKY && overflow != load<u32>(passed + index * 4)) return 10;
  }
  return 0;
}

/** The walk in iteration order meets every element once, bucket after bucket. */
function checkOrder(h: BpfHtab): i32 {
  let count: u32 = 0;
  let bucket: u32 = 0;
  let pos = firstFrom(h, 0);
  while (pos != 0) {
    const at = bucketOf(h, hashAt(h, pos));
    if (at < bucket) return 20;
    bucket = at;
    if (++count > h.count) return 21;
    pos = nextAfter(h, pos);
  }
  return count == h.count ? 0 : 22;
}

/** As a batch walks: bucket after bucket, every element once. */
function checkBuckets(h: BpfHtab): i32 {
  let count: u32 = 0;
  let first = firstFrom(h, 0);
  while (first != 0) {
    const bucket = bucketOf(h, hashAt(h, first));
    for (let pos = first; pos != 0; pos = nextInBucket(h, pos)) {
      if (bucketOf(h, hashAt(h, pos)) != bucket) return 20;
      if (++count > h.count) return 21;
    }
    first = bucket == h.bucketMask ? 0 : firstFrom(h, bucket + 1);
  }
  return count == h.count ? 0 : 22;
}

/** Every element is live, on the free list, or was never used. */
function checkFreeElems(h: BpfHtab): i32 {
  const pool = changetype<Pool>(h.pool);
  let left = h.isPrealloc ? h.maxEntries - h.fresh : 0;
  let elem = h.isPrealloc ? h.freeList : pool.freeList;
  if (!h.isPrealloc) {
    for (let slab = pool.slabs; slab != 0; slab = load<u32>(slab)) left += pool.slabCount;
    left -= pool.fresh;
  }
  if (left < h.count) return 30;
  left -= h.count;
  while (elem != 0 && left != 0) {
    if (load<u8>(elem, ELEM_LIVE) != 0) return 31;
    elem = load<u32>(elem);
    left--;
  }
  return elem == 0 && left == 0 ? 0 : 32;
}

// The physical table of the hash maps: chunks of slots, open addressing, sized once at creation, nothing ever moves.
//
// Small elements of plain maps live in the table itself (htab_inline.ts); all others are a u32 away from their chunk:
//
//   chunk, 64 bytes, 12 slots   0           12         14      16
//                               | tag * 12  | overflow | clock | address of elem, u32 * 12 |
//
//   elem                        0      4       6      7     8 (LRU types: 20)   valueOff
//                               | hash | stamp | live | ref | key               | value, or u32 address of CPU 0's slot |
//     live: 0 when the elem is in no slot, slot + 1 in its home chunk, ELSEWHERE in another one
//     with LRU links            8: next u32, 12: prev u32, 16: cpu u16, 18: list u8 (bpf_lru_list.ts)
//
// tag = the 8 low hash bits but never 0, which is an empty slot. overflow counts the elems that wanted this chunk and went
// on to a later one (65535 sticks): a search ends at a chunk without overflow.
//
// The kernel's order, for iteration and batch cursors: bucket = jhash & (nBuckets - 1), within a bucket the newest first.
// Our hashes carry the bucket in their top bits (jhash is rotated accordingly), the tag in the low ones. The home chunk
// is a monotone function of the bucket, so walking the homes in order and sorting each home's few elems
// by (bucket, newest first) gives it exactly. "Newest" is the stamp, drawn from the home's clock; when a clock runs out,
// the stamps of its home are renumbered.
//
// A position names a slot: chunk address | slot (chunks are 16-aligned).

import { ABSENT, ASK } from "../ts/abi";
import { BpfHtab, markUsed } from "./hashtab";
import { Chunks, NO_CANDIDATE, addOverflow, tagOf } from "./htab_chunk";
import {
  inlineFind,
  inlineHash,
  inlineKeyAt,
  inlineOverflow,
  inlinePosition,
  inlineUsed,
} from "./htab_inline";
import { SCRATCH_KEY, scratchPtr } from "./kernel";
import { hash16, hash8, hashBytes, upper4 } from "./lib/hash";
import { jhash } from "./lib/jhash";
import { copyBytes, equalBytes } from "./lib/bytes";

export const SEPARATE_SLOTS: u32 = 12;
const CHUNK_HDR: u32 = 16;
const OVERFLOW_AT: u32 = 12;
const CLOCK_AT: u32 = 14;
const ALL_SLOTS: u32 = 0xfff;

const ELEM_STAMP: u32 = 4;
export const ELEM_LIVE: u32 = 6;
export const ELEM_REF: u32 = 7;
export const ELSEWHERE: u32 = 255;

// ---- keys in registers ----------------------------------------------------------------------------------------------
// A key travels as (a, b): keys of 4 and 8 bytes in a, of 16 bytes in a and b, all others by address in a.

function inRegisters(h: BpfHtab): bool {
  return h.keySize == 4 || h.keySize == 8 || h.keySize == 16;
}

/** The first part of a key in memory. */
export function keyLow(h: BpfHtab, key: usize): u64 {
  if (h.keySize == 4) return load<u32>(key);
  return inRegisters(h) ? load<u64>(key) : key;
}

/** The second part. */
export function keyHigh(h: BpfHtab, key: usize): u64 {
  return h.keySize == 16 ? load<u64>(key, 8) : 0;
}

export function hashKey(h: BpfHtab, a: u64, b: u64): u32 {
  if (h.isInline) return inlineHash(h, a, b);
  // The kernel's bucket, the low bits, goes to the top.
  if (h.zeroSeed) return rotr<u32>(jhashKey(h, a, b), h.bucketShift);
  switch (h.keySize) {
    case 4:
      return upper4(<u32>a, <u32>h.seed);
    case 8:
      return hash8(a, h.seed);
    case 16:
      return hash16(a, b, h.seed);
    default:
      return hashBytes(<usize>a, h.keySize, h.seed);
  }
}

/** jhash wants every key in memory. */
function jhashKey(h: BpfHtab, a: u64, b: u64): u32 {
  let key = <usize>a;
  if (inRegisters(h)) {
    key = scratchPtr() + SCRATCH_KEY;
    store<u64>(key, a);
    store<u64>(key, b, 8);
  }
  return jhash(key, h.keySize, 0);
}

function keyEquals(h: BpfHtab, at: usize, a: u64, b: u64): bool {
  switch (h.keySize) {
    case 4:
      return load<u32>(at) == <u32>a;
    case 8:
      return load<u64>(at) == a;
    case 16:
      return load<u64>(at) == a && load<u64>(at, 8) == b;
    default:
      return equalBytes(at, <usize>a, h.keySize);
  }
}

function storeKey(h: BpfHtab, at: usize, a: u64, b: u64): void {
  switch (h.keySize) {
    case 4:
      store<u32>(at, <u32>a);
      break;
    case 8:
      store<u64>(at, a);
      break;
    case 16:
      store<u64>(at, a);
      store<u64>(at, b, 8);
      break;
    default:
      copyBytes(at, <usize>a, h.keySize);
  }
}

// ---- positions ------------------------------------------------------------------------------------------------------

/** Index of the home chunk: the bucket, scaled to the number of chunks. */
export function homeIndex(h: BpfHtab, hash: u32): u32 {
  return Chunks.index(hash & h.hashMask, h.nChunks);
}

/** The kernel's bucket of a hash. */
export function bucketOf(h: BpfHtab, hash: u32): u32 {
  // In two steps, since with one bucket the shift is by 32.
  return (hash >> 1) >> (31 - h.bucketShift);
}

/** The smallest hash of a bucket. */
function hashOfBucket(h: BpfHtab, bucket: u32): u32 {
  return (bucket << 1) << (31 - h.bucketShift);
}

export function chunkAt(h: BpfHtab, index: u32): u32 {
  return h.chunks + index * h.chunkSize;
}

export function chunkAfter(h: BpfHtab, chunk: u32): u32 {
  chunk += h.chunkSize;
  return chunk == h.chunksEnd ? h.chunks : chunk;
}

export function overflowOf(h: BpfHtab, chunk: u32): u32 {
  return h.isInline ? inlineOverflow(h, chunk) : load<u16>(chunk, OVERFLOW_AT);
}

/** Does the slot at pos hold an element? */
export function isUsed(h: BpfHtab, pos: u32): bool {
  return (usedSlots(h, pos & ~15) & (1 << (pos & 15))) != 0;
}

/** The elem of a position (separate layout). */
export function elemAt(pos: u32): u32 {
  return load<u32>((pos & ~15) + CHUNK_HDR + ((pos & 15) << 2));
}

export function keyAt(h: BpfHtab, pos: u32): usize {
  if (h.isInline) return inlineKeyAt(h, pos & ~15, pos & 15);
  return elemAt(pos) + h.keyOff;
}

/** Address of the value; of per-CPU types the word that points to CPU 0's slot. */
export function valueAt(h: BpfHtab, pos: u32): usize {
  if (h.isInline) return (pos & ~15) + h.valueOff + (pos & 15) * h.valueStride;
  return elemAt(pos) + h.valueOff;
}

/** The stamp of an element; an inline table has none. */
function stampOf(h: BpfHtab, pos: u32): u32 {
  return h.isInline ? 0 : load<u16>(elemAt(pos), ELEM_STAMP);
}

export function hashAt(h: BpfHtab, pos: u32): u32 {
  return h.isInline ? hashOfKey(h, keyAt(h, pos)) : load<u32>(elemAt(pos));
}

export function hashOfKey(h: BpfHtab, key: usize): u32 {
  return hashKey(h, keyLow(h, key), keyHigh(h, key));
}

// ---- find, insert, remove -------------------------------------------------------------------------------------------

/** The address of the value of a key (valueAt); 0 when absent. */
export function find(h: BpfHtab, hash: u32, a: u64, b: u64): usize {
  return h.isInline ? inlineFind(h, hash, a, b) : findSeparate(h, hash, a, b);
}

/** find for a key by address. */
export function findKey(h: BpfHtab, key: usize): usize {
  const a = keyLow(h, key);
  const b = keyHigh(h, key);
  return find(h, hashKey(h, a, b), a, b);
}

/** The parts of the separate layout that hot functions have inlined. `number` is for tables without BPF_F_ZERO_SEED. */
export class SeparateTable {
  /** Slots with a tag, a bit each. */
  @inline
  static tagged(chunk: u32, tag: u32): u32 {
    return Chunks.tagged(chunk, tag) & ALL_SLOTS;
  }

  /**
   * The value, of 4 or 8 bytes, of a 4-byte key, by the first candidate alone, as map_get4 has it (InlineTable.number). LRU
   * types: the element is used.
   */
  @inline
  static number(h: BpfHtab, key: u32): u32 {
    const hash = upper4(key, <u32>h.seed);
    const chunk = h.chunks + (Chunks.index(hash, h.nChunks) << 6);
    const candidates = SeparateTable.tagged(chunk, tagOf(hash, h.nChunks));
    const first: u32 = ctz(candidates);
    if (first & NO_CANDIDATE) return load<u16>(chunk, OVERFLOW_AT) == 0 ? <u32>ABSENT : <u32>ASK;
    const elem = load<u32>(chunk + (first << 2), CHUNK_HDR);
    if (load<u32>(elem + h.keyOff) != key) {
      const isLast = (candidates & (candidates - 1)) == 0;
      return isLast && load<u16>(chunk, OVERFLOW_AT) == 0 ? <u32>ABSENT : <u32>ASK;
    }
    if (h.isLru) markUsed(elem);
    const value = load<u64>(elem + h.valueOff);
    if (value >= <u64>ABSENT) return <u32>ASK;
    return <u32>value;
  }

  /**
   * Moves an element to the front of its bucket. Without BPF_F_ZERO_SEED nobody can tell the order within a bucket: all
   * stamps are 0 then, and the order is that of the addresses.
   */
  @inline
  static makeNewest(h: BpfHtab, elem: usize, hash: u32): void {
    if (h.zeroSeed) stampNewest(h, elem, hash);
  }
}

function findSeparate(h: BpfHtab, hash: u32, a: u64, b: u64): usize {
  const tag = tagOf(hash, h.nChunks);
  const home = chunkAt(h, homeIndex(h, hash));
  let chunk = home;
  while (true) {
    let candidates = SeparateTable.tagged(chunk, tag);
    while (candidates != 0) {
      const elem = load<u32>(chunk + ((<u32>ctz(candidates)) << 2), CHUNK_HDR);
      if (keyEquals(h, elem + h.keyOff, a, b)) return elem + h.valueOff;
      candidates &= candidates - 1;
    }
    if (load<u16>(chunk, OVERFLOW_AT) == 0) return 0;
    chunk = chunkAfter(h, chunk);
    if (chunk == home) return 0;
  }
}

/** Slots in use, a bit each. */
function usedSlots(h: BpfHtab, chunk: u32): u32 {
  if (h.isInline) return inlineUsed(h, chunk);
  return ~SeparateTable.tagged(chunk, 0) & ALL_SLOTS;
}

/**
 * Puts a new elem and its key into a free slot, with the overflow marks; publishSlot makes it visible once the value is there.
 * There always is one: a table has more slots than elements. Separate layout only, as the next two.
 * @returns the position
 */
export function takeSlot(h: BpfHtab, elem: usize, hash: u32, a: u64, b: u64): u32 {
  const home = chunkAt(h, homeIndex(h, hash));
  let chunk = home;
  let unused = SeparateTable.tagged(chunk, 0);
  while (unused == 0) {
    addOverflow(chunk + OVERFLOW_AT, 1);
    chunk = chunkAfter(h, chunk);
    unused = SeparateTable.tagged(chunk, 0);
  }
  const slot: u32 = ctz(unused);
  store<u32>(elem, hash);
  // Stamp and ref are 0: the memory may have been anything before.
  store<u32>(elem, (chunk == home ? slot + 1 : ELSEWHERE) << 16, ELEM_STAMP);
  store<u32>(chunk + (slot << 2), elem, CHUNK_HDR);
  storeKey(h, elem + h.keyOff, a, b);
  return chunk | slot;
}

/** Makes a slot visible, as the newest element of its bucket. */
export function publishSlot(h: BpfHtab, pos: u32, elem: usize, hash: u32): void {
  SeparateTable.makeNewest(h, elem, hash);
  store<u8>((pos & ~15) + (pos & 15), tagOf(hash, h.nChunks));
}

/** Empties the slot of a live elem. */
export function removeElem(h: BpfHtab, elem: usize): void {
  const live: u32 = load<u8>(elem, ELEM_LIVE);
  let chunk = homeOf(h, elem);
  let slot = live - 1;
  if (live == ELSEWHERE) {
    const pos = positionBehind(h, elem, chunk);
    slot = pos & 15;
    for (; chunk != (pos & ~15); chunk = chunkAfter(h, chunk)) addOverflow(chunk + OVERFLOW_AT, -1);
  }
  store<u8>(chunk + slot, 0);
  store<u8>(elem, 0, ELEM_LIVE);
}

/** The position of a value in the table. */
export function positionOfValue(h: BpfHtab, value: usize): u32 {
  return h.isInline ? inlinePosition(h, <u32>value) : positionOf(h, value - h.valueOff);
}

/** The position of a live elem (separate layout). The elem says it, so that an eviction need not wait for the chunk. */
function positionOf(h: BpfHtab, elem: usize): u32 {
  const live: u32 = load<u8>(elem, ELEM_LIVE);
  const home = homeOf(h, elem);
  return live == ELSEWHERE ? positionBehind(h, elem, home) : home | (live - 1);
}

function homeOf(h: BpfHtab, elem: usize): u32 {
  return chunkAt(h, homeIndex(h, load<u32>(elem)));
}

function positionBehind(h: BpfHtab, elem: usize, home: u32): u32 {
  const tag = tagOf(load<u32>(elem), h.nChunks);
  let chunk = chunkAfter(h, home);
  while (true) {
    let candidates = SeparateTable.tagged(chunk, tag);
    while (candidates != 0) {
      const slot = ctz(candidates);
      if (load<u32>(chunk + CHUNK_HDR + (slot << 2)) == <u32>elem) return chunk | slot;
      candidates &= candidates - 1;
    }
    chunk = chunkAfter(h, chunk);
  }
}

// ---- order ----------------------------------------------------------------------------------------------------------

function stampNewest(h: BpfHtab, elem: usize, hash: u32): void {
  const home = homeIndex(h, hash);
  const clockPtr = chunkAt(h, home) + CLOCK_AT;
  let clock: u32 = load<u16>(clockPtr);
  if (clock == 0xffff) clock = renumber(h, home);
  store<u16>(clockPtr, clock + 1);
  store<u16>(elem, clock + 1, ELEM_STAMP);
}

/** Rank of an element in iteration order: bucket, then newest first. */
function rankOf(h: BpfHtab, pos: u32, hash: u32): u64 {
  return ((<u64>bucketOf(h, hash)) << 16) | (0xffff - stampOf(h, pos));
}

/**
 * The element of a home that follows (rank, at) in iteration order; 0 when there is none. Equal ranks (more than 65535
 * elements of one home) go by address.
 */
function homeNext(h: BpfHtab, home: u32, rank: u64, at: u32): u32 {
  return leastBehind(h, home, rank, at, false);
}

/** The element of a home that follows (stamp, at) by age, in whatever bucket. */
function oldestBehind(h: BpfHtab, home: u32, stamp: u32, at: u32): u32 {
  return leastBehind(h, home, stamp, at, true);
}

function leastBehind(h: BpfHtab, home: u32, rank: u64, at: u32, byAge: bool): u32 {
  let best: u32 = 0;
  let bestRank: u64 = u64.MAX_VALUE;
  let chunk = chunkAt(h, home);
  let left = h.nChunks;
  while (true) {
    let used = usedSlots(h, chunk);
    while (used != 0) {
      const pos = chunk | ctz(used);
      used &= used - 1;
      const hash = hashAt(h, pos);
      if (homeIndex(h, hash) != home) continue;
      const r = byAge ? stampOf(h, pos) : rankOf(h, pos, hash);
      if (r < rank || (r == rank && pos <= at)) continue;
      if (r < bestRank || (r == bestRank && pos < best)) {
        best = pos;
        bestRank = r;
      }
    }
    if (overflowOf(h, chunk) == 0 || --left == 0) return best;
    chunk = chunkAfter(h, chunk);
  }
}

/** The first element at or behind a bucket in iteration order; 0 when there is none. */
export function firstFrom(h: BpfHtab, bucket: u32): u32 {
  let home = homeIndex(h, hashOfBucket(h, bucket));
  let rank = (<u64>bucket) << 16;
  while (home < h.nChunks) {
    const chunk = chunkAt(h, home);
    if (overflowOf(h, chunk) != 0 || usedSlots(h, chunk) != 0) {
      const pos = homeNext(h, home, rank, 0);
      if (pos != 0) return pos;
    }
    home++;
    rank = 0;
  }
  return 0;
}

/** The element behind the one at pos in iteration order; 0 at the end. */
export function nextAfter(h: BpfHtab, pos: u32): u32 {
  return nextBehind(h, rankAt(h, pos), pos);
}

/**
 * The first element behind a place in iteration order, whether or not anything stands there now; 0 at the end.
 * @param rank bucket << 16 | inverse stamp of the last element (rankAt), at: its position
 */
function nextBehind(h: BpfHtab, rank: u64, at: u32): u32 {
  const home = homeIndex(h, hashOfBucket(h, <u32>(rank >> 16)));
  const next = homeNext(h, home, rank, at);
  if (next != 0 || home + 1 >= h.nChunks) return next;
  return firstFrom(h, firstBucketOf(h, home + 1));
}

export function rankAt(h: BpfHtab, pos: u32): u64 {
  return rankOf(h, pos, hashAt(h, pos));
}

/** The element behind the one at pos in the same bucket; 0 at its end. */
export function nextInBucket(h: BpfHtab, pos: u32): u32 {
  if (h.zeroSeed) return behindInBucket(h, rankAt(h, pos), pos);
  const hash = hashAt(h, pos);
  const home = homeIndex(h, hash);
  let next = homeNext(h, home, rankAt(h, pos), pos);
  if (next == 0 && home + 1 < h.nChunks) next = homeNext(h, home + 1, 0, 0);
  return next != 0 && bucketOf(h, hashAt(h, next)) == bucketOf(h, hash) ? next : 0;
}

/** As nextBehind, within the bucket of `rank`; 0 at its end. */
export function behindInBucket(h: BpfHtab, rank: u64, at: u32): u32 {
  const bucket = <u32>(rank >> 16);
  const next = homeNext(h, homeIndex(h, hashOfBucket(h, bucket)), rank, at);
  return next != 0 && bucketOf(h, hashAt(h, next)) == bucket ? next : 0;
}

/** Does the slot at pos hold an element of this hash? */
export function holdsHash(h: BpfHtab, pos: u32, hash: u32): bool {
  return isUsed(h, pos) && hashAt(h, pos) == hash;
}

/** The lowest bucket whose home is `home`. */
function firstBucketOf(h: BpfHtab, home: u32): u32 {
  return <u32>((((<u64>home) << h.bucketShift) + h.nChunks - 1) / h.nChunks);
}

/** Draws the stamps of a home's elements anew, 1 upwards in the same order; @returns the highest. */
function renumber(h: BpfHtab, home: u32): u32 {
  // Oldest first: the i-th smallest stamp is at least i, so what was renumbered never gets in the way of the rest.
  let stamp: u32 = 0;
  let pos = oldestBehind(h, home, 0, 0);
  while (pos != 0) {
    const next = oldestBehind(h, home, stampOf(h, pos), pos);
    if (stamp < 0xfffe) stamp++;
    store<u16>(elemAt(pos), stamp, ELEM_STAMP);
    pos = next;
  }
  return stamp;
}

// ---- walking without the kernel's order -----------------------------------------------------------------------------
// Differs: where the order does not show, all walks but batches (whose cursor is a bucket) go slot by slot, which takes a few
// nanoseconds an element; the kernel's go bucket by bucket.

/** The first element; 0 when the table is empty. */
export function firstElem(h: BpfHtab): u32 {
  return h.zeroSeed ? firstFrom(h, 0) : slotFrom(h, h.chunks, 0);
}

/** The element behind the one at pos; 0 at the end. */
export function nextElem(h: BpfHtab, pos: u32): u32 {
  return h.zeroSeed ? nextAfter(h, pos) : slotFrom(h, pos & ~15, (pos & 15) + 1);
}

/** The element behind a place where one stood (and may still stand); rank as rankAt gave it then. */
export function elemBehind(h: BpfHtab, rank: u64, pos: u32): u32 {
  return h.zeroSeed ? nextBehind(h, rank, pos) : slotFrom(h, pos & ~15, (pos & 15) + 1);
}

/** The first used slot at or behind one; 0 when there is none. */
function slotFrom(h: BpfHtab, chunk: u32, slot: u32): u32 {
  let used = usedSlots(h, chunk) & (~0 << slot);
  while (used == 0) {
    chunk += h.chunkSize;
    if (chunk == h.chunksEnd) return 0;
    used = usedSlots(h, chunk);
  }
  return chunk | ctz(used);
}

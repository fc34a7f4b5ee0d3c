// Tables whose elements live in the table itself: preallocated HASH maps of small elements, without BPF_F_ZERO_SEED.
// A chunk has as many keys as can be compared at once, without a branch:
//
//   keys of 4 bytes, values up to 8     | key * 5 | meta | value * 5, 8 bytes each |     64 bytes; the last slot's key comes first
//   keys of 8 bytes, values up to 24    | key * 4 | value * 4, 8 or 24 bytes each |      64 or 128
//   keys of 16 bytes, values up to 16   | key, value, key, value, ... 4 of each |        128
//
//   meta, 4 bytes  0          2      3
//                  | overflow | used | went on |      used: a bit per slot; overflow: htab_table.ts
//
// Each element that went on from a chunk left a bit of its hash in `went on`, until there is none any more. So a search for an
// absent key rarely leaves its home, and the branch that decides it is predicted.
//
// A slot that is not in use holds a key whose home is another chunk, so in a key's home a match needs no look at `used`:
// nothing but the chunk is touched. That key is 0, and `h.emptyKey` in the home of 0: in further chunks a match with one of
// these two says nothing. Where the chunk is full of keys and values the metas stand behind all chunks.
//
// Fuller tables lose by the elements that are not in their home: a branch that was predicted wrong waits for the memory it
// depends on. Emptier ones lose by their size, unless they fit the caches anyway.
//
// In the shared build lookups take no lock. In its home the key is what makes an element visible, elsewhere `used`; so they
// are written in this order, behind the value, and withdrawn in the other one. Elsewhere the key of an empty slot is one that
// might be looked for: who has found it must have seen `used` both before and behind it, and no element may have come
// meanwhile: the slot could have been emptied and filled again. Walks take the lock.
//
// A key is (a, b), as in htab_table.ts; K says its size where that is known: u32, u64 or v128.

import { ABSENT, ASK, ASK_AT, STEP_BYTES, STEP_POS_AT, STEP_VALUE_AT } from "../ts/abi";
import { BpfHtab } from "./hashtab";
import { Chunks, NO_CANDIDATE, addOverflow, chunkCount } from "./htab_chunk";
import { chunkAfter } from "./htab_table";
import { upper16, upper4, upper8 } from "./lib/hash";
import { SHARED } from "./lib/lock";

const SMALL_SLOTS: u32 = 5;
const WIDE_SLOTS: u32 = 4;
const SMALL_META: u32 = 20;
const SMALL_VALUES: u32 = 24;
const USED_AT: u32 = 2;
const WENT_ON_AT: u32 = 3;
const META_BYTES: u32 = 4;

/** Chunks that are looked at together in walks. */
const AHEAD_CHUNKS: u32 = 8;

/** Slots for 100 entries: 23 bytes an entry with 4-byte keys; roomy tables 38. */
const SMALL_PERCENT: u32 = 179;
const SMALL_ROOMY: u32 = 300;
/**
 * With 8-byte keys 27 bytes an entry, or 47 where values have more than 8; with 16-byte keys 47. In chunks of a cache line a
 * tenth more room (143 to 160) saves a twentieth of the time of lookups, at 100k; larger ones wait for memory anyway.
 */
const LONG_PERCENT: u32 = 158;
const WIDE_PERCENT: u32 = 143;
const WIDE_ROOMY: u32 = 250;

/**
 * Inlined where it is used, because the calls would cost a fifth of it. What has a 4 in its name takes a key of 4 bytes as it
 * is: as half of an u64 it would be widened and cut in the machine, too.
 */
export class InlineTable {
  @inline
  static hash4(h: BpfHtab, key: u32): u32 {
    return upper4(key, <u32>h.seed);
  }

  @inline
  static hash<K>(h: BpfHtab, a: u64, b: u64): u32 {
    if (sizeof<K>() == 4) return InlineTable.hash4(h, <u32>a);
    return sizeof<K>() == 8 ? upper8(a, h.seed) : upper16(a, b, h.seed);
  }

  @inline
  static home<K>(h: BpfHtab, hash: u32): u32 {
    const shift: u32 = sizeof<K>() == 8 ? h.chunkShift : sizeof<K>() == 4 ? 6 : 7;
    return h.chunks + (Chunks.index(hash, h.nChunks) << shift);
  }

  /** Slots of a chunk that hold a key: of 4 bytes two bits each, of 8 or 16 bytes four. */
  @inline
  static candidates<K>(chunk: u32, a: u64, b: u64): u32 {
    if (sizeof<K>() == 4) return InlineTable.candidates4(chunk, <u32>a);
    if (sizeof<K>() == 8) {
      const key = i64x2.splat(a);
      const low = i64x2.eq(v128.load(chunk), key);
      const high = i64x2.eq(v128.load(chunk, 16), key);
      return i8x16.bitmask(i16x8.narrow_i32x4_s(low, high));
    }
    // Two bits for each half of a key.
    const key = i64x2.replace_lane(i64x2.splat(a), 1, b);
    const low = InlineTable.halves(chunk, key);
    const high = InlineTable.halves(chunk + 64, key);
    const halves = i8x16.bitmask(i8x16.narrow_i16x8_s(low, high));
    return halves & (halves >> 2) & 0x1111;
  }

  @inline
  static slotOf<K>(candidates: u32): u32 {
    return InlineTable.slotAt<K>(ctz(candidates));
  }

  /** Of the first candidate, which is the number of a bit. */
  @inline
  static slotAt<K>(first: u32): u32 {
    return first >> (sizeof<K>() == 4 ? 1 : 2);
  }

  /**
   * candidates for keys of 4 bytes: two bits a slot. The last slot's repeat for slots 5 to 7, which there are not. Its key is
   * at the chunk's address because V8 computes addresses of such loads with an offset in an instruction of its own.
   */
  @inline
  static candidates4(chunk: u32, key: u32): u32 {
    return InlineTable.equals4(chunk, i32x4.splat(key));
  }

  /** candidates4 with four times the key. */
  @inline
  static equals4(chunk: u32, keys: v128): u32 {
    const low = i32x4.eq(v128.load(chunk, 4), keys);
    // Not 16 bytes: a wide load waits for what narrow stores have just written.
    const high = i32x4.eq(v128.load_splat<u32>(chunk), keys);
    return i8x16.bitmask(i16x8.narrow_i32x4_s(low, high));
  }

  /** Of 4-byte keys: address of the value of the first candidate. */
  @inline
  static value4(chunk: u32, first: u32): u32 {
    return chunk + (first << 2) + SMALL_VALUES;
  }

  /** Address of a slot's key. */
  @inline
  static keyAt<K>(chunk: u32, slot: u32): u32 {
    if (sizeof<K>() == 4) return select(chunk, chunk + 4 + (slot << 2), slot == SMALL_SLOTS - 1);
    return chunk + slot * sizeof<K>();
  }

  /** keyAt by the distance of keys, which says which layout it is. No other than the small one has a key at SMALL_META. */
  @inline
  static keyOffset(slot: u32, stride: u32): u32 {
    const at = slot * stride + (stride == 4 ? 4 : 0);
    return at == SMALL_META ? 0 : at;
  }

  /** Compares the keys of two 32-byte slots. */
  @inline
  static halves(slots: u32, key: v128): v128 {
    const low = i64x2.eq(v128.load(slots), key);
    const high = i64x2.eq(v128.load(slots, 32), key);
    return i16x8.narrow_i32x4_s(low, high);
  }

  @inline
  static valueOf<K>(h: BpfHtab, chunk: u32, slot: u32): u32 {
    if (sizeof<K>() == 4) return chunk + SMALL_VALUES + (slot << 3);
    if (sizeof<K>() == 16) return chunk + 16 + (slot << 5);
    return chunk + 32 + slot * h.valueStride;
  }

  /** Address of the value of a key; 0 when absent. */
  @inline
  static lookup<K>(h: BpfHtab, hash: u32, a: u64, b: u64): u32 {
    const home = InlineTable.home<K>(h, hash);
    if (sizeof<K>() == 4) return InlineTable.lookup4(h, hash, <u32>a, i32x4.splat(<u32>a));
    const found = InlineTable.candidates<K>(home, a, b);
    if (found != 0) return InlineTable.valueOf<K>(h, home, InlineTable.slotOf<K>(found));
    return InlineTable.behind<K>(h, home, a, b, hash);
  }

  /** lookup for a key of 4 bytes. @param keys four times the key: from memory that is one instruction, otherwise two */
  @inline
  static lookup4(h: BpfHtab, hash: u32, key: u32, keys: v128): u32 {
    const home = InlineTable.home<u32>(h, hash);
    const first: u32 = ctz(InlineTable.equals4(home, keys));
    // Not `candidates == 0`: see number.
    if (first & NO_CANDIDATE) return InlineTable.behind<u32>(h, home, key, 0, hash);
    return InlineTable.value4(home, first);
  }

  /** lookup for a key that is not in its home. */
  @inline
  static behind<K>(h: BpfHtab, home: u32, a: u64, b: u64, hash: u32): u32 {
    const meta = InlineTable.meta<K>(h, home);
    return InlineTable.wentOn<K>(meta, hash) ? inlineBehind(h, home, a, b, hash) : 0;
  }

  /** Where the meta of a chunk is; of 4-byte keys the chunk itself: loads and stores add SMALL_META without an instruction. */
  @inline
  static meta<K>(h: BpfHtab, chunk: u32): u32 {
    return sizeof<K>() == 4 ? chunk : metaOf(h, chunk);
  }

  /** May an element with this hash have gone on from a chunk? */
  @inline
  static wentOn<K>(meta: u32, hash: u32): bool {
    const bits = load<u8>(meta, sizeof<K>() == 4 ? SMALL_META + WENT_ON_AT : WENT_ON_AT);
    return ((bits >> <u8>bitOf(hash)) & 1) != 0;
  }

  /** Slots in use. */
  @inline
  static used<K>(meta: u32): u32 {
    if (SHARED) return atomic.load<u8>(meta, sizeof<K>() == 4 ? SMALL_META + USED_AT : USED_AT);
    return load<u8>(meta, sizeof<K>() == 4 ? SMALL_META + USED_AT : USED_AT);
  }

  @inline
  static setUsed<K>(meta: u32, used: u32): void {
    store<u8>(meta, used, sizeof<K>() == 4 ? SMALL_META + USED_AT : USED_AT);
  }

  /** The slots in use, before keys are compared, with insertions in the upper half; nobody asks in the plain build. */
  @inline
  static usedBefore<K>(h: BpfHtab, meta: u32): u64 {
    if (!SHARED) return 0;
    const insertions: u64 = InlineTable.insertions(h);
    return (insertions << 32) | InlineTable.used<K>(meta);
  }

  /** Slots in use after keys were compared, and, in the shared build, before. */
  @inline
  static usedSince<K>(before: u64, meta: u32): u32 {
    const used = InlineTable.used<K>(meta);
    return SHARED ? <u32>before & used : used;
  }

  /** Has an element come meanwhile? Asked behind usedSince. */
  @inline
  static isStale(h: BpfHtab, before: u64): bool {
    return SHARED && <u32>(before >> 32) != InlineTable.insertions(h);
  }

  @inline
  static insertions(h: BpfHtab): u32 {
    return atomic.load<u32>(changetype<usize>(h), offsetof<BpfHtab>("insertions"));
  }

  /** An element comes: in front of the store that makes it visible where it is not at home. The lock is held. */
  @inline
  static countInsertion(h: BpfHtab): void {
    if (SHARED)
      atomic.store<u32>(changetype<usize>(h), h.insertions + 1, offsetof<BpfHtab>("insertions"));
  }

  /**
   * Can a match behind its home be believed? Without asking `used`: only the key of empty slots may mislead. In the shared
   * build `used` must have been set before and since, and no element may have come.
   */
  @inline
  static isSure<K>(h: BpfHtab, before: u64, meta: u32, slot: u32, a: u64, b: u64): bool {
    if (!SHARED) return b != 0 || a > h.emptyKey;
    const used = InlineTable.usedSince<K>(before, meta);
    return ((used >> slot) & 1) != 0 && !InlineTable.isStale(h, before);
  }

  /**
   * lookup of a 16-byte key; ASK_AT when that does not settle it. It calls nothing, so a function of this alone checks its
   * stack only where it goes on behind the home.
   */
  @inline
  static lookupFirst(h: BpfHtab, a: u64, b: u64): u32 {
    const hash = InlineTable.hash<v128>(h, a, b);
    const home = InlineTable.home<v128>(h, hash);
    let chunk = home;
    let found = InlineTable.candidates<v128>(chunk, a, b);
    if (found == 0) {
      let meta = metaOf(h, chunk);
      let before: u64 = 0;
      do {
        if (!InlineTable.wentOn<v128>(meta, hash)) return 0;
        chunk += 128;
        if (chunk == h.chunksEnd) chunk = h.chunks;
        if (chunk == home) return 0;
        meta = metaOf(h, chunk);
        before = InlineTable.usedBefore<v128>(h, meta);
        found = InlineTable.candidates<v128>(chunk, a, b);
      } while (found == 0);
      const slot = InlineTable.slotOf<v128>(found);
      if (!InlineTable.isSure<v128>(h, before, meta, slot, a, b)) return ASK_AT;
    }
    return InlineTable.valueOf<v128>(h, chunk, InlineTable.slotOf<v128>(found));
  }

  // Keys and values of 4 or 8 bytes.

  @inline
  static numberHome(h: BpfHtab, hash: u32): u32 {
    return h.chunks + (Chunks.index(hash, h.nChunks) << 6);
  }

  /** Address of the value of the first candidate. */
  @inline
  static numberAt<K>(chunk: u32, first: u32): u32 {
    return sizeof<K>() == 4 ? InlineTable.value4(chunk, first) : chunk + 32 + (first << 1);
  }

  /**
   * The value as map_get4 answers it: ASK for one that looks like an answer, and where isSure says no. V8 turns comparisons with
   * zero around; so where the rare case is the one to be jumped to, the condition is a bit or an order instead (ARCHITECTURE.md).
   */
  @inline
  static number<K>(h: BpfHtab, key: u64): u32 {
    const hash = InlineTable.hash<K>(h, key, 0);
    const home = InlineTable.numberHome(h, hash);
    let first: u32 = ctz(InlineTable.candidates<K>(home, key, 0));
    if (!(first & NO_CANDIDATE)) {
      const value = load<u64>(InlineTable.numberAt<K>(home, first));
      // Most values are small, and V8 compares with constants of 31 bits in one instruction.
      if (value > 0x7fffffff) return Chunks.number(value);
      return <u32>value;
    }
    let chunk = home;
    let meta = InlineTable.meta<K>(h, home);
    let before: u64 = 0;
    do {
      if (!InlineTable.wentOn<K>(meta, hash)) return <u32>ABSENT;
      chunk += 64;
      if (chunk == h.chunksEnd) chunk = h.chunks;
      if (chunk == home) return <u32>ABSENT;
      meta = InlineTable.meta<K>(h, chunk);
      before = InlineTable.usedBefore<K>(h, meta);
      first = ctz(InlineTable.candidates<K>(chunk, key, 0));
    } while (first & NO_CANDIDATE);
    const slot = InlineTable.slotAt<K>(first);
    if (!InlineTable.isSure<K>(h, before, meta, slot, key, 0)) return <u32>ASK;
    return Chunks.number(load<u64>(InlineTable.numberAt<K>(chunk, first)));
  }

  /** The slot that a chunk with these slots in use would fill next; the number of its slots when it is full. */
  @inline
  static nextSlot(used: u32): u32 {
    return ctz(~used);
  }

  @inline
  static slotCount<K>(): u32 {
    return sizeof<K>() == 4 ? SMALL_SLOTS : WIDE_SLOTS;
  }

  /** inlineTake and inlinePublish for the next slot of its home. */
  @inline
  static insertHome<K>(h: BpfHtab, home: u32, meta: u32, used: u32, key: u64, value: u64): void {
    const slot = InlineTable.nextSlot(used);
    store<u64>(InlineTable.valueOf<K>(h, home, slot), value);
    store<K>(InlineTable.keyAt<K>(home, slot), <K>key);
    InlineTable.countInsertion(h);
    // The lowest bit that is not set.
    InlineTable.setUsed<K>(meta, used | (used + 1));
  }

  /** inlineRemove for the first candidate in its home; values of any size. */
  @inline
  static removeHome<K>(h: BpfHtab, home: u32, first: u32): void {
    const meta = InlineTable.meta<K>(h, home);
    const slot = InlineTable.slotAt<K>(first);
    InlineTable.setUsed<K>(meta, InlineTable.used<K>(meta) & ~(1 << slot));
    store<K>(InlineTable.keyAt<K>(home, slot), <K>(home == h.emptyHome ? h.emptyKey : 0));
  }
}

function metaOf(h: BpfHtab, chunk: u32): u32 {
  return h.metas + ((chunk - h.chunks) >> h.metaShift);
}

/** Which bit of `went on`: by bits of the hash that do not decide about the home. */
function bitOf(hash: u32): u32 {
  return (hash >> 8) & 7;
}

function wentOnBits(meta: u32): u32 {
  return load<u8>(meta, WENT_ON_AT);
}

// ---- for any key size -----------------------------------------------------------------------------------------------

export function inlineHash(h: BpfHtab, a: u64, b: u64): u32 {
  if (h.keySize == 4) return InlineTable.hash<u32>(h, a, b);
  return h.keySize == 8 ? InlineTable.hash<u64>(h, a, b) : InlineTable.hash<v128>(h, a, b);
}

/** InlineTable.lookup as a call. */
export function inlineLookup<K>(h: BpfHtab, hash: u32, a: u64, b: u64): u32 {
  return InlineTable.lookup<K>(h, hash, a, b);
}

export function inlineFind(h: BpfHtab, hash: u32, a: u64, b: u64): u32 {
  if (h.keySize == 4) return inlineLookup<u32>(h, hash, a, b);
  return h.keySize == 8 ? inlineLookup<u64>(h, hash, a, b) : inlineLookup<v128>(h, hash, a, b);
}

/** Slots of a chunk that hold a key, as InlineTable.candidates. */
function candidatesOf(h: BpfHtab, chunk: u32, a: u64, b: u64): u32 {
  if (h.keySize == 4) return InlineTable.candidates<u32>(chunk, a, b);
  return h.keySize == 8
    ? InlineTable.candidates<u64>(chunk, a, b)
    : InlineTable.candidates<v128>(chunk, a, b);
}

/**
 * Address of the value of a key that is not in its home, 0 when absent: after long churn 13 % of the elements are elsewhere. One
 * for all sizes of keys: it waits for memory anyway.
 */
export function inlineBehind(h: BpfHtab, home: u32, a: u64, b: u64, hash: u32): u32 {
  let chunk = home;
  let meta = metaOf(h, home);
  while (InlineTable.wentOn<u64>(meta, hash)) {
    chunk = chunkAfter(h, chunk);
    if (chunk == home) break;
    meta = metaOf(h, chunk);
    let before: u64 = 0;
    let found: u32 = 0;
    let used: u32 = 0;
    do {
      before = InlineTable.usedBefore<u64>(h, meta);
      found = candidatesOf(h, chunk, a, b);
      used = InlineTable.usedSince<u64>(before, meta);
    } while (found != 0 && InlineTable.isStale(h, before));
    for (; found != 0; found &= found - 1) {
      const slot = h.keySize == 4 ? ctz(found) >> 1 : ctz(found) >> 2;
      if ((used >> slot) & 1) return chunk + h.valueOff + slot * h.valueStride;
    }
  }
  return 0;
}

/** Takes a slot for an absent key, not yet visible. @returns its position, as in htab_table.ts */
export function inlineTake(h: BpfHtab, hash: u32): u32 {
  const allSlots: u32 = (1 << h.slotCount) - 1;
  let chunk = homeOf(h, hash);
  let used = inlineUsed(h, chunk);
  while (used == allSlots) {
    const meta = metaOf(h, chunk);
    addOverflow(meta, 1);
    store<u8>(meta, wentOnBits(meta) | (1 << bitOf(hash)), WENT_ON_AT);
    chunk = chunkAfter(h, chunk);
    used = inlineUsed(h, chunk);
  }
  return chunk | InlineTable.nextSlot(used);
}

/** Makes a position visible. */
export function inlinePublish(h: BpfHtab, pos: u32, a: u64, b: u64): void {
  const chunk = pos & ~15;
  storeKey(h, chunk, pos & 15, a, b);
  InlineTable.countInsertion(h);
  const meta = metaOf(h, chunk);
  InlineTable.setUsed<u64>(meta, InlineTable.used<u64>(meta) | (1 << (pos & 15)));
}

/** Address of a slot's key. */
export function inlineKeyAt(h: BpfHtab, chunk: u32, slot: u32): u32 {
  return chunk + InlineTable.keyOffset(slot, h.keyStride);
}

/** Stores a key with one instruction: it is what makes an element visible. */
function storeKey(h: BpfHtab, chunk: u32, slot: u32, a: u64, b: u64): void {
  const at = inlineKeyAt(h, chunk, slot);
  if (h.keySize == 4) store<u32>(at, <u32>a);
  else if (h.keySize == 8) store<u64>(at, a);
  else v128.store(at, i64x2.replace_lane(i64x2.splat(a), 1, b));
}

/** The home chunk of a hash. */
function homeOf(h: BpfHtab, hash: u32): u32 {
  return h.chunks + (Chunks.index(hash, h.nChunks) << h.chunkShift);
}

/** The position of a value, as htab_table.ts has it. */
export function inlinePosition(h: BpfHtab, value: u32): u32 {
  const chunk = value & ~(h.chunkSize - 1);
  const offset = value - chunk - h.valueOff;
  return chunk | (h.valueStride == 24 ? offset / 24 : offset >> ctz(h.valueStride));
}

/** Empties the slot of a value. */
export function inlineRemove(h: BpfHtab, hash: u32, value: u32): void {
  const pos = inlinePosition(h, value);
  const chunk = pos & ~15;
  const meta = metaOf(h, chunk);
  InlineTable.setUsed<u64>(meta, InlineTable.used<u64>(meta) & ~(1 << (pos & 15)));
  storeEmptyKey(h, chunk, pos & 15);
  let home = homeOf(h, hash);
  while (home != chunk) {
    const from = metaOf(h, home);
    addOverflow(from, -1);
    if (load<u16>(from) == 0) store<u8>(from, 0, WENT_ON_AT);
    home = chunkAfter(h, home);
  }
}

/** Writes a key that is not found there. */
function storeEmptyKey(h: BpfHtab, chunk: u32, slot: u32): void {
  storeKey(h, chunk, slot, chunk == h.emptyHome ? h.emptyKey : 0, 0);
}

/** Slots of a chunk in use, a bit each. */
export function inlineUsed(h: BpfHtab, chunk: u32): u32 {
  return InlineTable.used<u64>(metaOf(h, chunk));
}

export function inlineOverflow(h: BpfHtab, chunk: u32): u32 {
  return load<u16>(metaOf(h, chunk));
}

/** Debug: do `overflow` and `went on` contradict each other? */
export function inlineForgot(h: BpfHtab, chunk: u32): bool {
  return (inlineOverflow(h, chunk) == 0) != (wentOnBits(metaOf(h, chunk)) == 0);
}

/** Debug: has an element with this hash left its bit? */
export function inlineWentOn(h: BpfHtab, chunk: u32, hash: u32): bool {
  return InlineTable.wentOn<u64>(metaOf(h, chunk), hash);
}

/**
 * Walks ahead: writes up to `max` elements from slot `slot` of a chunk on to `out` (STEP_BYTES each). The lock is held: keys
 * of emptied slots must not be taken for elements'. @returns how many
 */
export function inlineSteps(h: BpfHtab, chunk: u32, slot: u32, out: usize, max: u32): u32 {
  // What is in use nobody predicts, so several chunks are looked at together, 8 bits of `used` each.
  const bits: u64 = max < AHEAD_CHUNKS ? 8 : AHEAD_CHUNKS * 8;
  const chunksEnd = h.chunksEnd;
  const chunkShift = h.chunkShift;
  const keyStride = h.keyStride;
  const valueStride = h.valueStride;
  const valueOff = h.valueOff;
  const start = out;
  const end = out + max * STEP_BYTES;
  let skipped: u64 = slot;
  while (chunk != chunksEnd) {
    const first = chunk;
    let used: u64 = 0;
    for (let bit: u64 = 0; bit < bits && chunk != chunksEnd; bit += 8) {
      used |= (<u64>inlineUsed(h, chunk)) << bit;
      chunk += 1 << chunkShift;
    }
    for (used &= ~0 << skipped; used != 0; used &= used - 1) {
      if (out == end) return max;
      const bit = <u32>ctz(used);
      const from = first + ((bit >> 3) << chunkShift);
      const at = bit & 7;
      v128.store(out, v128.load(from + InlineTable.keyOffset(at, keyStride)));
      store<u32>(out, from + valueOff + at * valueStride, STEP_VALUE_AT);
      store<u32>(out, from | at, STEP_POS_AT);
      out += STEP_BYTES;
    }
    skipped = 0;
  }
  return (out - start) / STEP_BYTES;
}

// ---- creation -------------------------------------------------------------------------------------------------------

/** Is there a layout for these sizes? A table needs a second home to take an empty key from. */
export function inlineFits(keySize: u32, valueSize: u32, maxEntries: u32): bool {
  if (maxEntries < 2) return false;
  return keySize == 4
    ? valueSize <= 8
    : (keySize == 8 || keySize == 16) && valueSize <= 32 - keySize;
}

/** The geometry of a table, before its chunks are allocated. @returns bytes behind the chunks */
export function inlineLayout(h: BpfHtab): u64 {
  const keySize = h.keySize;
  const isSmall = keySize == 4;
  h.slotCount = isSmall ? SMALL_SLOTS : WIDE_SLOTS;
  h.keyStride = keySize == 16 ? 32 : keySize;
  h.valueOff = isSmall ? SMALL_VALUES : keySize == 16 ? 16 : 32;
  h.valueStride = keySize == 16 ? 32 : h.valueSize <= 8 ? 8 : 24;
  h.chunkShift = h.valueStride == 8 ? 6 : 7;
  h.chunkSize = 1 << h.chunkShift;
  h.nChunks = isSmall
    ? chunkCount(h, SMALL_SLOTS, SMALL_PERCENT, SMALL_ROOMY)
    : chunkCount(h, WIDE_SLOTS, h.chunkShift == 6 ? LONG_PERCENT : WIDE_PERCENT, WIDE_ROOMY);
  return isSmall ? 0 : <u64>h.nChunks * META_BYTES;
}

/** Prepares the zeroed chunks: finds the keys of empty slots. */
export function inlineInit(h: BpfHtab): void {
  const isSmall = h.keySize == 4;
  h.metas = isSmall ? h.chunks + SMALL_META : h.chunksEnd;
  h.metaShift = isSmall ? 0 : h.chunkShift - ctz(META_BYTES);
  h.emptyHome = homeOf(h, inlineHash(h, 0, 0));
  h.emptyKey = 1;
  while (homeOf(h, inlineHash(h, h.emptyKey, 0)) == h.emptyHome) h.emptyKey++;
  for (let slot: u32 = 0; slot < h.slotCount; slot++) storeEmptyKey(h, h.emptyHome, slot);
}

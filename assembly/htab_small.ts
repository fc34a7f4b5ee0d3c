// Tables of the smallest elements: keys of 4 or 8 bytes with values of up to 8, keys of 16 bytes with values of up to 16;
// preallocated, no BPF_F_ZERO_SEED. All of a chunk is compared at once, without a branch:
//
//   K = u32    64 bytes, 5 slots    0           20           24
//                                   | key * 5   | meta       | value * 5, 8 bytes each
//   K = u64    64 bytes, 4 slots    (key, value) * 4, 8 bytes each; meta in an array of its own
//   K = v128  128 bytes, 4 slots    (key, value) * 4, 16 bytes each; meta in an array of its own
//
//   meta, 4 bytes   0          2      3
//                   | overflow | used | - |     used: a bit per slot; overflow: htab_table.ts
//
// A slot that is not in use holds a key whose home is another chunk, so in a key's home a match needs no look at `used`.
// That key is 0, and `h.emptyKey` in the home of 0. Further chunks of a search are checked. A key that is in its home is
// found with one cache line (v128: two, side by side) and nothing else.
//
// At 56 % of the slots in use one element in 20 to 30 is not in its home. Fuller tables lose by it: a branch that was
// predicted wrong waits for the memory it depends on. Emptier ones lose by their size, unless they fit the caches anyway.
//
// In the shared build lookups take no lock: the key is what makes an element visible, so it is written last.

import { BpfHtab } from "./hashtab";
import { hash16, hash4High, hash8 } from "./lib/hash";

export const SMALL_META_AT: u32 = 20;
const META_USED: u32 = 2;
const SMALL_VALUES_AT: u32 = 24;
const STICKY: u32 = 0xffff;

/** Slots for 100 entries. */
const SLOTS_PERCENT: u64 = 179;
/** The same for tables of up to ROOMY_ENTRIES: they stay below half a megabyte. */
const ROOMY_PERCENT: u64 = 300;
const ROOMY_ENTRIES: u32 = 8192;

/** Inlined where it is used, because the calls would cost a fifth of it. A key is (a, b), as in htab_table.ts. */
export class SmallTable {
  @inline
  static chunkShift<K>(): u32 {
    return sizeof<K>() == 16 ? 7 : 6;
  }

  @inline
  static allSlots<K>(): u32 {
    return sizeof<K>() == 4 ? 31 : 15;
  }

  @inline
  static hash<K>(seed: u64, a: u64, b: u64): u32 {
    if (sizeof<K>() == 4) return hash4High(<u32>a, <u32>seed);
    if (sizeof<K>() == 8) return hash8(a, seed);
    return hash16(a, b, seed);
  }

  @inline
  static home<K>(h: BpfHtab, a: u64, b: u64): u32 {
    return SmallTable.homeIn<K>(h.chunks, h.nChunks, h.seed, a, b);
  }

  /** home for loops, which keep the fields in locals. */
  @inline
  static homeIn<K>(chunks: u32, nChunks: u32, seed: u64, a: u64, b: u64): u32 {
    const hash = SmallTable.hash<K>(seed, a, b);
    return chunks + ((<u32>((<u64>hash * nChunks) >> 32)) << SmallTable.chunkShift<K>());
  }

  /** Slots of a chunk that hold the key, a bit each. */
  @inline
  static candidates<K>(chunk: u32, a: u64, b: u64): u32 {
    if (sizeof<K>() == 4) {
      const first = i32x4.bitmask(i32x4.eq(v128.load(chunk), i32x4.splat(<u32>a)));
      return first | (u32(load<u32>(chunk, 16) == <u32>a) << 4);
    }
    const stride = sizeof<K>() * 2;
    let found = SmallTable.holds<K>(chunk, a, b);
    found |= SmallTable.holds<K>(chunk + stride, a, b) << 1;
    found |= SmallTable.holds<K>(chunk + stride * 2, a, b) << 2;
    return found | (SmallTable.holds<K>(chunk + stride * 3, a, b) << 3);
  }

  /** 1 when the key at `at` is this one. */
  @inline
  static holds<K>(at: usize, a: u64, b: u64): u32 {
    if (sizeof<K>() == 8) return u32(load<u64>(at) == a);
    return u32(((load<u64>(at) ^ a) | (load<u64>(at, 8) ^ b)) == 0);
  }

  @inline
  static valueOf<K>(chunk: u32, slot: u32): u32 {
    if (sizeof<K>() == 4) return chunk + SMALL_VALUES_AT + (slot << 3);
    const shift: u32 = sizeof<K>() == 8 ? 4 : 5;
    return chunk + <u32>sizeof<K>() + (slot << shift);
  }

  @inline
  static chunkOf<K>(value: u32): u32 {
    return value & (~0 << SmallTable.chunkShift<K>());
  }

  @inline
  static slotOf<K>(value: u32): u32 {
    if (sizeof<K>() == 4) return ((value & 63) - SMALL_VALUES_AT) >> 3;
    return sizeof<K>() == 8 ? (value & 63) >> 4 : (value & 127) >> 5;
  }

  @inline
  static meta<K>(h: BpfHtab, chunk: u32): u32 {
    if (sizeof<K>() == 4) return chunk + SMALL_META_AT;
    return h.metas + ((chunk - h.chunks) >> (sizeof<K>() == 8 ? 4 : 5));
  }

  /** Address of the value of a key; 0 when absent. */
  @inline
  static lookup<K>(h: BpfHtab, a: u64, b: u64): u32 {
    return SmallTable.lookupFrom<K>(h, SmallTable.home<K>(h, a, b), a, b);
  }

  @inline
  static lookupFrom<K>(h: BpfHtab, home: u32, a: u64, b: u64): u32 {
    const found = SmallTable.candidates<K>(home, a, b);
    if (found != 0) return SmallTable.valueOf<K>(home, ctz(found));
    return load<u16>(SmallTable.meta<K>(h, home)) == 0 ? 0 : lookupBehind<K>(h, home, a, b);
  }

  /** Takes a slot for an absent key, not yet visible. @returns the address of its value */
  @inline
  static take<K>(h: BpfHtab, home: u32): u32 {
    const used: u32 = load<u8>(SmallTable.meta<K>(h, home), META_USED);
    if (used == SmallTable.allSlots<K>()) return takeBehind<K>(h, home);
    return SmallTable.valueOf<K>(home, ctz(~used));
  }

  /** Makes the slot of a value visible. */
  @inline
  static publish<K>(h: BpfHtab, value: u32, a: u64, b: u64): void {
    const chunk = SmallTable.chunkOf<K>(value);
    const slot = SmallTable.slotOf<K>(value);
    setUsed(SmallTable.meta<K>(h, chunk), slot);
    if (sizeof<K>() == 4) {
      store<u32>(chunk + (slot << 2), <u32>a);
    } else if (sizeof<K>() == 8) {
      store<u64>(value - 8, a);
    } else {
      store<u64>(value - 16, a);
      store<u64>(value - 16, b, 8);
    }
  }
}

function setUsed(meta: u32, slot: u32): void {
  const used: u32 = load<u8>(meta, META_USED);
  store<u8>(meta, used | (1 << slot), META_USED);
}

/** The meta word of a chunk, whatever its kind. */
export function smallMeta(h: BpfHtab, chunk: u32): u32 {
  return h.metas + ((chunk - h.chunks) >> h.metaShift);
}

/** Slots in use, a bit each. */
export function smallUsed(h: BpfHtab, chunk: u32): u32 {
  return load<u8>(smallMeta(h, chunk), META_USED);
}

function chunkAfter(h: BpfHtab, chunk: u32): u32 {
  chunk += h.chunkSize;
  return chunk == h.chunksEnd ? h.chunks : chunk;
}

/** lookupFrom for what is not in its home. */
function lookupBehind<K>(h: BpfHtab, home: u32, a: u64, b: u64): u32 {
  let chunk = home;
  while (load<u16>(smallMeta(h, chunk)) != 0) {
    chunk = chunkAfter(h, chunk);
    if (chunk == home) return 0;
    const found = SmallTable.candidates<K>(chunk, a, b) & smallUsed(h, chunk);
    if (found != 0) return SmallTable.valueOf<K>(chunk, ctz(found));
  }
  return 0;
}

/** lookup by the address of the key. */
export function smallLookup(h: BpfHtab, key: usize): u32 {
  const keySize = h.keySize;
  if (keySize == 4) return SmallTable.lookup<u32>(h, load<u32>(key), 0);
  if (keySize == 8) return SmallTable.lookup<u64>(h, load<u64>(key), 0);
  return SmallTable.lookup<v128>(h, load<u64>(key), load<u64>(key, 8));
}

/** take when the home is full. */
function takeBehind<K>(h: BpfHtab, home: u32): u32 {
  let chunk = home;
  let used: u32 = 0;
  do {
    addOverflow(h, chunk, 1);
    chunk = chunkAfter(h, chunk);
    used = smallUsed(h, chunk);
  } while (used == SmallTable.allSlots<K>());
  return SmallTable.valueOf<K>(chunk, ctz(~used));
}

/** Empties a slot of `chunk`, whose element has its home elsewhere perhaps. */
export function smallRemove(h: BpfHtab, home: u32, chunk: u32, slot: u32): void {
  clearSlot(h, chunk, slot);
  while (home != chunk) {
    addOverflow(h, home, -1);
    home = chunkAfter(h, home);
  }
}

function addOverflow(h: BpfHtab, chunk: u32, change: u32): void {
  const meta = smallMeta(h, chunk);
  const overflow: u32 = load<u16>(meta);
  if (overflow != STICKY) store<u16>(meta, overflow + change);
}

/** Marks a slot as not in use. */
function clearSlot(h: BpfHtab, chunk: u32, slot: u32): void {
  const key = chunk + slot * h.keyStride;
  const empty = chunk == h.emptyHome ? h.emptyKey : 0;
  store<u32>(key, empty);
  if (h.keySize > 4) store<u32>(key, 0, 4);
  if (h.keySize > 8) store<u64>(key, 0, 8);
  const meta = smallMeta(h, chunk);
  const used: u32 = load<u8>(meta, META_USED);
  store<u8>(meta, used & ~(1 << slot), META_USED);
}

// ---- creation -------------------------------------------------------------------------------------------------------

/** Is this layout for maps of these sizes? One with a single bucket has no second home to take an empty key from. */
export function smallFits(keySize: u32, valueSize: u32, maxEntries: u32): bool {
  if (maxEntries < 2) return false;
  return keySize == 16 ? valueSize <= 16 : (keySize == 4 || keySize == 8) && valueSize <= 8;
}

/** The geometry of a table, before its chunks are allocated. */
export function smallLayout(h: BpfHtab): void {
  const keySize = h.keySize;
  const isNarrow = keySize == 4;
  h.keyStride = isNarrow ? 4 : keySize * 2;
  h.valueOff = isNarrow ? SMALL_VALUES_AT : keySize;
  h.valueStride = isNarrow ? 8 : keySize * 2;
  h.slotCount = isNarrow ? 5 : 4;
  h.chunkSize = keySize == 16 ? 128 : 64;
  h.metaShift = isNarrow ? 0 : keySize == 8 ? 4 : 5;
  const percent = h.maxEntries <= ROOMY_ENTRIES ? ROOMY_PERCENT : SLOTS_PERCENT;
  h.nChunks = <u32>((<u64>h.maxEntries * percent) / (100 * h.slotCount)) + 2;
  // Homes go by the whole hash: a bucket may begin in one chunk and end in the next (htab_table.ts, nextInBucket).
  h.hashMask = ~0;
}

/** Prepares the zeroed chunks: finds the keys of empty slots. */
export function smallInit(h: BpfHtab): void {
  if (h.metaShift == 0) h.metas = h.chunks + SMALL_META_AT;
  h.emptyHome = homeOf(h, 0);
  h.emptyKey = 1;
  while (homeOf(h, h.emptyKey) == h.emptyHome) h.emptyKey++;
  for (let slot: u32 = 0; slot < h.slotCount; slot++) clearSlot(h, h.emptyHome, slot);
}

function homeOf(h: BpfHtab, a: u64): u32 {
  if (h.keySize == 4) return SmallTable.home<u32>(h, a, 0);
  return h.keySize == 8 ? SmallTable.home<u64>(h, a, 0) : SmallTable.home<v128>(h, a, 0);
}

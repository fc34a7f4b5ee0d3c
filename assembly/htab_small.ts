// Tables of the smallest elements: 4-byte keys, values of up to 8 bytes. A chunk is one cache line with five slots, all
// compared at once, without a branch:
//
//   0          20          22         24
//   | key * 5  | overflow  | used | - | value * 5, 8 bytes each
//
// used: a bit per slot; overflow: htab_table.ts. A slot that is not in use holds a key whose home is another chunk, so in a
// key's home a match needs no look at `used`. That key is 0, and `h.emptyKey` in the home of 0. Further chunks of a
// search are checked.
//
// At 56 % of the slots in use one element in 25 is not in its home. Fuller tables lose by it: a branch that was predicted
// wrong waits for the memory it depends on. Emptier ones lose by their size, unless they fit the caches anyway.
//
// In the shared build lookups take no lock. In its home the key is what makes an element visible, elsewhere `used`; so they
// are written in this order, behind the value, and withdrawn in the other one.

import { ABSENT, ASK } from "../ts/abi";
import { BpfHtab } from "./hashtab";
import { Chunks, addOverflow, chunkCount } from "./htab_chunk";
import { hash4 } from "./lib/hash";

const CHUNK: u32 = 64;
const SLOTS: u32 = 5;
const ALL_SLOTS: u32 = 31;
const OVERFLOW_AT: u32 = 20;
const USED_AT: u32 = 22;
const VALUES_AT: u32 = 24;

/** Slots for 100 entries: 23 bytes an entry; roomy tables 38. */
const SLOTS_PERCENT: u32 = 179;
const ROOMY_PERCENT: u32 = 300;

/** Inlined where it is used, because the calls would cost a fifth of it. */
export class SmallTable {
  @inline
  static hash(h: BpfHtab, key: u32): u32 {
    return hash4(key, <u32>h.seed);
  }

  @inline
  static home(chunks: u32, nChunks: u32, hash: u32): u32 {
    return chunks + (Chunks.index(hash, nChunks) << 6);
  }

  /** Slots of a chunk that hold the key, a bit each. */
  @inline
  static candidates(chunk: u32, key: u32): u32 {
    const first = i32x4.bitmask(i32x4.eq(v128.load(chunk), i32x4.splat(key)));
    return first | (u32(load<u32>(chunk, 16) == key) << 4);
  }

  @inline
  static valueOf(chunk: u32, slot: u32): u32 {
    return chunk + VALUES_AT + (slot << 3);
  }

  @inline
  static slotOf(value: u32): u32 {
    return ((value & 63) - VALUES_AT) >> 3;
  }

  /** Address of the value of a key; 0 when absent. */
  @inline
  static lookup(h: BpfHtab, hash: u32, key: u32): u32 {
    return SmallTable.lookupFrom(h, SmallTable.home(h.chunks, h.nChunks, hash), key);
  }

  @inline
  static lookupFrom(h: BpfHtab, home: u32, key: u32): u32 {
    const found = SmallTable.candidates(home, key);
    if (found != 0) return SmallTable.valueOf(home, ctz(found));
    return load<u16>(home, OVERFLOW_AT) == 0 ? 0 : lookupBehind(h, home, key);
  }

  /**
   * The value of a key as map_get4 has it. Looks at no more than two chunks and calls nothing: a function of this alone
   * needs neither a frame nor a stack check, a fifth of its instructions.
   */
  @inline
  static number(h: BpfHtab, key: u32): u32 {
    let chunk = SmallTable.home(h.chunks, h.nChunks, SmallTable.hash(h, key));
    let found = SmallTable.candidates(chunk, key);
    if (found == 0) {
      if (load<u16>(chunk, OVERFLOW_AT) == 0) return <u32>ABSENT;
      chunk += CHUNK;
      if (chunk == h.chunksEnd) return <u32>ASK;
      found = SmallTable.candidates(chunk, key) & load<u8>(chunk, USED_AT);
      if (found == 0) return <u32>ASK;
    }
    return Chunks.number(load<u64>(chunk + (ctz(found) << 3), VALUES_AT));
  }

  /** Takes a slot for an absent key, not yet visible. @returns the address of its value */
  @inline
  static take(h: BpfHtab, hash: u32): u32 {
    const home = SmallTable.home(h.chunks, h.nChunks, hash);
    const used: u32 = load<u8>(home, USED_AT);
    return used == ALL_SLOTS ? takeBehind(h, home) : SmallTable.valueOf(home, ctz(~used));
  }

  /** Makes the slot of a value visible. */
  @inline
  static publish(value: u32, key: u32): void {
    const chunk = value & ~63;
    const slot = SmallTable.slotOf(value);
    store<u32>(chunk + (slot << 2), key);
    const used: u32 = load<u8>(chunk, USED_AT);
    store<u8>(chunk, used | (1 << slot), USED_AT);
  }
}

function chunkAfter(h: BpfHtab, chunk: u32): u32 {
  chunk += CHUNK;
  return chunk == h.chunksEnd ? h.chunks : chunk;
}

/** lookupFrom for what is not in its home. */
function lookupBehind(h: BpfHtab, home: u32, key: u32): u32 {
  let chunk = home;
  while (load<u16>(chunk, OVERFLOW_AT) != 0) {
    chunk = chunkAfter(h, chunk);
    if (chunk == home) return 0;
    const found = SmallTable.candidates(chunk, key) & load<u8>(chunk, USED_AT);
    if (found != 0) return SmallTable.valueOf(chunk, ctz(found));
  }
  return 0;
}

/** take when the home is full. */
function takeBehind(h: BpfHtab, home: u32): u32 {
  let chunk = home;
  let used: u32 = 0;
  do {
    addOverflow(chunk + OVERFLOW_AT, 1);
    chunk = chunkAfter(h, chunk);
    used = load<u8>(chunk, USED_AT);
  } while (used == ALL_SLOTS);
  return SmallTable.valueOf(chunk, ctz(~used));
}

/** Empties the slot of a value. */
export function smallRemove(h: BpfHtab, hash: u32, value: u32): void {
  const chunk = value & ~63;
  clearSlot(h, chunk, SmallTable.slotOf(value));
  let home = SmallTable.home(h.chunks, h.nChunks, hash);
  while (home != chunk) {
    addOverflow(home + OVERFLOW_AT, -1);
    home = chunkAfter(h, home);
  }
}

/** Marks a slot as not in use. */
function clearSlot(h: BpfHtab, chunk: u32, slot: u32): void {
  const used: u32 = load<u8>(chunk, USED_AT);
  store<u8>(chunk, used & ~(1 << slot), USED_AT);
  store<u32>(chunk + (slot << 2), chunk == h.emptyHome ? h.emptyKey : 0);
}

export function smallUsed(chunk: u32): u32 {
  return load<u8>(chunk, USED_AT);
}

export function smallOverflow(chunk: u32): u32 {
  return load<u16>(chunk, OVERFLOW_AT);
}

// ---- creation -------------------------------------------------------------------------------------------------------

/** The geometry of a table, before its chunks are allocated. */
export function smallLayout(h: BpfHtab): void {
  h.keyStride = 4;
  h.valueOff = VALUES_AT;
  h.valueStride = 8;
  h.slotCount = SLOTS;
  h.chunkSize = CHUNK;
  h.nChunks = chunkCount(h, SLOTS, SLOTS_PERCENT, ROOMY_PERCENT);
}

/** Prepares the zeroed chunks: finds the keys of empty slots. */
export function smallInit(h: BpfHtab): void {
  h.emptyHome = homeOf(h, 0);
  h.emptyKey = 1;
  while (homeOf(h, h.emptyKey) == h.emptyHome) h.emptyKey++;
  for (let slot: u32 = 0; slot < SLOTS; slot++) clearSlot(h, h.emptyHome, slot);
}

function homeOf(h: BpfHtab, key: u32): u32 {
  return SmallTable.home(h.chunks, h.nChunks, SmallTable.hash(h, key));
}

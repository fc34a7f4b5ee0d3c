// Tables of small elements with 8- and 16-byte keys: groups of 14 slots, their tags apart from them.
//
//   metas, 16 bytes a group      0          14
//                                | tag * 14 | overflow |        tag: 1..255 from the hash, 0 for an empty slot
//   chunks, elements of 16 or    0     valueOff
//   32 bytes, 14 a group         | key | value | ...
//
// The tags of a million elements fit the caches, and an element is in one cache line: a lookup costs one line of memory.
// With 11 other tags of 255 kinds, two lookups in a hundred compare a wrong element first.
//
// In the shared build lookups take no lock: the tag is what makes an element visible, so it is written last.

import { ASK_AT } from "../ts/abi";
import { BpfHtab } from "./hashtab";
import { Chunks, addOverflow, chunkCount, tagOf } from "./htab_chunk";

const SLOTS: u32 = 14;
const ALL_SLOTS: u32 = 0x3fff;
const META_SHIFT: u32 = 4;
const OVERFLOW_AT: u32 = 14;

/** Slots for 100 entries: 80 % of them in use. Fuller and emptier tables were slower. */
const SLOTS_PERCENT: u32 = 125;
const ROOMY_PERCENT: u32 = 200;

/** Inlined where it is used. A key is (a, b), as in htab_table.ts; K is u64 or v128. */
export class GroupTable {
  /** Addresses of elements are those of their keys. */
  @inline
  static elem(h: BpfHtab, group: u32, slot: u32): u32 {
    return h.chunks + ((group * SLOTS + slot) << h.elemShift);
  }

  @inline
  static holds<K>(elem: u32, a: u64, b: u64): bool {
    if (sizeof<K>() == 8) return load<u64>(elem) == a;
    return ((load<u64>(elem) ^ a) | (load<u64>(elem, 8) ^ b)) == 0;
  }

  /** Slots with a tag, a bit each. */
  @inline
  static tagged(meta: u32, tag: u32): u32 {
    return Chunks.tagged(meta, tag) & ALL_SLOTS;
  }

  /** Address of the value of a key; 0 when absent. */
  @inline
  static lookup<K>(h: BpfHtab, hash: u32, a: u64, b: u64): u32 {
    const group = Chunks.index(hash, h.nChunks);
    const meta = h.metas + (group << META_SHIFT);
    const slots = GroupTable.tagged(meta, tagOf(hash));
    if (slots != 0) {
      const elem = GroupTable.elem(h, group, ctz(slots));
      if (GroupTable.holds<K>(elem, a, b)) return elem + <u32>sizeof<K>();
    } else if (load<u16>(meta, OVERFLOW_AT) == 0) {
      return 0;
    }
    return lookupRest<K>(h, hash, group, a, b);
  }

  /** lookup by the first candidate alone, ASK_AT when that does not tell. Calls nothing (SmallTable.number). */
  @inline
  static lookupFirst<K>(h: BpfHtab, a: u64, b: u64): u32 {
    const hash = Chunks.hash<K>(h, a, b);
    const group = Chunks.index(hash, h.nChunks);
    const meta = h.metas + (group << META_SHIFT);
    const slots = GroupTable.tagged(meta, tagOf(hash));
    if (slots != 0) {
      const elem = GroupTable.elem(h, group, ctz(slots));
      if (GroupTable.holds<K>(elem, a, b)) return elem + <u32>sizeof<K>();
    }
    const isLast = (slots & (slots - 1)) == 0;
    return isLast && load<u16>(meta, OVERFLOW_AT) == 0 ? 0 : <u32>ASK_AT;
  }

  /** Takes a slot for an absent key, not yet visible. @returns the address of its value */
  @inline
  static take<K>(h: BpfHtab, hash: u32): u32 {
    return takeElem(h, Chunks.index(hash, h.nChunks)) + <u32>sizeof<K>();
  }

  /** Makes the slot of a value visible. */
  @inline
  static publish<K>(h: BpfHtab, hash: u32, value: u32, a: u64, b: u64): void {
    const elem = value - <u32>sizeof<K>();
    store<u64>(elem, a);
    if (sizeof<K>() == 16) store<u64>(elem, b, 8);
    store<u8>(tagPtr(h, numberOf(h, elem)), tagOf(hash));
  }
}

/** Index of an element among all slots. */
function numberOf(h: BpfHtab, elem: u32): u32 {
  return (elem - h.chunks) >> h.elemShift;
}

function tagPtr(h: BpfHtab, number: u32): u32 {
  return h.metas + ((number / SLOTS) << META_SHIFT) + (number % SLOTS);
}

/** The position of an element, as htab_table.ts has it. */
export function groupPosition(h: BpfHtab, elem: u32): u32 {
  const number = numberOf(h, elem);
  return GroupTable.elem(h, number / SLOTS, 0) | (number % SLOTS);
}

/** A search from its beginning: the first candidate was wrong, or not in its home. */
function lookupRest<K>(h: BpfHtab, hash: u32, home: u32, a: u64, b: u64): u32 {
  let group = home;
  while (true) {
    const meta = h.metas + (group << META_SHIFT);
    let slots = GroupTable.tagged(meta, tagOf(hash));
    while (slots != 0) {
      const elem = GroupTable.elem(h, group, ctz(slots));
      if (GroupTable.holds<K>(elem, a, b)) return elem + <u32>sizeof<K>();
      slots &= slots - 1;
    }
    if (load<u16>(meta, OVERFLOW_AT) == 0) return 0;
    group = groupAfter(h, group);
    if (group == home) return 0;
  }
}

function groupAfter(h: BpfHtab, group: u32): u32 {
  return group + 1 == h.nChunks ? 0 : group + 1;
}

/** An unused slot at or behind a home, with the overflow marks of its element. */
function takeElem(h: BpfHtab, group: u32): u32 {
  while (true) {
    const unused = GroupTable.tagged(h.metas + (group << META_SHIFT), 0);
    if (unused != 0) return GroupTable.elem(h, group, ctz(unused));
    addOverflow(h.metas + (group << META_SHIFT) + OVERFLOW_AT, 1);
    group = groupAfter(h, group);
  }
}

/** Empties the slot of an element. */
export function groupRemove(h: BpfHtab, hash: u32, elem: u32): void {
  const number = numberOf(h, elem);
  store<u8>(tagPtr(h, number), 0);
  let group = Chunks.index(hash, h.nChunks);
  while (group != number / SLOTS) {
    addOverflow(h.metas + (group << META_SHIFT) + OVERFLOW_AT, -1);
    group = groupAfter(h, group);
  }
}

/** The tags and the overflow of the group that begins at `chunk`. */
export function groupMeta(h: BpfHtab, chunk: u32): u32 {
  return h.metas + (((chunk - h.chunks) / h.chunkSize) << META_SHIFT);
}

export function groupUsed(h: BpfHtab, chunk: u32): u32 {
  return ~GroupTable.tagged(groupMeta(h, chunk), 0) & ALL_SLOTS;
}

export function groupOverflow(h: BpfHtab, chunk: u32): u32 {
  return load<u16>(groupMeta(h, chunk), OVERFLOW_AT);
}

/** The geometry of a table, before its chunks are allocated. */
export function groupLayout(h: BpfHtab): void {
  h.valueOff = h.keySize;
  h.elemShift = h.keySize + h.valueSize <= 16 ? 4 : 5;
  h.keyStride = 1 << h.elemShift;
  h.valueStride = h.keyStride;
  h.slotCount = SLOTS;
  h.chunkSize = SLOTS << h.elemShift;
  h.nChunks = chunkCount(h, SLOTS, SLOTS_PERCENT, ROOMY_PERCENT);
}

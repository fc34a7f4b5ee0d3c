// Tables whose elements live in the table itself: preallocated HASH maps of small elements, without BPF_F_ZERO_SEED. The
// size of the key decides the layout: 4 bytes htab_small.ts, 8 and 16 bytes htab_group.ts. Here is what both have in
// common, for code that is generic in the key: (a, b), K as in htab_table.ts.

import { STEP_BYTES, STEP_POS_AT, STEP_VALUE_AT } from "../ts/abi";
import { BpfHtab } from "./hashtab";
import { Chunks } from "./htab_chunk";
import {
  GroupTable,
  groupLayout,
  groupOverflow,
  groupPosition,
  groupRemove,
  groupUsed,
} from "./htab_group";
import {
  SmallTable,
  smallInit,
  smallLayout,
  smallOverflow,
  smallRemove,
  smallUsed,
} from "./htab_small";

export class InlineTable {
  @inline
  static hash<K>(h: BpfHtab, a: u64, b: u64): u32 {
    return sizeof<K>() == 4 ? SmallTable.hash(h, <u32>a) : Chunks.hash<K>(h, a, b);
  }

  /** Address of the value of a key; 0 when absent. */
  @inline
  static lookup<K>(h: BpfHtab, hash: u32, a: u64, b: u64): u32 {
    if (sizeof<K>() == 4) return SmallTable.lookup(h, hash, <u32>a);
    return GroupTable.lookup<K>(h, hash, a, b);
  }

  /** Takes a slot for an absent key, not yet visible. @returns the address of its value */
  @inline
  static take<K>(h: BpfHtab, hash: u32): u32 {
    return sizeof<K>() == 4 ? SmallTable.take(h, hash) : GroupTable.take<K>(h, hash);
  }

  /** Writes the key, which makes the value visible. */
  @inline
  static publish<K>(h: BpfHtab, hash: u32, value: u32, a: u64, b: u64): void {
    if (sizeof<K>() == 4) SmallTable.publish(value, <u32>a);
    else GroupTable.publish<K>(h, hash, value, a, b);
  }
}

/** InlineTable.lookup by the address of the key. */
export function inlineLookup(h: BpfHtab, key: usize): u32 {
  const a = load<u32>(key);
  if (h.keySize == 4) return SmallTable.lookup(h, SmallTable.hash(h, a), a);
  return h.keySize == 8
    ? groupLookup<u64>(h, load<u64>(key), 0)
    : groupLookup<v128>(h, load<u64>(key), load<u64>(key, 8));
}

function groupLookup<K>(h: BpfHtab, a: u64, b: u64): u32 {
  return GroupTable.lookup<K>(h, Chunks.hash<K>(h, a, b), a, b);
}

/** The position of a value, as htab_table.ts has it. */
export function inlinePosition(h: BpfHtab, value: u32): u32 {
  if (h.keySize == 4) return (value & ~63) | SmallTable.slotOf(value);
  return groupPosition(h, value - h.valueOff);
}

/** Empties the slot of a value. */
export function inlineRemove(h: BpfHtab, hash: u32, value: u32): void {
  if (h.keySize == 4) smallRemove(h, hash, value);
  else groupRemove(h, hash, value - h.valueOff);
}

/** Slots of a chunk in use, a bit each. */
export function inlineUsed(h: BpfHtab, chunk: u32): u32 {
  return h.keySize == 4 ? smallUsed(chunk) : groupUsed(h, chunk);
}

export function inlineOverflow(h: BpfHtab, chunk: u32): u32 {
  return h.keySize == 4 ? smallOverflow(chunk) : groupOverflow(h, chunk);
}

/**
 * Walks ahead: writes up to `max` elements from slot `slot` of a chunk on to `out` (STEP_BYTES each). @returns how many
 */
export function inlineSteps(h: BpfHtab, chunk: u32, slot: u32, out: usize, max: u32): u32 {
  let used = inlineUsed(h, chunk) & (~0 << slot);
  for (let count: u32 = 0; count < max; count++) {
    while (used == 0) {
      chunk += h.chunkSize;
      if (chunk == h.chunksEnd) return count;
      used = inlineUsed(h, chunk);
    }
    const at: u32 = ctz(used);
    used &= used - 1;
    const key = chunk + at * h.keyStride;
    store<u64>(out, load<u64>(key));
    if (h.keySize == 16) store<u64>(out, load<u64>(key, 8), 8);
    store<u32>(out, chunk + h.valueOff + at * h.valueStride, STEP_VALUE_AT);
    store<u32>(out, chunk | at, STEP_POS_AT);
    out += STEP_BYTES;
  }
  return max;
}

// ---- creation -------------------------------------------------------------------------------------------------------

/** Are there layouts for these sizes? A small table needs a second home to take an empty key from. */
export function inlineFits(keySize: u32, valueSize: u32, maxEntries: u32): bool {
  if (maxEntries < 2) return false;
  return keySize == 4
    ? valueSize <= 8
    : (keySize == 8 || keySize == 16) && valueSize <= 32 - keySize;
}

/** The geometry of a table, before its chunks are allocated. */
export function inlineLayout(h: BpfHtab): void {
  if (h.keySize == 4) smallLayout(h);
  else groupLayout(h);
}

/** Bytes beside the chunks. */
export function inlineMetaBytes(h: BpfHtab): u64 {
  return h.keySize == 4 ? 0 : <u64>h.nChunks * 16;
}

/** Prepares the zeroed chunks. */
export function inlineInit(h: BpfHtab): void {
  if (h.keySize == 4) smallInit(h);
}

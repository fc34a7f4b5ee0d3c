// The doors of the typed API for numbers: values of 4 or 8 bytes that are numbers of 32 bits, keys of 4 or 8 bytes.
//
// Each does the commonest case: an inline table, and a key that is in its home. All else is left to a call at the end, whose
// answer is passed on as it is, so that nothing has to be saved across the call.

import { ABSENT, ASK } from "../ts/abi";
import { BPF_ANY, E2BIG, ENOENT } from "../ts/uapi";
import { isOpen, map_lookup4, map_lookup_u64, remove, update, words64 } from "./fast";
import { BpfHtab, lockOf } from "./hashtab";
import { Chunks, NO_CANDIDATE } from "./htab_chunk";
import { InlineTable, inlineBehind, inlinePublish, inlineTake } from "./htab_inline";
import { SeparateTable, valueAt } from "./htab_table";
import { htabUpdatePlain, removeValue } from "./htab_update";
import { SCRATCH_NUMBER, scratchPtr } from "./kernel";
import { lock, unlock } from "./lib/lock";

/** Inline tables: the value, ABSENT, or ASK. */
export function map_get4(map: usize, handle: u32, k0: u32): u32 {
  const h = changetype<BpfHtab>(map);
  return h.inlineHandle == handle ? InlineTable.number<u32>(h, k0) : <u32>ASK;
}

/** map_get4 for 8-byte keys. */
export function map_get_u64(map: usize, handle: u32, key: u64): u32 {
  const h = changetype<BpfHtab>(map);
  return h.inlineHandle == handle ? InlineTable.number<u64>(h, key) : <u32>ASK;
}

/** map_get4 for the other hash types, no per-CPU ones: LRU types mark the entry. */
export function map_get4_separate(map: usize, handle: u32, k0: u32): u32 {
  const h = changetype<BpfHtab>(map);
  return h.plainHandle == handle ? SeparateTable.number(h, k0) : <u32>ASK;
}

/** After map_get4 or map_get4_separate answered ASK: the same question, in the general way. */
export function map_get4_any(map: usize, handle: u32, k0: u32): u32 {
  return numberAt(map, handle, map_lookup4(map, handle, k0));
}

/** After map_get_u64 answered ASK. */
export function map_get_u64_any(map: usize, handle: u32, key: u64): u32 {
  return numberAt(map, handle, map_lookup_u64(map, handle, key));
}

function numberAt(map: usize, handle: u32, at: usize): u32 {
  if (at == 0) return isOpen(map, handle) ? <u32>ABSENT : <u32>ASK;
  return Chunks.number(load<u64>(at));
}

/** BPF_ANY with a value of up to 8 bytes, stored with the zeros behind it, for which there is room. */
function put<K>(map: usize, handle: u32, key: u64, value: u64): i32 {
  const h = changetype<BpfHtab>(map);
  if (h.storeHandle != handle) return putOther(map, handle, key, value);
  const hash = InlineTable.hash<K>(h, key, 0);
  const home = InlineTable.numberHome(h, hash);
  lock(lockOf(h));
  const first: u32 = ctz(InlineTable.candidates<K>(home, key, 0));
  if (first & NO_CANDIDATE) {
    const meta = InlineTable.meta<K>(h, home);
    const used = InlineTable.used<K>(meta);
    // One after the other: V8 would put the result of `||` in a register, and ask again.
    if (InlineTable.wentOn<K>(meta, hash)) return putBehind(h, home, key, value, hash);
    if (h.count >= h.maxEntries) return putBehind(h, home, key, value, hash);
    if (InlineTable.nextSlot(used) == InlineTable.slotCount<K>())
      return putBehind(h, home, key, value, hash);
    h.count++;
    InlineTable.insertHome<K>(h, home, meta, used, key, value);
  } else {
    store<u64>(InlineTable.numberAt<K>(home, first), value);
  }
  unlock(lockOf(h));
  return 0;
}

/** put for a key that is not in its home, and may be behind it, or has no room there. The lock is held, and given back. */
function putBehind(h: BpfHtab, home: u32, key: u64, value: u64, hash: u32): i32 {
  let to = inlineBehind(h, home, key, 0, hash);
  const isNew = to == 0;
  const ret = isNew && h.count >= h.maxEntries ? -E2BIG : 0;
  if (ret == 0) {
    const pos = isNew ? inlineTake(h, hash) : 0;
    if (isNew) to = <u32>valueAt(h, pos);
    store<u64>(to, value);
    if (isNew) {
      inlinePublish(h, pos, key, 0);
      h.count++;
    }
  }
  unlock(lockOf(h));
  return ret;
}

/** The value's words; the second one is 0 where it has no more than 4 bytes. */
export function map_put4(map: usize, handle: u32, k0: u32, v0: u32, v1: u32): i32 {
  return put<u32>(map, handle, k0, words64(v0, v1));
}

export function map_put_u64(map: usize, handle: u32, key: u64, v0: u32, v1: u32): i32 {
  return put<u64>(map, handle, key, words64(v0, v1));
}

/** put for maps that are not inline tables, or may not be written. */
function putOther(map: usize, handle: u32, key: u64, value: u64): i32 {
  const window = scratchPtr() + SCRATCH_NUMBER;
  // One store: a wide load of what narrow stores have just written would wait for them.
  store<u64>(window, value);
  const h = changetype<BpfHtab>(map);
  return h.plainHandle == handle && !h.frozen
    ? htabUpdatePlain(h, key, window)
    : update(map, handle, key, 0, window, BPF_ANY);
}

/** Deletes a key; its value may have any size. */
export function map_delete4(map: usize, handle: u32, k0: u32): i32 {
  const h = changetype<BpfHtab>(map);
  if (h.storeHandle != handle) return remove(map, handle, k0, 0);
  const hash = InlineTable.hash4(h, k0);
  const home = InlineTable.home<u32>(h, hash);
  lock(lockOf(h));
  const first: u32 = ctz(InlineTable.candidates4(home, k0));
  if (first & NO_CANDIDATE) return removeBehind(h, home, k0, hash);
  h.count--;
  h.removals++;
  InlineTable.removeHome<u32>(h, home, first);
  unlock(lockOf(h));
  return 0;
}

/** map_delete4 for a key that is not in its home. The lock is held, and given back. */
function removeBehind(h: BpfHtab, home: u32, key: u32, hash: u32): i32 {
  const value = InlineTable.behind<u32>(h, home, key, 0, hash);
  if (value != 0) removeValue(h, value, hash);
  unlock(lockOf(h));
  return value == 0 ? -ENOENT : 0;
}

export function map_delete_u64(map: usize, handle: u32, key: u64): i32 {
  return remove(map, handle, key, 0);
}

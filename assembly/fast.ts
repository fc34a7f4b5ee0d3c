// The doors of the typed API: one call an operation, keys of 4, 8 and 16 bytes as arguments. They do what bpf(2) does
// after its envelope, for a caller whose fd may read and write.
//
// The doors with a key size in the name are for hash types with keys of that size, array_lookup for ARRAY: the caller
// knows what it has. All others are for any type. Those for numbers are in fast_number.ts.

import { ASK_AT } from "../ts/abi";
import { EFAULT, EINVAL, ENOENT, EPERM } from "../ts/uapi";
import { BpfArray } from "./arraymap";
import { BpfHtab, htabUse, isHtab, lockOf } from "./hashtab";
import { htabDelete, htabUpdate } from "./htab_update";
import { Chunks } from "./htab_chunk";
import { InlineTable, inlineLookup, inlineSteps } from "./htab_inline";
import { find, hashKey } from "./htab_table";
import { upper4 } from "./lib/hash";
import { copyBytes, isUserRange, zeroBytes } from "./lib/bytes";
import { SHARED, lock, unlock } from "./lib/lock";
import { BpfMap, NO_LOCK, isErr, lockMissing, mapByHandle } from "./map";

/** Two words, of a key or a value. */
export function words64(low: u32, high: u32): u64 {
  return ((<u64>high) << 32) | low;
}

/**
 * Is `map` still the map with this handle? The sized doors take both: the address saves the way through the table of
 * handles, which costs as much as the lookup. A map that ends clears its handle, and callers never pass 0; a closed typed map
 * does not call at all.
 */
export function isOpen(map: usize, handle: u32): bool {
  return changetype<BpfMap>(map).handle == handle;
}

/** Address of the value of a key of K's size, 0 when absent. */
function lookup<K>(map: usize, handle: u32, a: u64, b: u64): usize {
  const h = changetype<BpfHtab>(map);
  if (h.inlineHandle == handle) return inlineLookup<K>(h, InlineTable.hash<K>(h, a, b), a, b);
  return lookupOther(map, handle, a, b);
}

function lookupOther(map: usize, handle: u32, a: u64, b: u64): usize {
  if (!isOpen(map, handle)) return 0;
  const h = changetype<BpfHtab>(map);
  const value = find(h, hashKey(h, a, b), a, b);
  return value == 0 ? 0 : htabUse(h, value);
}

export function update(map: usize, handle: u32, a: u64, b: u64, value: usize, flags: u32): i32 {
  if (!isOpen(map, handle)) return -EINVAL;
  const h = changetype<BpfHtab>(map);
  if (h.frozen) return -EPERM;
  return htabUpdate(h, a, b, value, flags, true);
}

export function remove(map: usize, handle: u32, a: u64, b: u64): i32 {
  if (!isOpen(map, handle)) return -EINVAL;
  const h = changetype<BpfHtab>(map);
  if (h.frozen) return -EPERM;
  return htabDelete(h, a, b);
}

/** Are the elements of this map in the table itself? */
export function map_is_inline(handle: u32): bool {
  const map = mapByHandle(handle);
  return map != 0 && changetype<BpfMap>(map).isInline;
}

/** Inline tables with 16-byte keys: address of the value, 0 when absent, or ASK_AT. */
export function map_at16(map: usize, handle: u32, k0: u32, k1: u32, k2: u32, k3: u32): usize {
  const h = changetype<BpfHtab>(map);
  return h.inlineHandle == handle
    ? InlineTable.lookupFirst(h, words64(k0, k1), words64(k2, k3))
    : ASK_AT;
}

/** Hash maps with 4-byte keys: address of the value, 0 when absent. */
export function map_lookup4(map: usize, handle: u32, k0: u32): usize {
  const h = changetype<BpfHtab>(map);
  if (h.inlineHandle != handle) return lookupOther(map, handle, k0, 0);
  return InlineTable.lookup4(h, InlineTable.hash4(h, k0), k0, i32x4.splat(k0));
}

export function map_lookup8(map: usize, handle: u32, k0: u32, k1: u32): usize {
  return lookup<u64>(map, handle, words64(k0, k1), 0);
}

export function map_lookup16(map: usize, handle: u32, k0: u32, k1: u32, k2: u32, k3: u32): usize {
  return lookup<v128>(map, handle, words64(k0, k1), words64(k2, k3));
}

/** Hash maps with 4-byte keys; `value` is an address the caller owns. */
export function map_update4(map: usize, handle: u32, k0: u32, value: usize, flags: u32): i32 {
  return update(map, handle, k0, 0, value, flags);
}

export function map_update8(
  map: usize,
  handle: u32,
  k0: u32,
  k1: u32,
  value: usize,
  flags: u32,
): i32 {
  return update(map, handle, words64(k0, k1), 0, value, flags);
}

export function map_update16(
  map: usize,
  handle: u32,
  k0: u32,
  k1: u32,
  k2: u32,
  k3: u32,
  value: usize,
  flags: u32,
): i32 {
  return update(map, handle, words64(k0, k1), words64(k2, k3), value, flags);
}

export function map_delete8(map: usize, handle: u32, k0: u32, k1: u32): i32 {
  return remove(map, handle, words64(k0, k1), 0);
}

export function map_delete16(map: usize, handle: u32, k0: u32, k1: u32, k2: u32, k3: u32): i32 {
  return remove(map, handle, words64(k0, k1), words64(k2, k3));
}

/** Hash maps with 8-byte keys, as one i64. */
export function map_lookup_u64(map: usize, handle: u32, key: u64): usize {
  return lookup<u64>(map, handle, key, 0);
}

export function map_update_u64(map: usize, handle: u32, key: u64, value: usize, flags: u32): i32 {
  return update(map, handle, key, 0, value, flags);
}

/** ARRAY: address of the value, 0 when the index is out of range. */
export function array_lookup(map: usize, handle: u32, index: u32): usize {
  if (!isOpen(map, handle)) return 0;
  const array = changetype<BpfArray>(map);
  return index < array.maxEntries ? array.values + index * array.stride : 0;
}

/** Any keyed type: address of the value (LRU types: referenced now), 0 when absent. */
export function map_lookup(handle: u32, key: usize): usize {
  const map = mapByHandle(handle);
  return map == 0 ? 0 : changetype<BpfMap>(map).lookupElem(key);
}

/** As map_lookup, without marking the entry. */
export function map_peek(handle: u32, key: usize): usize {
  const map = mapByHandle(handle);
  return map == 0 ? 0 : changetype<BpfMap>(map).peekElem(key);
}

/** The map of a handle; as an address -EINVAL: none, or BPF_F_LOCK without a lock; -EPERM: it is frozen (`writes`). */
export function mapFor(handle: u32, flags: u32, writes: bool): usize {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return <usize>-EINVAL;
  const map = changetype<BpfMap>(ptr);
  if (writes && map.frozen) return <usize>-EPERM;
  return lockMissing(map, flags) ? <usize>-EINVAL : ptr;
}

/** Copies the value (all CPUs' slots) to `value`. */
export function map_lookup_copy(handle: u32, key: usize, value: u32, flags: u32): i32 {
  const map = mapFor(handle, flags, false);
  return isErr(map) ? <i32>map : changetype<BpfMap>(map).lookupUser(key, value, flags);
}

export function map_lookup_and_delete(handle: u32, key: usize, value: u32, flags: u32): i32 {
  const map = mapFor(handle, flags, true);
  return isErr(map) ? <i32>map : changetype<BpfMap>(map).lookupAndDeleteUser(key, value, flags);
}

export function map_update(handle: u32, key: usize, value: usize, flags: u32): i32 {
  const ptr = mapFor(handle, flags, true);
  if (isErr(ptr)) return <i32>ptr;
  const map = changetype<BpfMap>(ptr);
  if (!isUserRange(value, map.userValueSize())) return -EFAULT;
  return map.keySize == 0 ? map.pushElem(value, flags) : map.updateElem(key, value, flags, true);
}

export function map_delete(handle: u32, key: usize): i32 {
  const map = mapFor(handle, 0, true);
  return isErr(map) ? <i32>map : changetype<BpfMap>(map).deleteElem(key);
}

/** Writes the key after `key` (0: the first) to `next`. */
export function map_get_next_key(handle: u32, key: usize, next: u32): i32 {
  const map = mapByHandle(handle);
  return map == 0 ? -EINVAL : changetype<BpfMap>(map).getNextKey(key, next);
}

/** See BpfMap#iterNext. */
export function map_iter_next(handle: u32, iter: usize, key: usize): usize {
  const map = mapByHandle(handle);
  return map == 0 ? 0 : changetype<BpfMap>(map).iterNext(iter, key);
}

/**
 * Inline tables: up to `max` elements behind `pos` (0: from the beginning), STEP_BYTES each (ts/abi.ts). Whoever shows them
 * one after the other compares the map's count of removals before each. @returns how many
 */
export function map_iter_many(handle: u32, pos: u32, out: usize, max: u32): u32 {
  if (!map_is_inline(handle)) return 0;
  const h = changetype<BpfHtab>(mapByHandle(handle));
  lock(lockOf(h));
  const count =
    pos == 0
      ? inlineSteps(h, h.chunks, 0, out, max)
      : inlineSteps(h, pos & ~15, (pos & 15) + 1, out, max);
  unlock(lockOf(h));
  return count;
}

/** Live elements; -EINVAL for types that do not count. */
export function map_count(handle: u32): f64 {
  const map = mapByHandle(handle);
  return map == 0 ? -EINVAL : <f64>changetype<BpfMap>(map).elemCount();
}

/** `__sync_fetch_and_add` on the 64 bits at an 8-aligned address, the amount in two halves; atomic in the shared build. */
export function value_add64(ptr: usize, low: u32, high: u32): void {
  if (SHARED) atomic.add<u64>(ptr, words64(low, high));
  else store<u64>(ptr, load<u64>(ptr) + words64(low, high));
}

/** Address of the map behind a handle, for the sized doors; 0 when there is none. */
export function map_by_handle(handle: u32): usize {
  return mapByHandle(handle);
}

// ---- many at once ---------------------------------------------------------------------------------------------------
// keys: `count` keys of keySize bytes one behind the other; values likewise, of valueSize bytes (per-CPU types:
// userValueSize). Every address is the caller's own.

/** Any type. Values are those of bpf(2): all CPUs' slots, without the lock. */
function getMany(map: BpfMap, keys: usize, count: u32, values: usize, found: usize): u32 {
  const valueSize = map.userValueSize();
  const isHash = isHtab(map) && !changetype<BpfHtab>(map).isPercpu && map.lockOffset == NO_LOCK;
  let hits: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    // The lookup of a program marks the entry of an LRU map, the copy does not.
    const from = map.lookupElem(keys);
    let hit = from != 0;
    if (hit && isHash) copyBytes(values, from, valueSize);
    else if (hit) hit = map.lookupUser(keys, values, 0) == 0;
    if (!hit) zeroBytes(values, valueSize);
    hits += u32(hit);
    if (found != 0) store<u8>(found + i, u8(hit));
    keys += map.keySize;
    values += valueSize;
  }
  return hits;
}

/** getMany for 4-byte keys in an inline table, without `found`. */
function getManySmall(h: BpfHtab, keys: usize, count: u32, values: usize): u32 {
  const valueSize = h.valueSize;
  const end = keys + (count << 2);
  // getRun writes 8 bytes for values of 4, too: so it is not for the last key, nor where values lie among the keys.
  const isApart = values >= end || <u64>values + <u64>count * valueSize <= <u64>keys;
  let misses: u32 = 0;
  while (keys != end) {
    const start = keys;
    if (isApart) keys = getRun(h, keys, end - 4, values);
    values += ((keys - start) >> 2) * valueSize;
    const from = map_lookup4(changetype<usize>(h), h.handle, load<u32>(keys));
    const value: u64 = from == 0 ? 0 : load<u64>(from);
    if (valueSize == 8) store<u64>(values, value);
    else store<u32>(values, <u32>value);
    misses += u32(from == 0);
    keys += 4;
    values += valueSize;
  }
  return count - misses;
}

/** getManySmall up to the first key that is not in its home, `end` at most. No calls, so everything stays in registers. */
function getRun(h: BpfHtab, keys: usize, end: usize, values: usize): usize {
  const chunks = h.chunks;
  const nChunks = h.nChunks;
  const seed = <u32>h.seed;
  const valueSize = h.valueSize;
  for (; keys < end; keys += 4) {
    const home = chunks + (Chunks.index(upper4(load<u32>(keys), seed), nChunks) << 6);
    // From memory, one instruction makes four of a key.
    const found = InlineTable.equals4(home, v128.load_splat<u32>(keys));
    if (found == 0) break;
    store<u64>(values, load<u64>(InlineTable.value4(home, ctz(found))));
    values += valueSize;
  }
  return keys;
}

/**
 * Looks `count` keys up (LRU types: marked as used). Misses read as zeros; found[i] says which, when `found` is not 0.
 * @returns the number of hits
 */
export function map_get_many(
  handle: u32,
  keys: usize,
  count: u32,
  values: usize,
  found: usize,
): u32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return 0;
  const map = changetype<BpfMap>(ptr);
  const isWordy = map.keySize == 4 && (map.valueSize == 4 || map.valueSize == 8);
  return map.isInline && map.lockOffset == NO_LOCK && isWordy && found == 0
    ? getManySmall(changetype<BpfHtab>(ptr), keys, count, values)
    : getMany(map, keys, count, values, found);
}

/**
 * Updates `count` elements in order, up to the first error.
 * @param error address of an i32 for it: 0 or -errno
 * @returns the number of elements done
 */
export function map_set_many(
  handle: u32,
  keys: usize,
  count: u32,
  values: usize,
  flags: u32,
  error: usize,
): u32 {
  const ptr = mapFor(handle, 0, true);
  let ret = isErr(ptr) ? <i32>ptr : 0;
  const map = changetype<BpfMap>(ptr);
  const valueSize = ret == 0 ? map.userValueSize() : 0;
  let done: u32 = 0;
  while (done < count && ret == 0) {
    ret = map.updateElem(keys + done * map.keySize, values + done * valueSize, flags, true);
    if (ret == 0) done++;
  }
  store<i32>(error, ret);
  return done;
}

/** Deletes `count` keys; absent ones are passed over. @returns the number deleted; error as in map_set_many */
export function map_delete_many(handle: u32, keys: usize, count: u32, error: usize): u32 {
  const ptr = mapFor(handle, 0, true);
  let ret = isErr(ptr) ? <i32>ptr : 0;
  let deleted: u32 = 0;
  for (let i: u32 = 0; i < count && ret == 0; i++) {
    const map = changetype<BpfMap>(ptr);
    ret = map.deleteElem(keys + i * map.keySize);
    if (ret == 0) deleted++;
    else if (ret == -ENOENT) ret = 0;
  }
  store<i32>(error, ret);
  return deleted;
}

// The doors of the typed API: one call an operation, keys of 4, 8 and 16 bytes as arguments. They do what bpf(2) does
// after its envelope, for a caller whose fd may read and write.
//
// The doors with a key size in the name are for hash types (and check that); all others are for any type.

import {
  BPF_F_LOCK,
  BPF_MAP_TYPE_ARRAY,
  EFAULT,
  EINVAL,
  ENOENT,
  EPERM,
} from "../ts/uapi";
import { BpfArray } from "./arraymap";
import { BpfHtab, htabDelete, htabUpdate, htabUse, isHtab } from "./hashtab";
import { find, hashKey } from "./htab_table";
import { copyBytes, isUserRange, zeroBytes } from "./lib/bytes";
import { BpfMap, NO_LOCK, mapByHandle } from "./map";

function key64(low: u32, high: u32): u64 {
  return (<u64>high << 32) | low;
}

/** The hash map of a handle; 0 when it is none. */
function htabByHandle(handle: u32): usize {
  const map = mapByHandle(handle);
  return map != 0 && isHtab(changetype<BpfMap>(map)) ? map : 0;
}

function lookup<K>(handle: u32, a: u64, b: u64): usize {
  const ptr = htabByHandle(handle);
  if (ptr == 0) return 0;
  const h = changetype<BpfHtab>(ptr);
  const pos = find<K>(h, hashKey<K>(h, a, b), a, b);
  return pos == 0 ? 0 : htabUse(h, pos);
}

function update<K>(handle: u32, a: u64, b: u64, value: usize, flags: u32): i32 {
  const ptr = htabByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const h = changetype<BpfHtab>(ptr);
  if (h.frozen) return -EPERM;
  return htabUpdate<K>(h, a, b, value, flags, true);
}

function remove<K>(handle: u32, a: u64, b: u64): i32 {
  const ptr = htabByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const h = changetype<BpfHtab>(ptr);
  return h.frozen ? -EPERM : htabDelete<K>(h, a, b);
}

/** Hash maps with 4-byte keys: address of the value, 0 when absent. */
export function map_lookup4(handle: u32, k0: u32): usize {
  return lookup<u32>(handle, k0, 0);
}

export function map_lookup8(handle: u32, k0: u32, k1: u32): usize {
  return lookup<u64>(handle, key64(k0, k1), 0);
}

export function map_lookup16(handle: u32, k0: u32, k1: u32, k2: u32, k3: u32): usize {
  return lookup<v128>(handle, key64(k0, k1), key64(k2, k3));
}

/** Hash maps with 4-byte keys; `value` is an address the caller owns. */
export function map_update4(handle: u32, k0: u32, value: usize, flags: u32): i32 {
  return update<u32>(handle, k0, 0, value, flags);
}

export function map_update8(handle: u32, k0: u32, k1: u32, value: usize, flags: u32): i32 {
  return update<u64>(handle, key64(k0, k1), 0, value, flags);
}

export function map_update16(handle: u32, k0: u32, k1: u32, k2: u32, k3: u32, value: usize, flags: u32): i32 {
  return update<v128>(handle, key64(k0, k1), key64(k2, k3), value, flags);
}

export function map_delete4(handle: u32, k0: u32): i32 {
  return remove<u32>(handle, k0, 0);
}

export function map_delete8(handle: u32, k0: u32, k1: u32): i32 {
  return remove<u64>(handle, key64(k0, k1), 0);
}

export function map_delete16(handle: u32, k0: u32, k1: u32, k2: u32, k3: u32): i32 {
  return remove<v128>(handle, key64(k0, k1), key64(k2, k3));
}

/** Hash maps with 8-byte keys, as one i64. */
export function map_lookup_u64(handle: u32, key: u64): usize {
  return lookup<u64>(handle, key, 0);
}

export function map_update_u64(handle: u32, key: u64, value: usize, flags: u32): i32 {
  return update<u64>(handle, key, 0, value, flags);
}

export function map_delete_u64(handle: u32, key: u64): i32 {
  return remove<u64>(handle, key, 0);
}

/** ARRAY: address of the value, 0 when the index is out of range. */
export function array_lookup(handle: u32, index: u32): usize {
  const map = mapByHandle(handle);
  if (map == 0 || changetype<BpfMap>(map).mapType != BPF_MAP_TYPE_ARRAY) return 0;
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

/** Copies the value (all CPUs' slots) to `value`. */
export function map_lookup_copy(handle: u32, key: usize, value: u32, flags: u32): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  if (flags & BPF_F_LOCK && map.lockOffset == NO_LOCK) return -EINVAL;
  return map.lookupUser(key, value, flags);
}

export function map_lookup_and_delete(handle: u32, key: usize, value: u32): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  return map.frozen ? -EPERM : map.lookupAndDeleteUser(key, value, 0);
}

export function map_update(handle: u32, key: usize, value: usize, flags: u32): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  if (map.frozen) return -EPERM;
  if (flags & BPF_F_LOCK && map.lockOffset == NO_LOCK) return -EINVAL;
  if (!isUserRange(value, map.userValueSize())) return -EFAULT;
  return map.keySize == 0 ? map.pushElem(value, flags) : map.updateElem(key, value, flags, true);
}

export function map_delete(handle: u32, key: usize): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  return map.frozen ? -EPERM : map.deleteElem(key);
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

/** Live elements; -EINVAL for types that do not count. */
export function map_count(handle: u32): f64 {
  const map = mapByHandle(handle);
  return map == 0 ? -EINVAL : <f64>changetype<BpfMap>(map).elemCount();
}

// ---- many at once ---------------------------------------------------------------------------------------------------
// keys: `count` keys of keySize bytes one behind the other; values likewise, of valueSize bytes (per-CPU types:
// userValueSize). Every address is the caller's own.

function getMany<K>(h: BpfHtab, keys: usize, count: u32, values: usize, found: usize): u32 {
  const keySize = h.keySize;
  const valueSize = h.valueSize;
  let hits: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const a = sizeof<K>() == 4 ? <u64>load<u32>(keys) : sizeof<K>() == 1 ? <u64>keys : load<u64>(keys);
    const b = sizeof<K>() == 16 ? load<u64>(keys, 8) : 0;
    const pos = find<K>(h, hashKey<K>(h, a, b), a, b);
    if (pos == 0) {
      zeroBytes(values, valueSize);
    } else {
      hits++;
      const from = htabUse(h, pos);
      if (valueSize == 8) store<u64>(values, load<u64>(from));
      else if (valueSize == 4) store<u32>(values, load<u32>(from));
      else copyBytes(values, from, valueSize);
    }
    if (found != 0) store<u8>(found + i, pos == 0 ? 0 : 1);
    keys += keySize;
    values += valueSize;
  }
  return hits;
}

/**
 * Looks `count` keys up (hash types; LRU types: marked as used; per-CPU types: the current CPU's slots). Misses read as
 * zeros; found[i] says which, when `found` is not 0.
 * @returns the number of hits
 */
export function map_get_many(handle: u32, keys: usize, count: u32, values: usize, found: usize): u32 {
  const ptr = htabByHandle(handle);
  if (ptr == 0) return 0;
  const h = changetype<BpfHtab>(ptr);
  switch (h.keySize) {
    case 4:
      return getMany<u32>(h, keys, count, values, found);
    case 8:
      return getMany<u64>(h, keys, count, values, found);
    case 16:
      return getMany<v128>(h, keys, count, values, found);
    default:
      return getMany<u8>(h, keys, count, values, found);
  }
}

/**
 * Updates `count` elements in order, up to the first error.
 * @param error address of an i32 for it: 0 or -errno
 * @returns the number of elements done
 */
export function map_set_many(handle: u32, keys: usize, count: u32, values: usize, flags: u32, error: usize): u32 {
  store<i32>(error, -EINVAL);
  const ptr = mapByHandle(handle);
  if (ptr == 0) return 0;
  const map = changetype<BpfMap>(ptr);
  const keySize = map.keySize;
  const valueSize = map.userValueSize();
  let ret = map.frozen ? -EPERM : 0;
  let done: u32 = 0;
  while (done < count && ret == 0) {
    ret = map.updateElem(keys, values, flags, true);
    if (ret == 0) done++;
    keys += keySize;
    values += valueSize;
  }
  store<i32>(error, ret);
  return done;
}

/** Deletes `count` keys; absent ones are passed over. @returns the number deleted; error as in map_set_many */
export function map_delete_many(handle: u32, keys: usize, count: u32, error: usize): u32 {
  store<i32>(error, -EINVAL);
  const ptr = mapByHandle(handle);
  if (ptr == 0) return 0;
  const map = changetype<BpfMap>(ptr);
  let ret = map.frozen ? -EPERM : 0;
  let deleted: u32 = 0;
  for (let i: u32 = 0; i < count && ret == 0; i++) {
    ret = map.deleteElem(keys + i * map.keySize);
    if (ret == 0) deleted++;
    else if (ret == -ENOENT) ret = 0;
  }
  store<i32>(error, ret);
  return deleted;
}

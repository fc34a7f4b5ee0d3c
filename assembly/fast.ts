// The doors of the typed API: one call an operation, keys of 4, 8 and 16 bytes as arguments. They do what bpf(2) does
// after its envelope; the caller has an fd that may read and write.

import { BPF_F_LOCK, EFAULT, EINVAL, EPERM } from "../ts/uapi";
import { BpfHtab, htabUpdate, htabUse } from "./hashtab";
import { find, hashKey } from "./htab_table";
import { isUserRange } from "./lib/bytes";
import { BpfMap, NO_LOCK, mapByHandle } from "./map";

function key64(low: u32, high: u32): u64 {
  return (<u64>high << 32) | low;
}

function lookup<K>(handle: u32, a: u64, b: u64): usize {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return 0;
  const h = changetype<BpfHtab>(ptr);
  const pos = find<K>(h, hashKey<K>(h, a, b), a, b);
  return pos == 0 ? 0 : htabUse(h, pos);
}

function update<K>(handle: u32, a: u64, b: u64, value: usize, flags: u32): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const h = changetype<BpfHtab>(ptr);
  if (h.frozen) return -EPERM;
  return htabUpdate<K>(h, a, b, value, flags, true);
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

export function map_update(handle: u32, key: usize, value: usize, flags: u32): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  if (map.frozen) return -EPERM;
  if (flags & BPF_F_LOCK && map.lockOffset == NO_LOCK) return -EINVAL;
  return isUserRange(value, map.userValueSize()) ? map.updateElem(key, value, flags, true) : -EFAULT;
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

// The program side: BPF helpers by the kernel's names. Arguments come from a program nobody has verified here, so handles
// and addresses are checked: NULL or -errno, never a trap. Kernel: kernel/bpf/helpers.c.

import {
  BPF_FUNC_dynptr_data,
  BPF_FUNC_dynptr_from_mem,
  BPF_FUNC_dynptr_read,
  BPF_FUNC_dynptr_write,
  BPF_FUNC_for_each_map_elem,
  BPF_FUNC_cgrp_storage_delete,
  BPF_FUNC_cgrp_storage_get,
  BPF_FUNC_get_local_storage,
  BPF_FUNC_get_prandom_u32,
  BPF_FUNC_get_smp_processor_id,
  BPF_FUNC_get_stackid,
  BPF_FUNC_inode_storage_delete,
  BPF_FUNC_inode_storage_get,
  BPF_FUNC_ktime_get_ns,
  BPF_FUNC_map_delete_elem,
  BPF_FUNC_map_lookup_elem,
  BPF_FUNC_map_lookup_percpu_elem,
  BPF_FUNC_map_peek_elem,
  BPF_FUNC_map_pop_elem,
  BPF_FUNC_map_push_elem,
  BPF_FUNC_map_update_elem,
  BPF_FUNC_sk_storage_delete,
  BPF_FUNC_sk_storage_get,
  BPF_FUNC_spin_lock,
  BPF_FUNC_spin_unlock,
  BPF_FUNC_perf_event_output,
  BPF_FUNC_ringbuf_discard,
  BPF_FUNC_ringbuf_discard_dynptr,
  BPF_FUNC_ringbuf_output,
  BPF_FUNC_ringbuf_query,
  BPF_FUNC_ringbuf_reserve,
  BPF_FUNC_ringbuf_reserve_dynptr,
  BPF_FUNC_ringbuf_submit,
  BPF_FUNC_ringbuf_submit_dynptr,
  BPF_FUNC_user_ringbuf_drain,
  BPF_FUNC_task_storage_delete,
  BPF_FUNC_task_storage_get,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
  EFAULT,
  EINVAL,
  ENOTSUPP,
} from "../ts/uapi";
import {
  bpf_dynptr_data,
  bpf_dynptr_from_mem,
  bpf_dynptr_read,
  bpf_dynptr_write,
  bpf_ringbuf_discard_dynptr,
  bpf_ringbuf_reserve_dynptr,
  bpf_ringbuf_submit_dynptr,
} from "./dynptr";
import { isKeyOfCallback } from "./callback";
import { BpfHtab } from "./hashtab";
import { InlineTable } from "./htab_inline";
import { bpf_cgrp_storage_delete, bpf_cgrp_storage_get } from "./bpf_cgrp_storage";
import { bpf_inode_storage_delete, bpf_inode_storage_get } from "./bpf_inode_storage";
import { bpf_sk_storage_delete, bpf_sk_storage_get } from "./bpf_sk_storage";
import { bpf_task_storage_delete, bpf_task_storage_get } from "./bpf_task_storage";
import { bpf_get_local_storage } from "./local_storage";
import { cpu, kernel, ktimeGetNs, random64, setCpu } from "./kernel";
import { isUserRange } from "./lib/bytes";
import { SHARED } from "./lib/lock";
import { findRegion, regionLo, regionOwner } from "./lib/region";
import { BpfMap, Handles, PERCPU_TYPES, isOneOf, mapByHandle } from "./map";
import { bpf_spin_lock, bpf_spin_unlock } from "./spin_lock";
import {
  bpf_ringbuf_discard,
  bpf_ringbuf_output,
  bpf_ringbuf_query,
  bpf_ringbuf_reserve,
  bpf_ringbuf_submit,
  bpf_user_ringbuf_drain,
} from "./ringbuf";
import { bpf_perf_event_output } from "./perf_event";
import { bpf_get_stackid } from "./stackmap";

/** Types that programs update with bpf_map_update_elem (isOneOf). Storages have helpers of their own. */
const ELEM_HELPER_TYPES: u64 =
  (1 << BPF_MAP_TYPE_HASH) |
  (1 << BPF_MAP_TYPE_ARRAY) |
  (1 << BPF_MAP_TYPE_PERCPU_HASH) |
  (1 << BPF_MAP_TYPE_PERCPU_ARRAY) |
  (1 << BPF_MAP_TYPE_LRU_HASH) |
  (1 << BPF_MAP_TYPE_LRU_PERCPU_HASH) |
  (1 << BPF_MAP_TYPE_LPM_TRIE);

/** Can `key` be read as a key of the map? */
function isKeyOf(map: BpfMap, key: u32): bool {
  return map.keySize != 0 && isUserRange(key, map.keySize);
}

/** No program of the kernel could be loaded with a helper its map lacks: bpf(2)'s answer to that becomes -EINVAL. */
function forProgram(ret: i32): i32 {
  return ret == -ENOTSUPP ? -EINVAL : ret;
}

/** Address of the value on the current CPU, or 0. LRU types: the entry is now referenced. */
export function bpf_map_lookup_elem(handle: u32, key: u32): usize {
  const entry = Handles.entry(handle);
  // Not `||`: its result would go to a register, and be asked for there. NULL - 1 is the largest number.
  if (!Handles.isSmall(entry, handle)) return lookupAny(handle, key);
  if (key - 1 >= kernel().wordsEnd) return lookupAny(handle, key);
  // lookupAny for the commonest maps, without a call.
  const map = Handles.mapAt(entry);
  // Another thread may just have ended it.
  if (SHARED && map == 0) return 0;
  const h = changetype<BpfHtab>(map);
  const a = load<u32>(key);
  return InlineTable.lookup4(h, InlineTable.hash4(h, a), a, v128.load_splat<u32>(key));
}

function lookupAny(handle: u32, key: u32): usize {
  // Memory never shrinks.
  kernel().wordsEnd = ((<u32>memory.size()) << 16) - 4;
  const map = mapByHandle(handle);
  if (map == 0 || !isKeyOf(changetype<BpfMap>(map), key)) return 0;
  return changetype<BpfMap>(map).lookupElem(key);
}

/** Address of the value in one CPU's slot, or 0: absent, no such CPU, or not a per-CPU type. */
export function bpf_map_lookup_percpu_elem(handle: u32, key: u32, cpuIndex: u32): usize {
  const map = mapByHandle(handle);
  if (map == 0 || cpuIndex >= kernel().nrCpus) return 0;
  if (!isOneOf(changetype<BpfMap>(map), PERCPU_TYPES)) return 0;
  // As a program would on that CPU.
  const own = cpu();
  setCpu(cpuIndex);
  const value = lookupAny(handle, key);
  setCpu(own);
  return value;
}

/** The map whose elements a program may update and delete by key; 0: no such map, or programs do not do that to its type. */
function elemMap(handle: u32): usize {
  const map = mapByHandle(handle);
  return map != 0 && isOneOf(changetype<BpfMap>(map), ELEM_HELPER_TYPES) ? map : 0;
}

/** 0 or -errno. EINVAL: no such map; EFAULT: an address outside the memory; else as the type's update. */
export function bpf_map_update_elem(handle: u32, key: u32, value: u32, flags: u64): i32 {
  const ptr = elemMap(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  if (!isUserRange(key, map.keySize) || !isUserRange(value, map.valueSize)) return -EFAULT;
  return forProgram(map.updateElem(key, value, flags, false));
}

/** 0 or -errno. */
export function bpf_map_delete_elem(handle: u32, key: u32): i32 {
  const ptr = elemMap(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  return isUserRange(key, map.keySize) ? forProgram(map.deleteElem(key)) : -EFAULT;
}

/**
 * Calls the program's callback with (map, key, value, ctx) for each element until it answers non-zero (callback.ts).
 * Hash and array types only.
 * @returns the number of calls, or -EINVAL
 */
export function bpf_for_each_map_elem(handle: u32, callback: u64, ctx: u64, flags: u64): i64 {
  const map = mapByHandle(handle);
  return map == 0 || flags != 0 ? -EINVAL : changetype<BpfMap>(map).forEach(callback, ctx);
}

/** Adds a value to a QUEUE, STACK or BLOOM_FILTER. 0 or -errno: EINVAL no such map or flags; EFAULT; E2BIG full. */
export function bpf_map_push_elem(handle: u32, value: u32, flags: u64): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  return isUserRange(value, map.valueSize) ? forProgram(map.pushElem(value, flags)) : -EFAULT;
}

/** Takes the next value out of a QUEUE or STACK. 0 or -errno: ENOENT empty, `value` is zeroed; EINVAL; EFAULT. */
export function bpf_map_pop_elem(handle: u32, value: u32): i32 {
  return takeValue(handle, value, true);
}

/** As bpf_map_pop_elem, without removing it; asks a BLOOM_FILTER whether it may hold `value`: 0 or ENOENT. */
export function bpf_map_peek_elem(handle: u32, value: u32): i32 {
  return takeValue(handle, value, false);
}

function takeValue(handle: u32, value: u32, andPop: bool): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0) return -EINVAL;
  const map = changetype<BpfMap>(ptr);
  return isUserRange(value, map.valueSize) ? forProgram(map.takeValue(value, andPop)) : -EFAULT;
}

export function bpf_get_smp_processor_id(): u32 {
  return cpu();
}

/** Nanoseconds on the host's clock for this kernel (set_ktime); no answer comes twice. */
export function bpf_ktime_get_ns(): u64 {
  return ktimeGetNs();
}

/** 32 random bits, repeatable when the host chose the seed. */
export function bpf_get_prandom_u32(): u32 {
  return <u32>(random64() >> 32);
}

/**
 * 1 when a program may touch [addr, addr + len): exactly the live values, records and host objects; and, while a callback
 * of bpf_for_each_map_elem runs, the key it was given.
 */
export function bpf_valid_range(addr: u32, len: u32): i32 {
  const region = findRegion(addr);
  if (region != 0 && regionOwner(region).isLive(regionLo(region), addr, len)) return 1;
  return isKeyOfCallback(addr, len) ? 1 : 0;
}

class Register {
  /** toAddress, inlined. */
  @inline
  static address(r: u64): u32 {
    return r >> 32 == 0 ? <u32>r : 0;
  }
}

/** Narrows a register to an address: one beyond 4 GiB is no address here. */
function toAddress(r: u64): u32 {
  return Register.address(r);
}

/** Narrows a size: one that has more than 32 bits becomes the largest, which is too large for everything. */
function size(r: u64): u32 {
  return r > 0xffffffff ? 0xffffffff : <u32>r;
}

/**
 * Calls a helper by the kernel's number (BPF_FUNC_*), registers as a program has them. Numbers that are close together
 * share a switch: it becomes a table of jumps.
 * @returns r0; -EINVAL for an unknown number, and for helpers of types that are not here (bpf_redirect_map, ...)
 */
export function bpf_helper_call(id: i32, r1: u64, r2: u64, r3: u64, r4: u64, r5: u64): i64 {
  const a1 = Register.address(r1);
  const a2 = Register.address(r2);
  switch (id) {
    case BPF_FUNC_map_lookup_elem:
      return bpf_map_lookup_elem(a1, a2);
    case BPF_FUNC_map_update_elem:
      return bpf_map_update_elem(a1, a2, toAddress(r3), r4);
    case BPF_FUNC_map_delete_elem:
      return bpf_map_delete_elem(a1, a2);
    case BPF_FUNC_ktime_get_ns:
      return bpf_ktime_get_ns();
    case BPF_FUNC_get_prandom_u32:
      return bpf_get_prandom_u32();
    case BPF_FUNC_get_smp_processor_id:
      return bpf_get_smp_processor_id();
  }
  switch (id) {
    case BPF_FUNC_map_push_elem:
      return bpf_map_push_elem(a1, a2, r3);
    case BPF_FUNC_map_pop_elem:
      return bpf_map_pop_elem(a1, a2);
    case BPF_FUNC_map_peek_elem:
      return bpf_map_peek_elem(a1, a2);
    case BPF_FUNC_spin_lock:
      return bpf_spin_lock(a1);
    case BPF_FUNC_spin_unlock:
      return bpf_spin_unlock(a1);
    default:
      return ringbufHelper(id, a1, a2, r2, r3, r4, r5);
  }
}

/** The helpers on ring buffers and dynptrs. */
function ringbufHelper(id: i32, a1: u32, a2: u32, r2: u64, r3: u64, r4: u64, r5: u64): i64 {
  const a3 = toAddress(r3);
  switch (id) {
    case BPF_FUNC_ringbuf_output:
      return bpf_ringbuf_output(a1, a2, size(r3), r4);
    case BPF_FUNC_ringbuf_reserve:
      return bpf_ringbuf_reserve(a1, size(r2), r3);
    case BPF_FUNC_ringbuf_submit:
      bpf_ringbuf_submit(a1, r2);
      return 0;
    case BPF_FUNC_ringbuf_discard:
      bpf_ringbuf_discard(a1, r2);
      return 0;
    case BPF_FUNC_ringbuf_query:
      return bpf_ringbuf_query(a1, r2);
  }
  switch (id) {
    case BPF_FUNC_dynptr_from_mem:
      return bpf_dynptr_from_mem(a1, <u32>r2, r3, toAddress(r4));
    case BPF_FUNC_ringbuf_reserve_dynptr:
      return bpf_ringbuf_reserve_dynptr(a1, <u32>r2, r3, toAddress(r4));
    case BPF_FUNC_ringbuf_submit_dynptr:
      bpf_ringbuf_submit_dynptr(a1, r2);
      return 0;
    case BPF_FUNC_ringbuf_discard_dynptr:
      bpf_ringbuf_discard_dynptr(a1, r2);
      return 0;
    case BPF_FUNC_dynptr_read:
      return bpf_dynptr_read(a1, <u32>r2, a3, <u32>r4, r5);
    case BPF_FUNC_dynptr_write:
      return bpf_dynptr_write(a1, <u32>r2, a3, <u32>r4, r5);
    case BPF_FUNC_dynptr_data:
      return bpf_dynptr_data(a1, <u32>r2, <u32>r3);
    case BPF_FUNC_user_ringbuf_drain:
      return bpf_user_ringbuf_drain(a1, r2, r3, r4);
    default:
      return storageHelper(id, a1, a2, a3, r2, r3, r4, r5);
  }
}

/** The helpers of storages, and those whose numbers are far from all others. */
function storageHelper(
  id: i32,
  a1: u32,
  a2: u32,
  a3: u32,
  r2: u64,
  r3: u64,
  r4: u64,
  r5: u64,
): i64 {
  switch (id) {
    case BPF_FUNC_sk_storage_get:
      return bpf_sk_storage_get(a1, a2, a3, r4);
    case BPF_FUNC_sk_storage_delete:
      return bpf_sk_storage_delete(a1, a2);
    case BPF_FUNC_cgrp_storage_get:
      return bpf_cgrp_storage_get(a1, a2, a3, r4);
    case BPF_FUNC_cgrp_storage_delete:
      return bpf_cgrp_storage_delete(a1, a2);
    case BPF_FUNC_task_storage_get:
      return bpf_task_storage_get(a1, a2, a3, r4);
    case BPF_FUNC_task_storage_delete:
      return bpf_task_storage_delete(a1, a2);
    case BPF_FUNC_inode_storage_get:
      return bpf_inode_storage_get(a1, a2, a3, r4);
    case BPF_FUNC_inode_storage_delete:
      return bpf_inode_storage_delete(a1, a2);
    case BPF_FUNC_get_local_storage:
      return bpf_get_local_storage(a1, r2);
    case BPF_FUNC_for_each_map_elem:
      return bpf_for_each_map_elem(a1, r2, r3, r4);
    case BPF_FUNC_map_lookup_percpu_elem:
      return bpf_map_lookup_percpu_elem(a1, a2, <u32>r3);
    case BPF_FUNC_perf_event_output:
      return bpf_perf_event_output(a1, a2, r3, toAddress(r4), size(r5));
    case BPF_FUNC_get_stackid:
      return bpf_get_stackid(a1, a2, r3);
    default:
      return -EINVAL;
  }
}

// The Wasm ABI: every function the outside may call. The bpf_* exports and bpf() are a contract (docs/simulators.md);
// the others serve ts/ and may change.

import { EBADF, EINVAL } from "../ts/uapi";
import { FD_MAP, entryKind, entryObject, fdRemove, fdTableInit, fdTake } from "./fd";
import { fdRelease } from "./fd_release";
import { hostInit } from "./host";
import { allocGrow, kernelExit, kernelInit, scratchPtr } from "./kernel";
import { BpfMap, MapCreateAttr, handlesInit, isErr, mapByHandle, mapPut } from "./map";
import { mapMmap, mapMunmap } from "./map_obj";
import { NO_TYPE, allocCheck } from "./map_types";

export { bpf } from "./syscall";
export {
  bpffsMkdir as bpffs_mkdir,
  bpffsOpen as bpffs_open,
  bpffsReaddir as bpffs_readdir,
  bpffsRmdir as bpffs_rmdir,
  bpffsUnlink as bpffs_unlink,
} from "./bpffs";
export { setCallbackSlot as set_callback_slot } from "./callback";
export {
  bpf_for_each_map_elem,
  bpf_get_prandom_u32,
  bpf_get_smp_processor_id,
  bpf_helper_call,
  bpf_ktime_get_ns,
  bpf_map_delete_elem,
  bpf_map_lookup_elem,
  bpf_map_lookup_percpu_elem,
  bpf_map_peek_elem,
  bpf_map_pop_elem,
  bpf_map_push_elem,
  bpf_map_update_elem,
  bpf_valid_range,
} from "./helpers";
export { bpf_cgrp_storage_delete, bpf_cgrp_storage_get } from "./bpf_cgrp_storage";
export { bpf_inode_storage_delete, bpf_inode_storage_get } from "./bpf_inode_storage";
export { bpf_sk_storage_delete, bpf_sk_storage_get } from "./bpf_sk_storage";
export { bpf_task_storage_delete, bpf_task_storage_get } from "./bpf_task_storage";
export {
  cgroup_create,
  cgroup_id,
  cgroup_rmdir,
  host_dup,
  host_ptr,
  host_serial,
  inode_create,
  socket_accept,
  socket_create,
  socket_handshake,
  socket_omem,
  task_create,
  task_exit,
  task_pid,
  task_reap,
} from "./host_objects";
export {
  bpf_get_local_storage,
  cgroup_storage_attach,
  cgroup_storage_detach,
  cgroup_storage_enter,
} from "./local_storage";
export { storage_delete, storage_find, storage_update } from "./storage_fast";
export { bpf_spin_lock, bpf_spin_unlock } from "./spin_lock";
export {
  bpf_dynptr_data,
  bpf_dynptr_from_mem,
  bpf_dynptr_read,
  bpf_dynptr_write,
  bpf_ringbuf_discard_dynptr,
  bpf_ringbuf_reserve_dynptr,
  bpf_ringbuf_submit_dynptr,
} from "./dynptr";
export {
  bpf_ringbuf_discard,
  bpf_ringbuf_output,
  bpf_ringbuf_query,
  bpf_ringbuf_reserve,
  bpf_ringbuf_submit,
  bpf_user_ringbuf_drain,
  callback_threw,
  ringbuf_await,
  ringbuf_lost,
  ringbuf_pages,
  ringbuf_wakeup_word,
} from "./ringbuf";
export {
  bpf_perf_event_output,
  perf_event_create,
  perf_event_lost,
  perf_event_pages,
} from "./perf_event";
export { bpf_get_stackid } from "./stackmap";
export {
  array_lookup,
  map_at16,
  map_by_handle,
  map_count,
  map_delete,
  map_delete16,
  map_delete8,
  map_delete_many,
  map_get_many,
  map_get_next_key,
  map_is_inline,
  map_iter_many,
  map_iter_next,
  map_lookup,
  map_lookup16,
  map_lookup4,
  map_lookup8,
  map_lookup_and_delete,
  map_lookup_copy,
  map_lookup_u64,
  map_peek,
  map_set_many,
  map_update,
  map_update16,
  map_update4,
  map_update8,
  map_update_u64,
  value_add64,
} from "./fast";
export {
  map_delete4,
  map_delete_u64,
  map_get4,
  map_get4_any,
  map_get4_separate,
  map_get_u64,
  map_get_u64_any,
  map_put4,
  map_put_u64,
} from "./fast_number";
export { map_lpm_match, map_lpm_match4, map_lpm_match_many, map_lpm_match_u32 } from "./lpm_match";

// ---- life of the kernel ---------------------------------------------------------------------------------------------

/** See kernelInit. @returns the root's address, 0 when there is no room */
export function kernel_init(
  source: u32,
  base: u32,
  limit: u32,
  maxBytes: u64,
  nrCpus: u32,
  seed: u64,
): usize {
  const root = kernelInit(source, base, limit, maxBytes, nrCpus, seed);
  if (root != 0 && handlesInit() && fdTableInit() && hostInit()) return root;
  kernelExit();
  return 0;
}

export {
  attach as kernel_attach,
  cpu as get_cpu,
  kernelDetach as kernel_detach,
  kernelExit as kernel_exit,
  ktime as get_ktime,
  /** A caller's attr may be put at ATTR_WINDOW (ts/abi.ts); the rest is the core's. */
  scratchPtr as scratch,
  setCpu as set_cpu,
  setKtime as set_ktime,
} from "./kernel";

// ---- memory ---------------------------------------------------------------------------------------------------------

/** 8-aligned memory for the caller, 0 when out of memory; may grow the memory. */
export function mem_alloc(bytes: u32): usize {
  return allocGrow(bytes);
}

export {
  free as mem_free,
  /** Bytes allocated at the moment, by everybody. */
  heapUsedBytes as mem_used,
} from "./kernel";

// ---- windows --------------------------------------------------------------------------------------------------------

/** See mapMmap. offset and length are bytes, integers below 2^53. */
export function map_mmap(fd: i32, offset: f64, length: f64, writable: i32): usize {
  return mapMmap(fd, <u64>offset, <u64>length, writable != 0);
}

/** Bytes of the map behind fd that can be mapped; 0 when it has none. */
export function map_mmap_bytes(fd: i32): f64 {
  const ptr = fdTake(fd, FD_MAP);
  if (isErr(ptr)) return 0;
  const map = changetype<BpfMap>(ptr);
  const bytes = <f64>map.mmapBytes();
  mapPut(map);
  return bytes;
}

/** Closes a window of map_mmap; once only. */
export function map_munmap(handle: u32, writable: i32): void {
  const map = mapByHandle(handle);
  if (map != 0) mapMunmap(changetype<BpfMap>(map), writable != 0);
}

// ---- fds and handles ------------------------------------------------------------------------------------------------

/** close(2). */
export function fd_close(fd: i32): i32 {
  const entry = fdRemove(fd);
  if (entry == 0) return -EBADF;
  fdRelease(entryKind(entry), entryObject(entry));
  return 0;
}

export { fdMode as fd_mode } from "./fd";

/** The handle of the map behind an fd; 0 when there is none. */
export function bpf_map_by_fd(fd: i32): u32 {
  const ptr = fdTake(fd, FD_MAP);
  if (isErr(ptr)) return 0;
  const map = changetype<BpfMap>(ptr);
  const handle = map.handle;
  mapPut(map);
  return handle;
}

/** Address of byte `off` of an ARRAY's value (max_entries 1), or -errno. */
export function map_value_addr(fd: i32, off: u32): i32 {
  const ptr = fdTake(fd, FD_MAP);
  if (isErr(ptr)) return <i32>ptr;
  const map = changetype<BpfMap>(ptr);
  const addr = <i32>map.directValueAddr(off);
  mapPut(map);
  return addr;
}

/** 1 when maps of this type can be created. */
export function map_type_supported(type: i32): i32 {
  const attr = changetype<MapCreateAttr>(scratchPtr());
  attr.mapType = type;
  return allocCheck(attr) == NO_TYPE ? 0 : 1;
}

/** Live elements of a map; -EINVAL when it is none or does not count. */
export function bpf_map_sum_elem_count(handle: u32): i64 {
  const map = mapByHandle(handle);
  return map == 0 ? -EINVAL : changetype<BpfMap>(map).elemCount();
}

// The raw exports of core.wasm, and how an instance of it comes to life. The only file that knows the module's shape.

/// <reference lib="esnext.disposable" preserve="true" />

// For programs that are compiled without the library "dom", the only one that declares WebAssembly, in Node's stead too.
// With it these are parts of the same interfaces.
declare global {
  namespace WebAssembly {
    interface Memory extends GrowingMemory {}
    interface Module {}
    interface Table {}
  }
  interface URL {}
}

/** What a memory is at the least. */
interface GrowingMemory {
  readonly buffer: ArrayBufferLike;
  grow(delta: number): number;
}

/** Addresses, handles and fds are i32 here: above 2^31 they come back negative (`>>> 0` mends that). */
export interface CoreExports {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;

  // For simulators.
  bpf(cmd: number, attr: number, size: number): number;
  bpf_map_by_fd(fd: number): number;
  bpf_map_lookup_elem(map: number, key: number): number;
  bpf_map_update_elem(map: number, key: number, value: number, flags: bigint): number;
  bpf_map_delete_elem(map: number, key: number): number;
  bpf_map_lookup_percpu_elem(map: number, key: number, cpu: number): number;
  bpf_map_push_elem(map: number, value: number, flags: bigint): number;
  bpf_map_pop_elem(map: number, value: number): number;
  bpf_map_peek_elem(map: number, value: number): number;
  bpf_map_sum_elem_count(map: number): bigint;
  bpf_ringbuf_output(map: number, data: number, size: number, flags: bigint): number;
  bpf_ringbuf_reserve(map: number, size: number, flags: bigint): number;
  bpf_ringbuf_submit(record: number, flags: bigint): void;
  bpf_ringbuf_discard(record: number, flags: bigint): void;
  bpf_ringbuf_query(map: number, what: bigint): bigint;
  bpf_ringbuf_reserve_dynptr(map: number, size: number, flags: bigint, dynptr: number): number;
  bpf_ringbuf_submit_dynptr(dynptr: number, flags: bigint): void;
  bpf_ringbuf_discard_dynptr(dynptr: number, flags: bigint): void;
  bpf_dynptr_from_mem(data: number, size: number, flags: bigint, dynptr: number): number;
  bpf_dynptr_read(to: number, len: number, dynptr: number, offset: number, flags: bigint): number;
  bpf_dynptr_write(
    dynptr: number,
    offset: number,
    from: number,
    len: number,
    flags: bigint,
  ): number;
  bpf_dynptr_data(dynptr: number, offset: number, len: number): number;
  bpf_user_ringbuf_drain(map: number, callback: bigint, ctx: bigint, flags: bigint): bigint;
  bpf_perf_event_output(
    ctx: number,
    map: number,
    flags: bigint,
    data: number,
    size: number,
  ): number;
  bpf_get_stackid(chain: number, map: number, flags: bigint): bigint;
  bpf_get_smp_processor_id(): number;
  bpf_ktime_get_ns(): bigint;
  bpf_get_prandom_u32(): number;
  bpf_helper_call(id: number, r1: bigint, r2: bigint, r3: bigint, r4: bigint, r5: bigint): bigint;
  bpf_sk_storage_get(map: number, sk: number, value: number, flags: bigint): number;
  bpf_sk_storage_delete(map: number, sk: number): number;
  bpf_cgrp_storage_get(map: number, cgroup: number, value: number, flags: bigint): number;
  bpf_cgrp_storage_delete(map: number, cgroup: number): number;
  bpf_task_storage_get(map: number, task: number, value: number, flags: bigint): number;
  bpf_task_storage_delete(map: number, task: number): number;
  bpf_inode_storage_get(map: number, inode: number, value: number, flags: bigint): number;
  bpf_inode_storage_delete(map: number, inode: number): number;
  bpf_get_local_storage(map: number, flags: bigint): number;
  bpf_spin_lock(lock: number): number;
  bpf_spin_unlock(lock: number): number;
  bpf_valid_range(addr: number, len: number): number;
  /** The callback's registers go to the dispatcher: see BpfRuntime#setCallback. */
  bpf_for_each_map_elem(map: number, callback: bigint, ctx: bigint, flags: bigint): bigint;
  map_type_supported(type: number): number;

  // For this package's own use.
  kernel_init(
    source: number,
    base: number,
    limit: number,
    maxBytes: bigint,
    nrCpus: number,
    seed: bigint,
  ): number;
  kernel_attach(root: number, cpu: number): number;
  kernel_exit(): void;
  kernel_detach(): void;
  map_value_addr(fd: number, off: number): number;
  set_callback_slot(slot: number): void;
  set_cpu(cpu: number): void;
  get_cpu(): number;
  set_ktime(ns: bigint): void;
  get_ktime(): bigint;
  scratch(): number;
  mem_alloc(bytes: number): number;
  mem_free(ptr: number): void;
  mem_used(): number;
  fd_close(fd: number): number;
  map_mmap(fd: number, offset: number, length: number, writable: number): number;
  map_mmap_bytes(fd: number): number;
  map_munmap(map: number, writable: number): void;
  bpffs_mkdir(path: number): number;
  bpffs_unlink(path: number): number;
  bpffs_rmdir(path: number): number;
  bpffs_open(path: number): number;
  bpffs_readdir(path: number, buffer: number, size: number): number;
  host_dup(fd: number): number;
  host_ptr(fd: number): number;
  host_serial(fd: number): number;
  socket_create(family: number, type: number, optmemMax: number): number;
  socket_handshake(fd: number): number;
  socket_accept(fd: number): number;
  socket_omem(ptr: number): number;
  cgroup_create(parent: number, serial: number, version: number): number;
  cgroup_id(ptr: number): bigint;
  cgroup_rmdir(ptr: number, serial: number): number;
  cgroup_storage_attach(mapFd: number, cgroupFd: number, attachType: number): number;
  cgroup_storage_detach(map: number, cgroup: number, serial: number, attachType: number): number;
  cgroup_storage_enter(cgroup: number, serial: number, attachType: number): void;
  task_create(pid: number, cgroup: number, serial: number): number;
  task_pid(ptr: number): number;
  task_exit(ptr: number, serial: number): number;
  task_reap(ptr: number, serial: number): number;
  inode_create(anonymous: number): number;
  storage_find(map: number, owner: number, serial: number): number;
  storage_update(map: number, owner: number, serial: number, value: number, flags: number): number;
  storage_delete(map: number, owner: number, serial: number): number;
  fd_mode(fd: number): number;
  perf_event_create(cpu: number, dataBytes: number): number;
  perf_event_pages(fd: number): number;
  perf_event_lost(fd: number): bigint;
  ringbuf_lost(map: number): bigint;
  ringbuf_pages(map: number): number;
  ringbuf_wakeup_word(map: number): number;
  callback_threw(): void;
  ringbuf_await(map: number, isAwaited: number): void;
  map_is_inline(handle: number): number;
  map_iter_many(handle: number, pos: number, out: number, max: number): number;
  map_at16(map: number, handle: number, k0: number, k1: number, k2: number, k3: number): number;
  map_get4(map: number, handle: number, k0: number): number;
  map_get4_separate(map: number, handle: number, k0: number): number;
  map_get4_any(map: number, handle: number, k0: number): number;
  map_get_u64(map: number, handle: number, key: bigint): number;
  map_get_u64_any(map: number, handle: number, key: bigint): number;
  map_put4(map: number, handle: number, k0: number, v0: number, v1: number): number;
  map_put_u64(map: number, handle: number, key: bigint, v0: number, v1: number): number;
  map_lookup4(map: number, handle: number, k0: number): number;
  map_lookup8(map: number, handle: number, k0: number, k1: number): number;
  map_lookup16(map: number, handle: number, k0: number, k1: number, k2: number, k3: number): number;
  map_update4(map: number, handle: number, k0: number, value: number, flags: number): number;
  map_update8(
    map: number,
    handle: number,
    k0: number,
    k1: number,
    value: number,
    flags: number,
  ): number;
  map_update16(
    map: number,
    handle: number,
    k0: number,
    k1: number,
    k2: number,
    k3: number,
    value: number,
    flags: number,
  ): number;
  map_lookup_u64(map: number, handle: number, key: bigint): number;
  map_update_u64(map: number, handle: number, key: bigint, value: number, flags: number): number;
  map_delete4(map: number, handle: number, k0: number): number;
  map_delete8(map: number, handle: number, k0: number, k1: number): number;
  map_delete16(map: number, handle: number, k0: number, k1: number, k2: number, k3: number): number;
  map_delete_u64(map: number, handle: number, key: bigint): number;
  array_lookup(map: number, handle: number, index: number): number;
  map_lookup_copy(map: number, key: number, value: number, flags: number): number;
  map_lookup_and_delete(map: number, key: number, value: number, flags: number): number;
  map_lpm_match_u32(map: number, handle: number, address: number): number;
  map_lpm_match(map: number, data: number): number;
  map_lpm_match4(map: number, handle: number, word: number): number;
  map_lpm_match_many(
    map: number,
    data: number,
    count: number,
    values: number,
    miss: number,
    found: number,
  ): number;
  map_iter_next(map: number, iter: number, key: number): number;
  map_by_handle(handle: number): number;
  map_count(map: number): number;
  value_add64(ptr: number, low: number, high: number): void;
  map_get_many(map: number, keys: number, count: number, values: number, found: number): number;
  map_set_many(
    map: number,
    keys: number,
    count: number,
    values: number,
    flags: number,
    error: number,
  ): number;
  map_delete_many(map: number, keys: number, count: number, error: number): number;
  map_lookup(map: number, key: number): number;
  map_peek(map: number, key: number): number;
  map_update(map: number, key: number, value: number, flags: number): number;
  map_delete(map: number, key: number): number;
  map_get_next_key(map: number, key: number, next: number): number;
}

/** Runs the callback `fn` of a program with the registers r1..r4; @returns r0. */
export type CallbackImport = (fn: bigint, r1: bigint, r2: bigint, r3: bigint, r4: bigint) => bigint;

/** What the core calls: the host's allocator (option `malloc`), callbacks of programs, who waits for a ring buffer. */
export interface CoreImports {
  malloc(bytes: number): number;
  free(ptr: number): void;
  readonly callback: CallbackImport;
  wakeup(map: number): void;
}

/** @throws {TypeError} another module than the core */
export function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  imports: CoreImports,
): CoreExports {
  const { malloc, free, callback, wakeup } = imports;
  const instance = new WebAssembly.Instance(module, {
    env: { memory, malloc, free, callback, wakeup },
  });
  const exports = instance.exports as unknown as Partial<CoreExports>;
  if (exports.kernel_init === undefined) throw new TypeError("core: this is another module");
  return exports as CoreExports;
}

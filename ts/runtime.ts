import { ATTR_WINDOW, KERNEL_MAGIC } from "./abi.js";
import { Bpffs } from "./bpffs.js";
import { CgroupAttachment } from "./cgroup-storage.js";
import type { AttachmentContext, CgroupAttachmentOptions } from "./cgroup-storage.js";
import type { AnyCodec, BytesCodec } from "./codec.js";
import type { CoreExports } from "./core.js";
import { instantiate } from "./core.js";
import { adoptFd, createMap, mapFromFd } from "./create-map.js";
import { BpfError, check } from "./errors.js";
import { createCgroup, createInode, createSocket, createTask } from "./host.js";
import type {
  Cgroup,
  CgroupOptions,
  Inode,
  InodeOptions,
  Socket,
  SocketOptions,
  Task,
  TaskOptions,
} from "./host.js";
import { OpenHoldings } from "./holdings.js";
import { expectNotHeld, holdRange } from "./held-ranges.js";
import type { TypedMap } from "./map.js";
import type {
  AnyCodecs,
  AnySpec,
  KeyedCodecs,
  KeyedMapOf,
  MapCodecs,
  MapOf,
  MapSpec,
  MapTypeName,
  UntypedCodecs,
} from "./map-types.js";
import { MmapWindow } from "./mmap.js";
import type { MmapOptions } from "./mmap.js";
import { integer, isFd, isU32 } from "./numbers.js";
import { ROOT_BYTES, SOURCE } from "./options.js";
import type { Arena, CheckedOptions, SharedRuntime } from "./options.js";
import { findFdById, mapFdById, mapInfo, mapNextId, objPath } from "./syscall.js";
import { BPF_OBJ_GET, EBADF, EFAULT, EINVAL, ENODEV, ENOENT, ENOMEM, PAGE_SIZE } from "./uapi.js";
import { INSPECT, show } from "./show.js";
import type { Inspect } from "./show.js";
import { LiveViews } from "./views.js";
import { Wakeups } from "./wakeups.js";

/**
 * Runs callbacks of a program (`bpf_for_each_map_elem`, `bpf_user_ringbuf_drain`): `fn` is what the program passed as
 * callback_fn, r1.. are the callback's registers, the result is its r0 (0: go on, 1: stop).
 */
export type CallbackDispatcher = (
  fn: bigint,
  r1: bigint,
  r2: bigint,
  r3: bigint,
  r4: bigint,
) => bigint | number;

/** Without a dispatcher a walk stops at its first element. */
const STOP: CallbackDispatcher = () => 1n;

const TWO_31 = 0x8000_0000;

/**
 * One linear memory = one "kernel": maps, fds, host objects. Made by `createRuntime`.
 *
 * Instances are independent of each other, also when they share a memory (option `arena` or `malloc`).
 */
export class BpfRuntime {
  /** Number of possible CPUs. */
  readonly cpus: number;
  /** The memory everything lives in. */
  readonly memory: WebAssembly.Memory;
  /** The raw Wasm exports: helpers under the kernel's names (docs/simulators.md). */
  readonly exports: CoreExports;
  /** @internal */
  readonly views: LiveViews;
  /** @internal */
  readonly wakeups = new Wakeups();
  /** @internal What the typed maps that are open hold. */
  readonly holdings = new OpenHoldings();
  /** The file system at /sys/fs/bpf, which BPF_OBJ_PIN and BPF_OBJ_GET work on. */
  readonly bpffs: Bpffs;
  readonly #module: WebAssembly.Module;
  readonly #root: number;
  readonly #isAttached: boolean;
  /** Memory comes from functions of the host's, which cannot be posted. */
  readonly #isHosts: boolean;
  readonly #attachments: AttachmentContext;
  #disposed = false;
  #releaseRange: () => void = () => {};
  #callback: CallbackDispatcher = STOP;
  #callbackSlot = 0;

  /** @internal */
  constructor(module: WebAssembly.Module, options: CheckedOptions) {
    this.cpus = options.cpus;
    this.memory = options.memory;
    // A memory without a page cannot be imported.
    const early = this.memory.buffer.byteLength === 0 ? options.takeRoom() : undefined;
    this.exports = instantiate(module, options.memory, {
      malloc: options.malloc,
      free: options.free,
      callback: (fn, r1, r2, r3, r4) => {
        try {
          const r0 = BigInt(this.#callback(fn, r1, r2, r3, r4));
          // The helper must not go on in memory that is somebody else's by now.
          this.mustLive("callback");
          return r0;
        } catch (error) {
          // The helper is left without an end of its own.
          if (!this.#disposed) this.exports.callback_threw();
          throw error;
        }
      },
      wakeup: (map) => this.wakeups.wake(map),
    });
    this.#module = module;
    this.#isAttached = options.root !== 0;
    this.#isHosts = options.source === SOURCE.malloc;
    this.#root = this.#isAttached ? this.#attach(options) : this.#init(options, early);
    if (this.#root === 0)
      throw new BpfError("createRuntime", -ENOMEM, "no room for the core's own state");
    this.views = new LiveViews(this.memory);
    this.#attachments = { runtime: this, current: undefined };
    this.bpffs = new Bpffs(this);
  }

  #init(options: CheckedOptions, early: Arena | undefined): number {
    const { memory, source, maxBytes, cpus, seed } = options;
    const room = early ?? options.takeRoom();
    const { base, limit } = room;
    const isArena = source === SOURCE.arena;
    if (isArena) expectNotHeld(memory, room);
    const root = this.exports.kernel_init(source, base, limit, BigInt(maxBytes), cpus, seed) >>> 0;
    if (root === 0) return 0;
    const range = isArena ? room : { base: root, limit: root + ROOT_BYTES };
    this.#releaseRange = holdRange(memory, range);
    this.exports.set_ktime(options.ktime);
    this.exports.set_cpu(options.cpu);
    return root;
  }

  #attach({ memory, root, cpu, cpus }: CheckedOptions): number {
    const [magic, present] = new Uint32Array(memory.buffer, root, 2);
    if (magic !== KERNEL_MAGIC) {
      throw new BpfError("createRuntime", -ENODEV, "the runtime to attach to has ended");
    }
    if (present !== cpus) throw new RangeError(`attach.cpus: the runtime has ${present} CPUs`);
    return this.exports.kernel_attach(root, cpu) === 1 ? root : 0;
  }

  /**
   * What another thread needs to become one more CPU of this kernel: post it to a worker and call
   * `createRuntime({ attach, cpu })` there. Build for shared memory only.
   * @throws {TypeError} the memory is not shared, or the runtime lives off the host's malloc
   * @throws {BpfError} EBADF: the runtime has ended
   */
  share(): SharedRuntime {
    this.mustLive("share");
    if (!this.views.isShared) {
      throw new TypeError("share: make the runtime with the option shared");
    }
    if (this.#isHosts) {
      throw new TypeError("share: the host's malloc is this thread's alone, give an arena instead");
    }
    return { module: this.#module, memory: this.memory, cpus: this.cpus, root: this.#root };
  }

  /** @internal Is it the same kernel, perhaps attached to from here a second time? Only then its fds are ours. */
  sharesKernel(other: BpfRuntime): boolean {
    return other.memory === this.memory && other.#root === this.#root;
  }

  // ---- what loaders of programs ask ----

  /** The map's handle behind an fd, the number a program's `map` argument is; 0 when it is none. */
  mapHandle(fd: number): number {
    return this.#disposed || !isFd(fd) ? 0 : this.exports.bpf_map_by_fd(fd) >>> 0;
  }

  /** `mapHandle` of the index-th fd of a list (LDDW by index, BPF_PSEUDO_MAP_IDX). */
  mapByIdx(fds: readonly number[], index: number): number {
    const fd = fds[index];
    return fd === undefined ? 0 : this.mapHandle(fd);
  }

  /**
   * Address of byte `off` of the value of an ARRAY with one entry (BPF_PSEUDO_MAP_VALUE).
   * @returns the address, or -EBADF, -EINVAL (no map, offset outside), -ENOTSUPP (another type or size)
   */
  mapValueAddr(fd: number, off: number): number {
    if (this.#disposed || !isFd(fd)) return -EBADF;
    if (!isU32(off)) return -EINVAL;
    const addr = this.exports.map_value_addr(fd, off);
    return addr < 0 && addr > -4096 ? addr : addr >>> 0;
  }

  /** May a program touch [addr, addr + len)? bpf_valid_range as a boolean. */
  valueRange(addr: number, len: number): boolean {
    const isRange = Number.isInteger(addr) && Number.isInteger(len) && len >>> 0 === len;
    // Exports give addresses as signed numbers.
    if (this.#disposed || !isRange || addr < -TWO_31 || addr >= 2 * TWO_31) return false;
    return this.exports.bpf_valid_range(addr, len) === 1;
  }

  /** Index of the CPU on which the following operations run: 0 <= cpu < cpus. */
  get cpu(): number {
    return this.exports.get_cpu();
  }

  set cpu(index: number) {
    this.exports.set_cpu(integer("cpu", index, 0, this.cpus - 1));
  }

  /**
   * The clock of `bpf_ktime_get_ns`, nanoseconds; it does not go back. It advances by 1 ns a question, and otherwise when
   * it is set: to a simulator's own time, or to the host's before a program runs,
   * `rt.ktime = BigInt(Math.round(performance.now() * 1e6))`. Starts at the host's time, with the option `seed` at 0.
   */
  get ktime(): bigint {
    return this.#disposed ? 0n : this.exports.get_ktime();
  }

  set ktime(ns: bigint) {
    if (typeof ns !== "bigint") throw new TypeError(`ktime: expected a bigint, got ${typeof ns}`);
    if (ns < this.ktime || ns >= 1n << 63n) {
      throw new RangeError(`ktime: expected ${this.ktime}..2^63-1, got ${ns}`);
    }
    if (!this.#disposed) this.exports.set_ktime(ns);
  }

  /**
   * Memory for the caller; what is in it is whatever was there.
   * @param byteLength bytes
   * @returns an 8-byte aligned address, 0 when out of memory, or for what is no number of bytes
   */
  alloc(byteLength: number): number {
    if (this.#disposed || !isU32(byteLength) || byteLength > 0xffff0000) return 0;
    return this.exports.mem_alloc(byteLength) >>> 0;
  }

  /**
   * Gives back what `alloc` returned; 0 is fine.
   * @throws {TypeError | RangeError} no address in the memory, or none that `alloc` could have returned
   */
  free(ptr: number): void {
    if (this.#disposed) return;
    integer("ptr", ptr, 0, this.memory.buffer.byteLength - 1);
    // The heap looks in front of the address: that must not be outside the memory.
    if (ptr % 8 !== 0) throw new RangeError(`ptr: expected what alloc returned, got ${ptr}`);
    this.exports.mem_free(ptr);
  }

  /**
   * bpf(2) with the byte layout of `union bpf_attr`. A Uint8Array is copied in and back; a number is the address of an
   * attr in `memory`. Pointers inside the attr are addresses in `memory`.
   * @returns >= 0, or -errno; never throws
   */
  bpf(cmd: number, attr: Uint8Array): number;
  bpf(cmd: number, attrPtr: number, size: number): number;
  bpf(cmd: number, attr: Uint8Array | number, size?: number): number {
    if (this.#disposed) return -EBADF;
    if (!Number.isInteger(cmd) || (cmd | 0) !== cmd) return -EINVAL;
    if (typeof attr === "number") return this.#bpfAt(cmd, attr, size);
    if (!ArrayBuffer.isView(attr) || size !== undefined) return -EFAULT;
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(attr.buffer, attr.byteOffset, attr.byteLength);
    } catch {
      return -EFAULT;
    }
    const window = (this.exports.scratch() >>> 0) + ATTR_WINDOW;
    // What does not fit is refused for its size alone.
    const taken = bytes.length <= PAGE_SIZE ? bytes.length : 0;
    this.#fresh().set(taken === bytes.length ? bytes : bytes.subarray(0, 0), window);
    const ret = this.exports.bpf(cmd, window, bytes.length);
    if (bytes.length === taken) bytes.set(this.#fresh().subarray(window, window + taken));
    return ret;
  }

  #bpfAt(cmd: number, ptr: number, size: unknown): number {
    if (typeof size !== "number" || !Number.isInteger(size)) return -EINVAL;
    const isAddress = Number.isInteger(ptr) && ptr >= 0 && ptr <= 0xffffffff;
    return this.exports.bpf(
      cmd,
      isAddress ? ptr : 0,
      size >= 0 && size <= 0xffffffff ? size : 0xffffffff,
    );
  }

  /**
   * close(2).
   * @returns 0 or -EBADF
   */
  close(fd: number): number {
    if (!isFd(fd) || this.#disposed) return -EBADF;
    const ret = this.exports.fd_close(fd);
    // The typed maps that go by the fd are closed, too.
    this.holdings.releaseFd(fd);
    return ret;
  }

  /**
   * mmap(2), shared: a window over the values of a BPF_F_MMAPABLE array (or over a ring buffer).
   * @param fd of the map
   * @throws {BpfError} as mmap: EINVAL (not mmapable; outside the map; offset no multiple of 4096; read-only fd), ENOTSUPP
   * (a type without mmap), EACCES (write-only fd; writable window of a read-only fd or BPF_F_RDONLY_PROG map),
   * EPERM (writable window of a frozen map), EBADF, ENODEV (no map)
   */
  mmap(fd: number, options: MmapOptions = {}): MmapWindow {
    return new MmapWindow(this, fd, options);
  }

  /**
   * Says who runs the callbacks of programs; `null` takes the dispatcher away again.
   *
   * A function exported by a WebAssembly instance, of type `(i64, i64, i64, i64, i64) -> i64`, is called from the core
   * directly; one of another type traps when it is called. Any other function is called with bigints; what it throws
   * passes through the helper to the caller, as does EBADF when it ends the runtime.
   */
  setCallback(dispatcher: CallbackDispatcher | null): void {
    if (dispatcher !== null && typeof dispatcher !== "function") {
      throw new TypeError(`dispatcher: expected a function or null, got ${typeof dispatcher}`);
    }
    const isWasm = dispatcher !== null && this.#placeInTable(dispatcher);
    this.#callback = dispatcher ?? STOP;
    this.exports.set_callback_slot(isWasm ? this.#callbackSlot : 0);
  }

  /** Puts a Wasm function into the core's table; false for a function that is none. */
  #placeInTable(fn: CallbackDispatcher): boolean {
    const { table } = this.exports;
    if (this.#callbackSlot === 0) this.#callbackSlot = table.grow(1);
    try {
      table.set(this.#callbackSlot, fn);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Ends this kernel with all its maps. A foreign arena can be used again, the host's allocator has everything back. Objects
   * of the runtime throw EBADF from now on, or answer it; closing them is fine.
   */
  dispose(): void {
    if (this.#disposed) return;
    // The fds are the kernel's: they end with it, or stay with its other threads.
    this.holdings.releaseAll();
    this.#disposed = true;
    if (this.#isAttached) this.exports.kernel_detach();
    else this.exports.kernel_exit();
    this.#releaseRange();
  }

  /** The same as `dispose()`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** True after dispose(). */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** @internal What JSON.stringify and console.log show. */
  toJSON(): object {
    const { cpus, memory, disposed } = this;
    return { cpus, bytes: memory.buffer.byteLength, disposed };
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return show(this, options, inspect);
  }

  /**
   * Methods that make objects, and the objects themselves, begin with this: it throws after dispose().
   * @internal
   * @throws {BpfError} EBADF
   */
  mustLive(syscall: string): void {
    if (this.#disposed) throw new BpfError(syscall, -EBADF, "the runtime has ended");
  }

  // ---- host objects ----

  /**
   * A socket: what SK_STORAGE values are attached to.
   * @throws {TypeError | RangeError} an option that cannot be
   * @throws {BpfError} EMFILE; ENOMEM
   */
  socket(options?: SocketOptions): Socket {
    return createSocket(this, options);
  }

  /**
   * A cgroup and an fd of its directory: what CGRP_STORAGE values are attached to.
   * @throws {TypeError | RangeError} an option that cannot be
   * @throws {BpfError} ENOENT: the parent is removed; EMFILE; ENOMEM
   */
  cgroup(options?: CgroupOptions): Cgroup {
    return createCgroup(this, options);
  }

  /**
   * A task and a pidfd of it: what TASK_STORAGE values are attached to. A pid that is taken gives another pidfd of that
   * task.
   * @throws {TypeError | RangeError} an option that cannot be
   * @throws {BpfError} ENOENT: the cgroup is removed; EMFILE; ENOMEM
   */
  task(options?: TaskOptions): Task {
    return createTask(this, options);
  }

  /**
   * An open file: what INODE_STORAGE values are attached to.
   * @throws {TypeError} an option that cannot be
   * @throws {BpfError} EMFILE; ENOMEM
   */
  inode(options?: InodeOptions): Inode {
    return createInode(this, options);
  }

  /**
   * Says that a program which uses a CGROUP_STORAGE or PERCPU_CGROUP_STORAGE map is attached to a cgroup.
   * @throws {BpfError} EBADF: not open, or no cgroup; EINVAL: not a map of these types; ENOENT: the cgroup is removed; ENOMEM
   * @throws {TypeError | RangeError} an option that cannot be
   */
  attachCgroupStorage(options: CgroupAttachmentOptions): CgroupAttachment {
    return new CgroupAttachment(this.#attachments, options);
  }

  // ---- typed maps ----

  /**
   * Makes a map.
   * @param spec type, codecs of key and value, maxEntries, and options
   * @throws {BpfError} EINVAL, E2BIG, ENOMEM, ...: what BPF_MAP_CREATE says
   * @throws {TypeError | RangeError} an option that cannot be
   *
   * @example
   * ```ts
   * const flows = rt.createMap({
   *   type: "lru_hash",
   *   key: u32,
   *   value: struct({ packets: u64, bytes: u64 }),
   *   maxEntries: 1024,
   * });
   * flows.set(1, { packets: 1n, bytes: 60n });
   * ```
   */
  createMap<
    T extends MapTypeName,
    KC extends AnyCodec,
    VC extends AnyCodec = BytesCodec,
    M extends TypedMap = TypedMap,
  >(spec: MapSpec<T, KC, VC, M>): MapOf<KC, VC, M>[T];
  createMap(spec: AnySpec): TypedMap {
    this.mustLive("bpf_map_create");
    return createMap(this, spec);
  }

  /**
   * Wraps the map behind an fd. It stays the same fd: close() of the typed map closes it, and a typed map that is dropped
   * leaves it open. With `type` among the codecs the result is of that type's class; without it, it has what all maps with
   * keys have in common (name the type of a per-CPU map: its values are arrays).
   * @throws {BpfError} EBADFD: not open; EINVAL: not a map
   * @throws {RangeError} the map is of another type; a codec of another size than the map's keys or values
   */
  mapFromFd<KC extends AnyCodec, VC extends AnyCodec>(
    fd: number,
    codecs: KeyedCodecs<KC, VC>,
  ): KeyedMapOf<KC, VC>;
  mapFromFd(fd: number, codecs: UntypedCodecs): TypedMap;
  mapFromFd<
    T extends MapTypeName,
    KC extends AnyCodec,
    VC extends AnyCodec = BytesCodec,
    M extends TypedMap = TypedMap,
  >(fd: number, codecs: MapCodecs<T, KC, VC, M>): MapOf<KC, VC, M>[T];
  mapFromFd(fd: number, codecs: AnyCodecs): TypedMap {
    return mapFromFd(this, fd, codecs);
  }

  /**
   * Opens the map with an id (`map.info().id`).
   * @throws {BpfError} ENOENT: there is none
   * @throws {RangeError} as mapFromFd
   */
  mapFromId<KC extends AnyCodec, VC extends AnyCodec>(
    id: number,
    codecs: KeyedCodecs<KC, VC>,
  ): KeyedMapOf<KC, VC>;
  mapFromId(id: number, codecs: UntypedCodecs): TypedMap;
  mapFromId<
    T extends MapTypeName,
    KC extends AnyCodec,
    VC extends AnyCodec = BytesCodec,
    M extends TypedMap = TypedMap,
  >(id: number, codecs: MapCodecs<T, KC, VC, M>): MapOf<KC, VC, M>[T];
  mapFromId(id: number, codecs: AnyCodecs): TypedMap {
    return adoptFd(this, mapFdById(this, id), codecs);
  }

  /**
   * Opens the oldest map with a name.
   * @throws {BpfError} ENOENT: there is none
   * @throws {RangeError} as mapFromFd
   */
  mapFromName<KC extends AnyCodec, VC extends AnyCodec>(
    name: string,
    codecs: KeyedCodecs<KC, VC>,
  ): KeyedMapOf<KC, VC>;
  mapFromName(name: string, codecs: UntypedCodecs): TypedMap;
  mapFromName<
    T extends MapTypeName,
    KC extends AnyCodec,
    VC extends AnyCodec = BytesCodec,
    M extends TypedMap = TypedMap,
  >(name: string, codecs: MapCodecs<T, KC, VC, M>): MapOf<KC, VC, M>[T];
  mapFromName(name: string, codecs: AnyCodecs): TypedMap {
    for (const id of this.mapIds()) {
      const fd = findFdById(this, id);
      // Another thread has ended it meanwhile.
      if (fd === -ENOENT) continue;
      check(fd, "bpf_map_get_fd_by_id");
      let isWanted = false;
      try {
        isWanted = mapInfo(this, fd).name === name;
      } finally {
        if (!isWanted) this.close(fd);
      }
      if (isWanted) return adoptFd(this, fd, codecs);
    }
    throw new BpfError("bpf_map_get_next_id", -ENOENT, `no map is called ${JSON.stringify(name)}`);
  }

  /** The ids of all maps, in the order of their creation. */
  *mapIds(): IterableIterator<number> {
    for (let id = mapNextId(this, 0); id !== 0; id = mapNextId(this, id)) yield id;
  }

  /**
   * Opens the map pinned at a path of the runtime's bpffs.
   * @throws {BpfError} ENOENT: nothing there
   * @throws {TypeError} a path that is no string, or holds a NUL
   * @throws {RangeError} as mapFromFd
   */
  open<KC extends AnyCodec, VC extends AnyCodec>(
    path: string,
    codecs: KeyedCodecs<KC, VC>,
  ): KeyedMapOf<KC, VC>;
  open(path: string, codecs: UntypedCodecs): TypedMap;
  open<
    T extends MapTypeName,
    KC extends AnyCodec,
    VC extends AnyCodec = BytesCodec,
    M extends TypedMap = TypedMap,
  >(path: string, codecs: MapCodecs<T, KC, VC, M>): MapOf<KC, VC, M>[T];
  open(path: string, codecs: AnyCodecs): TypedMap {
    const fd = objPath(this, BPF_OBJ_GET, path, 0, 0);
    return adoptFd(this, check(fd, "bpf_obj_get", `cannot open ${path}`), codecs);
  }

  /** The whole memory as bytes; valid until the memory grows. */
  #fresh(): Uint8Array {
    if (this.views.u8.buffer !== this.memory.buffer) this.views.refresh();
    return this.views.u8;
  }
}

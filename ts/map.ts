// The typed maps: what is common to all of them, and what those with keys share.
//
// Two sets of verbs. JavaScript's (get, set, has, delete, iteration) follow Map: a missing key is undefined or false.
// The kernel's (lookup, update, lookupAndDelete, nextKey, batches) take flags and say what the kernel says. Errors are
// BpfError. What a map does is decided in assembly/; here values are encoded, decoded and handed over.

import type { Codec } from "./codec.js";
import type { CoreExports } from "./core.js";
import { MapCursor } from "./cursor.js";
import { MapDoor } from "./door.js";
import { BpfError } from "./errors.js";
import { ValueRef } from "./ref.js";
import type { BpfRuntime } from "./runtime.js";
import { allocate, mapFreeze, mapInfo, objPath } from "./syscall.js";
import type { MapInfo } from "./syscall.js";
import * as uapi from "./uapi.js";

/** A map's fd and what was found out about it when it was created or opened. */
export interface MapIdentity {
  readonly fd: number;
  readonly info: MapInfo;
}

const HASH_TYPES: readonly number[] = [
  uapi.BPF_MAP_TYPE_HASH,
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
];
const LRU_TYPES: readonly number[] = [
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
];

/** Maps that were dropped without close(): their fds are closed when the collector finds them. */
const forgotten = new FinalizationRegistry<{ runtime: BpfRuntime; fd: number; window: number }>(
  ({ runtime, fd, window }) => {
    if (runtime.disposed) return;
    runtime.close(fd);
    runtime.free(window);
  },
);

/** What every typed map has. */
export abstract class TypedMap {
  /** The runtime the map lives in. */
  readonly runtime: BpfRuntime;
  /** The map's file descriptor, for the raw commands. */
  readonly fd: number;
  /** BPF_MAP_TYPE_*. */
  readonly mapType: number;
  readonly name: string;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes of one value (per-CPU types: of one CPU's). */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly mapFlags: number;
  /** A typed map with the same codecs for another fd, which it takes over. @internal */
  reopen: ((fd: number) => TypedMap) | undefined;
  /** Memory for keys and values on their way; given back by close(). */
  protected readonly window: number;
  #closed = false;

  constructor(runtime: BpfRuntime, { fd, info }: MapIdentity, windowBytes: number) {
    this.runtime = runtime;
    this.fd = fd;
    this.mapType = info.type;
    this.name = info.name;
    this.keySize = info.keySize;
    this.valueSize = info.valueSize;
    this.maxEntries = info.maxEntries;
    this.mapFlags = info.mapFlags;
    this.window = allocate(runtime, windowBytes);
    forgotten.register(this, { runtime, fd, window: this.window }, this);
  }

  /** What the core says of the map now. */
  info(): MapInfo {
    this.mustBeOpen("bpf_obj_get_info_by_fd");
    return mapInfo(this.runtime, this.fd);
  }

  /**
   * No more writes from this side, by any fd; programs may still write.
   * @throws {BpfError} EPERM: frozen already; EBUSY: a writable window is open; ENOTSUPP: values with a lock
   */
  freeze(): void {
    this.mustBeOpen("bpf_map_freeze");
    mapFreeze(this.runtime, this.fd);
  }

  /**
   * Gives the map a name in the runtime's bpffs; it lives as long as the name.
   * @throws {BpfError} EEXIST, ENOENT: no such directory, EPERM: not below /sys/fs/bpf
   */
  pin(path: string): void {
    this.mustBeOpen("bpf_obj_pin");
    const ret = objPath(this.runtime, uapi.BPF_OBJ_PIN, path, this.fd, 0);
    if (ret < 0) throw new BpfError("bpf_obj_pin", ret, `cannot pin at ${path}`);
  }

  /** True after close(). */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes the fd: the map ends unless something else refers to it. Closing twice is fine. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    forgotten.unregister(this);
    if (this.runtime.disposed) return;
    this.runtime.close(this.fd);
    this.runtime.free(this.window);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @throws {BpfError} EBADF after close() */
  protected mustBeOpen(syscall: string): void {
    if (this.#closed || this.runtime.disposed) {
      throw new BpfError(syscall, -uapi.EBADF, `map '${this.name}' is closed`);
    }
  }

  /** The error of an operation that answered -errno. */
  protected failed(syscall: string, ret: number): BpfError {
    this.mustBeOpen(syscall);
    const detail =
      ret === -uapi.E2BIG
        ? `map '${this.name}' is full (maxEntries ${this.maxEntries})`
        : undefined;
    return new BpfError(syscall, ret, detail);
  }
}

/** A handle no map has: index 0 is never used. */
const CLOSED_HANDLE = 0xfff00000 | 0;

function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/**
 * Maps with keys: reading, writing, iterating.
 *
 * K, V: what reading gives; KI, VI: what writing takes (the same for most codecs).
 */
export abstract class KeyedMap<K, KI, V, VI> extends TypedMap implements Iterable<[K, V]> {
  protected readonly door: MapDoor<K, KI, V, VI>;
  protected readonly core: CoreExports;

  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    const { info } = identity;
    super(runtime, identity, round8(info.keySize) * 2 + round8(value.size));
    this.core = runtime.exports;
    this.door = new MapDoor({
      exports: runtime.exports,
      mem: runtime.views,
      handle: runtime.exports.bpf_map_by_fd(identity.fd),
      key,
      value,
      isHash: HASH_TYPES.includes(info.type),
      isArray: info.type === uapi.BPF_MAP_TYPE_ARRAY,
      marks: LRU_TYPES.includes(info.type),
      keyPtr: this.window,
      valuePtr: this.window + round8(info.keySize) * 2,
    });
  }

  override close(): void {
    this.door.handle = CLOSED_HANDLE;
    super.close();
  }

  // ---- as Map ----

  /**
   * The value of a key, undefined when absent. On LRU maps this is a use: the entry is marked as referenced (`peek` reads
   * without).
   * @throws {TypeError | RangeError} the key does not fit its codec
   */
  get(key: KI): V | undefined {
    const ptr = this.door.find(key);
    if (ptr !== 0) return this.door.read(ptr);
    this.mustBeOpen("bpf_map_lookup_elem");
    return undefined;
  }

  /** As `get`, without marking the entry of an LRU map. */
  peek(key: KI): V | undefined {
    const ptr = this.door.peek(key);
    if (ptr !== 0) return this.door.read(ptr);
    this.mustBeOpen("bpf_map_lookup_elem");
    return undefined;
  }

  /** Is the key present? Does not mark the entry of an LRU map. */
  has(key: KI): boolean {
    if (this.door.peek(key) !== 0) return true;
    this.mustBeOpen("bpf_map_lookup_elem");
    return false;
  }

  /**
   * Inserts or replaces.
   * @throws {BpfError} E2BIG: the map is full; EPERM: frozen
   * @throws {TypeError | RangeError} key or value do not fit their codecs
   */
  set(key: KI, value: VI): this {
    this.door.encodeValue(value);
    const ret = this.door.update(key, 0);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
    return this;
  }

  /** Decodes the value into `out` (a struct's object, a Uint8Array) and returns it; undefined when absent. */
  getInto(key: KI, out: V): V | undefined {
    const { door } = this;
    const ptr = door.find(key);
    if (ptr === 0) return this.get(key);
    door.mem.reach(ptr);
    return door.value.readInto === undefined
      ? door.read(ptr)
      : door.value.readInto(door.mem, ptr, out);
  }

  /**
   * A live view of the value in linear memory; undefined when absent. It shows whatever is at its address: use it before
   * the key is deleted. `into` takes an existing one, for no allocation at all.
   */
  ref(key: KI, into?: ValueRef<V, VI>): ValueRef<V, VI> | undefined {
    const ptr = this.door.find(key);
    if (ptr !== 0) return (into ?? new ValueRef(this.door.mem, this.door.value)).at(ptr);
    this.mustBeOpen("bpf_map_lookup_elem");
    return undefined;
  }

  /**
   * An iteration without allocation: one reusable object that steps over the elements. It holds a little memory of the
   * runtime until it reaches the end, a loop over it is left, or `close()`.
   */
  cursor(): MapCursor<K, V> {
    this.mustBeOpen("bpf_map_get_next_key");
    return new MapCursor(this.runtime, this.door);
  }

  /**
   * Keys and values. The order is the kernel's. Elements deleted on the way (the current one too) are not shown again,
   * elements inserted on the way may or may not be shown, and it ends in any case: an iteration goes on from a place, not
   * from a key.
   */
  *entries(): IterableIterator<[K, V]> {
    for (const element of this.cursor()) yield [element.key, element.value];
  }

  *keys(): IterableIterator<K> {
    for (const element of this.cursor()) yield element.key;
  }

  *values(): IterableIterator<V> {
    for (const element of this.cursor()) yield element.value;
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  forEach(callback: (value: V, key: K, map: this) => void): void {
    for (const element of this.cursor()) callback(element.value, element.key, this);
  }

  // ---- as the kernel ----

  /**
   * BPF_MAP_LOOKUP_ELEM: a copy of the value; no use in the sense of LRU.
   * @param flags 0 or BPF_F_LOCK
   * @throws {BpfError} EINVAL: bad flags
   */
  lookup(key: KI, flags = 0): V | undefined {
    const { door } = this;
    door.encodeKey(key);
    const ret =
      flags & ~uapi.BPF_F_LOCK
        ? -uapi.EINVAL
        : this.core.map_lookup_copy(door.handle, door.keyPtr, door.valuePtr, flags);
    if (ret === 0) return door.value.read(door.mem, door.valuePtr);
    if (ret === -uapi.ENOENT) return undefined;
    throw this.failed("bpf_map_lookup_elem", ret);
  }

  /**
   * BPF_MAP_UPDATE_ELEM.
   * @param flags BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK
   * @throws {BpfError} EEXIST, ENOENT, E2BIG, EINVAL, EPERM
   */
  update(key: KI, value: VI, flags = 0): void {
    this.door.encodeValue(value);
    const ret = this.door.update(key, flags);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
  }

  /**
   * BPF_MAP_GET_NEXT_KEY: the key after `key`, the first one without. A key that is absent leads to the first.
   * @returns undefined at the end
   */
  nextKey(key?: KI): K | undefined {
    const { door } = this;
    const next = door.keyPtr + round8(this.keySize);
    if (key !== undefined) door.encodeKey(key);
    const ret = this.core.map_get_next_key(door.handle, key === undefined ? 0 : door.keyPtr, next);
    if (ret === 0) {
      door.mem.reach(next);
      return door.key.read(door.mem, next);
    }
    if (ret === -uapi.ENOENT) return undefined;
    throw this.failed("bpf_map_get_next_key", ret);
  }
}

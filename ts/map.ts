// The typed maps: what is common to all of them, and what those with keys share.
//
// Two sets of verbs. JavaScript's (get, set, has, delete, iteration) follow Map: a missing key is undefined or false.
// The kernel's (lookup, update, lookupAndDelete, nextKey, batches) take flags and say what the kernel says. Errors are
// BpfError. What a map does is decided in assembly/; here values are encoded, decoded and handed over.

import { BatchCursor, Batches } from "./batch.js";
import type { MapBatch } from "./batch.js";
import type { Codec } from "./codec.js";
import type { CoreExports } from "./core.js";
import { MapCursor } from "./cursor.js";
import { KEY_PATH, MapDoor } from "./door.js";
import { BpfError } from "./errors.js";
import { FMODE_READ, FMODE_WRITE, Holdings } from "./holdings.js";
import { isFlags, NO_FLAGS, round8 } from "./numbers.js";
import { ValueRef } from "./ref.js";
import type { BpfRuntime } from "./runtime.js";
import { INSPECT, show } from "./show.js";
import type { Inspect } from "./show.js";
import { takeShortcuts } from "./shortcuts.js";
import type { Staging } from "./staging.js";
import { mapFreeze, mapInfo, objPath } from "./syscall.js";
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
const PER_CPU_TYPES: readonly number[] = [
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
];
/** Lookups of a program do more there: they mark the entry, or give the inner map. */
const PEEKED_TYPES: readonly number[] = [
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
];

/** What error messages call a map: many have no name. */
export function labelOf({ name, fd }: TypedMap): string {
  return name === "" ? `the map of fd ${fd}` : `map '${name}'`;
}

/** What every typed map has. */
export abstract class TypedMap {
  /** The runtime the map lives in. */
  readonly runtime: BpfRuntime;
  /** The map's file descriptor, for the raw commands. */
  readonly fd: number;
  /** BPF_MAP_TYPE_*. */
  readonly mapType: number;
  /** The name it was created with; may be empty. */
  readonly name: string;
  /** Bytes of a key. */
  readonly keySize: number;
  /** Bytes of one value (per-CPU types: of one CPU's). */
  readonly valueSize: number;
  /** Most elements the map can hold (LRU maps with BPF_F_NO_COMMON_LRU: rounded up by the core). */
  readonly maxEntries: number;
  /** BPF_F_* flags of the map. */
  readonly mapFlags: number;
  /** @internal A typed map with the same codecs for another fd, which it takes over. */
  reopen: ((fd: number) => TypedMap) | undefined;
  /** @internal What the map holds in the runtime; given back by close(), or when it is forgotten. */
  protected readonly holdings: Holdings;
  /** @internal Memory for keys and values on their way. */
  protected readonly window: number;

  /** @internal */
  constructor(runtime: BpfRuntime, { fd, info }: MapIdentity, windowBytes: number) {
    this.runtime = runtime;
    this.fd = fd;
    this.mapType = info.type;
    this.name = info.name;
    this.keySize = info.keySize;
    this.valueSize = info.valueSize;
    this.maxEntries = info.maxEntries;
    this.mapFlags = info.mapFlags;
    this.holdings = new Holdings(runtime, fd);
    this.window = this.#takeWindow(windowBytes);
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
   * @throws {TypeError} a path that is no string, or holds a NUL
   */
  pin(path: string): void {
    this.mustBeOpen("bpf_obj_pin");
    const ret = objPath(this.runtime, uapi.BPF_OBJ_PIN, path, this.fd, 0);
    const hint =
      ret === -uapi.EPERM ? ": pins are below /sys/fs/bpf, their names have no dots" : "";
    if (ret < 0) throw new BpfError("bpf_obj_pin", ret, `cannot pin at ${path}${hint}`);
  }

  /** True after close(), when its fd was closed by other means, and after the runtime ended. */
  get closed(): boolean {
    return !this.holdings.ownsFd;
  }

  /**
   * Closes the fd, also for other typed maps of this fd: the map ends unless something else refers to it. Closing twice is
   * fine. Without it the fd stays open until the runtime ends: the garbage collector closes none.
   */
  close(): void {
    this.holdings.close();
  }

  /** The same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal What JSON.stringify and console.log show. */
  toJSON(): object {
    const { fd, name, mapType, keySize, valueSize, maxEntries, mapFlags, closed } = this;
    return { fd, name, mapType, keySize, valueSize, maxEntries, mapFlags, closed };
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return show(this, options, inspect);
  }

  /**
   * Not after close(), or when the fd was closed behind our back.
   * @internal
   * @throws {BpfError} EBADF
   */
  protected mustBeOpen(syscall: string): void {
    if (this.holdings.ownsFd) return;
    const what = this.holdings.isOpen
      ? `the fd of ${labelOf(this)} was closed`
      : `${labelOf(this)} is closed`;
    throw new BpfError(syscall, -uapi.EBADF, what);
  }

  /**
   * For verbs that do not go through bpf(2): is the map open, and its fd for what the verb does?
   * @internal
   * @param mode FMODE_READ, FMODE_WRITE or both
   * @throws {BpfError} EBADF, EPERM
   */
  protected mustAllow(syscall: string, mode: number): void {
    if (!this.holdings.isOpen) this.mustBeOpen(syscall);
    const missing = mode & ~this.holdings.mode;
    if (missing === 0) return;
    const purpose = missing & FMODE_READ ? "reading" : "writing";
    throw new BpfError(
      syscall,
      -uapi.EPERM,
      `the fd of ${labelOf(this)} is not open for ${purpose}`,
    );
  }

  /**
   * The error of an operation that answered -errno.
   * @internal
   * @param count batches: the number of elements done
   */
  protected failed(syscall: string, ret: number, count?: number): BpfError {
    this.mustBeOpen(syscall);
    if (ret === -uapi.EPERM) this.mustAllow(syscall, FMODE_WRITE);
    return new BpfError(syscall, ret, this.explain(ret, syscall), count);
  }

  /** @internal What an errno means for this map; undefined for the general text. */
  protected explain(ret: number, _syscall: string): string | undefined {
    // LPM_TRIE is the one type for which ENOSPC says it.
    if (ret === -uapi.E2BIG || ret === -uapi.ENOSPC) {
      return `${labelOf(this)} is full (maxEntries ${this.maxEntries})`;
    }
    return ret === -uapi.EPERM ? `${labelOf(this)} is frozen` : undefined;
  }

  /**
   * Encodes a value into the window, for a verb as `mustAllow` has it.
   * @internal
   * @throws {BpfError} EBADF, EPERM
   */
  protected placeInWindow<I>(staging: Staging<I>, value: I, syscall: string, mode: number): void {
    this.mustAllow(syscall, mode);
    const { runtime, window } = this;
    const { views } = runtime;
    if (!staging.isLive) {
      views.reach(window, staging.size);
      staging.write(value, views, window);
      return;
    }
    const laid = staging.lay(value, "value");
    // The caller's code may have closed the map.
    this.mustAllow(syscall, mode);
    views.reach(window, staging.size);
    staging.move(laid, views, window);
  }

  /** A map that has no room for its window takes nothing over. */
  #takeWindow(bytes: number): number {
    try {
      return this.holdings.take(bytes);
    } catch (error) {
      this.holdings.release();
      throw error;
    }
  }
}

/**
 * Maps of elements with keys: the kernel's verbs.
 *
 * K, V: what reading gives; KI, VI: what writing takes (the same for most codecs).
 */
export abstract class ElementMap<K, KI, V, VI> extends TypedMap {
  /** @internal */
  readonly door: MapDoor<K, KI, V, VI>;
  /** @internal */
  protected readonly core: CoreExports;
  /** @internal */
  protected readonly batching: Batches<K, KI, V, VI>;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    const { info } = identity;
    super(runtime, identity, round8(info.keySize) * 2 + round8(value.size));
    this.core = runtime.exports;
    const door = new MapDoor({
      exports: runtime.exports,
      mem: runtime.views,
      handle: this.holdings.handle,
      key,
      value,
      isHash: HASH_TYPES.includes(info.type),
      isArray: info.type === uapi.BPF_MAP_TYPE_ARRAY,
      marks: PEEKED_TYPES.includes(info.type),
      isPerCpu: PER_CPU_TYPES.includes(info.type),
      keyPtr: this.window,
      valuePtr: this.window + round8(info.keySize) * 2,
    });
    this.door = door;
    const { mode } = this.holdings;
    if ((mode & FMODE_READ) === 0) door.denyReads();
    if ((mode & FMODE_WRITE) === 0) door.denyWrites();
    this.holdings.onEnd(() => door.shut());
    this.batching = new Batches({
      holdings: this.holdings,
      door,
      maxEntries: this.maxEntries,
      failed: (syscall, ret, count) => this.failed(syscall, ret, count),
    });
  }

  /**
   * An iteration without allocation: one reusable object that steps over the elements. It holds a little memory of the
   * runtime until it reaches the end, a loop over it is left, or `close()`.
   */
  cursor(): MapCursor<K, V> {
    this.mustAllow("bpf_map_get_next_key", FMODE_READ);
    return new MapCursor(this.holdings, this.door);
  }

  /** The keys, as `cursor` goes. */
  *keys(): IterableIterator<K> {
    for (const element of this.cursor()) yield element.key;
  }

  /**
   * Deletes exactly this key.
   * @returns was it there?
   * @throws {BpfError} EPERM: frozen; EINVAL: an array; E2BIG: an array of maps that has no such index
   */
  delete(key: KI): boolean {
    const ret = this.door.delete(key);
    if (ret === 0) return true;
    if (ret === -uapi.ENOENT) return false;
    throw this.failed("bpf_map_delete_elem", ret);
  }

  // ---- as the kernel ----

  /**
   * BPF_MAP_LOOKUP_ELEM: a copy of the value; no use in the sense of LRU.
   * @param flags 0 or BPF_F_LOCK
   * @throws {BpfError} EINVAL: bad flags; EPERM: the fd is not open for reading
   * @throws {TypeError} flags that are no number
   */
  lookup(key: KI, flags = 0): V | undefined {
    const { door } = this;
    return this.copy(key, flags) ? door.read(door.valuePtr) : undefined;
  }

  /** @internal Copies the value to the window; false when the key is absent. */
  protected copy(key: KI, flags: number): boolean {
    const { door } = this;
    door.encodeKey(key);
    // Flags are looked at before what the fd is open for.
    const isLegal = isFlags(flags) && (flags & ~uapi.BPF_F_LOCK) === 0;
    if (!isLegal) throw this.failed("bpf_map_lookup_elem", -uapi.EINVAL);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    const ret = this.core.map_lookup_copy(door.handle, door.keyPtr, door.valuePtr, flags);
    if (ret === 0) return true;
    if (ret === -uapi.ENOENT) return false;
    throw this.failed("bpf_map_lookup_elem", ret);
  }

  /**
   * BPF_MAP_UPDATE_ELEM.
   * @param flags BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK
   * @throws {BpfError} EEXIST, ENOENT, E2BIG (LPM_TRIE: ENOSPC), EINVAL, EPERM
   * @throws {TypeError} flags that are no number
   */
  update(key: KI, value: VI, flags = 0): void {
    // Whether the map may be written to at all is asked before the flags are: the core refuses them.
    const ret = this.door.put(key, value, isFlags(flags) ? flags : NO_FLAGS);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
  }

  /**
   * BPF_MAP_GET_NEXT_KEY: the key after `key`, the first one without. A key that is absent leads to the first.
   * @returns undefined at the end
   */
  nextKey(key?: KI): K | undefined {
    const { door } = this;
    if (key !== undefined) door.encodeKey(key);
    this.mustAllow("bpf_map_get_next_key", FMODE_READ);
    const next = door.keyPtr + round8(this.keySize);
    const ret = this.core.map_get_next_key(door.handle, key === undefined ? 0 : door.keyPtr, next);
    if (ret === 0) {
      door.mem.reach(next, door.key.size);
      return door.key.read(door.mem, next);
    }
    if (ret === -uapi.ENOENT) return undefined;
    throw this.failed("bpf_map_get_next_key", ret);
  }

  // ---- batches ----

  /** The start of a walk in batches, for this map only. */
  batchCursor(): BatchCursor {
    this.mustBeOpen("bpf_map_lookup_batch");
    return new BatchCursor(this.batching);
  }

  /**
   * BPF_MAP_LOOKUP_BATCH: about `count` elements from the cursor on; more when a bucket of a hash table holds more.
   * `cursor.done` says when the walk is over.
   * @throws {TypeError} a cursor of another map
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  lookupBatch(cursor: BatchCursor, count: number): [K, V][] {
    this.mustBeOpen("bpf_map_lookup_batch");
    return this.batching.lookup(uapi.BPF_MAP_LOOKUP_BATCH, cursor, count);
  }

  /**
   * BPF_MAP_UPDATE_BATCH: in order, up to the first error. Nothing is done when an entry does not fit its codec.
   * @throws {BpfError} with `count`, the number of elements done
   */
  updateBatch(entries: Iterable<readonly [KI, VI]>): void {
    this.mustBeOpen("bpf_map_update_batch");
    this.batching.update(entries);
  }

  /**
   * All elements, about `batchSize` at a time (as `lookupBatch`), with few crossings:
   * `for (const { keys, values, count } of map.batches())`. The object and its two arrays are the same in each turn of the
   * loop, filled anew. Deleting elements on the way is safe.
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  *batches(batchSize = 256): IterableIterator<MapBatch<K, V>> {
    const cursor = this.batchCursor();
    const batch = this.batching.newBatch();
    while (!cursor.done) {
      this.mustBeOpen("bpf_map_lookup_batch");
      this.batching.fill(batch, uapi.BPF_MAP_LOOKUP_BATCH, cursor, batchSize);
      if (batch.count > 0) yield batch;
    }
  }

  // ---- for types with deletion ----

  /** @internal The number of elements; the kernel's bpf_map_sum_elem_count. */
  protected countElems(): number {
    this.mustAllow("bpf_map_sum_elem_count", 0);
    const count = this.core.map_count(this.door.handle);
    if (count < 0) throw this.failed("bpf_map_sum_elem_count", count);
    return count;
  }

  /** @internal */
  protected deleteAll(): void {
    this.mustAllow("bpf_map_delete_elem", FMODE_READ | FMODE_WRITE);
    for (const element of this.cursor()) {
      const ret = this.core.map_delete(this.door.handle, element.keyPtr);
      if (ret !== 0 && ret !== -uapi.ENOENT) throw this.failed("bpf_map_delete_elem", ret);
    }
  }
}

/** Maps with keys and values as Map has them: reading, writing, iterating. K, KI, V, VI as in {@link ElementMap}. */
export abstract class KeyedMap<K, KI, V, VI>
  extends ElementMap<K, KI, V, VI>
  implements Iterable<[K, V]>
{
  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    super(runtime, identity, key, value);
    takeShortcuts(this, KeyedMap.prototype, this.door, runtime.exports);
  }

  // ---- as Map ----

  /**
   * The value of a key, undefined when absent. On LRU maps this is a use: the entry is marked as referenced (`peek` reads
   * without).
   * @throws {TypeError | RangeError} the key does not fit its codec
   */
  get(key: KI): V | undefined {
    return this.#readFrom(this.door.find(key));
  }

  #readFrom(ptr: number): V | undefined {
    if (ptr !== 0) return this.door.read(ptr);
    // Nothing was found: because it is not there, or because it may not be?
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    return undefined;
  }

  /** As `get`, without marking the entry of an LRU map. */
  peek(key: KI): V | undefined {
    const ptr = this.door.peek(key);
    if (ptr !== 0) return this.door.read(ptr);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    return undefined;
  }

  /** Is the key present? Does not mark the entry of an LRU map. */
  has(key: KI): boolean {
    if (this.door.peek(key) !== 0) return true;
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    return false;
  }

  /**
   * Inserts or replaces.
   * @throws {BpfError} E2BIG (LPM_TRIE: ENOSPC): the map is full; EPERM: frozen
   * @throws {TypeError | RangeError} key or value do not fit their codecs
   */
  set(key: KI, value: VI): this {
    const ret = this.door.set(key, value);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
    return this;
  }

  /**
   * Decodes the value into `out` (a struct's object, a Uint8Array) and returns it; undefined when absent. Scalars are just
   * returned.
   */
  getInto(key: KI, out: V): V | undefined {
    const ptr = this.door.find(key);
    if (ptr !== 0) return this.door.readInto(ptr, out);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    return undefined;
  }

  /**
   * A live view of the value in linear memory; undefined when absent. It shows whatever is at its address: use it before
   * the key is deleted. `into` takes a ref of this map, for no allocation at all. As a program's pointer it also writes to
   * maps that are frozen.
   */
  ref(key: KI, into?: ValueRef<V, VI>): ValueRef<V, VI> | undefined {
    const ptr = this.door.find(key);
    if (ptr !== 0) return (into ?? this.#newRef()).at(ptr);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    return undefined;
  }

  #newRef(): ValueRef<V, VI> {
    return new ValueRef(this.holdings, this.door.mem, this.door.value);
  }

  /**
   * Keys and values. The order is the kernel's. Elements deleted on the way (the current one too) are not shown again,
   * elements inserted on the way may or may not be shown, and it ends in any case: an iteration goes on from a place, not
   * from a key.
   */
  *entries(): IterableIterator<[K, V]> {
    for (const element of this.cursor()) yield [element.key, element.value];
  }

  /** The values, as `entries` goes. */
  *values(): IterableIterator<V> {
    for (const element of this.cursor()) yield element.value;
  }

  /** The same as `entries`. */
  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  /** Calls `callback` for each element, as `entries` goes. */
  forEach(callback: (value: V, key: K, map: this) => void): void {
    const element = this.cursor();
    const { door } = this;
    try {
      if (door.isInline && door.isNumeric && door.path === KEY_PATH.U32)
        element.eachNumber(callback, this);
      while (element.step()) {
        // As element.value and element.key, which ask again what step() has just seen.
        const value = door.isPerCpu ? element.value : door.read(element.valuePtr);
        callback(value, door.readKey(element.keyPtr), this);
      }
    } finally {
      element.close();
    }
  }

  /** As `lookup`, decoding into `out` (a struct's object, a Uint8Array, per-CPU types: an array). */
  lookupInto(key: KI, out: V, flags = 0): V | undefined {
    const { door } = this;
    return this.copy(key, flags) ? door.readInto(door.valuePtr, out) : undefined;
  }
}

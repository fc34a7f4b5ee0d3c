// HASH, LRU_HASH, PERCPU_HASH, LRU_PERCPU_HASH as typed maps.

import { BatchCursor, Batches } from "../batch.js";
import type { NumericArray } from "../batch.js";
import { perCpu } from "../codec.js";
import type { Codec } from "../codec.js";
import { BpfError } from "../errors.js";
import { KeyedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import type { BpfRuntime } from "../runtime.js";
import * as uapi from "../uapi.js";

/** What the four hash types have in common: deletion, counting, batches. */
export abstract class HashLikeMap<K, KI, V, VI> extends KeyedMap<K, KI, V, VI> {
  readonly #batches: Batches<K, KI, V, VI>;

  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    super(runtime, identity, key, value);
    this.#batches = new Batches(runtime, identity.fd, this.door, this.name);
  }

  override close(): void {
    this.#batches.close();
    super.close();
  }

  /** Number of elements; the kernel's bpf_map_sum_elem_count. */
  get size(): number {
    const count = this.core.map_count(this.door.handle);
    if (count < 0) throw this.failed("bpf_map_sum_elem_count", count);
    return count;
  }

  /**
   * Deletes a key.
   * @returns was it there?
   * @throws {BpfError} EPERM: frozen
   */
  delete(key: KI): boolean {
    const ret = this.door.delete(key);
    if (ret === 0) return true;
    if (ret === -uapi.ENOENT) return false;
    throw this.failed("bpf_map_delete_elem", ret);
  }

  /** Deletes all elements. */
  clear(): void {
    for (const element of this.cursor()) {
      const ret = this.core.map_delete(this.door.handle, element.keyPtr);
      if (ret !== 0 && ret !== -uapi.ENOENT) throw this.failed("bpf_map_delete_elem", ret);
    }
  }

  /** BPF_MAP_LOOKUP_AND_DELETE_ELEM: the value of a key, which is deleted; undefined when absent. */
  lookupAndDelete(key: KI): V | undefined {
    const { door } = this;
    door.encodeKey(key);
    const ret = this.core.map_lookup_and_delete(door.handle, door.keyPtr, door.valuePtr);
    if (ret === 0) return door.value.read(door.mem, door.valuePtr);
    if (ret === -uapi.ENOENT) return undefined;
    throw this.failed("bpf_map_lookup_and_delete_elem", ret);
  }

  /** Removes and yields all elements, a batch at a time. */
  *drain(batchSize = 256): IterableIterator<[K, V]> {
    const cursor = this.batchCursor();
    while (!cursor.done) yield* this.lookupAndDeleteBatch(cursor, batchSize);
  }

  // ---- batches ----

  /** The start of a walk in batches. */
  batchCursor(): BatchCursor {
    this.mustBeOpen("bpf_map_lookup_batch");
    return new BatchCursor();
  }

  /**
   * BPF_MAP_LOOKUP_BATCH: about `count` elements from the cursor on; more when a bucket holds more. `cursor.done` says
   * when the walk is over.
   */
  lookupBatch(cursor: BatchCursor, count: number): [K, V][] {
    this.mustBeOpen("bpf_map_lookup_batch");
    return this.#batches.lookup(uapi.BPF_MAP_LOOKUP_BATCH, cursor, count);
  }

  /** BPF_MAP_LOOKUP_AND_DELETE_BATCH: as `lookupBatch`, and the elements are gone. */
  lookupAndDeleteBatch(cursor: BatchCursor, count: number): [K, V][] {
    this.mustBeOpen("bpf_map_lookup_and_delete_batch");
    return this.#batches.lookup(uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH, cursor, count);
  }

  /**
   * BPF_MAP_UPDATE_BATCH: in order, up to the first error.
   * @throws {BpfError} with `count`, the number of elements done
   */
  updateBatch(entries: Iterable<readonly [KI, VI]>): void {
    this.mustBeOpen("bpf_map_update_batch");
    this.#batches.update(entries);
  }

  /**
   * BPF_MAP_DELETE_BATCH: in order, up to the first error.
   * @throws {BpfError} ENOENT: an absent key; `count` is the number of elements done
   */
  deleteBatch(keys: Iterable<KI>): void {
    this.mustBeOpen("bpf_map_delete_batch");
    this.#batches.delete(keys);
  }

  /**
   * Looks many keys up with one crossing. `keys` holds them one behind the other in the key's layout (Uint32Array for
   * `u32`), `out` receives as many values; misses read as zero, and `found`, when given, gets 1 or 0 for each key. On LRU
   * maps each hit is a use. Arrays that lie in the runtime's memory are used where they are.
   * @returns the number of hits
   */
  getMany(keys: NumericArray, out: NumericArray, found?: Uint8Array): number {
    this.mustBeOpen("bpf_map_lookup_batch");
    return this.#batches.getMany(keys, out, found);
  }

  /**
   * Inserts or replaces many elements with one crossing, in order.
   * @throws {BpfError} at the first error, with `count`, the number of elements done
   */
  setMany(keys: NumericArray, values: NumericArray): void {
    this.mustBeOpen("bpf_map_update_batch");
    this.#batches.setMany(keys, values);
  }

  /** Deletes many keys with one crossing; absent ones are passed over. @returns the number deleted */
  deleteMany(keys: NumericArray): number {
    this.mustBeOpen("bpf_map_delete_batch");
    return this.#batches.deleteMany(keys);
  }
}

/**
 * BPF_MAP_TYPE_HASH: a hash table of fixed capacity.
 *
 * @example
 * ```ts
 * const hits = rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 1000 });
 * hits.set(1, 10n).get(1); // 10n
 * ```
 */
export class HashMap<K, KI = K, V = unknown, VI = V> extends HashLikeMap<K, KI, V, VI> {}

/** BPF_MAP_TYPE_LRU_HASH: a hash table that evicts elements that were not used for long instead of being full. */
export class LruHashMap<K, KI = K, V = unknown, VI = V> extends HashLikeMap<K, KI, V, VI> {}

/** What the per-CPU hash types have in common: a value is an array with one element a CPU. */
export abstract class PerCpuHashLikeMap<K, KI, V, VI> extends HashLikeMap<
  K,
  KI,
  V[],
  readonly VI[]
> {
  /** The codec of one CPU's value. */
  readonly #one: Codec<V, VI>;

  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    super(runtime, identity, key, perCpu(value, runtime.cpus));
    this.#one = value;
  }

  /** All CPUs' values; LRU_PERCPU_HASH: a use. */
  override get(key: KI): V[] | undefined {
    this.door.find(key);
    return this.lookup(key);
  }

  override peek(key: KI): V[] | undefined {
    return this.lookup(key);
  }

  override getInto(key: KI, out: V[]): V[] | undefined {
    const values = this.get(key);
    if (values === undefined) return undefined;
    for (const [cpu, value] of values.entries()) out[cpu] = value;
    return out;
  }

  override ref(): never {
    throw new BpfError(
      "bpf_map_lookup_elem",
      -uapi.EINVAL,
      "a per-CPU value has one address a CPU: use refOn",
    );
  }

  override *entries(): IterableIterator<[K, V[]]> {
    for (const key of this.keys()) {
      const value = this.lookup(key as unknown as KI);
      if (value !== undefined) yield [key, value];
    }
  }

  override *values(): IterableIterator<V[]> {
    for (const [, value] of this.entries()) yield value;
  }

  override forEach(callback: (value: V[], key: K, map: this) => void): void {
    for (const [key, value] of this.entries()) callback(value, key, this);
  }

  /** The value of one CPU; undefined when the key is absent. LRU_PERCPU_HASH: a use. */
  getOn(key: KI, cpu: number): V | undefined {
    const { door } = this;
    door.encodeKey(key);
    const ptr = this.core.bpf_map_lookup_percpu_elem(door.handle, door.keyPtr, cpu) >>> 0;
    if (ptr === 0) return undefined;
    door.mem.reach(ptr);
    return this.#one.read(door.mem, ptr);
  }

  /** All CPUs' values folded into one; undefined when the key is absent. */
  reduce<R>(key: KI, fold: (sum: R, value: V, cpu: number) => R, start: R): R | undefined {
    return this.lookup(key)?.reduce<R>(fold, start);
  }

  /** Sum over the CPUs of a scalar value; undefined when the key is absent. */
  sum(key: KI): V | undefined {
    const values = this.lookup(key);
    return values === undefined ? undefined : sumOf(values);
  }
}

/** Sums numbers or bigints. */
export function sumOf<V>(values: readonly V[]): V {
  const first = values[0];
  if (typeof first === "bigint") return (values as readonly bigint[]).reduce((a, b) => a + b) as V;
  if (typeof first === "number") return (values as readonly number[]).reduce((a, b) => a + b) as V;
  throw new TypeError("sum: the value is no number (use reduce)");
}

/** BPF_MAP_TYPE_PERCPU_HASH: values are arrays with one element a CPU. */
export class PerCpuHashMap<K, KI = K, V = unknown, VI = V> extends PerCpuHashLikeMap<
  K,
  KI,
  V,
  VI
> {}

/** BPF_MAP_TYPE_LRU_PERCPU_HASH: an LRU hash whose values are arrays with one element a CPU. */
export class LruPerCpuHashMap<K, KI = K, V = unknown, VI = V> extends PerCpuHashLikeMap<
  K,
  KI,
  V,
  VI
> {}

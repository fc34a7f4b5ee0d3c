// HASH, LRU_HASH, PERCPU_HASH, LRU_PERCPU_HASH as typed maps.

import type { BatchCursor } from "../batch.js";
import { ErasableMap } from "../batched-map.js";
import { perCpu } from "../codec.js";
import type { Codec } from "../codec.js";
import { BpfError } from "../errors.js";
import { FMODE_READ, FMODE_WRITE } from "../holdings.js";
import type { MapIdentity } from "../map.js";
import { isFlags } from "../numbers.js";
import { ValueRef } from "../ref.js";
import type { BpfRuntime } from "../runtime.js";
import * as uapi from "../uapi.js";
import { checkCpu, sumOf } from "./per-cpu.js";

/** What the four hash types have in common: elements are taken out, one or many at a time. */
export abstract class HashLikeMap<K, KI, V, VI> extends ErasableMap<K, KI, V, VI> {
  /**
   * BPF_MAP_LOOKUP_AND_DELETE_ELEM: the value of a key, which is deleted; undefined when absent.
   * @param flags 0 or BPF_F_LOCK
   * @throws {BpfError} EINVAL: bad flags; EPERM: frozen, or the fd is not open for reading and writing
   */
  lookupAndDelete(key: KI, flags = 0): V | undefined {
    const syscall = "bpf_map_lookup_and_delete_elem";
    const { door } = this;
    door.encodeKey(key);
    const isLegal = isFlags(flags) && (flags & ~uapi.BPF_F_LOCK) === 0;
    if (!isLegal) throw this.failed(syscall, -uapi.EINVAL);
    this.mustAllow(syscall, FMODE_READ | FMODE_WRITE);
    const ret = this.core.map_lookup_and_delete(door.handle, door.keyPtr, door.valuePtr, flags);
    if (ret === 0) return door.read(door.valuePtr);
    if (ret === -uapi.ENOENT) return undefined;
    throw this.failed(syscall, ret);
  }

  /** Removes and yields all elements, a batch at a time. */
  *drain(batchSize = 256): IterableIterator<[K, V]> {
    const cursor = this.batchCursor();
    while (!cursor.done) yield* this.lookupAndDeleteBatch(cursor, batchSize);
  }

  /** BPF_MAP_LOOKUP_AND_DELETE_BATCH: as `lookupBatch`, and the elements are gone. */
  lookupAndDeleteBatch(cursor: BatchCursor, count: number): [K, V][] {
    this.mustBeOpen("bpf_map_lookup_and_delete_batch");
    return this.batching.lookup(uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH, cursor, count);
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

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    const all = perCpu(value, runtime.cpus) as unknown as Codec<V[], readonly VI[]>;
    super(runtime, identity, key, all);
    this.#one = value;
  }

  /** All CPUs' values; undefined when absent. LRU_PERCPU_HASH: a use. */
  override get(key: KI): V[] | undefined {
    if (this.door.marks) this.door.find(key);
    return this.lookup(key);
  }

  /** All CPUs' values; undefined when absent. No use in the sense of LRU. */
  override peek(key: KI): V[] | undefined {
    return this.lookup(key);
  }

  /** Decodes all CPUs' values into `out` and returns it; undefined when absent. LRU_PERCPU_HASH: a use. */
  override getInto(key: KI, out: V[]): V[] | undefined {
    if (this.door.marks) this.door.find(key);
    return this.lookupInto(key, out);
  }

  /** @throws {BpfError} EINVAL: a per-CPU value has one address a CPU */
  override ref(): never {
    const why = "a per-CPU value has one address a CPU: use refOn";
    throw new BpfError("bpf_map_lookup_elem", -uapi.EINVAL, why);
  }

  /** Keys with all CPUs' values, in the kernel's order. */
  override *entries(): IterableIterator<[K, V[]]> {
    const { core, door } = this;
    for (const element of this.cursor()) {
      // By the bytes of the key: decoding a key may give what its codec does not take, or other bytes.
      const ret = core.map_lookup_copy(door.handle, element.keyPtr, door.valuePtr, 0);
      // Another thread has deleted it meanwhile.
      if (ret === -uapi.ENOENT) continue;
      if (ret !== 0) throw this.failed("bpf_map_lookup_elem", ret);
      const value = door.read(door.valuePtr);
      yield [element.key, value];
    }
  }

  /** All CPUs' values of each key. */
  override *values(): IterableIterator<V[]> {
    for (const [, value] of this.entries()) yield value;
  }

  /** Calls `callback` for each key with all CPUs' values. */
  override forEach(callback: (value: V[], key: K, map: this) => void): void {
    for (const [key, value] of this.entries()) callback(value, key, this);
  }

  /**
   * The value of one CPU; undefined when the key is absent. LRU_PERCPU_HASH: a use.
   * @throws {RangeError} no such CPU
   */
  getOn(key: KI, cpu: number): V | undefined {
    const ptr = this.#slot(key, cpu);
    return ptr === 0 ? undefined : this.#one.read(this.door.mem, ptr);
  }

  /**
   * A live view of the value of one CPU; undefined when the key is absent. LRU_PERCPU_HASH: a use.
   * @throws {RangeError} no such CPU
   */
  refOn(key: KI, cpu: number, into?: ValueRef<V, VI>): ValueRef<V, VI> | undefined {
    const ptr = this.#slot(key, cpu);
    if (ptr === 0) return undefined;
    return (into ?? new ValueRef(this.holdings, this.door.mem, this.#one)).at(ptr);
  }

  /** Address of a CPU's value, 0 when the key is absent. */
  #slot(key: KI, cpu: number): number {
    checkCpu(cpu, this.runtime.cpus);
    const { door } = this;
    door.encodeKey(key);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    const ptr = this.core.bpf_map_lookup_percpu_elem(door.handle, door.keyPtr, cpu) >>> 0;
    door.mem.reach(ptr, this.#one.size);
    return ptr;
  }

  /** All CPUs' values folded into one; undefined when the key is absent. */
  reduce<R>(key: KI, fold: (sum: R, value: V, cpu: number) => R, start: R): R | undefined {
    return this.lookup(key)?.reduce<R>(fold, start);
  }

  /**
   * Sum over the CPUs of a scalar value; undefined when the key is absent.
   * @throws {TypeError} the value is no number
   */
  sum(key: KI): V | undefined {
    const values = this.lookup(key);
    return values === undefined ? undefined : sumOf(values);
  }
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

// ARRAY and PERCPU_ARRAY as typed maps.

import { BatchedMap } from "../batched-map.js";
import { perCpu } from "../codec.js";
import type { Codec } from "../codec.js";
import { BpfError } from "../errors.js";
import { FMODE_READ } from "../holdings.js";
import { labelOf } from "../map.js";
import type { MapIdentity } from "../map.js";
import { ValueRef } from "../ref.js";
import type { BpfRuntime } from "../runtime.js";
import * as uapi from "../uapi.js";
import { checkCpu, sumOf } from "./per-cpu.js";

/** What both types have in common: all indices below maxEntries have a value, always. E2BIG is an index beyond them. */
export abstract class ArrayLikeMap<V, VI> extends BatchedMap<number, number, V, VI> {
  /** Number of elements: maxEntries. */
  get length(): number {
    return this.maxEntries;
  }

  /** Number of elements, as Map has it: maxEntries. */
  get size(): number {
    return this.maxEntries;
  }

  /**
   * The values of an array are there from the start to the end: nothing can be deleted.
   * @throws {BpfError} EINVAL
   */
  override delete(_index: never): never {
    this.mustBeOpen("bpf_map_delete_elem");
    const detail = "the elements of an array cannot be deleted";
    throw new BpfError("bpf_map_delete_elem", -uapi.EINVAL, detail);
  }

  /** @internal */
  protected override explain(ret: number, syscall: string): string | undefined {
    if (ret !== -uapi.E2BIG) return super.explain(ret, syscall);
    return `index outside ${labelOf(this)} (maxEntries ${this.maxEntries})`;
  }
}

/**
 * BPF_MAP_TYPE_ARRAY: `maxEntries` values that exist from the start and are zero. `get` beyond the end is undefined, `set`
 * there throws E2BIG.
 *
 * @example
 * ```ts
 * const counters = rt.createMap({ type: "array", value: u64, maxEntries: 4 });
 * counters.set(2, 7n).get(2); // 7n
 * ```
 */
export class ArrayMap<V, VI = V> extends ArrayLikeMap<V, VI> {}

/**
 * BPF_MAP_TYPE_PERCPU_ARRAY: values are arrays with one element a CPU.
 *
 * @example
 * ```ts
 * const drops = rt.createMap({ type: "percpu_array", value: u64, maxEntries: 4 });
 * drops.refOn(0, 1)?.add(1); // what a program on CPU 1 does
 * drops.sum(0); // 1n
 * ```
 */
export class PerCpuArrayMap<V, VI = V> extends ArrayLikeMap<V[], readonly VI[]> {
  readonly #one: Codec<V, VI>;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<number>, value: Codec<V, VI>) {
    const all = perCpu(value, runtime.cpus) as unknown as Codec<V[], readonly VI[]>;
    super(runtime, identity, key, all);
    this.#one = value;
  }

  /** All CPUs' values; undefined outside the array. */
  override get(index: number): V[] | undefined {
    return this.lookup(index);
  }

  /** The same as `get`. */
  override peek(index: number): V[] | undefined {
    return this.lookup(index);
  }

  /** Decodes all CPUs' values into `out` and returns it; undefined outside the array. */
  override getInto(index: number, out: V[]): V[] | undefined {
    return this.lookupInto(index, out);
  }

  /** @throws {BpfError} EINVAL: a per-CPU value has one address a CPU */
  override ref(): never {
    const why = "a per-CPU value has one address a CPU: use refOn";
    throw new BpfError("bpf_map_lookup_elem", -uapi.EINVAL, why);
  }

  /** All indices with all CPUs' values. */
  override *entries(): IterableIterator<[number, V[]]> {
    for (let index = 0; index < this.maxEntries; index++) {
      yield [index, this.lookup(index) as V[]];
    }
  }

  /** All CPUs' values of each index. */
  override *values(): IterableIterator<V[]> {
    for (const [, value] of this.entries()) yield value;
  }

  /** Calls `callback` for each index. */
  override forEach(callback: (value: V[], key: number, map: this) => void): void {
    for (const [index, value] of this.entries()) callback(value, index, this);
  }

  /**
   * The value of one CPU; undefined outside the array.
   * @throws {RangeError} no such CPU
   */
  getOn(index: number, cpu: number): V | undefined {
    const ptr = this.#slot(index, cpu);
    return ptr === 0 ? undefined : this.#one.read(this.door.mem, ptr);
  }

  /**
   * A live view of the value of one CPU; undefined outside the array.
   * @throws {RangeError} no such CPU
   */
  refOn(index: number, cpu: number, into?: ValueRef<V, VI>): ValueRef<V, VI> | undefined {
    const ptr = this.#slot(index, cpu);
    if (ptr === 0) return undefined;
    return (into ?? new ValueRef(this.holdings, this.door.mem, this.#one)).at(ptr);
  }

  /** Address of a CPU's value, 0 outside the array. */
  #slot(index: number, cpu: number): number {
    checkCpu(cpu, this.runtime.cpus);
    const { door } = this;
    door.encodeKey(index);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    const ptr = this.core.bpf_map_lookup_percpu_elem(door.handle, door.keyPtr, cpu) >>> 0;
    door.mem.reach(ptr, this.#one.size);
    return ptr;
  }

  /** All CPUs' values folded into one; undefined outside the array. */
  reduce<R>(index: number, fold: (sum: R, value: V, cpu: number) => R, start: R): R | undefined {
    return this.lookup(index)?.reduce<R>(fold, start);
  }

  /**
   * Sum over the CPUs of a scalar value; undefined outside the array.
   * @throws {TypeError} the value is no number
   */
  sum(index: number): V | undefined {
    const values = this.lookup(index);
    return values === undefined ? undefined : sumOf(values);
  }
}

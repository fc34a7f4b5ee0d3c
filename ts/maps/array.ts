// ARRAY and PERCPU_ARRAY as typed maps.

import { perCpu } from "../codec.js";
import type { Codec } from "../codec.js";
import { BpfError } from "../errors.js";
import { KeyedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import type { BpfRuntime } from "../runtime.js";
import * as uapi from "../uapi.js";
import { sumOf } from "./hash.js";

/** Arrays have no absent elements below maxEntries and no capacity to run out of: E2BIG is an index. */
abstract class ArrayLikeMap<V, VI> extends KeyedMap<number, number, V, VI> {
  /** Number of elements: maxEntries. */
  get length(): number {
    return this.maxEntries;
  }

  protected override failed(syscall: string, ret: number): BpfError {
    if (ret !== -uapi.E2BIG) return super.failed(syscall, ret);
    return new BpfError(
      syscall,
      ret,
      `index outside map '${this.name}' (maxEntries ${this.maxEntries})`,
    );
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

/** BPF_MAP_TYPE_PERCPU_ARRAY: values are arrays with one element a CPU. */
export class PerCpuArrayMap<V, VI = V> extends ArrayLikeMap<V[], readonly VI[]> {
  readonly #one: Codec<V, VI>;

  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<number>, value: Codec<V, VI>) {
    super(runtime, identity, key, perCpu(value, runtime.cpus));
    this.#one = value;
  }

  override get(index: number): V[] | undefined {
    return this.lookup(index);
  }

  override peek(index: number): V[] | undefined {
    return this.lookup(index);
  }

  override getInto(index: number, out: V[]): V[] | undefined {
    const values = this.lookup(index);
    if (values === undefined) return undefined;
    for (const [cpu, value] of values.entries()) out[cpu] = value;
    return out;
  }

  override ref(): never {
    throw new BpfError(
      "bpf_map_lookup_elem",
      -uapi.EINVAL,
      "a per-CPU value has one address a CPU: use getOn",
    );
  }

  override *entries(): IterableIterator<[number, V[]]> {
    for (let index = 0; index < this.maxEntries; index++) yield [index, this.lookup(index) as V[]];
  }

  override *values(): IterableIterator<V[]> {
    for (const [, value] of this.entries()) yield value;
  }

  override forEach(callback: (value: V[], key: number, map: this) => void): void {
    for (const [index, value] of this.entries()) callback(value, index, this);
  }

  /** The value of one CPU; undefined outside the array. */
  getOn(index: number, cpu: number): V | undefined {
    const { door } = this;
    door.encodeKey(index);
    const ptr = this.core.bpf_map_lookup_percpu_elem(door.handle, door.keyPtr, cpu) >>> 0;
    if (ptr === 0) return undefined;
    door.mem.reach(ptr);
    return this.#one.read(door.mem, ptr);
  }

  /** All CPUs' values folded into one; undefined outside the array. */
  reduce<R>(index: number, fold: (sum: R, value: V, cpu: number) => R, start: R): R | undefined {
    return this.lookup(index)?.reduce<R>(fold, start);
  }

  /** Sum over the CPUs of a scalar value; undefined outside the array. */
  sum(index: number): V | undefined {
    const values = this.lookup(index);
    return values === undefined ? undefined : sumOf(values);
  }
}

// Maps with keys that move many elements at once: the hash types, the arrays, and LPM tries.

import type { Codec } from "./codec.js";
import { FMODE_READ, FMODE_WRITE } from "./holdings.js";
import type { NumericArray } from "./lane.js";
import { Many } from "./many.js";
import { KeyedMap } from "./map.js";
import type { MapIdentity } from "./map.js";
import type { BpfRuntime } from "./runtime.js";

/** Typed arrays of elements. K, KI, V, VI as in {@link ElementMap}. */
export abstract class BatchedMap<K, KI, V, VI> extends KeyedMap<K, KI, V, VI> {
  /** @internal */
  protected readonly many: Many;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    super(runtime, identity, key, value);
    this.many = new Many({
      holdings: this.holdings,
      door: this.door,
      failed: (syscall, ret, count) => this.failed(syscall, ret, count),
    });
  }

  /**
   * Looks many keys up with one crossing. `keys` holds them one behind the other in the key's layout (Uint32Array for
   * `u32`), `out` receives as many values (per-CPU types: of all CPUs, each in a slot of a multiple of 8 bytes); misses
   * read as zero, and `found`, when given, gets 1 or 0 for each key. On LRU maps each hit is a use. Arrays that lie in the
   * runtime's memory are used where they are. Repeated calls with arrays of one length, up to 4096 elements, allocate
   * nothing.
   * @returns the number of hits
   * @throws {TypeError | RangeError} no typed arrays; arrays that are too short
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  getMany(keys: NumericArray, out: NumericArray, found?: Uint8Array): number {
    this.mustAllow("bpf_map_lookup_batch", FMODE_READ);
    return this.many.get(keys, out, found);
  }

  /**
   * Inserts or replaces many elements with one crossing, in order; arrays as in `getMany`.
   * @throws {BpfError} at the first error, with `count`, the number of elements done
   */
  setMany(keys: NumericArray, values: NumericArray): void {
    this.mustAllow("bpf_map_update_batch", FMODE_WRITE);
    this.many.set(keys, values);
  }
}

/** Maps whose elements come and go: deletion and counting. K, KI, V, VI as in {@link ElementMap}. */
export abstract class ErasableMap<K, KI, V, VI> extends BatchedMap<K, KI, V, VI> {
  /** Number of elements; the kernel's bpf_map_sum_elem_count. */
  get size(): number {
    return this.countElems();
  }

  /**
   * Deletes all elements.
   * @throws {BpfError} EPERM: frozen, or the fd is not open for reading and writing
   */
  clear(): void {
    this.deleteAll();
  }

  /**
   * BPF_MAP_DELETE_BATCH: in order, up to the first error.
   * @throws {BpfError} ENOENT: an absent key; `count` is the number of elements done
   */
  deleteBatch(keys: Iterable<KI>): void {
    this.mustBeOpen("bpf_map_delete_batch");
    this.batching.delete(keys);
  }

  /**
   * Deletes many keys with one crossing; absent ones are passed over. `keys` as in `getMany`.
   * @returns the number deleted
   * @throws {BpfError} EPERM: frozen, or the fd is not open for writing
   */
  deleteMany(keys: NumericArray): number {
    this.mustAllow("bpf_map_delete_batch", FMODE_WRITE);
    return this.many.delete(keys);
  }
}

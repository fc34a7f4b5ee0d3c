// Maps with keys that have batches: the hash types and the arrays.

import { BatchCursor, Batches } from "./batch.js";
import type { Codec } from "./codec.js";
import { FMODE_READ, FMODE_WRITE } from "./holdings.js";
import type { NumericArray } from "./lane.js";
import { KeyedMap } from "./map.js";
import type { MapIdentity } from "./map.js";
import type { BpfRuntime } from "./runtime.js";
import * as uapi from "./uapi.js";

/** Reading and writing many elements at once. K, KI, V, VI as in {@link KeyedMap}. */
export abstract class BatchedMap<K, KI, V, VI> extends KeyedMap<K, KI, V, VI> {
  /** @internal */
  protected readonly batches: Batches<K, KI, V, VI>;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, key: Codec<K, KI>, value: Codec<V, VI>) {
    super(runtime, identity, key, value);
    this.batches = new Batches({
      holdings: this.holdings,
      door: this.door,
      maxEntries: this.maxEntries,
      failed: (syscall, ret, count) => this.failed(syscall, ret, count),
    });
  }

  /** The start of a walk in batches, for this map only. */
  batchCursor(): BatchCursor {
    this.mustBeOpen("bpf_map_lookup_batch");
    return new BatchCursor(this.batches);
  }

  /**
   * BPF_MAP_LOOKUP_BATCH: about `count` elements from the cursor on; more when a bucket of a hash table holds more.
   * `cursor.done` says when the walk is over.
   * @throws {TypeError} a cursor of another map
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  lookupBatch(cursor: BatchCursor, count: number): [K, V][] {
    this.mustBeOpen("bpf_map_lookup_batch");
    return this.batches.lookup(uapi.BPF_MAP_LOOKUP_BATCH, cursor, count);
  }

  /**
   * BPF_MAP_UPDATE_BATCH: in order, up to the first error. Nothing is done when an entry does not fit its codec.
   * @throws {BpfError} with `count`, the number of elements done
   */
  updateBatch(entries: Iterable<readonly [KI, VI]>): void {
    this.mustBeOpen("bpf_map_update_batch");
    this.batches.update(entries);
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
    return this.batches.getMany(keys, out, found);
  }

  /**
   * Inserts or replaces many elements with one crossing, in order; arrays as in `getMany`.
   * @throws {BpfError} at the first error, with `count`, the number of elements done
   */
  setMany(keys: NumericArray, values: NumericArray): void {
    this.mustAllow("bpf_map_update_batch", FMODE_WRITE);
    this.batches.setMany(keys, values);
  }
}

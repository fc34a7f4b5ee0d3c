// BLOOM_FILTER as a typed map.

import type { Codec } from "../codec.js";
import { FMODE_READ, FMODE_WRITE } from "../holdings.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import type { BpfRuntime } from "../runtime.js";
import { Staging } from "../staging.js";
import * as uapi from "../uapi.js";

/**
 * BPF_MAP_TYPE_BLOOM_FILTER: remembers which values were added, in a few bits each; may say "maybe" of one that was not.
 * `maxEntries` is the number of values it is sized for, `mapExtra` the number of hash functions (1..15, default 5).
 *
 * @example
 * ```ts
 * const seen = rt.createMap({ type: "bloom_filter", value: u64, maxEntries: 1000 });
 * seen.add(7n).mightHave(7n); // true
 * ```
 */
export class BloomFilter<VI> extends TypedMap {
  readonly #staging: Staging<VI>;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, value: Codec<unknown, VI>) {
    super(runtime, identity, value.size);
    this.#staging = new Staging(value);
  }

  /**
   * Adds a value. It never gets full, only less exact.
   * @throws {BpfError} EPERM: frozen
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  add(value: VI): this {
    this.placeInWindow(this.#staging, value, "bpf_map_push_elem", FMODE_WRITE);
    const ret = this.runtime.exports.map_update(this.holdings.handle, 0, this.window, uapi.BPF_ANY);
    if (ret !== 0) throw this.failed("bpf_map_push_elem", ret);
    return this;
  }

  /**
   * False: the value was never added. True: it probably was.
   * @throws {BpfError} EPERM: the fd is not open for reading
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  mightHave(value: VI): boolean {
    this.placeInWindow(this.#staging, value, "bpf_map_peek_elem", FMODE_READ);
    const ret = this.runtime.exports.map_lookup_copy(this.holdings.handle, 0, this.window, 0);
    if (ret !== 0 && ret !== -uapi.ENOENT) throw this.failed("bpf_map_peek_elem", ret);
    return ret === 0;
  }
}

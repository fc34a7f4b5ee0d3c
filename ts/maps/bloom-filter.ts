// BLOOM_FILTER as a typed map.

import type { Codec } from "../codec.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import type { BpfRuntime } from "../runtime.js";
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
  readonly #value: Codec<unknown, VI>;
  readonly #handle: number;

  /** @internal */
  constructor(
    runtime: BpfRuntime,
    identity: MapIdentity,
    _key: unknown,
    value: Codec<unknown, VI>,
  ) {
    super(runtime, identity, value.size);
    this.#value = value;
    this.#handle = runtime.exports.bpf_map_by_fd(identity.fd);
  }

  /**
   * Adds a value. It never gets full, only less exact.
   * @throws {BpfError} EPERM: frozen
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  add(value: VI): this {
    this.#encode(value, "bpf_map_push_elem");
    const ret = this.runtime.exports.map_update(this.#handle, 0, this.window, uapi.BPF_ANY);
    if (ret !== 0) throw this.failed("bpf_map_push_elem", ret);
    return this;
  }

  /** False: the value was never added. True: it probably was. */
  mightHave(value: VI): boolean {
    this.#encode(value, "bpf_map_peek_elem");
    return this.runtime.exports.map_lookup_copy(this.#handle, 0, this.window, 0) === 0;
  }

  #encode(value: VI, syscall: string): void {
    this.mustBeOpen(syscall);
    const { views } = this.runtime;
    views.reach(this.window);
    this.#value.write(views, this.window, value, "value");
  }
}

// QUEUE and STACK as typed maps.

import type { Codec } from "../codec.js";
import { FMODE_READ, FMODE_WRITE } from "../holdings.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import { isFlags, NO_FLAGS } from "../numbers.js";
import type { BpfRuntime } from "../runtime.js";
import { Staging } from "../staging.js";
import * as uapi from "../uapi.js";

/** Values without keys. Iterating takes them out. */
export abstract class QueueLikeMap<V, VI> extends TypedMap implements Iterable<V> {
  readonly #value: Codec<V, VI>;
  readonly #staging: Staging<VI>;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, value: Codec<V, VI>) {
    super(runtime, identity, value.size);
    this.#value = value;
    this.#staging = new Staging(value);
  }

  /**
   * Adds a value.
   * @param flags BPF_ANY, or BPF_EXIST: a full map drops its oldest value instead of refusing
   * @throws {BpfError} E2BIG: full; EPERM: frozen; EINVAL: other flags
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  push(value: VI, flags = uapi.BPF_ANY as number): this {
    this.placeInWindow(this.#staging, value, "bpf_map_push_elem", FMODE_WRITE);
    const { exports } = this.runtime;
    const coreFlags = isFlags(flags) ? flags : NO_FLAGS;
    const ret = exports.map_update(this.holdings.handle, 0, this.window, coreFlags);
    if (ret !== 0) throw this.failed("bpf_map_push_elem", ret);
    return this;
  }

  /**
   * Takes the next value out; undefined when the map is empty.
   * @throws {BpfError} EPERM: frozen
   */
  pop(): V | undefined {
    this.mustAllow("bpf_map_pop_elem", FMODE_READ | FMODE_WRITE);
    const ret = this.runtime.exports.map_lookup_and_delete(this.holdings.handle, 0, this.window, 0);
    return this.#read("bpf_map_pop_elem", ret);
  }

  /** The next value, which stays; undefined when the map is empty. */
  peek(): V | undefined {
    this.mustAllow("bpf_map_peek_elem", FMODE_READ);
    const ret = this.runtime.exports.map_lookup_copy(this.holdings.handle, 0, this.window, 0);
    return this.#read("bpf_map_peek_elem", ret);
  }

  /** Takes values out until the map is empty. A loop that is left early leaves the rest in. */
  *[Symbol.iterator](): IterableIterator<V> {
    for (let value = this.pop(); value !== undefined; value = this.pop()) yield value;
  }

  #read(syscall: string, ret: number): V | undefined {
    if (ret === -uapi.ENOENT) return undefined;
    if (ret !== 0) throw this.failed(syscall, ret);
    const { views } = this.runtime;
    views.reach(this.window, this.#value.size);
    return this.#value.read(views, this.window);
  }
}

/**
 * BPF_MAP_TYPE_QUEUE: first in, first out.
 *
 * @example
 * ```ts
 * const jobs = rt.createMap({ type: "queue", value: u32, maxEntries: 8 });
 * jobs.push(1).push(2);
 * jobs.pop(); // 1
 * ```
 */
export class Queue<V, VI = V> extends QueueLikeMap<V, VI> {}

/** BPF_MAP_TYPE_STACK: last in, first out. With BPF_EXIST a full stack loses its bottom. */
export class Stack<V, VI = V> extends QueueLikeMap<V, VI> {}

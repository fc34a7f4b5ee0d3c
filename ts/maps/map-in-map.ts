// ARRAY_OF_MAPS and HASH_OF_MAPS as typed maps.

import type { Codec } from "../codec.js";
import { FMODE_READ, FMODE_WRITE } from "../holdings.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import { round8 } from "../numbers.js";
import type { BpfRuntime } from "../runtime.js";
import { mapFdById } from "../syscall.js";
import * as uapi from "../uapi.js";

const ITER_BYTES = 16;
const VALUE_BYTES = 8;

/** Makes a typed map of the inner type for an fd, which it takes over. */
export type OpenInner<M> = (fd: number) => M;

/**
 * Maps whose values are maps. An inner map must look like the template that the outer one was created with; the outer map
 * keeps it alive.
 */
abstract class MapOfMaps<K, KI, M extends TypedMap> extends TypedMap {
  readonly #key: Codec<K, KI>;
  readonly #open: OpenInner<M>;

  /** @internal */
  constructor(
    runtime: BpfRuntime,
    identity: MapIdentity,
    key: Codec<K, KI>,
    openInner: OpenInner<M>,
  ) {
    super(runtime, identity, VALUE_BYTES + ITER_BYTES + round8(key.size));
    this.#key = key;
    this.#open = openInner;
  }

  /**
   * Puts an inner map in, or replaces one.
   * @throws {BpfError} EINVAL: it does not look like the template; E2BIG: full, or no such index; EPERM: frozen;
   * EBADF: the inner map is closed
   */
  set(key: KI, inner: M): this {
    const keyPtr = this.#encodeKey(key, FMODE_WRITE);
    const { exports, views } = this.runtime;
    views.i32[this.window >>> 2] = inner.closed ? -1 : inner.fd;
    const ret = exports.map_update(this.holdings.handle, keyPtr, this.window, uapi.BPF_ANY);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
    return this;
  }

  /** The inner map, through an fd of its own that the caller closes; undefined when there is none. */
  get(key: KI): M | undefined {
    const id = this.idOf(key);
    return id === undefined ? undefined : this.#openId(id);
  }

  /** The id of the inner map: what a lookup by bpf(2) answers. */
  idOf(key: KI): number | undefined {
    const ptr =
      this.runtime.exports.map_peek(this.holdings.handle, this.#encodeKey(key, FMODE_READ)) >>> 0;
    return ptr === 0 ? undefined : this.#u32(ptr);
  }

  /** Is there an inner map? */
  has(key: KI): boolean {
    return this.idOf(key) !== undefined;
  }

  /**
   * Takes an inner map out; true if there was one.
   * @throws {BpfError} E2BIG: no such index; EPERM: frozen
   */
  delete(key: KI): boolean {
    const ret = this.runtime.exports.map_delete(
      this.holdings.handle,
      this.#encodeKey(key, FMODE_WRITE),
    );
    if (ret === 0 || ret === -uapi.ENOENT) return ret === 0;
    throw this.failed("bpf_map_delete_elem", ret);
  }

  /** Keys and ids of the inner maps. */
  *ids(): IterableIterator<[K, number]> {
    const { exports, views } = this.runtime;
    const keyPtr = this.window + VALUE_BYTES + ITER_BYTES;
    const state = new Uint8Array(ITER_BYTES);
    let lastKey = new Uint8Array(this.keySize);
    while (true) {
      // Between two steps others may use the window, and close the map.
      this.mustAllow("bpf_map_get_next_key", FMODE_READ);
      const iter = this.window + VALUE_BYTES;
      views.reach(keyPtr, this.keySize);
      views.u8.set(state, iter);
      views.u8.set(lastKey, keyPtr);
      const ptr = exports.map_iter_next(this.holdings.handle, iter, keyPtr) >>> 0;
      if (ptr === 0) return;
      state.set(views.u8.subarray(iter, iter + ITER_BYTES));
      lastKey = views.u8.slice(keyPtr, keyPtr + this.keySize);
      yield [this.#key.read(views, keyPtr), this.#u32(ptr)];
    }
  }

  /** The keys that have an inner map. */
  *keys(): IterableIterator<K> {
    for (const [key] of this.ids()) yield key;
  }

  /** Keys and inner maps; each has an fd of its own that the caller closes. */
  *entries(): IterableIterator<[K, M]> {
    for (const [key, id] of this.ids()) yield [key, this.#openId(id)];
  }

  [Symbol.iterator](): IterableIterator<[K, M]> {
    return this.entries();
  }

  #openId(id: number): M {
    return this.#open(mapFdById(this.runtime, id));
  }

  #encodeKey(key: KI, mode: number): number {
    this.mustAllow(mode === FMODE_READ ? "bpf_map_lookup_elem" : "bpf_map_update_elem", mode);
    const { views } = this.runtime;
    const keyPtr = this.window + VALUE_BYTES + ITER_BYTES;
    views.reach(keyPtr, this.keySize);
    this.#key.write(views, keyPtr, key, "key");
    return keyPtr;
  }

  #u32(ptr: number): number {
    const { views } = this.runtime;
    views.reach(ptr, 4);
    return views.u32[ptr >>> 2] ?? 0;
  }
}

/**
 * BPF_MAP_TYPE_ARRAY_OF_MAPS: `maxEntries` places for maps.
 *
 * @example
 * ```ts
 * const inner = rt.createMap({ type: "array", value: u32, maxEntries: 2 });
 * const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 4 });
 * outer.set(0, inner);
 * outer.get(0)?.get(1); // 0
 * ```
 */
export class ArrayOfMaps<M extends TypedMap> extends MapOfMaps<number, number, M> {
  /** @internal */
  protected override explain(ret: number): string | undefined {
    if (ret !== -uapi.E2BIG) return super.explain(ret);
    return `index outside map '${this.name}' (maxEntries ${this.maxEntries})`;
  }
}

/** BPF_MAP_TYPE_HASH_OF_MAPS: maps by key. */
export class HashOfMaps<K, KI, M extends TypedMap> extends MapOfMaps<K, KI, M> {}

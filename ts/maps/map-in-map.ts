// ARRAY_OF_MAPS and HASH_OF_MAPS as typed maps.

import type { BatchCursor } from "../batch.js";
import { KIND } from "../codec.js";
import type { Codec } from "../codec.js";
import { check } from "../errors.js";
import { ElementMap, labelOf, TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import { FMODE_READ } from "../holdings.js";
import { integer } from "../numbers.js";
import type { BpfRuntime } from "../runtime.js";
import { findFdById } from "../syscall.js";
import * as uapi from "../uapi.js";

/** Makes a typed map of the inner type for an fd, which it takes over. */
export type OpenInner<M> = (fd: number) => M;

/** A value as bpf(2) has it: the fd of an inner map going in (-1: a closed one), its id coming out. */
function innerCodec(runtime: BpfRuntime): Codec<number, TypedMap | number> {
  return {
    kind: KIND.OTHER,
    size: 4,
    align: 4,
    read: (mem, ptr) => mem.dv.getUint32(ptr, true),
    write: (mem, ptr, value, name = "value") => {
      mem.dv.setInt32(ptr, fdOf(runtime, value, name), true);
    },
  };
}

function fdOf(runtime: BpfRuntime, value: TypedMap | number, name: string): number {
  if (value instanceof TypedMap) return innerFd(runtime, value, name);
  if (typeof value !== "number") throw new TypeError(`${name}: expected a typed map or an fd`);
  return integer(name, value, -0x80000000, 0x7fffffff);
}

/**
 * The fd of a map that goes into another one, -1 when it is closed.
 * @throws {TypeError} a map of another kernel: here its fd would be that of any map, or of none
 */
export function innerFd(runtime: BpfRuntime, inner: TypedMap, name: string): number {
  if (!runtime.sharesKernel(inner.runtime)) {
    throw new TypeError(`${name}: expected a map of this runtime`);
  }
  return inner.closed ? -1 : inner.fd;
}

/**
 * Maps whose values are maps. An inner map must look like the template that the outer one was created with; the outer map
 * keeps it alive.
 *
 * As a Map it has inner maps for values: each that is given has an fd of its own, which the caller closes. The kernel's
 * verbs (lookup, update, batches, cursor) give ids, as bpf(2) does. Both take inner maps or their fds.
 */
export abstract class MapOfMaps<K, KI, M extends TypedMap>
  extends ElementMap<K, KI, number, M | number>
  implements Iterable<[K, M]>
{
  readonly #open: OpenInner<M>;

  /** @internal */
  constructor(
    runtime: BpfRuntime,
    identity: MapIdentity,
    key: Codec<K, KI>,
    openInner: OpenInner<M>,
  ) {
    super(runtime, identity, key, innerCodec(runtime));
    this.#open = openInner;
  }

  /**
   * Puts an inner map in, or replaces one.
   * @param inner a typed map, or an fd
   * @throws {BpfError} EINVAL: it does not look like the template; E2BIG: full, or no such index; EPERM: frozen;
   * EBADF: the inner map is closed
   * @throws {TypeError} no map and no fd, or a map of another runtime
   */
  set(key: KI, inner: M | number): this {
    this.update(key, inner);
    return this;
  }

  /** The inner map, through an fd of its own that the caller closes; undefined when there is none. */
  get(key: KI): M | undefined {
    // Another thread may replace an inner map that nothing else keeps before it is opened: then the next one is.
    for (let id = this.idOf(key); id !== undefined; id = this.idOf(key)) {
      const inner = this.#openId(id);
      if (inner !== undefined) return inner;
    }
    return undefined;
  }

  /** The id of the inner map: what a lookup by bpf(2) answers. */
  idOf(key: KI): number | undefined {
    const ptr = this.door.peek(key);
    if (ptr !== 0) return this.door.read(ptr);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    return undefined;
  }

  /** Is there an inner map? */
  has(key: KI): boolean {
    return this.idOf(key) !== undefined;
  }

  /** Keys and ids of the inner maps. */
  *ids(): IterableIterator<[K, number]> {
    for (const element of this.cursor()) yield [element.key, element.value];
  }

  /** Keys and inner maps; each has an fd of its own that the caller closes. */
  *entries(): IterableIterator<[K, M]> {
    for (const [key, id] of this.ids()) {
      const inner = this.#openId(id) ?? this.get(key as unknown as KI);
      if (inner !== undefined) yield [key, inner];
    }
  }

  /** The inner maps; each has an fd of its own that the caller closes. */
  *values(): IterableIterator<M> {
    for (const [, inner] of this.entries()) yield inner;
  }

  /** The same as `entries`. */
  [Symbol.iterator](): IterableIterator<[K, M]> {
    return this.entries();
  }

  /** Calls `callback` for each inner map, which has an fd of its own and is closed afterwards. */
  forEach(callback: (inner: M, key: K, map: this) => void): void {
    for (const [key, inner] of this.entries()) {
      try {
        callback(inner, key, this);
      } finally {
        inner.close();
      }
    }
  }

  /** Undefined when the map has ended meanwhile. */
  #openId(id: number): M | undefined {
    const fd = findFdById(this.runtime, id);
    return fd === -uapi.ENOENT ? undefined : this.#open(check(fd, "bpf_map_get_fd_by_id"));
  }

  /** @internal */
  protected override explain(ret: number, syscall: string): string | undefined {
    if (ret === -uapi.EBADF) return "the inner map is closed, or there is no such fd";
    if (ret === -uapi.EINVAL && syscall.startsWith("bpf_map_update")) {
      return "the inner map is unlike the template, or bad flags";
    }
    return super.explain(ret, syscall);
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
 * outer.lookup(0) === inner.info().id; // true
 * using found = outer.get(0);
 * found?.get(1); // 0
 * ```
 */
export class ArrayOfMaps<M extends TypedMap> extends MapOfMaps<number, number, M> {
  /** Number of places: maxEntries. `nextKey` goes through all of them, iterations show those with a map. */
  get length(): number {
    return this.maxEntries;
  }

  /** @internal */
  protected override explain(ret: number, syscall: string): string | undefined {
    if (ret !== -uapi.E2BIG) return super.explain(ret, syscall);
    return `index outside ${labelOf(this)} (maxEntries ${this.maxEntries})`;
  }
}

/** BPF_MAP_TYPE_HASH_OF_MAPS: maps by key. */
export class HashOfMaps<K, KI, M extends TypedMap> extends MapOfMaps<K, KI, M> {
  /** Number of inner maps; the kernel's bpf_map_sum_elem_count. */
  get size(): number {
    return this.countElems();
  }

  /**
   * Takes all inner maps out.
   * @throws {BpfError} EPERM: frozen, or the fd is not open for reading and writing
   */
  clear(): void {
    this.deleteAll();
  }

  /**
   * BPF_MAP_LOOKUP_AND_DELETE_BATCH: as `lookupBatch`, and the inner maps are out: the ids of those that nothing else
   * keeps lead nowhere.
   */
  lookupAndDeleteBatch(cursor: BatchCursor, count: number): [K, number][] {
    this.mustBeOpen("bpf_map_lookup_and_delete_batch");
    return this.batching.lookup(uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH, cursor, count);
  }

  /**
   * BPF_MAP_DELETE_BATCH: in order, up to the first error.
   * @throws {BpfError} ENOENT: an absent key; `count` is the number of elements done
   */
  deleteBatch(keys: Iterable<KI>): void {
    this.mustBeOpen("bpf_map_delete_batch");
    this.batching.delete(keys);
  }
}

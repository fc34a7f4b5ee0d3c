// Iteration over linear memory with one reusable object.

import { KIND } from "./codec.js";
import type { Aimable, Codec } from "./codec.js";
import type { CoreExports } from "./core.js";
import type { MapDoor } from "./door.js";
import { BpfError } from "./errors.js";
import { unwatch, watch } from "./holdings.js";
import type { Holdings } from "./holdings.js";
import { EBADF, ENOENT } from "./uapi.js";

/** Bytes in front of the key: what BpfMap#iterNext remembers. */
const ITER_BYTES = 16;

/** A struct codec, as far as views are concerned. */
interface Viewable {
  view(): Aimable;
}

/**
 * A view of a value's fields.
 * @throws {TypeError} the value is no struct
 */
export function fieldsView(codec: Codec<unknown, never>): Aimable {
  if (codec.kind !== KIND.STRUCT) throw new TypeError("fields: the value is no struct");
  return (codec as unknown as Viewable).view();
}

/**
 * A step-by-step iteration: `for (const c of map.cursor()) c.value`, or `while (c.step())`. The object is the same at each
 * step, so that a walk allocates nothing: `key` and `value` decode when asked for, `fields` reads where the value lies.
 *
 * It goes on from a place, not from a key: elements deleted on the way (the current one too) are not shown again, those
 * inserted on the way may or may not be, and it ends in any case.
 */
export class MapCursor<K, V> implements IterableIterator<MapCursor<K, V>> {
  readonly #holdings: Holdings;
  readonly #door: MapDoor<K, never, V, never>;
  readonly #iterNext: CoreExports["map_iter_next"];
  readonly #result: { done: boolean; value: MapCursor<K, V> };
  #block: number;
  #fields: Aimable | undefined;

  /** Address of the value (per-CPU types: the current CPU's) in the runtime's memory; 0 before the first step and after the last. */
  valuePtr = 0;

  /** @internal */
  constructor(holdings: Holdings, door: MapDoor<K, never, V, never>) {
    this.#holdings = holdings;
    this.#door = door;
    this.#iterNext = holdings.runtime.exports.map_iter_next;
    const block = holdings.take(ITER_BYTES + door.key.size);
    door.mem.reach(block, ITER_BYTES);
    door.mem.u8.fill(0, block, block + ITER_BYTES);
    this.#block = block;
    this.#result = { done: false, value: this };
    watch(this, () => holdings.give(block));
  }

  /** Address of the key in the runtime's memory; 0 after the last step. */
  get keyPtr(): number {
    return this.#block === 0 ? 0 : this.#block + ITER_BYTES;
  }

  /**
   * The current key.
   * @throws {BpfError} ENOENT: before the first step or after the last; EBADF: the map is closed
   */
  get key(): K {
    this.#mustStandOnElement();
    return this.#door.readKey(this.keyPtr);
  }

  /**
   * The current value (per-CPU types: a copy of all CPUs').
   * @throws {BpfError} as `key`
   */
  get value(): V {
    this.#mustStandOnElement();
    return this.#door.read(this.#door.isPerCpu ? this.#copy() : this.valuePtr);
  }

  /**
   * Accessors for the fields of the current value, a struct: they read and write it where it lies. The same object at each
   * step; a view of the current element only.
   * @throws {TypeError} the value is no struct
   * @throws {BpfError} as `key`
   */
  get fields(): V {
    this.#mustStandOnElement();
    const { mem, value } = this.#door;
    mem.reach(this.valuePtr, value.size);
    this.#fields ??= fieldsView(value);
    return this.#fields.at(mem, this.valuePtr) as V;
  }

  /** Decodes the current key into `out` (an object, a Uint8Array) and returns it; scalars are just returned. */
  keyInto(out: K): K {
    const { mem, key } = this.#door;
    if (key.readInto === undefined) return this.key;
    this.#mustStandOnElement();
    mem.reach(this.keyPtr, key.size);
    return key.readInto(mem, this.keyPtr, out);
  }

  /** Decodes the current value into `out` (an object, a Uint8Array) and returns it; scalars are just returned. */
  valueInto(out: V): V {
    this.#mustStandOnElement();
    return this.#door.readInto(this.#door.isPerCpu ? this.#copy() : this.valuePtr, out);
  }

  /**
   * Goes to the next element; false at the end.
   * @throws {BpfError} EBADF: the map is closed
   */
  step(): boolean {
    if (this.#block === 0) return false;
    if (!this.#holdings.isOpen) throw this.#closed();
    const block = this.#block;
    this.valuePtr = this.#iterNext(this.#door.handle, block, block + ITER_BYTES) >>> 0;
    if (this.valuePtr !== 0) return true;
    this.close();
    return false;
  }

  /** The iterator protocol; the result object is reused too. */
  next(): IteratorResult<MapCursor<K, V>> {
    this.#result.done = !this.step();
    return this.#result as IteratorResult<MapCursor<K, V>>;
  }

  /** A loop over the cursor was left. */
  return(): IteratorResult<MapCursor<K, V>> {
    this.close();
    return { done: true, value: undefined };
  }

  /** The cursor itself. */
  [Symbol.iterator](): this {
    return this;
  }

  /** Gives the cursor's memory back; the end does that too. */
  close(): void {
    if (this.#block === 0) return;
    unwatch(this);
    this.#holdings.give(this.#block);
    this.#block = 0;
    this.valuePtr = 0;
  }

  /** The same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Copies all CPUs' values to the map's window. @returns its address */
  #copy(): number {
    const { handle, valuePtr } = this.#door;
    const { exports } = this.#holdings.runtime;
    const ret = exports.map_lookup_copy(handle, this.keyPtr, valuePtr, 0);
    if (ret !== 0) throw new BpfError("bpf_map_lookup_elem", ret);
    return valuePtr;
  }

  #mustStandOnElement(): void {
    if (this.valuePtr === 0) {
      throw new BpfError("bpf_map_get_next_key", -ENOENT, "the cursor is at no element");
    }
    if (!this.#holdings.isOpen) throw this.#closed();
  }

  #closed(): BpfError {
    return new BpfError("bpf_map_get_next_key", -EBADF, "the map of the cursor is closed");
  }
}

// Iteration over linear memory with one reusable object.

import type { MapDoor } from "./door.js";
import type { BpfRuntime } from "./runtime.js";
import { allocate } from "./syscall.js";

/** Bytes in front of the key: what BpfMap#iterNext remembers. */
const ITER_BYTES = 16;

/**
 * A step-by-step iteration: `for (const c of map.cursor()) c.value`, or `while (c.next())`. The object is the same at
 * each step; `key` and `value` decode when asked for.
 */
export class MapCursor<K, V> implements IterableIterator<MapCursor<K, V>> {
  readonly #runtime: BpfRuntime;
  readonly #door: MapDoor<K, never, V, never>;
  readonly #result: { done: boolean; value: MapCursor<K, V> };
  #block: number;

  /** Address of the value in the runtime's memory; 0 before the first step and after the last. */
  valuePtr = 0;

  /** @internal */
  constructor(runtime: BpfRuntime, door: MapDoor<K, never, V, never>) {
    this.#runtime = runtime;
    this.#door = door;
    this.#block = allocate(runtime, ITER_BYTES + door.key.size);
    door.mem.reach(this.#block);
    door.mem.u8.fill(0, this.#block, this.#block + ITER_BYTES);
    this.#result = { done: false, value: this };
  }

  /** Address of the key in the runtime's memory. */
  get keyPtr(): number {
    return this.#block + ITER_BYTES;
  }

  /** The current key. */
  get key(): K {
    const { mem } = this.#door;
    mem.reach(this.keyPtr);
    return this.#door.key.read(mem, this.keyPtr);
  }

  /** The current value (per-CPU types: the current CPU's). */
  get value(): V {
    return this.#door.read(this.valuePtr);
  }

  /** Goes to the next element; false at the end. */
  step(): boolean {
    if (this.#block === 0) return false;
    const { handle } = this.#door;
    this.valuePtr = this.#runtime.exports.map_iter_next(handle, this.#block, this.keyPtr) >>> 0;
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

  [Symbol.iterator](): this {
    return this;
  }

  /** Gives the cursor's memory back; the end does that too. */
  close(): void {
    if (this.#block !== 0 && !this.#runtime.disposed) this.#runtime.free(this.#block);
    this.#block = 0;
    this.valuePtr = 0;
  }
}

// Iteration over linear memory with one reusable object.

import { REMOVALS_AT, STEP_BYTES, STEP_POS_AT, STEP_VALUE_AT } from "./abi.js";
import { KIND } from "./codec.js";
import type { Aimable, Codec } from "./codec.js";
import type { CoreExports } from "./core.js";
import { ACCESS } from "./door.js";
import type { MapDoor } from "./door.js";
import { BpfError } from "./errors.js";
import { unwatch, watch } from "./holdings.js";
import type { Holdings } from "./holdings.js";
import { INSPECT, show } from "./show.js";
import type { Inspect } from "./show.js";
import { EBADF, ENOENT } from "./uapi.js";

/** Bytes in front of the key: what BpfMap#iterNext remembers. */
const ITER_BYTES = 16;

/** Elements that are fetched at once, at most. */
const AHEAD = 64;

// The module's own, as door.ts says.
const STEP = STEP_BYTES;
const STEP_VALUE = STEP_VALUE_AT >>> 2;
const STEP_POS = STEP_POS_AT >>> 2;
const { OPEN } = ACCESS;

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
  // Plain fields: private names cost here.
  private readonly holdings: Holdings;
  private readonly door: MapDoor<K, never, V, never>;
  private readonly iterNext: CoreExports["map_iter_next"];
  private readonly iterMany: CoreExports["map_iter_many"];
  private readonly result: { done: boolean; value: MapCursor<K, V> };
  private block: number;
  private fieldsOf: Aimable | undefined;
  /** Address of the current key. */
  private at: number;
  // Inline tables are walked ahead: steps from `at` to `end` are in the block, and hold while nothing was removed.
  private end = 0;
  private ahead = 1;
  private removals = 0;
  private readonly removalsAt: number;

  /**
   * Address of the value (per-CPU types: the current CPU's) in the runtime's memory; 0 before the first step and after the
   * last.
   */
  valuePtr = 0;

  /** @internal */
  constructor(holdings: Holdings, door: MapDoor<K, never, V, never>) {
    const { exports } = holdings.runtime;
    this.holdings = holdings;
    this.door = door;
    this.iterNext = exports.map_iter_next;
    this.iterMany = exports.map_iter_many;
    const block = holdings.take(door.isInline ? AHEAD * STEP : ITER_BYTES + door.key.size);
    door.mem.reach(block, ITER_BYTES);
    door.mem.u8.fill(0, block, block + ITER_BYTES);
    this.block = block;
    this.at = block + (door.isInline ? -STEP : ITER_BYTES);
    this.removalsAt = (door.map + REMOVALS_AT) >>> 2;
    this.result = { done: false, value: this };
    watch(this, () => holdings.give(block));
  }

  /** Address of the key in the runtime's memory; 0 before the first step and after the last. */
  get keyPtr(): number {
    return this.valuePtr === 0 ? 0 : this.at;
  }

  /**
   * The current key.
   * @throws {BpfError} ENOENT: before the first step or after the last; EBADF: the map is closed
   */
  get key(): K {
    this.mustStandOnElement();
    return this.door.readKey(this.keyPtr);
  }

  /**
   * The current value (per-CPU types: a copy of all CPUs').
   * @throws {BpfError} as `key`
   */
  get value(): V {
    this.mustStandOnElement();
    return this.door.read(this.door.isPerCpu ? this.copy() : this.valuePtr);
  }

  /**
   * Accessors for the fields of the current value, a struct: they read and write it where it lies. The same object at each
   * step; a view of the current element only.
   * @throws {TypeError} the value is no struct
   * @throws {BpfError} as `key`
   */
  get fields(): V {
    this.mustStandOnElement();
    const { mem, value } = this.door;
    mem.reach(this.valuePtr, value.size);
    this.fieldsOf ??= fieldsView(value);
    return this.fieldsOf.at(mem, this.valuePtr) as V;
  }

  /** Decodes the current key into `out` (an object, a Uint8Array) and returns it; scalars are just returned. */
  keyInto(out: K): K {
    const { mem, key } = this.door;
    if (key.readInto === undefined) return this.key;
    this.mustStandOnElement();
    mem.reach(this.keyPtr, key.size);
    return key.readInto(mem, this.keyPtr, out);
  }

  /** Decodes the current value into `out` (an object, a Uint8Array) and returns it; scalars are just returned. */
  valueInto(out: V): V {
    this.mustStandOnElement();
    return this.door.readInto(this.door.isPerCpu ? this.copy() : this.valuePtr, out);
  }

  /**
   * Goes to the next element; false at the end.
   * @throws {BpfError} EBADF: the map is closed
   */
  step(): boolean {
    if (this.block === 0) return false;
    if (!this.holdings.isOpen) throw this.closed();
    const { mem, isInline } = this.door;
    if (isInline) {
      this.at += STEP;
      const { u32 } = mem;
      if (this.at < this.end && u32[this.removalsAt] === this.removals) {
        this.valuePtr = u32[(this.at >>> 2) + STEP_VALUE] as number;
        return true;
      }
      return this.fetch();
    }
    this.valuePtr = this.iterNext(this.door.handle, this.block, this.at) >>> 0;
    if (this.valuePtr !== 0) return true;
    this.close();
    return false;
  }

  /**
   * @internal forEach for an inline table whose keys and values are numbers. What was fetched at once is shown
   * in a loop that asks only whether it is still true.
   */
  eachNumber<M>(callback: (value: V, key: K, map: M) => void, map: M): void {
    const { door, removalsAt } = this;
    const isWord = door.value.kind === KIND.U32;
    while (this.step()) {
      const { u32 } = door.mem;
      const { end, removals } = this;
      let { at } = this;
      do {
        const ptr = u32[(at >>> 2) + STEP_VALUE] as number;
        let value: unknown = u32[ptr >>> 2];
        // Undefined: beyond views that are stale.
        if (value === undefined || (!isWord && u32[(ptr >>> 2) + 1] !== 0)) value = door.read(ptr);
        callback(value as V, u32[at >>> 2] as K, map);
        at += STEP;
      } while (at < end && door.reads === OPEN && u32[removalsAt] === removals);
      this.at = at - STEP;
    }
  }

  /** Walks ahead from the element before `at`. Twice as far each time, but not where elements are removed on the way. */
  private fetch(): boolean {
    const { block, ahead, door } = this;
    const { mem, handle } = door;
    const isFirst = this.at === block;
    mem.reach(block, AHEAD * STEP);
    mem.reach(this.removalsAt * 4, 4);
    const removals = mem.u32[this.removalsAt] as number;
    const pos = this.valuePtr === 0 ? 0 : (mem.i32[((this.at - STEP) >>> 2) + STEP_POS] as number);
    const wanted = isFirst || removals === this.removals ? Math.min(ahead * 2, AHEAD) : 1;
    const count = this.iterMany(handle, pos, block, wanted);
    this.ahead = wanted;
    this.removals = removals;
    this.at = block;
    this.end = block + count * STEP;
    if (count === 0) {
      this.close();
      return false;
    }
    this.valuePtr = mem.u32[(block >>> 2) + STEP_VALUE] as number;
    return true;
  }

  /** The iterator protocol; the result object is reused too. */
  next(): IteratorResult<MapCursor<K, V>> {
    this.result.done = !this.step();
    return this.result as IteratorResult<MapCursor<K, V>>;
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
    if (this.block === 0) return;
    unwatch(this);
    this.holdings.give(this.block);
    this.block = 0;
    this.valuePtr = 0;
  }

  /** The same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal What JSON.stringify and console.log show. */
  toJSON(): object {
    const { keyPtr, valuePtr } = this;
    return { keyPtr, valuePtr };
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return show(this, options, inspect);
  }

  /** Copies all CPUs' values to the map's window. @returns its address */
  private copy(): number {
    const { handle, valuePtr } = this.door;
    const { exports } = this.holdings.runtime;
    const ret = exports.map_lookup_copy(handle, this.keyPtr, valuePtr, 0);
    if (ret !== 0) throw new BpfError("bpf_map_lookup_elem", ret);
    return valuePtr;
  }

  private mustStandOnElement(): void {
    if (this.valuePtr === 0) {
      throw new BpfError("bpf_map_get_next_key", -ENOENT, "the cursor is at no element");
    }
    if (!this.holdings.isOpen) throw this.closed();
  }

  private closed(): BpfError {
    return new BpfError("bpf_map_get_next_key", -EBADF, "the map of the cursor is closed");
  }
}

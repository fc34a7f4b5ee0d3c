// The way of a caller's typed array into linear memory and back, for the typed-array verbs.
//
// An array that is a view of the runtime's memory is used where it is. Any other is copied into room in that memory, by way of
// a view of the array's own type. That view is kept, so that calls with arrays of one type and length allocate nothing.

import type { Holdings } from "./holdings.js";
import { round8 } from "./numbers.js";
import type { LiveViews } from "./views.js";

/** A typed array that holds keys or values one behind the other. */
export type NumericArray =
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

type ArrayConstructor = new (
  buffer: ArrayBufferLike,
  byteOffset: number,
  length: number,
) => NumericArray;

const CONSTRUCTORS: ReadonlyMap<string | undefined, ArrayConstructor> = new Map(
  [
    Uint8Array,
    Uint8ClampedArray,
    Int8Array,
    Uint16Array,
    Int16Array,
    Uint32Array,
    Int32Array,
    Float32Array,
    Float64Array,
    BigUint64Array,
    BigInt64Array,
  ].map((constructor) => [constructor.name, constructor]),
);

/** Bytes of a caller's array. @throws {TypeError} it is none of NumericArray */
export function byteCount(name: string, array: NumericArray): number {
  if (!ArrayBuffer.isView(array) || !CONSTRUCTORS.has(array[Symbol.toStringTag])) {
    throw new TypeError(`${name}: expected a typed array`);
  }
  return array.byteLength;
}

/** Memory that grows when more is asked for, and lives as long as the map is open. */
export class Room {
  readonly #holdings: Holdings;
  #ptr = 0;
  #bytes = 0;

  constructor(holdings: Holdings) {
    this.#holdings = holdings;
  }

  /** At least this many bytes; what was taken before is gone. */
  take(bytes: number): number {
    if (bytes > this.#bytes) {
      this.#holdings.give(this.#ptr);
      this.#ptr = 0;
      this.#bytes = 0;
      this.#ptr = this.#holdings.take(bytes);
      this.#bytes = bytes;
    }
    return this.#ptr;
  }
}

/**
 * What is in a caller's array: the bytes as they are to be in memory, or numbers of 32 bits that belong there with the
 * highest byte first, and are always copied.
 */
export type LaneKind = "bytes" | "big-endian words";

/** One of the arrays of a call: keys, values, or what was found. */
export class Lane {
  readonly #mem: LiveViews;
  /** Bytes of an element. */
  readonly #size: number;
  readonly #isSwapped: boolean;
  #array: NumericArray | undefined;
  /** Address of an array in the runtime's memory; 0 for others. */
  #ownPtr = 0;
  #roomPtr = 0;
  #roomBytes = 0;
  /** Over the room, of the type and length of the array that was copied last. */
  #view: NumericArray | undefined;

  constructor(mem: LiveViews, size: number, kind: LaneKind = "bytes") {
    this.#mem = mem;
    this.#size = size;
    this.#isSwapped = kind !== "bytes";
  }

  /**
   * Takes an array on.
   * @param chunk elements that are copied at once
   * @returns bytes of room it needs; 0 when it stays where it is
   */
  begin(array: NumericArray, chunk: number): number {
    this.#array = array;
    this.#ownPtr = array.buffer === this.#mem.memory.buffer ? array.byteOffset : 0;
    const bytes = Math.min(array.byteLength, chunk * this.#size);
    this.#roomBytes = this.#isInRoom ? round8(bytes) : 0;
    return this.#roomBytes;
  }

  /** Are the elements in the room, or where the caller has them? */
  get #isInRoom(): boolean {
    return this.#ownPtr === 0 || this.#isSwapped;
  }

  /** Its room begins at `ptr`. @returns the end of its room */
  settle(ptr: number): number {
    this.#roomPtr = ptr;
    return ptr + this.#roomBytes;
  }

  /** Lets go of the array. */
  end(): void {
    this.#array = undefined;
  }

  /** Address of element `at`, which is the first of a crossing. */
  address(at: number): number {
    return this.#isInRoom ? this.#roomPtr : this.#ownPtr + at * this.#size;
  }

  /** Brings `count` elements from `at` on into memory. @returns their address */
  enter(at: number, count: number): number {
    const array = this.#array as NumericArray;
    if (this.#isSwapped) this.#swapIn(array, at, count);
    else if (this.#ownPtr === 0) {
      if (array.byteLength === count * this.#size)
        (this.#over(array) as Uint8Array).set(array as Uint8Array);
      else this.#mem.u8.set(this.#part(array, at, count), this.#roomPtr);
    }
    return this.address(at);
  }

  /** Brings words into the room, highest byte first. */
  #swapIn(array: NumericArray, at: number, count: number): void {
    const mem = this.#mem;
    // A view of the runtime's memory may have been detached when room was made.
    if (this.#ownPtr !== 0) mem.reach(this.#ownPtr, (at + count) * 4);
    const from = this.#ownPtr === 0 ? (array as Uint32Array) : mem.u32;
    const first = (this.#ownPtr >>> 2) + at;
    const to = this.#roomPtr >>> 2;
    for (let i = 0; i < count; i++) {
      const word = from[first + i] as number;
      mem.u32[to + i] =
        (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
    }
  }

  /** Brings `count` elements from `at` on back to the array. */
  leave(at: number, count: number): void {
    const array = this.#array as NumericArray;
    if (this.#ownPtr !== 0) return;
    const bytes = count * this.#size;
    if (array.byteLength === bytes) (array as Uint8Array).set(this.#over(array) as Uint8Array);
    else
      this.#part(array, at, count).set(this.#mem.u8.subarray(this.#roomPtr, this.#roomPtr + bytes));
  }

  #part(array: NumericArray, at: number, count: number): Uint8Array {
    const offset = array.byteOffset + at * this.#size;
    return new Uint8Array(array.buffer, offset, count * this.#size);
  }

  /** The room as an array like this one. */
  #over(array: NumericArray): NumericArray {
    const { buffer } = this.#mem.u8;
    const view = this.#view;
    const tag = array[Symbol.toStringTag];
    if (
      view !== undefined &&
      view.buffer === buffer &&
      view.byteOffset === this.#roomPtr &&
      view.length === array.length &&
      view[Symbol.toStringTag] === tag
    ) {
      return view;
    }
    const Constructor = CONSTRUCTORS.get(tag) as ArrayConstructor;
    this.#view = new Constructor(buffer, this.#roomPtr, array.length);
    return this.#view;
  }
}

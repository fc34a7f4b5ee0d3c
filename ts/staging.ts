// Keys and values on their way into the core. To encode a struct, an array, or with a codec of the caller's may run the
// caller's code: getters, proxies. That may use the map, close it, end the runtime, or make the memory grow. So they are taken
// from it first, and moved to linear memory when nobody's code runs any more.

import { KIND } from "./codec.js";
import type { Codec, MemoryViews } from "./codec.js";
import { BaseCodec } from "./codec/base.js";
import { StructCodec } from "./codec/struct.js";
import type { StructMembers } from "./codec/struct.js";
import { round8 } from "./numbers.js";
import { LiveViews } from "./views.js";

/** Up to this many bytes, a loop over words beats the built-in copy. */
const SHORT_COPY = 64;

/** A value between `lay` and `move`: the members of a flat struct, or bytes. */
export type Laid = readonly unknown[] | MemoryViews;

/** A place for values of one codec. */
export class Staging<I> {
  /** Bytes of a value. */
  readonly size: number;
  /** May encoding run the caller's code? Our scalars and bytes can be written where they belong. */
  readonly isLive: boolean;
  private readonly codec: Codec<unknown, I>;
  /** The codec, when it takes no code of the caller's to put what was taken. */
  private readonly flat: StructCodec<StructMembers> | undefined;
  private readonly isShort: boolean;
  /** While it is lent out, by a value whose getter encodes as well, there is none. */
  private spare: MemoryViews | undefined;

  constructor(codec: Codec<unknown, I>) {
    this.codec = codec;
    this.size = codec.size;
    const isOurs = codec instanceof BaseCodec;
    this.isLive = !isOurs || codec.kind === KIND.OTHER || codec.kind === KIND.STRUCT;
    this.flat = codec instanceof StructCodec && codec.isFlat ? codec : undefined;
    this.isShort = codec.size <= SHORT_COPY && codec.size % 4 === 0;
  }

  /**
   * Lays a value out. What it returns is for `move`.
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  lay(value: I, name: string): Laid {
    const { flat } = this;
    return flat === undefined ? this.layBytes(value, name) : flat.take(value as never, name);
  }

  /** Writes a value whose codec runs nobody's code to `ptr`, which the views reach. */
  write(value: I, mem: MemoryViews, ptr: number): void {
    this.codec.write(mem, ptr, value, "value");
  }

  /** The words of a value that goes nowhere; good until the next value. */
  words(value: I, name: string): Int32Array {
    const laid = this.layBytes(value, name);
    this.spare = laid;
    return laid.i32;
  }

  /** Moves what was laid out to `ptr`, 4-aligned, which the views reach. */
  move(laid: Laid, mem: MemoryViews, ptr: number): void {
    const { flat } = this;
    if (flat === undefined) this.moveBytes(laid as MemoryViews, mem, ptr);
    else flat.putTaken(mem, ptr, laid as readonly unknown[]);
  }

  private layBytes(value: I, name: string): MemoryViews {
    // Of the class of the core's views: codecs that meet two classes take longer.
    const laid = this.spare ?? new LiveViews({ buffer: new ArrayBuffer(round8(this.size)) });
    this.spare = undefined;
    this.codec.write(laid, 0, value, name);
    return laid;
  }

  private moveBytes(laid: MemoryViews, mem: MemoryViews, ptr: number): void {
    const { size } = this;
    if (this.isShort) {
      const from = laid.i32;
      const to = mem.i32;
      const end = size >>> 2;
      for (let i = 0, at = ptr >>> 2; i < end; i++, at++) to[at] = from[i] as number;
    } else {
      mem.u8.set(laid.u8.subarray(0, size), ptr);
    }
    this.spare = laid;
  }
}

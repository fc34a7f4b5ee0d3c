// Bit-fields of structs, in the layout of GCC on little-endian machines.
//
// A bit-field occupies `width` bits counted from the lowest bit of the lowest byte. It is accessed
// through the bytes it touches (at most nine), which is the same value as an access through the
// declared type's storage unit, and also works where a packed struct lets a field straddle units.

import { BaseCodec, checkCount, KIND } from "./base.js";
import type { Infer, MemoryViews } from "./base.js";
import { Problem, unreadable } from "./problem.js";
import { bool, BigIntCodec, IntCodec } from "./scalars.js";

/** What a bit-field may be declared as: `u8`..`u64`, `i8`..`i64`, their `asNumber`, `bool`. */
export type BitFieldBase = IntCodec | BigIntCodec | BaseCodec<boolean>;

/** A bit-field member for `struct`; made by `bits`. T is the type of its value. */
export class BitField<T> {
  /** Codec of the declared type: it gives the storage unit and the type of the value. */
  readonly base: BaseCodec<T>;
  /** Bits, 1..8 * base.size. */
  readonly width: number;

  constructor(base: BaseCodec<T>, width: number) {
    this.base = base;
    this.width = width;
  }
}

/** Up to this width the raw bytes (39 bits with the shift) are exact in a number. */
const NARROW = 32;

/** The values of an integer bit-field, in the JS type of its declared type. */
interface ValueRange {
  readonly type: "number" | "bigint";
  readonly min: number | bigint;
  readonly max: number | bigint;
}

function rangeOf(
  base: IntCodec | BigIntCodec | undefined,
  width: number,
  signed: boolean,
): ValueRange {
  const half = 2n ** BigInt(width - 1);
  const [min, max] = signed ? [-half, half - 1n] : [0n, 2n * half - 1n];
  if (base instanceof BigIntCodec) {
    return { type: "bigint", min, max };
  }
  const safe = Number.MAX_SAFE_INTEGER;
  return { type: "number", min: Math.max(Number(min), -safe), max: Math.min(Number(max), safe) };
}

/** A bit-field at its place: `size` bytes, the field starting at bit `shift` of the first. */
export class PlacedBits extends BaseCodec<unknown, unknown> {
  readonly #base: IntCodec | BigIntCodec | undefined;
  readonly #width: number;
  readonly #shift: number;
  readonly #signed: boolean;
  readonly #range: ValueRange;
  /** Per byte, the bits that belong to the field. */
  readonly #masks: readonly number[];

  constructor(field: BitField<unknown>, shift: number) {
    const { base, width } = field;
    const size = Math.ceil((shift + width) / 8);
    super(KIND.OTHER, size, 1);
    this.#base = base instanceof IntCodec || base instanceof BigIntCodec ? base : undefined;
    this.#width = width;
    this.#shift = shift;
    this.#signed = this.#base !== undefined && this.#base.min < 0;
    this.#range = rangeOf(this.#base, width, this.#signed);
    this.#masks = Array.from({ length: size }, (_, index) => {
      const from = Math.max(shift - 8 * index, 0);
      const to = Math.min(shift + width - 8 * index, 8);
      return (0xff << from) & (0xff >> (8 - to));
    });
  }

  read(mem: MemoryViews, ptr: number): unknown {
    const base = this.#base;
    if (this.#width > NARROW) {
      const wide = this.#readWide(mem, ptr);
      return base instanceof BigIntCodec ? wide : toSafe(wide);
    }
    const value = this.#readNarrow(mem, ptr);
    if (base === undefined) {
      return value !== 0;
    }
    return base instanceof BigIntCodec ? BigInt(value) : value;
  }

  #readNarrow(mem: MemoryViews, ptr: number): number {
    // Multiplied, because 39 bits are too many for the 32-bit operators.
    let raw = 0;
    for (let index = this.size - 1; index >= 0; index--) {
      raw = raw * 256 + (mem.u8[ptr + index] as number);
    }
    const range = 2 ** this.#width;
    const value = Math.floor(raw / 2 ** this.#shift) % range;
    return this.#signed && value >= range / 2 ? value - range : value;
  }

  #readWide(mem: MemoryViews, ptr: number): bigint {
    let raw = 0n;
    for (let index = this.size - 1; index >= 0; index--) {
      raw = (raw << 8n) | BigInt(mem.u8[ptr + index] as number);
    }
    const value = raw >> BigInt(this.#shift);
    return this.#signed ? BigInt.asIntN(this.#width, value) : BigInt.asUintN(this.#width, value);
  }

  check(value: unknown): Problem | undefined {
    const base = this.#base;
    if (base === undefined) {
      return bool.check(value);
    }
    const { type, min, max } = this.#range;
    const isInteger = type === "bigint" || Number.isInteger(value);
    if (
      typeof value === type &&
      isInteger &&
      (value as number) >= min &&
      (value as number) <= max
    ) {
      return undefined;
    }
    const expected = `${type === "bigint" ? "a bigint" : "an integer"} in ${min}..${max}`;
    return typeof value === type ? Problem.range(expected, value) : Problem.type(expected, value);
  }

  /** Changes the field's bits only: a struct clears its bytes before. */
  put(mem: MemoryViews, ptr: number, value: unknown): void {
    if (this.#width > NARROW) {
      let raw =
        BigInt.asUintN(this.#width, BigInt(value as number | bigint)) << BigInt(this.#shift);
      for (let index = 0; index < this.size; index++) {
        this.#putByte(mem.u8, ptr, index, Number(raw & 0xffn));
        raw >>= 8n;
      }
      return;
    }
    const number = Number(value);
    let raw = (number < 0 ? number + 2 ** this.#width : number) * 2 ** this.#shift;
    for (let index = 0; index < this.size; index++) {
      this.#putByte(mem.u8, ptr, index, raw % 256);
      raw = Math.floor(raw / 256);
    }
  }

  #putByte(u8: Uint8Array, ptr: number, index: number, value: number): void {
    const mask = this.#masks[index] as number;
    u8[ptr + index] = ((u8[ptr + index] as number) & ~mask) | value;
  }
}

function toSafe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    const text = `${value} does not fit a number exactly (beyond 2^53-1): read it as bigint`;
    throw unreadable(new Problem("range", text));
  }
  return number;
}

/**
 * A bit-field member of a struct: `bits(u32, 3)` is C's `__u32 name : 3`. Only for `struct`.
 * Consecutive bit-fields share storage; one that would cross a boundary of its declared type starts
 * at the next (in a packed struct none does).
 * @param base   declared type: an integer in host order, or `bool`
 * @param width  bits, 1..8 * base.size (`bool`: 1)
 */
export function bits<C extends BitFieldBase>(base: C, width: number): BitField<Infer<C>> {
  const kind = base?.kind;
  if (!(kind >= KIND.U8 && kind <= KIND.I64_NUMBER && kind !== KIND.F32 && kind !== KIND.F64)) {
    throw new TypeError("bits: base: expected an integer codec in host order, or bool");
  }
  checkCount(width, 1, "bits: width");
  const limit = kind === KIND.BOOL ? 1 : base.size * 8;
  if (width > limit) {
    throw new RangeError(`bits: width: expected an integer in 1..${limit}, got ${width}`);
  }
  return new BitField(base as unknown as BaseCodec<Infer<C>>, width);
}

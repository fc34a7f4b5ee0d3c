// Integers, floats and booleans, in little-endian and network order.
//
// readScalar and putScalar are the one place that knows how a scalar kind is stored; structs call
// them directly so that a field costs a switch instead of a call through the codec.
// DataView accesses compile to plain loads, and accept unaligned addresses.

import { BaseCodec, KIND } from "./base.js";
import type { CodecKind, MemoryViews } from "./base.js";
import { Problem, unreadable } from "./problem.js";

/** Kinds 1..LAST_SCALAR are scalars. */
const LAST_SCALAR = KIND.I64BE;

const TWO_32 = 0x1_0000_0000;

/** Whether readScalar and putScalar know this kind. */
export function isScalar(kind: CodecKind): boolean {
  return kind !== KIND.OTHER && kind <= LAST_SCALAR;
}

// V8 knows the values of a module's own constants; those of another module it looks up at every use.
const {
  BOOL,
  F32,
  F64,
  I16,
  I16BE,
  I32,
  I32BE,
  I64,
  I64_NUMBER,
  I8,
  U16,
  U16BE,
  U32,
  U32BE,
  U64,
  U64BE,
  U64_NUMBER,
  U8,
} = KIND;

/** Reads a scalar of any scalar kind at any address: the commonest kinds here, few enough to be inlined. */
export function readScalar(
  mem: MemoryViews,
  ptr: number,
  kind: CodecKind,
): number | bigint | boolean {
  if (kind === U32) return mem.dv.getUint32(ptr, true);
  if (kind === U64) return mem.dv.getBigUint64(ptr, true);
  if (kind === U64_NUMBER) return readSafe(mem, ptr, mem.dv.getUint32(ptr + 4, true));
  if (kind === U16) return mem.dv.getUint16(ptr, true);
  if (kind === U8) return mem.dv.getUint8(ptr);
  return readOther(mem, ptr, kind);
}

const readOther = (mem: MemoryViews, ptr: number, kind: CodecKind): number | bigint | boolean => {
  switch (kind) {
    case I32:
      return mem.dv.getInt32(ptr, true);
    case I64:
      return mem.dv.getBigInt64(ptr, true);
    case F64:
      return mem.dv.getFloat64(ptr, true);
    case I64_NUMBER:
      return readSafe(mem, ptr, mem.dv.getInt32(ptr + 4, true));
    case BOOL:
      return mem.dv.getUint8(ptr) !== 0;
    case I8:
      return mem.dv.getInt8(ptr);
    case I16:
      return mem.dv.getInt16(ptr, true);
    case F32:
      return mem.dv.getFloat32(ptr, true);
    case U32BE:
      return mem.dv.getUint32(ptr, false);
    case U16BE:
      return mem.dv.getUint16(ptr, false);
    case I32BE:
      return mem.dv.getInt32(ptr, false);
    case I16BE:
      return mem.dv.getInt16(ptr, false);
    case U64BE:
      return mem.dv.getBigUint64(ptr, false);
    default: // I64BE
      return mem.dv.getBigInt64(ptr, false);
  }
};

/** A 64-bit integer as number, from its (signed or unsigned) upper half and the lower half. */
function readSafe(mem: MemoryViews, ptr: number, high: number): number {
  const value = high * TWO_32 + mem.dv.getUint32(ptr, true);
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) {
    const exact = BigInt(high) * 0x1_0000_0000n + BigInt(mem.dv.getUint32(ptr, true));
    const text = `${exact} does not fit a number exactly (beyond 2^53-1): read it as bigint`;
    throw unreadable(new Problem("range", text));
  }
  return value;
}

/** Stores a value that passed its codec's check: the commonest kinds, few enough to be inlined. */
const store = (
  mem: MemoryViews,
  ptr: number,
  kind: CodecKind,
  value: number | bigint | boolean,
): void => {
  if (kind === U32) mem.dv.setUint32(ptr, value as number, true);
  else if (kind === U64) mem.dv.setBigUint64(ptr, value as bigint, true);
  else if (kind === U16) mem.dv.setUint16(ptr, value as number, true);
  else if (kind === U8) mem.dv.setUint8(ptr, value as number);
  else storeOther(mem, ptr, kind, value);
};

const storeOther = (
  mem: MemoryViews,
  ptr: number,
  kind: CodecKind,
  value: number | bigint | boolean,
): void => {
  switch (kind) {
    case I32:
      return mem.dv.setUint32(ptr, value as number, true);
    case I64:
      return mem.dv.setBigUint64(ptr, value as bigint, true);
    case U64_NUMBER:
    case I64_NUMBER:
      mem.dv.setUint32(ptr, value as number, true);
      // Rounding down keeps the two's complement of negative numbers right.
      return mem.dv.setUint32(ptr + 4, Math.floor((value as number) / TWO_32), true);
    case I8:
      return mem.dv.setUint8(ptr, value as number);
    case I16:
      return mem.dv.setUint16(ptr, value as number, true);
    case F64:
      return mem.dv.setFloat64(ptr, value as number, true);
    case F32:
      return mem.dv.setFloat32(ptr, value as number, true);
    case BOOL:
      return mem.dv.setUint8(ptr, value === true ? 1 : 0);
    case U32BE:
    case I32BE:
      return mem.dv.setUint32(ptr, value as number, false);
    case U16BE:
    case I16BE:
      return mem.dv.setUint16(ptr, value as number, false);
    default: // U64BE, I64BE
      return mem.dv.setBigUint64(ptr, value as bigint, false);
  }
};

/** What storing a member of a struct needs. */
interface Place {
  readonly offset: number;
  readonly kind: CodecKind;
  readonly isScalar: boolean;
  readonly codec: BaseCodec<unknown, unknown>;
}

/** Stores values that passed their codecs' checks, each at its place behind `ptr`. */
export function putMembers(
  mem: MemoryViews,
  ptr: number,
  places: readonly Place[],
  values: readonly unknown[],
): void {
  for (let i = 0; i < places.length; i++) {
    const { isScalar: isPlain, offset, kind, codec } = places[i] as Place;
    const value = values[i];
    if (isPlain) store(mem, ptr + offset, kind, value as number | bigint | boolean);
    else codec.put(mem, ptr + offset, value);
  }
}

/** Stores a value that passed its codec's check. */
export function putScalar(
  mem: MemoryViews,
  ptr: number,
  kind: CodecKind,
  value: number | bigint | boolean,
): void {
  store(mem, ptr, kind, value);
}

/** Integers that are numbers: 8 to 32 bits, and 64 bits within +-(2^53-1). */
export class IntCodec extends BaseCodec<number> {
  /** Smallest value. */
  readonly min: number;
  /** Largest value. */
  readonly max: number;

  constructor(kind: CodecKind, size: number, min: number, max: number) {
    super(kind, size, size);
    this.min = min;
    this.max = max;
  }

  read(mem: MemoryViews, ptr: number): number {
    return readScalar(mem, ptr, this.kind) as number;
  }

  check(value: unknown): Problem | undefined {
    if (Number.isInteger(value) && (value as number) >= this.min && (value as number) <= this.max) {
      return undefined;
    }
    const expected = `an integer in ${this.min}..${this.max}`;
    return typeof value === "number"
      ? Problem.range(expected, value)
      : Problem.type(expected, value);
  }

  put(mem: MemoryViews, ptr: number, value: number): void {
    putScalar(mem, ptr, this.kind, value);
  }
}

/** 64-bit integers as bigint. */
export class BigIntCodec extends BaseCodec<bigint> {
  /** Smallest value. */
  readonly min: bigint;
  /** Largest value. */
  readonly max: bigint;

  constructor(kind: CodecKind, min: bigint, max: bigint) {
    super(kind, 8, 8);
    this.min = min;
    this.max = max;
  }

  read(mem: MemoryViews, ptr: number): bigint {
    return readScalar(mem, ptr, this.kind) as bigint;
  }

  check(value: unknown): Problem | undefined {
    if (typeof value === "bigint" && value >= this.min && value <= this.max) {
      return undefined;
    }
    const expected = `a bigint in ${this.min}..${this.max}`;
    return typeof value === "bigint"
      ? Problem.range(expected, value)
      : Problem.type(expected, value);
  }

  put(mem: MemoryViews, ptr: number, value: bigint): void {
    putScalar(mem, ptr, this.kind, value);
  }
}

/** 64-bit integers as bigint, with the checked number variant at hand. */
export class WideIntCodec extends BigIntCodec {
  /**
   * The same 8 bytes as a JavaScript number: cheaper than bigint.
   * Writing and reading throw a RangeError beyond 2^53-1 instead of rounding.
   */
  readonly asNumber: IntCodec;

  constructor(kind: CodecKind, min: bigint, max: bigint, asNumber: IntCodec) {
    super(kind, min, max);
    this.asNumber = asNumber;
  }
}

class FloatCodec extends BaseCodec<number> {
  constructor(kind: CodecKind, size: number) {
    super(kind, size, size);
  }

  read(mem: MemoryViews, ptr: number): number {
    return readScalar(mem, ptr, this.kind) as number;
  }

  check(value: unknown): Problem | undefined {
    if (typeof value !== "number") {
      return Problem.type("a number", value);
    }
    // Rounding is what floats do; turning a finite number into infinity is not.
    if (this.kind === KIND.F32 && Number.isFinite(value) && !Number.isFinite(Math.fround(value))) {
      return Problem.range("a number in the range of a 32-bit float", value);
    }
    return undefined;
  }

  put(mem: MemoryViews, ptr: number, value: number): void {
    putScalar(mem, ptr, this.kind, value);
  }
}

class BoolCodec extends BaseCodec<boolean> {
  constructor() {
    super(KIND.BOOL, 1, 1);
  }

  read(mem: MemoryViews, ptr: number): boolean {
    return mem.dv.getUint8(ptr) !== 0;
  }

  check(value: unknown): Problem | undefined {
    return typeof value === "boolean" ? undefined : Problem.type("a boolean", value);
  }

  put(mem: MemoryViews, ptr: number, value: boolean): void {
    putScalar(mem, ptr, KIND.BOOL, value);
  }
}

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const I64_MIN = -0x8000_0000_0000_0000n;
const I64_MAX = 0x7fff_ffff_ffff_ffffn;
const SAFE = Number.MAX_SAFE_INTEGER;

/** `__u8`, a number. */
export const u8: IntCodec = /* @__PURE__ */ new IntCodec(KIND.U8, 1, 0, 0xff);
/** `__s8`, a number. */
export const i8: IntCodec = /* @__PURE__ */ new IntCodec(KIND.I8, 1, -0x80, 0x7f);
/** `__u16`, a number. */
export const u16: IntCodec = /* @__PURE__ */ new IntCodec(KIND.U16, 2, 0, 0xffff);
/** `__s16`, a number. */
export const i16: IntCodec = /* @__PURE__ */ new IntCodec(KIND.I16, 2, -0x8000, 0x7fff);
/** `__u32`, a number. */
export const u32: IntCodec = /* @__PURE__ */ new IntCodec(KIND.U32, 4, 0, 0xffff_ffff);
/** `__s32`, a number. */
export const i32: IntCodec = /* @__PURE__ */ new IntCodec(KIND.I32, 4, -0x8000_0000, 0x7fff_ffff);
/** `__u64`, a bigint; `u64.asNumber` is a number up to 2^53-1. */
export const u64: WideIntCodec = /* @__PURE__ */ new WideIntCodec(
  KIND.U64,
  0n,
  U64_MAX,
  /* @__PURE__ */ new IntCodec(KIND.U64_NUMBER, 8, 0, SAFE),
);
/** `__s64`, a bigint; `i64.asNumber` is a number within +-(2^53-1). */
export const i64: WideIntCodec = /* @__PURE__ */ new WideIntCodec(
  KIND.I64,
  I64_MIN,
  I64_MAX,
  /* @__PURE__ */ new IntCodec(KIND.I64_NUMBER, 8, -SAFE, SAFE),
);
/** `float`: numbers are rounded to 32 bits; finite ones beyond its range are a RangeError. */
export const f32: BaseCodec<number> = /* @__PURE__ */ new FloatCodec(KIND.F32, 4);
/** `double`. */
export const f64: BaseCodec<number> = /* @__PURE__ */ new FloatCodec(KIND.F64, 8);
/** `bool`: one byte, written as 0 or 1; any other byte but 0 reads as true. */
export const bool: BaseCodec<boolean> = /* @__PURE__ */ new BoolCodec();

/** `__be16`: network order, a number. */
export const u16be: IntCodec = /* @__PURE__ */ new IntCodec(KIND.U16BE, 2, 0, 0xffff);
/** Signed 16 bits in network order, a number. */
export const i16be: IntCodec = /* @__PURE__ */ new IntCodec(KIND.I16BE, 2, -0x8000, 0x7fff);
/** `__be32`: network order, a number. */
export const u32be: IntCodec = /* @__PURE__ */ new IntCodec(KIND.U32BE, 4, 0, 0xffff_ffff);
/** Signed 32 bits in network order, a number. */
export const i32be: IntCodec = /* @__PURE__ */ new IntCodec(
  KIND.I32BE,
  4,
  -0x8000_0000,
  0x7fff_ffff,
);
/** `__be64`: network order, a bigint. */
export const u64be: BigIntCodec = /* @__PURE__ */ new BigIntCodec(KIND.U64BE, 0n, U64_MAX);
/** Signed 64 bits in network order, a bigint. */
export const i64be: BigIntCodec = /* @__PURE__ */ new BigIntCodec(KIND.I64BE, I64_MIN, I64_MAX);

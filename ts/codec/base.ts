// The codec contract: how a JavaScript value is laid out in linear memory.
//
// A codec has a fixed size and the alignment of its C type, and moves values between JavaScript
// and a byte address. All layouts are little-endian (as the Wasm memory is) unless a codec says
// otherwise (`u32be`, `ipv4`). Built-in codecs access memory through a DataView, so they also work
// at unaligned addresses: packed structs and decoded packets need that.
//
// Invariants of every codec:
//   1. write() throws before it has changed any byte, or it writes exactly `size` bytes;
//   2. bytes that carry no value (padding, unused bits) are written as zero, because a map
//      compares keys byte by byte;
//   3. read() never returns memory that is shared with the map.

import { Problem } from "./problem.js";

/** Typed views over one linear memory. Replaced as a whole when the memory's buffer changes. */
export interface MemoryViews {
  readonly u8: Uint8Array;
  readonly i8: Int8Array;
  readonly u16: Uint16Array;
  readonly i16: Int16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  readonly i64: BigInt64Array;
  readonly dv: DataView;
}

/**
 * Makes the views over a buffer. Views of wider elements end at the last whole element when the
 * byte length is not a multiple of theirs.
 * @param buffer  memory.buffer of a WebAssembly.Memory (shared or not), or any ArrayBuffer
 */
export function viewsOf(buffer: ArrayBufferLike): MemoryViews {
  const length = buffer.byteLength;
  return {
    u8: new Uint8Array(buffer),
    i8: new Int8Array(buffer),
    u16: new Uint16Array(buffer, 0, Math.floor(length / 2)),
    i16: new Int16Array(buffer, 0, Math.floor(length / 2)),
    u32: new Uint32Array(buffer, 0, Math.floor(length / 4)),
    i32: new Int32Array(buffer, 0, Math.floor(length / 4)),
    f32: new Float32Array(buffer, 0, Math.floor(length / 4)),
    f64: new Float64Array(buffer, 0, Math.floor(length / 8)),
    u64: new BigUint64Array(buffer, 0, Math.floor(length / 8)),
    i64: new BigInt64Array(buffer, 0, Math.floor(length / 8)),
    dv: new DataView(buffer),
  };
}

/**
 * What a codec is, as a small integer, so that a map picks its fast path once at creation.
 * A codec of a scalar kind has that kind's exact layout; OTHER promises nothing.
 */
export const KIND = {
  OTHER: 0,
  U8: 1,
  I8: 2,
  U16: 3,
  I16: 4,
  U32: 5,
  I32: 6,
  U64: 7,
  I64: 8,
  F32: 9,
  F64: 10,
  BOOL: 11,
  U64_NUMBER: 12,
  I64_NUMBER: 13,
  U16BE: 14,
  I16BE: 15,
  U32BE: 16,
  I32BE: 17,
  U64BE: 18,
  I64BE: 19,
  BYTES: 20,
  STRUCT: 21,
} as const;

/** One of the values of KIND. */
export type CodecKind = (typeof KIND)[keyof typeof KIND];

/**
 * Lays out values of type T in linear memory.
 * @typeParam T  what reading gives
 * @typeParam I  what writing accepts; wider than T where a codec takes several notations
 */
export interface Codec<T, I = T> {
  readonly kind: CodecKind;
  /** Bytes of one value. */
  readonly size: number;
  /** Natural alignment of the C type in bytes, a power of two (1 when packed). */
  readonly align: number;
  /**
   * Decodes the value at `ptr`.
   * @param ptr  byte address, aligned to `align`
   * @throws {RangeError} the bytes hold a number that `asNumber` cannot give
   */
  read(mem: MemoryViews, ptr: number): T;
  /**
   * Encodes `value` into the `size` bytes at `ptr`. Nothing is written when it throws.
   * @param ptr   byte address, aligned to `align`
   * @param name  what error messages call the value; default "value"
   * @throws {TypeError} the value, or a part of it, has the wrong JavaScript type
   * @throws {RangeError} a part of the value cannot be represented
   */
  // A property, not a method: only then Codec<T> infers T from read and checks I strictly.
  readonly write: (mem: MemoryViews, ptr: number, value: I, name?: string) => void;
  /**
   * Decodes into `out`, reusing the object and its nested objects, and returns it.
   * Present on codecs of objects only.
   */
  readInto?(mem: MemoryViews, ptr: number, out: T): T;
}

/** Any codec, as a constraint for generics. */
export type AnyCodec = Codec<unknown, never>;

/** The type that reading with a codec gives: `Infer<typeof u64>` is `bigint`. */
export type Infer<C> = C extends { read(mem: MemoryViews, ptr: number): infer T } ? T : never;

/** The type that writing with a codec accepts; the same as Infer for most codecs. */
export type InferInput<C> = C extends {
  write(mem: MemoryViews, ptr: number, value: infer I, name?: string): void;
}
  ? I
  : never;

/**
 * Base of the library's own codecs: writing is checking, then putting. Containers check all
 * members before they put the first.
 */
export abstract class BaseCodec<T, I = T> implements Codec<T, I> {
  readonly kind: CodecKind;
  readonly size: number;
  readonly align: number;

  constructor(kind: CodecKind, size: number, align: number) {
    this.kind = kind;
    this.size = size;
    this.align = align;
  }

  abstract read(mem: MemoryViews, ptr: number): T;

  /** Says why `value` cannot be encoded; undefined when it can. */
  abstract check(value: unknown): Problem | undefined;

  /** Encodes a value that passed `check`: `size` bytes, padding included. */
  abstract put(mem: MemoryViews, ptr: number, value: I): void;

  write(mem: MemoryViews, ptr: number, value: I, name = "value"): void {
    const problem = this.check(value);
    if (problem !== undefined) {
      throw problem.toError(name);
    }
    this.put(mem, ptr, value);
  }
}

/** A user's own codec inside a container: its check is a trial write into a scratch area. */
class ForeignCodec extends BaseCodec<unknown, unknown> {
  readonly #codec: Codec<unknown, unknown>;
  readonly #scratch: MemoryViews;

  constructor(codec: Codec<unknown, unknown>) {
    // Its kind is not trusted for inlining: the codec's own read and write decide.
    super(KIND.OTHER, codec.size, codec.align);
    this.#codec = codec;
    this.#scratch = viewsOf(new ArrayBuffer(roundUp(codec.size, 8)));
    if (codec.readInto !== undefined) {
      this.readInto = (mem, ptr, out) => codec.readInto?.(mem, ptr, out);
    }
  }

  readInto?: (mem: MemoryViews, ptr: number, out: unknown) => unknown;

  read(mem: MemoryViews, ptr: number): unknown {
    return this.#codec.read(mem, ptr);
  }

  check(value: unknown): Problem | undefined {
    try {
      this.#codec.write(this.#scratch, 0, value);
      return undefined;
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      return new Problem(error instanceof RangeError ? "range" : "type", text, "", error);
    }
  }

  put(mem: MemoryViews, ptr: number, value: unknown): void {
    this.#codec.write(mem, ptr, value);
  }
}

/** A member's codec as containers use it: mixed element types, checked before put. */
export type MemberCodec = BaseCodec<unknown, unknown> & {
  readInto?(mem: MemoryViews, ptr: number, out: unknown): unknown;
};

/** Containers whose members run code of the user's. */
const sheltered = /* @__PURE__ */ new WeakSet<object>();

/**
 * Has a container with a codec of the user's among its members read from a copy: that codec may use the map whose window or
 * value is read, or make the memory grow, before the other members are read. Called by the container's constructor.
 */
export function shelterReads(
  container: BaseCodec<never, never> | MemberCodec,
  members: readonly MemberCodec[],
): void {
  if (!members.some((member) => member instanceof ForeignCodec || sheltered.has(member))) return;
  const codec = container as MemberCodec;
  const { read, readInto } = codec;
  const copy = (mem: MemoryViews, ptr: number): MemoryViews =>
    viewsOf(mem.u8.slice(ptr, ptr + codec.size).buffer);
  sheltered.add(codec);
  codec.read = (mem, ptr) => read.call(codec, copy(mem, ptr), 0);
  if (readInto !== undefined) {
    codec.readInto = (mem, ptr, out) => readInto.call(codec, copy(mem, ptr), 0, out);
  }
}

/**
 * Makes any codec usable as a member of a container.
 * @param where  for the message: `struct: field "x"`
 * @throws {TypeError} it is not a codec
 */
export function memberCodec(codec: AnyCodec, where: string): MemberCodec {
  if (codec instanceof BaseCodec) {
    return codec as MemberCodec;
  }
  if (!isCodec(codec)) {
    throw Problem.type("a codec", codec).toError(where);
  }
  return new ForeignCodec(codec as Codec<unknown, unknown>);
}

function isCodec(value: unknown): boolean {
  if (typeof value !== "object" || value === null) {
    return false;
  }
  const codec = value as Partial<AnyCodec>;
  const { size = -1, align = 0 } = codec;
  return (
    typeof codec.read === "function" &&
    typeof codec.write === "function" &&
    Number.isSafeInteger(size) &&
    size >= 0 &&
    Number.isSafeInteger(align) &&
    align > 0 &&
    Number.isInteger(Math.log2(align))
  );
}

/** Rounds up to a multiple of `align` (a power of two or not). */
export function roundUp(size: number, align: number): number {
  return Math.ceil(size / align) * align;
}

/**
 * Checks a count or a size given to a codec factory.
 * @throws {TypeError | RangeError} not an integer of at least `min`
 */
export function checkCount(count: number, min: number, where: string): void {
  if (typeof count !== "number") {
    throw Problem.type("a number", count).toError(where);
  }
  if (!Number.isSafeInteger(count) || count < min) {
    throw Problem.range(`an integer of at least ${min}`, count).toError(where);
  }
}

/** Whether `value` is a typed array of this class, also one of another realm (a frame, a vm context). */
export function isArrayOf(className: string, value: unknown): boolean {
  return (
    ArrayBuffer.isView(value) &&
    (value as unknown as { [Symbol.toStringTag]: unknown })[Symbol.toStringTag] === className
  );
}

export function isUint8Array(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array || isArrayOf("Uint8Array", value);
}

/**
 * Encodes one value into fresh bytes.
 * @example
 * ```ts
 * encode(u32be, 0x0a000001); // Uint8Array [10, 0, 0, 1]
 * ```
 * @throws {TypeError | RangeError} as codec.write
 */
export function encode<T, I>(codec: Codec<T, I>, value: NoInfer<I>): Uint8Array<ArrayBuffer> {
  const buffer = new ArrayBuffer(codec.size);
  codec.write(viewsOf(buffer), 0, value);
  return new Uint8Array(buffer);
}

/**
 * Decodes one value from the start of `bytes`, which may be longer than the value.
 * @throws {TypeError} no Uint8Array
 * @throws {RangeError} fewer than codec.size bytes, or as codec.read
 */
export function decode<T, I>(codec: Codec<T, I>, bytes: Uint8Array): T {
  if (!isUint8Array(bytes)) throw Problem.type("a Uint8Array", bytes).toError("bytes");
  if (bytes.byteLength < codec.size) {
    throw Problem.range(`at least ${codec.size} bytes`, bytes).toError("bytes");
  }
  if (bytes.byteOffset % codec.align === 0) {
    return codec.read(viewsOf(bytes.buffer), bytes.byteOffset);
  }
  // Not bytes.slice(): on a Buffer that would share the memory and stay unaligned.
  return codec.read(viewsOf(new Uint8Array(bytes.subarray(0, codec.size)).buffer), 0);
}

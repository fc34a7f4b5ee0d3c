// Byte strings, C strings, fixed arrays and per-CPU values.

import {
  BaseCodec,
  checkCount,
  isUint8Array,
  KIND,
  memberCodec,
  roundUp,
  shelterReads,
} from "./base.js";
import type { AnyCodec, Codec, Infer, InferInput, MemberCodec, MemoryViews } from "./base.js";
import { locate, Problem } from "./problem.js";

/** Up to this many bytes, a loop beats the built-in copies. */
const SHORT_COPY = 32;
const between = /* @__PURE__ */ new Uint8Array(SHORT_COPY);

/** See `bytes`. */
export class BytesCodec extends BaseCodec<Uint8Array> {
  constructor(size: number) {
    super(KIND.BYTES, size, 1);
  }

  /** A copy that is never backed by shared memory. */
  read(mem: MemoryViews, ptr: number): Uint8Array {
    const { size } = this;
    return size > SHORT_COPY
      ? new Uint8Array(mem.u8.subarray(ptr, ptr + size))
      : this.readInto(mem, ptr, new Uint8Array(size));
  }

  /**
   * Copies the bytes into `out` without allocating.
   * @throws {TypeError} `out` is not a Uint8Array of exactly `size` bytes
   */
  readInto(mem: MemoryViews, ptr: number, out: Uint8Array): Uint8Array {
    const { size } = this;
    if (out.length !== size) {
      throw Problem.type(`a Uint8Array of ${size} bytes`, out).toError("out");
    }
    const source = mem.u8;
    for (let index = 0; index < size; index++) {
      out[index] = source[ptr + index] as number;
    }
    return out;
  }

  check(value: unknown): Problem | undefined {
    const { size } = this;
    if (!isUint8Array(value)) {
      return Problem.type(`a Uint8Array of ${size} bytes`, value);
    }
    return value.length === size
      ? undefined
      : Problem.range(`a Uint8Array of ${size} bytes`, value);
  }

  put(mem: MemoryViews, ptr: number, value: Uint8Array): void {
    const target = mem.u8;
    const { size } = this;
    if (size > SHORT_COPY) {
      target.set(value, ptr);
      return;
    }
    // Through a buffer, because a value that lies in the same memory may overlap its target. Finding that out would cost more.
    for (let index = 0; index < size; index++) between[index] = value[index] as number;
    for (let index = 0; index < size; index++) target[ptr + index] = between[index] as number;
  }
}

/**
 * `__u8 name[size]`: exactly `size` bytes as a Uint8Array. Reading gives a copy;
 * `readInto(mem, ptr, out)` copies into an array of yours.
 * @param size  bytes, 0 or more
 */
export function bytes(size: number): BytesCodec {
  checkCount(size, 0, "bytes: size");
  return new BytesCodec(size);
}

/** A surrogate without its partner: no Unicode character, so it has no UTF-8 form. */
const LONE_SURROGATE = /\p{Surrogate}/u;

class CStringCodec extends BaseCodec<string> {
  readonly #encoder = new TextEncoder();
  // Keeps a leading byte order mark, so that what was written reads back the same.
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(size: number) {
    super(KIND.OTHER, size, 1);
  }

  read(mem: MemoryViews, ptr: number): string {
    const source = mem.u8;
    const end = ptr + this.size;
    let text = "";
    for (let at = ptr; at < end; at++) {
      const unit = source[at] as number;
      if (unit === 0) {
        return text;
      }
      if (unit >= 0x80) {
        return this.#readUtf8(source, ptr);
      }
      text += String.fromCharCode(unit);
    }
    return text;
  }

  #readUtf8(source: Uint8Array, ptr: number): string {
    // A copy first: decoders refuse shared memory.
    const copy = new Uint8Array(source.subarray(ptr, ptr + this.size));
    const nul = copy.indexOf(0);
    return this.#decoder.decode(nul < 0 ? copy : copy.subarray(0, nul));
  }

  check(value: unknown): Problem | undefined {
    const limit = this.size - 1;
    if (typeof value !== "string") {
      return Problem.type(`a string of at most ${limit} UTF-8 bytes`, value);
    }
    if (value.includes("\0")) {
      return Problem.range("a string without NUL", value);
    }
    if (LONE_SURROGATE.test(value)) {
      return Problem.range("a string without lone surrogates", value);
    }
    const length = utf8Length(value);
    if (length > limit) {
      const text = `expected at most ${limit} UTF-8 bytes and the NUL, got ${length} bytes`;
      return new Problem("range", text);
    }
    return undefined;
  }

  put(mem: MemoryViews, ptr: number, value: string): void {
    // encodeInto refuses shared memory in browsers, so the bytes take a detour.
    const encoded = this.#encoder.encode(value);
    mem.u8.set(encoded, ptr);
    mem.u8.fill(0, ptr + encoded.length, ptr + this.size);
  }
}

/** UTF-8 bytes of a string without lone surrogates. */
function utf8Length(text: string): number {
  let length = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    // One more from U+0080, two more from U+0800; a surrogate pair is two units and four bytes.
    if (unit >= 0x80) {
      length += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
    }
  }
  return length;
}

/**
 * `char name[size]`: a string as NUL-terminated UTF-8, the rest filled with zeros.
 * Writing refuses a string that does not fit with its NUL. Reading stops at the first NUL or after
 * `size` bytes; bytes that are not UTF-8 read as U+FFFD.
 * @param size  bytes including the NUL, 1 or more
 */
export function cstring(size: number): Codec<string> {
  checkCount(size, 1, "cstring: size");
  return new CStringCodec(size);
}

/** Values of one codec at a fixed stride: the common part of `array` and `perCpu`. */
class SequenceCodec extends BaseCodec<unknown[], readonly unknown[]> {
  readonly #member: MemberCodec;
  readonly #count: number;
  readonly #stride: number;
  readonly #expected: string;

  constructor(
    member: MemberCodec,
    count: number,
    layout: { stride: number; align: number; expected: string },
  ) {
    super(KIND.OTHER, layout.stride * count, layout.align);
    this.#member = member;
    this.#count = count;
    this.#stride = layout.stride;
    this.#expected = layout.expected;
    shelterReads(this, [member]);
  }

  read(mem: MemoryViews, ptr: number): unknown[] {
    const out: unknown[] = [];
    const member = this.#member;
    const stride = this.#stride;
    const count = this.#count;
    let index = 0;
    try {
      for (; index < count; index++) {
        out.push(member.read(mem, ptr + index * stride));
      }
    } catch (error) {
      throw locate(error, `[${index}]`);
    }
    return out;
  }

  readInto(mem: MemoryViews, ptr: number, out: unknown[]): unknown[] {
    const member = this.#member;
    const stride = this.#stride;
    const count = this.#count;
    let index = 0;
    try {
      for (; index < count; index++) {
        out[index] = readMember(member, mem, ptr + index * stride, out[index]);
      }
    } catch (error) {
      throw locate(error, `[${index}]`);
    }
    out.length = count;
    return out;
  }

  check(value: unknown): Problem | undefined {
    if (!Array.isArray(value)) {
      return Problem.type(this.#expected, value);
    }
    if (value.length !== this.#count) {
      return new Problem("range", `expected ${this.#expected}, got ${value.length}`);
    }
    for (let index = 0; index < value.length; index++) {
      const problem = this.#member.check(value[index]);
      if (problem !== undefined) {
        return problem.within(`[${index}]`);
      }
    }
    return undefined;
  }

  put(mem: MemoryViews, ptr: number, value: readonly unknown[]): void {
    const member = this.#member;
    const stride = this.#stride;
    for (let index = 0; index < this.#count; index++) {
      const at = ptr + index * stride;
      member.put(mem, at, value[index]);
      mem.u8.fill(0, at + member.size, at + stride);
    }
  }
}

/** Reads a member, into the object that is there already when the codec can. */
export function readMember(
  member: MemberCodec,
  mem: MemoryViews,
  ptr: number,
  previous: unknown,
): unknown {
  return member.readInto !== undefined && typeof previous === "object" && previous !== null
    ? member.readInto(mem, ptr, previous)
    : member.read(mem, ptr);
}

/** A codec of several values in an array. */
export interface ArrayCodec<T, I = T> extends Codec<T[], readonly I[]> {
  readInto(mem: MemoryViews, ptr: number, out: T[]): T[];
}

/**
 * `type name[count]`: an array of exactly `count` values.
 * @param codec  codec of one element
 * @param count  elements, 0 or more
 */
export function array<C extends AnyCodec>(
  codec: C,
  count: number,
): ArrayCodec<Infer<C>, InferInput<C>> {
  const member = memberCodec(codec, "array: codec");
  checkCount(count, 0, "array: count");
  return new SequenceCodec(member, count, {
    stride: roundUp(member.size, member.align),
    align: member.align,
    expected: `an array of ${count}`,
  }) as ArrayCodec<unknown, unknown> as ArrayCodec<Infer<C>, InferInput<C>>;
}

/**
 * The value of a per-CPU map as the syscall side moves it: one value per possible CPU, in an
 * array indexed by CPU, each in a slot of `codec.size` rounded up to 8 bytes.
 * @param codec  codec of one CPU's value
 * @param cpus   number of possible CPUs (`rt.cpus`), 1 or more
 */
export function perCpu<C extends AnyCodec>(
  codec: C,
  cpus: number,
): ArrayCodec<Infer<C>, InferInput<C>> {
  const member = memberCodec(codec, "perCpu: codec");
  checkCount(cpus, 1, "perCpu: cpus");
  return new SequenceCodec(member, cpus, {
    stride: roundUp(member.size, 8),
    align: 8,
    expected: `an array of ${cpus} values, one per possible CPU`,
  }) as ArrayCodec<unknown, unknown> as ArrayCodec<Infer<C>, InferInput<C>>;
}

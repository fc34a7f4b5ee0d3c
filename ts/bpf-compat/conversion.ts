import { round8 } from "../numbers.js";
import { allocBytes } from "./bytes.js";
import type { Bytes } from "./bytes.js";

/** How keys or values of the program's own kind are written to and read from a map's bytes. */
export interface TypeConversion<X> {
  /** Reads bytes; they belong to the conversion. */
  parse(buf: Bytes): X;
  /** Writes all of `buf`, whose content is not to be relied on. */
  format(buf: Bytes, x: X): void;
}

/** A conversion with the length of its buffers, bytes. */
export class SizedConversion<X> {
  readonly #type: TypeConversion<X>;
  readonly #size: number;

  constructor(type: TypeConversion<X>, size: number) {
    this.#type = type;
    this.#size = size;
  }

  parse(bytes: Bytes): X {
    return this.#type.parse(bytes);
  }

  parseMaybe(bytes: Bytes | undefined): X | undefined {
    return bytes === undefined ? undefined : this.parse(bytes);
  }

  format(x: X): Bytes {
    const bytes = allocBytes(this.#size);
    this.#type.format(bytes, x);
    return bytes;
  }

  formatMaybe(x: X | undefined): Bytes | undefined {
    return x === undefined ? undefined : this.format(x);
  }
}

/** Conversion of one u32. */
export const u32type: TypeConversion<number> = {
  // Byte by byte: a view would cost more than the call, because a small buffer has no ArrayBuffer until it is asked for.
  parse(buf) {
    const [b0, b1, b2, b3] = [buf[0], buf[1], buf[2], buf[3]];
    if (b0 === undefined || b1 === undefined || b2 === undefined || b3 === undefined) {
      throw new RangeError(`u32type: ${buf.length} bytes are too few`);
    }
    return (b0 | (b1 << 8) | (b2 << 16) | (b3 << 24)) >>> 0;
  },
  format(buf, x) {
    if (buf.length < 4) throw new RangeError(`u32type: ${buf.length} bytes are too few`);
    buf[0] = x;
    buf[1] = x >>> 8;
    buf[2] = x >>> 16;
    buf[3] = x >>> 24;
  },
};

/**
 * Conversion of a per-CPU map's values: an array with one value for each possible CPU. Not in npm `bpf`, whose per-CPU
 * values overrun their buffers.
 *
 * @param type      conversion of one CPU's value
 * @param valueSize the map's value size, bytes; the slots are that rounded up to a multiple of 8
 */
export function perCpuType<X>(type: TypeConversion<X>, valueSize: number): TypeConversion<X[]> {
  const stride = round8(valueSize);
  const slot = (buf: Bytes, cpu: number): Bytes =>
    buf.subarray(cpu * stride, cpu * stride + valueSize);
  return {
    parse: (buf) =>
      Array.from({ length: buf.length / stride }, (_, cpu) => type.parse(slot(buf, cpu))),
    format: (buf, values) => {
      const cpus = buf.length / stride;
      if (values.length !== cpus)
        throw new Error(`expected ${cpus} values, one a CPU, got ${values.length}`);
      values.forEach((value, cpu) => type.format(slot(buf, cpu), value));
    },
  };
}

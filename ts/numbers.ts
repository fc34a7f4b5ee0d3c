// Checks of numbers on their way into the core, where they would be cut to 32 bits.

/**
 * An integer in min..max.
 * @throws {TypeError} no number
 * @throws {RangeError} no integer, or outside the range
 */
export function integer(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number") {
    throw new TypeError(`${name}: expected a number, got ${typeof value}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name}: expected an integer in ${min}..${max}, got ${value}`);
  }
  return value;
}

/** Flags, sizes, addresses: an unsigned number of 32 bits. */
export function isU32(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >>> 0 === value;
}

/**
 * Can it be flags of an operation? Where not it is EINVAL.
 * @throws {TypeError} no number
 */
export function isFlags(flags: number): boolean {
  if (typeof flags !== "number") {
    throw new TypeError(`flags: expected a number, got ${typeof flags}`);
  }
  return flags >>> 0 === flags;
}

/** Flags that no operation takes, for numbers that cannot be flags: EINVAL, where nothing worse is wrong. */
export const NO_FLAGS = 0xffff_ffff;

/** A number that could be an fd. */
export function isFd(value: unknown): value is number {
  return isU32(value) && value <= 0x7fffffff;
}

/** The next multiple of 8. */
export function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

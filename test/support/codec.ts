// Helpers of the codec tests.

import { expect } from "vitest";
import { encode } from "../../ts/codec.js";
import type { AnyCodec, Codec } from "../../ts/codec.js";

export function hex(data: Uint8Array): string {
  return Buffer.from(data).toString("hex");
}

export function unhex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "hex"));
}

/** Encodes a value that the types would refuse. */
export function encodeAny(codec: AnyCodec, value: unknown): Uint8Array {
  return encode(codec as Codec<unknown, unknown>, value);
}

/** Expects a refusal of exactly this class and message. */
export function refuses(
  codec: AnyCodec,
  value: unknown,
  type: typeof TypeError | typeof RangeError,
  message: string,
): void {
  let caught: unknown;
  try {
    encodeAny(codec, value);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(type);
  expect((caught as Error).name).toBe(type.name);
  expect((caught as Error).message).toBe(message);
}

// The byte buffers this entry takes and gives: Node's Buffer where there is one, Uint8Array elsewhere.

/** What maps return keys and values in: `Buffer` where it exists (Node), `Uint8Array` elsewhere (browsers). */
export type Bytes = typeof globalThis extends { Buffer: { alloc(size: number): infer B } }
  ? B
  : Uint8Array;

interface BufferLike {
  alloc(size: number): Bytes;
}

/** Zeroed bytes with an ArrayBuffer of their own, so that conversions may lay any typed array over them. */
export function allocBytes(size: number): Bytes {
  const { Buffer } = globalThis as { Buffer?: BufferLike };
  return Buffer === undefined ? (new Uint8Array(size) as Bytes) : Buffer.alloc(size);
}

/**
 * Passes on what is exactly `size` bytes.
 *
 * @throws {TypeError} no bytes
 * @throws {Error} another length
 */
export function checkBytes<B extends Uint8Array>(what: string, bytes: B, size: number): B {
  if (!ArrayBuffer.isView(bytes) || bytes.BYTES_PER_ELEMENT !== 1) {
    throw new TypeError(`${what}: expected a Buffer or Uint8Array`);
  }
  if (bytes.length !== size) {
    throw new Error(`${what}: expected ${size} bytes, got ${bytes.length}`);
  }
  return bytes;
}

/** @throws {RangeError} no integer in 0..2^32-1 */
export function checkU32(what: string, value: number): number {
  if (typeof value !== "number" || value >>> 0 !== value) {
    throw new RangeError(`${what}: ${String(value)} is not a valid u32`);
  }
  return value;
}

// Little-endian words as the bytes of keys and values; ranges of them.

/** The bytes of u32 words, one behind the other. */
export function u32s(...words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => view.setUint32(i * 4, word, true));
  return bytes;
}

/** The bytes of u64 words. */
export function u64s(...words: readonly (number | bigint)[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 8);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => view.setBigUint64(i * 8, BigInt.asUintN(64, BigInt(word)), true));
  return bytes;
}

/** The u32 word at a byte offset. */
export function u32At(bytes: Uint8Array, offset = 0): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true);
}

/** All u32 words of `bytes`. */
export function wordsOf(bytes: Uint8Array): number[] {
  return Array.from({ length: bytes.length >> 2 }, (_, i) => u32At(bytes, i * 4));
}

/** "1-4,9" -> [1, 2, 3, 4, 9] */
export function range(text: string): number[] {
  return text.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

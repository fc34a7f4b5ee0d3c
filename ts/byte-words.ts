// Bytes as 32-bit words, little-endian: a quarter of the accesses. It pays for programs that use one array for all their keys,
// and one for all their values.

const NONE = /* @__PURE__ */ new Uint8Array(0);
const NO_WORDS = /* @__PURE__ */ new Int32Array(0);
const NO_LONGS = /* @__PURE__ */ new BigInt64Array(0);

/** What the libraries of es2023 do not know of buffers. */
interface Resizable {
  readonly resizable?: boolean;
  readonly growable?: boolean;
}

export const isBytes = (value: unknown, size: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === size;

/** Four bytes as an i32. */
export const wordOf = (bytes: Uint8Array, at: number): number =>
  (bytes[at] as number) |
  ((bytes[at + 1] as number) << 8) |
  ((bytes[at + 2] as number) << 16) |
  ((bytes[at + 3] as number) << 24);

/** Sees arrays of one length, whole words, as words. Remembers one array at a time. */
export class ByteWords {
  private readonly copies: Int32Array;
  /** The array that is remembered, and its words: none when it is unaligned, or its buffer went elsewhere. */
  bytes: Uint8Array;
  words: Int32Array;
  /** The same memory in longs, to be written only: a wide load of what narrow stores have just written waits for them. */
  longs: BigInt64Array;
  private candidate: Uint8Array;

  /** @param size bytes of the arrays */
  constructor(size: number) {
    this.copies = new Int32Array(size / 4);
    this.bytes = NONE;
    this.words = NO_WORDS;
    this.longs = NO_LONGS;
    this.candidate = NONE;
  }

  /** The words of an array, to be read before the next call. */
  read(bytes: Uint8Array): Int32Array {
    const words = this.view(bytes);
    return words.length !== 0 ? words : this.copy(bytes);
  }

  /** Sets all words of an array: `words` from index `from` on. */
  write(bytes: Uint8Array, words: Int32Array, from: number): void {
    const to = this.view(bytes);
    if (to.length === 4) {
      to[0] = words[from] as number;
      to[1] = words[from + 1] as number;
      to[2] = words[from + 2] as number;
      to[3] = words[from + 3] as number;
    } else {
      writeBytes(bytes, words, from);
    }
  }

  /**
   * The memory of an array that came twice in a row, as words; no words for others, for unaligned ones, and for those whose
   * length may change with their buffer's.
   */
  view(bytes: Uint8Array): Int32Array {
    return bytes === this.bytes ? this.words : this.meet(bytes);
  }

  private meet(bytes: Uint8Array): Int32Array {
    if (bytes !== this.candidate) {
      this.candidate = bytes;
      return NO_WORDS;
    }
    // A view costs as much as several operations, hence not for arrays that come once.
    const { buffer, byteOffset, length } = bytes;
    const { resizable, growable } = buffer as Resizable;
    if (resizable === true || growable === true) return NO_WORDS;
    this.bytes = bytes;
    this.words = byteOffset % 4 === 0 ? new Int32Array(buffer, byteOffset, length / 4) : NO_WORDS;
    this.longs =
      byteOffset % 8 === 0 ? new BigInt64Array(buffer, byteOffset, length >>> 3) : NO_LONGS;
    return this.words;
  }

  private copy(bytes: Uint8Array): Int32Array {
    const { copies } = this;
    for (let i = 0; i < copies.length; i++) copies[i] = wordOf(bytes, i * 4);
    return copies;
  }
}

/** Sets four bytes to an i32: wordOf the other way round. */
const setWord = (bytes: Uint8Array, at: number, word: number): void => {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
};

/** writeBytes for an array of 16 bytes. */
export function write16(bytes: Uint8Array, words: Int32Array, from: number): void {
  setWord(bytes, 0, words[from] as number);
  setWord(bytes, 4, words[from + 1] as number);
  setWord(bytes, 8, words[from + 2] as number);
  setWord(bytes, 12, words[from + 3] as number);
}

/** Sets all bytes of an array, whole words: `words` from index `from` on. */
export function writeBytes(bytes: Uint8Array, words: Int32Array, from: number): void {
  const { length } = bytes;
  for (let at = 0; at < length; at += 4) setWord(bytes, at, words[from + (at >>> 2)] as number);
}

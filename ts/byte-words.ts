// Bytes that a program uses again and again, as 32-bit words. A program that fills one key and reads into one array for all
// its operations saves four byte accesses of five by it.

const NONE = /* @__PURE__ */ new Uint8Array(0);
const NO_WORDS = /* @__PURE__ */ new Int32Array(0);

/** Remembers one array of bytes at a time. */
export class ByteWords {
  private bytes: Uint8Array = NONE;
  private words: Int32Array = NO_WORDS;
  private candidate: Uint8Array = NONE;

  /** The words of an array that came twice in a row (of whole, aligned words); otherwise an array without any. */
  of(bytes: Uint8Array): Int32Array {
    return bytes === this.bytes ? this.words : this.meet(bytes);
  }

  private meet(bytes: Uint8Array): Int32Array {
    if (bytes !== this.candidate) {
      this.candidate = bytes;
      return NO_WORDS;
    }
    // A view costs as much as several operations, hence not for arrays that come once.
    const { buffer, byteOffset, length } = bytes;
    this.bytes = bytes;
    this.words =
      byteOffset % 4 === 0 ? new Int32Array(buffer, byteOffset, Math.floor(length / 4)) : NO_WORDS;
    return this.words;
  }
}

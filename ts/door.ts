// The hot path of the typed maps: codecs on this side, one Wasm call an operation on the other.
//
// One class for all maps, so that its code and call sites stay monomorphic whatever mix of map classes a program uses.
// How a key travels is decided once, at creation: keys of 4, 8 and 16 bytes of the hash types go as arguments, all others
// through a window in linear memory. No code is generated at run time.

import { ByteWords, isBytes, wordOf, writeBytes } from "./byte-words.js";
import { KIND } from "./codec.js";
import type { Codec, CodecKind } from "./codec.js";
import { BaseCodec, roundUp } from "./codec/base.js";
import type { CoreExports } from "./core.js";
import { EPERM } from "./uapi.js";
import { Staging } from "./staging.js";
import type { Laid } from "./staging.js";
import { LiveViews } from "./views.js";

/** How keys reach the core. */
const BY = {
  /** A number of 32 bits. */
  U32: 0,
  I32: 1,
  /** A bigint of 64 bits. */
  U64: 2,
  I64: 3,
  /** Encoded, and passed as 1, 2 or 4 words. */
  WORDS1: 4,
  WORDS2: 5,
  WORDS4: 6,
  /** 16 bytes, passed as 4 words. */
  BYTES16: 7,
  /** A number of 53 bits, passed as 2 words. */
  U53: 8,
  /** Encoded into the window, passed by address. */
  ADDRESS: 9,
  /** An index of an ARRAY. */
  INDEX: 10,
} as const;
/** The same for others: here V8 must know its values, as below. */
export const KEY_PATH = BY;

// V8 knows the values of a module's own constants. What is imported or exported it looks up at every use, and so it does
// with function declarations, which could be assigned to. Hence these constants, and the arrow functions below.
const { U32, U64, U64_NUMBER, F64, BYTES } = KIND;

/** Takes the place of lookups that are not allowed: nothing is found, and the slow path says why. */
const findNothing = (): number => 0;
/** Takes the place of updates and deletions that are not allowed. */
const refuse = (): number => -EPERM;

const SHORT_COPY = 32;
const TWO_32 = 0x1_0000_0000;
const SAFE_HIGH = 0x1f_ffff;

/** What a codec of ours is; a caller's own reads and writes as it likes, whatever kind it says it is. */
const kindOf = (codec: Codec<unknown, never>): CodecKind =>
  codec instanceof BaseCodec ? codec.kind : KIND.OTHER;

function keyPath(kind: CodecKind, size: number, isHash: boolean, isArray: boolean): number {
  if (isArray && kind === KIND.U32) return BY.INDEX;
  if (!isHash) return BY.ADDRESS;
  if (kind === KIND.U32) return BY.U32;
  if (kind === KIND.I32) return BY.I32;
  if (kind === KIND.U64) return BY.U64;
  if (kind === KIND.I64) return BY.I64;
  if (kind === KIND.U64_NUMBER) return BY.U53;
  if (size === 4) return BY.WORDS1;
  if (size === 8) return BY.WORDS2;
  if (size === 16) return kind === KIND.BYTES ? BY.BYTES16 : BY.WORDS4;
  return BY.ADDRESS;
}

/** Numbers: of a field that changes V8 asks whether it is true in several steps, and whether it is a number in one. */
export const ACCESS = { SHUT: 0, OPEN: 1 } as const;
export type Access = (typeof ACCESS)[keyof typeof ACCESS];

/** A 32-bit unsigned number. */
const isU32 = (key: unknown): key is number => typeof key === "number" && key >>> 0 === key;

const isI32 = (key: unknown): key is number => typeof key === "number" && (key | 0) === key;

/** An integer from 0 to 2^53 - 1; a call into Wasm takes its lower 32 bits. */
const isU53 = (key: unknown): key is number =>
  typeof key === "number" && key >= 0 && Number.isSafeInteger(key);

/** What a door needs to know of its map. */
export interface DoorOptions<K, KI, V, VI> {
  readonly exports: CoreExports;
  readonly mem: LiveViews;
  readonly handle: number;
  readonly key: Codec<K, KI>;
  readonly value: Codec<V, VI>;
  /** One of the four hash types. */
  readonly isHash: boolean;
  /** ARRAY. */
  readonly isArray: boolean;
  /** LRU types: reading through `find` marks the entry. */
  readonly marks: boolean;
  /** `value` is of all CPUs: a copy's layout, not that of the memory behind a value's address. */
  readonly isPerCpu: boolean;
  /** Windows of key.size and the user value size, 8-aligned, in the core's memory. */
  readonly keyPtr: number;
  readonly valuePtr: number;
}

/** The operations of one map on encoded and decoded values. Results of updates are 0 or -errno. */
export class MapDoor<K, KI, V, VI> {
  mem: LiveViews;
  /** Address of the map, for the sized doors; the core trusts it only together with the handle. */
  readonly map: number;
  readonly handle: number;
  /** The elements are in the table itself. */
  readonly isInline: boolean;
  /** Is the fd open for reading, and for writing? Otherwise lookups find nothing, and updates and deletions are refused. */
  reads: Access;
  writes: Access;
  readonly key: Codec<K, KI>;
  readonly value: Codec<V, VI>;
  keyPtr: number;
  valuePtr: number;
  readonly marks: boolean;
  readonly isPerCpu: boolean;
  /** One of KEY_PATH. */
  readonly path: number;
  /** Values are numbers of 32 bits, or of 64 that are mostly small, at one address. */
  readonly isNumeric: boolean;
  /** The words of the encoded key are arguments. */
  private readonly isByWords: boolean;
  /** Of values; OTHER of a codec of the caller's. */
  readonly valueKind: CodecKind;
  private readonly keys: Staging<KI>;
  private readonly values: Staging<VI>;
  /** May encoding a key or a value run the caller's code? */
  private readonly isLive: boolean;
  /**
   * Bytes of a value where those are whole words, and few enough to be copied word by word: built-in copies and loops over
   * bytes take four times as long. 0 elsewhere.
   */
  private readonly shortSize: number;
  readonly keyWords: ByteWords;
  /** Of what values are read into, and of what is stored. */
  readonly valueWords: ByteWords;
  readonly newWords: ByteWords;
  private lookup4: CoreExports["map_lookup4"];
  private lookup8: CoreExports["map_lookup8"];
  private lookup16: CoreExports["map_lookup16"];
  private lookupU64: CoreExports["map_lookup_u64"];
  private lookupAt: CoreExports["map_lookup"];
  private arrayLookup: CoreExports["array_lookup"];
  private peekAt: CoreExports["map_peek"];
  private update4: CoreExports["map_update4"];
  private update8: CoreExports["map_update8"];
  private update16: CoreExports["map_update16"];
  private updateU64: CoreExports["map_update_u64"];
  private updateAt: CoreExports["map_update"];
  private delete4: CoreExports["map_delete4"];
  private delete8: CoreExports["map_delete8"];
  private delete16: CoreExports["map_delete16"];
  private deleteU64: CoreExports["map_delete_u64"];
  private deleteAt: CoreExports["map_delete"];

  constructor(options: DoorOptions<K, KI, V, VI>) {
    const { exports } = options;
    this.mem = options.mem;
    this.handle = options.handle;
    this.map = exports.map_by_handle(options.handle);
    this.key = options.key;
    this.value = options.value;
    this.keyPtr = options.keyPtr;
    this.valuePtr = options.valuePtr;
    this.marks = options.marks;
    this.isPerCpu = options.isPerCpu;
    this.path = keyPath(kindOf(options.key), options.key.size, options.isHash, options.isArray);
    const { path } = this;
    this.isByWords =
      path === BY.WORDS1 || path === BY.WORDS2 || path === BY.WORDS4 || path === BY.I64;
    this.valueKind = kindOf(options.value);
    this.keys = new Staging(options.key);
    this.values = new Staging(options.value);
    this.isLive = this.keys.isLive || this.values.isLive;
    const { size } = options.value;
    const isShort = this.valueKind === BYTES && size % 4 === 0 && size <= SHORT_COPY;
    this.shortSize = isShort ? size : 0;
    this.keyWords = new ByteWords(this.path === BY.BYTES16 ? 16 : 0);
    this.valueWords = new ByteWords(this.shortSize);
    this.newWords = new ByteWords(this.shortSize);
    this.isInline = exports.map_is_inline(options.handle) !== 0;
    this.isNumeric = !options.isPerCpu && (this.valueKind === U32 || this.valueKind === U64_NUMBER);
    this.reads = ACCESS.OPEN;
    this.writes = ACCESS.OPEN;
    this.lookup4 = exports.map_lookup4;
    this.lookup8 = exports.map_lookup8;
    this.lookup16 = exports.map_lookup16;
    this.lookupU64 = exports.map_lookup_u64;
    this.lookupAt = exports.map_lookup;
    this.arrayLookup = exports.array_lookup;
    this.peekAt = exports.map_peek;
    this.update4 = exports.map_update4;
    this.update8 = exports.map_update8;
    this.update16 = exports.map_update16;
    this.updateU64 = exports.map_update_u64;
    this.updateAt = exports.map_update;
    this.delete4 = exports.map_delete4;
    this.delete8 = exports.map_delete8;
    this.delete16 = exports.map_delete16;
    this.deleteU64 = exports.map_delete_u64;
    this.deleteAt = exports.map_delete;
  }

  /** From now on lookups find nothing: an fd that is not open for reading. Costs the others nothing. */
  denyReads(): void {
    this.reads = ACCESS.SHUT;
    this.lookup4 = findNothing;
    this.lookup8 = findNothing;
    this.lookup16 = findNothing;
    this.lookupU64 = findNothing;
    this.lookupAt = findNothing;
    this.arrayLookup = findNothing;
    this.peekAt = findNothing;
  }

  /** From now on updates and deletions are refused: an fd that is not open for writing. */
  denyWrites(): void {
    this.writes = ACCESS.SHUT;
    this.update4 = refuse;
    this.update8 = refuse;
    this.update16 = refuse;
    this.updateU64 = refuse;
    this.updateAt = refuse;
    this.delete4 = refuse;
    this.delete8 = refuse;
    this.delete16 = refuse;
    this.deleteU64 = refuse;
    this.deleteAt = refuse;
  }

  /** The map is closed, and its windows may be anybody's by now: from here on keys and values are encoded into memory of our own. */
  shut(): void {
    this.denyReads();
    this.denyWrites();
    this.valuePtr = roundUp(this.key.size, 8);
    this.keyPtr = 0;
    this.mem = new LiveViews({ buffer: new ArrayBuffer(this.valuePtr + this.value.size) });
  }

  /** Encodes a key into the window. The caller's code may have closed the map meanwhile. */
  encodeKey(key: KI): void {
    const { keys } = this;
    if (keys.isLive) {
      this.moveKey(keys.lay(key, "key"));
      return;
    }
    this.mem.reach(this.keyPtr, this.key.size);
    this.key.write(this.mem, this.keyPtr, key, "key");
  }

  private moveKey(laid: Laid): void {
    const { keys, mem, keyPtr } = this;
    mem.reach(keyPtr, keys.size);
    keys.move(laid, mem, keyPtr);
  }

  private moveValue(laid: Laid): void {
    const { values, mem, valuePtr } = this;
    mem.reach(valuePtr, values.size);
    values.move(laid, mem, valuePtr);
  }

  /** Encodes a value whose codec runs nobody's code into the window. */
  private encodeValue(value: VI): void {
    const { mem, valuePtr, valueKind } = this;
    if (valuePtr < mem.u8.length && typeof value === "number") {
      if (valueKind === U32 && value >>> 0 === value) {
        mem.u32[valuePtr >>> 2] = value;
        return;
      }
      if (valueKind === U64_NUMBER && value >= 0 && Number.isSafeInteger(value)) {
        mem.u32[valuePtr >>> 2] = value >>> 0;
        mem.u32[(valuePtr >>> 2) + 1] = value < TWO_32 ? 0 : Math.floor(value / TWO_32);
        return;
      }
    }
    const { size } = this.value;
    if (this.shortSize !== 0 && isBytes(value, size)) {
      this.encodeBytes(value);
      return;
    }
    mem.reach(valuePtr, size);
    this.value.write(mem, valuePtr, value, "value");
  }

  private encodeBytes(value: Uint8Array): void {
    const { mem } = this;
    mem.reach(this.valuePtr, value.length);
    const { i32 } = mem;
    const words = this.newWords.read(value);
    const at = this.valuePtr >>> 2;
    const { length } = words;
    i32[at] = words[0] as number;
    if (length === 4) {
      i32[at + 1] = words[1] as number;
      i32[at + 2] = words[2] as number;
      i32[at + 3] = words[3] as number;
    } else {
      for (let i = 1; i < length; i++) i32[at + i] = words[i] as number;
    }
  }

  /**
   * Address of the value of a key, 0 when absent. LRU types: marks the entry as used. Short, so that it is inlined: the
   * commonest key first.
   */
  find(key: KI): number {
    if (this.path === BY.U32 && isU32(key)) return this.lookup4(this.map, this.handle, key) >>> 0;
    return this.findOther(key);
  }

  // V8 inlines a few hundred bytecodes, so what is rarer has methods of its own. Whether a bigint has more than 64 bits is seen
  // by cutting it. The result is passed on instead of the key, so that the call need not cut it again, which costs more.

  private findOther(key: KI): number {
    switch (this.path) {
      case BY.U64:
        if (typeof key === "bigint") {
          const cut = BigInt.asUintN(64, key);
          if (cut === key) return this.lookupU64(this.map, this.handle, cut) >>> 0;
        }
        break;
      case BY.BYTES16:
        if (isBytes(key, 16)) return this.findBytes16(key);
        break;
      case BY.I32:
        if (isI32(key)) return this.lookup4(this.map, this.handle, key) >>> 0;
        break;
      case BY.U53:
        if (isU53(key)) return this.lookup8(this.map, this.handle, key, key / TWO_32) >>> 0;
        break;
      case BY.INDEX:
        if (isU32(key)) return this.arrayLookup(this.map, this.handle, key) >>> 0;
        break;
    }
    return this.findEncoded(key);
  }

  private findBytes16(key: Uint8Array): number {
    const { map, handle } = this;
    const words = this.keyWords.view(key);
    if (words.length === 4) {
      const a = words[0] as number;
      const b = words[1] as number;
      const c = words[2] as number;
      return this.lookup16(map, handle, a, b, c, words[3] as number) >>> 0;
    }
    const c = wordOf(key, 8);
    return this.lookup16(map, handle, wordOf(key, 0), wordOf(key, 4), c, wordOf(key, 12)) >>> 0;
  }

  /** A key that is not what its codec takes goes this way too: the codec says what is wrong with it. */
  private findEncoded(key: KI): number {
    if (this.isByWords) return this.findWords(this.keys.words(key, "key"));
    this.encodeKey(key);
    return this.lookupAt(this.handle, this.keyPtr) >>> 0;
  }

  private findWords(words: Int32Array): number {
    const { map, handle } = this;
    const { size } = this.key;
    const a = words[0] as number;
    if (size === 4) return this.lookup4(map, handle, a) >>> 0;
    const b = words[1] as number;
    if (size === 8) return this.lookup8(map, handle, a, b) >>> 0;
    const c = words[2] as number;
    return this.lookup16(map, handle, a, b, c, words[3] as number) >>> 0;
  }

  /** As `find`, without marking the entry. */
  peek(key: KI): number {
    if (!this.marks) return this.find(key);
    this.encodeKey(key);
    return this.peekAt(this.handle, this.keyPtr) >>> 0;
  }

  /** Inserts or replaces (BPF_ANY). @returns 0 or -errno */
  set(key: KI, value: VI): number {
    const { shortSize } = this;
    const isBytes16 = this.path === BY.BYTES16 && shortSize !== 0;
    if (isBytes16 && isBytes(key, 16) && isBytes(value, shortSize)) {
      this.encodeBytes(value);
      return this.updateBytes16(key, 0);
    }
    return this.put(key, value, 0);
  }

  /** Inserts or replaces as the flags say. @returns 0 or -errno */
  put(key: KI, value: VI, flags: number): number {
    if (this.isLive) return this.putLive(key, value, flags);
    this.encodeValue(value);
    return this.update(key, flags);
  }

  /** The caller's code runs before the first byte is in a window, which it might use as well. */
  private putLive(key: KI, value: VI, flags: number): number {
    const { keys, values } = this;
    const laidValue = values.isLive ? values.lay(value, "value") : undefined;
    const words = keys.isLive && this.isByWords ? keys.words(key, "key") : undefined;
    const laidKey = keys.isLive && words === undefined ? keys.lay(key, "key") : undefined;
    if (laidValue !== undefined) this.moveValue(laidValue);
    else this.encodeValue(value);
    if (words !== undefined) return this.updateWords(words, flags);
    if (laidKey === undefined) return this.update(key, flags);
    this.moveKey(laidKey);
    return this.updateAt(this.handle, this.keyPtr, this.valuePtr, flags);
  }

  /** Updates with the value in the window. @returns 0 or -errno */
  private update(key: KI, flags: number): number {
    if (this.path === BY.U32 && isU32(key))
      return this.update4(this.map, this.handle, key, this.valuePtr, flags);
    return this.updateOther(key, flags);
  }

  private updateOther(key: KI, flags: number): number {
    const { map, handle, valuePtr } = this;
    switch (this.path) {
      case BY.U64:
        if (typeof key === "bigint") {
          const cut = BigInt.asUintN(64, key);
          if (cut === key) return this.updateU64(map, handle, cut, valuePtr, flags);
        }
        break;
      case BY.BYTES16:
        if (isBytes(key, 16)) return this.updateBytes16(key, flags);
        break;
      case BY.I32:
        if (isI32(key)) return this.update4(map, handle, key, valuePtr, flags);
        break;
      case BY.U53:
        if (isU53(key)) return this.update8(map, handle, key, key / TWO_32, valuePtr, flags);
        break;
    }
    return this.updateEncoded(key, flags);
  }

  private updateBytes16(key: Uint8Array, flags: number): number {
    const { map, handle, valuePtr } = this;
    const words = this.keyWords.read(key);
    const a = words[0] as number;
    const b = words[1] as number;
    const c = words[2] as number;
    return this.update16(map, handle, a, b, c, words[3] as number, valuePtr, flags);
  }

  private updateEncoded(key: KI, flags: number): number {
    if (this.isByWords) return this.updateWords(this.keys.words(key, "key"), flags);
    this.encodeKey(key);
    return this.updateAt(this.handle, this.keyPtr, this.valuePtr, flags);
  }

  private updateWords(words: Int32Array, flags: number): number {
    const { map, handle, valuePtr } = this;
    const { size } = this.key;
    const a = words[0] as number;
    if (size === 4) return this.update4(map, handle, a, valuePtr, flags);
    const b = words[1] as number;
    if (size === 8) return this.update8(map, handle, a, b, valuePtr, flags);
    const c = words[2] as number;
    return this.update16(map, handle, a, b, c, words[3] as number, valuePtr, flags);
  }

  /** @returns 0 or -errno */
  delete(key: KI): number {
    if (this.path === BY.U32 && isU32(key)) return this.delete4(this.map, this.handle, key);
    return this.deleteOther(key);
  }

  private deleteOther(key: KI): number {
    const { map, handle } = this;
    switch (this.path) {
      case BY.U64:
        if (typeof key === "bigint") {
          const cut = BigInt.asUintN(64, key);
          if (cut === key) return this.deleteU64(map, handle, cut);
        }
        break;
      case BY.I32:
        if (isI32(key)) return this.delete4(map, handle, key);
        break;
      case BY.U53:
        if (isU53(key)) return this.delete8(map, handle, key, key / TWO_32);
        break;
    }
    if (this.isByWords) return this.deleteWords(this.keys.words(key, "key"));
    this.encodeKey(key);
    return this.deleteAt(handle, this.keyPtr);
  }

  private deleteWords(words: Int32Array): number {
    const { map, handle } = this;
    const { size } = this.key;
    const a = words[0] as number;
    if (size === 4) return this.delete4(map, handle, a);
    const b = words[1] as number;
    if (size === 8) return this.delete8(map, handle, a, b);
    const c = words[2] as number;
    return this.delete16(map, handle, a, b, c, words[3] as number);
  }

  /** Decodes the value at `ptr` into `out` where its codec can; other values are just decoded. */
  readInto(ptr: number, out: V): V {
    if (this.shortSize !== 0 && isBytes(out, this.shortSize)) {
      this.copyInto(ptr, out);
      return out;
    }
    return this.readIntoOther(ptr, out);
  }

  private copyInto(ptr: number, out: Uint8Array): void {
    const { mem } = this;
    mem.reach(ptr, out.length);
    this.valueWords.write(out, mem.i32, ptr >>> 2);
  }

  private readIntoOther(ptr: number, out: V): V {
    const { mem, value } = this;
    mem.reach(ptr, value.size);
    return value.readInto === undefined ? this.read(ptr) : value.readInto(mem, ptr, out);
  }

  /** Decodes the key at an address. */
  readKey(ptr: number): K {
    const { mem, key } = this;
    mem.reach(ptr, key.size);
    if (this.path === BY.U32) return mem.u32[ptr >>> 2] as K;
    return key.read(mem, ptr);
  }

  /** Decodes the value at an address the core returned. A read beyond stale views gives undefined: then again. */
  read(ptr: number): V {
    const { mem, valueKind } = this;
    if (valueKind === U32) {
      const value = mem.u32[ptr >>> 2];
      if (value !== undefined) return value as V;
    } else if (valueKind === U64_NUMBER) {
      const high = mem.u32[(ptr >>> 2) + 1] as number;
      if (high <= SAFE_HIGH) return (high * TWO_32 + (mem.u32[ptr >>> 2] as number)) as V;
    } else if (valueKind === U64) {
      const value = mem.u64[ptr >>> 3];
      if (value !== undefined) return value as V;
    }
    return this.readOther(ptr);
  }

  private readOther(ptr: number): V {
    const { mem } = this;
    mem.reach(ptr, this.value.size);
    switch (this.valueKind) {
      case BYTES:
        return this.shortSize !== 0 ? this.readBytes(ptr) : this.value.read(mem, ptr);
      case U64:
        return mem.u64[ptr >>> 3] as V;
      case F64:
        return mem.f64[ptr >>> 3] as V;
      default:
        return this.value.read(mem, ptr);
    }
  }

  private readBytes(ptr: number): V {
    const bytes = new Uint8Array(this.value.size);
    writeBytes(bytes, this.mem.i32, ptr >>> 2);
    return bytes as V;
  }
}

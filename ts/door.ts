// The hot path of the typed maps: codecs on this side, one Wasm call an operation on the other.
//
// One class for all maps, so that its code and call sites stay monomorphic whatever mix of map classes a program uses.
// How a key travels is decided once, at creation: keys of 4, 8 and 16 bytes of the hash types go as arguments, all others
// through a window in linear memory. No code is generated at run time.

import { KIND } from "./codec.js";
import type { Codec, CodecKind } from "./codec.js";
import { roundUp } from "./codec/base.js";
import type { CoreExports } from "./core.js";
import { EPERM } from "./uapi.js";
import { LiveViews } from "./views.js";

/** How keys reach the core. */
const BY = {
  /** A number of 32 bits. */
  U32: 0,
  I32: 1,
  /** A bigint of 64 bits. */
  U64: 2,
  I64: 3,
  /** Encoded into the window, passed as 1, 2 or 4 words. */
  WORDS1: 4,
  WORDS2: 5,
  WORDS4: 6,
  /** Encoded into the window, passed by address. */
  ADDRESS: 7,
  /** An index of an ARRAY. */
  INDEX: 8,
} as const;

/** Takes the place of lookups that are not allowed: nothing is found, and the slow path says why. */
const findNothing = (): number => 0;
/** Takes the place of updates and deletions that are not allowed. */
const refuse = (): number => -EPERM;

const TWO_32 = 0x1_0000_0000;
const SAFE_HIGH = 0x1f_ffff;

function keyPath(kind: CodecKind, size: number, isHash: boolean, isArray: boolean): number {
  if (isArray && kind === KIND.U32) return BY.INDEX;
  if (!isHash) return BY.ADDRESS;
  if (kind === KIND.U32) return BY.U32;
  if (kind === KIND.I32) return BY.I32;
  if (kind === KIND.U64) return BY.U64;
  if (kind === KIND.I64) return BY.I64;
  if (size === 4) return BY.WORDS1;
  if (size === 8) return BY.WORDS2;
  return size === 16 ? BY.WORDS4 : BY.ADDRESS;
}

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
  /**
   * Are keys and values numbers (u32; u32 or u64.asNumber) of a hash table that may be read and written? Then both travel
   * as arguments and results, without views: get4, put4.
   */
  isNumeric: boolean;
  /** isNumeric: the largest value. */
  readonly valueMax: number;
  readonly get4: CoreExports["map_get4"];
  readonly put4: CoreExports["map_put4"];
  readonly key: Codec<K, KI>;
  readonly value: Codec<V, VI>;
  keyPtr: number;
  valuePtr: number;
  readonly marks: boolean;
  readonly isPerCpu: boolean;
  private readonly path: number;
  private readonly valueKind: CodecKind;
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
    this.path = keyPath(options.key.kind, options.key.size, options.isHash, options.isArray);
    this.valueKind = options.value.kind;
    const isWide = this.valueKind === KIND.U64_NUMBER;
    this.isNumeric =
      this.path === BY.U32 && !options.isPerCpu && (isWide || this.valueKind === KIND.U32);
    this.valueMax = isWide ? Number.MAX_SAFE_INTEGER : 0xffffffff;
    this.get4 = exports.map_get4;
    this.put4 = exports.map_put4;
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
    this.isNumeric = false;
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
    this.isNumeric = false;
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

  /** The map is closed: it and its windows may be anything by now. Keys and values are encoded into a dead place. */
  shut(): void {
    this.denyReads();
    this.denyWrites();
    this.valuePtr = roundUp(this.key.size, 8);
    this.keyPtr = 0;
    this.mem = new LiveViews({ buffer: new ArrayBuffer(this.valuePtr + this.value.size) });
  }

  /** Encodes a key into the window. */
  encodeKey(key: KI): void {
    this.mem.reach(this.keyPtr, this.key.size);
    this.key.write(this.mem, this.keyPtr, key, "key");
  }

  /** Encodes a value into the window. */
  encodeValue(value: VI): void {
    const { mem, valuePtr, valueKind } = this;
    if (valuePtr < mem.u8.length && typeof value === "number") {
      if (valueKind === KIND.U32 && value >>> 0 === value) {
        mem.u32[valuePtr >>> 2] = value;
        return;
      }
      if (valueKind === KIND.U64_NUMBER && value >= 0 && Number.isSafeInteger(value)) {
        mem.u32[valuePtr >>> 2] = value >>> 0;
        mem.u32[(valuePtr >>> 2) + 1] = value < TWO_32 ? 0 : Math.floor(value / TWO_32);
        return;
      }
    }
    mem.reach(valuePtr, this.value.size);
    this.value.write(mem, valuePtr, value, "value");
  }

  /** Word i of the encoded key. */
  private word(i: number): number {
    return this.mem.u32[(this.keyPtr >>> 2) + i] as number;
  }

  /**
   * Address of the value of a key, 0 when absent. LRU types: marks the entry as used. Short, so that it is inlined: the
   * commonest key first.
   */
  find(key: KI): number {
    if (this.path === BY.U32 && isU32(key)) return this.lookup4(this.map, this.handle, key) >>> 0;
    return this.findOther(key);
  }

  private findOther(key: KI): number {
    const { map, handle } = this;
    if (this.path === BY.U64 && isU64(key)) return this.lookupU64(map, handle, key) >>> 0;
    if (this.path === BY.INDEX && isU32(key)) return this.arrayLookup(map, handle, key) >>> 0;
    // A key that is not what its codec takes goes this way too: the codec says what is wrong with it.
    this.encodeKey(key);
    switch (this.path) {
      case BY.WORDS1:
      case BY.I32:
        return this.lookup4(map, handle, this.word(0)) >>> 0;
      case BY.WORDS2:
      case BY.I64:
        return this.lookup8(map, handle, this.word(0), this.word(1)) >>> 0;
      case BY.WORDS4:
        return (
          this.lookup16(map, handle, this.word(0), this.word(1), this.word(2), this.word(3)) >>> 0
        );
      default:
        return this.lookupAt(handle, this.keyPtr) >>> 0;
    }
  }

  /** As `find`, without marking the entry. */
  peek(key: KI): number {
    if (!this.marks) return this.find(key);
    this.encodeKey(key);
    return this.peekAt(this.handle, this.keyPtr) >>> 0;
  }

  /** Inserts or replaces (BPF_ANY). @returns 0 or -errno */
  set(key: KI, value: VI): number {
    if (this.isNumeric && isU32(key) && isNumberUpTo(value, this.valueMax)) {
      return this.put4(this.map, this.handle, key, value);
    }
    this.encodeValue(value);
    return this.update(key, 0);
  }

  /** Updates with the value in the window. @returns 0 or -errno */
  update(key: KI, flags: number): number {
    if (this.path === BY.U32 && isU32(key))
      return this.update4(this.map, this.handle, key, this.valuePtr, flags);
    return this.updateOther(key, flags);
  }

  private updateOther(key: KI, flags: number): number {
    const { map, handle, valuePtr } = this;
    if (this.path === BY.U64 && isU64(key))
      return this.updateU64(map, handle, key, valuePtr, flags);
    this.encodeKey(key);
    switch (this.path) {
      case BY.WORDS1:
      case BY.I32:
        return this.update4(map, handle, this.word(0), valuePtr, flags);
      case BY.WORDS2:
      case BY.I64:
        return this.update8(map, handle, this.word(0), this.word(1), valuePtr, flags);
      case BY.WORDS4:
        return this.update16(
          map,
          handle,
          this.word(0),
          this.word(1),
          this.word(2),
          this.word(3),
          valuePtr,
          flags,
        );
      default:
        return this.updateAt(handle, this.keyPtr, valuePtr, flags);
    }
  }

  /** @returns 0 or -errno */
  delete(key: KI): number {
    if (this.path === BY.U32 && isU32(key)) return this.delete4(this.map, this.handle, key);
    return this.deleteOther(key);
  }

  private deleteOther(key: KI): number {
    const { map, handle } = this;
    if (this.path === BY.U64 && isU64(key)) return this.deleteU64(map, handle, key);
    this.encodeKey(key);
    switch (this.path) {
      case BY.WORDS1:
      case BY.I32:
        return this.delete4(map, handle, this.word(0));
      case BY.WORDS2:
      case BY.I64:
        return this.delete8(map, handle, this.word(0), this.word(1));
      case BY.WORDS4:
        return this.delete16(map, handle, this.word(0), this.word(1), this.word(2), this.word(3));
      default:
        return this.deleteAt(handle, this.keyPtr);
    }
  }

  /** Decodes the value at `ptr` into `out` where its codec can; other values are just decoded. */
  readInto(ptr: number, out: V): V {
    const { mem, value } = this;
    if (value.readInto === undefined) return this.read(ptr);
    mem.reach(ptr, value.size);
    return value.readInto(mem, ptr, out);
  }

  /** Decodes the value at an address the core returned. A read beyond stale views gives undefined: then again. */
  read(ptr: number): V {
    const { mem, valueKind } = this;
    if (valueKind === KIND.U32) {
      const value = mem.u32[ptr >>> 2];
      if (value !== undefined) return value as V;
    } else if (valueKind === KIND.U64_NUMBER) {
      const high = mem.u32[(ptr >>> 2) + 1] as number;
      if (high <= SAFE_HIGH) return (high * TWO_32 + (mem.u32[ptr >>> 2] as number)) as V;
    }
    return this.readOther(ptr);
  }

  private readOther(ptr: number): V {
    const { mem } = this;
    mem.reach(ptr, this.value.size);
    switch (this.valueKind) {
      case KIND.U64:
        return mem.u64[ptr >>> 3] as V;
      case KIND.F64:
        return mem.f64[ptr >>> 3] as V;
      default:
        return this.value.read(mem, ptr);
    }
  }
}

/** An integer in 0..max. */
function isNumberUpTo(value: unknown, max: number): value is number {
  return typeof value === "number" && value >= 0 && value <= max && Math.floor(value) === value;
}

/** A 32-bit unsigned number. */
export function isU32(key: unknown): key is number {
  return typeof key === "number" && key >>> 0 === key;
}

/** A bigint that fits 64 unsigned bits. */
function isU64(key: unknown): key is bigint {
  return typeof key === "bigint" && BigInt.asUintN(64, key) === key;
}

// Shortcuts of `get`, `getInto`, `set`, `delete` and `matchU32`: closures that take the place of the methods in maps with
// small keys and values. What a closure refers to is constant to the optimiser where a loop works with one map; a method
// has to load it from the map, again after every call. That is a tenth of a lookup (bench: goals 1 and 2).
//
// They do the commonest case only. What else may happen, errors included, is left to the method.

import { ABSENT, ASK, ASK_AT } from "./abi.js";
import { isBytes, wordOf, write16 } from "./byte-words.js";
import { KIND } from "./codec.js";
import type { CoreExports } from "./core.js";
import { SHORTCUT } from "./door.js";
import type { MapDoor } from "./door.js";
import { ENOENT } from "./uapi.js";

// The module's own, as door.ts says.
const NOTHING = ABSENT | 0;
const UNKNOWN = ASK | 0;
const NOWHERE = ASK_AT;
const NO_ENTRY = -ENOENT;
const { U32, U64, BYTES16, PREFIX } = SHORTCUT;

// In this order: where a value is an i32 anyway, only its sign is left to be looked at. `>>> 0` would compare doubles.
const isU32 = (value: unknown): value is number =>
  typeof value === "number" && ((value | 0) === value ? value >= 0 : value >>> 0 === value);
const isI32 = (value: unknown): value is number =>
  typeof value === "number" && (value | 0) === value;

type Door = MapDoor<unknown, unknown, unknown, unknown>;
type Get = (key: unknown) => unknown;
type GetInto = (key: unknown, out: unknown) => unknown;
type Delete = (key: unknown) => boolean;
type Put<M> = (key: unknown, value: unknown) => M;

/** Reads values at addresses: 32-bit numbers without asking the door, which has to look up its views at every use. */
function reader(door: Door): (ptr: number) => unknown {
  const { mem } = door;
  const isU32Value = door.value.kind === KIND.U32;
  return (ptr) => {
    // Undefined: beyond views that are stale.
    const value = isU32Value ? mem.u32[ptr >>> 2] : undefined;
    return value === undefined ? door.read(ptr) : value;
  };
}

/**
 * Keys and values are numbers of 32 bits. Such a value always comes from the core, never from the method: that may return
 * anything, and V8 would then treat every value as anything.
 */
function getU32(door: Door, core: CoreExports, other: Get): Get {
  const { map, handle } = door;
  const lookup = door.isInline ? core.map_get4 : core.map_get4_separate;
  const { map_get4_any: lookupMore } = core;
  return (key) => {
    if (door.reads === U32 && isU32(key)) {
      const word = lookup(map, handle, key);
      // The commonest case asks nothing but this of the value: each further question would wait for the memory, too.
      if (word >= 0) return word;
      if (word === NOTHING) return undefined;
      if (word < NOTHING) return word >>> 0;
      const late = lookupMore(map, handle, key);
      if (late === NOTHING) return undefined;
      if (late !== UNKNOWN) return late >>> 0;
    }
    return other(key);
  };
}

function setU32<M>(self: M, door: Door, put: CoreExports["map_put4"], other: Put<M>): Put<M> {
  const { map, handle } = door;
  return (key, value) => {
    if (door.writes === U32 && isU32(key) && isU32(value)) {
      if (put(map, handle, key, value) === 0) return self;
    }
    return other(key, value);
  };
}

function deleteU32(door: Door, remove: CoreExports["map_delete4"], other: Delete): Delete {
  const { map, handle } = door;
  return (key) => {
    if (door.writes === U32 && isU32(key)) {
      const ret = remove(map, handle, key);
      if (ret === 0) return true;
      if (ret === NO_ENTRY) return false;
    }
    return other(key);
  };
}

/**
 * getU32 for keys that are bigints of 64 bits. Whether a key has more bits is seen by cutting it. The result is looked up, and
 * compared with the key only afterwards: a comparison of bigints can be a call, and would hold up the lookup.
 */
function getU64(door: Door, core: CoreExports, other: Get): Get {
  const { map, handle } = door;
  const { map_get_u64: lookup, map_get_u64_any: lookupMore } = core;
  return (key) => {
    if (door.reads === U64) {
      let cut: bigint;
      try {
        // Throws for anything but a bigint, so that there is no need to ask for the type.
        cut = BigInt.asUintN(64, key as bigint);
      } catch {
        return other(key);
      }
      const word = lookup(map, handle, cut);
      if (cut === key) {
        if (word >= 0) return word;
        if (word === NOTHING) return undefined;
        if (word < NOTHING) return word >>> 0;
        const late = lookupMore(map, handle, cut);
        if (late === NOTHING) return undefined;
        if (late !== UNKNOWN) return late >>> 0;
      }
    }
    return other(key);
  };
}

/** Values are numbers of 32 bits. */
function setU64<M>(self: M, door: Door, put: CoreExports["map_put_u64"], other: Put<M>): Put<M> {
  const { map, handle } = door;
  return (key, value) => {
    if (door.writes === U64 && isU32(value) && typeof key === "bigint") {
      const cut = BigInt.asUintN(64, key);
      if (cut === key && put(map, handle, cut, value) === 0) return self;
    }
    return other(key, value);
  };
}

function deleteU64(door: Door, remove: CoreExports["map_delete_u64"], other: Delete): Delete {
  const { map, handle } = door;
  return (key) => {
    if (door.writes === U64 && typeof key === "bigint") {
      const cut = BigInt.asUintN(64, key);
      if (cut === key) {
        const ret = remove(map, handle, cut);
        if (ret === 0) return true;
        if (ret === NO_ENTRY) return false;
      }
    }
    return other(key);
  };
}

/**
 * Keys are 16 bytes. Answers the address of the value, 0 for none, or NOWHERE where the method has to decide. Many programs use
 * one array for all their keys, so the door remembers the words of one that came twice in a row. Other arrays are read byte by
 * byte, and every eighth of them is shown to the door.
 */
function find16(door: Door, lookup: CoreExports["map_at16"]): (key: unknown) => number {
  const { map, handle, keyWords } = door;
  let calls = 0;
  // A function of its own, so that the one below stays small enough to be inlined.
  const findOther = (key: unknown): number => {
    if (door.reads !== BYTES16 || !isBytes(key, 16)) return NOWHERE;
    calls = (calls + 1) & 7;
    if (calls === 0) keyWords.view(key);
    const c = wordOf(key, 8);
    return lookup(map, handle, wordOf(key, 0), wordOf(key, 4), c, wordOf(key, 12)) >>> 0;
  };
  return (key) => {
    if (door.reads === BYTES16 && key === keyWords.bytes) {
      const from = keyWords.words;
      // Undefined: there are no words, or their buffer was detached. Asking for the length takes longer.
      const d = from[3];
      if (d !== undefined) {
        const a = from[0] as number;
        const b = from[1] as number;
        const c = from[2] as number;
        return lookup(map, handle, a, b, c, d) >>> 0;
      }
    }
    return findOther(key);
  };
}

/** Values are 16 bytes, too. */
function get16(door: Door, find: (key: unknown) => number, other: Get): Get {
  const { mem } = door;
  return (key) => {
    const ptr = find(key);
    if (ptr === 0) return undefined;
    // Beyond views that are stale: the method.
    if (ptr === NOWHERE || ptr + 16 > mem.u8.length) return other(key);
    const value = new Uint8Array(16);
    write16(value, mem.i32, ptr >>> 2);
    return value;
  };
}

/** get16 into an array that the door remembers, which has checked it. */
function getInto16(door: Door, find: (key: unknown) => number, other: GetInto): GetInto {
  const { mem, valueWords } = door;
  return (key, out) => {
    if (out === valueWords.bytes) {
      const ptr = find(key);
      if (ptr > NOWHERE) {
        const to = valueWords.longs;
        const { i64 } = mem;
        const last = i64[(ptr >>> 3) + 1];
        // Undefined: beyond views that are stale.
        if (to.length === 2 && last !== undefined) {
          to[0] = i64[ptr >>> 3] as bigint;
          to[1] = last;
          return out;
        }
      }
    }
    return other(key, out);
  };
}

/** Sets in the arrays that the door remembers. */
function set16<M>(self: M, door: Door, update: CoreExports["map_update16"], other: Put<M>): Put<M> {
  const { map, handle, mem, keyWords, newWords, valuePtr } = door;
  return (key, value) => {
    if (door.writes === BYTES16 && key === keyWords.bytes && value === newWords.bytes) {
      const from = keyWords.words;
      const words = newWords.words;
      if (from.length === 4 && words.length === 4) {
        mem.reach(valuePtr, 16);
        copy4(mem.i32, valuePtr >>> 2, words, 0);
        const a = from[0] as number;
        const b = from[1] as number;
        const c = from[2] as number;
        const ret = update(map, handle, a, b, c, from[3] as number, valuePtr, 0);
        if (ret === 0) return self;
      }
    }
    return other(key, value);
  };
}

const copy4 = (to: Int32Array, at: number, words: Int32Array, from: number): void => {
  to[at] = words[from] as number;
  to[at + 1] = words[from + 1] as number;
  to[at + 2] = words[from + 2] as number;
  to[at + 3] = words[from + 3] as number;
};

/** Longest match of IPv4 addresses as numbers. */
function matchU32(door: Door, match: CoreExports["map_lpm_match_u32"], other: Get): Get {
  const { map, handle } = door;
  const read = reader(door);
  return (address) => {
    if (door.reads === PREFIX && (isU32(address) || isI32(address))) {
      const ptr = match(map, handle, address) >>> 0;
      if (ptr !== 0) return read(ptr);
    }
    return other(address);
  };
}

/** A map with the methods the shortcuts stand for. */
interface Shortened {
  get: Get;
  getInto: GetInto;
  set: Put<Shortened>;
  delete: Delete;
  /** Of LPM tries. */
  matchU32: Get;
}

/** Gives a map the shortcuts for its keys and values. */
export function takeShortcuts(ofMap: unknown, ofDoor: unknown, core: CoreExports): void {
  const map = ofMap as Shortened;
  const door = ofDoor as Door;
  const { isInline } = door;
  const get = map.get.bind(map);
  const set = map.set.bind(map);
  switch (door.reads) {
    case U32:
      map.get = getU32(door, core, get);
      map.set = setU32(map, door, core.map_put4, set);
      map.delete = deleteU32(door, core.map_delete4, map.delete.bind(map));
      break;
    case U64:
      if (isInline) map.get = getU64(door, core, get);
      map.set = setU64(map, door, core.map_put_u64, set);
      map.delete = deleteU64(door, core.map_delete_u64, map.delete.bind(map));
      break;
    case BYTES16:
      map.get = get16(door, find16(door, core.map_at16), get);
      map.getInto = getInto16(door, find16(door, core.map_at16), map.getInto.bind(map));
      map.set = set16(map, door, core.map_update16, set);
      break;
    case PREFIX:
      map.matchU32 = matchU32(door, core.map_lpm_match_u32, map.matchU32.bind(map));
      break;
  }
}

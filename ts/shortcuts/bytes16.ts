// Keys of 16 bytes.

import { ASK_AT } from "../abi.js";
import { isBytes, wordOf, write16 } from "../byte-words.js";
import type { CoreExports } from "../core.js";
import { ACCESS } from "../door.js";
import type { Door, Find, Get, GetInto, Put } from "./types.js";

// The module's own, as door.ts says.
const NOWHERE = ASK_AT;
const { OPEN } = ACCESS;

/**
 * Keys are 16 bytes. Answers the address of the value, 0 for none, or NOWHERE where the method has to decide. Many programs use
 * one array for all their keys, so the door remembers the words of one that came twice in a row. Other arrays are read byte by
 * byte, and every eighth of them is shown to the door.
 */
export function find16(door: Door, lookup: CoreExports["map_at16"]): Find {
  const { map, handle, keyWords } = door;
  let calls = 0;
  // A function of its own, so that the one below stays small enough to be inlined.
  const findOther = (key: unknown): number => {
    if (door.reads !== OPEN || !isBytes(key, 16)) return NOWHERE;
    calls = (calls + 1) & 7;
    if (calls === 0) keyWords.view(key);
    const c = wordOf(key, 8);
    return lookup(map, handle, wordOf(key, 0), wordOf(key, 4), c, wordOf(key, 12)) >>> 0;
  };
  return (key) => {
    if (door.reads === OPEN && key === keyWords.bytes) {
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
export function get16(door: Door, find: Find, other: Get): Get {
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
export function getInto16(door: Door, find: Find, other: GetInto): GetInto {
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
export function set16<M>(
  self: M,
  door: Door,
  update: CoreExports["map_update16"],
  other: Put<M>,
): Put<M> {
  const { map, handle, mem, keyWords, newWords, valuePtr } = door;
  return (key, value) => {
    if (door.writes === OPEN && key === keyWords.bytes && value === newWords.bytes) {
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

// Keys and values that are numbers, or keys that are bigints of 64 bits: one call into the core does it all (fast_number.ts).

import { ABSENT, ASK } from "../abi.js";
import type { CoreExports } from "../core.js";
import { ACCESS } from "../door.js";
import type { Door, Get, Put } from "./types.js";

// The module's own, as door.ts says.
const NOTHING = ABSENT | 0;
const UNKNOWN = ASK | 0;
const { OPEN } = ACCESS;

// In this order: where a value is an i32 anyway, only its sign is left to be looked at. `>>> 0` would compare doubles.
const isU32 = (value: unknown): value is number =>
  typeof value === "number" && ((value | 0) === value ? value >= 0 : value >>> 0 === value);

/**
 * Keys and values are numbers of 32 bits. Such a value always comes from the core, never from the method: that may return
 * anything, and V8 would then treat every value as anything.
 */
export function getU32(door: Door, core: CoreExports, other: Get): Get {
  const { map, handle } = door;
  const { map_get4: lookup, map_get4_any: lookupMore } = core;
  return (key) => {
    if (door.reads === OPEN && isU32(key)) {
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

/**
 * getU32 for maps that are not inline tables. Not one function that is given its door: where V8 does not inline it, all maps
 * share what was learned about its calls, and a call that leads to two doors takes 24 ns instead of 16.
 */
export function getU32Separate(door: Door, core: CoreExports, other: Get): Get {
  const { map, handle } = door;
  const { map_get4_separate: lookup, map_get4_any: lookupMore } = core;
  return (key) => {
    if (door.reads === OPEN && isU32(key)) {
      const word = lookup(map, handle, key);
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

export function setU32<M>(
  self: M,
  door: Door,
  put: CoreExports["map_put4"],
  other: Put<M>,
): Put<M> {
  const { map, handle } = door;
  return (key, value) => {
    if (door.writes === OPEN && isU32(key) && isU32(value)) {
      if (put(map, handle, key, value, 0) === 0) return self;
    }
    return other(key, value);
  };
}

/**
 * getU32 for keys that are bigints of 64 bits. Whether a key has more bits is seen by cutting it. The result is looked up, and
 * compared with the key only afterwards: a comparison of bigints can be a call, and would hold up the lookup.
 */
export function getU64(door: Door, core: CoreExports, other: Get): Get {
  const { map, handle } = door;
  const { map_get_u64: lookup, map_get_u64_any: lookupMore } = core;
  return (key) => {
    if (door.reads === OPEN) {
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
export function setU64<M>(
  self: M,
  door: Door,
  put: CoreExports["map_put_u64"],
  other: Put<M>,
): Put<M> {
  const { map, handle } = door;
  return (key, value) => {
    if (door.writes === OPEN && isU32(value) && typeof key === "bigint") {
      const cut = BigInt.asUintN(64, key);
      if (cut === key && put(map, handle, cut, value, 0) === 0) return self;
    }
    return other(key, value);
  };
}

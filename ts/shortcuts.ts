// Shortcuts: `get`, `getInto`, `has`, `set` and `delete` of one map, and `matchU32`, as closures that take the place of the
// methods. What a closure refers to is constant to the optimiser where a loop works with one map; a method has to load it from
// the map, again after every call, and what V8 has learned about a method it has learned from all maps. In a program with maps
// of 22 kinds the methods took 35 to 45 ns for lookups of numbers that closures do in 8 to 14 (bench/goals/kinds.mjs).
//
// A map's closures are put together from parts for its keys (shortcuts/keys.ts) and for its values (shortcuts/values.ts).
// Where both are numbers, or both 16 bytes, there are closures for the two together. They do the commonest case only. What
// else may happen, errors included, is left to the method.

import { ASK_AT } from "./abi.js";
import { KIND } from "./codec.js";
import type { CoreExports } from "./core.js";
import { ACCESS, KEY_PATH } from "./door.js";
import { get16, getInto16, find16, set16 } from "./shortcuts/bytes16.js";
import { finder, remover, updater } from "./shortcuts/keys.js";
import { getU32, getU32Separate, getU64, setU32, setU64 } from "./shortcuts/numbers.js";
import type { ByKey, Door, Find, Get, GetInto, Put, Read, Test, Write } from "./shortcuts/types.js";
import { reader, writer } from "./shortcuts/values.js";
import { ENOENT } from "./uapi.js";

// The module's own, as door.ts says.
const NOWHERE = ASK_AT;
const { OPEN } = ACCESS;
const NO_ENTRY = -ENOENT;
/** Bytes of a value that there is a writer for, at most; the window is no smaller. */
const SCALAR_BYTES = 8;

const isWord = (value: unknown): value is number =>
  typeof value === "number" && ((value | 0) === value || value >>> 0 === value);

/** A map with the methods the shortcuts stand for. */
interface Shortened {
  get: Get;
  getInto: GetInto;
  has: Test;
  set: Put<Shortened>;
  delete: Test;
  /** Of LPM tries. */
  matchU32?: Get;
}

/** The methods, of one map. */
type Methods = Pick<Shortened, "get" | "getInto" | "has" | "set" | "delete">;

const getBy =
  (find: Find, read: Read, other: Get): Get =>
  (key) => {
    const ptr = find(key);
    if (ptr > NOWHERE) return read(ptr);
    return ptr === 0 ? undefined : other(key);
  };

const getIntoBy =
  (find: Find, door: Door, other: GetInto): GetInto =>
  (key, out) => {
    const ptr = find(key);
    if (ptr > NOWHERE) return door.readInto(ptr, out);
    return ptr === 0 ? undefined : other(key, out);
  };

const hasBy =
  (find: Find, other: Test): Test =>
  (key) => {
    const ptr = find(key);
    return ptr === NOWHERE ? other(key) : ptr !== 0;
  };

/** Updates by parts; `other` also says what went wrong. */
function setBy(map: Shortened, door: Door, write: Write, update: ByKey, other: Put<Shortened>) {
  const { mem, valuePtr } = door;
  return (key: unknown, value: unknown): Shortened => {
    if (door.writes === OPEN) {
      mem.reach(valuePtr, SCALAR_BYTES);
      if (write(value) && update(key) === 0) return map;
    }
    return other(key, value);
  };
}

const deleteBy =
  (remove: ByKey, other: Test): Test =>
  (key) => {
    const ret = remove(key);
    if (ret === 0) return true;
    return ret === NO_ENTRY ? false : other(key);
  };

/** What is put together from parts, where there are parts for the map's keys and values. */
function methodsOfParts(
  map: Shortened,
  door: Door,
  core: CoreExports,
  by: Methods,
): Partial<Methods> {
  const find = finder(door, core);
  const [write, update, remove] = [writer(door), updater(door, core), remover(door, core)];
  return {
    get: getBy(find, reader(door), by.get),
    getInto: getIntoBy(find, door, by.getInto),
    // To ask whether a key is there is no use in the sense of LRU.
    ...(door.marks ? {} : { has: hasBy(find, by.has) }),
    ...(write && update ? { set: setBy(map, door, write, update, by.set) } : {}),
    ...(remove ? { delete: deleteBy(remove, by.delete) } : {}),
  };
}

/** Longest match of IPv4 addresses as numbers. */
function matchU32(door: Door, match: CoreExports["map_lpm_match_u32"], other: Get): Get {
  const { map, handle } = door;
  const read = reader(door);
  return (address) => {
    if (door.reads === OPEN && isWord(address)) {
      const ptr = match(map, handle, address) >>> 0;
      if (ptr !== 0) return read(ptr);
    }
    return other(address);
  };
}

const isBytes16 = ({ value, valueKind }: Door): boolean =>
  valueKind === KIND.BYTES && value.size === 16;

/** What there is one closure for, keys and values together. */
function methodsOfBoth(
  map: Shortened,
  door: Door,
  core: CoreExports,
  by: Methods,
): Partial<Methods> {
  const { isInline, path } = door;
  if (path === KEY_PATH.U32 && door.isNumeric) {
    return {
      get: isInline ? getU32(door, core, by.get) : getU32Separate(door, core, by.get),
      set: setU32(map, door, core.map_put4, by.set),
    };
  }
  if (path === KEY_PATH.U64 && door.isNumeric) {
    return {
      ...(isInline ? { get: getU64(door, core, by.get) } : {}),
      set: setU64(map, door, core.map_put_u64, by.set),
    };
  }
  if (path === KEY_PATH.BYTES16 && isInline && isBytes16(door)) {
    const find = find16(door, core.map_at16);
    return {
      get: get16(door, find, by.get),
      getInto: getInto16(door, find, by.getInto),
      set: set16(map, door, core.map_update16, by.set),
    };
  }
  return {};
}

const NAMES = ["get", "getInto", "has", "set", "delete"] as const;

/**
 * Gives a map its shortcuts.
 * @param ofClass the methods they stand for; what a class does in its own way is left alone
 */
export function takeShortcuts(
  ofMap: unknown,
  ofClass: unknown,
  ofDoor: unknown,
  core: CoreExports,
): void {
  const [map, methods, door] = [ofMap as Shortened, ofClass as Shortened, ofDoor as Door];
  const bound = Object.fromEntries(NAMES.map((name) => [name, map[name].bind(map)]));
  const by = bound as unknown as Methods;
  const parts = methodsOfParts(map, door, core, by);
  const shortcuts = { ...parts, ...methodsOfBoth(map, door, core, { ...by, ...parts }) };
  for (const name of NAMES) {
    const isPlain = map[name] === methods[name] && shortcuts[name] !== undefined;
    if (isPlain) Object.assign(map, { [name]: shortcuts[name] });
  }
  // A value is read after the core gave the trie's lock back: other threads could have put another there.
  if (map.matchU32 !== undefined && door.key.size === 8 && !door.mem.isShared)
    map.matchU32 = matchU32(door, core.map_lpm_match_u32, map.matchU32.bind(map));
}

// Keys by how they travel (door.ts): lookups, updates and deletions of one map, each with code of its own, which V8 optimises for
// these keys whatever other maps a program has.

import { ASK_AT } from "../abi.js";
import type { CoreExports } from "../core.js";
import { ACCESS, KEY_PATH } from "../door.js";
import { find16 } from "./bytes16.js";
import type { ByKey, Door, Find } from "./types.js";

// The module's own, as door.ts says.
const NOWHERE = ASK_AT;
const { OPEN } = ACCESS;
const REFUSED = 1;
const TWO_32 = 0x1_0000_0000;

const isU32 = (key: unknown): key is number => typeof key === "number" && key >>> 0 === key;
const isI32 = (key: unknown): key is number => typeof key === "number" && (key | 0) === key;
const isU53 = (key: unknown): key is number =>
  typeof key === "number" && key >= 0 && Number.isSafeInteger(key);

/** Lookups. */
export function finder(door: Door, core: CoreExports): Find {
  const { map, handle } = door;
  const { map_lookup4, map_lookup8, map_lookup_u64, array_lookup } = core;
  switch (door.path) {
    case KEY_PATH.U32:
      return (key) =>
        door.reads === OPEN && isU32(key) ? map_lookup4(map, handle, key) >>> 0 : NOWHERE;
    case KEY_PATH.I32:
      return (key) =>
        door.reads === OPEN && isI32(key) ? map_lookup4(map, handle, key) >>> 0 : NOWHERE;
    case KEY_PATH.U53:
      return (key) =>
        door.reads === OPEN && isU53(key)
          ? map_lookup8(map, handle, key, key / TWO_32) >>> 0
          : NOWHERE;
    case KEY_PATH.U64:
      return (key) => {
        if (door.reads !== OPEN || typeof key !== "bigint") return NOWHERE;
        const cut = BigInt.asUintN(64, key);
        return cut === key ? map_lookup_u64(map, handle, cut) >>> 0 : NOWHERE;
      };
    case KEY_PATH.INDEX:
      return (key) =>
        door.reads === OPEN && isU32(key) ? array_lookup(map, handle, key) >>> 0 : NOWHERE;
    case KEY_PATH.BYTES16:
      return find16(door, door.isInline ? core.map_at16 : core.map_lookup16);
    default:
      return (key) => {
        const ptr = door.find(key);
        // Nothing was found, or the fd may not be read, which the caller's code in a key may have brought about just now.
        return ptr === 0 && door.reads !== OPEN ? NOWHERE : ptr;
      };
  }
}

/** Updates (BPF_ANY) with the value in the window, 8 bytes at most; none for keys that are encoded. */
export function updater(door: Door, core: CoreExports): ByKey | undefined {
  const { map, handle, mem, keyPtr, valuePtr } = door;
  const { map_update, map_put4, map_update8, map_put_u64 } = core;
  const at = valuePtr >>> 2;
  const isWide = door.value.size > 4;
  const high = () => (isWide ? (mem.i32[at + 1] as number) : 0);
  switch (door.path) {
    case KEY_PATH.U32:
      return (key) =>
        isU32(key) ? map_put4(map, handle, key, mem.i32[at] as number, high()) : REFUSED;
    case KEY_PATH.I32:
      return (key) =>
        isI32(key) ? map_put4(map, handle, key, mem.i32[at] as number, high()) : REFUSED;
    case KEY_PATH.U53:
      return (key) =>
        isU53(key) ? map_update8(map, handle, key, key / TWO_32, valuePtr, 0) : REFUSED;
    case KEY_PATH.U64:
      return (key) => {
        if (typeof key !== "bigint") return REFUSED;
        const cut = BigInt.asUintN(64, key);
        if (cut !== key) return REFUSED;
        return map_put_u64(map, handle, cut, mem.i32[at] as number, high());
      };
    case KEY_PATH.INDEX:
      return (key) => {
        if (!isU32(key)) return REFUSED;
        mem.u32[keyPtr >>> 2] = key;
        return map_update(handle, keyPtr, valuePtr, 0);
      };
    default:
      return undefined;
  }
}

/** Deletions; none for keys that are encoded. */
export function remover(door: Door, core: CoreExports): ByKey | undefined {
  const { map, handle } = door;
  const { map_delete4, map_delete8, map_delete_u64 } = core;
  switch (door.path) {
    case KEY_PATH.U32:
      return (key) =>
        door.writes === OPEN && isU32(key) ? map_delete4(map, handle, key) : REFUSED;
    case KEY_PATH.I32:
      return (key) =>
        door.writes === OPEN && isI32(key) ? map_delete4(map, handle, key) : REFUSED;
    case KEY_PATH.U53:
      return (key) =>
        door.writes === OPEN && isU53(key) ? map_delete8(map, handle, key, key / TWO_32) : REFUSED;
    case KEY_PATH.U64:
      return (key) => {
        if (door.writes !== OPEN || typeof key !== "bigint") return REFUSED;
        const cut = BigInt.asUintN(64, key);
        return cut === key ? map_delete_u64(map, handle, cut) : REFUSED;
      };
    default:
      return undefined;
  }
}

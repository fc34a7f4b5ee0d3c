// Calling back into the program: bpf_for_each_map_elem, bpf_user_ringbuf_drain.
//
// Where a callback lives is the business of whoever runs the program; the core passes its number (what the program gave
// as callback_fn) on to one dispatcher. That is the host's import env.callback or, so that a machine compiled to Wasm is
// called without JavaScript in between, a function in a slot of this instance's table. Nobody holds a lock meanwhile, and
// the callback may do anything, closing the map included.

import { callback as hostCallback } from "./lib/env";
import { KEYS_BYTES, SCRATCH_KEYS, scratchPtr } from "./kernel";
import { BpfMap, mapByHandle } from "./map";

/** This instance's table slot of the dispatcher; 0: the host's import. */
let dispatcherSlot: u32 = 0;

/** @param slot index in the exported table of a function (i64 fn, i64 r1..r4) -> i64; 0: the host's import */
export function setCallbackSlot(slot: u32): void {
  dispatcherSlot = slot;
}

/** Calls the callback `fn` of the program with its registers. @returns r0 */
export function callBack(fn: u64, r1: u64, r2: u64, r3: u64, r4: u64): u64 {
  if (dispatcherSlot == 0) return hostCallback(fn, r1, r2, r3, r4);
  return call_indirect<u64>(dispatcherSlot, fn, r1, r2, r3, r4);
}

// ---- keys ---------------------------------------------------------------------------------------------------------
// A key is no value, and an array's key lies in no map at all; both may be read by a program while a callback on the element
// runs. Callbacks nest (a program has at most eight frames), so each level has a place of its own in the scratch area.
//
//   Level, 24 bytes:   | key (address) | its size | room for a key that does not lie in its map |

const KEY_LEVELS: u32 = 8;
const LEVEL_BYTES: u32 = KEYS_BYTES / KEY_LEVELS;
let keyLevel: u32 = 0;

function levelAt(level: u32): usize {
  return scratchPtr() + SCRATCH_KEYS + (level % KEY_LEVELS) * LEVEL_BYTES;
}

/** How many of this instance's callbacks on elements run. */
export function callbackLevel(): u32 {
  return keyLevel;
}

/** The innermost of them ends. */
export function leaveLevel(): void {
  keyLevel--;
  store<u32>(levelAt(keyLevel), 0, 4);
}

/** Room for a key of 16 bytes at most on which callBackOnElem is called next. */
export function keyWord(): usize {
  return levelAt(keyLevel) + 8;
}

/**
 * Calls the callback on an element; until it returns, the program may read the key.
 * @returns true: go on; it answered 0, and did not end the map
 */
export function callBackOnElem(fn: u64, map: BpfMap, key: usize, value: usize, ctx: u64): bool {
  const handle = map.handle;
  const level = levelAt(keyLevel++);
  store<u32>(level, key);
  store<u32>(level, map.keySize, 4);
  const r0 = callBack(fn, handle, key, value, ctx);
  leaveLevel();
  return r0 == 0 && mapByHandle(handle) != 0;
}

/** Is [addr, addr + len) within the key of an element on which a callback runs? */
export function isKeyOfCallback(addr: u32, len: u32): bool {
  if (keyLevel == 0) return false;
  for (let level: u32 = 0; level < KEY_LEVELS; level++) {
    const at = levelAt(level);
    const offset = addr - load<u32>(at);
    const size = load<u32>(at, 4);
    if (offset < size && len <= size - offset) return true;
  }
  return false;
}

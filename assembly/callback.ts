// Calling back into the program: bpf_for_each_map_elem, bpf_user_ringbuf_drain.
//
// Where a callback lives is the business of whoever runs the program; the core passes its number (what the program gave
// as callback_fn) on to one dispatcher. That is the host's import env.callback or, so that a machine compiled to Wasm is
// called without JavaScript in between, a function in a slot of this instance's table. Nobody holds a lock meanwhile, and
// the callback may do anything, closing the map included.

import { callback as hostCallback } from "./lib/env";
import { SCRATCH_KEY_WORDS, scratchPtr } from "./kernel";

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

// ---- keys that lie in no map ----------------------------------------------------------------------------------------
// An array's key exists only while its callback runs. Callbacks nest (a program has at most eight frames), so each level
// has a word of its own in the scratch area. A dispatcher that throws leaves a level behind, which costs nothing.

const KEY_LEVELS: u32 = 8;
let keyLevel: u32 = 0;

/** The word for the keys of one walk; leaveKeyWord gives it back. */
export function enterKeyWord(): usize {
  return scratchPtr() + SCRATCH_KEY_WORDS + (keyLevel++ % KEY_LEVELS) * 8;
}

export function leaveKeyWord(): void {
  keyLevel--;
}

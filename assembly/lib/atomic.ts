// Words that threads share without a lock: positions and headers of ring buffers. In the plain build they are plain words.

import { SHARED } from "./lock";

/** What was written before the store of this word is visible after it. */
export function loadAcquire<T>(word: usize): T {
  return SHARED ? atomic.load<T>(word) : load<T>(word);
}

/** Publishes what was written before. */
export function storeRelease<T>(word: usize, value: T): void {
  if (SHARED) atomic.store<T>(word, value);
  else store<T>(word, value);
}

/** Sets bits of a word. @returns the word before */
export function fetchOr(word: usize, bits: u32): u32 {
  if (SHARED) return atomic.or<u32>(word, bits);
  const old = load<u32>(word);
  store<u32>(word, old | bits);
  return old;
}

/** Clears all but `bits` of a word. @returns the word before */
export function fetchAnd(word: usize, bits: u32): u32 {
  if (SHARED) return atomic.and<u32>(word, bits);
  const old = load<u32>(word);
  store<u32>(word, old & bits);
  return old;
}

/** Counts a word up and wakes every thread that waits on it (memory.atomic.wait32, Atomics.wait). */
export function countAndNotify(word: usize): void {
  if (SHARED) {
    atomic.add<u32>(word, 1);
    atomic.notify(word, -1);
  } else {
    store<u32>(word, load<u32>(word) + 1);
  }
}

// Reference counts, the kernel's refcount_t: a u32 in linear memory. Whoever drops the last one ends the object; from then on
// nobody gets one any more, whatever list or table it is still on.

import { SHARED } from "./lock";

/** One more: for a caller that has a reference, or keeps the last one from being dropped. */
export function refcountInc(word: usize): void {
  if (SHARED) atomic.add<u32>(word, 1);
  else store<u32>(word, load<u32>(word) + 1);
}

/** @returns was that the last one? */
export function refcountDecAndTest(word: usize): bool {
  if (SHARED) return atomic.sub<u32>(word, 1) == 1;
  const left = load<u32>(word) - 1;
  store<u32>(word, left);
  return left == 0;
}

/** One more of what was found on a list. @returns false: it is ending */
export function refcountIncNotZero(word: usize): bool {
  let count = load<u32>(word);
  while (count != 0) {
    if (!SHARED) {
      store<u32>(word, count + 1);
      return true;
    }
    const seen = atomic.cmpxchg<u32>(word, count, count + 1);
    if (seen == count) return true;
    count = seen;
  }
  return false;
}

// Which ranges of a memory are held by the live runtimes of this package: a runtime that is given an arena of another one is
// refused, instead of both destroying each other. Known are arenas, and the root of every other runtime. Not known are the
// runtimes of other threads and of other copies of the package, nor what a heap or the host's allocator hands out.

import type { Arena } from "./options.js";

interface HeldRange extends Arena {
  /** A runtime that nobody can reach any more holds nothing. */
  readonly owner: WeakRef<object>;
}

/** The one table of the module: ranges are a property of a memory, whoever works in it. */
const heldRanges = new WeakMap<WebAssembly.Memory, Set<HeldRange>>();

/** @throws {RangeError} another runtime holds a part of the range */
export function expectNotHeld(memory: WebAssembly.Memory, { base, limit }: Arena): void {
  for (const held of heldRanges.get(memory) ?? []) {
    if (held.base < limit && base < held.limit && held.owner.deref() !== undefined) {
      throw new RangeError(
        `arena ${base}..${limit} overlaps another runtime at ${held.base}..${held.limit}`,
      );
    }
  }
}

/** @returns ends it */
export function holdRange(memory: WebAssembly.Memory, range: Arena, owner: object): () => void {
  const ranges = heldRanges.get(memory) ?? new Set();
  heldRanges.set(memory, ranges);
  const held = { base: range.base, limit: range.limit, owner: new WeakRef(owner) };
  ranges.add(held);
  return () => void ranges.delete(held);
}

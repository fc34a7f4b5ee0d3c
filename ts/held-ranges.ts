// Which ranges of a memory the live runtimes of this package hold, so that two that were given the same range are told,
// instead of destroying each other. Seen are arenas, and of every runtime its root; not seen are runtimes of other
// threads and of other copies of the package, and what a heap or the host's allocator hands out.

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

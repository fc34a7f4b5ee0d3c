// Which ranges of a memory are held by the live runtimes of this package: a runtime that is given an arena of another one is
// refused, instead of both destroying each other. Known are arenas, and the root of every other runtime. Not known are the
// runtimes of other threads and of other copies of the package, nor what a heap or the host's allocator hands out.

import type { Arena } from "./options.js";

interface HeldRange extends Arena {
  /** A runtime that nobody can reach any more holds nothing: this is a function that only the runtime keeps alive. */
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

/**
 * What this returns has to be kept by the runtime, for which it stands in the table: what a WeakRef was made of lives until the
 * job ends, and a loop that makes and ends runtimes must not keep all their memories.
 * @returns ends it
 */
export function holdRange(memory: WebAssembly.Memory, { base, limit }: Arena): () => void {
  const ranges = heldRanges.get(memory) ?? new Set();
  heldRanges.set(memory, ranges);
  const release = (): void => void ranges.delete(held);
  const held: HeldRange = { base, limit, owner: new WeakRef(release) };
  ranges.add(held);
  return release;
}

// What the debug build exports beyond the others: walkers for its invariants, failing allocations.

import { expect } from "vitest";
import type { Runtime } from "./builds.js";

/** Exports of the debug build's second entry. */
export interface DebugExports {
  check_map(handle: number): number;
  displaced_elems(handle: number): number;
  check_heap(): number;
  check_kernel(): number;
  set_next_map_id(id: number): void;
  fail_after(count: number): void;
}

/** The debug exports of a runtime; undefined on the other builds. */
export function debugExports(rt: Runtime): DebugExports | undefined {
  const exports: object = rt.exports;
  return "check_map" in exports ? (exports as DebugExports) : undefined;
}

/** Walks the allocator, the tables, and the maps behind `fds`; does nothing on builds that cannot. */
export function expectSound(rt: Runtime, ...fds: readonly number[]): void {
  const debug = debugExports(rt);
  if (debug === undefined) return;
  expect(debug.check_heap(), "check_heap").toBe(0);
  expect(debug.check_kernel(), "check_kernel").toBe(0);
  for (const fd of fds) {
    expect(debug.check_map(rt.exports.bpf_map_by_fd(fd)), `check_map of fd ${fd}`).toBe(0);
  }
}

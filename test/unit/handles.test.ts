// Handles: numbers that programs name maps by. One that has ended, or that never was one, names nothing.

import { afterEach, beforeEach, expect, it } from "vitest";
import { u32 } from "../../ts/index.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { peek, place } from "../support/raw.js";

/** Entries of a new kernel's table; entry 0 is never used. */
const ENTRIES = 64;
const GENERATIONS = 2047;

describeEachBuild("handles", (build) => {
  let rt: Runtime;
  let key: number;

  beforeEach(async () => {
    rt = await build.createRuntime();
    key = place(rt, new Uint8Array(8));
  });
  afterEach(() => rt.dispose());

  const array = () => rt.createMap({ type: "array", value: u32, maxEntries: 1 });
  /** A map that the lookups have a shortcut for. */
  const small = () => rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 1 }).set(0, 7);
  const lookup = (handle: number): number => rt.exports.bpf_map_lookup_elem(handle, key);

  it("an entry of the table has 2047 of them, one after the other", () => {
    // All others are taken.
    const others = Array.from({ length: ENTRIES - 2 }, array);
    const seen: number[] = [];
    for (let i = 0; i < GENERATIONS; i++) {
      const map = i % 2 === 0 ? small() : array();
      const handle = rt.mapHandle(map.fd);
      expect(lookup(handle) !== 0 && handle > 0).toBe(true);
      seen.push(handle);
      map.close();
      expect(lookup(handle)).toBe(0);
    }
    expect(new Set(seen).size).toBe(GENERATIONS);
    expect(seen[0]).toBeGreaterThanOrEqual(1 << 24);
    const last = small();
    expect(rt.mapHandle(last.fd)).toBe(seen[0]);
    expect(seen.filter((handle) => lookup(handle) !== 0)).toEqual([seen[0]]);
    expect(others.every((map) => lookup(rt.mapHandle(map.fd)) !== 0)).toBe(true);
  });

  it("stay when the table grows, and strangers stay strangers", () => {
    const maps = Array.from({ length: 5 * ENTRIES }, (_, i) => (i % 2 === 0 ? small() : array()));
    const handles = maps.map(({ fd }) => rt.mapHandle(fd));
    expect(new Set(handles).size).toBe(maps.length);
    expect(handles.every((handle) => lookup(handle) !== 0)).toBe(true);
    for (const handle of [0, 1, 15, 16, 1 << 24, 0x80000000, 0xffffffff]) {
      expect(lookup(handle), String(handle)).toBe(0);
    }
    for (let bit = 0; bit < 32; bit++) {
      const strange = handles.map((handle) => (handle ^ (1 << bit)) >>> 0);
      const found = strange.filter((handle) => lookup(handle) !== 0);
      expect(found.every((handle) => handles.includes(handle))).toBe(true);
    }
    for (const map of maps) map.close();
    expect(handles.some((handle) => lookup(handle) !== 0)).toBe(false);
    const again = maps.map(() => rt.mapHandle(small().fd));
    expect(again.some((handle) => handles.includes(handle))).toBe(false);
  });

  it("a key may be the last word of the memory, also when the host has made it grow", () => {
    const handle = rt.mapHandle(small().fd);
    for (let round = 0; round < 3; round++) {
      const bytes = rt.memory.buffer.byteLength;
      new DataView(rt.memory.buffer).setUint32(bytes - 4, 0, true);
      const found = lookup(handle);
      expect(rt.exports.bpf_map_lookup_elem(handle, 0)).toBe(0);
      expect(rt.exports.bpf_map_lookup_elem(handle, bytes - 4)).toBe(found);
      for (let near = bytes - 3; near < bytes + 4; near++) {
        expect(rt.exports.bpf_map_lookup_elem(handle, near)).toBe(0);
      }
      expect(rt.exports.bpf_map_lookup_elem(handle, -1)).toBe(0);
      expect(peek(rt, found, 4)).toEqual(Uint8Array.of(7, 0, 0, 0));
      rt.memory.grow(1);
    }
  });
});

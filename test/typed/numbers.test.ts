// Numbers and bytes on the shortest paths of the typed maps: what does not fit them must come out the same.

import { expect, it } from "vitest";
import { bytes, i32, u32, u64 } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";

const EDGES = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
const WIDE = [...EDGES, 2 ** 32, 2 ** 32 + 1, 2 ** 52, Number.MAX_SAFE_INTEGER];

describeEachBuild("numbers and bytes", (build) => {
  for (const type of ["hash", "lru_hash"] as const) {
    it(`${type}: u32 values of all sizes`, async () => {
      using rt = await build.createRuntime();
      const map = rt.createMap({ type, key: u32, value: u32, maxEntries: 64 });
      for (const edge of EDGES) map.set(edge, edge);
      for (const edge of EDGES) expect(map.get(edge)).toBe(edge);
      expect(map.get(2)).toBeUndefined();
      expect(() => map.set(1, 2 ** 32)).toThrow(RangeError);
      expect(() => map.get(-1)).toThrow(RangeError);
      expect(() => map.get(0.5)).toThrow(RangeError);
      expect(() => map.get("1" as never)).toThrow(TypeError);
      expect(map.get(1)).toBe(1);
    });

    it(`${type}: u64 values as numbers, u32 and u64 keys`, async () => {
      using rt = await build.createRuntime();
      const narrow = rt.createMap({ type, key: u32, value: u64.asNumber, maxEntries: 64 });
      const wide = rt.createMap({ type, key: u64, value: u64.asNumber, maxEntries: 64 });
      WIDE.forEach((edge, i) => {
        narrow.set(i, edge);
        wide.set(BigInt(edge) * 2048n, edge);
      });
      WIDE.forEach((edge, i) => {
        expect(narrow.get(i)).toBe(edge);
        expect(wide.get(BigInt(edge) * 2048n)).toBe(edge);
      });
      // A smaller value in the place of a larger one clears its upper half.
      narrow.set(WIDE.length - 1, 7);
      expect(narrow.get(WIDE.length - 1)).toBe(7);
      expect(wide.get(3n)).toBeUndefined();
      for (const key of [-1n, 1n << 64n, (1n << 64n) + 2048n]) {
        expect(() => wide.get(key)).toThrow(RangeError);
        expect(() => wide.set(key, 1)).toThrow(RangeError);
      }
    });
  }

  it("i32 keys, u64 keys as numbers", async () => {
    using rt = await build.createRuntime();
    const signed = rt.createMap({ type: "hash", key: i32, value: u32, maxEntries: 64 });
    const wide = rt.createMap({ type: "hash", key: u64.asNumber, value: u32, maxEntries: 64 });
    const negatives = EDGES.map((edge) => edge | 0);
    for (const [i, edge] of negatives.entries()) signed.set(edge, i);
    for (const [i, edge] of WIDE.entries()) wide.set(edge, i);
    expect(negatives.map((edge) => signed.get(edge))).toEqual([0, 1, 2, 3, 4, 5]);
    expect(WIDE.map((edge) => wide.get(edge))).toEqual([...WIDE.keys()]);
    expect([...wide.keys()].toSorted((a, b) => a - b)).toEqual(WIDE);
    expect(() => signed.get(0x8000_0000)).toThrow(RangeError);
    for (const key of [-1, 2 ** 53, 0.5, NaN]) {
      expect(() => wide.get(key)).toThrow(RangeError);
      expect(() => wide.set(key, 1)).toThrow(RangeError);
      expect(() => wide.delete(key)).toThrow(RangeError);
    }
    expect(wide.delete(2 ** 32)).toBe(true);
    expect(wide.get(2 ** 32)).toBeUndefined();
    expect(wide.get(0)).toBe(0);
  });

  it("a u64 value beyond 2^53 is an error when read as a number, not a wrong one", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries: 4 });
    map.set(1, 5);
    const ptr = rt.exports.map_lookup4(
      rt.exports.map_by_handle(rt.exports.bpf_map_by_fd(map.fd)),
      rt.exports.bpf_map_by_fd(map.fd),
      1,
    );
    new BigUint64Array(rt.memory.buffer)[ptr >>> 3] = 1n << 60n;
    expect(() => map.get(1)).toThrow(RangeError);
  });

  it("16-byte keys and values: one array for all, many arrays, unaligned ones", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 64 });
    const key = new Uint8Array(16);
    const out = new Uint8Array(16);
    const unaligned = new Uint8Array(new ArrayBuffer(32), 3, 16);
    for (let i = 0; i < 32; i++) {
      key.fill(i);
      map.set(
        key,
        key.map((byte, at) => byte ^ at),
      );
    }
    for (let i = 0; i < 32; i++) {
      const expected = new Uint8Array(16).map((_, at) => i ^ at);
      for (const asked of [key, unaligned, new Uint8Array(16), key, key]) {
        asked.fill(i);
        expect(map.get(asked)).toEqual(expected);
        expect(map.getInto(asked, out)).toBe(out);
        expect(out).toEqual(expected);
        expect(map.getInto(asked, unaligned)).toEqual(expected);
        asked.fill(i);
        expect(map.has(asked)).toBe(true);
      }
    }
    // What came back belongs to the caller: a later read does not change it.
    const first = map.get(key.fill(1));
    map.set(key, key);
    expect(first).toEqual(new Uint8Array(16).map((_, at) => 1 ^ at));
    key.fill(99);
    expect(map.get(key)).toBeUndefined();
    expect(() => map.get(new Uint8Array(15))).toThrow(RangeError);
    expect(() => map.getInto(key.fill(1), new Uint8Array(15))).toThrow(TypeError);
  });
});

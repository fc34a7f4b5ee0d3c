// Per-CPU maps: one value a CPU, at once or one by one.

import { expect, test } from "vitest";
import { bool, bytes, struct, u32, u64, u8, union } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

const TYPES = ["percpu_hash", "lru_percpu_hash", "percpu_array"] as const;

describeEachBuild("typed maps: per-CPU", (build) => {
  test("a value is an array with one element a CPU", async () => {
    using rt = await build.createRuntime({ cpus: 3 });
    for (const type of TYPES) {
      const map = rt.createMap({ type, key: u32, value: u64, maxEntries: 4 });
      map.set(1, [1n, 2n, 3n]);
      expect(map.get(1)).toEqual([1n, 2n, 3n]);
      expect(map.peek(1)).toEqual([1n, 2n, 3n]);
      expect(map.lookup(1)).toEqual([1n, 2n, 3n]);
      expect([map.sum(1), map.reduce(1, (max, v) => (v > max ? v : max), 0n)]).toEqual([6n, 3n]);
      expect([0, 1, 2].map((cpu) => map.getOn(1, cpu))).toEqual([1n, 2n, 3n]);
      const out: bigint[] = [];
      expect(map.getInto(1, out)).toBe(out);
      expect(out).toEqual([1n, 2n, 3n]);
      expect(new Map(map.entries()).get(1)).toEqual([1n, 2n, 3n]);
      expect(map.get(9)).toBeUndefined();
      expect(map.getInto(9, out)).toBeUndefined();
      expect([map.sum(9), map.getOn(9, 0), map.refOn(9, 0)]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect(() => map.set(1, [1n])).toThrow(RangeError);
      map.close();
    }
  });

  test("an iteration shows keys that their codec reads and does not write", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    for (const type of ["percpu_hash", "lru_percpu_hash"] as const) {
      const spec = { type, value: u8, maxEntries: 4 } as const;
      const address = rt.createMap({ ...spec, key: union({ v4: u32, v6: bytes(16) }) });
      address.set({ v4: 7 }, [1, 2]);
      const v6 = new Uint8Array(16);
      v6[0] = 7;
      expect([...address]).toEqual([[{ v4: 7, v6 }, [1, 2]]]);
      // A byte that another program wrote: true is written as 1.
      const raw = rt.createMap({ ...spec, key: u8 });
      const flag = rt.mapFromFd(raw.fd, { type, key: bool, value: u8 });
      raw.set(2, [3, 4]);
      const seen: unknown[] = [];
      flag.forEach((value, key) => seen.push([key, value]));
      expect([...flag, ...seen]).toEqual([
        [true, [3, 4]],
        [true, [3, 4]],
      ]);
      expect([...flag.values()]).toEqual([[3, 4]]);
    }
  });

  test("refOn is the value of one CPU in place", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    const Stats = struct({ packets: u64, ttl: u8 });
    for (const type of TYPES) {
      const map = rt.createMap({ type, key: u32, value: Stats, maxEntries: 4 });
      map.set(1, [
        { packets: 1n, ttl: 1 },
        { packets: 2n, ttl: 2 },
      ]);
      const ref = map.refOn(1, 1);
      ref?.add("packets", 5);
      map.refOn(1, 0, ref);
      ref?.add("ttl", 255);
      expect(map.get(1)).toEqual([
        { packets: 1n, ttl: 0 },
        { packets: 7n, ttl: 2 },
      ]);
      expect(() => map.ref()).toThrow("use refOn");
      map.close();
    }
  });

  test("a CPU that is none is a RangeError", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    for (const type of TYPES) {
      const map = rt.createMap({ type, key: u32, value: u32, maxEntries: 4 });
      for (const cpu of [-1, 2, 0.5, NaN, "0" as never]) {
        expect(() => map.getOn(0, cpu)).toThrow(RangeError);
        expect(() => map.refOn(0, cpu)).toThrow(RangeError);
      }
      map.close();
      expect(codeOf(() => map.getOn(0, 0))).toBe("EBADF");
    }
  });

  test("batches and typed arrays move all CPUs' values", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    for (const type of TYPES) {
      const map = rt.createMap({ type, key: u32, value: u32, maxEntries: 4 });
      map.updateBatch([
        [0, [1, 2]],
        [3, [3, 4]],
      ]);
      const entries = new Map(map.lookupBatch(map.batchCursor(), 4));
      expect([entries.get(0), entries.get(3)]).toEqual([
        [1, 2],
        [3, 4],
      ]);
      // A slot of a u32 has 8 bytes.
      const out = new Uint32Array(12).fill(9);
      expect(map.getMany(Uint32Array.of(3, 99, 0), out)).toBe(2);
      expect([...out]).toEqual([3, 0, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0]);
      map.setMany(Uint32Array.of(3), Uint32Array.of(7, 0, 8, 0));
      expect(map.get(3)).toEqual([7, 8]);
      map.close();
    }
  });

  test("sum refuses values that are no numbers", async () => {
    using rt = await build.createRuntime();
    const value = struct({ packets: u64 });
    const map = rt.createMap({ type: "percpu_array", value, maxEntries: 1 });
    expect(() => map.sum(0)).toThrow("use reduce");
  });
});

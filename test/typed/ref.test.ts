// Live views of values: reading, writing and adding where they lie.

import { expect, test } from "vitest";
import { bool, i16, i32, i64, i8, struct, u16, u16be, u32, u64, u8 } from "../../ts/index.js";
import type { Codec, ValueRef } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";

const Stats = struct({ packets: u64, bytes: u64.asNumber, ttl: u8, port: u16be });

describeEachBuild("typed maps: refs", (build) => {
  test("a ref is the value itself, not a copy", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: Stats, maxEntries: 4 });
    map.set(1, { packets: 1n, bytes: 60, ttl: 64, port: 80 });
    const ref = map.ref(1) as ValueRef<{
      packets: bigint;
      bytes: number;
      ttl: number;
      port: number;
    }>;
    ref.add("packets", 1);
    ref.add("bytes", 40);
    ref.fields.port = 443;
    expect(map.get(1)).toEqual({ packets: 2n, bytes: 100, ttl: 64, port: 443 });
    ref.value = { packets: 7n, bytes: 8, ttl: 9, port: 10 };
    expect(map.get(1)).toEqual(ref.value);
    expect([ref.fields.packets, ref.fields.bytes]).toEqual([7n, 8]);
    expect(rt.exports.bpf_valid_range(ref.ptr, Stats.size)).toBe(1);
    expect(map.ref(2)).toBeUndefined();
  });

  test("into takes an existing ref", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "array", value: u64, maxEntries: 4 });
    const ref = map.ref(0) as ValueRef<bigint>;
    for (let index = 0; index < 4; index++) {
      expect(map.ref(index, ref)).toBe(ref);
      ref.add(index);
    }
    expect([...map.values()]).toEqual([0n, 1n, 2n, 3n]);
    expect(map.ref(4, ref)).toBeUndefined();
  });

  test("add wraps around in every kind of integer, as in C", async () => {
    using rt = await build.createRuntime();
    const kinds: [Codec<number, number> | Codec<bigint, bigint>, number, boolean][] = [
      [u8, 8, false],
      [i8, 8, true],
      [u16, 16, false],
      [i16, 16, true],
      [u32, 32, false],
      [i32, 32, true],
      [u64, 64, false],
      [i64, 64, true],
    ];
    const amounts = [
      1,
      -1,
      127,
      255,
      2 ** 31,
      -(2 ** 31),
      2 ** 32 + 5,
      2 ** 53 - 1,
      -(2 ** 53) + 1,
      1n,
      -1n,
      2n ** 63n,
      2n ** 64n - 1n,
      -(2n ** 63n),
      2n ** 70n + 3n,
    ];
    for (const [codec, width, isSigned] of kinds) {
      const map = rt.createMap({ type: "array", value: codec as Codec<number>, maxEntries: 1 });
      const ref = map.ref(0) as ValueRef<number>;
      let model = 0n;
      for (const amount of [...amounts, ...amounts]) {
        ref.add(amount);
        model += BigInt(amount);
        const expected = isSigned ? BigInt.asIntN(width, model) : BigInt.asUintN(width, model);
        expect([width, amount, BigInt(ref.value)]).toEqual([width, amount, expected]);
      }
      map.close();
    }
  });

  test("add refuses what is no integer, and changes nothing", async () => {
    using rt = await build.createRuntime();
    const Packed = struct({ pad: u8, count: u64, word: u32, half: u16 }, { packed: true });
    const packed = rt.createMap({ type: "array", value: Packed, maxEntries: 1 }).ref(0);
    for (const field of ["count", "word", "half"] as const) {
      expect(() => packed?.add(field, 1)).toThrow("not aligned");
    }
    const map = rt.createMap({ type: "array", value: Stats, maxEntries: 1 });
    const ref = map.ref(0);
    expect(() => ref?.add("port", 1)).toThrow("not an integer in host byte order");
    expect(() => ref?.add("nothing" as never, 1)).toThrow('no integer field "nothing"');
    expect(() => ref?.add(1 as never)).toThrow("not an integer in host byte order");
    for (const amount of [0.5, NaN, Infinity, 2 ** 53, undefined, "1"]) {
      expect(() => ref?.add("packets", amount as never)).toThrow(TypeError);
      expect(() => ref?.add("ttl", amount as never)).toThrow(TypeError);
    }
    const flag = rt.createMap({ type: "array", value: bool, maxEntries: 1 }).ref(0);
    expect(() => flag?.add(1 as never)).toThrow(TypeError);
    expect(() => flag?.fields).toThrow(TypeError);
    expect(map.get(0)).toEqual({ packets: 0n, bytes: 0, ttl: 0, port: 0 });
  });

  test("a ref on an LRU map is a use of the entry", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "lru_hash", key: u32, value: u32, maxEntries: 128 });
    for (let key = 0; key < 128; key++) map.set(key, key);
    map.ref(0);
    for (let key = 1000; key < 1064; key++) map.set(key, key);
    expect(map.has(0)).toBe(true);
  });
});

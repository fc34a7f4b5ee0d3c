// The typed maps as Map and as the kernel: reading and writing single elements.

import { expect, test } from "vitest";
import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_WRONLY,
  BPF_NOEXIST,
  bytes,
  cstring,
  f64,
  i32,
  i64,
  ipv4,
  struct,
  u16be,
  u32,
  u64,
  u8,
} from "../../ts/index.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

const Flow = struct({ src: ipv4, port: u16be });
const Stats = struct({ packets: u64, bytes: u64.asNumber });

describeEachBuild("typed maps: single elements", (build) => {
  test("get, set, has, delete and size answer as Map does", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 10 });
    expect(map.set(1, 10n).set(2, 20n)).toBe(map);
    expect(map.get(1)).toBe(10n);
    expect(map.get(3)).toBeUndefined();
    expect([map.has(2), map.has(3), map.size]).toEqual([true, false, 2]);
    expect([map.delete(2), map.delete(2), map.size]).toEqual([true, false, 1]);
    map.clear();
    expect([map.size, map.get(1)]).toEqual([0, undefined]);
  });

  test("keys of every size and kind come back as they went in", async () => {
    using rt = await build.createRuntime();
    const cases: [Parameters<typeof rt.createMap>[0]["key"], unknown, unknown][] = [
      [u8, 7, 8],
      [u16be, 7, 0x700],
      [u32, 0xffffffff, 0],
      [i32, -1, 1],
      [u64, 2n ** 64n - 1n, 0n],
      [u64.asNumber, 2 ** 53 - 1, 0],
      [i64, -(2n ** 63n), 1n],
      [f64, 0.5, -Infinity],
      [cstring(16), "one", "two"],
      [bytes(16), new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)],
      [bytes(3), Uint8Array.of(1, 2, 3), Uint8Array.of(3, 2, 1)],
      [bytes(40), new Uint8Array(40).fill(1), new Uint8Array(40).fill(2)],
      [Flow, { src: "10.0.0.1", port: 80 }, { src: "10.0.0.1", port: 81 }],
    ];
    for (const [key, first, second] of cases) {
      const spec = { type: "hash", key: key as never, value: u32, maxEntries: 4 } as const;
      const map = rt.createMap(spec);
      map.set(first as never, 1).set(second as never, 2);
      expect([map.get(first as never), map.get(second as never)]).toEqual([1, 2]);
      expect(new Set([...map.keys()].map(String)).size).toBeGreaterThan(0);
      expect([...map.keys()]).toEqual(expect.arrayContaining([first, second]));
      expect(map.delete(first as never)).toBe(true);
      expect([map.has(first as never), map.has(second as never)]).toEqual([false, true]);
      map.close();
    }
  });

  test("values of every kind come back as they went in", async () => {
    using rt = await build.createRuntime();
    const cases: [Parameters<typeof rt.createMap>[0]["value"], unknown][] = [
      [u8, 255],
      [u32, 0xffffffff],
      [i32, -5],
      [u64, 2n ** 64n - 1n],
      [u64.asNumber, 2 ** 53 - 1],
      [i64.asNumber, -(2 ** 53) + 1],
      [f64, -0.25],
      [bytes(5), Uint8Array.of(1, 2, 3, 4, 5)],
      [Stats, { packets: 3n, bytes: 180 }],
    ];
    for (const type of ["hash", "lru_hash", "array"] as const) {
      for (const [value, sample] of cases) {
        const spec = { type, key: u32, value: value as never, maxEntries: 4 } as const;
        const map = rt.createMap(spec);
        map.set(1, sample as never);
        expect([map.get(1), map.peek(1), map.lookup(1)]).toEqual([sample, sample, sample]);
        map.close();
      }
    }
  });

  test("a value that asNumber cannot give is a RangeError, and others are still read", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries: 2 });
    map.set(1, 1);
    map.ref(1)?.add(2n ** 60n);
    expect(() => map.get(1)).toThrow(RangeError);
    expect(map.set(1, 2).get(1)).toBe(2);
  });

  test("a full map says its name and maxEntries, and stays as it was", async () => {
    using rt = await build.createRuntime();
    const spec = { type: "hash", key: u32, value: u32, maxEntries: 2, name: "flows" } as const;
    const map = rt.createMap(spec);
    map.set(1, 1).set(2, 2);
    expect(() => map.set(3, 3)).toThrow("E2BIG: map 'flows' is full (maxEntries 2)");
    expect(codeOf(() => map.update(3, 3))).toBe("E2BIG");
    expect(codeOf(() => map.setMany(Uint32Array.of(2, 3), Uint32Array.of(7, 8)))).toBe("E2BIG");
    expect([map.size, map.get(2), map.has(3)]).toEqual([2, 7, false]);
  });

  test("an LRU map is never full", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "lru_hash", key: u32, value: u32, maxEntries: 4 });
    for (let key = 0; key < 100; key++) map.set(key, key);
    expect(map.size).toBeLessThanOrEqual(4);
    expect(map.get(99)).toBe(99);
  });

  test("get marks an entry of an LRU map as used; peek, has and lookup do not", async () => {
    using rt = await build.createRuntime();
    for (const verb of ["get", "peek", "has", "lookup"] as const) {
      const map = rt.createMap({ type: "lru_hash", key: u32, value: u32, maxEntries: 128 });
      for (let key = 0; key < 128; key++) map.set(key, key);
      map[verb](0);
      for (let key = 1000; key < 1064; key++) map.set(key, key);
      expect([verb, map.has(0)]).toEqual([verb, verb === "get"]);
    }
  });

  test("flags are looked at before or after the right to use the map, as the kernel does", async () => {
    using rt = await build.createRuntime();
    const spec = { type: "hash", key: u32, value: u32, maxEntries: 2 } as const;
    const map = rt.createMap(spec);
    const queue = rt.createMap({ type: "queue", value: u32, maxEntries: 2 });
    const socket = rt.socket();
    const storage = rt.createMap({ type: "sk_storage", value: u32 });
    for (const one of [map, queue, storage]) one.freeze();
    for (const flags of [8, 2 ** 32, -1, 0.5]) {
      expect(codeOf(() => map.update(1, 1, flags))).toBe("EPERM");
      expect(codeOf(() => queue.push(1, flags))).toBe("EPERM");
      expect(codeOf(() => storage.update(socket, 1, flags))).toBe("EPERM");
      expect(codeOf(() => map.lookupAndDelete(1, flags))).toBe("EINVAL");
    }
    const client = new BpfClient(rt);
    const blind = rt.mapFromFd(client.getFdById(map.info().id, BPF_F_WRONLY), spec);
    for (const flags of [1, 2 ** 32]) expect(codeOf(() => blind.lookup(1, flags))).toBe("EINVAL");
    expect(codeOf(() => blind.lookup(1))).toBe("EPERM");
  });

  test("update takes the kernel's flags and says what the kernel says", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 2 });
    expect(codeOf(() => map.update(1, 1, BPF_EXIST))).toBe("ENOENT");
    map.update(1, 1, BPF_NOEXIST);
    expect(codeOf(() => map.update(1, 2, BPF_NOEXIST))).toBe("EEXIST");
    map.update(1, 3, BPF_EXIST);
    expect(map.get(1)).toBe(3);
    for (const flags of [3, BPF_F_LOCK, 8, -1, 0.5, 2 ** 32, NaN]) {
      expect(codeOf(() => map.update(1, 4, flags))).toBe("EINVAL");
    }
    expect(map.get(1)).toBe(3);
  });

  test("lookup takes 0 or BPF_F_LOCK, and the latter needs a lock in the value", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 2 });
    map.set(1, 1);
    expect([map.lookup(1), map.lookup(2)]).toEqual([1, undefined]);
    for (const flags of [BPF_F_LOCK, 1, BPF_F_LOCK | 1, 2 ** 32, -1, NaN]) {
      expect(codeOf(() => map.lookup(1, flags))).toBe("EINVAL");
      expect(codeOf(() => map.lookupAndDelete(1, flags))).toBe("EINVAL");
    }
    expect(map.lookupAndDelete(1)).toBe(1);
    expect(map.lookupAndDelete(1)).toBeUndefined();
  });

  test("nextKey leads through all keys, and from an absent key to the first", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 50 });
    for (let key = 0; key < 50; key++) map.set(key, key);
    const keys: number[] = [];
    for (let key = map.nextKey(); key !== undefined; key = map.nextKey(key)) keys.push(key);
    expect(keys).toEqual([...map.keys()]);
    expect(map.nextKey(1000)).toBe(keys[0]);
    map.clear();
    expect(map.nextKey()).toBeUndefined();
  });

  test("a key or value that does not fit its codec is refused and changes nothing", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 4 });
    map.set(1, 1);
    for (const key of [-1, 1.5, 2 ** 32, NaN]) {
      expect(() => map.set(key, 2)).toThrow(RangeError);
      expect(() => map.get(key)).toThrow(RangeError);
      expect(() => map.delete(key)).toThrow(RangeError);
      expect(() => map.set(1, key)).toThrow(RangeError);
    }
    expect(() => map.get("1" as never)).toThrow(
      new TypeError('key: expected an integer in 0..4294967295, got "1"'),
    );
    expect(() => map.set(1, 1n as never)).toThrow(/^value: expected an integer/);
    expect([...map]).toEqual([[1, 1]]);
  });

  test("getInto fills what it is given and returns scalars", async () => {
    using rt = await build.createRuntime();
    const structs = rt.createMap({ type: "hash", key: u32, value: Stats, maxEntries: 4 });
    const out = { packets: 0n, bytes: 0 };
    structs.set(1, { packets: 5n, bytes: 6 });
    expect(structs.getInto(1, out)).toBe(out);
    expect(out).toEqual({ packets: 5n, bytes: 6 });
    expect(structs.getInto(2, out)).toBeUndefined();
    expect(structs.lookupInto(1, { packets: 0n, bytes: 0 })).toEqual({ packets: 5n, bytes: 6 });
    expect(structs.lookupInto(2, out)).toBeUndefined();
    const blobs = rt.createMap({ type: "hash", key: u32, value: bytes(4), maxEntries: 4 });
    const buffer = new Uint8Array(4);
    blobs.set(1, Uint8Array.of(1, 2, 3, 4));
    expect(blobs.getInto(1, buffer)).toBe(buffer);
    expect([...buffer]).toEqual([1, 2, 3, 4]);
    const numbers = rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 4 });
    expect(numbers.set(1, 9n).getInto(1, 0n)).toBe(9n);
  });

  test("what get returns is the caller's own", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: bytes(4), maxEntries: 4 });
    map.set(1, new Uint8Array(4));
    map.get(1)?.fill(9);
    expect([...(map.get(1) as Uint8Array)]).toEqual([0, 0, 0, 0]);
  });

  test("an array has all its elements from the start and none beyond", async () => {
    using rt = await build.createRuntime();
    const spec = { type: "array", value: u64, maxEntries: 3, name: "arr" } as const;
    const map = rt.createMap(spec);
    expect([map.length, map.size]).toEqual([3, 3]);
    expect([map.get(2), map.get(3), map.has(2), map.has(3)]).toEqual([0n, undefined, true, false]);
    expect(() => map.set(3, 1n)).toThrow("E2BIG: index outside map 'arr' (maxEntries 3)");
    expect(codeOf(() => map.update(1, 1n, BPF_NOEXIST))).toBe("EEXIST");
    map.update(1, 5n, BPF_EXIST);
    expect([...map]).toEqual([
      [0, 0n],
      [1, 5n],
      [2, 0n],
    ]);
  });

  test("a memory that the host grows in between is used as it is", async () => {
    using rt = await build.createRuntime();
    const numbers = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 8 });
    const wide = rt.createMap({ type: "hash", key: u64, value: u64.asNumber, maxEntries: 8 });
    const structs = rt.createMap({ type: "lru_hash", key: Flow, value: Stats, maxEntries: 8 });
    const key = { src: "10.0.0.1", port: 1 };
    const grow = (): void => void rt.memory.grow(1);
    const ref = structs.set(key, { packets: 1n, bytes: 2 }).ref(key);
    const steps: (() => unknown)[] = [
      () => numbers.set(1, 1).get(1),
      () => numbers.get(1),
      () => wide.set(1n, 1).get(1n),
      () => wide.get(1n),
      () => wide.lookup(1n),
      () => wide.nextKey(),
      () => structs.get(key)?.bytes,
      () => structs.getInto(key, { packets: 0n, bytes: 0 })?.bytes,
      () => [...structs.keys()].length,
      () => [...structs.values()][0]?.bytes,
      () => structs.cursor().next().value.fields.bytes,
      () => ref?.value.bytes,
      () => ref?.fields.bytes,
      () => numbers.getMany(Uint32Array.of(1), new Uint32Array(1)),
      () => numbers.setMany(Uint32Array.of(1), Uint32Array.of(1)),
      () => numbers.lookupBatch(numbers.batchCursor(), 8).length,
      () => ref?.add("packets", 1),
      () => numbers.deleteMany(Uint32Array.of(7)),
    ];
    const before = steps.map((step) => step());
    const after = steps.map((step) => {
      grow();
      return step();
    });
    expect(after).toEqual(before);
    expect(structs.get(key)?.packets).toBe(3n);
  });
});

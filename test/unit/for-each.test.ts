// bpf_for_each_map_elem: what the callback sees, and what it may do.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { u32At, u32s, u64s } from "../support/bytes.js";

/** A module with a dispatcher that counts its calls and goes on: (func "d") (global "calls" i64). */
const COUNTING_DISPATCHER = Buffer.from(
  "0061736d01000000" + // magic, version
    "010a0160057e7e7e7e7e017e" + // type (i64 * 5) -> i64
    "03020100" + // one function
    "0606017e0142000b" + // one mutable global
    "070d02016400000563616c6c730300" + // exports d, calls
    "0a0d010b00230042017c240042000b", // calls = calls + 1; 0
  "hex",
);

const WALKED_TYPES = [
  ["HASH", uapi.BPF_MAP_TYPE_HASH, 0],
  ["HASH without preallocation", uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_NO_PREALLOC],
  ["PERCPU_HASH", uapi.BPF_MAP_TYPE_PERCPU_HASH, 0],
  ["LRU_HASH", uapi.BPF_MAP_TYPE_LRU_HASH, 0],
  ["LRU_PERCPU_HASH", uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH, 0],
] as const;

describeEachBuild("bpf_for_each_map_elem", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2 });
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  function create(type: number, flags = 0, maxEntries = 16): { fd: number; map: number } {
    const fd = client.create({ type, keySize: 4, valueSize: 8, maxEntries, flags });
    expect(fd).toBeGreaterThanOrEqual(0);
    return { fd, map: rt.exports.bpf_map_by_fd(fd) >>> 0 };
  }

  function forEach(map: number, ctx = 0n): number {
    return Number(rt.exports.bpf_for_each_map_elem(map, 7n, ctx, 0n));
  }

  function word(ptr: bigint): number {
    return u32At(new Uint8Array(rt.memory.buffer), Number(ptr));
  }

  /** Fills slots of all CPUs; the value of CPU i is 10 * key + i. */
  function fill(fd: number, keys: readonly number[]): void {
    for (const key of keys)
      expect(client.update(fd, u32s(key), u64s(10 * key, 10 * key + 1))).toBe(0);
  }

  for (const [name, type, flags] of WALKED_TYPES) {
    it(`walks ${name} in the order of its keys, with the current CPU's values`, () => {
      const { fd, map } = create(type, flags | uapi.BPF_F_ZERO_SEED);
      fill(fd, [1, 2, 3, 4, 5]);
      const order: number[] = [];
      for (let key: Uint8Array | null = null; ;) {
        const next = client.nextKey(fd, key, 4);
        if (next.ret !== 0) break;
        key = next.out;
        order.push(u32At(key));
      }
      rt.cpu = 1;
      const seen: number[] = [];
      const isPercpu = name.includes("PERCPU");
      rt.setCallback((fn, r1, key, value, ctx) => {
        expect([fn, Number(r1), ctx]).toEqual([7n, map, 99n]);
        expect(word(value)).toBe(10 * word(key) + (isPercpu ? 1 : 0));
        return seen.push(word(key)) === 4 ? 1n : 0n;
      });
      expect(forEach(map, 99n)).toBe(4);
      expect(seen).toEqual(order.slice(0, 4));
    });

    it(`lets the callback delete every element of ${name}`, () => {
      const { fd, map } = create(type, flags);
      fill(fd, [1, 2, 3, 4, 5, 6, 7, 8]);
      rt.setCallback((_fn, r1, key) => rt.exports.bpf_map_delete_elem(Number(r1), Number(key)));
      expect(forEach(map)).toBe(8);
      expect(forEach(map)).toBe(0);
      expect(rt.exports.bpf_map_sum_elem_count(map)).toBe(0n);
    });
  }

  it("walks all elements of an array, and arrays within arrays", () => {
    const outer = create(uapi.BPF_MAP_TYPE_ARRAY, 0, 3);
    const inner = create(uapi.BPF_MAP_TYPE_PERCPU_ARRAY, 0, 2);
    fill(outer.fd, [0, 1, 2]);
    fill(inner.fd, [0, 1]);
    rt.cpu = 1;
    const seen: number[][] = [];
    rt.setCallback((_fn, r1, key, value) => {
      const isOuter = Number(r1) === outer.map;
      seen.push([word(key), word(value)]);
      if (isOuter) expect(forEach(inner.map)).toBe(2);
      // The nested walk has left this walk's key alone.
      if (isOuter) expect(word(value)).toBe(10 * word(key));
      return 0n;
    });
    expect(forEach(outer.map)).toBe(3);
    const nested = [
      [0, 1],
      [1, 11],
    ];
    expect(seen).toEqual([[0, 0], ...nested, [1, 10], ...nested, [2, 20], ...nested]);
  });

  it("lets a program read a key while the callback on its element runs", () => {
    const outer = create(uapi.BPF_MAP_TYPE_HASH);
    const inner = create(uapi.BPF_MAP_TYPE_ARRAY, 0, 2);
    fill(outer.fd, [1, 2, 3]);
    const valid = (key: bigint, offset: number, length: number) =>
      rt.exports.bpf_valid_range(Number(key) + offset, length);
    const keys: bigint[] = [];
    rt.setCallback((_fn, r1, key) => {
      keys.push(key);
      expect(valid(key, 0, 4)).toBe(1);
      expect(valid(key, 1, 3)).toBe(1);
      expect([valid(key, 0, 5), valid(key, 4, 1), valid(key, -1, 2)]).toEqual([0, 0, 0]);
      if (Number(r1) === outer.map) expect(forEach(inner.map)).toBe(2);
      // Neither deleting the element nor a nested walk takes the key away.
      if (Number(r1) === outer.map) rt.exports.bpf_map_delete_elem(outer.map, Number(key));
      expect(valid(key, 0, 4)).toBe(1);
      return 0n;
    });
    expect(forEach(outer.map)).toBe(3);
    expect(keys).toHaveLength(9);
    expect(keys.filter((key) => valid(key, 0, 1) === 1)).toEqual([]);
  });

  it("shows an element that the callback replaced, skips one that it deleted", () => {
    // One bucket: 1 entry; keys of one chain need several, so all keys that share a bucket of 64 are found first.
    const { fd, map } = create(uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_ZERO_SEED, 64);
    const probe = create(uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_ZERO_SEED, 64);
    const chain: number[] = [];
    for (let key = 0; chain.length < 3; key++) {
      fill(probe.fd, [key]);
      const cursor = batchCursor(probe.fd);
      client.delete(probe.fd, u32s(key));
      if (cursor === 5) chain.push(key);
    }
    const [a, b, c] = chain as [number, number, number];
    fill(fd, chain);
    const seen: number[] = [];
    rt.setCallback((_fn, _r1, key) => {
      // The chain is c, b, a: c re-heads b, b removes a.
      seen.push(word(key));
      if (word(key) === c) fill(fd, [b]);
      if (word(key) === b) expect(client.delete(fd, u32s(a))).toBe(0);
      return 0n;
    });
    expect(forEach(map)).toBe(2);
    expect(seen).toEqual([c, b]);
  });

  /** The bucket of a map's only element: the cursor at which a batch that has no room stops. */
  function batchCursor(fd: number): number {
    for (let bucket = 0; bucket < 64; bucket++) {
      const batch = { fd, keySize: 4, valueSize: 8, tokenSize: 4, token: u32s(bucket), count: 1 };
      if (client.lookupBatch(batch).count === 0) return bucket - 1;
    }
    return 63;
  }

  it("does not mark the elements of an LRU map as used", () => {
    const { fd, map } = create(uapi.BPF_MAP_TYPE_LRU_HASH, 0, 8);
    fill(fd, [1, 2, 3, 4, 5, 6, 7, 8]);
    rt.setCallback(() => 0n);
    expect(forEach(map)).toBe(8);
    fill(fd, [9]);
    // As without the walk: the two oldest are gone.
    const left = [1, 2, 3, 4, 5, 6, 7, 8, 9].filter(
      (key) => client.lookup(fd, u32s(key), 8).ret === 0,
    );
    expect(left).toEqual([3, 4, 5, 6, 7, 8, 9]);
  });

  it("ends the walk when the callback ends the map", () => {
    for (const type of [uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_ARRAY]) {
      const { fd, map } = create(type);
      fill(fd, [1, 2, 3]);
      rt.setCallback(() => rt.close(fd));
      expect(forEach(map)).toBe(1);
      expect(forEach(map)).toBe(-uapi.EINVAL);
    }
  });

  it("calls a Wasm dispatcher through the table", () => {
    const { fd, map } = create(uapi.BPF_MAP_TYPE_HASH);
    fill(fd, [1, 2, 3]);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(COUNTING_DISPATCHER));
    const { d, calls } = exports as {
      d: (...registers: bigint[]) => bigint;
      calls: WebAssembly.Global;
    };
    rt.setCallback(d);
    expect(forEach(map)).toBe(3);
    expect(calls.value).toBe(3n);
    rt.setCallback(() => 0);
    expect(forEach(map)).toBe(3);
    expect(calls.value).toBe(3n);
    rt.setCallback(null);
    expect(forEach(map)).toBe(1);
  });

  it("passes on what a dispatcher throws and stays usable", () => {
    const { fd, map } = create(uapi.BPF_MAP_TYPE_ARRAY);
    fill(fd, [0]);
    rt.setCallback(() => {
      throw new Error("stop here");
    });
    for (let i = 0; i < 20; i++) expect(() => forEach(map)).toThrow("stop here");
    rt.setCallback((_fn, _r1, key) => (word(key) === 15 ? 1 : 0));
    expect(forEach(map)).toBe(16);
    expect(() => rt.setCallback(5 as never)).toThrow(TypeError);
  });

  it("refuses flags, strangers and types without a walk; has the kernel's number", () => {
    const { fd, map } = create(uapi.BPF_MAP_TYPE_HASH);
    fill(fd, [1, 2]);
    rt.setCallback(() => 0);
    expect(rt.exports.bpf_for_each_map_elem(map, 7n, 0n, 1n)).toBe(BigInt(-uapi.EINVAL));
    expect(rt.exports.bpf_for_each_map_elem(12345, 7n, 0n, 0n)).toBe(BigInt(-uapi.EINVAL));
    const id = uapi.BPF_FUNC_for_each_map_elem;
    expect(rt.exports.bpf_helper_call(id, BigInt(map), 7n, 0n, 0n, 0n)).toBe(2n);
  });
});

// Batches of typed maps: the kernel's commands on entries, and the verbs on typed arrays.

import { expect, test } from "vitest";
import { BPF_F_NO_PREALLOC, BpfError, bytes, struct, u32, u64 } from "../../ts/index.js";
import type { BatchCursor, Codec, HashMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

/** The error that `run` throws. */
function errorOf(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    if (error instanceof BpfError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describeEachBuild("typed maps: batches of entries", (build) => {
  const spec = { type: "hash", key: u32, value: u64, maxEntries: 300, name: "flows" } as const;

  test("a walk in batches shows every element once, whatever the size of a batch", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    for (let key = 0; key < 300; key++) map.set(key, BigInt(key));
    for (const count of [1, 2, 7, 100, 300, 1000, 0x7fffffff]) {
      const cursor = map.batchCursor();
      const seen = new Map<number, bigint>();
      let total = 0;
      while (!cursor.done) {
        for (const [key, value] of map.lookupBatch(cursor, count)) {
          seen.set(key, value);
          total++;
        }
      }
      expect([count, total, seen.size, seen.get(299)]).toEqual([count, 300, 300, 299n]);
      expect(map.lookupBatch(cursor, count)).toEqual([]);
    }
  });

  test("a bucket with more elements than asked for is still read", async () => {
    using rt = await build.createRuntime({ seed: 1 });
    // Few buckets, many elements: a non-preallocated map of 4 has 4 buckets.
    const map = rt.createMap({ ...spec, maxEntries: 4, mapFlags: 1 });
    for (let key = 0; key < 4; key++) map.set(key, 1n);
    const cursor = map.batchCursor();
    const keys: number[] = [];
    while (!cursor.done) keys.push(...map.lookupBatch(cursor, 1).map(([key]) => key));
    expect(keys.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
  });

  test("a batch that deletes leaves an empty map", async () => {
    using rt = await build.createRuntime();
    for (const type of ["hash", "lru_hash"] as const) {
      const map = rt.createMap({ ...spec, type });
      for (let key = 0; key < 200; key++) map.set(key, BigInt(key));
      const before = map.size;
      const cursor = map.batchCursor();
      const first = map.lookupAndDeleteBatch(cursor, 16);
      expect(map.size).toBe(before - first.length);
      const rest = [...map.drain(64)];
      expect([first.length + rest.length, map.size]).toEqual([before, 0]);
      expect(new Set([...first, ...rest].map(([key]) => key)).size).toBe(before);
      map.close();
    }
  });

  test("batches shows every element once, in one object with the same arrays", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    const map = rt.createMap(spec);
    for (let key = 0; key < 300; key++) map.set(key, BigInt(key));
    for (const batchSize of [1, 7, 300, 1000]) {
      const seen = new Map<number, bigint>();
      const objects = new Set<unknown>();
      let total = 0;
      for (const batch of map.batches(batchSize)) {
        for (const part of [batch, batch.keys, batch.values]) objects.add(part);
        expect([batch.keys.length, batch.values.length]).toEqual([batch.count, batch.count]);
        for (const [i, key] of batch.keys.entries()) seen.set(key, batch.values[i]!);
        total += batch.count;
      }
      expect([total, seen.size, seen.get(299), objects.size]).toEqual([300, 300, 299n, 3]);
    }
    map.clear();
    expect([...map.batches()]).toEqual([]);
    const percpu = rt.createMap({ type: "percpu_array", value: u64, maxEntries: 3 });
    percpu.set(2, [1n, 2n]);
    const [last] = [...percpu.batches(2)];
    expect(last).toMatchObject({ keys: [2], values: [[1n, 2n]], count: 1 });
  });

  test("batches does not mind deletions, and is no use in the sense of LRU", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, type: "lru_hash", maxEntries: 128 });
    for (let key = 0; key < 128; key++) map.set(key, 1n);
    for (const batch of map.batches(16)) expect(batch.count).toBeGreaterThan(0);
    map.getMany(Uint32Array.of(0, 1), new BigUint64Array(2));
    for (let key = 1000; key < 1064; key++) map.set(key, 1n);
    expect([map.has(0), map.has(1), map.has(2)]).toEqual([true, true, false]);
    const before = map.size;
    const seen = new Set<number>();
    for (const { keys } of map.batches(16)) {
      for (const key of keys) seen.add(key);
      map.deleteBatch(keys);
    }
    expect([seen.size, map.size]).toEqual([before, 0]);
  });

  test("batches refuses a size that cannot be, and ends with its map", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 1n).set(2, 2n);
    for (const size of [0, -1, 1.5, NaN, 2 ** 31]) {
      expect(() => map.batches(size).next()).toThrow(RangeError);
    }
    expect(() => map.batches("8" as never).next()).toThrow(TypeError);
    const batches = map.batches(1);
    expect(batches.next().done).toBe(false);
    map.close();
    expect(codeOf(() => batches.next())).toBe("EBADF");
  });

  test("a cursor of another map, or none at all, is refused", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 1n);
    const other = rt.createMap(spec);
    const cursor = other.batchCursor();
    for (const wrong of [cursor, {}, undefined, { done: false, position: new Uint8Array(99) }]) {
      expect(() => map.lookupBatch(wrong as BatchCursor, 4)).toThrow(TypeError);
      expect(() => map.lookupAndDeleteBatch(wrong as BatchCursor, 4)).toThrow(TypeError);
    }
    for (const count of [0, -1, 1.5, NaN, 2 ** 31]) {
      expect(() => map.lookupBatch(map.batchCursor(), count)).toThrow(RangeError);
    }
    expect(map.size).toBe(1);
  });

  test("updateBatch and deleteBatch stop at the first error and say how far they came", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, maxEntries: 2 });
    const full = errorOf(() =>
      map.updateBatch([
        [1, 1n],
        [2, 2n],
        [3, 3n],
      ]),
    );
    expect([full.code, full.count, map.size]).toEqual(["E2BIG", 2, 2]);
    expect(full.message).toContain("map 'flows' is full (maxEntries 2)");
    const absent = errorOf(() => map.deleteBatch([1, 9, 2]));
    expect([absent.code, absent.count, map.size]).toEqual(["ENOENT", 1, 1]);
    map.updateBatch([]);
    map.deleteBatch([]);
    map.updateBatch(new Map([[2, 5n]]));
    expect([...map]).toEqual([[2, 5n]]);
    map.freeze();
    const frozen = errorOf(() => map.updateBatch([[2, 6n]]));
    expect([frozen.code, frozen.count]).toEqual(["EPERM", 0]);
    const kept = errorOf(() => map.deleteBatch([2, 3]));
    expect([kept.code, kept.count]).toEqual(["EPERM", 0]);
  });

  test("an entry that does not fit its codec is refused before anything is done", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    expect(() =>
      map.updateBatch([
        [1, 1n],
        [-1, 2n],
      ]),
    ).toThrow(/^keys\[1\]: /);
    expect(() => map.updateBatch([[1, 1 as never]])).toThrow(/^values\[0\]: /);
    expect(() => map.deleteBatch([1, 2 ** 32])).toThrow(/^keys\[1\]: /);
    expect(map.size).toBe(0);
  });

  test("a getter that uses the map in the middle of a batch does no harm", async () => {
    using rt = await build.createRuntime();
    const value = struct({ a: u64, b: u64 });
    const map = rt.createMap({ type: "hash", key: u32, value, maxEntries: 5000 });
    const many = Array.from({ length: 3000 }, (_, key) => [key, { a: 1n, b: 1n }] as const);
    const sly = {
      get a(): bigint {
        map.updateBatch(many);
        map.clear();
        return 5n;
      },
      b: 6n,
    };
    const used = rt.exports.mem_used();
    map.updateBatch([
      [1, sly],
      [2, { a: 7n, b: 8n }],
    ]);
    expect(new Map(map)).toEqual(
      new Map([
        [1, { a: 5n, b: 6n }],
        [2, { a: 7n, b: 8n }],
      ]),
    );
    expect(rt.exports.mem_used()).toBeGreaterThan(used);
  });

  test("a getter that closes the map in the middle of a batch reaches no other map", async () => {
    using rt = await build.createRuntime();
    const value = struct({ a: u64 });
    const options = { type: "hash", key: u32, value, maxEntries: 8 } as const;
    const map = rt.createMap(options);
    const used = rt.exports.mem_used();
    const others: HashMap<number, number, { a: bigint }, { a: bigint }>[] = [];
    const sly = {
      get a(): bigint {
        map.close();
        others.push(rt.createMap(options));
        return 5n;
      },
    };
    expect(errorOf(() => map.updateBatch([[1, sly]])).code).toBe("EBADF");
    expect([others[0]?.fd, others[0]?.size]).toEqual([map.fd, 0]);
    expect(rt.exports.mem_used()).toBeLessThanOrEqual(used);
  });

  test("arrays have the batches the kernel gives them", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "array", value: u64, maxEntries: 10, name: "arr" });
    map.updateBatch([
      [1, 1n],
      [9, 9n],
    ]);
    const cursor = map.batchCursor();
    const entries: [number, bigint][] = [];
    while (!cursor.done) entries.push(...map.lookupBatch(cursor, 4));
    expect(entries).toEqual([...map]);
    const error = errorOf(() =>
      map.updateBatch([
        [1, 2n],
        [10, 1n],
      ]),
    );
    expect([error.code, error.count]).toEqual(["E2BIG", 1]);
    expect(error.message).toContain("index outside map 'arr'");
  });
});

describeEachBuild("typed maps: typed arrays", (build) => {
  const spec = { type: "hash", key: u32, value: u64, maxEntries: 10_000, name: "flows" } as const;

  test("many elements travel at once, with any mixture of hits and misses", async () => {
    using rt = await build.createRuntime();
    const sizes: [Codec<unknown>, number][] = [
      [u32 as Codec<unknown>, 4],
      [u64 as Codec<unknown>, 8],
      [bytes(16) as Codec<unknown>, 16],
      [bytes(12) as Codec<unknown>, 12],
    ];
    for (const type of ["hash", "lru_hash"] as const) {
      for (const [key, keySize] of sizes) {
        for (const [value, valueSize] of sizes) {
          const map = rt.createMap({ type, key, value, maxEntries: 20_000 });
          const count = 5000;
          const keys = new Uint8Array(count * keySize);
          const values = new Uint8Array(count * valueSize);
          for (let i = 0; i < count; i++) {
            new DataView(keys.buffer).setUint16(i * keySize, i, true);
            new DataView(values.buffer).setUint16(i * valueSize, i + 1, true);
          }
          map.setMany(keys, values);
          expect(map.size).toBe(count);
          expect(map.deleteMany(keys.subarray(0, 2 * keySize))).toBe(2);
          expect(map.deleteMany(keys.subarray(0, 3 * keySize))).toBe(1);
          const out = new Uint8Array(values.length + 5).fill(7);
          const found = new Uint8Array(count + 1).fill(7);
          expect(map.getMany(keys, out, found)).toBe(count - 3);
          values.fill(0, 0, 3 * valueSize);
          expect(Buffer.compare(out.subarray(0, values.length), values)).toBe(0);
          expect([...out.subarray(values.length)]).toEqual([7, 7, 7, 7, 7]);
          expect([...found.subarray(0, 4), found[count]]).toEqual([0, 0, 0, 1, 7]);
          map.close();
        }
      }
    }
  });

  test("typed arrays of every kind carry keys and values", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    map.setMany(Uint32Array.of(1, 2), BigUint64Array.of(10n, 20n));
    map.setMany(Int32Array.of(3, 4), Uint32Array.of(30, 0, 40, 0));
    map.setMany(Uint8Array.of(5, 0, 0, 0), Float64Array.of(0));
    map.setMany(Buffer.from([6, 0, 0, 0]), new Int8Array(8));
    const out = new BigInt64Array(6);
    expect(map.getMany(Uint16Array.of(1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0), out)).toBe(6);
    expect([...out]).toEqual([10n, 20n, 30n, 40n, 0n, 0n]);
    const shifted = new Uint8Array(17).subarray(1);
    expect(map.getMany(Uint8Array.of(9, 1, 0, 0, 0, 2, 0, 0, 0).subarray(1), shifted)).toBe(2);
    expect([shifted[0], shifted[8]]).toEqual([10, 20]);
    const clamped = new Uint8ClampedArray(16);
    map.setMany(Uint8ClampedArray.of(1, 0, 0, 0), Uint8ClampedArray.of(255, 1, 0, 0, 0, 0, 0, 0));
    expect(map.getMany(Uint8ClampedArray.of(1, 0, 0, 0, 2, 0, 0, 0), clamped)).toBe(2);
    expect([...clamped.subarray(0, 9)]).toEqual([255, 1, 0, 0, 0, 0, 0, 0, 20]);
  });

  test.each([
    ["u32", u32, 4],
    ["u64 as number", u64.asNumber, 8],
  ] as const)(
    "getMany writes its values and no more, wherever they lie: %s",
    async (_, value, size) => {
      using rt = await build.createRuntime();
      const entries = 200;
      const map = rt.createMap({ type: "hash", key: u32, value, maxEntries: entries });
      for (let key = 1; key <= entries; key++) map.set(key, key + 1000);
      const count = 64;
      const words = new Uint32Array(rt.memory.buffer, rt.alloc(4096), 1024);
      const firstKey = 256;
      // Before, behind and among the keys: a key is read before its value is written, the next one after.
      for (const shift of [-256, (-count * size) / 4, -17, -2, -1, 0, 1, 2, 33, count, 300]) {
        words.fill(0xaaaa_aaaa);
        // Every seventh is absent.
        for (let i = 0; i < count; i++) words[firstKey + i] = i % 7 === 3 ? 5000 : i + 1;
        const expected = words.slice();
        let hits = 0;
        for (let i = 0; i < count; i++) {
          const key = expected[firstKey + i]!;
          const found = key >= 1 && key <= entries;
          hits += Number(found);
          const at = firstKey + shift + (i * size) / 4;
          expected[at] = found ? key + 1000 : 0;
          if (size === 8) expected[at + 1] = 0;
        }
        const keys = words.subarray(firstKey, firstKey + count);
        const at = firstKey + shift;
        const out = words.subarray(at, at + (count * size) / 4);
        expect(map.getMany(keys, out)).toBe(hits);
        expect(words).toEqual(expected);
      }
    },
  );

  test("arrays in the runtime's memory are used where they are, mixed with others", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    const count = 9000;
    const at = rt.alloc(count * 13);
    const keysAt = at + count * 8;
    const fill = (): [BigUint64Array, Uint32Array, Uint8Array] => [
      new BigUint64Array(rt.memory.buffer, at, count),
      new Uint32Array(rt.memory.buffer, keysAt, count),
      new Uint8Array(rt.memory.buffer, at + count * 12, count),
    ];
    let [values, keys, found] = fill();
    for (let i = 0; i < count; i++) [keys[i], values[i]] = [i, BigInt(i)];
    map.setMany(keys, values);
    [values, keys, found] = fill();
    values.fill(1n);
    expect(map.getMany(keys, values, found)).toBe(count);
    expect([values[8999], found[8999]]).toEqual([8999n, 1]);
    values.fill(1n);
    // The room for the keys makes the memory grow: views of it are detached, and what they showed is written.
    const foreign = Uint32Array.from({ length: count }, (_, i) => i);
    expect(map.getMany(foreign, values, found)).toBe(count);
    [values, keys, found] = fill();
    expect(values[8999]).toBe(8999n);
    const out = new BigUint64Array(count);
    expect(map.getMany(keys, out)).toBe(count);
    expect(out[8999]).toBe(8999n);
    expect(map.deleteMany(keys)).toBe(count);
  });

  test("arrays that cannot be are refused", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 1n);
    const one = Uint32Array.of(1);
    const out = new BigUint64Array(1);
    for (const wrong of [
      undefined,
      null,
      [1],
      new ArrayBuffer(8),
      new DataView(new ArrayBuffer(8)),
      5,
    ]) {
      expect(() => map.getMany(wrong as never, out)).toThrow(TypeError);
      expect(() => map.getMany(one, wrong as never)).toThrow(TypeError);
      expect(() => map.setMany(one, wrong as never)).toThrow(TypeError);
      expect(() => map.deleteMany(wrong as never)).toThrow(TypeError);
    }
    expect(() => map.getMany(new Uint8Array(7), out)).toThrow(
      "keys: expected a multiple of 4 bytes, got 7",
    );
    expect(() => map.getMany(Uint32Array.of(1, 2), out)).toThrow(
      "out: expected 16 bytes for 2 keys, got 8",
    );
    expect(() => map.setMany(one, new Uint8Array(7))).toThrow("values: expected 8 bytes");
    expect(() => map.getMany(one, out, new Uint8Array(0))).toThrow(
      "found: expected 1 bytes, got 0",
    );
    expect(() => map.getMany(one, out, [] as never)).toThrow("found: expected a Uint8Array");
    const detached = new Uint32Array(1);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    expect(map.getMany(detached, out)).toBe(0);
    expect([map.getMany(new Uint8Array(0), out), map.deleteMany(new Uint8Array(0))]).toEqual([
      0, 0,
    ]);
    map.setMany(new Uint8Array(0), new Uint8Array(0));
    expect([...map]).toEqual([[1, 1n]]);
  });

  test("setMany stops at the first error and says how far it came", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, maxEntries: 5000 });
    const keys = Uint32Array.from({ length: 6000 }, (_, i) => i);
    const error = errorOf(() => map.setMany(keys, new BigUint64Array(6000)));
    expect([error.code, error.count, map.size]).toEqual(["E2BIG", 5000, 5000]);
    map.freeze();
    expect(codeOf(() => map.setMany(keys, new BigUint64Array(6000)))).toBe("EPERM");
    expect(codeOf(() => map.deleteMany(keys))).toBe("EPERM");
  });

  test("setMany goes on while the host's malloc makes the memory grow", async () => {
    const pages = { initial: 1, maximum: 1024, shared: build.name === "shared" };
    const memory = new WebAssembly.Memory(pages);
    const malloc = (size: number): number => memory.grow(Math.ceil(size / 65536)) * 65536;
    using rt = await build.createRuntime({ memory, malloc, free: () => {} });
    const mapFlags = BPF_F_NO_PREALLOC;
    const map = rt.createMap({ ...spec, value: bytes(256), maxEntries: 9000, mapFlags });
    const keys = Uint32Array.from({ length: 9000 }, (_, i) => i);
    const values = new Uint8Array(9000 * 256).fill(7);
    map.setMany(keys, values);
    expect([map.size, map.get(8999)?.[255]]).toEqual([9000, 7]);
    const error = errorOf(() => map.setMany(Uint32Array.of(1, 9000), values));
    expect([error.code, error.count]).toEqual(["E2BIG", 1]);
  });

  test("getMany marks the entries of an LRU map as used", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, type: "lru_hash", maxEntries: 128 });
    for (let key = 0; key < 128; key++) map.set(key, 1n);
    map.getMany(Uint32Array.of(0, 1), new BigUint64Array(2));
    for (let key = 1000; key < 1064; key++) map.set(key, 1n);
    expect([map.has(0), map.has(1), map.has(2)]).toEqual([true, true, false]);
  });

  test("arrays of the kernel take part", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "array", value: u64, maxEntries: 4 });
    map.setMany(Uint32Array.of(3, 1), BigUint64Array.of(3n, 1n));
    const out = new BigUint64Array(3).fill(5n);
    const found = new Uint8Array(3);
    expect(map.getMany(Uint32Array.of(1, 4, 3), out, found)).toBe(2);
    expect([[...out], [...found]]).toEqual([
      [1n, 0n, 3n],
      [1, 0, 1],
    ]);
  });
});

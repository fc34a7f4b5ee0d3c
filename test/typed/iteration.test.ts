// Iterating over typed maps, also while they change.

import { expect, test } from "vitest";
import { bytes, struct, u32, u64, u8 } from "../../ts/index.js";
import type { Codec } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";
import { Random } from "../support/random.js";

const Stats = struct({ packets: u64, bytes: u64.asNumber, inner: struct({ ttl: u8 }) });

describeEachBuild("typed maps: iteration", (build) => {
  const spec = { type: "hash", key: u32, value: u32, maxEntries: 100 } as const;

  test("all ways of iterating show the same elements in the same order", async () => {
    using rt = await build.createRuntime();
    for (const type of ["hash", "lru_hash"] as const) {
      const map = rt.createMap({ ...spec, type });
      for (let key = 0; key < 100; key++) map.set(key, key * 2);
      const entries = [...map];
      expect(entries.length).toBe(map.size);
      expect(entries.every(([key, value]) => value === key * 2)).toBe(true);
      expect(new Map(map.entries()).size).toBe(entries.length);
      const visited: [number, number][] = [];
      map.forEach((value, key, self) => self === map && visited.push([key, value]));
      const stepped = Array.from(map.cursor(), (c) => [c.key, c.value]);
      expect(visited).toEqual(entries);
      expect(stepped).toEqual(entries);
      expect([...map.keys()]).toEqual(entries.map(([key]) => key));
      expect([...map.values()]).toEqual(entries.map(([, value]) => value));
      map.close();
    }
  });

  test("an empty map has nothing to show", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    expect([...map]).toEqual([]);
    expect([...map.cursor()]).toEqual([]);
    expect([...map.drain()]).toEqual([]);
  });

  test("deleting the current element does not make the iteration skip or repeat others", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    for (let key = 0; key < 100; key++) map.set(key, key);
    const seen: number[] = [];
    for (const [key] of map) {
      seen.push(key);
      expect(map.delete(key)).toBe(true);
    }
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(map.size).toBe(0);
  });

  test("deleting other elements on the way hides them, and only them", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    for (let key = 0; key < 100; key++) map.set(key, key);
    const seen = new Set<number>();
    const deleted = new Set<number>();
    for (const key of map.keys()) {
      expect(deleted.has(key)).toBe(false);
      expect(seen.has(key)).toBe(false);
      seen.add(key);
      const other = (key * 7 + 1) % 100;
      if (map.delete(other) && !seen.has(other)) deleted.add(other);
    }
    expect(seen.size + deleted.size).toBe(100);
  });

  const KEYS = [
    { name: "u32", codec: u32, keyOf: (i: number) => i },
    { name: "u64", codec: u64, keyOf: (i: number) => BigInt(i) },
    { name: "16 bytes", codec: bytes(16), keyOf: (i: number) => new Uint8Array(16).fill(i) },
    { name: "6 bytes", codec: bytes(6), keyOf: (i: number) => new Uint8Array(6).fill(i) },
  ] as const;

  for (const { name, codec, keyOf } of KEYS) {
    test(`whatever changes on the way, with ${name} keys`, async () => {
      using rt = await build.createRuntime();
      const random = new Random(codec.size);
      for (let round = 0; round < 40; round++) {
        const map = rt.createMap({
          type: "hash",
          key: codec as Codec<unknown>,
          value: u32,
          maxEntries: 200,
        });
        const present = new Set<number>();
        for (let i = 0; i < 150; i++) {
          map.set(keyOf(i), i);
          present.add(i);
        }
        const stayed = new Set(present);
        const shown: number[] = [];
        const probability = random.below(100);
        const show = (i: number, key: unknown): void => {
          expect(key).toEqual(keyOf(i));
          expect(present.has(i)).toBe(true);
          shown.push(i);
          if (random.below(100) >= probability) return;
          // The current one, one that was shown, or one that was not.
          const victim = random.below(3) === 0 ? i : random.below(200);
          expect(map.delete(keyOf(victim))).toBe(present.delete(victim));
          stayed.delete(victim);
          const newcomer = 200 + random.below(50);
          if (present.size < 200) map.set(keyOf(newcomer), newcomer);
          present.add(newcomer);
        };
        if (round % 2 === 0) {
          map.forEach(show);
        } else {
          for (const element of map.cursor()) {
            const i = element.value;
            show(i, element.key);
            if (!present.has(i)) expect(element.key).toEqual(keyOf(i));
          }
        }
        const first = shown.filter((i) => i < 200);
        expect(new Set(first).size).toBe(first.length);
        for (const i of stayed) expect(shown).toContain(i);
        map.close();
      }
    });
  }

  test("forEach with numbers of all sizes, in a memory that grows meanwhile", async () => {
    using rt = await build.createRuntime({ minBytes: 65_536 });
    const values = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
    const map = rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries: 500 });
    for (let i = 0; i < 500; i++) map.set(2 ** 32 - 1 - i, values[i % 6]!);
    const words = rt.createMap({ ...spec, maxEntries: 500 });
    for (let i = 0; i < 500; i++) words.set(i, 2 ** 32 - 1 - i);
    const seen = new Map<number, number>();
    map.forEach((value, key) => {
      seen.set(key, value);
      if (seen.size % 100 === 50) rt.alloc(rt.memory.buffer.byteLength);
      // Another walk of the same map, and one of another.
      let inner = 0;
      if (seen.size % 100 === 70) map.forEach(() => inner++);
      words.forEach((word, i) => (inner += Number(word !== 2 ** 32 - 1 - i)));
      expect(inner).toBe(seen.size % 100 === 70 ? 500 : 0);
    });
    expect(seen.size).toBe(500);
    for (const [key, value] of seen) expect(value).toBe(values[(2 ** 32 - 1 - key) % 6]);
  });

  test("forEach of a map that its callback closes", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    for (let key = 0; key < 100; key++) map.set(key, key);
    let calls = 0;
    const walk = () => map.forEach(() => ++calls === 40 && map.close());
    expect(walk).toThrow("is closed");
    expect(calls).toBe(40);
  });

  test("a cursor whose map is closed on the way, also behind its back", async () => {
    using rt = await build.createRuntime();
    for (const close of ["map", "fd"] as const) {
      const map = rt.createMap(spec);
      for (let key = 0; key < 100; key++) map.set(key, key);
      const cursor = map.cursor();
      for (let i = 0; i < 40; i++) expect(cursor.step()).toBe(true);
      if (close === "map") map.close();
      else rt.exports.fd_close(map.fd);
      if (close === "map") expect(() => cursor.step()).toThrow("is closed");
      else expect(cursor.step()).toBe(false);
    }
  });

  test("an iteration that inserts and deletes as it goes comes to an end", async () => {
    using rt = await build.createRuntime();
    for (const type of ["hash", "lru_hash"] as const) {
      const map = rt.createMap({ ...spec, type });
      for (let key = 0; key < 50; key++) map.set(key, key);
      let steps = 0;
      for (const key of map.keys()) {
        map.delete(key);
        map.set(1000 + steps++, 1);
        expect(steps).toBeLessThan(100_000);
      }
      expect(map.size).toBeLessThanOrEqual(100);
      map.close();
    }
  });

  test("overwriting values on the way shows every element once, with its latest value", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    for (let key = 0; key < 100; key++) map.set(key, 0);
    let count = 0;
    for (const [key, value] of map) {
      expect(value).toBe(0);
      map.set(key, 1);
      count++;
    }
    expect(count).toBe(100);
    expect([...map.values()].every((value) => value === 1)).toBe(true);
  });

  test("several iterations of one map do not disturb each other", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, maxEntries: 8 });
    for (let key = 0; key < 8; key++) map.set(key, key);
    let pairs = 0;
    for (const a of map.keys()) {
      for (const b of map.cursor()) if (b.key !== a) pairs++;
    }
    expect(pairs).toBe(56);
  });

  test("a cursor is one object, with accessors over the memory", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(6), value: Stats, maxEntries: 8 });
    const inner = { ttl: 64 };
    map.set(new Uint8Array(6).fill(1), { packets: 1n, bytes: 60, inner });
    map.set(new Uint8Array(6).fill(2), { packets: 2n, bytes: 120, inner });
    const key = new Uint8Array(6);
    const value = { packets: 0n, bytes: 0, inner: { ttl: 0 } };
    const cursor = map.cursor();
    let sum = 0;
    for (const c of cursor) {
      expect(c).toBe(cursor);
      expect(c.keyInto(key)).toBe(key);
      expect(c.valueInto(value)).toBe(value);
      expect(value.packets).toBe(BigInt(key[0] as number));
      expect([c.fields.packets, c.fields.inner.ttl]).toEqual([value.packets, 64]);
      expect(c.value).toEqual(value);
      c.fields.bytes += 1;
      sum += c.fields.bytes;
    }
    expect(sum).toBe(182);
    expect(map.get(new Uint8Array(6).fill(1))?.bytes).toBe(61);
  });

  test("a cursor stands on no element before the first step and after the last", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 2);
    const cursor = map.cursor();
    expect(codeOf(() => cursor.key)).toBe("ENOENT");
    expect(codeOf(() => cursor.value)).toBe("ENOENT");
    expect([cursor.step(), cursor.key, cursor.value]).toEqual([true, 1, 2]);
    expect([cursor.step(), cursor.step(), cursor.next().done]).toEqual([false, false, true]);
    expect(codeOf(() => cursor.key)).toBe("ENOENT");
    expect(codeOf(() => cursor.valueInto(0))).toBe("ENOENT");
    expect(() => map.cursor().next().value.fields).toThrow(TypeError);
  });

  test("a cursor on a per-CPU map gives all CPUs' values", async () => {
    using rt = await build.createRuntime({ cpus: 3 });
    const map = rt.createMap({ type: "percpu_hash", key: u32, value: u64, maxEntries: 8 });
    map.set(1, [1n, 2n, 3n]);
    const array = rt.createMap({ type: "percpu_array", value: u32, maxEntries: 2 });
    array.set(1, [4, 5, 6]);
    rt.cpu = 2;
    expect(Array.from(map.cursor(), (c) => [c.key, c.value])).toEqual([[1, [1n, 2n, 3n]]]);
    expect(Array.from(array.cursor(), (c) => c.value)).toEqual([
      [0, 0, 0],
      [4, 5, 6],
    ]);
  });

  test("clear empties maps of every size", async () => {
    using rt = await build.createRuntime();
    for (const type of ["hash", "lru_hash", "percpu_hash", "lru_percpu_hash"] as const) {
      for (const mapFlags of type === "hash" ? [0, 1] : [0]) {
        const map = rt.createMap({ type, key: u32, value: u32, maxEntries: 1000, mapFlags });
        const value = type.includes("percpu") ? [1] : 1;
        for (let key = 0; key < 1000; key++) map.set(key, value as never);
        map.clear();
        expect([map.size, [...map.keys()].length]).toEqual([0, 0]);
        map.close();
      }
    }
  });
});

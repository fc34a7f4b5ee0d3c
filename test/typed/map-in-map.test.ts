// ArrayOfMaps and HashOfMaps, the typed maps of maps.

import { afterEach, beforeEach, expect, it } from "vitest";
import { ArrayMap, BPF_F_RDONLY, BPF_F_WRONLY, HashOfMaps, u16, u32, u64 } from "../../ts/index.js";
import type { BpfRuntime, HashMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

/** What `run` throws. */
function errorOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

describeEachBuild("typed maps of maps", (build) => {
  let rt: BpfRuntime;

  beforeEach(async () => {
    rt = await build.createRuntime();
  });
  afterEach(() => rt.dispose());

  const counters = (maxEntries = 2): ArrayMap<bigint> =>
    rt.createMap({ type: "array", value: u64, maxEntries });
  const hash = (): HashMap<number, number, number, number> =>
    rt.createMap({ type: "hash", key: u16, value: u32, maxEntries: 8 });

  it("an array of maps gives typed inner maps, each with an fd of its own", () => {
    const inner = counters();
    const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 3 });
    expect([outer.get(1), outer.idOf(1), outer.has(1)]).toEqual([undefined, undefined, false]);
    outer.set(1, inner);
    inner.set(0, 7n);
    const same = outer.get(1);
    expect(same).toBeInstanceOf(ArrayMap);
    expect(same?.get(0)).toBe(7n);
    expect(same?.fd).not.toBe(inner.fd);
    expect(outer.idOf(1)).toBe(inner.info().id);
    inner.close();
    same?.close();
    using again = outer.get(1);
    expect(again?.get(0)).toBe(7n);
    expect([outer.delete(1), outer.delete(1), outer.has(1)]).toEqual([true, false, false]);
    expect(outer.get(5)).toBeUndefined();
    expect(() => outer.set(3, counters())).toThrow("E2BIG: index outside ");
    expect(() => outer.delete(3)).toThrow("E2BIG");
  });

  it("a hash of maps goes by any key, and is walked while it changes", () => {
    const outer = rt.createMap({ type: "hash_of_maps", key: u64, inner: hash(), maxEntries: 8 });
    expect(outer).toBeInstanceOf(HashOfMaps);
    for (let key = 1n; key <= 5n; key++) {
      using inner = hash();
      inner.set(1, Number(key));
      outer.set(key, inner);
    }
    const found = new Map<bigint, number | undefined>();
    for (const [key, inner] of outer) {
      found.set(key, inner.get(1));
      inner.close();
      outer.has(99n);
      outer.delete(key);
    }
    expect(found).toEqual(new Map([1, 2, 3, 4, 5].map((n) => [BigInt(n), n])));
    expect([...outer.keys()]).toEqual([]);
  });

  it("refuses maps unlike the template", () => {
    const outer = rt.createMap({ type: "array_of_maps", inner: counters(), maxEntries: 1 });
    expect(() => outer.set(0, counters(3))).toThrow("EINVAL: the inner map is unlike the template");
    const closed = counters();
    closed.close();
    expect(() => outer.set(0, closed)).toThrow("EBADF");
    expect(() => rt.createMap({ type: "array_of_maps", inner: closed, maxEntries: 1 })).toThrow(
      "EBADF: inner: the map is closed",
    );
    expect(() => outer.update(0, counters(), 99)).toThrow("unlike the template, or bad flags");
    expect(() => outer.lookup(0, 99)).toThrow("EINVAL: invalid argument, bpf_map_lookup_elem");
    const nested = { type: "array_of_maps", inner: outer, maxEntries: 1 } as const;
    expect(() => rt.createMap(nested)).toThrow(
      /^EINVAL: no map .* or inner is a map of maps itself,/,
    );
    const noInner = { type: "array_of_maps", maxEntries: 1 } as never;
    expect(() => rt.createMap(noInner)).toThrow(TypeError);
  });

  it("refuses maps of another runtime, whose fds mean other maps here", async () => {
    const other = await build.createRuntime();
    const stranger = other.createMap({ type: "array", value: u64, maxEntries: 2 });
    const inner = counters();
    expect(stranger.fd).toBe(inner.fd);
    const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 1 });
    const message = "expected a map of this runtime";
    expect(() => outer.set(0, stranger)).toThrow(`value: ${message}`);
    expect(() => outer.updateBatch([[0, stranger]])).toThrow(message);
    expect(outer.get(0)).toBeUndefined();
    const spec = { type: "array_of_maps", inner: stranger, maxEntries: 1 } as const;
    expect(() => rt.createMap(spec)).toThrow(`inner: ${message}`);
    expect(() => rt.mapFromFd(outer.fd, { inner: stranger })).toThrow(`inner: ${message}`);
    other.dispose();
    expect(() => outer.set(0, stranger)).toThrow(message);
  });

  it("takes fds for maps, and refuses what is neither", () => {
    const inner = counters();
    const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 2 });
    outer.set(0, inner.fd);
    outer.update(1, inner.fd);
    expect([outer.lookup(0), outer.lookup(1)]).toEqual([inner.info().id, inner.info().id]);
    for (const wrong of [undefined, null, "3", 3n, {}] as never[]) {
      expect(() => outer.set(0, wrong)).toThrow("value: expected a typed map or an fd");
      expect(() => outer.updateBatch([[0, wrong]])).toThrow("values[0]: expected a typed map");
    }
    for (const wrong of [0.5, NaN, 2 ** 31]) expect(() => outer.set(0, wrong)).toThrow(RangeError);
    for (const fd of [-1, 99]) expect(codeOf(() => outer.set(0, fd))).toBe("EBADF");
    expect(codeOf(() => outer.set(0, outer.fd))).toBe("EINVAL");
    expect(outer.lookup(0)).toBe(inner.info().id);
  });

  it("looks as large as it is: places of an array, maps in a hash table", () => {
    const inner = hash();
    const array = rt.createMap({ type: "array_of_maps", inner, maxEntries: 3 }).set(1, inner);
    expect([array.length, "size" in array]).toEqual([3, false]);
    const outer = rt.createMap({ type: "hash_of_maps", key: u32, inner, maxEntries: 2, name: "o" });
    outer.set(1, inner).set(2, inner);
    expect(outer.size).toBe(2);
    expect(() => outer.set(3, inner)).toThrow("E2BIG: map 'o' is full (maxEntries 2)");
    outer.clear();
    expect([outer.size, [...outer.keys()]]).toEqual([0, []]);
  });

  it("batches stop at the first error and say how far they came", () => {
    const inner = hash();
    const array = rt.createMap({ type: "array_of_maps", inner, maxEntries: 2, name: "arr" });
    const wrong = counters();
    const entries = [0, 1, 2].map((key) => [key, inner] as const);
    expect(errorOf(() => array.updateBatch(entries))).toMatchObject({ code: "E2BIG", count: 2 });
    const unlike = [[0, inner] as const, [1, wrong.fd] as const];
    expect(errorOf(() => array.updateBatch(unlike))).toMatchObject({ code: "EINVAL", count: 1 });
    for (const verb of ["deleteBatch", "lookupAndDeleteBatch", "clear"])
      expect([verb, verb in array]).toEqual([verb, false]);
  });

  it("a map that nothing else keeps ends when it is taken out by a batch", () => {
    const outer = rt.createMap({ type: "hash_of_maps", key: u32, inner: hash(), maxEntries: 4 });
    for (const key of [1, 2, 3]) {
      using inner = hash();
      outer.set(key, inner);
    }
    const before = [...rt.mapIds()].length;
    const cursor = outer.batchCursor();
    const taken: [number, number][] = [];
    while (!cursor.done) taken.push(...outer.lookupAndDeleteBatch(cursor, 2));
    expect(new Set(taken.map(([key]) => key))).toEqual(new Set([1, 2, 3]));
    expect([...rt.mapIds()].length).toBe(before - 3);
    const [, id] = taken[0]!;
    expect(codeOf(() => rt.mapFromId(id, { type: "hash", key: u16, value: u32 }))).toBe("ENOENT");
  });

  it("frozen, read-only and write-only maps say what they are", () => {
    const inner = hash();
    const spec = { type: "hash_of_maps", key: u32, inner, maxEntries: 4, name: "o" } as const;
    const outer = rt.createMap(spec).set(1, inner);
    outer.freeze();
    expect(() => outer.set(1, inner)).toThrow("EPERM: map 'o' is frozen");
    for (const verb of [
      () => outer.delete(1),
      () => outer.clear(),
      () => outer.updateBatch([[1, inner]]),
      () => outer.deleteBatch([1]),
    ]) {
      expect(codeOf(verb)).toBe("EPERM");
    }
    expect(outer.lookup(1)).toBe(inner.info().id);
    const reader = rt.createMap({ ...spec, mapFlags: BPF_F_RDONLY });
    expect(() => reader.set(1, inner)).toThrow("not open for writing");
    const writer = rt.createMap({ ...spec, mapFlags: BPF_F_WRONLY }).set(1, inner);
    for (const verb of [
      () => writer.lookup(1),
      () => writer.get(1),
      () => writer.has(1),
      () => writer.nextKey(),
      () => [...writer.values()],
      () => [...writer.batches()],
    ]) {
      expect(codeOf(verb)).toBe("EPERM");
    }
  });

  it("mapFromFd needs the template", () => {
    const inner = counters();
    const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 1 });
    outer.set(0, inner);
    expect(() => rt.mapFromFd(outer.fd, {})).toThrow(TypeError);
    expect(rt.mapFromFd(outer.fd, { inner }).maxEntries).toBe(1);
  });
});

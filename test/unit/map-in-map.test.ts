// ArrayOfMaps and HashOfMaps, the typed maps of maps.

import { afterEach, beforeEach, expect, it } from "vitest";
import { ArrayMap, HashOfMaps, u16, u32, u64 } from "../../ts/index.js";
import type { BpfRuntime, HashMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";

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
    expect(() => outer.set(3, counters())).toThrow("E2BIG: index outside map");
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
    expect(() => outer.set(0, counters(3))).toThrow("EINVAL");
    const closed = counters();
    closed.close();
    expect(() => outer.set(0, closed)).toThrow("EBADF");
    expect(() => rt.createMap({ type: "array_of_maps", inner: closed, maxEntries: 1 })).toThrow(
      "EBADF",
    );
    const nested = { type: "array_of_maps", inner: outer, maxEntries: 1 } as const;
    expect(() => rt.createMap(nested)).toThrow("EINVAL");
    const noInner = { type: "array_of_maps", maxEntries: 1 } as never;
    expect(() => rt.createMap(noInner)).toThrow(TypeError);
  });

  it("mapFromFd needs the template", () => {
    const inner = counters();
    const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 1 });
    outer.set(0, inner);
    expect(() => rt.mapFromFd(outer.fd, {})).toThrow(TypeError);
    expect(rt.mapFromFd(outer.fd, { inner }).maxEntries).toBe(1);
  });
});

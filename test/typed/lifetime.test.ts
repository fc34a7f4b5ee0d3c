// The end of typed maps, and fds that may not do everything.

import { expect, test } from "vitest";
import { BPF_F_RDONLY, BPF_F_WRONLY, bytes, struct, u32, u64 } from "../../ts/index.js";
import type { HashMap, TypedMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { collectAll, collectUntil, collector } from "../support/collect.js";
import { codeOf } from "../support/errors.js";

type Numbers = HashMap<number, number, bigint, bigint>;

const READS: Readonly<Record<string, (map: Numbers) => unknown>> = {
  get: (map) => map.get(1),
  peek: (map) => map.peek(1),
  has: (map) => map.has(1),
  getInto: (map) => map.getInto(1, 0n),
  lookup: (map) => map.lookup(1),
  lookupInto: (map) => map.lookupInto(1, 0n),
  nextKey: (map) => map.nextKey(),
  ref: (map) => map.ref(1),
  cursor: (map) => map.cursor(),
  entries: (map) => [...map],
  keys: (map) => [...map.keys()],
  values: (map) => [...map.values()],
  forEach: (map) => map.forEach(() => {}),
  lookupBatch: (map) => map.lookupBatch(map.batchCursor(), 8),
  batches: (map) => [...map.batches()],
  getMany: (map) => map.getMany(Uint32Array.of(1), new BigUint64Array(1)),
};

const WRITES: Readonly<Record<string, (map: Numbers) => unknown>> = {
  set: (map) => map.set(1, 2n),
  update: (map) => map.update(1, 2n),
  delete: (map) => map.delete(1),
  updateBatch: (map) => map.updateBatch([[1, 2n]]),
  setMany: (map) => map.setMany(Uint32Array.of(1), BigUint64Array.of(2n)),
  deleteBatch: (map) => map.deleteBatch([1]),
  deleteMany: (map) => map.deleteMany(Uint32Array.of(1)),
  freeze: (map) => map.freeze(),
};

const BOTH: Readonly<Record<string, (map: Numbers) => unknown>> = {
  clear: (map) => map.clear(),
  lookupAndDelete: (map) => map.lookupAndDelete(1),
  drain: (map) => [...map.drain()],
};

const ALL = { ...READS, ...WRITES, ...BOTH };

describeEachBuild("typed maps: the end", (build) => {
  const hash = { type: "hash", key: u32, value: u64, maxEntries: 8, name: "flows" } as const;

  test("every verb of a closed map throws EBADF with the map's name", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash);
    map.set(1, 1n);
    map.close();
    map.close();
    expect(map.closed).toBe(true);
    for (const [name, verb] of Object.entries(ALL))
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EBADF"]);
    expect(() => map.size).toThrow("map 'flows' is closed");
    expect(codeOf(() => map.info())).toBe("EBADF");
    expect(codeOf(() => map.pin("/sys/fs/bpf/x"))).toBe("EBADF");
  });

  test("every verb throws EBADF after rt.dispose(), whatever the memory holds by then", async () => {
    const rt = await build.createRuntime();
    const map = rt.createMap(hash);
    const wide = rt.createMap({ type: "lru_hash", key: bytes(24), value: u64, maxEntries: 8 });
    const array = rt.createMap({ type: "array", value: u64, maxEntries: 8 });
    const percpu = rt.createMap({ type: "percpu_hash", key: u32, value: u64, maxEntries: 8 });
    map.set(1, 1n);
    const ref = map.ref(1);
    const cursor = map.cursor();
    rt.dispose();
    new Uint8Array(rt.memory.buffer).fill(0xa5);
    for (const [name, verb] of Object.entries(ALL))
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EBADF"]);
    expect(codeOf(() => wide.get(new Uint8Array(24)))).toBe("EBADF");
    expect(codeOf(() => wide.set(new Uint8Array(24), 1n))).toBe("EBADF");
    expect(codeOf(() => array.get(0))).toBe("EBADF");
    expect(codeOf(() => percpu.get(0))).toBe("EBADF");
    expect(codeOf(() => percpu.getOn(0, 0))).toBe("EBADF");
    expect(codeOf(() => ref?.add(1))).toBe("EBADF");
    expect(codeOf(() => cursor.step())).toBe("EBADF");
    cursor.close();
    map.close();
    expect(new Uint8Array(rt.memory.buffer).every((byte) => byte === 0xa5)).toBe(true);
  });

  test("a disposed runtime answers and touches nothing", async () => {
    const rt = await build.createRuntime();
    rt.dispose();
    const before = new Uint8Array(rt.memory.buffer).slice();
    expect(rt.bpf(0, new Uint8Array(64).fill(1))).toBe(-9);
    expect(rt.bpf(0, 64, 64)).toBe(-9);
    expect(rt.close(3)).toBe(-9);
    expect(rt.alloc(8)).toBe(0);
    rt.free(64);
    expect(codeOf(() => rt.createMap(hash))).toBe("EBADF");
    expect(Buffer.compare(new Uint8Array(rt.memory.buffer), before)).toBe(0);
  });

  test("closing the fd behind the map's back closes the map", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash);
    map.set(1, 1n);
    const cursor = map.cursor();
    expect(rt.close(map.fd)).toBe(0);
    const other = rt.createMap({ ...hash, name: "other" });
    expect(other.fd).toBe(map.fd);
    for (const [name, verb] of Object.entries(ALL))
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EBADF"]);
    expect(codeOf(() => cursor.step())).toBe("EBADF");
    map.close();
    expect(other.set(1, 5n).get(1)).toBe(5n);
  });

  test("a raw fd_close is noticed: reads find nothing, everything else is an error", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash);
    map.set(1, 1n);
    rt.exports.fd_close(map.fd);
    const other = rt.createMap({ ...hash, name: "other" }).set(1, 7n);
    expect(map.get(1)).toBeUndefined();
    expect(codeOf(() => map.set(1, 2n))).toBe("EBADF");
    expect(codeOf(() => map.lookupBatch(map.batchCursor(), 1))).toBe("EBADF");
    expect(() => map.update(1, 2n)).toThrow("the fd of map 'flows' was closed");
    map.close();
    expect(other.get(1)).toBe(7n);
  });

  test("`using` closes the map at the end of its block", async () => {
    using rt = await build.createRuntime();
    const maps: TypedMap[] = [];
    {
      using map = rt.createMap(hash);
      maps.push(map);
    }
    expect(maps[0]?.closed).toBe(true);
    expect([...rt.mapIds()]).toEqual([]);
  });

  test("a closed map gives all its memory back, cursors and batches included", async () => {
    using rt = await build.createRuntime();
    rt.createMap(hash).close();
    const before = rt.exports.mem_used();
    const map = rt.createMap({ ...hash, maxEntries: 100 });
    for (let key = 0; key < 100; key++) map.set(key, 1n);
    map.lookupBatch(map.batchCursor(), 50);
    map.setMany(new Uint32Array(50), new BigUint64Array(50));
    const cursors = Array.from({ length: 5 }, () => map.cursor());
    for (const cursor of cursors) cursor.step();
    map.close();
    for (const cursor of cursors) cursor.close();
    expect(rt.exports.mem_used()).toBe(before);
  });

  test("a loop over a cursor that is left gives the cursor's memory back", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash).set(1, 1n).set(2, 2n);
    const before = rt.exports.mem_used();
    for (const _ of map.cursor()) break;
    for (const _ of map) break;
    for (const _ of map.keys()) break;
    expect(() =>
      map.forEach(() => {
        throw new Error("left");
      }),
    ).toThrow("left");
    {
      using cursor = map.cursor();
      cursor.step();
    }
    expect(rt.exports.mem_used()).toBe(before);
  });

  test("the windows of typed maps and cursors that were forgotten are given back, the fds are not", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash).set(1, 1n).set(2, 2n);
    const before = rt.exports.mem_used();
    const forget = () => {
      for (let i = 0; i < 20; i++) {
        const again = rt.mapFromFd(map.fd, { type: "hash", key: u32, value: u64 });
        again.getMany(Uint32Array.of(1), new BigUint64Array(1));
        again.keys().next();
      }
    };
    forget();
    expect(rt.exports.mem_used()).toBeGreaterThan(before);
    expect(await collectUntil(() => rt.exports.mem_used() === before)).toBe(true);
    expect([map.closed, map.get(1), map.size]).toEqual([false, 1n, 2]);
  });

  test("a loop that opens and closes maps keeps none of them until its job ends", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash);
    const outer = rt.createMap({ type: "array_of_maps", inner: map, maxEntries: 1 }).set(0, map);
    const collect = collector();
    const growth = (count: number): number => {
      collect();
      const before = process.memoryUsage().heapUsed;
      for (let i = 0; i < count; i++) {
        rt.createMap(hash).close();
        outer.get(0)?.close();
      }
      collect();
      return process.memoryUsage().heapUsed - before;
    };
    growth(100);
    // One map took 5 kB.
    expect(growth(2000)).toBeLessThan(4e6);
  });

  test("a loop that makes and ends runtimes keeps none of their memories until its job ends", async () => {
    const collect = collector();
    const external = (): number => {
      // The second time for buffers, which are swept after the first.
      collect();
      collect();
      return process.memoryUsage().external;
    };
    const before = external();
    for (let i = 0; i < 20; i++) (await build.createRuntime({ minBytes: 16 << 20 })).dispose();
    expect(external() - before).toBeLessThan(160 << 20);
  });

  test("an fd stays open, whoever forgets the typed maps that went by it", async () => {
    using rt = await build.createRuntime();
    const make = (): number => rt.createMap(hash).set(1, 42n).fd;
    const fd = make();
    await collectAll();
    const again = rt.mapFromFd(fd, { type: "hash", key: u32, value: u64 });
    expect(again.get(1)).toBe(42n);
    expect(rt.close(fd)).toBe(0);
    expect(again.closed).toBe(true);
  });

  test("cursors, refs and batches of a typed map that was forgotten go on", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash).set(1, 1n).set(2, 2n);
    const wrap = () => rt.mapFromFd(map.fd, { type: "hash", key: u32, value: u64 });
    const cursor = wrap().cursor();
    const ref = wrap().ref(1);
    const walk = wrap().entries();
    await collectAll();
    expect([cursor.step(), cursor.step(), cursor.step()]).toEqual([true, true, false]);
    expect(ref?.value).toBe(1n);
    expect([...walk].length).toBe(2);
  });

  test("closing closes all typed maps of the fd", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(hash).set(1, 1n);
    const again = rt.mapFromFd(map.fd, { type: "hash", key: u32, value: u64 });
    const other = rt.mapFromId(map.info().id, { type: "hash", key: u32, value: u64 });
    again.close();
    expect([map.closed, again.closed, other.closed]).toEqual([true, true, false]);
    for (const [name, verb] of Object.entries(ALL))
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EBADF"]);
    const next = rt.createMap(hash);
    expect(next.fd).toBe(map.fd);
    map.close();
    expect([next.closed, other.get(1)]).toEqual([false, 1n]);
  });

  test("running out of memory is ENOMEM and leaves everything as it was", async () => {
    using rt = await build.createRuntime({ maxBytes: 4 * 65536 });
    const map = rt.createMap(hash).set(1, 1n);
    const blocks: number[] = [];
    for (let size = 65536; size >= 8; size /= 2) {
      for (let ptr = rt.alloc(size); ptr !== 0; ptr = rt.alloc(size)) blocks.push(ptr);
    }
    expect(codeOf(() => rt.createMap(hash))).toBe("ENOMEM");
    expect(codeOf(() => map.cursor())).toBe("ENOMEM");
    expect(codeOf(() => map.lookupBatch(map.batchCursor(), 8))).toBe("ENOMEM");
    expect(codeOf(() => map.updateBatch([[2, 2n]]))).toBe("ENOMEM");
    expect(codeOf(() => map.getMany(Uint32Array.of(1), new BigUint64Array(1)))).toBe("ENOMEM");
    expect([map.get(1), map.size]).toEqual([1n, 1]);
    for (const ptr of blocks) rt.free(ptr);
    expect(map.updateBatch([[2, 2n]])).toBeUndefined();
    expect(map.size).toBe(2);
  });
});

describeEachBuild("typed maps: restricted fds", (build) => {
  const spec = { type: "hash", key: u32, value: u64, maxEntries: 8, name: "flows" } as const;

  test("a read-only fd reads, and gives EPERM for everything that writes", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, mapFlags: BPF_F_RDONLY });
    const writes = { ...WRITES, ...BOTH };
    for (const [name, verb] of Object.entries(writes)) {
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EPERM"]);
    }
    expect(() => map.set(1, 1n)).toThrow("the fd of map 'flows' is not open for writing");
    for (const [name, verb] of Object.entries(READS)) {
      expect([name, codeOf(() => verb(map))]).toEqual([name, "none"]);
    }
    expect([map.get(1), map.size]).toEqual([undefined, 0]);
  });

  test("a write-only fd writes, and gives EPERM for everything that reads", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, mapFlags: BPF_F_WRONLY });
    const reads = { ...READS, ...BOTH };
    for (const [name, verb] of Object.entries(reads)) {
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EPERM"]);
    }
    expect(() => map.get(1)).toThrow("the fd of map 'flows' is not open for reading");
    map.set(1, 2n).set(2, 3n);
    expect([map.delete(2), map.delete(2), map.size]).toEqual([true, false, 1]);
  });

  test("a ref from a read-only fd reads only", async () => {
    using rt = await build.createRuntime();
    const Stats = struct({ packets: u64 });
    const array = { type: "array", value: Stats, maxEntries: 1, mapFlags: BPF_F_RDONLY } as const;
    const ref = rt.createMap(array).ref(0);
    expect(ref?.value).toEqual({ packets: 0n });
    expect(codeOf(() => ref?.add("packets", 1))).toBe("EPERM");
    expect(codeOf(() => ref?.fields)).toBe("EPERM");
    expect(codeOf(() => ((ref as NonNullable<typeof ref>).value = { packets: 1n }))).toBe("EPERM");
    expect(ref?.value).toEqual({ packets: 0n });
  });

  test("a frozen map is read, and says that it is frozen when it is written", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 1n);
    map.freeze();
    for (const [name, verb] of Object.entries({ ...WRITES, ...BOTH })) {
      expect([name, codeOf(() => verb(map))]).toEqual([name, "EPERM"]);
    }
    expect(() => map.set(1, 2n)).toThrow("map 'flows' is frozen");
    expect([map.get(1), [...map]]).toEqual([1n, [[1, 1n]]]);
  });
});

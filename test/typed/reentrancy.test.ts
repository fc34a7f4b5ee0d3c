// A caller's code in the middle of an operation: a getter of a key, of a value, or of options may use the map, close it, end
// the runtime, or make the memory grow. The operation is done as if the getter had run before it, or says EBADF.

import { expect, it } from "vitest";
import {
  array,
  BPF_F_MMAPABLE,
  BPF_F_ZERO_SEED,
  BPF_NOEXIST,
  BpfError,
  KIND,
  bytes,
  lpmKey,
  struct,
  u32,
  u8,
  union,
} from "../../ts/index.js";
import type { Codec, TypedMap } from "../../ts/index.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";

const Key = struct({ a: u32, b: u32, c: u32 });
const Value = struct({ x: u32, y: u32 });
const Halves = struct({ low: bytes(8), high: bytes(8) });
const Quad = struct({ a: u8, b: u8, c: u8, d: u8 });
const KEY = { a: 1, b: 1, c: 1 };
const VALUE = { x: 1, y: 1 };
const PAGES = 64;
const ARENA = { base: 1 << 20, limit: 3 << 20 };

type Sly = () => number;
const keyWith = (sly: Sly) => ({
  a: 1,
  b: 1,
  get c(): number {
    return sly();
  },
});
const valueWith = (sly: Sly) => ({
  x: 1,
  get y(): number {
    return sly();
  },
});

/** Makes a map, and what is done with it; `sly` is called in the middle of it and answers 1. */
type Case = (rt: Runtime) => { readonly map: TypedMap; run(sly: Sly): unknown };

const hash: (run: (map: ReturnType<typeof makeHash>, sly: Sly) => unknown) => Case =
  (run) => (rt) => {
    const map = makeHash(rt);
    return { map, run: (sly) => run(map, sly) };
  };
function makeHash(rt: Runtime) {
  return rt.createMap({ type: "hash", key: Key, value: Value, maxEntries: 8 }).set(KEY, VALUE);
}

const CASES: Readonly<Record<string, Case>> = {
  "set, key": hash((map, sly) => map.set(keyWith(sly), VALUE)),
  "set, value": hash((map, sly) => map.set(KEY, valueWith(sly))),
  update: hash((map, sly) => map.update(keyWith(sly), valueWith(sly))),
  get: hash((map, sly) => map.get(keyWith(sly))),
  getInto: hash((map, sly) => map.getInto(keyWith(sly), { x: 0, y: 0 })),
  has: hash((map, sly) => map.has(keyWith(sly))),
  peek: hash((map, sly) => map.peek(keyWith(sly))),
  ref: hash((map, sly) => map.ref(keyWith(sly))?.value),
  "value of a ref": hash((map, sly) => (map.ref(KEY)!.value = valueWith(sly))),
  lookup: hash((map, sly) => map.lookup(keyWith(sly))),
  lookupInto: hash((map, sly) => map.lookupInto(keyWith(sly), { x: 0, y: 0 })),
  lookupAndDelete: hash((map, sly) => map.lookupAndDelete(keyWith(sly))),
  delete: hash((map, sly) => map.delete(keyWith(sly))),
  nextKey: hash((map, sly) => map.nextKey(keyWith(sly))),
  updateBatch: hash((map, sly) => map.updateBatch([[keyWith(sly), valueWith(sly)]])),
  deleteBatch: hash((map, sly) => map.deleteBatch([keyWith(sly)])),
  "per-CPU set": (rt) => {
    const map = rt.createMap({ type: "percpu_array", value: Value, maxEntries: 2 });
    return { map, run: (sly) => map.set(1, [VALUE, valueWith(sly)]) };
  },
  ...Object.fromEntries(
    (["getOn", "refOn", "sum", "get", "set"] as const).map((verb) => [
      `per-CPU hash ${verb}`,
      (rt: Runtime) => {
        const map = rt.createMap({ type: "percpu_hash", key: Key, value: u32, maxEntries: 2 });
        map.set(KEY, [1, 1]);
        const run = (sly: Sly): unknown => {
          const key = keyWith(sly);
          if (verb === "set") return map.set(key, [1, 1]);
          return verb === "getOn" || verb === "refOn" ? map[verb](key, 1) : map[verb](key);
        };
        return { map, run };
      },
    ]),
  ),
  ...Object.fromEntries(
    (["key", "value"] as const).map((part) => [
      `set, ${part} of a codec of the caller's`,
      (rt: Runtime) => {
        let inWrite: Sly = () => 1;
        const codec: Codec<number> = {
          kind: KIND.U32,
          size: 4,
          align: 4,
          read: (mem, ptr) => mem.dv.getUint32(ptr, true),
          write: (mem, ptr) => mem.dv.setUint32(ptr, inWrite(), true),
        };
        const codecs = { key: u32, value: u32, [part]: codec };
        const map = rt.createMap({ ...codecs, type: "hash", maxEntries: 4 });
        const run = (sly: Sly): unknown => {
          inWrite = sly;
          // No number of 32 bits: the codec is asked.
          return part === "key" ? map.set(-1, 1) : map.set(1, -1);
        };
        return { map, run };
      },
    ]),
  ),
  match: (rt) => {
    const key = struct({ prefixlen: u32, data: Quad });
    const map = rt.createMap({ type: "lpm_trie", key, value: Value, maxEntries: 4 });
    const match = (sly: Sly): unknown => {
      const address = { a: 1, b: 1, c: 1 };
      return map.match(
        Object.defineProperty(address, "d", { get: sly, enumerable: true }) as never,
      );
    };
    return { map, run: match };
  },
  "set of a prefix": (rt) => {
    const key = lpmKey(bytes(4));
    const map = rt.createMap({ type: "lpm_trie", key, value: Value, maxEntries: 4 });
    const data = new Uint8Array(4);
    return { map, run: (sly) => map.set({ prefixlen: 8, data }, valueWith(sly)) };
  },
  push: (rt) => {
    const map = rt.createMap({ type: "queue", value: Value, maxEntries: 4 });
    return { map, run: (sly) => map.push(valueWith(sly)) };
  },
  add: (rt) => {
    const map = rt.createMap({ type: "bloom_filter", value: Value, maxEntries: 4 });
    return { map, run: (sly) => map.add(valueWith(sly)) };
  },
  mightHave: (rt) => {
    const map = rt.createMap({ type: "bloom_filter", value: Value, maxEntries: 4 });
    return { map, run: (sly) => map.mightHave(valueWith(sly)) };
  },
  "set of a storage": (rt) => {
    const map = rt.createMap({ type: "sk_storage", value: Value });
    const socket = rt.socket();
    return { map, run: (sly) => map.set(socket, valueWith(sly)) };
  },
  getOrCreate: (rt) => {
    const map = rt.createMap({ type: "sk_storage", value: Value });
    const socket = rt.socket();
    return { map, run: (sly) => map.getOrCreate(socket, valueWith(sly)) };
  },
};

/** Options whose getter ends the runtime. */
const OPTIONS: Readonly<Record<string, (rt: Runtime, sly: Sly) => unknown>> = {
  socket: (rt, sly) => rt.socket(Object.defineProperty({}, "optmemMax", { get: sly })),
  cgroup: (rt, sly) => rt.cgroup(Object.defineProperty({}, "version", { get: sly })),
  task: (rt, sly) => rt.task(Object.defineProperty({}, "pid", { get: sly })),
  inode: (rt, sly) => rt.inode(Object.defineProperty({}, "anonymous", { get: () => sly() === 1 })),
  mmap: (rt, sly) => {
    const spec = { type: "array", value: u32, maxEntries: 4, flags: BPF_F_MMAPABLE } as const;
    const { fd } = rt.createMap(spec);
    return rt.mmap(fd, Object.defineProperty({}, "length", { get: () => 4096 * sly() }));
  },
};

function errorOf(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}

describeEachBuild("a caller's code in the middle of", (build) => {
  /** A runtime in an arena, in a memory full of what is no kernel. */
  async function tenant(): Promise<{ rt: Runtime; all: Uint8Array }> {
    const shared = build.name === "shared";
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared });
    const all = new Uint8Array(memory.buffer).fill(0xff);
    return { rt: await build.createRuntime({ memory, arena: ARENA, cpus: 2 }), all };
  }

  const BY_NAME = Object.entries(CASES);

  it.each(BY_NAME)("%s: the runtime ends, and its memory is the host's", async (_name, make) => {
    const { rt, all } = await tenant();
    const { run } = make(rt);
    let before = all.slice(0, 0);
    const error = errorOf(() =>
      run(() => {
        rt.dispose();
        before = all.slice();
        return 1;
      }),
    );
    expect(error).toBeInstanceOf(BpfError);
    expect((error as BpfError).code).toBe("EBADF");
    expect(Buffer.compare(all, before)).toBe(0);
  });

  it.each(BY_NAME)("%s: the map is closed, its memory another's", async (_name, make) => {
    using rt = await build.createRuntime({ cpus: 2 });
    const { map, run } = make(rt);
    const used = rt.exports.mem_used();
    let blocks: readonly number[] = [];
    const error = errorOf(() =>
      run(() => {
        if (map.closed) return 1;
        map.close();
        blocks = Array.from({ length: 64 }, () => rt.alloc(16));
        const memory = new Uint8Array(rt.memory.buffer);
        for (const ptr of blocks) memory.fill(0x5a, ptr, ptr + 16);
        return 1;
      }),
    );
    expect(error).toBeInstanceOf(BpfError);
    expect((error as BpfError).code).toBe("EBADF");
    const memory = new Uint8Array(rt.memory.buffer);
    for (const ptr of blocks) {
      expect(memory.subarray(ptr, ptr + 16).every((byte) => byte === 0x5a)).toBe(true);
      rt.free(ptr);
    }
    expect(rt.exports.mem_used()).toBeLessThanOrEqual(used);
  });

  it.each(BY_NAME)("%s: the memory grows", async (_name, make) => {
    using rt = await build.createRuntime({ cpus: 2 });
    using other = await build.createRuntime({ cpus: 2 });
    const grow = (): number => {
      rt.alloc(rt.memory.buffer.byteLength);
      return 1;
    };
    const result = (runtime: Runtime, sly: Sly): unknown => {
      const { run, map } = make(runtime);
      const found = run(sly);
      const isItself =
        found === map || (typeof found === "object" && found !== null && "ptr" in found);
      const left = map instanceof Object && Symbol.iterator in map ? [...(map as never)] : [];
      return [isItself ? "itself" : found, left];
    };
    expect(result(rt, grow)).toEqual(result(other, () => 1));
  });

  it.each(Object.entries(OPTIONS))("%s: the runtime ends", async (_name, make) => {
    const { rt, all } = await tenant();
    let before = all.slice(0, 0);
    const error = errorOf(() =>
      make(rt, () => {
        rt.dispose();
        before = all.slice();
        return 1;
      }),
    );
    expect(error).toBeInstanceOf(BpfError);
    expect((error as BpfError).code).toBe("EBADF");
    expect(Buffer.compare(all, before)).toBe(0);
  });

  it.each(["array", "hash", "user_ringbuf"] as const)(
    "a helper on a %s: its callback ends the runtime",
    async (type) => {
      const { rt, all } = await tenant();
      const { exports } = rt;
      let run: (handle: number) => bigint;
      let map: TypedMap;
      if (type === "user_ringbuf") {
        const ring = rt.createMap({ type, maxEntries: 4096 });
        for (let n = 0; n < 2; n++) ring.push(new Uint8Array(8));
        map = ring;
        run = (handle) => exports.bpf_user_ringbuf_drain(handle, 1n, 0n, 0n);
      } else {
        map = rt.createMap({ type, key: u32, value: u32, maxEntries: 4 }).set(1, 1).set(2, 2);
        run = (handle) => exports.bpf_for_each_map_elem(handle, 1n, 0n, 0n);
      }
      const handle = rt.mapHandle(map.fd);
      let before = all.slice(0, 0);
      let calls = 0;
      rt.setCallback(() => {
        calls++;
        rt.dispose();
        before = all.fill(0xff).slice();
        return 0n;
      });
      const error = errorOf(() => run(handle));
      expect(error).toBeInstanceOf(BpfError);
      expect((error as BpfError).code).toBe("EBADF");
      expect([calls, Buffer.compare(all, before)]).toEqual([1, 0]);
    },
  );

  it("set: the map is used, and what was given is stored", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    const map = makeHash(rt);
    const use = (): number => {
      map.set({ a: 9, b: 9, c: 9 }, { x: 99, y: 99 });
      map.lookup({ a: 9, b: 9, c: 9 });
      return 7;
    };
    map.set(
      {
        ...KEY,
        get c() {
          return use();
        },
      },
      { x: 5, y: 6 },
    );
    map.update(
      {
        a: 2,
        b: 2,
        get c() {
          return use();
        },
      },
      {
        x: 8,
        get y() {
          return use();
        },
      },
    );
    expect(map.get({ a: 1, b: 1, c: 7 })).toEqual({ x: 5, y: 6 });
    expect(map.get({ a: 2, b: 2, c: 7 })).toEqual({ x: 8, y: 7 });
    expect(map.get({ a: 9, b: 9, c: 9 })).toEqual({ x: 99, y: 99 });
    expect(map.size).toBe(4);
    const drops = rt.createMap({ type: "percpu_hash", key: Key, value: u32, maxEntries: 4 });
    drops.set(KEY, [1, 2]);
    drops.set(
      {
        a: 3,
        b: 3,
        get c() {
          return drops.get(KEY)![1]!;
        },
      },
      [3, 4],
    );
    expect(drops.get({ a: 3, b: 3, c: 2 })).toEqual([3, 4]);
  });

  it("getOrCreate: another value is there first", async () => {
    using rt = await build.createRuntime();
    const storage = rt.createMap({ type: "sk_storage", value: Value });
    const socket = rt.socket();
    const init = {
      x: 1,
      get y(): number {
        storage.set(socket, { x: 2, y: 2 });
        return 1;
      },
    };
    expect(storage.getOrCreate(socket, init)).toEqual({ x: 2, y: 2 });
    storage.delete(socket);
    expect(storage.refOrCreate(socket, init).value).toEqual({ x: 2, y: 2 });
    expect(() => storage.update(socket, VALUE, BPF_NOEXIST)).toThrow("EEXIST");
  });

  it("values of bytes: the memory grows", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u32, value: Halves, maxEntries: 4 });
    const filled = (n: number) => new Uint8Array(8).fill(n);
    const value = (n: number) => ({
      low: filled(n),
      get high(): Uint8Array {
        rt.alloc(rt.memory.buffer.byteLength);
        return filled(n);
      },
    });
    map.set(1, value(1)).set(2, value(2));
    map.ref(2)!.value = value(3);
    expect([map.get(1)?.low, map.get(1)?.high]).toEqual([filled(1), filled(1)]);
    expect([map.get(2)?.low, map.get(2)?.high]).toEqual([filled(3), filled(3)]);
  });

  it("a codec of the caller's that uses the map while it reads changes nothing of what is read", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    let use = (): void => {};
    const plain: Codec<number> = {
      kind: KIND.OTHER,
      size: 4,
      align: 4,
      read(mem, ptr) {
        const value = mem.dv.getUint32(ptr, true);
        const once = use;
        use = () => {};
        once();
        return value;
      },
      write: (mem, ptr, value) => mem.dv.setUint32(ptr, value, true),
    };
    const Pair = struct({ first: plain, second: u32 });
    const pair = (n: number) => ({ first: n, second: n });
    const during = <T>(run: () => T, meanwhile: () => void): T => {
      use = meanwhile;
      return run();
    };
    const spec = { key: Pair, value: Pair, maxEntries: 4, mapFlags: BPF_F_ZERO_SEED } as const;
    const one = rt.createMap({ ...spec, type: "hash" });
    const all = rt.createMap({ ...spec, type: "percpu_hash" });
    for (const n of [1, 2]) {
      one.set(pair(n), pair(n));
      all.set(pair(n), [pair(n), pair(n)]);
    }
    const readOne = (): void => {
      one.lookup(pair(2));
      one.nextKey();
      rt.alloc(rt.memory.buffer.byteLength);
    };
    const readAll = (): void => {
      all.lookup(pair(2));
      rt.alloc(rt.memory.buffer.byteLength);
    };
    expect(during(() => one.lookup(pair(1)), readOne)).toEqual(pair(1));
    expect(during(() => one.get(pair(1)), readOne)).toEqual(pair(1));
    expect(during(() => one.lookupInto(pair(1), pair(0)), readOne)).toEqual(pair(1));
    expect(during(() => all.get(pair(1)), readAll)).toEqual([pair(1), pair(1)]);
    expect(during(() => all.getInto(pair(1), []), readAll)).toEqual([pair(1), pair(1)]);
    const [last] = [...one.keys()].slice(-1);
    const [before] = [...one.keys()];
    expect(during(() => one.nextKey(before), readOne)).toEqual(last);
    expect(during(() => one.lookupAndDelete(pair(1)), readOne)).toEqual(pair(1));
    const members = {
      lpm: lpmKey(plain),
      list: array(plain, 2),
      any: union({ plain, pair: Pair }),
    };
    const holder = rt.createMap({ type: "queue", value: struct(members), maxEntries: 2 });
    const value = (n: number) => ({ lpm: { prefixlen: 1, data: n }, list: [n, n] });
    for (const n of [1, 2]) holder.push({ ...value(n), any: { pair: pair(n) } });
    const popped = during(
      () => holder.pop(),
      () => holder.peek(),
    );
    expect(popped).toEqual({ ...value(1), any: { plain: 1, pair: pair(1) } });
  });
});

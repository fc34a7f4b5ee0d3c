// What is left of a runtime after dispose(): every public method and getter of every object says EBADF, and nobody touches a
// memory that is the host's again.

import { describe, expect, it } from "vitest";
import { BpfError } from "../../ts/errors.js";
import { INSPECT } from "../../ts/show.js";
import {
  BPF_F_MMAPABLE,
  BPF_F_NO_PREALLOC,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  EBADF,
  lpmKey,
  ipv4,
  struct,
  u32,
  u64,
} from "../../ts/index.js";
import { BpfClient } from "../support/bpf.js";
import { type Build, describeEachBuild, type Runtime } from "../support/builds.js";

const ARENA = { base: 65536, limit: 16 * 65536 };
const PAGES = 17;

/** What methods are called with, by name; others are called with nothing. */
const ARGS: Readonly<Record<string, readonly unknown[]>> = {
  add: [1],
  deleteBatch: [[1]],
  deleteMany: [Uint32Array.of(1)],
  drain: [() => {}],
  entries: [],
  forEach: [() => {}],
  getInto: [1, {}],
  getMany: [Uint32Array.of(1), new Uint32Array(1)],
  getOn: [1, 0],
  keyInto: [0],
  lookupInto: [1, {}],
  matchMany: [new Uint8Array(4), new Uint32Array(1)],
  matchManyU32: [Uint32Array.of(1), new Uint32Array(1)],
  matchU32: [1],
  mightHave: [1],
  mkdir: ["/sys/fs/bpf/d"],
  open: ["/sys/fs/bpf/m"],
  output: [Uint8Array.of(1)],
  pin: ["/sys/fs/bpf/m"],
  push: [1],
  readdir: ["/sys/fs/bpf"],
  recordsInto: [new Uint8Array(8), new Uint32Array(1)],
  reduce: [1, (sum: number) => sum, 0],
  refOn: [1, 0],
  reserve: [8],
  rmdir: ["/sys/fs/bpf/d"],
  run: [() => 1],
  set: [1, 1],
  setMany: [Uint32Array.of(1), Uint32Array.of(1)],
  unlink: ["/sys/fs/bpf/m"],
  update: [1, 1],
  updateBatch: [[[1, 1]]],
  valueInto: [0],
  wait: [1],
};
/** The key where it is not the default of the methods above. */
const BY_KEY = ["delete", "get", "has", "idOf", "lookup", "lookupAndDelete", "peek", "ref", "sum"];

/** Not public, only TypeScript knows. */
const INTERNAL = new Set(
  (
    "constructor mustBeOpen mustAllow failed explain countElems deleteElem deleteAll " +
    "placeInWindow payload finish position setPosition addressOf load32 store32 openFd dupFd ownsFd eachNumber fetch copy mustStandOnElement at " +
    `toJSON ${String(INSPECT)}`
  ).split(" "),
);

/** These say less than EBADF: they end something, or are numbers of the object itself. */
const QUIET: Readonly<Record<string, unknown>> = {
  close: undefined,
  [String(Symbol.dispose)]: undefined,
  return: { done: true, value: undefined },
  keyPtr: 0,
  length: 8,
};

type Verb = readonly [name: string, call: () => unknown];

/** All public methods and getters of an object. */
function verbsOf(object: object, own: Readonly<Record<string, readonly unknown[]>>): Verb[] {
  const verbs = new Map<string, () => unknown>();
  for (
    let type = Object.getPrototypeOf(object) as object;
    type !== Object.prototype;
    type = Object.getPrototypeOf(type) as object
  ) {
    for (const key of Reflect.ownKeys(type)) {
      const name = String(key);
      if (INTERNAL.has(name) || verbs.has(name)) continue;
      const args = own[name] ?? ARGS[name] ?? (BY_KEY.includes(name) ? [1] : []);
      verbs.set(name, () => {
        const found = Reflect.get(object, key, object) as unknown;
        return typeof found === "function"
          ? (Reflect.apply(found, object, args) as unknown)
          : found;
      });
    }
  }
  return [...verbs];
}

/** Generators begin at their first step, and promises end some day. */
async function resultOf(call: () => unknown): Promise<unknown> {
  try {
    const result = call();
    if (result instanceof BpfError) return result.code;
    if (result instanceof Promise) return await (result as Promise<unknown>);
    const isIterator = typeof result === "object" && result !== null && "next" in result;
    if (!isIterator) return result;
    if (Symbol.asyncIterator in result)
      return await (result as AsyncIterator<unknown>).next().then(({ value }) => value);
    return (result as Iterator<unknown>).next().value;
  } catch (error) {
    if (error instanceof BpfError) return error.code;
    throw error;
  }
}

interface Object_ {
  readonly object: object;
  /** Arguments of this object's own. */
  readonly args?: Readonly<Record<string, readonly unknown[]>>;
  /** What says something else than EBADF. */
  readonly quiet?: Readonly<Record<string, unknown>>;
}

/** One of everything. */
function objectsOf(rt: Runtime): Readonly<Record<string, Object_>> {
  const number = { key: u32, value: u32, maxEntries: 8 } as const;
  const hash = rt.createMap({ type: "hash", ...number }).set(1, 1);
  const tall = { key: u64, value: struct({ n: u32 }), maxEntries: 8 } as const;
  const records = rt.createMap({ type: "hash", ...tall }).set(1n, { n: 1 });
  const array = rt.createMap({ type: "array", ...number, mapFlags: BPF_F_MMAPABLE });
  const ring = rt.createMap({ type: "ringbuf", maxEntries: 4096 });
  const userRing = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
  const events = rt.createMap({ type: "perf_event_array", maxEntries: 1 });
  events.open(4096);
  const outer = rt.createMap({ type: "array_of_maps", inner: hash, maxEntries: 2 }).set(1, hash);
  const cgroup = rt.cgroup();
  const storage = rt.createMap({ type: "cgrp_storage", value: u32 }).set(cgroup, 1);
  const cursor = hash.cursor();
  cursor.step();
  const encoded = records.cursor();
  encoded.step();
  const fd = new BpfClient(rt).create({
    type: BPF_MAP_TYPE_CGROUP_STORAGE,
    keySize: 8,
    valueSize: 8,
    maxEntries: 0,
  });
  const map = { closed: true };
  const owner = [cgroup];
  const ofOwner = ["delete", "get", "getOrCreate", "has", "ref", "refOrCreate"];
  const atElement = { key: "EBADF", value: "EBADF" };
  return {
    hash: { object: hash, args: { drain: [] }, quiet: map },
    "hash of structs": {
      object: records,
      args: {
        ...Object.fromEntries(BY_KEY.map((name) => [name, [1n]])),
        drain: [],
        set: [1n, { n: 1 }],
        update: [1n, { n: 1 }],
        updateBatch: [[]],
        getInto: [1n, { n: 0 }],
        lookupInto: [1n, { n: 0 }],
        deleteBatch: [[]],
      },
      quiet: map,
    },
    "LRU hash": {
      object: rt.createMap({ type: "lru_hash", ...number }),
      args: { drain: [] },
      quiet: map,
    },
    "per-CPU hash": {
      object: rt.createMap({ type: "percpu_hash", ...number }),
      args: { drain: [], set: [1, [1]], update: [1, [1]], updateBatch: [[[1, [1]]]] },
      quiet: { ...map, ref: "EINVAL" },
    },
    array: { object: array, quiet: { ...map, size: 8 } },
    "per-CPU array": {
      object: rt.createMap({ type: "percpu_array", value: u32, maxEntries: 8 }),
      args: { set: [1, [1]], update: [1, [1]], updateBatch: [[[1, [1]]]] },
      quiet: { ...map, size: 8, ref: "EINVAL" },
    },
    trie: {
      object: rt.createMap({
        type: "lpm_trie",
        key: lpmKey(ipv4),
        value: u32,
        maxEntries: 8,
        mapFlags: BPF_F_NO_PREALLOC,
      }),
      args: {
        ...Object.fromEntries(BY_KEY.map((name) => [name, ["10.0.0.0/8"]])),
        set: ["10.0.0.0/8", 1],
        update: ["10.0.0.0/8", 1],
        match: ["10.0.0.1"],
        getInto: ["10.0.0.0/8", 0],
        lookupInto: ["10.0.0.0/8", 0],
      },
      quiet: map,
    },
    queue: { object: rt.createMap({ type: "queue", value: u32, maxEntries: 8 }), quiet: map },
    stack: { object: rt.createMap({ type: "stack", value: u32, maxEntries: 8 }), quiet: map },
    "bloom filter": {
      object: rt.createMap({ type: "bloom_filter", value: u32, maxEntries: 8 }),
      quiet: map,
    },
    "array of maps": {
      object: outer,
      args: { set: [0, hash] },
      quiet: { ...map, length: 2 },
    },
    "hash of maps": {
      object: rt
        .createMap({ type: "hash_of_maps", key: u32, maxEntries: 8, inner: hash })
        .set(1, hash),
      args: { set: [0, hash] },
      quiet: map,
    },
    "ring buffer": {
      object: ring,
      quiet: { ...map, waitAsync: false, "Symbol(Symbol.asyncIterator)": undefined },
    },
    "user ring buffer": {
      object: userRing,
      args: { push: [Uint8Array.of(1)], waitAsync: [8] },
      quiet: { ...map, waitAsync: false },
    },
    record: { object: ring.reserve(8) as object },
    "user record": { object: userRing.reserve(8) as object },
    "perf event array": { object: events, args: { open: [4096] }, quiet: map },
    storage: {
      object: storage,
      args: {
        ...Object.fromEntries(ofOwner.map((name) => [name, owner])),
        set: [cgroup, 1],
        update: [cgroup, 1],
        getInto: [cgroup, 0],
      },
      quiet: map,
    },
    ref: { object: hash.ref(1) as object },
    "ref of a struct": { object: records.ref(1n) as object, args: { add: ["n", 1] } },
    cursor: { object: cursor, quiet: { ...atElement, keyPtr: cursor.keyPtr } },
    "cursor of structs": { object: encoded, quiet: { keyPtr: encoded.keyPtr } },
    window: { object: rt.mmap(array.fd) },
    bpffs: { object: rt.bpffs },
    socket: { object: rt.socket() },
    cgroup: { object: cgroup },
    task: { object: rt.task() },
    inode: { object: rt.inode() },
    attachment: { object: rt.attachCgroupStorage({ map: fd, cgroup }) },
  };
}

describeEachBuild("after dispose", (build: Build) => {
  const shared = build.name === "shared";
  const boot = async (): Promise<Runtime> => {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared });
    return build.createRuntime({ memory, arena: ARENA });
  };

  describe.each([0, 0xa5])("in a memory of %d", (content) => {
    it("every public method of every object says EBADF and leaves the memory alone", async () => {
      const rt = await boot();
      const objects = objectsOf(rt);
      rt.dispose();
      const bytes = new Uint8Array(rt.memory.buffer);
      bytes.fill(content);
      for (const [title, { object, args = {}, quiet = {} }] of Object.entries(objects)) {
        for (const [name, call] of verbsOf(object, args)) {
          // A cursor gives itself; closing comes last.
          const result = await resultOf(call);
          if (result === -EBADF || result === "EBADF" || result === object) continue;
          const expected = name in quiet ? quiet[name] : QUIET[name];
          expect([title, name, result]).toEqual([title, name, expected]);
          expect(name in quiet || name in QUIET, `${title}.${name}`).toBe(true);
        }
        expect(
          bytes.every((byte) => byte === content),
          title,
        ).toBe(true);
      }
    });

    it("the runtime makes nothing any more", async () => {
      const rt = await boot();
      const cgroup = rt.cgroup();
      const map = rt.createMap({ type: "array", value: u32, maxEntries: 1 });
      rt.dispose();
      rt.dispose();
      const bytes = new Uint8Array(rt.memory.buffer);
      bytes.fill(content);
      const codecs = { value: u32 };
      const makes: Readonly<Record<string, () => unknown>> = {
        socket: () => rt.socket(),
        cgroup: () => rt.cgroup(),
        task: () => rt.task(),
        inode: () => rt.inode(),
        attachCgroupStorage: () => rt.attachCgroupStorage({ map, cgroup }),
        mmap: () => rt.mmap(map.fd),
        share: () => rt.share(),
        createMap: () => rt.createMap({ type: "array", value: u32, maxEntries: 1 }),
        "createMap of a storage": () => rt.createMap({ type: "cgrp_storage", value: u32 }),
        mapFromFd: () => rt.mapFromFd(3, codecs),
        mapFromId: () => rt.mapFromId(1, codecs),
        mapFromName: () => rt.mapFromName("m", codecs),
        mapIds: () => rt.mapIds(),
        open: () => rt.open("/sys/fs/bpf/m", codecs),
      };
      for (const [name, make] of Object.entries(makes)) {
        expect([name, await resultOf(make)]).toEqual([name, "EBADF"]);
      }
      expect(rt.close(3)).toBe(-EBADF);
      expect(rt.mapValueAddr(3, 0)).toBe(-EBADF);
      expect([rt.mapHandle(3), rt.alloc(8), rt.valueRange(0, 1), rt.ktime]).toEqual([
        0,
        0,
        false,
        0n,
      ]);
      rt.free(8);
      rt.cpu = 0;
      rt.setCallback(null);
      expect(bytes.every((byte) => byte === content)).toBe(true);
    });
  });

  it("a program may end the runtime it runs in", async () => {
    const rt = await boot();
    const cgroup = rt.cgroup();
    const spec = { type: BPF_MAP_TYPE_CGROUP_STORAGE, keySize: 8, valueSize: 8, maxEntries: 0 };
    const attachment = rt.attachCgroupStorage({ map: new BpfClient(rt).create(spec), cgroup });
    const ring = rt.createMap({ type: "ringbuf", maxEntries: 4096 });
    const waits = ring.waitAsync();
    attachment.run(() => {
      rt.dispose();
      new Uint8Array(rt.memory.buffer).fill(0xa5);
    });
    expect(await waits).toBe(false);
  });
});

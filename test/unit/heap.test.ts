// The allocator, and the three kinds of memory the core can live in: its own, an arena, the host's malloc.

import { describe, expect, it } from "vitest";
import { BpfError, bytes as bytesOf, u32 } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { type Build, describeEachBuild, type Runtime } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { expectSound } from "../support/debug.js";
import { Random } from "../support/random.js";
import { work } from "../support/workload.js";

const PAGE = 65536;
const CANARY = 0xc5;

/** A memory of `pages` full of canaries; shared where the build is. */
function canaryMemory(build: Build, pages: number, maximum = pages): WebAssembly.Memory {
  const shared = build.name === "shared";
  const memory = new WebAssembly.Memory({ initial: pages, maximum, shared });
  new Uint8Array(memory.buffer).fill(CANARY);
  return memory;
}

/** Indices below `end` where the memory is no canary any more, at most a few. */
function damage(memory: WebAssembly.Memory, from: number, end: number): number[] {
  const bytes = new Uint8Array(memory.buffer);
  const hits: number[] = [];
  for (let at = from; at < end && hits.length < 4; at++) if (bytes[at] !== CANARY) hits.push(at);
  return hits;
}

/** A toy malloc inside a memory: bump allocation with canaries around each block; freed blocks become canaries again. */
class ToyMalloc {
  readonly memory: WebAssembly.Memory;
  readonly blocks = new Map<number, number>();
  #next = 1025;
  /** Blocks that may still be handed out. */
  budget = Number.POSITIVE_INFINITY;
  /** What was given back and is no block; what free throws, nobody would see. */
  readonly wrong: number[] = [];

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
  }

  readonly malloc = (bytes: number): number => {
    const ptr = this.#next + 32;
    const end = ptr + bytes + 32;
    if (end > this.memory.buffer.byteLength || this.budget-- <= 0) return 0;
    // Odd addresses on purpose: the core aligns for itself.
    this.#next = end + (end % 2 === 0 ? 1 : 2);
    this.blocks.set(ptr, bytes);
    return ptr;
  };

  readonly free = (ptr: number): void => {
    const bytes = this.blocks.get(ptr);
    if (bytes === undefined) this.wrong.push(ptr);
    else new Uint8Array(this.memory.buffer).fill(CANARY, ptr, ptr + bytes);
    this.blocks.delete(ptr);
  };

  /** Bytes outside all blocks that are no canaries. */
  damage(): number[] {
    const hits: number[] = [];
    let at = 0;
    for (const [ptr, bytes] of [...this.blocks].toSorted(([a], [b]) => a - b)) {
      hits.push(...damage(this.memory, at, ptr));
      at = ptr + bytes;
    }
    return [...hits, ...damage(this.memory, at, this.memory.buffer.byteLength)];
  }
}

describeEachBuild("memory", (build) => {
  describe("rt.alloc", () => {
    it("hands out aligned memory that does not overlap", async () => {
      const rt = await build.createRuntime();
      const random = new Random(1);
      const blocks = new Map<number, { size: number; fill: number }>();
      const used = rt.exports.mem_used();
      for (let step = 0; step < 4000; step++) {
        if (blocks.size < 100 && !random.oneIn(3)) {
          const size = random.below(random.oneIn(10) ? 20_000 : 200);
          const ptr = rt.alloc(size);
          expect(ptr % 8).toBe(0);
          const fill = random.below(256);
          new Uint8Array(rt.memory.buffer).fill(fill, ptr, ptr + size);
          blocks.set(ptr, { size, fill });
        } else if (blocks.size > 0) {
          const [ptr, { size, fill }] = random.pick([...blocks]);
          const bytes = new Uint8Array(rt.memory.buffer, ptr, size);
          expect(bytes.every((byte) => byte === fill)).toBe(true);
          rt.free(ptr);
          blocks.delete(ptr);
        }
        if (step % 100 === 0) expectSound(rt);
      }
      for (const ptr of blocks.keys()) rt.free(ptr);
      expect(rt.exports.mem_used()).toBe(used);
      expectSound(rt);
      rt.dispose();
    });

    it("uses freed memory again, joined with its neighbours", async () => {
      const rt = await build.createRuntime({ maxBytes: 4 << 20 });
      const size = (): number => rt.memory.buffer.byteLength;
      for (let round = 0; round < 50; round++) {
        const blocks = Array.from({ length: 100 }, (_, i) => rt.alloc(10_000 + i));
        expect(blocks.every((ptr) => ptr !== 0)).toBe(true);
        // Every second one first.
        for (const parity of [0, 1]) blocks.forEach((ptr, i) => i % 2 === parity && rt.free(ptr));
        const whole = rt.alloc(1_000_000);
        expect(whole).not.toBe(0);
        rt.free(whole);
      }
      expect(size()).toBeLessThanOrEqual(4 << 20);
      rt.dispose();
    });

    it("answers 0 when it cannot", async () => {
      const rt = await build.createRuntime({ maxBytes: 1 << 20 });
      for (const size of [
        1 << 20,
        2 ** 31,
        0xffff0000,
        2 ** 32,
        -1,
        Number.NaN,
        Number.POSITIVE_INFINITY,
      ]) {
        expect(rt.alloc(size), `${size}`).toBe(0);
      }
      expect(rt.alloc(0)).not.toBe(0);
      rt.free(0);
      const blocks: number[] = [];
      for (let ptr = rt.alloc(1000); ptr !== 0; ptr = rt.alloc(1000)) blocks.push(ptr);
      expect(blocks.length).toBeGreaterThan(900);
      expect(rt.memory.buffer.byteLength).toBeLessThanOrEqual(1 << 20);
      expectSound(rt);
      rt.dispose();
    });

    it("goes on when the host grows the memory in between", async () => {
      const rt = await build.createRuntime();
      for (let round = 0; round < 5; round++) {
        const before = rt.memory.grow(2) * PAGE;
        new Uint8Array(rt.memory.buffer).fill(CANARY, before, before + 2 * PAGE);
        const ptr = rt.alloc(3 << 20);
        expect(ptr).toBeGreaterThanOrEqual(before + 2 * PAGE);
        expect(damage(rt.memory, before, before + 2 * PAGE)).toEqual([]);
        expectSound(rt);
      }
      rt.dispose();
    });
  });

  describe("an arena", () => {
    const BASE = 3 * PAGE + 100;
    const LIMIT = 9 * PAGE + 4;

    it("is all the core writes to", async () => {
      const memory = canaryMemory(build, 12);
      const random = new Random(2);
      for (let life = 0; life < 3; life++) {
        const rt = await build.createRuntime({
          cpus: 3,
          memory,
          arena: { base: BASE, limit: LIMIT },
        });
        const fds = work(rt, random, 60);
        expectSound(rt, ...fds);
        rt.dispose();
        expect(memory.buffer.byteLength).toBe(12 * PAGE);
        expect(damage(memory, 0, BASE)).toEqual([]);
        expect(damage(memory, LIMIT, 12 * PAGE)).toEqual([]);
      }
    });

    it("may hold anything at first: a seeded run is the same in whatever memory", async () => {
      const types = ["hash", "lru_hash", "percpu_hash", "lru_percpu_hash"] as const;
      const [clean, dirty] = await Promise.all(
        [0, 0xa5].map(async (byte) => {
          const memory = canaryMemory(build, 64);
          new Uint8Array(memory.buffer).fill(byte);
          const arena = { base: BASE, limit: 60 * PAGE };
          using rt = await build.createRuntime({ memory, arena, seed: 5 });
          return types.map((type) => {
            const map = rt.createMap({ type, key: u32, value: bytesOf(20), maxEntries: 300 });
            const client = new BpfClient(rt);
            const value = new Uint8Array(type.includes("percpu") ? 24 : 20);
            for (let key = 0; key < 280; key++) client.update(map.fd, u32s(key * 7), value);
            const entries = map.lookupBatch(map.batchCursor(), 300);
            return { keys: [...map.keys()], batch: entries.map(([key]) => key) };
          });
        }),
      );
      expect(dirty).toEqual(clean);
    });

    it("never grows: out of room is ENOMEM, and what there is goes on", async () => {
      const memory = canaryMemory(build, 12, 100);
      const rt = await build.createRuntime({ memory, arena: { base: BASE, limit: LIMIT } });
      const client = new BpfClient(rt);
      const spec = { type: uapi.BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 64, maxEntries: 500 };
      const first = client.create(spec);
      let last = first;
      for (let next = first; next >= 0; next = client.create(spec)) last = next;
      expect(client.create(spec)).toBe(-uapi.ENOMEM);
      expect(last).toBeGreaterThan(first);
      for (let key = 0; key < 500; key++) {
        expect(client.update(last, u32s(key), new Uint8Array(64))).toBe(0);
      }
      expect(client.update(last, u32s(500), new Uint8Array(64))).toBe(-uapi.E2BIG);
      expectSound(rt, first, last);
      expect(rt.close(first)).toBe(0);
      expect(client.create(spec)).toBe(first);
      expect(memory.buffer.byteLength).toBe(12 * PAGE);
      rt.dispose();
    });

    it("can be too small for the core itself", async () => {
      const memory = canaryMemory(build, 2);
      for (const size of [8, 100, 2000, 5000]) {
        const arena = { base: 1000, limit: 1000 + size };
        await expect(build.createRuntime({ memory, arena })).rejects.toThrow(BpfError);
        expect(damage(memory, 0, 1000)).toEqual([]);
        expect(damage(memory, 1000 + size, 2 * PAGE)).toEqual([]);
      }
    });

    it("NO_PREALLOC maps give ENOMEM when it is full", async () => {
      const memory = canaryMemory(build, 12);
      const rt = await build.createRuntime({ memory, arena: { base: BASE, limit: LIMIT } });
      const client = new BpfClient(rt);
      const flags = uapi.BPF_F_NO_PREALLOC;
      const fd = client.create({ type: 1, keySize: 4, valueSize: 4096, maxEntries: 1000, flags });
      const value = new Uint8Array(4096).fill(1);
      let count = 0;
      let ret = 0;
      while ((ret = client.update(fd, u32s(count), value)) === 0) count++;
      expect(ret).toBe(-uapi.ENOMEM);
      expect(count).toBeGreaterThan(50);
      expect(client.lookup(fd, u32s(count), 4096).ret).toBe(-uapi.ENOENT);
      expect(client.update(fd, u32s(0), value)).toBe(0);
      expect(client.delete(fd, u32s(0))).toBe(0);
      expect(client.update(fd, u32s(count), value)).toBe(0);
      expectSound(rt, fd);
      rt.dispose();
    });
  });

  describe("the host's malloc", () => {
    it("gives all the core has, and gets all back", async () => {
      const host = new ToyMalloc(canaryMemory(build, 400));
      const { memory, malloc, free } = host;
      const rt = await build.createRuntime({ cpus: 2, memory, malloc, free });
      const fds = work(rt, new Random(3), 80);
      expectSound(rt, ...fds);
      expect(host.blocks.size).toBeGreaterThan(10);
      expect(host.damage()).toEqual([]);
      rt.dispose();
      expect(host.blocks.size).toBe(0);
      expect(host.wrong).toEqual([]);
      expect(damage(memory, 0, memory.buffer.byteLength)).toEqual([]);
    });

    it("may fail at any time", async () => {
      const host = new ToyMalloc(canaryMemory(build, 100));
      const { memory, malloc, free } = host;
      let rt: Runtime | undefined;
      for (let budget = 0; rt === undefined; budget++) {
        host.budget = budget;
        try {
          rt = await build.createRuntime({ memory, malloc, free });
        } catch (error) {
          expect(error).toMatchObject({ code: "ENOMEM" });
          expect(host.blocks.size, `after ${budget} blocks`).toBe(0);
        }
      }
      const client = new BpfClient(rt);
      const spec = { type: uapi.BPF_MAP_TYPE_LRU_HASH, keySize: 4, valueSize: 8, maxEntries: 8 };
      host.budget = 100;
      rt.close(client.create(spec));
      const blocks = host.blocks.size;
      for (let budget = 0; ; budget++) {
        host.budget = budget;
        client.release();
        const left = host.blocks.size;
        host.budget = budget;
        const ret = createRaw(rt, spec);
        if (ret >= 0) break;
        expect(ret).toBe(-uapi.ENOMEM);
        expect(host.blocks.size).toBe(left);
      }
      expect(host.blocks.size).toBeGreaterThan(blocks - 5);
      rt.dispose();
      expect(host.blocks.size).toBe(0);
      expect(host.wrong).toEqual([]);
    });

    const attr = new Uint8Array(u32s(uapi.BPF_MAP_TYPE_HASH, 4, 4, 4, 0));
    const LIES: readonly (readonly [string, (bytes: number) => unknown])[] = [
      ["an exception", () => expect.fail("the host's malloc")],
      ["undefined", () => undefined],
      ["no number", () => "65536"],
      ["a bigint", () => 65536n],
      ["no integer", () => 65536.5],
      ["NaN", () => Number.NaN],
      ["more than 32 bits", () => 2 ** 32 + 65536],
    ];

    it.each(LIES)("has no room when it answers %s", async (_name, lie) => {
      const host = new ToyMalloc(canaryMemory(build, 100));
      let isHonest = false;
      const malloc = (bytes: number): number =>
        isHonest ? host.malloc(bytes) : (lie(bytes) as number);
      const options = { memory: host.memory, malloc, free: host.free };
      await expect(build.createRuntime(options)).rejects.toThrow("ENOMEM");
      isHonest = true;
      const rt = await build.createRuntime(options);
      isHonest = false;
      expect(rt.bpf(uapi.BPF_MAP_CREATE, attr)).toBe(-uapi.ENOMEM);
      expect(rt.alloc(8)).toBe(0);
      // The core's locks are free again.
      isHonest = true;
      expect(rt.bpf(uapi.BPF_MAP_CREATE, attr)).toBe(3);
      rt.dispose();
      expect([host.blocks.size, host.wrong, host.damage()]).toEqual([0, [], []]);
    });

    it("may throw when it gets something back", async () => {
      const { memory, malloc } = new ToyMalloc(canaryMemory(build, 100));
      let calls = 0;
      const free = (): void => {
        calls++;
        throw new Error("the host's free");
      };
      const rt = await build.createRuntime({ memory, malloc, free });
      const fd = rt.bpf(uapi.BPF_MAP_CREATE, attr);
      expect([rt.close(fd), rt.bpf(uapi.BPF_MAP_CREATE, attr), calls > 0]).toEqual([0, fd, true]);
      rt.dispose();
      expect(rt.disposed).toBe(true);
    });

    /** BPF_MAP_CREATE without a client's buffers. */
    function createRaw(
      rt: Runtime,
      spec: { type: number; keySize: number; valueSize: number; maxEntries: number },
    ): number {
      return rt.bpf(
        0,
        new Uint8Array(u32s(spec.type, spec.keySize, spec.valueSize, spec.maxEntries, 0)),
      );
    }

    it("is not believed when it hands out what is no memory", async () => {
      const memory = canaryMemory(build, 4);
      const freed: number[] = [];
      const free = (ptr: number): void => {
        freed.push(ptr);
      };
      for (const lie of [4 * PAGE - 8, 4 * PAGE, 0xfffffff0]) {
        await expect(build.createRuntime({ memory, malloc: () => lie, free })).rejects.toThrow(
          "ENOMEM",
        );
      }
      expect(damage(memory, 0, 4 * PAGE)).toEqual([]);
    });
  });

  it("can be shared by several runtimes", async () => {
    const memory = canaryMemory(build, 40);
    const low = await build.createRuntime({ memory, arena: { base: PAGE, limit: 15 * PAGE } });
    const high = await build.createRuntime({
      cpus: 2,
      memory,
      arena: { base: 16 * PAGE, limit: 30 * PAGE },
    });
    const bystander = (rt: Runtime): (() => void) => {
      const client = new BpfClient(rt);
      const fd = client.create({ type: 1, keySize: 4, valueSize: 4, maxEntries: 100 });
      for (let key = 0; key < 100; key++) client.update(fd, u32s(key), u32s(key * 3));
      return () => {
        for (let key = 0; key < 100; key++) {
          expect(client.lookup(fd, u32s(key), 4).out).toEqual(u32s(key * 3));
        }
      };
    };
    const checks = [low, high].map(bystander);
    work(low, new Random(5), 40);
    for (const check of checks) check();
    const fds = work(high, new Random(6), 40);
    for (const check of checks) check();
    expectSound(low);
    low.dispose();
    checks[1]?.();
    expectSound(high, ...fds);
    high.dispose();
    for (const [from, end] of [
      [0, PAGE],
      [15 * PAGE, 16 * PAGE],
      [30 * PAGE, 40 * PAGE],
    ] as const) {
      expect(damage(memory, from, end)).toEqual([]);
    }
  });
});

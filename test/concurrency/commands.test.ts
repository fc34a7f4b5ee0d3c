// Threads that do different things with the same maps: whatever they see, nothing traps, and the maps are whole afterwards.

import { describe, expect, it } from "vitest";
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED, u32 } from "../../ts/index.js";
import type { Runtime } from "../support/builds.js";
import { canThread, sharedRuntime, together } from "../support/threads.js";

const KEYS = 64;
const ROUNDS = 200_000;
const BATCHES = 5000;
const MAPS = 3000;
const GROWTHS = 1000;

const isBuilt = canThread("commands between threads");

const runtime = (): Promise<Runtime> => sharedRuntime({ cpus: 4, maxBytes: 1 << 26 });

const KINDS = {
  "inline hash": { type: "hash" },
  "hash in the kernel's order": { type: "hash", flags: BPF_F_ZERO_SEED },
  "hash without preallocation": { type: "hash", flags: BPF_F_NO_PREALLOC },
  "LRU hash": { type: "lru_hash" },
} as const;

describe.skipIf(!isBuilt).each(Object.entries(KINDS))("threads on one %s", (_, kind) => {
  it.each([
    ["lookup", ROUNDS],
    ["next", ROUNDS],
    ["drain", BATCHES],
    ["dump", BATCHES],
    ["walk", BATCHES],
    ["each", BATCHES],
  ])("that change it beside %s leave it whole", async (action, rounds) => {
    const rt = await runtime();
    const map = rt.createMap({ key: u32, value: u32, maxEntries: KEYS, ...kind });
    const { fd } = map;
    await together(rt, [
      { action: "churn", rounds: ROUNDS, fd },
      { action, rounds, fd },
    ]);
    const keys = [...map.keys()];
    expect(map.size).toBe(keys.length);
    for (const key of keys) expect(map.delete(key)).toBe(true);
    expect(map.size).toBe(0);
    for (let key = 0; key < KEYS; key++) map.set(key, key);
    // An LRU map may evict: its entries are spread over the CPUs' lists.
    const found = Array.from({ length: KEYS }, (_key, key) => map.get(key));
    const wrong = found.filter((value, key) => value !== key);
    expect(wrong).toHaveLength(KEYS - map.size);
    rt.dispose();
  });
});

describe.skipIf(!isBuilt)("threads", () => {
  it("that make the memory grow get what they asked for", async () => {
    const rt = await sharedRuntime({ cpus: 4, maxBytes: 2 ** 32 });
    const part = { action: "grow", rounds: GROWTHS, isInStep: true };
    await together(rt, [part, part, part]);
    rt.dispose();
  });

  it.each(["byId", "inner"])("that make and close maps beside %s", async (action) => {
    const rt = await runtime();
    const before = rt.exports.mem_used();
    await together(rt, [
      { action: "make", rounds: 2 * MAPS },
      { action: "make", rounds: 2 * MAPS },
      { action, rounds: 2 * MAPS },
    ]);
    expect([...rt.mapIds()]).toEqual([]);
    // What is left: tables that grew, and each thread's own few.
    expect(rt.exports.mem_used() - before).toBeLessThan(100_000);
    // What maps had been promised has come back: the memory need not grow for it.
    const { byteLength } = rt.memory.buffer;
    rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 5 });
    expect(rt.memory.buffer.byteLength).toBe(byteLength);
    expect(byteLength).toBeLessThan(1 << 24);
    rt.dispose();
  });

  it("either freeze a map or open a writable window of it", async () => {
    const rt = await runtime();
    const spec = { type: "array", value: u32, maxEntries: 4, flags: BPF_F_MMAPABLE } as const;
    const maps = Array.from({ length: MAPS }, () => rt.createMap(spec));
    const fds = maps.map(({ fd }) => fd);
    const [frozen, open] = await together(rt, [
      { action: "freeze", rounds: MAPS, fds, isInStep: true },
      { action: "window", rounds: MAPS, fds, isInStep: true },
    ]);
    expect([...(frozen ?? []), ...(open ?? [])].toSorted((a, b) => a - b)).toEqual([
      ...maps.keys(),
    ]);
    rt.dispose();
  });

  it("that fork with the same pids get the same tasks", async () => {
    const rt = await runtime();
    const [one, other] = await together(rt, [
      { action: "task", rounds: MAPS, isInStep: true },
      { action: "task", rounds: MAPS, isInStep: true },
    ]);
    expect(one).toHaveLength(MAPS);
    expect(one).toEqual(other);
    expect(one).not.toContain(0);
    rt.dispose();
  });
});

// Runtimes in one memory: those that were given the same range are told so.

import { expect, it } from "vitest";
import type { RuntimeOptions } from "../../ts/api.js";
import { describeEachBuild } from "../support/builds.js";

describeEachBuild("runtimes in one memory", (build) => {
  const shared = build.name === "shared";
  const newMemory = () => new WebAssembly.Memory({ initial: 64, maximum: 256, shared });
  const create = (options: RuntimeOptions) => build.createRuntime(options);

  it("refuses an arena that overlaps the arena of a live runtime", async () => {
    const memory = newMemory();
    const first = await create({ memory, arena: { base: 0x10000, limit: 0x30000 } });
    const wrong = [
      { base: 0x10000, limit: 0x30000 },
      { base: 0x18000, limit: 0x20000 },
      { base: 0x0, limit: 0x10001 },
      { base: 0x2ffff, limit: 0x40000 },
      { base: 0x0, limit: 0x400000 },
    ];
    for (const arena of wrong) await expect(create({ memory, arena })).rejects.toThrow(RangeError);
    const below = await create({ memory, arena: { base: 0x0, limit: 0x10000 } });
    const above = await create({ memory, arena: { base: 0x30000, limit: 0x40000 } });
    const elsewhere = await create({
      memory: newMemory(),
      arena: { base: 0x10000, limit: 0x30000 },
    });
    expect([first, below, above, elsewhere].every((rt) => rt.alloc(64) !== 0)).toBe(true);
  });

  it("frees the range with the runtime", async () => {
    const memory = newMemory();
    const arena = { base: 0x10000, limit: 0x30000 };
    for (let round = 0; round < 3; round++) (await create({ memory, arena })).dispose();
    // One that finds no room holds nothing.
    const tiny = { base: 0x10000, limit: 0x10100 };
    await expect(create({ memory, arena: tiny })).rejects.toMatchObject({ code: "ENOMEM" });
    (await create({ memory, arena })).dispose();
  });

  it("does not let two creations at once have the same arena", async () => {
    const memory = newMemory();
    const arena = { base: 0x10000, limit: 0x30000 };
    const results = await Promise.allSettled([
      create({ memory, arena }),
      create({ memory, arena }),
    ]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });

  it("refuses an arena around the root of a runtime of another kind", async () => {
    const memory = newMemory();
    let next = 0x80000;
    const malloc = (bytes: number) => (next += (bytes + 15) & ~15) - ((bytes + 15) & ~15);
    const ofMalloc = await create({ memory, malloc, free: () => {} });
    const growing = await create({ memory });
    const size = memory.buffer.byteLength;
    const arenas = [
      { base: 0x10000, limit: 0x100000 },
      { base: size - 0x10000, limit: size },
    ];
    for (const arena of arenas) {
      await expect(create({ memory, arena })).rejects.toThrow(RangeError);
    }
    ofMalloc.dispose();
    growing.dispose();
    for (const arena of arenas) (await create({ memory, arena })).dispose();
  });

  it("lets a runtime live in memory that another has given", async () => {
    const host = await create({});
    const base = host.alloc(0x10000);
    const guest = await create({ memory: host.memory, arena: { base, limit: base + 0x10000 } });
    const nested = await create({
      memory: host.memory,
      malloc: (bytes) => host.alloc(bytes),
      free: (ptr) => host.free(ptr),
    });
    expect(guest.alloc(64)).toBeGreaterThan(base);
    nested.dispose();
  });
});

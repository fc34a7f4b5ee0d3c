// Options of createRuntime.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bytes, createRuntime } from "../../ts/index.js";
import type { RuntimeOptions } from "../../ts/index.js";

const PAGE = 65536;
const MIB = 1 << 20;

const pages = (initial: number): WebAssembly.Memory => new WebAssembly.Memory({ initial });
const malloc = (): number => 0;

const REFUSED: readonly (readonly [string, unknown, new (text?: string) => Error, RegExp])[] = [
  ["no object", 1, TypeError, /^options: expected an object$/],
  ["cpus of a wrong type", { cpus: "2" }, TypeError, /^cpus: expected a number, got string$/],
  ["no CPU", { cpus: 0 }, RangeError, /^cpus: expected an integer in 1\.\.1024, got 0$/],
  ["too many CPUs", { cpus: 1025 }, RangeError, /^cpus: /],
  ["shared of a wrong type", { shared: 1 }, TypeError, /^shared: expected a boolean$/],
  ["maxBytes below a page", { maxBytes: PAGE - 1 }, RangeError, /^maxBytes: /],
  ["maxBytes beyond 4 GiB", { maxBytes: 2 ** 32 + 1 }, RangeError, /^maxBytes: /],
  ["minBytes below a page", { minBytes: 1 }, RangeError, /^minBytes: /],
  ["minBytes above maxBytes", { minBytes: 2 * PAGE, maxBytes: PAGE }, RangeError, /^minBytes: /],
  ["minBytes of a wrong type", { minBytes: 1n }, TypeError, /^minBytes: /],
  ["minBytes for a memory", { minBytes: PAGE, memory: pages(1) }, TypeError, /^minBytes is for /],
  ["a seed of a wrong type", { seed: "1" }, TypeError, /^seed: /],
  ["a seed that is no integer", { seed: 0.5 }, RangeError, /^seed: /],
  ["no memory", { memory: {} }, TypeError, /^memory: expected a WebAssembly\.Memory$/],
  ["an arena without memory", { arena: { base: 0, limit: PAGE } }, TypeError, /option memory$/],
  ["malloc without memory", { malloc, free: malloc }, TypeError, /option memory$/],
  ["malloc without free", { memory: pages(1), malloc }, TypeError, /^free: expected a function/],
  ["a memory that is not shared", { memory: pages(1), shared: true }, TypeError, /is not shared/],
  ["no arena", { memory: pages(1), arena: 1 }, TypeError, /^arena: expected/],
  [
    "an arena beyond the memory",
    { memory: pages(1), arena: { base: 0, limit: PAGE + 1 } },
    RangeError,
    /^arena\.limit: /,
  ],
  [
    "an empty arena",
    { memory: pages(1), arena: { base: 64, limit: 64 } },
    RangeError,
    /^arena\.limit must be above/,
  ],
];

describe("createRuntime", () => {
  const core = new WebAssembly.Module(
    readFileSync(new URL("../../build/core.wasm", import.meta.url)),
  );
  const make = (options: RuntimeOptions) => createRuntime({ core, ...options });

  describe("refuses", () => {
    for (const [name, options, kind, text] of REFUSED) {
      it(name, async () => {
        const attempt = createRuntime(options as RuntimeOptions);
        await expect(attempt).rejects.toThrow(text);
        await expect(attempt).rejects.toBeInstanceOf(kind);
      });
    }
  });

  it.each([
    [{}, 48 * MIB],
    [{ maxBytes: MIB }, MIB],
    [{ minBytes: PAGE + 1 }, 2 * PAGE],
    [{ minBytes: 2 * PAGE - 1, maxBytes: 2 * PAGE - 1 }, PAGE],
    [{ minBytes: 100 * MIB }, 100 * MIB],
  ])("begins with a memory of minBytes: %o", async (options, expected) => {
    const rt = await make(options);
    expect(rt.memory.buffer.byteLength).toBe(expected);
    rt.dispose();
  });

  it("needs no growth for a million entries of 32 bytes", async () => {
    const rt = await make({});
    const { buffer } = rt.memory;
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 1e6 });
    expect(rt.memory.buffer).toBe(buffer);
    map.close();
    rt.dispose();
  });

  it("draws another seed for each runtime, unless it is told one", async () => {
    const numbers = async (options: RuntimeOptions) => {
      const rt = await make(options);
      const drawn = [1, 2, 3].map(() => rt.exports.bpf_get_prandom_u32());
      rt.dispose();
      return drawn;
    };
    expect(await numbers({ seed: 7 })).toEqual(await numbers({ seed: 7n }));
    expect(await numbers({})).not.toEqual(await numbers({}));
  });
});

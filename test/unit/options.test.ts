// Options of createRuntime.

import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { bytes, createRuntime, u32 } from "../../ts/index.js";
import type { RuntimeOptions } from "../../ts/index.js";

const PAGE = 65536;
const MIB = 1 << 20;

const memory = (initial: number, maximum: number, shared = false): WebAssembly.Memory =>
  new WebAssembly.Memory({ initial, maximum, shared });
const EMPTY_MODULE = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
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
  ["null for a number", { cpus: null }, TypeError, /^cpus: expected a number/],
  ["null for a bound", { maxBytes: null }, TypeError, /^maxBytes: expected a number/],
  ["null for a boolean", { shared: null }, TypeError, /^shared: expected a boolean$/],
  ["null for the core", { core: null }, TypeError, /^core: expected bytes/],
  ["another module", { core: EMPTY_MODULE }, TypeError, /^core: this is another module$/],
  ["a CPU of a wrong type", { cpu: "1", cpus: 2 }, TypeError, /^cpu: expected a number/],
  [
    "a CPU that there is not",
    { cpu: 2, cpus: 2 },
    RangeError,
    /^cpu: expected an integer in 0\.\.1/,
  ],
  ["a memory that may have no page", { memory: memory(0, 0) }, RangeError, /^memory has no page/],
  [
    "a memory without a page for malloc",
    { memory: memory(0, 9), malloc, free: malloc },
    RangeError,
    /grow it first$/,
  ],
  ["an arena and free", { memory: pages(1), arena: {}, free: malloc }, TypeError, /exclude/],
  ["less than the memory has", { memory: pages(2), maxBytes: PAGE }, RangeError, /^maxBytes: /],
  ["no kernel to attach to", { attach: null }, TypeError, /^attach: expected what rt\.share/],
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

  it("begins on the CPU it is told", async () => {
    const rt = await make({ cpus: 3, cpu: 2 });
    expect([rt.cpu, rt.exports.bpf_get_smp_processor_id()]).toEqual([2, 2]);
    rt.dispose();
  });

  describe.each([false, true])("in a memory it is given, shared: %s", (shared) => {
    const live = async (options: RuntimeOptions): Promise<number> => {
      using rt = await createRuntime({ shared, ...options });
      const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 16 });
      expect(map.set(1, 2).get(1)).toBe(2);
      return rt.memory.buffer.byteLength / PAGE;
    };

    it("needs no page to begin with", async () => {
      expect(await live({ memory: memory(0, 100, shared) })).toBeGreaterThanOrEqual(1);
      expect(await live({ memory: memory(0, 1, shared) })).toBe(1);
      expect(await live({ memory: memory(0, 1, shared), maxBytes: PAGE })).toBe(1);
    });

    it("may get the last page of all", async () => {
      expect(await live({ memory: memory(65535, 65536, shared) })).toBe(65536);
    });

    it("does not grow it beyond maxBytes: takes it over, or refuses it when it is in use", async () => {
      const given = memory(10, 20, shared);
      expect(await live({ memory: given, maxBytes: 10 * PAGE })).toBe(10);
      new Uint8Array(given.buffer)[PAGE] = 1;
      const options = { memory: given, maxBytes: 11 * PAGE - 1 };
      await expect(live(options)).rejects.toThrow(/^memory cannot grow and is in use/);
      expect(given.buffer.byteLength).toBe(10 * PAGE);
      expect(await live({ memory: given, maxBytes: 11 * PAGE })).toBe(11);
    });

    it("leaves it as it is when it is refused", async () => {
      const given = memory(2, 20, shared);
      const refused: unknown[] = [5, null, EMPTY_MODULE, Uint8Array.of(1)];
      for (const bad of refused) {
        const options = { memory: given, shared, core: bad } as RuntimeOptions;
        await expect(createRuntime(options)).rejects.toThrow();
      }
      const options = { memory: given, shared, cpus: 0 };
      await expect(createRuntime(options)).rejects.toThrow(/^cpus/);
      expect(given.buffer.byteLength).toBe(2 * PAGE);
    });

    it("takes one from another realm", async () => {
      const script = `new WebAssembly.Memory({ initial: 1, maximum: 20, shared: ${shared} })`;
      const foreign = runInNewContext(script) as WebAssembly.Memory;
      expect(foreign instanceof WebAssembly.Memory).toBe(false);
      expect(await live({ memory: foreign })).toBeGreaterThan(1);
    });
  });

  it("takes a core from another realm", async () => {
    const Foreign = runInNewContext("WebAssembly.Module") as typeof WebAssembly.Module;
    const file = readFileSync(new URL("../../build/core.wasm", import.meta.url));
    (await make({ core: new Foreign(file) })).dispose();
  });

  it("loads a core from a file's address", async () => {
    const address = new URL("../../build/core.wasm", import.meta.url);
    (await make({ core: address })).dispose();
    (await make({ core: address.href })).dispose();
    const missing = make({ core: new URL("missing.wasm", address) });
    await expect(missing).rejects.toThrow(
      /^cannot load the core from file:.*missing\.wasm: ENOENT; a bundle has to bring it along, or give it/,
    );
    await expect(make({ core: new URL(import.meta.url) })).rejects.toThrow(
      WebAssembly.CompileError,
    );
  });

  describe("attach", () => {
    const kernel = async () => {
      const rt = await createRuntime({ shared: true, cpus: 2, minBytes: PAGE });
      return { rt, share: rt.share() };
    };

    it.each<[string, object, new (text?: string) => Error, RegExp]>([
      ["no address", { root: 1e12 }, RangeError, /^attach\.root: /],
      ["a negative address", { root: -5 }, RangeError, /^attach\.root: /],
      ["an address beyond the memory", { root: 0xfffffffc }, RangeError, /^attach\.root: /],
      ["an address of nothing", { root: 68 }, RangeError, /^attach\.root: /],
      ["NULL", { root: 0 }, RangeError, /^attach\.root: /],
      ["an address of a wrong type", { root: "64" }, TypeError, /^attach\.root: /],
      ["other CPUs", { cpus: 3 }, RangeError, /^attach\.cpus: the runtime has 2/],
      ["no memory", { memory: {} }, TypeError, /^attach: expected what/],
      ["no module", { module: undefined }, TypeError, /^attach: expected what/],
    ])("refuses a share with %s", async (_name, change, kind, text) => {
      const { rt, share } = await kernel();
      const attempt = createRuntime({ attach: { ...share, ...change } });
      await expect(attempt).rejects.toThrow(text);
      await expect(attempt).rejects.toBeInstanceOf(kind);
      rt.dispose();
    });

    it("says that the runtime has ended", async () => {
      const { rt, share } = await kernel();
      const somewhere = { ...share, root: share.root + 512 };
      await expect(createRuntime({ attach: somewhere })).rejects.toMatchObject({ code: "ENODEV" });
      rt.dispose();
      await expect(createRuntime({ attach: share })).rejects.toMatchObject({ code: "ENODEV" });
      await expect(createRuntime({ attach: share })).rejects.toThrow("has ended");
    });

    it("takes no other option but cpu", async () => {
      const { rt, share } = await kernel();
      const others = {
        cpus: 2,
        maxBytes: PAGE,
        seed: 1,
        shared: false,
        memory: share.memory,
        core,
      };
      for (const [name, value] of Object.entries(others)) {
        const options = { attach: share, [name]: value };
        await expect(createRuntime(options)).rejects.toThrow(`attach: ${name} is settled already`);
      }
      const joined = await createRuntime({ attach: share, cpu: 1, shared: true, seed: undefined });
      expect([joined.cpu, joined.cpus]).toEqual([1, 2]);
      joined.dispose();
      rt.dispose();
    });
  });

  it("shares no runtime whose memory comes from the host's malloc", async () => {
    const given = memory(2, 20, true);
    const take = (): number => given.grow(1) * PAGE;
    using rt = await createRuntime({ memory: given, shared: true, malloc: take, free: () => {} });
    expect(() => rt.share()).toThrow(/^share: the host's malloc/);
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

// A million random calls of rt.bpf over the builds: none throws, none traps, each answers with an
// integer, and a map that nobody mentioned keeps its contents.

import { afterAll, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { type Build, type BuildName, describeEachBuild, type Runtime } from "../support/builds.js";
import { type FuzzWindow, SyscallFuzzer } from "../support/syscall-fuzz.js";
import { toHex } from "../support/trace.js";

const CPUS = 2;
const PAGE = 65536;
/** The calls of one test; there are two tests per build. */
const CALLS: Readonly<Record<BuildName, number>> = {
  release: 200_000,
  shared: 200_000,
  debug: 100_000,
};
const ROUNDS = 10;

/** A map with known contents that the calls have no reason to touch. */
class Bystander {
  readonly fd: number;
  readonly id: number;
  readonly #client: BpfClient;
  readonly #contents = new Map<string, string>();

  constructor(client: BpfClient, type: number, flags: number) {
    this.#client = client;
    this.fd = client.create({ type, keySize: 4, valueSize: 12, maxEntries: 100, flags });
    if (this.fd < 0) throw new Error(`no bystander of type ${type}: ${this.fd}`);
    this.id = client.info(this.fd).info?.id ?? 0;
    for (let i = 0; i < 100; i++) {
      const key = new Uint8Array(new Uint32Array([i]).buffer);
      const value = new Uint8Array(new Uint32Array([i * 3, ~i, 0x5a5a5a5a]).buffer);
      expect(client.update(this.fd, key, value)).toBe(0);
      this.#contents.set(toHex(key), toHex(value));
    }
  }

  /** Walks the map: all that was put in is there, and nothing else. */
  check(): void {
    const found = new Map<string, string>();
    let key: Uint8Array | null = null;
    while (found.size <= this.#contents.size) {
      const next = this.#client.nextKey(this.fd, key, 4);
      if (next.ret < 0) break;
      key = next.out;
      found.set(toHex(key), toHex(this.#client.lookup(this.fd, key, 12).out));
    }
    expect(found.size).toBe(this.#contents.size);
    for (const [k, value] of this.#contents) expect(found.get(k), k).toBe(value);
  }
}

/** Makes `count` calls on `runtime`; returns how many of them succeeded. */
function fuzz(runtime: Runtime, window: FuzzWindow, seed: number, count: number): number {
  const client = new BpfClient(runtime);
  const bystanders = [
    new Bystander(client, uapi.BPF_MAP_TYPE_HASH, 0),
    new Bystander(client, uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_NO_PREALLOC),
    new Bystander(client, uapi.BPF_MAP_TYPE_ARRAY, 0),
  ];
  const forbidden = new Set(bystanders.flatMap(({ fd, id }) => [fd, id]));
  const fuzzer = new SyscallFuzzer(seed, runtime, window, forbidden);
  // Callers in JavaScript pass what they like.
  const bpf = runtime.bpf.bind(runtime) as (...args: readonly unknown[]) => unknown;
  let successes = 0;
  for (let i = 0; i < count; i++) {
    const call = fuzzer.next();
    let ret: unknown;
    try {
      ret = bpf(...call.args);
    } catch (error) {
      throw new Error(`seed ${seed}, call ${i} threw: ${describeCall(call.args)}`, {
        cause: error,
      });
    }
    const fine = typeof ret === "number" && Number.isInteger(ret) && !(call.mustFail && ret >= 0);
    if (!fine)
      throw new Error(`seed ${seed}, call ${i}: ${describeCall(call.args)} = ${String(ret)}`);
    if (Number(ret) >= 0) successes += 1;
    fuzzer.took(call, Number(ret));
    if ((i + 1) % (count / ROUNDS) === 0) for (const bystander of bystanders) bystander.check();
  }
  fuzzer.closeAll();
  for (const bystander of bystanders) bystander.check();
  expect(
    client.create({ type: uapi.BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 4, maxEntries: 4 }),
  ).toBeGreaterThan(2);
  return successes;
}

function describeCall(args: readonly unknown[]): string {
  return args
    .map((arg) => {
      if (ArrayBuffer.isView(arg) && arg.constructor === Uint8Array) return toHex(arg);
      return Object.prototype.toString.call(arg) + (typeof arg === "number" ? ` ${arg}` : "");
    })
    .join(", ");
}

describeEachBuild("random syscalls", (build: Build) => {
  const totals = { calls: 0, successes: 0 };

  afterAll(() => {
    console.log(
      `${build.name}: ${totals.calls} random calls, ${totals.successes} of them accepted`,
    );
  });

  it("leave a runtime with a memory of its own intact", async () => {
    const runtime = await build.createRuntime({ cpus: CPUS, seed: 1, maxBytes: 64 << 20 });
    const base = runtime.alloc(PAGE);
    const window = { base, end: base + PAGE, endsMemory: false, maxValueSize: 64, maxCount: 32 };
    totals.successes += fuzz(runtime, window, 1, CALLS[build.name]);
    totals.calls += CALLS[build.name];
    runtime.dispose();
  });

  it("leave a runtime that lives in an arena intact, and the memory below it untouched", async () => {
    const pages = 512;
    const memory = new WebAssembly.Memory({
      initial: pages,
      maximum: pages,
      shared: build.name === "shared",
    });
    const base = 16 * PAGE;
    const limit = (pages - 64) * PAGE;
    const runtime = await build.createRuntime({
      cpus: CPUS,
      seed: 2,
      memory,
      arena: { base, limit },
    });
    // The fuzzer's window is the rest of the memory: whatever is written from there stays there.
    const window = {
      base: limit,
      end: pages * PAGE,
      endsMemory: true,
      maxValueSize: Number.POSITIVE_INFINITY,
      maxCount: 4096,
    };
    totals.successes += fuzz(runtime, window, 2, CALLS[build.name]);
    totals.calls += CALLS[build.name];
    expect(new Uint8Array(memory.buffer, 0, base).every((byte) => byte === 0)).toBe(true);
    runtime.dispose();
  });
});

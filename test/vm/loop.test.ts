// The counting loop (lookup, load, add, store on a HASH of 100,000 entries) as an eBPF program in the
// Wasm machine and as Wasm code. Always: both count the same. With BPFMAPS_BENCH set: how much the
// machine costs, at most half as much again as the direct loop.
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { createRuntime, type BpfRuntime } from "../../ts/index.js";
import { BPF_MAP_TYPE_HASH } from "../../ts/uapi.js";
import { assemble } from "../support/vm/asm.js";
import { resolverOf, SyscallMap } from "../support/vm/maps.js";
import { relocate } from "../support/vm/relocate.js";
import { compileWasmVm, vmRoom, WasmVm } from "../support/vm/wasm-vm.js";

const ENTRIES = 100_000;
const LOOKUPS = 200_000;
const MAX_RATIO = 1.5;

/** Context: first key, end of the keys. r0: how many the map has not. */
const COUNT_KEYS = `
  r6 = *(u32 *)(r1 + 0); r7 = *(u32 *)(r1 + 4); r8 = 0
next:
  r2 = *(u32 *)(r6 + 0)
  *(u32 *)(r10 - 4) = r2
  r2 = r10; r2 += -4
  r1 = map[counters] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto missing
  r1 = *(u64 *)(r0 + 0); r1 += 1; *(u64 *)(r0 + 0) = r1
step:
  r6 += 4
  if r6 < r7 goto next
  r0 = r8
  exit
missing:
  r8 += 1
  goto step`;

interface Loops {
  readonly map: SyscallMap;
  readonly viaProgram: () => number;
  readonly direct: () => number;
}

const keyOf = (index: number): number => Math.imul(index, 7919) >>> 0;

async function createLoops(rt: BpfRuntime): Promise<Loops> {
  const shape = { keySize: 4, valueSize: 8, maxEntries: ENTRIES };
  const map = new SyscallMap(rt, { ...shape, type: BPF_MAP_TYPE_HASH });
  for (let index = 0; index < ENTRIES; index++) map.update(keyOf(index), 0n);

  const keys = rt.alloc(LOOKUPS * 4);
  const room = rt.alloc(vmRoom(64));
  const ctx = rt.alloc(16);
  const view = new DataView(rt.memory.buffer);
  // One in 50 is not there.
  for (let index = 0, random = 1; index < LOOKUPS; index++) {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    view.setUint32(keys + index * 4, keyOf((random >>> 8) % (ENTRIES + ENTRIES / 50)), true);
  }
  view.setUint32(ctx, keys, true);
  view.setUint32(ctx + 4, keys + LOOKUPS * 4, true);

  const machine = new WasmVm(await compileWasmVm(), {
    memory: rt.memory,
    helpers: rt.exports,
    base: room,
    limit: room + vmRoom(64),
  });
  machine.load(relocate(assemble(COUNT_KEYS, { maps: { counters: map.fd } }), resolverOf(rt)));
  const countKeys = await directLoop(rt);
  const handle = rt.exports.bpf_map_by_fd(map.fd);
  return {
    map,
    viaProgram: () => Number(machine.exec(ctx, 8)),
    direct: () => countKeys(handle, keys, LOOKUPS, ctx + 8),
  };
}

type CountKeys = (map: number, keys: number, count: number, scratch: number) => number;

async function directLoop(rt: BpfRuntime): Promise<CountKeys> {
  const bytes = await readFile(new URL("../../build/test-direct.wasm", import.meta.url));
  const helpers = rt.exports as unknown as WebAssembly.ModuleImports;
  const { instance } = await WebAssembly.instantiate(bytes, {
    env: { memory: rt.memory },
    helpers,
  });
  return instance.exports["count_keys"] as CountKeys;
}

test("the program and the direct loop count the same", async () => {
  const rt = await createRuntime({ seed: 1 });
  const { map, viaProgram, direct } = await createLoops(rt);
  const missing = direct();
  expect(missing).toBeGreaterThan(0);
  expect(viaProgram()).toBe(missing);
  const counts = map.keys().map((key) => map.lookup(key)?.getBigUint64(0, true) ?? 0n);
  expect(counts.reduce((sum, count) => sum + count, 0n)).toBe(BigInt(2 * (LOOKUPS - missing)));
  expect(counts.every((count) => count % 2n === 0n)).toBe(true);
});

/** Nanoseconds per key of one run. */
function measure(run: () => number): number {
  const start = performance.now();
  run();
  return ((performance.now() - start) / LOOKUPS) * 1e6;
}

test("the program costs at most half as much again", async ({ skip }) => {
  if (process.env["BPFMAPS_BENCH"] === undefined) {
    console.log("skipped, the cost of the machine: set BPFMAPS_BENCH to measure");
    skip();
  }
  const { viaProgram, direct } = await createLoops(await createRuntime({ seed: 1 }));
  const best = { viaProgram: Infinity, direct: Infinity };
  // The least of many rounds, taken in turns: what the loops cost, not what else the machine does.
  for (let round = 0; round < 60; round++) {
    best.direct = Math.min(best.direct, measure(direct));
    best.viaProgram = Math.min(best.viaProgram, measure(viaProgram));
  }
  const ratio = best.viaProgram / best.direct;
  const [program, loop] = [best.viaProgram.toFixed(1), best.direct.toFixed(1)];
  console.log(`per key: program ${program} ns, direct ${loop} ns, ratio ${ratio.toFixed(2)}`);
  expect(ratio).toBeLessThanOrEqual(MAX_RATIO);
});

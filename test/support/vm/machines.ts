// Both machines over one runtime: the JS one with a JS function as its helpers, the Wasm one with the
// core's exports as they are.
import type { BpfRuntime } from "../../../ts/api.js";
import { createRuntime } from "../../../ts/index.js";
import type { RuntimeOptions } from "../../../ts/api.js";
import { assembleProgram } from "./asm.js";
import { resolverOf } from "./maps.js";
import * as op from "./opcodes.js";
import { relocate } from "./relocate.js";
import { JsVm } from "./vm.js";
import { compileWasmVm, vmRoom, WasmVm } from "./wasm-vm.js";

/** What both machines have in common. */
export interface Machine {
  load(insns: Uint8Array): void;
  exec(ctxPtr: number, ctxLength: number): bigint;
  call(pc: number, ...args: bigint[]): bigint;
}

/** A machine over a runtime. */
export interface Setup {
  readonly name: string;
  readonly rt: BpfRuntime;
  readonly machine: Machine;
  /** Memory besides its stack and the maps' values that programs may touch. */
  allow(address: number, length: number): void;
}

/** Instructions that a machine made here has room for. */
const MAX_INSNS = 512;

/** The kinds of setups, for test.for. */
export const SETUPS: readonly (readonly [string, (options?: RuntimeOptions) => Promise<Setup>])[] =
  [
    ["JS machine", (options) => jsSetup(options)],
    ["Wasm machine", (options) => wasmSetup(options, false)],
    ["Wasm machine, checked", (options) => wasmSetup(options, true)],
    [
      "Wasm machine, shared memory",
      (options) => wasmSetup({ ...options, shared: true, maxBytes: 1 << 26 }, false),
    ],
  ];

async function jsSetup(options: RuntimeOptions = {}): Promise<Setup> {
  const rt = await createRuntime(options);
  const allowed = { start: 0, end: 0 };
  const machine = new JsVm({
    memory: rt.memory,
    stack: rt.alloc(op.STACK_SIZE),
    helpers: (id, r1, r2, r3, r4, r5) => rt.exports.bpf_helper_call(id, r1, r2, r3, r4, r5),
    validRange: (address, length) =>
      (address >= allowed.start && address + length <= allowed.end) ||
      rt.exports.bpf_valid_range(address, length) === 1,
  });
  rt.setCallback((fn, r1, r2, r3, r4) => machine.call(Number(fn), r1, r2, r3, r4));
  const allow = (start: number, length: number) =>
    void Object.assign(allowed, { start, end: start + length });
  return { name: "JS", rt, machine, allow };
}

async function wasmSetup(options: RuntimeOptions = {}, checks: boolean): Promise<Setup> {
  const rt = await createRuntime(options);
  const bytes = vmRoom(MAX_INSNS);
  const base = rt.alloc(bytes);
  const module = await compileWasmVm(options.shared);
  const machine = new WasmVm(module, {
    memory: rt.memory,
    helpers: rt.exports,
    base,
    limit: base + bytes,
    checks,
  });
  rt.setCallback(machine.dispatcher);
  return { name: "Wasm", rt, machine, allow: (start, length) => machine.allow(start, length) };
}

/**
 * Assembles, relocates and loads a program.
 * @param maps fds of the maps by their names in the program
 */
export function loadText(setup: Setup, text: string, maps: Readonly<Record<string, number>>): void {
  const { insns } = assembleProgram(text, { maps });
  setup.machine.load(relocate(insns, resolverOf(setup.rt)));
}

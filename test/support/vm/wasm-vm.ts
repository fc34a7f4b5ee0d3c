// Host of the WebAssembly machine (assembly/vm.ts): instantiates it over a memory with the helpers
// of a core instance and hands programs in. Helpers are passed on as they are: when they are the
// exports of a core, no JavaScript runs between the machine and the maps.
import { readFile } from "node:fs/promises";
import * as op from "./opcodes.js";
import { VmError } from "./vm.js";

/** The functions that the machine imports. */
export type WasmVmHelpers = {
  bpf_helper_call(id: number, r1: bigint, r2: bigint, r3: bigint, r4: bigint, r5: bigint): bigint;
  bpf_map_lookup_elem(map: number, key: number): number;
  bpf_map_update_elem(map: number, key: number, value: number, flags: bigint): number;
  bpf_map_delete_elem(map: number, key: number): number;
  bpf_valid_range(address: number, length: number): number;
};

/** What a machine lives in. */
export interface WasmVmOptions {
  readonly memory: WebAssembly.Memory;
  readonly helpers: WasmVmHelpers;
  /** The machine's room: base <= address < limit, base 8-byte aligned. */
  readonly base: number;
  readonly limit: number;
  /** Whether loads and stores are checked. Default false. */
  readonly checks?: boolean;
}

interface Exports {
  readonly vm_init: (base: number, limit: number, checks: number) => number;
  readonly vm_allow: (start: number, end: number) => void;
  readonly vm_load: (insnsPtr: number, count: number) => number;
  readonly vm_exec: (ctxPtr: number, ctxLength: number) => bigint;
  readonly vm_call: (
    pc: number,
    r1: bigint,
    r2: bigint,
    r3: bigint,
    r4: bigint,
    r5: bigint,
  ) => bigint;
  readonly vm_dispatch: (fn: bigint, r1: bigint, r2: bigint, r3: bigint, r4: bigint) => bigint;
  readonly vm_error: () => number;
  readonly vm_error_pc: () => number;
}

const ERRORS = [
  "no error",
  "unknown instruction",
  "access outside of what a program may touch",
  "too many nested calls",
  "outside the program",
  "misaligned atomic operation",
  "no room for the program",
  "no such register",
  "a register that cannot be written",
  "unresolved reference or unsupported kind of call",
];

/** Bytes of room that a machine needs for a program of `count` instructions, at most. */
export function vmRoom(count: number): number {
  // State and stack; 32 bytes for each decoded instruction and the end mark; the original program.
  return 128 + op.STACK_SIZE + (count + 1) * 32 + count * op.INSN_SIZE;
}

/** The compiled module; `shared` selects the build for shared memories. */
export async function compileWasmVm(shared = false): Promise<WebAssembly.Module> {
  const name = shared ? "test-vm.shared.wasm" : "test-vm.wasm";
  return WebAssembly.compile(await readFile(new URL(`../../../build/${name}`, import.meta.url)));
}

/** The machine: the same surface as JsVm. */
export class WasmVm {
  readonly instance: WebAssembly.Instance;
  readonly #exports: Exports;
  readonly #options: WasmVmOptions;

  /** @throws {RangeError} when the room is too small or misaligned */
  constructor(module: WebAssembly.Module, options: WasmVmOptions) {
    const imports = { env: { memory: options.memory }, helpers: options.helpers };
    this.instance = new WebAssembly.Instance(module, imports);
    this.#exports = this.instance.exports as unknown as Exports;
    this.#options = options;
    const { base, limit, checks = false } = options;
    if (this.#exports.vm_init(base, limit, checks ? 1 : 0) !== 0) {
      throw new RangeError("the machine's room is too small or misaligned");
    }
  }

  /**
   * Takes a program; its references are resolved already (relocate.ts).
   * @throws {VmError} for what no program may contain
   */
  load(insns: Uint8Array): void {
    const { memory, base, limit } = this.#options;
    const at = limit - Math.ceil(insns.length / 8) * 8;
    const count = insns.length / op.INSN_SIZE;
    if (vmRoom(count) > limit - base) throw new RangeError("no room for the program");
    new Uint8Array(memory.buffer).set(insns, at);
    if (this.#exports.vm_load(at, count) !== 0) throw this.#error();
  }

  /** Lets programs touch `length` bytes at `address` as well, when accesses are checked. */
  allow(address: number, length: number): void {
    this.#exports.vm_allow(address, address + length);
  }

  /** Runs the callbacks of helpers: a Wasm function, for the table through which the helpers' module calls. */
  get dispatcher(): Exports["vm_dispatch"] {
    return this.#exports.vm_dispatch;
  }

  /**
   * Runs the program with r1 = `ctxPtr` and gives r0.
   * @throws {VmError}
   */
  exec(ctxPtr: number, ctxLength: number): bigint {
    const result = this.#exports.vm_exec(ctxPtr, ctxLength);
    if (this.#exports.vm_error() !== 0) throw this.#error();
    return BigInt.asUintN(64, result);
  }

  /** Calls the function at instruction `pc` as a helper's callback, while that helper runs. */
  call(pc: number, r1 = 0n, r2 = 0n, r3 = 0n, r4 = 0n, r5 = 0n): bigint {
    const result = this.#exports.vm_call(pc, r1, r2, r3, r4, r5);
    if (this.#exports.vm_error() !== 0) throw this.#error();
    return BigInt.asUintN(64, result);
  }

  #error(): VmError {
    const code = this.#exports.vm_error();
    return new VmError(this.#exports.vm_error_pc(), ERRORS[code] ?? `error ${code}`);
  }
}

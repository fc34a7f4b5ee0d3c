// What stands between the WebAssembly machine and the maps: nothing. Its functions come from the
// core's instance as they are, so that a program's lookup is a call from Wasm to Wasm.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createRuntime } from "../../ts/index.js";
import { compileWasmVm, vmRoom, WasmVm } from "../support/vm/wasm-vm.js";

/** Whether a function is one of WebAssembly: a table takes no others. */
function isWasmFunction(f: unknown): boolean {
  try {
    new WebAssembly.Table({ element: "anyfunc", initial: 1 }).set(0, f);
    return true;
  } catch {
    return false;
  }
}

const core = new WebAssembly.Module(
  readFileSync(new URL("../../build/core.wasm", import.meta.url)),
);

test.for([false, true])(
  "the machine imports a memory and helpers only (shared: %s)",
  async (shared) => {
    const imports = WebAssembly.Module.imports(await compileWasmVm(shared));
    expect(
      imports.map(({ module, name, kind }) => `${module}.${name}: ${kind}`).toSorted(),
    ).toEqual([
      "env.memory: memory",
      "helpers.bpf_helper_call: function",
      "helpers.bpf_map_delete_elem: function",
      "helpers.bpf_map_lookup_elem: function",
      "helpers.bpf_map_update_elem: function",
      "helpers.bpf_valid_range: function",
    ]);
  },
);

test("every function that it imports is a Wasm function of the core", async () => {
  const rt = await createRuntime();
  const exports: Record<string, unknown> = { ...rt.exports };
  const imports = WebAssembly.Module.imports(await compileWasmVm());
  const names = imports.filter(({ kind }) => kind === "function").map(({ name }) => name);
  expect(names.filter((name) => !isWasmFunction(exports[name]))).toEqual([]);
  expect(isWasmFunction(() => 0)).toBe(false);
  // The core in turn calls nothing but the host: its allocator, the callbacks of programs, wake-ups.
  const calls = WebAssembly.Module.imports(core).filter(({ kind }) => kind === "function");
  expect(calls.map(({ name }) => name).toSorted()).toEqual([
    "callback",
    "free",
    "malloc",
    "wakeup",
  ]);
});

test("the exports of a runtime are its imports without a detour", async () => {
  const rt = await createRuntime();
  const bytes = vmRoom(8);
  const base = rt.alloc(bytes);
  const module = await compileWasmVm();
  const imports = {
    env: { memory: rt.memory },
    helpers: rt.exports as unknown as WebAssembly.ModuleImports,
  };
  const { exports } = new WebAssembly.Instance(module, imports);
  expect(exports["memory"]).toBe(rt.memory);
  // And so does the class.
  const vm = new WasmVm(module, {
    memory: rt.memory,
    helpers: rt.exports,
    base,
    limit: base + bytes,
  });
  expect(vm.instance.exports["memory"]).toBe(rt.memory);
});

test.for([false, true])("nothing is written at instantiation (shared: %s)", async (shared) => {
  const memory = new WebAssembly.Memory(
    shared ? { initial: 1, maximum: 65536, shared } : { initial: 1 },
  );
  const bytes = new Uint8Array(memory.buffer).fill(0xa5);
  const helpers = {
    bpf_helper_call: () => 0n,
    bpf_map_lookup_elem: () => 0,
    bpf_map_update_elem: () => 0,
    bpf_map_delete_elem: () => 0,
    bpf_valid_range: () => 0,
  };
  const module = await compileWasmVm(shared);
  const instance = new WebAssembly.Instance(module, { env: { memory }, helpers });
  expect(instance.exports["memory"]).toBe(memory);
  expect(bytes.every((byte) => byte === 0xa5)).toBe(true);
});

test("a machine stays within its room", async () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const rt = await createRuntime();
  const bytes = new Uint8Array(memory.buffer).fill(0xa5);
  const base = 8192;
  const limit = base + vmRoom(1);
  const vm = new WasmVm(await compileWasmVm(), { memory, helpers: rt.exports, base, limit });
  vm.load(Uint8Array.of(0x95, 0, 0, 0, 0, 0, 0, 0));
  vm.exec(0, 0);
  expect(() => vm.load(new Uint8Array(16))).toThrow(RangeError);
  expect(bytes.subarray(0, base).every((byte) => byte === 0xa5)).toBe(true);
  expect(bytes.subarray(limit).every((byte) => byte === 0xa5)).toBe(true);
});

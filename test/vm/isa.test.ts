// The two interpreters against the table of the instruction set, and what they refuse.
import { expect, test } from "vitest";
import { assemble } from "../support/vm/asm.js";
import { CONTEXT_SIZE, initialContext, isaCases } from "../support/vm/isa-cases.js";
import { JsVm, VmError } from "../support/vm/vm.js";
import { compileWasmVm, WasmVm } from "../support/vm/wasm-vm.js";

const CTX = 1024;
const ROOM = 4096;
const END = 65536;
/** Memory that bpf_valid_range answers for: the only such. */
const VALID = { start: 2048, end: 2056 };

interface Machine {
  readonly memory: WebAssembly.Memory;
  load(insns: Uint8Array): void;
  exec(ctxPtr: number, ctxLength: number): bigint;
  call(pc: number, ...args: bigint[]): bigint;
}

type HelperCall = (id: number, ...args: bigint[]) => bigint;

const noHelper: HelperCall = () => -22n;
const validRange = (address: number, length: number) =>
  address >= VALID.start && address + length <= VALID.end;

const plainModule = await compileWasmVm();
const sharedModule = await compileWasmVm(true);

function jsMachine(checks: boolean, helpers = noHelper): Machine {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const vm = new JsVm({ memory, stack: ROOM, helpers, ...(checks && { validRange }) });
  return Object.assign(vm, { memory });
}

function wasmMachine(checks: boolean, shared: boolean, call = noHelper): WasmVm & Machine {
  const memory = new WebAssembly.Memory(
    shared ? { initial: 1, maximum: 65536, shared } : { initial: 1 },
  );
  const helpers = {
    bpf_helper_call: call,
    bpf_map_lookup_elem: (map: number, key: number) => Number(call(1, BigInt(map), BigInt(key))),
    bpf_map_update_elem: (map: number, key: number, value: number, flags: bigint) =>
      Number(call(2, BigInt(map), BigInt(key), BigInt(value), flags)),
    bpf_map_delete_elem: (map: number, key: number) => Number(call(3, BigInt(map), BigInt(key))),
    bpf_valid_range: (address: number, length: number) => (validRange(address, length) ? 1 : 0),
  };
  const module = shared ? sharedModule : plainModule;
  const vm = new WasmVm(module, { memory, helpers, base: ROOM, limit: END, checks });
  return Object.assign(vm, { memory });
}

const MACHINES: readonly (readonly [string, (helpers?: HelperCall) => Machine])[] = [
  ["JS", (helpers) => jsMachine(false, helpers)],
  ["JS, checked", (helpers) => jsMachine(true, helpers)],
  ["Wasm", (helpers) => wasmMachine(false, false, helpers)],
  ["Wasm, checked", (helpers) => wasmMachine(true, false, helpers)],
  ["Wasm, shared memory", (helpers) => wasmMachine(false, true, helpers)],
  ["Wasm, shared memory, checked", (helpers) => wasmMachine(true, true, helpers)],
];
const CHECKED = MACHINES.filter(([name]) => name.endsWith("checked"));

function run(machine: Machine, text: string): bigint {
  machine.load(assemble(text));
  new Uint8Array(machine.memory.buffer).set(initialContext(), CTX);
  return machine.exec(CTX, CONTEXT_SIZE);
}

test("the table's names are unique", () => {
  const names = isaCases.map((item) => item.name);
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
});

test.for(MACHINES)("%s: every instruction gives the table's result", ([, create]) => {
  const machine = create();
  const results = isaCases.map(({ name, text }) => `${name}: ${run(machine, text).toString(16)}`);
  expect(results).toEqual(isaCases.map(({ name, r0 }) => `${name}: ${r0.toString(16)}`));
});

test.for(MACHINES)("%s: an error names its instruction", ([, create]) => {
  const machine = create();
  const rows: readonly (readonly [string, number, string])[] = [
    ["r0 = 0; call f; exit; f: call f; exit", 3, "too many nested calls"],
    ["r0 = 0; r1 = 1", 2, "outside the program"],
    ["r10 = 0; exit", 0, "written"],
    ["r0 = *(u64 *)(r10 - 8); r10 = *(u64 *)(r10 - 8); exit", 1, "written"],
    ["*(u64 *)(r10 - 16) = 1; r1 = 1; lock *(u64 *)(r10 - 12) += r1; exit", 2, "misaligned"],
    ["r1 = map[3] ll; exit", 0, "unresolved"],
  ];
  for (const [text, pc, reason] of rows) {
    const error = failure(() => run(machine, text));
    expect([text, error.pc, error.message]).toEqual([text, pc, expect.stringContaining(reason)]);
  }
});

test.for(MACHINES)("%s: unknown opcodes and registers are errors", ([, create]) => {
  const machine = create();
  // Second bytes: dst in the low nibble, src in the high one.
  const rows: readonly (readonly number[])[] = [
    [0x04 | 0xe0, 0, 0, 0, 0, 0, 0, 0],
    [0x05 | 0xe0, 0, 0, 0, 0, 0, 0, 0],
    [0x06 | 0x80, 0, 0, 0, 0, 0, 0, 0],
    [0x06 | 0x90, 0, 0, 0, 0, 0, 0, 0],
    [0xb7, 0x0b, 0, 0, 0, 0, 0, 0],
    [0xbf, 0xb0, 0, 0, 0, 0, 0, 0],
    [0xbf, 0x00, 9, 0, 0, 0, 0, 0],
    [0xbc, 0x00, 32, 0, 0, 0, 0, 0],
    [0x3f, 0x00, 2, 0, 0, 0, 0, 0],
    [0xd4, 0x00, 0, 0, 8, 0, 0, 0],
    [0x20, 0x00, 0, 0, 0, 0, 0, 0],
    [0x99, 0xa0, 0, 0, 0, 0, 0, 0],
    [0xdb, 0xaa, 0xf8, 0xff, 0x10, 0, 0, 0],
    [0xd3, 0xaa, 0xfe, 0xff, 0x00, 0, 0, 0],
    [0x85, 0x20, 0, 0, 1, 0, 0, 0],
    [0x18, 0x00, 0, 0, 1, 0, 0, 0],
  ];
  for (const row of rows) {
    const error = failure(() => {
      machine.load(Uint8Array.from(row));
      machine.exec(CTX, CONTEXT_SIZE);
    });
    expect([row, error.pc]).toEqual([row, 0]);
  }
});

test.for(MACHINES)("%s: a jump into a 64-bit immediate is an error", ([, create]) => {
  expect(failure(() => run(create(), "goto +1; r0 = 1 ll; exit")).pc).toBe(2);
});

test.for(MACHINES)("%s: a program outside of the memory's reach is refused", ([, create]) => {
  expect(() => run(create(), "goto +1; exit")).toThrow(VmError);
  expect(() => run(create(), "goto -2; exit")).toThrow(VmError);
});

test.for(CHECKED)("%s: accesses outside of what is allowed are errors", ([, create]) => {
  const machine = create();
  const rows: readonly (readonly [string, number])[] = [
    ["r0 = *(u8 *)(r1 - 1); exit", 0],
    ["r0 = *(u8 *)(r1 + 64); exit", 0],
    ["r0 = *(u64 *)(r1 + 57); exit", 0],
    ["*(u8 *)(r10 + 0) = 1; exit", 0],
    ["*(u64 *)(r10 - 4) = 1; exit", 0],
    ["*(u8 *)(r10 - 513) = 1; exit", 0],
    ["r2 = 0; r0 = *(u32 *)(r2 + 0); exit", 1],
    ["r2 = 0x100000400 ll; r0 = *(u32 *)(r2 + 0); exit", 2],
    ["r2 = -4; r0 = *(u64 *)(r2 + 0); exit", 1],
    [`r2 = ${VALID.end - 4}; r0 = *(u64 *)(r2 + 0); exit`, 1],
    ["r2 = 0x7fffffff; r3 = 1; lock *(u64 *)(r2 + 1) += r3; exit", 2],
    ["r2 = 0; r0 = load_acquire((u32 *)(r2 + 0)); exit", 1],
  ];
  for (const [text, pc] of rows) {
    const error = failure(() => run(machine, text));
    expect([text, error.pc, error.message]).toEqual([text, pc, expect.stringContaining("access")]);
  }
  expect(
    run(machine, `r2 = ${VALID.start}; *(u64 *)(r2 + 0) = 4; r0 = *(u32 *)(r2 + 0); exit`),
  ).toBe(4n);
});

test("JS: an access outside of the memory is an error even without checks", () => {
  const machine = jsMachine(false);
  expect(failure(() => run(machine, "r2 = 65533; r0 = *(u32 *)(r2 + 0); exit")).pc).toBe(1);
});

test.for(MACHINES)("%s: helpers get r1 to r5 and give r0", ([, create]) => {
  const calls: (number | bigint)[][] = [];
  const machine = create((id, ...args) => {
    calls.push([id, ...args]);
    return -22n;
  });
  const set = "r1 = 1; r2 = 2; r3 = 3; r4 = 4; r5 = 0x123456789 ll";
  expect(run(machine, `${set}; call 7; exit`)).toBe(0xffffffff_ffffffean);
  expect(run(machine, `${set}; call bpf_map_update_elem; exit`)).toBe(0xffffffff_ffffffean);
  expect(run(machine, `${set}; call bpf_map_delete_elem; exit`)).toBe(0xffffffff_ffffffean);
  expect(calls[0]).toEqual([7, 1n, 2n, 3n, 4n, 0x123456789n]);
  expect(calls[1]?.slice(0, 5)).toEqual([2, 1n, 2n, 3n, 4n]);
  expect(calls[2]?.slice(0, 3)).toEqual([3, 1n, 2n]);
});

const lookupThen = (key: number, condition: string) =>
  `r1 = 1; r2 = ${key}; call bpf_map_lookup_elem; if r0 ${condition} 0 goto yes
   r0 += 5; exit; yes: r0 += 7; exit`;

// A lookup as compilers write it, in a loop: the second time the call is jumped to.
const lookupTwice = (base: number, size: number) =>
  `r6 = ${base}; r7 = 0; r2 = r6; r2 += ${size}; r1 = 9 ll; here: call bpf_map_lookup_elem
   if r0 == 0 goto yes; r7 += r0; r2 = 0; goto here; yes: r0 = r7; r0 += 3; exit`;

test.for(MACHINES)("%s: lookups branch on NULL", ([, create]) => {
  const machine = create((_id, _map, key) => (key === 0n ? 0n : 0x1000n));
  expect(run(machine, lookupThen(0, "=="))).toBe(7n);
  expect(run(machine, lookupThen(1, "=="))).toBe(0x1005n);
  expect(run(machine, lookupThen(0, "!="))).toBe(5n);
  expect(run(machine, lookupThen(1, "!="))).toBe(0x1007n);
  expect(run(machine, lookupTwice(4, -4))).toBe(3n);
  expect(run(machine, lookupTwice(4, 4))).toBe(0x1003n);
});

test.for(MACHINES)("%s: a helper's callback runs in a frame of its own", ([, create]) => {
  // r2 of helper 164 is the callback. The machine is made before its helper can use it.
  const callbacks: Machine[] = [];
  const machine = create((_id, map, pc, context) => {
    const [self] = callbacks;
    for (let index = 0n; index < 3n; index++) {
      self?.call(Number(pc), map ?? 0n, index, 0n, context ?? 0n);
    }
    return 3n;
  });
  callbacks.push(machine);
  // The distance to `each`, which relocate() makes an instruction's index of.
  const text = `*(u64 *)(r10 - 8) = 0; r6 = 40; r1 = 1; r2 = 13; r3 = r10; r3 += -8; r4 = 0
    call bpf_for_each_map_elem; r0 += r6; r1 = *(u64 *)(r10 - 8); r0 *= 100; r0 += r1; exit
    each: r6 = 9; r2 += 1; lock *(u64 *)(r4 + 0) += r2; r0 = 0; exit`;
  expect(run(machine, text)).toBe(4306n);
});

test("Wasm: callbacks by the machine's dispatcher, one inside the other", () => {
  // The helper calls back with the numbers 1 to r1 and adds what comes back.
  const machines: WasmVm[] = [];
  const machine = wasmMachine(false, false, (_id, count = 0n, fn = 0n, context = 0n) => {
    let sum = 0n;
    for (let number = 1; number <= count; number++) {
      sum += machines[0]?.dispatcher(fn, BigInt(number), context, 0n, 0n) ?? 0n;
    }
    return sum;
  });
  machines.push(machine);
  // 7 and 12 are the indices of `outer` and `inner`.
  const text = `r1 = 3; r2 = 7; r3 = 10; call bpf_for_each_map_elem; r0 += 1000; exit; r0 = 0
    outer: r3 = r2; r2 = 12; r6 = r1; call bpf_for_each_map_elem; exit
    inner: r0 = r1; r0 *= r2; exit`;
  // outer(n) = (1 + .. + n) * 10.
  expect(run(machine, text)).toBe(1000n + 10n + 30n + 60n);
});

test("Wasm: an error in a callback ends the program", () => {
  let calls = 0;
  const machines: WasmVm[] = [];
  const machine = wasmMachine(true, false, (_id, _count, fn = 0n) => {
    while (machines[0]?.dispatcher(fn, 0n, 0n, 0n, 0n) === 0n) calls++;
    return 0n;
  });
  machines.push(machine);
  const text =
    "r1 = 3; r2 = 5; call bpf_for_each_map_elem; r0 = 1; exit; r0 = *(u8 *)(r1 + 0); exit";
  expect(failure(() => run(machine, text)).pc).toBe(5);
  expect(calls).toBe(0);
});

function failure(action: () => unknown): VmError {
  try {
    action();
  } catch (error) {
    if (error instanceof VmError) return error;
    throw error;
  }
  throw new Error("no error");
}

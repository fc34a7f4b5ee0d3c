// An eBPF machine as a WebAssembly module of its own: RFC 9669 over somebody else's memory, with
// somebody else's helpers (imports "env.memory" and "helpers.*"; no JavaScript in between).
// It writes nothing at instantiation and owns nothing but the room given to vm_init.
//
// A host calls vm_init, then vm_load, then vm_exec as often as it likes; vm_error and vm_error_pc
// tell why the last of these failed.
import { INSN_SIZE } from "../opcodes";
import { decodeInsn, fuse, fuseLookupMap, slotAt } from "./decode";
import { enter } from "./interpreter";
import { OP_OUTSIDE } from "./ops";
import { CODE_OFFSET, SLOT, VM_NO_ROOM, VM_OK, VM_OUTSIDE, VmState } from "./state";

/** This instance's machine: the room that vm_init was given. */
let vm = changetype<VmState>(0);

/**
 * Takes the addresses base <= a < limit.
 * @param checks 1: a load or store outside of stack, context, the range of vm_allow and
 * bpf_valid_range is an error; 0: nothing is checked, addresses wrap at 4 GiB
 * @returns 0, or -1 when the room is too small or misaligned
 */
export function vm_init(base: u32, limit: u32, checks: i32): i32 {
  if ((base & 7) != 0 || limit < base || <usize>(limit - base) < CODE_OFFSET + SLOT) return -1;
  vm = changetype<VmState>(<usize>base);
  memory.fill(<usize>base, 0, CODE_OFFSET);
  vm.limit = limit;
  vm.checks = <u32>checks;
  slotAt(vm, 0).op = OP_OUTSIDE;
  return 0;
}

/** Lets a program touch start <= a < end as well: packet data, for example. */
export function vm_allow(start: u32, end: u32): void {
  vm.allowStart = start;
  vm.allowEnd = end;
}

/**
 * Decodes a program of `count` instructions; the originals are not needed afterwards.
 * @returns 0, or -1 with vm_error and vm_error_pc
 */
export function vm_load(insnsPtr: u32, count: u32): i32 {
  vm.error = VM_OK;
  vm.count = 0;
  slotAt(vm, 0).op = OP_OUTSIDE;
  const room = <u64>(<usize>vm.limit - changetype<usize>(vm)) - CODE_OFFSET;
  if ((<u64>count + 1) * SLOT > room) return reject(VM_NO_ROOM, 0);
  vm.count = count;
  for (let pc: u32 = 0; pc < count; pc++) {
    const at = <usize>insnsPtr + <usize>pc * INSN_SIZE;
    const error = decodeInsn(vm, at, pc);
    if (error != VM_OK) return reject(error, pc);
    if (load<u8>(at) == 0x18) pc++;
  }
  slotAt(vm, count).op = OP_OUTSIDE;
  for (let pc: u32 = 0; pc < count; pc++) fuse(vm, pc);
  for (let pc: u32 = 0; pc < count; pc++) fuseLookupMap(vm, pc);
  return 0;
}

function reject(error: i32, pc: u32): i32 {
  vm.error = error;
  vm.errorPc = pc;
  vm.count = 0;
  slotAt(vm, 0).op = OP_OUTSIDE;
  return -1;
}

/**
 * Runs the program with r1 = ctxPtr.
 * @param ctxLength bytes of context that the program may touch
 * @returns r0; meaningless after an error
 */
export function vm_exec(ctxPtr: u32, ctxLength: u32): u64 {
  vm.error = VM_OK;
  vm.depth = 0;
  vm.ctxStart = ctxPtr;
  vm.ctxEnd = ctxPtr + ctxLength;
  vm.r1 = <u64>ctxPtr;
  enter(vm, changetype<usize>(slotAt(vm, 0)), changetype<usize>(slotAt(vm, 0)));
  return vm.r0;
}

/** Calls the function at instruction `pc`: for a helper that has been given it as a callback. */
export function vm_call(pc: u32, r1: u64, r2: u64, r3: u64, r4: u64, r5: u64): u64 {
  const ip = changetype<usize>(slotAt(vm, pc));
  if (pc >= vm.count) {
    vm.error = VM_OUTSIDE;
    vm.errorPc = pc;
    return 0;
  }
  vm.r1 = r1;
  vm.r2 = r2;
  vm.r3 = r3;
  vm.r4 = r4;
  vm.r5 = r5;
  enter(vm, ip, ip);
  return vm.r0;
}

/**
 * Runs callbacks for the helpers' module, from its table: `fn` is what the program passed as callback_fn, the index of
 * an instruction. @returns r0
 */
export function vm_dispatch(fn: u64, r1: u64, r2: u64, r3: u64, r4: u64): u64 {
  // After an error there is nothing to go on with; 1 ends an iteration.
  if (vm.error != VM_OK) return 1;
  const result = vm_call(fn > u32.MAX_VALUE ? u32.MAX_VALUE : <u32>fn, r1, r2, r3, r4, 0);
  return vm.error != VM_OK ? 1 : result;
}

/** Why the last vm_load, vm_exec or vm_call failed: one of VM_*, 0 for success. */
export function vm_error(): i32 {
  return vm.error;
}

/** Instruction at which it failed. */
export function vm_error_pc(): u32 {
  return vm.errorPc;
}

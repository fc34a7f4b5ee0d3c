// The interpreter's loop. One switch over dense operations, one line of work each; whatever a
// program does rarely is a call. Nothing is checked here that vm_load has checked already: an
// operation is known, a register exists, a jump stays in the program.
import { BPF_LOAD_ACQ, MAX_BPF_STACK, MAX_CALL_FRAMES } from "../opcodes";
import {
  bpf_helper_call,
  bpf_map_delete_elem,
  bpf_map_lookup_elem,
  bpf_map_update_elem,
} from "./helpers";
import {
  atomicInsn,
  checkAccess,
  convert,
  sdiv32,
  sdiv64,
  smod32,
  smod64,
  udiv32,
  udiv64,
  umod32,
  umod64,
} from "./operations";
import {
  OP_ADD32,
  OP_ADD64,
  OP_ADD_JLT,
  OP_ADD_JNE,
  OP_ADD_TO,
  OP_AND32,
  OP_AND64,
  OP_ARSH32,
  OP_ARSH64,
  OP_ATOMIC,
  OP_ATOMIC_ADD64,
  OP_CALL,
  OP_CHECKED,
  OP_CONVERT,
  OP_DELETE,
  OP_DIV32,
  OP_DIV64,
  OP_EXIT,
  OP_HELPER,
  OP_JA,
  OP_JEQ32,
  OP_JEQ64,
  OP_JGE32,
  OP_JGE64,
  OP_JGT32,
  OP_JGT64,
  OP_JLE32,
  OP_JLE64,
  OP_JLT32,
  OP_JLT64,
  OP_JNE32,
  OP_JNE64,
  OP_JSET32,
  OP_JSET64,
  OP_JSGE32,
  OP_JSGE64,
  OP_JSGT32,
  OP_JSGT64,
  OP_JSLE32,
  OP_JSLE64,
  OP_JSLT32,
  OP_JSLT64,
  OP_LDX16,
  OP_LDX32,
  OP_LDX64,
  OP_LDX8,
  OP_LDXS16,
  OP_LDXS32,
  OP_LDXS8,
  OP_LEA,
  OP_LOOKUP,
  OP_LOOKUP_JEQ,
  OP_LOOKUP_JNE,
  OP_LOOKUP_MAP,
  OP_LSH32,
  OP_LSH64,
  OP_MOD32,
  OP_MOD64,
  OP_MOV32,
  OP_MOV64,
  OP_MUL32,
  OP_MUL64,
  OP_NEG32,
  OP_NEG64,
  OP_OR32,
  OP_OR64,
  OP_OUTSIDE,
  OP_RSH32,
  OP_RSH64,
  OP_SDIV32,
  OP_SDIV64,
  OP_SMOD32,
  OP_SMOD64,
  OP_STX16,
  OP_STX32,
  OP_STX64,
  OP_STX8,
  OP_SUB32,
  OP_SUB64,
  OP_UPDATE,
  OP_XOR32,
  OP_XOR64,
} from "./ops";
import {
  CODE_OFFSET,
  DecodedInsn,
  SLOT,
  STACK_OFFSET,
  VM_CALL_DEPTH,
  VM_MISALIGNED,
  VM_OK,
  VM_OUTSIDE,
  VM_UNKNOWN_INSN,
  VmState,
} from "./state";

// Operands of an instruction: the destination register and the source, 64 and 32 bits wide.
function dst64(insn: DecodedInsn): u64 {
  return load<u64>(insn.dst);
}

function src64(insn: DecodedInsn): u64 {
  return load<u64>(insn.src);
}

function dst32(insn: DecodedInsn): u32 {
  return load<u32>(insn.dst);
}

function src32(insn: DecodedInsn): u32 {
  return load<u32>(insn.src);
}

function set64(insn: DecodedInsn, value: u64): void {
  store<u64>(insn.dst, value);
}

/** A 32-bit result clears the register's high half. */
function set32(insn: DecodedInsn, value: u32): void {
  store<u64>(insn.dst, <u64>value);
}

/** Address that an instruction loads from, and stores to. Only checked accesses know high halves. */
function from(insn: DecodedInsn): usize {
  return <usize>load<u32>(insn.src) + insn.off;
}

function to(insn: DecodedInsn): usize {
  return <usize>load<u32>(insn.dst) + insn.off;
}

function fail(vm: VmState, ip: usize, error: i32): void {
  vm.error = error;
  vm.errorPc = <u32>((ip - changetype<usize>(vm) - CODE_OFFSET) / SLOT);
}

function lookup(vm: VmState): u64 {
  return <u64>(<u32>bpf_map_lookup_elem(<i32>vm.r1, <i32>vm.r2));
}

/** Runs a function in a frame of its own; the caller's r6 to r10 come back. */
export function enter(vm: VmState, ip: usize, callSite: usize): void {
  const depth = vm.depth;
  if (depth >= <u32>MAX_CALL_FRAMES) return fail(vm, callSite, VM_CALL_DEPTH);
  const r6 = vm.r6;
  const r7 = vm.r7;
  const r8 = vm.r8;
  const r9 = vm.r9;
  const r10 = vm.r10;
  const stack = changetype<usize>(vm) + STACK_OFFSET;
  vm.r10 = <u64>(stack + (MAX_CALL_FRAMES - depth) * MAX_BPF_STACK);
  vm.depth = depth + 1;
  run(vm, ip);
  vm.depth = depth;
  vm.r6 = r6;
  vm.r7 = r7;
  vm.r8 = r8;
  vm.r9 = r9;
  vm.r10 = r10;
}

/** Runs from `ip` to the end of the function, or to an error. */
function run(vm: VmState, ip: usize): void {
  while (true) {
    const insn = changetype<DecodedInsn>(ip);
    switch (insn.op) {
      // ---- ALU64
      case OP_ADD64:
        set64(insn, dst64(insn) + src64(insn));
        break;
      case OP_SUB64:
        set64(insn, dst64(insn) - src64(insn));
        break;
      case OP_MUL64:
        set64(insn, dst64(insn) * src64(insn));
        break;
      case OP_DIV64:
        set64(insn, udiv64(dst64(insn), src64(insn)));
        break;
      case OP_OR64:
        set64(insn, dst64(insn) | src64(insn));
        break;
      case OP_AND64:
        set64(insn, dst64(insn) & src64(insn));
        break;
      case OP_LSH64:
        set64(insn, dst64(insn) << src64(insn));
        break;
      case OP_RSH64:
        set64(insn, dst64(insn) >> src64(insn));
        break;
      case OP_NEG64:
        set64(insn, 0 - dst64(insn));
        break;
      case OP_MOD64:
        set64(insn, umod64(dst64(insn), src64(insn)));
        break;
      case OP_XOR64:
        set64(insn, dst64(insn) ^ src64(insn));
        break;
      case OP_MOV64:
        set64(insn, src64(insn));
        break;
      case OP_ARSH64:
        set64(insn, <u64>(<i64>dst64(insn) >> <i64>src64(insn)));
        break;
      case OP_SDIV64:
        set64(insn, <u64>sdiv64(<i64>dst64(insn), <i64>src64(insn)));
        break;
      case OP_SMOD64:
        set64(insn, <u64>smod64(<i64>dst64(insn), <i64>src64(insn)));
        break;
      // ---- ALU32
      case OP_ADD32:
        set32(insn, dst32(insn) + src32(insn));
        break;
      case OP_SUB32:
        set32(insn, dst32(insn) - src32(insn));
        break;
      case OP_MUL32:
        set32(insn, dst32(insn) * src32(insn));
        break;
      case OP_DIV32:
        set32(insn, udiv32(dst32(insn), src32(insn)));
        break;
      case OP_OR32:
        set32(insn, dst32(insn) | src32(insn));
        break;
      case OP_AND32:
        set32(insn, dst32(insn) & src32(insn));
        break;
      case OP_LSH32:
        set32(insn, dst32(insn) << src32(insn));
        break;
      case OP_RSH32:
        set32(insn, dst32(insn) >> src32(insn));
        break;
      case OP_NEG32:
        set32(insn, 0 - dst32(insn));
        break;
      case OP_MOD32:
        set32(insn, umod32(dst32(insn), src32(insn)));
        break;
      case OP_XOR32:
        set32(insn, dst32(insn) ^ src32(insn));
        break;
      case OP_MOV32:
        set32(insn, src32(insn));
        break;
      case OP_ARSH32:
        set32(insn, <u32>(<i32>dst32(insn) >> <i32>src32(insn)));
        break;
      case OP_SDIV32:
        set32(insn, <u32>sdiv32(<i32>dst32(insn), <i32>src32(insn)));
        break;
      case OP_SMOD32:
        set32(insn, <u32>smod32(<i32>dst32(insn), <i32>src32(insn)));
        break;
      // ---- jumps, 64 bits
      case OP_JA:
        ip = insn.off;
        continue;
      case OP_JEQ64:
        if (dst64(insn) != src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JGT64:
        if (dst64(insn) <= src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JGE64:
        if (dst64(insn) < src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSET64:
        if ((dst64(insn) & src64(insn)) == 0) break;
        ip = insn.off;
        continue;
      case OP_JNE64:
        if (dst64(insn) == src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSGT64:
        if (<i64>dst64(insn) <= <i64>src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSGE64:
        if (<i64>dst64(insn) < <i64>src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_CALL:
        enter(vm, insn.off, ip);
        if (vm.error != VM_OK) return;
        break;
      case OP_EXIT:
        return;
      case OP_JLT64:
        if (dst64(insn) >= src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JLE64:
        if (dst64(insn) > src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSLT64:
        if (<i64>dst64(insn) >= <i64>src64(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSLE64:
        if (<i64>dst64(insn) > <i64>src64(insn)) break;
        ip = insn.off;
        continue;
      // ---- jumps, 32 bits, and helpers in their free places
      case OP_HELPER:
        vm.r0 = bpf_helper_call(<i32>insn.imm, vm.r1, vm.r2, vm.r3, vm.r4, vm.r5);
        // A callback of the helper may have failed.
        if (vm.error != VM_OK) return;
        break;
      case OP_JEQ32:
        if (dst32(insn) != src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JGT32:
        if (dst32(insn) <= src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JGE32:
        if (dst32(insn) < src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSET32:
        if ((dst32(insn) & src32(insn)) == 0) break;
        ip = insn.off;
        continue;
      case OP_JNE32:
        if (dst32(insn) == src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSGT32:
        if (<i32>dst32(insn) <= <i32>src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSGE32:
        if (<i32>dst32(insn) < <i32>src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_LOOKUP:
        vm.r0 = lookup(vm);
        break;
      case OP_UPDATE: {
        const error = bpf_map_update_elem(<i32>vm.r1, <i32>vm.r2, <i32>vm.r3, vm.r4);
        vm.r0 = <u64>(<i64>error);
        break;
      }
      case OP_JLT32:
        if (dst32(insn) >= src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JLE32:
        if (dst32(insn) > src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSLT32:
        if (<i32>dst32(insn) >= <i32>src32(insn)) break;
        ip = insn.off;
        continue;
      case OP_JSLE32:
        if (<i32>dst32(insn) > <i32>src32(insn)) break;
        ip = insn.off;
        continue;
      // ---- loads and stores
      case OP_LDX8:
        set64(insn, <u64>load<u8>(from(insn)));
        break;
      case OP_LDX16:
        set64(insn, <u64>load<u16>(from(insn)));
        break;
      case OP_LDX32:
        set64(insn, <u64>load<u32>(from(insn)));
        break;
      case OP_LDX64:
        set64(insn, load<u64>(from(insn)));
        break;
      case OP_LDXS8:
        set64(insn, <u64>(<i64>load<i8>(from(insn))));
        break;
      case OP_LDXS16:
        set64(insn, <u64>(<i64>load<i16>(from(insn))));
        break;
      case OP_LDXS32:
        set64(insn, <u64>(<i64>load<i32>(from(insn))));
        break;
      case OP_STX8:
        store<u8>(to(insn), <u8>src32(insn));
        break;
      case OP_STX16:
        store<u16>(to(insn), <u16>src32(insn));
        break;
      case OP_STX32:
        store<u32>(to(insn), src32(insn));
        break;
      case OP_STX64:
        store<u64>(to(insn), src64(insn));
        break;
      case OP_ATOMIC: {
        const error = atomicInsn(vm, insn);
        if (error != VM_OK) return fail(vm, ip, error);
        break;
      }
      case OP_ATOMIC_ADD64: {
        const address = to(insn);
        if ((address & 7) != 0) return fail(vm, ip, VM_MISALIGNED);
        if (ASC_FEATURE_THREADS) atomic.add<u64>(address, src64(insn));
        else store<u64>(address, load<u64>(address) + src64(insn));
        break;
      }
      case OP_CONVERT:
        convert(insn);
        break;
      case OP_DELETE:
        vm.r0 = <u64>(<i64>bpf_map_delete_elem(<i32>vm.r1, <i32>vm.r2));
        break;
      // ---- pairs
      case OP_LEA:
        set64(insn, src64(insn) + insn.imm);
        ip += 2 * SLOT;
        continue;
      case OP_LOOKUP_JEQ: {
        const value = lookup(vm);
        vm.r0 = value;
        ip = value == 0 ? insn.off : ip + 2 * SLOT;
        continue;
      }
      case OP_LOOKUP_JNE: {
        const value = lookup(vm);
        vm.r0 = value;
        ip = value != 0 ? insn.off : ip + 2 * SLOT;
        continue;
      }
      case OP_ADD_JLT: {
        const sum = dst64(insn) + src64(insn);
        set64(insn, sum);
        ip = sum < load<u64>(insn.aux) ? insn.off : ip + 2 * SLOT;
        continue;
      }
      case OP_ADD_JNE: {
        const sum = dst64(insn) + src64(insn);
        set64(insn, sum);
        ip = sum != load<u64>(insn.aux) ? insn.off : ip + 2 * SLOT;
        continue;
      }
      case OP_ADD_TO: {
        const address = from(insn);
        const sum = load<u64>(address) + load<u64>(insn.aux);
        set64(insn, sum);
        store<u64>(address, sum);
        ip += 3 * SLOT;
        continue;
      }
      case OP_LOOKUP_MAP: {
        const map = load<u64>(insn.aux);
        const key = src64(insn) + insn.imm;
        vm.r1 = map;
        vm.r2 = key;
        const value = <u64>(<u32>bpf_map_lookup_elem(<i32>map, <i32>key));
        vm.r0 = value;
        ip = value == 0 ? insn.off : ip + 6 * SLOT;
        continue;
      }
      default: {
        const error = runChecked(vm, insn);
        if (error != VM_OK) return fail(vm, ip, error);
      }
    }
    ip += SLOT;
  }
}

/** A load or a store whose range is checked first; or what can not be run. @returns one of VM_* */
function runChecked(vm: VmState, insn: DecodedInsn): i32 {
  if (insn.op == OP_OUTSIDE) return VM_OUTSIDE;
  if (insn.op < <u32>OP_CHECKED) return VM_UNKNOWN_INSN;
  const op = insn.op - OP_CHECKED;
  const isLoad = op < <u32>OP_STX8 || (op == OP_ATOMIC && insn.imm == BPF_LOAD_ACQ);
  const base = isLoad ? src64(insn) : dst64(insn);
  const error = checkAccess(vm, base, <i64>(<i32>insn.off), insn.aux);
  if (error != VM_OK) return error;
  if (op == OP_ATOMIC) return atomicInsn(vm, insn);
  if (op == OP_LDX8) set64(insn, <u64>load<u8>(from(insn)));
  else if (op == OP_LDX16) set64(insn, <u64>load<u16>(from(insn)));
  else if (op == OP_LDX32) set64(insn, <u64>load<u32>(from(insn)));
  else if (op == OP_LDX64) set64(insn, load<u64>(from(insn)));
  else if (op == OP_LDXS8) set64(insn, <u64>(<i64>load<i8>(from(insn))));
  else if (op == OP_LDXS16) set64(insn, <u64>(<i64>load<i16>(from(insn))));
  else if (op == OP_LDXS32) set64(insn, <u64>(<i64>load<i32>(from(insn))));
  else if (op == OP_STX8) store<u8>(to(insn), <u8>src32(insn));
  else if (op == OP_STX16) store<u16>(to(insn), <u16>src32(insn));
  else if (op == OP_STX32) store<u32>(to(insn), src32(insn));
  else store<u64>(to(insn), src64(insn));
  return VM_OK;
}

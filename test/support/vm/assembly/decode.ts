// From the 8 bytes of an instruction to its DecodedInsn. Whatever can be wrong with an instruction
// by itself is found here, once, so that running it needs no checks.
import {
  BPF_ALU,
  BPF_ALU64,
  BPF_ATOMIC,
  BPF_CALL,
  BPF_DIV,
  BPF_DW,
  BPF_END,
  BPF_EXIT,
  BPF_FETCH,
  BPF_HELPER_CALL,
  BPF_IMM,
  BPF_JA,
  BPF_JMP,
  BPF_JMP32,
  BPF_JSLE,
  BPF_LD,
  BPF_LDX,
  BPF_LOAD_ACQ,
  BPF_MEM,
  BPF_MEMSX,
  BPF_MOD,
  BPF_MOV,
  BPF_NEG,
  BPF_PSEUDO_CALL,
  BPF_STX,
  BPF_X,
  BPF_XCHG,
  FRAME_POINTER,
  INSN_SIZE,
  NR_REGS,
} from "../opcodes";
import { isAtomic } from "./operations";
import {
  CONVERT_MOVSX32,
  CONVERT_MOVSX64,
  CONVERT_SWAP,
  CONVERT_TRUNCATE,
  OP_ADD32,
  OP_ADD64,
  OP_ADD_JLT,
  OP_ADD_JNE,
  OP_ADD_TO,
  OP_ATOMIC,
  OP_ATOMIC_ADD64,
  OP_CHECKED,
  OP_CONVERT,
  OP_DELETE,
  OP_HELPER,
  OP_JA,
  OP_JEQ64,
  OP_JLT64,
  OP_JNE64,
  OP_LDX64,
  OP_LDX8,
  OP_LDXS8,
  OP_LEA,
  OP_LOOKUP,
  OP_LOOKUP_JEQ,
  OP_LOOKUP_JNE,
  OP_LOOKUP_MAP,
  OP_MOV64,
  OP_STX64,
  OP_STX8,
  OP_UNKNOWN,
  OP_UPDATE,
} from "./ops";
import {
  CODE_OFFSET,
  DecodedInsn,
  SLOT,
  VM_NO_SUCH_REG,
  VM_OK,
  VM_OUTSIDE,
  VM_READ_ONLY_REG,
  VM_UNKNOWN_INSN,
  VM_UNRESOLVED,
  VmState,
} from "./state";

/** DecodedInsn of slot `pc`. */
export function slotAt(vm: VmState, pc: u32): DecodedInsn {
  return changetype<DecodedInsn>(changetype<usize>(vm) + CODE_OFFSET + <usize>pc * SLOT);
}

function regPtr(vm: VmState, index: u32): usize {
  return changetype<usize>(vm) + <usize>(index << 3);
}

/** Decodes the instruction at `at` into slot `pc`. @returns one of VM_* */
export function decodeInsn(vm: VmState, at: usize, pc: u32): i32 {
  const opcode = <u32>load<u8>(at);
  const dst = <u32>load<u8>(at, 1) & 0x0f;
  const src = <u32>load<u8>(at, 1) >> 4;
  if (dst >= <u32>NR_REGS || src >= <u32>NR_REGS) return VM_NO_SUCH_REG;
  const insn = slotAt(vm, pc);
  insn.op = OP_UNKNOWN;
  insn.dst = regPtr(vm, dst);
  insn.src = regPtr(vm, src);
  insn.off = <usize>(<i32>load<i16>(at, 2));
  insn.imm = <i64>load<i32>(at, 4);
  insn.aux = 0;
  const kind = opcode & 0x07;
  if (kind == BPF_ALU || kind == BPF_ALU64) return decodeAlu(insn, opcode, dst);
  if (kind == BPF_JMP || kind == BPF_JMP32) return decodeJump(vm, insn, opcode, src, pc);
  if (kind == BPF_LD) return decodeWide(vm, insn, opcode, at, pc);
  return decodeAccess(vm, insn, opcode, dst, src);
}

function decodeAlu(insn: DecodedInsn, opcode: u32, dst: u32): i32 {
  const is64 = (opcode & 0x07) == BPF_ALU64;
  const code = opcode & 0xf0;
  const off = <i32>insn.off;
  if (dst == FRAME_POINTER) return VM_READ_ONLY_REG;
  if (code == BPF_END) return decodeEnd(insn, opcode, is64);
  if (code > <u32>BPF_END) return VM_UNKNOWN_INSN;
  if ((opcode & BPF_X) == 0) insn.src = immPtr(insn);
  insn.op = (is64 ? OP_ADD64 : OP_ADD32) + (code >> 4);
  if (off == 0 || code == BPF_NEG) return VM_OK;
  if (code == BPF_MOV) {
    if (off != 8 && off != 16 && (off != 32 || !is64)) return VM_UNKNOWN_INSN;
    insn.op = OP_CONVERT;
    insn.aux = (is64 ? CONVERT_MOVSX64 : CONVERT_MOVSX32) | off;
    return VM_OK;
  }
  if (off != 1 || (code != BPF_DIV && code != BPF_MOD)) return VM_UNKNOWN_INSN;
  insn.op = (is64 ? OP_ADD64 : OP_ADD32) + (code == BPF_DIV ? 0x0d : 0x0e);
  return VM_OK;
}

function decodeEnd(insn: DecodedInsn, opcode: u32, is64: bool): i32 {
  const width = insn.imm;
  if (width != 16 && width != 32 && width != 64) return VM_UNKNOWN_INSN;
  const swaps = is64 || (opcode & BPF_X) != 0;
  insn.op = OP_CONVERT;
  insn.src = insn.dst;
  insn.aux = (swaps ? CONVERT_SWAP : CONVERT_TRUNCATE) | <u32>width;
  return VM_OK;
}

function decodeJump(vm: VmState, insn: DecodedInsn, opcode: u32, src: u32, pc: u32): i32 {
  const is64 = (opcode & 0x07) == BPF_JMP;
  const code = opcode & 0xf0;
  if (code > <u32>BPF_JSLE) return VM_UNKNOWN_INSN;
  if (code == BPF_CALL || code == BPF_EXIT) {
    if (opcode != <u32>(BPF_JMP | code)) return VM_UNKNOWN_INSN;
    if (code == BPF_CALL && src != BPF_PSEUDO_CALL) return decodeHelper(insn, src);
  }
  insn.op = (is64 ? OP_JA : OP_HELPER) + (code >> 4);
  if (code == BPF_EXIT) return VM_OK;
  // Calls of functions and `gotol` keep their distance in imm.
  const isLong = code == BPF_CALL || (code == BPF_JA && !is64);
  if (code == BPF_JA) insn.op = OP_JA;
  const target = <i64>pc + 1 + (isLong ? insn.imm : <i64>(<i32>insn.off));
  if (target < 0 || target >= <i64>vm.count) return VM_OUTSIDE;
  if ((opcode & BPF_X) == 0) insn.src = immPtr(insn);
  insn.off = changetype<usize>(slotAt(vm, <u32>target));
  return VM_OK;
}

function decodeHelper(insn: DecodedInsn, src: u32): i32 {
  if (src != BPF_HELPER_CALL) return VM_UNRESOLVED;
  const id = insn.imm;
  if (id == 1) insn.op = OP_LOOKUP;
  else if (id == 2) insn.op = OP_UPDATE;
  else if (id == 3) insn.op = OP_DELETE;
  else insn.op = OP_HELPER;
  return VM_OK;
}

function decodeWide(vm: VmState, insn: DecodedInsn, opcode: u32, at: usize, pc: u32): i32 {
  if (opcode != (BPF_LD | BPF_IMM | BPF_DW)) return VM_UNKNOWN_INSN;
  if (pc + 1 >= vm.count || load<u8>(at, INSN_SIZE) != 0) return VM_UNKNOWN_INSN;
  if (load<u8>(at, 1) >> 4 != 0) return VM_UNRESOLVED;
  insn.op = OP_LEA;
  // dst = 0 + imm, two slots further: what OP_LEA does when its operand is zero.
  const second = slotAt(vm, pc + 1);
  second.op = OP_UNKNOWN;
  second.imm = 0;
  insn.src = immPtr(second);
  insn.imm = <i64>(((<u64>load<u32>(at, INSN_SIZE + 4)) << 32) | <u64>load<u32>(at, 4));
  return VM_OK;
}

function decodeAccess(vm: VmState, insn: DecodedInsn, opcode: u32, dst: u32, src: u32): i32 {
  const kind = opcode & 0x07;
  const mode = opcode & 0xe0;
  // BPF_W, BPF_H, BPF_B, BPF_DW are 0x00, 0x08, 0x10, 0x18.
  const field = (opcode >> 3) & 3;
  const power = field == 3 ? 3 : 2 - field;
  insn.aux = 1 << power;
  if (mode == BPF_ATOMIC) {
    if (kind != BPF_STX || !isAtomic(<i32>insn.imm, insn.aux)) return VM_UNKNOWN_INSN;
    insn.op = OP_ATOMIC;
    if (insn.imm == 0 && power == 3 && vm.checks == 0) insn.op = OP_ATOMIC_ADD64;
    const writesDst = insn.imm == BPF_LOAD_ACQ;
    const writesSrc = (insn.imm & BPF_FETCH) != 0 || insn.imm == BPF_XCHG;
    if (writesDst ? dst == FRAME_POINTER : writesSrc && src == FRAME_POINTER) {
      return VM_READ_ONLY_REG;
    }
  } else if (kind == BPF_LDX) {
    if (dst == FRAME_POINTER) return VM_READ_ONLY_REG;
    if (mode == BPF_MEM) insn.op = OP_LDX8 + power;
    else if (mode == BPF_MEMSX && power < 3) insn.op = OP_LDXS8 + power;
    else return VM_UNKNOWN_INSN;
  } else {
    if (mode != BPF_MEM) return VM_UNKNOWN_INSN;
    if (kind != BPF_STX) insn.src = immPtr(insn);
    insn.op = OP_STX8 + power;
  }
  if (vm.checks != 0) insn.op += OP_CHECKED;
  return VM_OK;
}

/** Address of an instruction's own immediate. */
function immPtr(insn: DecodedInsn): usize {
  return changetype<usize>(insn) + offsetof<DecodedInsn>("imm");
}

/**
 * Joins what often follows each other into one operation. The joined instructions keep their slots,
 * so a jump into the middle still finds them.
 */
export function fuse(vm: VmState, pc: u32): void {
  if (pc + 1 >= vm.count) return;
  const insn = slotAt(vm, pc);
  const next = slotAt(vm, pc + 1);
  if (insn.op == OP_MOV64) fuseMove(insn, next);
  else if (insn.op == OP_LOOKUP) fuseLookup(insn, next, regPtr(vm, 0));
  else if (insn.op == OP_ADD64) fuseAdd(insn, next);
  else if (insn.op == OP_LDX64 && pc + 2 < vm.count) fuseLoad(insn, next, slotAt(vm, pc + 2));
}

function fuseMove(insn: DecodedInsn, next: DecodedInsn): void {
  if (insn.src == immPtr(insn) || next.op != OP_ADD64) return;
  if (next.dst != insn.dst || next.src != immPtr(next)) return;
  insn.op = OP_LEA;
  insn.imm = next.imm;
}

function fuseLookup(insn: DecodedInsn, next: DecodedInsn, r0: usize): void {
  if (next.op != OP_JEQ64 && next.op != OP_JNE64) return;
  if (next.dst != r0 || next.src != immPtr(next) || next.imm != 0) return;
  insn.op = next.op == OP_JEQ64 ? OP_LOOKUP_JEQ : OP_LOOKUP_JNE;
  insn.off = next.off;
}

function fuseAdd(insn: DecodedInsn, next: DecodedInsn): void {
  if ((next.op != OP_JLT64 && next.op != OP_JNE64) || next.dst != insn.dst) return;
  insn.op = next.op == OP_JLT64 ? OP_ADD_JLT : OP_ADD_JNE;
  insn.off = next.off;
  insn.aux = <u32>next.src;
}

function fuseLoad(insn: DecodedInsn, add: DecodedInsn, back: DecodedInsn): void {
  const value = insn.dst;
  // The base has to outlive the load, and the addend must not be the loaded value.
  if (value == insn.src || add.op != OP_ADD64 || add.dst != value || add.src == value) return;
  if (back.op != OP_STX64 || back.dst != insn.src || back.src != value) return;
  if (back.off != insn.off) return;
  insn.op = OP_ADD_TO;
  insn.aux = <u32>add.src;
}

/** The longest sequence, of joined operations: see OP_LOOKUP_MAP. Run after fuse for the slots behind. */
export function fuseLookupMap(vm: VmState, pc: u32): void {
  if (pc + 5 >= vm.count) return;
  const insn = slotAt(vm, pc);
  const map = slotAt(vm, pc + 2);
  const call = slotAt(vm, pc + 4);
  if (insn.op != OP_LEA || map.op != OP_LEA || call.op != OP_LOOKUP_JEQ) return;
  // Both loads of addresses and immediates are OP_LEA; the latter have a place of their own as source.
  const isPair = insn.src != immPtr(slotAt(vm, pc + 1));
  const isMap = map.src == immPtr(slotAt(vm, pc + 3));
  if (!isPair || !isMap || insn.dst != regPtr(vm, 2) || map.dst != regPtr(vm, 1)) return;
  insn.op = OP_LOOKUP_MAP;
  insn.off = call.off;
  insn.aux = <u32>immPtr(map);
}

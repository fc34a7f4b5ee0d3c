// Operations that the interpreter's loop leaves out of line: conversions and atomics. And division,
// where WebAssembly traps and eBPF does not.
import {
  BPF_ADD,
  BPF_AND,
  BPF_CMPXCHG,
  BPF_FETCH,
  BPF_LOAD_ACQ,
  BPF_OR,
  BPF_STORE_REL,
  BPF_XCHG,
  BPF_XOR,
} from "../opcodes";
import { bpf_valid_range } from "./helpers";
import { CONVERT_MOVSX32, CONVERT_MOVSX64, CONVERT_SWAP } from "./ops";
import { CODE_OFFSET, DecodedInsn, VM_BAD_ACCESS, VM_MISALIGNED, VM_OK, VmState } from "./state";

// ---- division: x / 0 is 0, x % 0 is x; INT_MIN / -1 is INT_MIN, INT_MIN % -1 is 0

export function udiv64(a: u64, b: u64): u64 {
  return b == 0 ? 0 : a / b;
}

export function umod64(a: u64, b: u64): u64 {
  return b == 0 ? a : a % b;
}

export function sdiv64(a: i64, b: i64): i64 {
  if (b == 0) return 0;
  return b == -1 ? -a : a / b;
}

export function smod64(a: i64, b: i64): i64 {
  if (b == 0) return a;
  return b == -1 ? 0 : a % b;
}

export function udiv32(a: u32, b: u32): u32 {
  return b == 0 ? 0 : a / b;
}

export function umod32(a: u32, b: u32): u32 {
  return b == 0 ? a : a % b;
}

export function sdiv32(a: i32, b: i32): i32 {
  if (b == 0) return 0;
  return b == -1 ? -a : a / b;
}

export function smod32(a: i32, b: i32): i32 {
  if (b == 0) return a;
  return b == -1 ? 0 : a % b;
}

// ---- conversions

/** Sign-extending moves and byte swaps: what DecodedInsn.aux says, from src to dst. */
export function convert(insn: DecodedInsn): void {
  const kind = insn.aux & 0x300;
  const width = insn.aux & 0xff;
  const value = load<u64>(insn.src);
  const unused = <u64>(64 - width);
  let result = (value << unused) >> unused;
  if (kind == CONVERT_SWAP) result = bswap<u64>(value) >> unused;
  else if (kind == CONVERT_MOVSX64) result = <u64>(<i64>(value << unused) >> unused);
  else if (kind == CONVERT_MOVSX32) result = <u64>(<u32>(<i64>(value << unused) >> unused));
  store<u64>(insn.dst, result);
}

// ---- accesses

/** VM_OK when a program may touch `size` bytes at base + off. */
export function checkAccess(vm: VmState, base: u64, off: i64, size: u32): i32 {
  const address = base + off;
  const end = address + size;
  if (address > 0xffffffff || end > 0x100000000) return VM_BAD_ACCESS;
  if (address >= vm.ctxStart && end <= vm.ctxEnd) return VM_OK;
  const top = <u64>changetype<usize>(vm) + CODE_OFFSET;
  if (address >= top - vm.depth * 512 && end <= top) return VM_OK;
  if (address >= vm.allowStart && end <= vm.allowEnd) return VM_OK;
  return bpf_valid_range(<i32>address, size) == 1 ? VM_OK : VM_BAD_ACCESS;
}

/** An atomic instruction of any kind. @returns one of VM_* */
export function atomicInsn(vm: VmState, insn: DecodedInsn): i32 {
  const size = insn.aux;
  const isLoad = insn.imm == BPF_LOAD_ACQ;
  const address = <usize>load<u32>(isLoad ? insn.src : insn.dst) + insn.off;
  if ((address & (size - 1)) != 0) return VM_MISALIGNED;
  if (isLoad) {
    store<u64>(insn.dst, atomicLoad(address, size));
    return VM_OK;
  }
  if (insn.imm == BPF_STORE_REL) {
    atomicStore(address, size, load<u64>(insn.src));
    return VM_OK;
  }
  readModifyWrite(vm, insn, address);
  return VM_OK;
}

function atomicLoad(address: usize, size: u32): u64 {
  if (ASC_FEATURE_THREADS) {
    if (size == 8) return atomic.load<u64>(address);
    if (size == 4) return <u64>atomic.load<u32>(address);
    return size == 2 ? <u64>atomic.load<u16>(address) : <u64>atomic.load<u8>(address);
  }
  if (size == 8) return load<u64>(address);
  if (size == 4) return <u64>load<u32>(address);
  return size == 2 ? <u64>load<u16>(address) : <u64>load<u8>(address);
}

function atomicStore(address: usize, size: u32, value: u64): void {
  if (ASC_FEATURE_THREADS) {
    if (size == 8) atomic.store<u64>(address, value);
    else if (size == 4) atomic.store<u32>(address, <u32>value);
    else if (size == 2) atomic.store<u16>(address, <u16>value);
    else atomic.store<u8>(address, <u8>value);
    return;
  }
  if (size == 8) store<u64>(address, value);
  else if (size == 4) store<u32>(address, <u32>value);
  else if (size == 2) store<u16>(address, <u16>value);
  else store<u8>(address, <u8>value);
}

/** Read-modify-write, with or without fetch. */
function readModifyWrite(vm: VmState, insn: DecodedInsn, address: usize): void {
  const kind = <i32>insn.imm;
  const operand = load<u64>(insn.src);
  const is64 = insn.aux == 8;
  let old: u64;
  if (kind == BPF_CMPXCHG) {
    old = is64
      ? compareExchange64(address, vm.r0, operand)
      : <u64>compareExchange32(address, <u32>vm.r0, <u32>operand);
    vm.r0 = old;
    return;
  }
  old = is64
    ? modify64(address, kind & ~BPF_FETCH, operand)
    : <u64>modify32(address, kind & ~BPF_FETCH, <u32>operand);
  if ((kind & BPF_FETCH) != 0) store<u64>(insn.src, old);
}

function compareExchange64(address: usize, expected: u64, replacement: u64): u64 {
  if (ASC_FEATURE_THREADS) return atomic.cmpxchg<u64>(address, expected, replacement);
  const old = load<u64>(address);
  if (old == expected) store<u64>(address, replacement);
  return old;
}

function compareExchange32(address: usize, expected: u32, replacement: u32): u32 {
  if (ASC_FEATURE_THREADS) return atomic.cmpxchg<u32>(address, expected, replacement);
  const old = load<u32>(address);
  if (old == expected) store<u32>(address, replacement);
  return old;
}

/** The exchange among the modifications, without the fetch bit that it always has. */
const EXCHANGE = BPF_XCHG & ~BPF_FETCH;

function modify64(address: usize, kind: i32, operand: u64): u64 {
  if (ASC_FEATURE_THREADS) {
    if (kind == BPF_ADD) return atomic.add<u64>(address, operand);
    if (kind == BPF_OR) return atomic.or<u64>(address, operand);
    if (kind == BPF_AND) return atomic.and<u64>(address, operand);
    if (kind == BPF_XOR) return atomic.xor<u64>(address, operand);
    return atomic.xchg<u64>(address, operand);
  }
  const old = load<u64>(address);
  store<u64>(address, combine(kind, old, operand));
  return old;
}

function modify32(address: usize, kind: i32, operand: u32): u32 {
  if (ASC_FEATURE_THREADS) {
    if (kind == BPF_ADD) return atomic.add<u32>(address, operand);
    if (kind == BPF_OR) return atomic.or<u32>(address, operand);
    if (kind == BPF_AND) return atomic.and<u32>(address, operand);
    if (kind == BPF_XOR) return atomic.xor<u32>(address, operand);
    return atomic.xchg<u32>(address, operand);
  }
  const old = load<u32>(address);
  store<u32>(address, <u32>combine(kind, <u64>old, <u64>operand));
  return old;
}

function combine(kind: i32, old: u64, operand: u64): u64 {
  if (kind == BPF_ADD) return old + operand;
  if (kind == BPF_OR) return old | operand;
  if (kind == BPF_AND) return old & operand;
  if (kind == BPF_XOR) return old ^ operand;
  assert(kind == EXCHANGE);
  return operand;
}

/** Whether `imm` names an atomic operation of `size` bytes. */
export function isAtomic(imm: i32, size: u32): bool {
  if (imm == BPF_LOAD_ACQ || imm == BPF_STORE_REL) return true;
  if (size < 4) return false;
  if (imm == BPF_XCHG || imm == BPF_CMPXCHG) return true;
  const kind = imm & ~BPF_FETCH;
  return kind == BPF_ADD || kind == BPF_OR || kind == BPF_AND || kind == BPF_XOR;
}

// The arithmetic of eBPF (RFC 9669, sections 4.1 to 4.3) on bigints: the readable half of the
// interpreter in vm.ts. Every result is an unsigned number of 64 bits; a 32-bit operation takes the
// low halves of its operands and clears the high half of its result.
import * as op from "./opcodes.js";

/** Width of an operation. */
export type Bits = 32 | 64;

/** Quotient and remainder by zero are 0 and the dividend; INT_MIN / -1 wraps to INT_MIN, rest 0. */
function divide(isRest: boolean, a: bigint, b: bigint): bigint {
  if (b === 0n) return isRest ? a : 0n;
  return isRest ? a % b : a / b;
}

/**
 * Result of an ALU operation other than NEG and END, or undefined for an unknown one.
 * @param off offset field: 1 makes DIV and MOD signed; 8, 16 or 32 makes MOV sign-extend
 */
export function alu(code: number, off: number, a: bigint, b: bigint, bits: Bits) {
  const result = compute(code, off, BigInt.asUintN(bits, a), BigInt.asUintN(bits, b), bits);
  return result === undefined ? undefined : BigInt.asUintN(bits, result);
}

function compute(code: number, off: number, a: bigint, b: bigint, bits: Bits) {
  const shift = b & BigInt(bits - 1);
  const signed = off === 1;
  if (off !== 0) {
    if (code === op.BPF_MOV) return off < bits ? extend(off, b) : undefined;
    if (!signed || (code !== op.BPF_DIV && code !== op.BPF_MOD)) return undefined;
  }
  switch (code) {
    case op.BPF_ADD:
      return a + b;
    case op.BPF_SUB:
      return a - b;
    case op.BPF_MUL:
      return a * b;
    case op.BPF_DIV:
    case op.BPF_MOD:
      if (!signed) return divide(code === op.BPF_MOD, a, b);
      return divide(code === op.BPF_MOD, BigInt.asIntN(bits, a), BigInt.asIntN(bits, b));
    case op.BPF_OR:
      return a | b;
    case op.BPF_AND:
      return a & b;
    case op.BPF_XOR:
      return a ^ b;
    case op.BPF_LSH:
      return a << shift;
    case op.BPF_RSH:
      return a >> shift;
    case op.BPF_ARSH:
      return BigInt.asIntN(bits, a) >> shift;
    case op.BPF_MOV:
      return b;
    default:
      return undefined;
  }
}

function extend(width: number, value: bigint): bigint | undefined {
  return width === 8 || width === 16 || width === 32 ? BigInt.asIntN(width, value) : undefined;
}

/** Reverses the low `width / 8` bytes and drops the others; undefined for an unknown width. */
export function swapBytes(value: bigint, width: number): bigint | undefined {
  if (width !== 16 && width !== 32 && width !== 64) return undefined;
  let result = 0n;
  for (let shift = 0; shift < width; shift += 8) {
    result = (result << 8n) | ((value >> BigInt(shift)) & 0xffn);
  }
  return result;
}

/** Keeps the low `width` bits: a conversion to little-endian; undefined for an unknown width. */
export function truncate(value: bigint, width: number): bigint | undefined {
  if (width !== 16 && width !== 32 && width !== 64) return undefined;
  return BigInt.asUintN(width, value);
}

/** Whether a conditional jump is taken; undefined for an unknown condition. */
export function compare(code: number, left: bigint, right: bigint, bits: Bits) {
  const a = BigInt.asUintN(bits, left);
  const b = BigInt.asUintN(bits, right);
  const signedA = BigInt.asIntN(bits, left);
  const signedB = BigInt.asIntN(bits, right);
  switch (code) {
    case op.BPF_JEQ:
      return a === b;
    case op.BPF_JNE:
      return a !== b;
    case op.BPF_JGT:
      return a > b;
    case op.BPF_JGE:
      return a >= b;
    case op.BPF_JLT:
      return a < b;
    case op.BPF_JLE:
      return a <= b;
    case op.BPF_JSET:
      return (a & b) !== 0n;
    case op.BPF_JSGT:
      return signedA > signedB;
    case op.BPF_JSGE:
      return signedA >= signedB;
    case op.BPF_JSLT:
      return signedA < signedB;
    case op.BPF_JSLE:
      return signedA <= signedB;
    default:
      return undefined;
  }
}

/**
 * What an atomic operation stores, given the memory's old value; undefined for an unknown one.
 * @param imm the instruction's imm, its fetch bit included
 */
export function atomicResult(imm: number, old: bigint, operand: bigint, expected: bigint) {
  switch (imm) {
    case op.BPF_ADD:
    case op.BPF_ADD | op.BPF_FETCH:
      return old + operand;
    case op.BPF_OR:
    case op.BPF_OR | op.BPF_FETCH:
      return old | operand;
    case op.BPF_AND:
    case op.BPF_AND | op.BPF_FETCH:
      return old & operand;
    case op.BPF_XOR:
    case op.BPF_XOR | op.BPF_FETCH:
      return old ^ operand;
    case op.BPF_XCHG:
      return operand;
    case op.BPF_CMPXCHG:
      return old === expected ? operand : old;
    default:
      return undefined;
  }
}

// Everything that one machine owns, in the room that its host hands in; and the form in which
// programs are run.
//
//   base      +128               +128+STACK_SIZE
//  +---------+------------------+--------------------------------------------+
//  | VmState | stack, 8 frames  | code: one DecodedInsn per slot, and one    |
//  +---------+------------------+--------------------------------------------+
import { MAX_CALL_FRAMES, STACK_SIZE } from "../opcodes";

// ---- vm_error(): why a run ended early
export const VM_OK = 0;
export const VM_UNKNOWN_INSN = 1;
export const VM_BAD_ACCESS = 2;
export const VM_CALL_DEPTH = 3;
export const VM_OUTSIDE = 4;
export const VM_MISALIGNED = 5;
export const VM_NO_ROOM = 6;
export const VM_NO_SUCH_REG = 7;
export const VM_READ_ONLY_REG = 8;
export const VM_UNRESOLVED = 9;

@unmanaged
export class VmState {
  // r0 to r10. One field each, so that the interpreter reaches them at constant offsets.
  r0: u64;
  r1: u64;
  r2: u64;
  r3: u64;
  r4: u64;
  r5: u64;
  r6: u64;
  r7: u64;
  r8: u64;
  r9: u64;
  r10: u64;
  /** End of the machine's room. */
  limit: u32;
  /** One of VM_*, and the instruction where it happened. */
  error: i32;
  errorPc: u32;
  /** Functions on the call stack. */
  depth: u32;
  /** Whether accesses are checked; fixed when a program is loaded. */
  checks: u32;
  /** What a program may touch besides its stack and what bpf_valid_range knows. */
  ctxStart: u32;
  ctxEnd: u32;
  allowStart: u32;
  allowEnd: u32;
  /** Slots of the loaded program. */
  count: u32;
}
if (offsetof<VmState>() != 128) ERROR("VmState must be 128 bytes");
if (STACK_SIZE != MAX_CALL_FRAMES * 512) ERROR("one frame of 512 bytes per call");

//  DecodedInsn, 32 bytes. Operands are addresses: of a register, or of the instruction's own imm. So
//  an operation has one form for both, and no operand needs a calculation.
//   0        4        8        12       16               24       28
//  +--------+--------+--------+--------+----------------+--------+--------+
//  | op     | dst    | src    | off    | imm            | aux    | -      |
//  +--------+--------+--------+--------+----------------+--------+--------+
@unmanaged
export class DecodedInsn {
  /** One of OP_*. */
  op: u32;
  /** Address of the destination register. */
  dst: usize;
  /** Address of the second operand: a register, or `imm` below. */
  src: usize;
  /** Offset of an access in bytes; of a jump or a call: address of the target's DecodedInsn. */
  off: usize;
  imm: i64;
  /** Size of an access in bytes; kind of a conversion; address of a joined operation's third operand. */
  aux: u32;
  reserved: u32;
}
if (offsetof<DecodedInsn>() != 32) ERROR("DecodedInsn must be 32 bytes");

export const STACK_OFFSET: usize = 128;
export const CODE_OFFSET: usize = 128 + 4096;
/** Size of a DecodedInsn. */
export const SLOT: usize = 32;

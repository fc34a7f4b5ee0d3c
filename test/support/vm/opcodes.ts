// The encoding of eBPF instructions (RFC 9669, section 3 on), under the names of linux/bpf.h and
// bpf_common.h. Shared by the assembler, both interpreters and the loader, one of them written in
// AssemblyScript: hence plain literals only, no type annotations, no logic.
//
//   0        1        2                4                                 8
//  +--------+--------+----------------+---------------------------------+
//  | opcode |src|dst | offset (s16)   | imm (s32)                       |   src is the high nibble
//  +--------+--------+----------------+---------------------------------+

export const INSN_SIZE = 8;

// ---- instruction classes: the low three bits of the opcode
export const BPF_LD = 0x00;
export const BPF_LDX = 0x01;
export const BPF_ST = 0x02;
export const BPF_STX = 0x03;
export const BPF_ALU = 0x04;
export const BPF_JMP = 0x05;
export const BPF_JMP32 = 0x06;
export const BPF_ALU64 = 0x07;

// ---- source operand: an immediate or a register
export const BPF_K = 0x00;
export const BPF_X = 0x08;

// ---- ALU and ALU64 codes
export const BPF_ADD = 0x00;
export const BPF_SUB = 0x10;
export const BPF_MUL = 0x20;
export const BPF_DIV = 0x30;
export const BPF_OR = 0x40;
export const BPF_AND = 0x50;
export const BPF_LSH = 0x60;
export const BPF_RSH = 0x70;
export const BPF_NEG = 0x80;
export const BPF_MOD = 0x90;
export const BPF_XOR = 0xa0;
export const BPF_MOV = 0xb0;
export const BPF_ARSH = 0xc0;
export const BPF_END = 0xd0;

// ---- JMP and JMP32 codes
export const BPF_JA = 0x00;
export const BPF_JEQ = 0x10;
export const BPF_JGT = 0x20;
export const BPF_JGE = 0x30;
export const BPF_JSET = 0x40;
export const BPF_JNE = 0x50;
export const BPF_JSGT = 0x60;
export const BPF_JSGE = 0x70;
export const BPF_CALL = 0x80;
export const BPF_EXIT = 0x90;
export const BPF_JLT = 0xa0;
export const BPF_JLE = 0xb0;
export const BPF_JSLT = 0xc0;
export const BPF_JSLE = 0xd0;

// ---- sizes and modes of loads and stores
export const BPF_W = 0x00;
export const BPF_H = 0x08;
export const BPF_B = 0x10;
export const BPF_DW = 0x18;
export const BPF_IMM = 0x00;
export const BPF_MEM = 0x60;
export const BPF_MEMSX = 0x80;
export const BPF_ATOMIC = 0xc0;

// ---- imm of an atomic instruction: an ALU code, or one of these, with or without fetch
export const BPF_FETCH = 0x01;
export const BPF_XCHG = 0xe1;
export const BPF_CMPXCHG = 0xf1;
// Not in RFC 9669; Linux 6.15 and later.
export const BPF_LOAD_ACQ = 0x100;
export const BPF_STORE_REL = 0x110;

// ---- src of LD | IMM | DW (LDDW)
export const BPF_PSEUDO_MAP_FD = 1;
export const BPF_PSEUDO_MAP_VALUE = 2;
export const BPF_PSEUDO_BTF_ID = 3;
export const BPF_PSEUDO_FUNC = 4;
export const BPF_PSEUDO_MAP_IDX = 5;
export const BPF_PSEUDO_MAP_IDX_VALUE = 6;

// ---- src of a call
export const BPF_HELPER_CALL = 0;
export const BPF_PSEUDO_CALL = 1;
export const BPF_PSEUDO_KFUNC_CALL = 2;

// ---- the machine
export const FRAME_POINTER = 10;
export const NR_REGS = 11;
/** Bytes of stack of each function. */
export const MAX_BPF_STACK = 512;
/** Functions on the call stack at once, the main one included. */
export const MAX_CALL_FRAMES = 8;
/** Bytes of stack that a machine needs: one frame per possible call. */
export const STACK_SIZE = 4096;

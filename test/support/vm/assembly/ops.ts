// The operations of a DecodedInsn: dense from 1, in the order of the interpreter's cases, so that its
// switch is one jump table. The first four groups are the codes of the instruction set (code >> 4).
// Signed division and modulo take free places of the ALU groups, three helper calls those that JMP32
// has in place of JA, CALL and EXIT.

// ---- ALU64
export const OP_ADD64 = 1;
export const OP_SUB64 = 2;
export const OP_MUL64 = 3;
export const OP_DIV64 = 4;
export const OP_OR64 = 5;
export const OP_AND64 = 6;
export const OP_LSH64 = 7;
export const OP_RSH64 = 8;
export const OP_NEG64 = 9;
export const OP_MOD64 = 10;
export const OP_XOR64 = 11;
export const OP_MOV64 = 12;
export const OP_ARSH64 = 13;
export const OP_SDIV64 = 14;
export const OP_SMOD64 = 15;

// ---- ALU
export const OP_ADD32 = 16;
export const OP_SUB32 = 17;
export const OP_MUL32 = 18;
export const OP_DIV32 = 19;
export const OP_OR32 = 20;
export const OP_AND32 = 21;
export const OP_LSH32 = 22;
export const OP_RSH32 = 23;
export const OP_NEG32 = 24;
export const OP_MOD32 = 25;
export const OP_XOR32 = 26;
export const OP_MOV32 = 27;
export const OP_ARSH32 = 28;
export const OP_SDIV32 = 29;
export const OP_SMOD32 = 30;

// ---- JMP
export const OP_JA = 31;
export const OP_JEQ64 = 32;
export const OP_JGT64 = 33;
export const OP_JGE64 = 34;
export const OP_JSET64 = 35;
export const OP_JNE64 = 36;
export const OP_JSGT64 = 37;
export const OP_JSGE64 = 38;
export const OP_CALL = 39;
export const OP_EXIT = 40;
export const OP_JLT64 = 41;
export const OP_JLE64 = 42;
export const OP_JSLT64 = 43;
export const OP_JSLE64 = 44;

// ---- JMP32
export const OP_HELPER = 45;
export const OP_JEQ32 = 46;
export const OP_JGT32 = 47;
export const OP_JGE32 = 48;
export const OP_JSET32 = 49;
export const OP_JNE32 = 50;
export const OP_JSGT32 = 51;
export const OP_JSGE32 = 52;
export const OP_LOOKUP = 53;
export const OP_UPDATE = 54;
export const OP_JLT32 = 55;
export const OP_JLE32 = 56;
export const OP_JSLT32 = 57;
export const OP_JSLE32 = 58;

// ---- loads, stores and the rest
export const OP_LDX8 = 59;
export const OP_LDX16 = 60;
export const OP_LDX32 = 61;
export const OP_LDX64 = 62;
export const OP_LDXS8 = 63;
export const OP_LDXS16 = 64;
export const OP_LDXS32 = 65;
export const OP_STX8 = 66;
export const OP_STX16 = 67;
export const OP_STX32 = 68;
export const OP_STX64 = 69;
export const OP_ATOMIC = 70;
export const OP_ATOMIC_ADD64 = 71;
export const OP_CONVERT = 72;
export const OP_DELETE = 73;
/** rA = rB; rA += imm. From here on several instructions run as one. */
export const OP_LEA = 74;
/** call bpf_map_lookup_elem; if r0 == 0 goto */
export const OP_LOOKUP_JEQ = 75;
/** call bpf_map_lookup_elem; if r0 != 0 goto */
export const OP_LOOKUP_JNE = 76; /** rA += x; if rA < y goto */
export const OP_ADD_JLT = 77;
/** rA += x; if rA != y goto */
export const OP_ADD_JNE = 78;
/** rA = *(u64 *)(rB + off); rA += x; *(u64 *)(rB + off) = rA */
export const OP_ADD_TO = 79;
/** r2 = rB; r2 += imm; r1 = map ll; call bpf_map_lookup_elem; if r0 == 0 goto */
export const OP_LOOKUP_MAP = 80;

/** Stands behind the last instruction. */
export const OP_OUTSIDE = 81;
export const OP_UNKNOWN = 82;

/** Added to a load or a store whose range is checked first. */
export const OP_CHECKED = 0x80;

// ---- DecodedInsn.aux of OP_CONVERT: the width in bits, plus one of these
export const CONVERT_MOVSX64 = 0x000;
export const CONVERT_MOVSX32 = 0x100;
export const CONVERT_SWAP = 0x200;
export const CONVERT_TRUNCATE = 0x300;

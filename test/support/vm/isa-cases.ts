// What every eBPF machine must compute: programs with the value that they return, for each
// instruction of RFC 9669 and its edges. The expectations are literals, checked against the
// interpreters here and, where there is one, against a Linux kernel (test/vm/kernel.test.ts).
// r1 points to 64 bytes of context at the start: 0x00, 0x11, .. 0xff, then zeros.

/** One program and what it returns. */
export interface IsaCase {
  readonly name: string;
  readonly text: string;
  /** Expected r0. */
  readonly r0: bigint;
  /** False: a kernel's verifier does not take it, or a kernel runs it one call deeper. */
  readonly kernel?: false;
}

/** Bytes of context that a case may use. */
export const CONTEXT_SIZE = 64;

/** The context at the start of each case. */
export function initialContext(): Uint8Array {
  return Uint8Array.from({ length: CONTEXT_SIZE }, (_, index) => (index < 16 ? index * 0x11 : 0));
}

const hex = (value: bigint): string => `0x${BigInt.asUintN(64, value).toString(16)}`;

// ---- ALU: operator, operands, result with r registers, result with w registers

type AluRow = readonly [string, bigint, bigint, bigint, bigint];

const ALU_ROWS: readonly AluRow[] = [
  ["+", 1n, 2n, 3n, 3n],
  ["+", 0xffffffffn, 1n, 0x1_00000000n, 0n],
  ["+", 0xffffffff_ffffffffn, 1n, 0n, 0n],
  ["+", 0x7fffffff_ffffffffn, 1n, 0x80000000_00000000n, 0n],
  ["+", 5n, -6n, 0xffffffff_ffffffffn, 0xffffffffn],
  ["-", 1n, 2n, 0xffffffff_ffffffffn, 0xffffffffn],
  ["-", 0x1_00000000n, 1n, 0xffffffffn, 0xffffffffn],
  ["-", 0n, -0x80000000n, 0x80000000n, 0x80000000n],
  ["*", 7n, 6n, 42n, 42n],
  ["*", 0xffffffffn, 0x7fffffffn, 0x7ffffffe_80000001n, 0x80000001n],
  ["*", 0x12345678_9abcdef0n, -3n, 0xc962fc96_2fc96330n, 0x2fc96330n],
  ["/", 7n, 2n, 3n, 3n],
  ["/", 7n, 0n, 0n, 0n],
  ["/", 0xffffffff_ffffffffn, 2n, 0x7fffffff_ffffffffn, 0x7fffffffn],
  ["/", 0xffffffff_00000009n, 2n, 0x7fffffff_80000004n, 4n],
  ["/", 0x80000000_00000000n, -1n, 0n, 0n],
  ["%", 7n, 4n, 3n, 3n],
  ["%", 0xffffffff_00000007n, 0n, 0xffffffff_00000007n, 7n],
  ["%", 0xffffffff_ffffffffn, 10n, 5n, 5n],
  ["%", 0x80000000_80000000n, -1n, 0x80000000_80000000n, 0x80000000n],
  ["s/", -7n, 2n, -3n, 0xfffffffdn],
  ["s/", 7n, -2n, -3n, 0xfffffffdn],
  ["s/", -7n, -2n, 3n, 3n],
  ["s/", -7n, 0n, 0n, 0n],
  ["s/", 0x80000000_00000000n, -1n, 0x80000000_00000000n, 0n],
  ["s/", 0x80000000n, -1n, 0xffffffff_80000000n, 0x80000000n],
  ["s%", -7n, 2n, -1n, 0xffffffffn],
  ["s%", 7n, -2n, 1n, 1n],
  ["s%", -7n, 0n, -7n, 0xfffffff9n],
  ["s%", 0x80000000_00000000n, -1n, 0n, 0n],
  ["s%", 0x80000000n, -1n, 0n, 0n],
  ["|", 0x0f0f0f0f_0f0f0f0fn, 0x70707070n, 0x0f0f0f0f_7f7f7f7fn, 0x7f7f7f7fn],
  ["|", 1n, -0x80000000n, 0xffffffff_80000001n, 0x80000001n],
  ["&", 0xffffffff_ffffffffn, 0x0ff0n, 0x0ff0n, 0x0ff0n],
  ["&", 0x12345678_9abcdef0n, -16n, 0x12345678_9abcdef0n, 0x9abcdef0n],
  ["^", 0xff00ff00_ff00ff00n, 0x0ff00ff0n, 0xff00ff00_f0f0f0f0n, 0xf0f0f0f0n],
  ["^", 0n, -1n, 0xffffffff_ffffffffn, 0xffffffffn],
  ["<<", 1n, 31n, 0x80000000n, 0x80000000n],
  ["<<", 0xffffffffn, 4n, 0xf_fffffff0n, 0xfffffff0n],
  [">>", 0x80000000_80000000n, 4n, 0x08000000_08000000n, 0x08000000n],
  ["s>>", 0x80000000_80000000n, 4n, 0xf8000000_08000000n, 0xf8000000n],
  ["s>>", 0x40000000_40000000n, 4n, 0x04000000_04000000n, 0x04000000n],
  ["", 0n, 0x12345678n, 0x12345678n, 0x12345678n],
  ["", 0n, -1n, 0xffffffff_ffffffffn, 0xffffffffn],
];

/** Shifts by registers use the low 6 or 5 bits of the count; an imm beyond is not verifiable. */
const SHIFT_ROWS: readonly AluRow[] = [
  ["<<", 1n, 63n, 0x80000000_00000000n, 0x80000000n],
  ["<<", 3n, 64n, 3n, 3n],
  ["<<", 3n, 33n, 0x6_00000000n, 6n],
  ["<<", 3n, 0xffffffff_00000001n, 6n, 6n],
  [">>", 0x80000000_80000000n, 63n, 1n, 1n],
  [">>", 0x80000000_80000000n, 68n, 0x08000000_08000000n, 0x08000000n],
  ["s>>", 0x80000000_80000000n, 63n, 0xffffffff_ffffffffn, 0xffffffffn],
  ["s>>", 0x80000000_80000000n, 36n, 0xffffffff_f8000000n, 0xf8000000n],
];

function aluCases(row: AluRow, withImm: boolean): IsaCase[] {
  const [operator, a, b, result64, result32] = row;
  const isShift = operator.includes("<<") || operator.includes(">>");
  const wide = `r0 = ${hex(a)} ll; r2 = ${hex(b)} ll`;
  // A kernel rejects a constant zero divisor; a shift count has to be below the width.
  const immFits = withImm && !(b === 0n && /[/%]/.test(operator)) && b >= -0x80000000n;
  const name = `${hex(a)} ${operator}= ${hex(b)}`;
  const cases: IsaCase[] = [
    { name: `r ${name}`, text: `${wide}; r0 ${operator}= r2; exit`, r0: result64 },
    { name: `w ${name}`, text: `${wide}; w0 ${operator}= w2; exit`, r0: result32 },
  ];
  if (immFits && b <= 0x7fffffffn && !(isShift && b > 31n)) {
    const start = `r0 = ${hex(a)} ll`;
    cases.push(
      { name: `r imm ${name}`, text: `${start}; r0 ${operator}= ${b}; exit`, r0: result64 },
      { name: `w imm ${name}`, text: `${start}; w0 ${operator}= ${b}; exit`, r0: result32 },
    );
  }
  return cases.map((item) => ({ ...item, r0: BigInt.asUintN(64, item.r0) }));
}

// ---- one operand: text after `r0 = <value> ll`, and the result

const UNARY_ROWS: readonly (readonly [bigint, string, bigint])[] = [
  [1n, "r0 = -r0", 0xffffffff_ffffffffn],
  [0x80000000_00000000n, "r0 = -r0", 0x80000000_00000000n],
  [0xffffffff_00000001n, "w0 = -w0", 0xffffffffn],
  [0x11223344_80000000n, "w0 = -w0", 0x80000000n],
  [0x11223344_55667788n, "w0 = w0", 0x55667788n],
  [0x11223344_55667788n, "r2 = r0; r0 = 0; r0 = r2", 0x11223344_55667788n],
  [0x11223344_55667780n, "r0 = (s8) r0", 0xffffffff_ffffff80n],
  [0x11223344_5566777fn, "r0 = (s8) r0", 0x7fn],
  [0x11223344_55668000n, "r0 = (s16) r0", 0xffffffff_ffff8000n],
  [0x11223344_55667fffn, "r0 = (s16) r0", 0x7fffn],
  [0x11223344_80000000n, "r0 = (s32) r0", 0xffffffff_80000000n],
  [0x11223344_7fffffffn, "r0 = (s32) r0", 0x7fffffffn],
  [0x11223344_55667780n, "w0 = (s8) w0", 0xffffff80n],
  [0x11223344_5566777fn, "w0 = (s8) w0", 0x7fn],
  [0x11223344_55668000n, "w0 = (s16) w0", 0xffff8000n],
  [0x11223344_55667fffn, "w0 = (s16) w0", 0x7fffn],
  [0x11223344_55667788n, "r0 = be16 r0", 0x8877n],
  [0x11223344_55667788n, "r0 = be32 r0", 0x88776655n],
  [0x11223344_55667788n, "r0 = be64 r0", 0x88776655_44332211n],
  [0x11223344_55667788n, "r0 = le16 r0", 0x7788n],
  [0x11223344_55667788n, "r0 = le32 r0", 0x55667788n],
  [0x11223344_55667788n, "r0 = le64 r0", 0x11223344_55667788n],
  [0x11223344_55667788n, "r0 = bswap16 r0", 0x8877n],
  [0x11223344_55667788n, "r0 = bswap32 r0", 0x88776655n],
  [0x11223344_55667788n, "r0 = bswap64 r0", 0x88776655_44332211n],
];

// ---- jumps: condition, operands, taken with r registers, taken with w registers

type JumpRow = readonly [string, bigint, bigint, boolean, boolean];

const JUMP_ROWS: readonly JumpRow[] = [
  ["==", 5n, 5n, true, true],
  ["==", 0x1_00000005n, 5n, false, true],
  ["==", 0xffffffffn, -1n, false, true],
  ["==", 5n, 6n, false, false],
  ["!=", 5n, 5n, false, false],
  ["!=", 0x1_00000005n, 5n, true, false],
  [">", 6n, 5n, true, true],
  [">", 5n, 5n, false, false],
  [">", -1n, 5n, true, true],
  [">", 5n, -1n, false, false],
  [">", 0x1_00000000n, 5n, true, false],
  [">=", 5n, 5n, true, true],
  [">=", 4n, 5n, false, false],
  [">=", 0x1_00000000n, 5n, true, false],
  ["<", 4n, 5n, true, true],
  ["<", 5n, 5n, false, false],
  ["<", 5n, -1n, true, true],
  ["<", 0x1_00000000n, 5n, false, true],
  ["<=", 5n, 5n, true, true],
  ["<=", 6n, 5n, false, false],
  ["<=", 0x1_00000000n, 5n, false, true],
  ["s>", 5n, -1n, true, true],
  ["s>", -1n, 5n, false, false],
  ["s>", 5n, 5n, false, false],
  ["s>", 0x80000000n, 0n, true, false],
  ["s>=", -1n, -1n, true, true],
  ["s>=", -2n, -1n, false, false],
  ["s>=", 0xffffffffn, 1n, true, false],
  ["s<", -1n, 5n, true, true],
  ["s<", 5n, -1n, false, false],
  ["s<", 5n, 5n, false, false],
  ["s<", 0x80000000n, 0n, false, true],
  ["s<=", -1n, -1n, true, true],
  ["s<=", 0n, -1n, false, false],
  ["s<=", 0x80000000n, 0n, false, true],
  ["&", 6n, 3n, true, true],
  ["&", 4n, 3n, false, false],
  ["&", 0x80000000_00000000n, -1n, true, false],
  ["&", 0x1_00000000n, -0x80000000n, true, false],
];

function jumpCases([condition, a, b, taken64, taken32]: JumpRow): IsaCase[] {
  const start = `r0 = 0; r2 = ${hex(a)} ll; r3 = ${hex(b)} ll`;
  const end = "goto out; yes: r0 = 1; out: exit";
  const make = (width: string, right: string, taken: boolean): IsaCase => ({
    name: `if ${width} ${hex(a)} ${condition} ${hex(b)}${right.startsWith(width) ? "" : " imm"}`,
    text: `${start}; if ${width}2 ${condition} ${right} goto yes; ${end}`,
    r0: taken ? 1n : 0n,
  });
  return [
    make("r", "r3", taken64),
    make("w", "w3", taken32),
    make("r", `${b}`, taken64),
    make("w", `${b}`, taken32),
  ];
}

// ---- atomics: on 16 bytes of stack that hold 0x11223344_55667788 and zeros

const ATOMIC_START = "r6 = 0x1122334455667788 ll; *(u64 *)(r10 - 8) = r6";
const MEMORY = "r0 = *(u64 *)(r10 - 8)";

const ATOMIC_ROWS: readonly (readonly [string, string, bigint])[] = [
  ["add 64", `r2 = 1; lock *(u64 *)(r10 - 8) += r2; ${MEMORY}`, 0x11223344_55667789n],
  ["add 64 wraps", `r2 = -1; lock *(u64 *)(r10 - 8) += r2; ${MEMORY}`, 0x11223344_55667787n],
  [
    "add 32 keeps the rest",
    `w2 = -1; lock *(u32 *)(r10 - 8) += w2; ${MEMORY}`,
    0x11223344_55667787n,
  ],
  [
    "add 32 carries no further",
    `w2 = 0xaa998878; lock *(u32 *)(r10 - 8) += w2; ${MEMORY}`,
    0x11223344_00000000n,
  ],
  ["or 64", `r2 = 0x77; lock *(u64 *)(r10 - 8) |= r2; ${MEMORY}`, 0x11223344_556677ffn],
  ["or 32", `w2 = 0x77; lock *(u32 *)(r10 - 4) |= w2; ${MEMORY}`, 0x11223377_55667788n],
  ["and 64", `r2 = 0xff; lock *(u64 *)(r10 - 8) &= r2; ${MEMORY}`, 0x88n],
  ["and 32", `w2 = 0xff; lock *(u32 *)(r10 - 8) &= w2; ${MEMORY}`, 0x11223344_00000088n],
  ["xor 64", `r2 = -1; lock *(u64 *)(r10 - 8) ^= r2; ${MEMORY}`, 0xeeddccbb_aa998877n],
  ["xor 32", `w2 = -1; lock *(u32 *)(r10 - 8) ^= w2; ${MEMORY}`, 0x11223344_aa998877n],
  [
    "fetch_add 64, old",
    "r0 = 1; r0 = atomic_fetch_add((u64 *)(r10 - 8), r0)",
    0x11223344_55667788n,
  ],
  [
    "fetch_add 64, new",
    `r2 = 1; r2 = atomic_fetch_add((u64 *)(r10 - 8), r2); ${MEMORY}`,
    0x11223344_55667789n,
  ],
  ["fetch_add 32, old", "r0 = -1; w0 = atomic_fetch_add((u32 *)(r10 - 8), w0)", 0x55667788n],
  [
    "fetch_add 32, new",
    `w2 = 1; w2 = atomic_fetch_add((u32 *)(r10 - 8), w2); ${MEMORY}`,
    0x11223344_55667789n,
  ],
  ["fetch_or 64, old", "r0 = 1; r0 = atomic_fetch_or((u64 *)(r10 - 8), r0)", 0x11223344_55667788n],
  [
    "fetch_or 64, new",
    `r2 = 1; r2 = atomic_fetch_or((u64 *)(r10 - 8), r2); ${MEMORY}`,
    0x11223344_55667789n,
  ],
  ["fetch_or 32, old", "r0 = -1; w0 = atomic_fetch_or((u32 *)(r10 - 4), w0)", 0x11223344n],
  [
    "fetch_and 64, old",
    "r0 = 1; r0 = atomic_fetch_and((u64 *)(r10 - 8), r0)",
    0x11223344_55667788n,
  ],
  ["fetch_and 64, new", `r2 = 15; r2 = atomic_fetch_and((u64 *)(r10 - 8), r2); ${MEMORY}`, 8n],
  [
    "fetch_and 32, new",
    `w2 = 15; w2 = atomic_fetch_and((u32 *)(r10 - 8), w2); ${MEMORY}`,
    0x11223344_00000008n,
  ],
  [
    "fetch_xor 64, old",
    "r0 = 1; r0 = atomic_fetch_xor((u64 *)(r10 - 8), r0)",
    0x11223344_55667788n,
  ],
  ["fetch_xor 64, new", `r2 = r6; r2 = atomic_fetch_xor((u64 *)(r10 - 8), r2); ${MEMORY}`, 0n],
  ["fetch_xor 32, old", "w0 = 1; w0 = atomic_fetch_xor((u32 *)(r10 - 8), w0)", 0x55667788n],
  ["xchg 64, old", "r0 = 7; r0 = xchg_64(r10 - 8, r0)", 0x11223344_55667788n],
  ["xchg 64, new", `r2 = 7; r2 = xchg_64(r10 - 8, r2); ${MEMORY}`, 7n],
  ["xchg 32, old", "r0 = -1; w0 = xchg32_32(r10 - 8, w0)", 0x55667788n],
  ["xchg 32, new", `r2 = -1; w2 = xchg32_32(r10 - 8, w2); ${MEMORY}`, 0x11223344_ffffffffn],
  [
    "cmpxchg 64 equal, old",
    "r0 = r6; r2 = 7; r0 = cmpxchg_64(r10 - 8, r0, r2)",
    0x11223344_55667788n,
  ],
  ["cmpxchg 64 equal, new", `r0 = r6; r2 = 7; r0 = cmpxchg_64(r10 - 8, r0, r2); ${MEMORY}`, 7n],
  [
    "cmpxchg 64 differs, old",
    "r0 = 1; r2 = 7; r0 = cmpxchg_64(r10 - 8, r0, r2)",
    0x11223344_55667788n,
  ],
  [
    "cmpxchg 64 differs, new",
    `r0 = 1; r2 = 7; r0 = cmpxchg_64(r10 - 8, r0, r2); ${MEMORY}`,
    0x11223344_55667788n,
  ],
  [
    "cmpxchg 64 keeps the operand",
    "r0 = r6; r2 = 7; r0 = cmpxchg_64(r10 - 8, r0, r2); r0 = r2",
    7n,
  ],
  [
    "cmpxchg 32 ignores the high half of r0",
    `r0 = r6; r2 = 7; w0 = cmpxchg32_32(r10 - 8, w0, w2); ${MEMORY}`,
    0x11223344_00000007n,
  ],
  ["cmpxchg 32 equal, old", "r0 = r6; r2 = 7; w0 = cmpxchg32_32(r10 - 8, w0, w2)", 0x55667788n],
  [
    "cmpxchg 32 differs clears the high half of r0",
    "r0 = -1; r2 = 7; w0 = cmpxchg32_32(r10 - 8, w0, w2)",
    0x55667788n,
  ],
  ["load_acquire 64", "r0 = load_acquire((u64 *)(r10 - 8))", 0x11223344_55667788n],
  ["load_acquire 32", "w0 = load_acquire((u32 *)(r10 - 8))", 0x55667788n],
  ["load_acquire 16", "w0 = load_acquire((u16 *)(r10 - 6))", 0x5566n],
  ["load_acquire 8", "w0 = load_acquire((u8 *)(r10 - 1))", 0x11n],
  [
    "store_release 64",
    `r2 = -2; store_release((u64 *)(r10 - 8), r2); ${MEMORY}`,
    0xffffffff_fffffffen,
  ],
  [
    "store_release 32",
    `r2 = -2; store_release((u32 *)(r10 - 8), w2); ${MEMORY}`,
    0x11223344_fffffffen,
  ],
  [
    "store_release 16",
    `r2 = -2; store_release((u16 *)(r10 - 8), w2); ${MEMORY}`,
    0x11223344_5566fffen,
  ],
  [
    "store_release 8",
    `r2 = -2; store_release((u8 *)(r10 - 8), w2); ${MEMORY}`,
    0x11223344_556677fen,
  ],
];

// ---- loads and stores

const ACCESS_CASES: readonly IsaCase[] = [
  { name: "load u8", text: "r0 = *(u8 *)(r1 + 15); exit", r0: 0xffn },
  { name: "load u16", text: "r0 = *(u16 *)(r1 + 14); exit", r0: 0xffeen },
  { name: "load u32", text: "r0 = *(u32 *)(r1 + 12); exit", r0: 0xffeeddccn },
  { name: "load u64", text: "r0 = *(u64 *)(r1 + 8); exit", r0: 0xffeeddcc_bbaa9988n },
  { name: "load s8", text: "r0 = *(s8 *)(r1 + 8); exit", r0: 0xffffffff_ffffff88n },
  { name: "load s16", text: "r0 = *(s16 *)(r1 + 8); exit", r0: 0xffffffff_ffff9988n },
  { name: "load s32", text: "r0 = *(s32 *)(r1 + 8); exit", r0: 0xffffffff_bbaa9988n },
  { name: "load s8, positive", text: "r0 = *(s8 *)(r1 + 1); exit", r0: 0x11n },
  { name: "load s16, positive", text: "r0 = *(s16 *)(r1 + 2); exit", r0: 0x3322n },
  { name: "load s32, positive", text: "r0 = *(s32 *)(r1 + 4); exit", r0: 0x77665544n },
  {
    name: "load at a negative offset",
    text: "r1 += 16; r0 = *(u32 *)(r1 - 16); exit",
    r0: 0x33221100n,
    kernel: false,
  },
  {
    name: "stores of registers write their size only",
    text: `r2 = -1; r3 = 0; *(u64 *)(r10 - 8) = r3; *(u8 *)(r10 - 8) = r2;
      *(u16 *)(r10 - 6) = r2; *(u32 *)(r10 - 4) = r2; r0 = *(u64 *)(r10 - 8); exit`,
    r0: 0xffffffff_ffff00ffn,
  },
  {
    name: "stores of immediates write their size only",
    text: `*(u64 *)(r10 - 8) = 0; *(u8 *)(r10 - 8) = 0x81; *(u16 *)(r10 - 6) = 0x8283;
      *(u32 *)(r10 - 4) = 0x84858687; r0 = *(u64 *)(r10 - 8); exit`,
    r0: 0x84858687_82830081n,
  },
  {
    name: "a u64 immediate is sign-extended",
    text: "*(u64 *)(r10 - 8) = -2; r0 = *(u64 *)(r10 - 8); exit",
    r0: 0xffffffff_fffffffen,
  },
  {
    name: "context is written",
    text: "*(u32 *)(r1 + 32) = 7; r0 = *(u64 *)(r1 + 32); exit",
    r0: 7n,
  },
  {
    name: "512 bytes of stack",
    text: "*(u64 *)(r10 - 512) = 9; r0 = *(u64 *)(r10 - 512); exit",
    r0: 9n,
  },
  { name: "64-bit immediate", text: "r0 = 0x8877665544332211 ll; exit", r0: 0x88776655_44332211n },
];

// ---- control flow

const nested = (levels: number): string => {
  const body = Array.from(
    { length: levels },
    (_, level) => `f${level}: r0 = ${level}; call f${level + 1}; r0 += 1; exit`,
  );
  return [...body, `f${levels}: r0 = 100; exit`].join("\n");
};

const FLOW_CASES: readonly IsaCase[] = [
  { name: "goto forward", text: "r0 = 1; goto out; r0 = 2; out: exit", r0: 1n, kernel: false },
  {
    name: "goto backward",
    text: "r0 = 0; goto b; a: exit; b: r0 += 5; goto a",
    r0: 5n,
  },
  { name: "gotol", text: "r0 = 1; gotol b; a: exit; b: r0 = 3; gotol a", r0: 3n },
  { name: "relative goto", text: "r0 = 1; goto +0; goto +1; exit; goto -2", r0: 1n },
  {
    name: "loop",
    text: "r0 = 0; r2 = 10; again: r0 += r2; r2 -= 1; if r2 != 0 goto again; exit",
    r0: 55n,
  },
  {
    name: "a call keeps r6 to r9 and r10",
    text: `r6 = 1; r7 = 2; r8 = 3; r9 = 4; *(u64 *)(r10 - 8) = 5; call f
      r0 += r6; r0 += r7; r0 += r8; r0 += r9; r2 = *(u64 *)(r10 - 8); r0 += r2; exit
      f: r6 = 60; r7 = 70; r8 = 80; r9 = 90; *(u64 *)(r10 - 8) = 99; r0 = 100; exit`,
    r0: 115n,
  },
  {
    name: "a call passes r1 to r5",
    text: `r1 = 1; r2 = 2; r3 = 4; r4 = 8; r5 = 16; call f; exit
      f: r0 = r1; r0 += r2; r0 += r3; r0 += r4; r0 += r5; exit`,
    r0: 31n,
  },
  {
    name: "a function reaches its caller's stack",
    text: `*(u64 *)(r10 - 8) = 5; r1 = r10; r1 += -8; call f; r0 = *(u64 *)(r10 - 8); exit
      f: r2 = *(u64 *)(r1 + 0); r2 *= 3; *(u64 *)(r1 + 0) = r2; r0 = 0; exit`,
    r0: 15n,
  },
  { name: "two calls deep", text: nested(2), r0: 102n },
  { name: "seven calls deep: eight frames", text: nested(7), r0: 107n, kernel: false },
  {
    name: "recursion within eight frames",
    text: `r1 = 7; call f; exit
      f: if r1 == 1 goto one; *(u64 *)(r10 - 8) = r1; r1 -= 1; call f
      r1 = *(u64 *)(r10 - 8); r0 *= r1; exit; one: r0 = 1; exit`,
    r0: 5040n,
    kernel: false,
  },
  // Sequences that the WebAssembly machine joins, close misses, and jumps into their middles.
  {
    name: "add and jump below",
    text: "r0 = 0; again: r0 += 3; if r0 < 10 goto again; exit",
    r0: 12n,
  },
  {
    name: "add and jump unequal",
    text: "r0 = 0; again: r0 += 3; if r0 != 12 goto again; exit",
    r0: 12n,
  },
  {
    name: "add and compare with itself",
    text: "r0 = 1; r0 += 5; if r0 < r0 goto out; r0 += 1; out: exit",
    r0: 7n,
  },
  {
    name: "a jump between add and jump",
    text: "r0 = 5; goto test; again: r0 += 3; test: if r0 < 10 goto again; exit",
    r0: 11n,
  },
  {
    name: "load, add and store",
    text: `*(u64 *)(r10 - 8) = 5; r2 = 3; r0 = *(u64 *)(r10 - 8); r0 += r2; *(u64 *)(r10 - 8) = r0
      r3 = *(u64 *)(r10 - 8); r0 *= 100; r0 += r3; exit`,
    r0: 808n,
  },
  {
    name: "load, add of the loaded value and store",
    text: `*(u64 *)(r10 - 8) = 5; r0 = 1; r0 = *(u64 *)(r10 - 8); r0 += r0; *(u64 *)(r10 - 8) = r0
      r0 = *(u64 *)(r10 - 8); exit`,
    r0: 10n,
  },
  {
    name: "load, add and store to another place",
    text: `*(u64 *)(r10 - 8) = 5; *(u64 *)(r10 - 16) = 1; r0 = *(u64 *)(r10 - 8); r0 += -7
      *(u64 *)(r10 - 16) = r0; r0 = *(u64 *)(r10 - 8); exit`,
    r0: 5n,
  },
  {
    name: "load, add and store through the loaded pointer",
    text: `r2 = r10; r2 += -24; *(u64 *)(r10 - 8) = r2; r2 += 16; r2 = *(u64 *)(r2 + 0); r2 += 8
      *(u64 *)(r2 + 0) = r2; r0 = *(u64 *)(r10 - 16); r0 -= r10; exit`,
    r0: 0xffffffff_fffffff0n,
  },
  {
    name: "move and add",
    text: "r2 = 5; r0 = r2; r0 += -7; r0 += r2; exit",
    r0: 3n,
  },
  {
    name: "move and add of the register itself",
    text: "r0 = 5; r0 = r0; r0 += 2; exit",
    r0: 7n,
  },
  {
    name: "a jump between move and add",
    text: "r0 = 1; r2 = 5; goto second; first: r0 = r2; second: r0 += 3; if r0 == 4 goto first; exit",
    r0: 8n,
  },
  {
    name: "move of an immediate and add",
    text: "r0 = 1; r0 = 5; r0 += 3; exit",
    r0: 8n,
  },
];

/** Every case; names are unique. */
export const isaCases: readonly IsaCase[] = [
  ...ALU_ROWS.flatMap((row) => aluCases(row, true)),
  ...SHIFT_ROWS.flatMap((row) => aluCases(row, false)),
  ...UNARY_ROWS.map(([value, text, r0]) => ({
    name: `${text} of ${hex(value)}`,
    text: `r0 = ${hex(value)} ll; ${text}; exit`,
    r0,
  })),
  ...JUMP_ROWS.flatMap((row) => jumpCases(row)),
  ...ATOMIC_ROWS.map(([name, text, r0]) => ({
    name: `atomic ${name}`,
    text: `${ATOMIC_START}; ${text}; exit`,
    r0,
  })),
  ...ACCESS_CASES,
  ...FLOW_CASES,
];

// A small eBPF assembler: the notation of RFC 9669, LLVM and `bpftool prog dump xlated`.
//
//   r0 = r1            w0 += 5             r1 s>>= 3          r0 s/= r2        r0 = -r0
//   r1 = *(u32 *)(r2 + 4)                  *(u64 *)(r10 - 8) = r1
//   r1 = *(s8 *)(r2 + 0)                   w1 = (s16) w2      r0 = be16 r0     r0 = bswap32 r0
//   lock *(u64 *)(r0 + 0) += r1            r1 = atomic_fetch_add((u64 *)(r0 + 0), r1)
//   r1 = xchg_64(r0 + 0, r1)               r0 = cmpxchg_64(r2 + 0, r0, r1)
//   if r0 == 0 goto label                  goto +2            gotol label      exit
//   call 1    call bpf_map_lookup_elem     call label         (helper by number, by name; function)
//   r2 = 0x1122334455667788 ll             r1 = map[name] ll  r1 = map_value[name] + 8 ll
//   r2 = &label ll
//
// `;` and line ends separate statements, `//` and `#` start comments, `name:` is a label. A map's
// name stands for the number that `symbols.maps` gives it; a number stands for itself.
import * as uapi from "../../../ts/uapi.js";
import * as op from "./opcodes.js";

/** A statement that is no eBPF instruction, or that cannot be encoded. */
export class AsmError extends Error {
  override readonly name = "AsmError";
  /** 1-based line of the source. */
  readonly line: number;

  constructor(line: number, reason: string, statement: string) {
    super(`line ${line}: ${reason} in "${statement}"`);
    this.line = line;
  }
}

/** What the names in a program stand for. */
export interface Symbols {
  /** Map name to fd. */
  readonly maps?: Readonly<Record<string, number>>;
}

/** An assembled program. */
export interface Program {
  /** Instructions of 8 bytes each, little-endian. */
  readonly insns: Uint8Array;
  /** Label to index of its instruction. */
  readonly labels: ReadonlyMap<string, number>;
}

interface Statement {
  readonly line: number;
  readonly text: string;
  /** Index of its first instruction. */
  readonly pc: number;
}

interface Insn {
  readonly opcode: number;
  readonly dst?: number;
  readonly src?: number;
  readonly off?: number;
  readonly imm?: number;
  /** The imm of the second half of an LDDW. */
  readonly nextImm?: number;
}

interface Context {
  readonly pc: number;
  readonly symbols: Symbols;
  readonly labels: ReadonlyMap<string, number>;
}

/** The parts of a statement that a rule's pattern has captured. */
type Parts = Readonly<Record<string, string>>;

interface Rule {
  readonly pattern: RegExp;
  readonly encode: (parts: Parts, context: Context) => Insn;
}

/** Thrown inside the assembler, where the line is not known. */
class Reason extends Error {}

const SIZES: Readonly<Record<string, number>> = {
  8: op.BPF_B,
  16: op.BPF_H,
  32: op.BPF_W,
  64: op.BPF_DW,
};

/** Operator to ALU code; the signed ones have an offset of 1. */
const ALU_OPERATORS: Readonly<Record<string, { code: number; off: number }>> = {
  "": { code: op.BPF_MOV, off: 0 },
  "+": { code: op.BPF_ADD, off: 0 },
  "-": { code: op.BPF_SUB, off: 0 },
  "*": { code: op.BPF_MUL, off: 0 },
  "/": { code: op.BPF_DIV, off: 0 },
  "%": { code: op.BPF_MOD, off: 0 },
  "s/": { code: op.BPF_DIV, off: 1 },
  "s%": { code: op.BPF_MOD, off: 1 },
  "|": { code: op.BPF_OR, off: 0 },
  "&": { code: op.BPF_AND, off: 0 },
  "^": { code: op.BPF_XOR, off: 0 },
  "<<": { code: op.BPF_LSH, off: 0 },
  ">>": { code: op.BPF_RSH, off: 0 },
  "s>>": { code: op.BPF_ARSH, off: 0 },
};

const CONDITIONS: Readonly<Record<string, number>> = {
  "==": op.BPF_JEQ,
  "!=": op.BPF_JNE,
  ">": op.BPF_JGT,
  ">=": op.BPF_JGE,
  "<": op.BPF_JLT,
  "<=": op.BPF_JLE,
  "s>": op.BPF_JSGT,
  "s>=": op.BPF_JSGE,
  "s<": op.BPF_JSLT,
  "s<=": op.BPF_JSLE,
  "&": op.BPF_JSET,
};

const ATOMIC_OPERATORS: Readonly<Record<string, number>> = {
  "+": op.BPF_ADD,
  "|": op.BPF_OR,
  "&": op.BPF_AND,
  "^": op.BPF_XOR,
  add: op.BPF_ADD,
  or: op.BPF_OR,
  and: op.BPF_AND,
  xor: op.BPF_XOR,
};

const PSEUDO_SOURCES: Readonly<Record<string, number>> = {
  map: op.BPF_PSEUDO_MAP_FD,
  map_value: op.BPF_PSEUDO_MAP_VALUE,
  btf_var: op.BPF_PSEUDO_BTF_ID,
  map_idx: op.BPF_PSEUDO_MAP_IDX,
  map_idx_value: op.BPF_PSEUDO_MAP_IDX_VALUE,
};

// ---- operands

function register(name: string): number {
  const index = Number(name.slice(1));
  if (index >= op.NR_REGS) throw new Reason(`unknown register ${name}`);
  return index;
}

/** Checks that all registers of one instruction have the same width: true for r, false for w. */
function is64(...names: string[]): boolean {
  const wide = names.filter((name) => name.startsWith("r")).length;
  if (wide !== 0 && wide !== names.length) throw new Reason("r and w registers do not mix");
  return wide !== 0;
}

const isRegister = (text: string): boolean => /^[rw]\d+$/.test(text);

function integer(text: string): bigint {
  const digits = text.replace(/^[-+]\s*/, "");
  const value = BigInt(digits);
  return text.startsWith("-") ? -value : value;
}

/** A 32-bit immediate. Only where nothing is sign-extended it may be written as unsigned. */
function immediate(text: string, extended: boolean): number {
  const value = integer(text);
  const max = extended ? 0x7fffffffn : 0xffffffffn;
  if (value < -0x80000000n || value > max) {
    throw new Reason(`${text} does not fit into ${extended ? "a signed" : "an"} imm of 32 bits`);
  }
  return Number(BigInt.asIntN(32, value));
}

function offset(text: string | undefined): number {
  const value = text === undefined ? 0n : integer(text);
  if (value < -0x8000n || value > 0x7fffn) throw new Reason(`offset ${text} exceeds 16 bits`);
  return Number(value);
}

/** A target `label`, `+n` or `-n` relative to the next instruction. */
function relative(target: string, { pc, labels }: Context): number {
  if (/^[-+]/.test(target)) return Number(integer(target));
  const index = labels.get(target);
  if (index === undefined) throw new Reason(`unknown label "${target}"`);
  return index - pc - 1;
}

function jumpOffset(target: string, context: Context): number {
  const distance = relative(target, context);
  if (distance < -0x8000 || distance > 0x7fff) {
    throw new Reason(`target is ${distance} instructions away, beyond 16 bits (gotol reaches it)`);
  }
  return distance;
}

const helperIds: ReadonlyMap<string, number> = new Map(
  Object.entries(uapi)
    .filter(([name]) => name.startsWith("BPF_FUNC_"))
    .map(([name, id]) => [name.replace("BPF_FUNC_", "bpf_"), id]),
);

function symbolValue(name: string, { symbols }: Context): number {
  if (/^\d+$/.test(name)) return Number(name);
  const value = symbols.maps?.[name];
  if (value === undefined) throw new Reason(`unknown map "${name}"`);
  return value;
}

function size(type: string): number {
  const code = SIZES[type.slice(1)];
  if (code === undefined) throw new Reason(`unknown type ${type}`);
  return code;
}

// ---- encoders, one for each form

/** Second operand of an ALU instruction or a jump: BPF_X with src, or BPF_K with imm. */
function operand(text: string, wide: boolean): { source: number; src?: number; imm?: number } {
  if (isRegister(text)) return { source: op.BPF_X, src: register(text) };
  if (!/^[-+]?\s?(0x[\da-f]+|\d+)$/i.test(text)) throw new Reason(`bad operand "${text}"`);
  return { source: op.BPF_K, imm: immediate(text, wide) };
}

function encodeAlu(parts: Parts): Insn {
  const { dst = "", operator = "", rest = "" } = parts;
  const alu = ALU_OPERATORS[operator];
  if (alu === undefined) throw new Reason(`unknown operator "${operator}="`);
  const wide = isRegister(rest) ? is64(dst, rest) : is64(dst);
  const { source, ...fields } = operand(rest, wide);
  const opcode = (wide ? op.BPF_ALU64 : op.BPF_ALU) | source | alu.code;
  return { opcode, dst: register(dst), off: alu.off, ...fields };
}

function encodeNeg({ dst = "", src = "" }: Parts): Insn {
  if (dst !== src) throw new Reason("negation takes one register");
  return { opcode: (is64(dst) ? op.BPF_ALU64 : op.BPF_ALU) | op.BPF_NEG, dst: register(dst) };
}

function encodeMovsx({ dst = "", src = "", bits = "" }: Parts): Insn {
  const wide = is64(dst, src);
  if (!wide && bits === "32") throw new Reason("(s32) needs r registers");
  const opcode = (wide ? op.BPF_ALU64 : op.BPF_ALU) | op.BPF_MOV | op.BPF_X;
  return { opcode, dst: register(dst), src: register(src), off: Number(bits) };
}

function encodeSwap({ dst = "", src = "", order = "", bits = "" }: Parts): Insn {
  if (dst !== src) throw new Reason("a byte swap takes one register");
  const opcode = {
    le: op.BPF_ALU | op.BPF_END,
    be: op.BPF_ALU | op.BPF_END | op.BPF_X,
    bswap: op.BPF_ALU64 | op.BPF_END,
  }[order];
  if (opcode === undefined) throw new Reason(`unknown byte order ${order}`);
  return { opcode, dst: register(dst), imm: Number(bits) };
}

function encodeLoad({ dst = "", type = "", base = "", off }: Parts): Insn {
  const signed = type.startsWith("s");
  if (type === "s64") throw new Reason("there is no s64 load");
  if (!is64(dst) && (signed || type === "u64")) throw new Reason(`${type} needs an r register`);
  const opcode = op.BPF_LDX | size(type) | (signed ? op.BPF_MEMSX : op.BPF_MEM);
  return { opcode, dst: register(dst), src: register(base), off: offset(off) };
}

function encodeStore({ type = "", base = "", off, rest = "" }: Parts): Insn {
  if (type.startsWith("s")) throw new Reason("a store has an unsigned type");
  const fields = { dst: register(base), off: offset(off) };
  const { source, src, imm } = operand(rest, type === "u64");
  if (source === op.BPF_K) {
    return { opcode: op.BPF_ST | op.BPF_MEM | size(type), imm: imm ?? 0, ...fields };
  }
  if (type === "u64" && !is64(rest)) throw new Reason("u64 needs an r register");
  return { opcode: op.BPF_STX | op.BPF_MEM | size(type), src: src ?? 0, ...fields };
}

function atomic(type: string, base: string, off: string | undefined, src: string, imm: number) {
  if (type !== "u32" && type !== "u64") throw new Reason("atomics have type u32 or u64");
  if (type === "u64" && !is64(src)) throw new Reason("u64 needs an r register");
  const opcode = op.BPF_STX | op.BPF_ATOMIC | size(type);
  return { opcode, dst: register(base), src: register(src), off: offset(off), imm };
}

function encodeLock({ type = "", base = "", off, operator = "", src = "" }: Parts): Insn {
  const code = ATOMIC_OPERATORS[operator];
  if (code === undefined) throw new Reason(`unknown atomic operator "${operator}="`);
  return atomic(type, base, off, src, code);
}

function encodeFetch({ dst = "", operator = "", type = "", base = "", off, src = "" }: Parts) {
  const code = ATOMIC_OPERATORS[operator];
  if (code === undefined) throw new Reason(`unknown atomic operator "${operator}"`);
  if (dst !== src) throw new Reason("the fetched value replaces the operand: one register");
  return atomic(type, base, off, src, code | op.BPF_FETCH);
}

function encodeXchg({ dst = "", bits = "", base = "", off, src = "" }: Parts): Insn {
  if (dst !== src) throw new Reason("the fetched value replaces the operand: one register");
  return atomic(`u${bits}`, base, off, src, op.BPF_XCHG);
}

function encodeCmpxchg({ dst = "", old = "", bits = "", base = "", off, src = "" }: Parts): Insn {
  if (register(dst) !== 0 || dst !== old) throw new Reason("cmpxchg compares with register 0");
  return atomic(`u${bits}`, base, off, src, op.BPF_CMPXCHG);
}

function encodeLoadAcquire({ dst = "", type = "", base = "", off }: Parts): Insn {
  const opcode = op.BPF_STX | op.BPF_ATOMIC | size(type);
  const fields = { dst: register(dst), src: register(base), off: offset(off) };
  return { opcode, ...fields, imm: op.BPF_LOAD_ACQ };
}

function encodeStoreRelease({ type = "", base = "", off, src = "" }: Parts): Insn {
  const opcode = op.BPF_STX | op.BPF_ATOMIC | size(type);
  const fields = { dst: register(base), src: register(src), off: offset(off) };
  return { opcode, ...fields, imm: op.BPF_STORE_REL };
}

function encodeJump(
  { left = "", operator = "", right = "", target = "" }: Parts,
  context: Context,
) {
  const code = CONDITIONS[operator];
  if (code === undefined) throw new Reason(`unknown comparison "${operator}"`);
  const wide = isRegister(right) ? is64(left, right) : is64(left);
  const { source, ...fields } = operand(right, wide);
  const opcode = (wide ? op.BPF_JMP : op.BPF_JMP32) | source | code;
  return { opcode, dst: register(left), off: jumpOffset(target, context), ...fields };
}

function encodeGoto({ long, target = "" }: Parts, context: Context): Insn {
  if (long === "l") return { opcode: op.BPF_JMP32 | op.BPF_JA, imm: relative(target, context) };
  return { opcode: op.BPF_JMP | op.BPF_JA, off: jumpOffset(target, context) };
}

function encodeCall({ target = "" }: Parts, context: Context): Insn {
  const opcode = op.BPF_JMP | op.BPF_CALL;
  if (/^\d+$/.test(target)) return { opcode, imm: Number(target) };
  const id = helperIds.get(target);
  if (id !== undefined && !context.labels.has(target)) return { opcode, imm: id };
  if (!context.labels.has(target)) throw new Reason(`unknown helper or function "${target}"`);
  return { opcode, src: op.BPF_PSEUDO_CALL, imm: relative(target, context) };
}

const LDDW = op.BPF_LD | op.BPF_IMM | op.BPF_DW;

function encodeWide({ dst = "", value = "" }: Parts): Insn {
  const number = integer(value);
  if (number < -(1n << 63n) || number >= 1n << 64n) throw new Reason(`${value} exceeds 64 bits`);
  const low = Number(BigInt.asIntN(32, number));
  const high = Number(BigInt.asIntN(32, number >> 32n));
  return { opcode: LDDW, dst: register(dst), imm: low, nextImm: high };
}

function encodeMapRef({ dst = "", kind = "", symbol = "", off }: Parts, context: Context): Insn {
  const src = PSEUDO_SOURCES[kind];
  if (src === undefined) throw new Reason(`unknown reference "${kind}"`);
  const isValue = src === op.BPF_PSEUDO_MAP_VALUE || src === op.BPF_PSEUDO_MAP_IDX_VALUE;
  if (!isValue && off !== undefined) throw new Reason(`${kind}[] takes no offset`);
  const nextImm = off === undefined ? 0 : immediate(off, false);
  const imm = symbolValue(symbol, context);
  return { opcode: LDDW, dst: register(dst), src, imm, nextImm };
}

function encodeCodeRef({ dst = "", target = "" }: Parts, context: Context): Insn {
  const imm = relative(target, context);
  return { opcode: LDDW, dst: register(dst), src: op.BPF_PSEUDO_FUNC, imm, nextImm: 0 };
}

// ---- grammar

/** Compiles a pattern: `<dst>` is a register, `<off>` an optional offset, a space any white space. */
function pattern(text: string): RegExp {
  const source = text
    .replace(/<(dst|src|base|left|old)>/g, "(?<$1>[rw]\\d+)")
    .replace(/<type>/g, "(?<type>[us]\\d+)")
    .replace(/<off>/g, "(?: ?(?<off>[-+] ?\\w+))?")
    .replace(/ /g, "\\s*");
  return new RegExp(`^${source}$`, "i");
}

const MEMORY = String.raw`\( <type> \* \) \( <base><off> \)`;

// The order matters: the last rule takes every other assignment.
const RULES: readonly Rule[] = [
  { pattern: /^exit$/, encode: () => ({ opcode: op.BPF_JMP | op.BPF_EXIT }) },
  { pattern: /^goto(?<long>l?)\s+(?<target>\S+)$/, encode: encodeGoto },
  {
    pattern:
      /^if\s+(?<left>[rw]\d+)\s*(?<operator>s?[<>]=?|[=!]=|&)\s*(?<right>.+?)\s+goto\s+(?<target>\S+)$/,
    encode: encodeJump,
  },
  { pattern: /^call\s+(?<target>\S+)$/, encode: encodeCall },
  { pattern: pattern(String.raw`lock \*${MEMORY} (?<operator>\S)= <src>`), encode: encodeLock },
  {
    pattern: pattern(String.raw`<dst> = atomic_fetch_(?<operator>\w+) \( ${MEMORY} , <src> \)`),
    encode: encodeFetch,
  },
  {
    pattern: pattern(String.raw`<dst> = xchg(?:32)?_(?<bits>\d+) \( <base><off> , <src> \)`),
    encode: encodeXchg,
  },
  {
    pattern: pattern(
      String.raw`<dst> = cmpxchg(?:32)?_(?<bits>\d+) \( <base><off> , <old> , <src> \)`,
    ),
    encode: encodeCmpxchg,
  },
  { pattern: pattern(String.raw`<dst> = load_acquire \( ${MEMORY} \)`), encode: encodeLoadAcquire },
  {
    pattern: pattern(String.raw`store_release \( ${MEMORY} , <src> \)`),
    encode: encodeStoreRelease,
  },
  { pattern: pattern(String.raw`\* ${MEMORY} = (?<rest>.+)`), encode: encodeStore },
  { pattern: pattern(String.raw`<dst> = \* ${MEMORY}`), encode: encodeLoad },
  { pattern: pattern(String.raw`<dst> = &(?<target>\w+) ll`), encode: encodeCodeRef },
  {
    pattern: pattern(String.raw`<dst> = (?<kind>\w+) \[ (?<symbol>[\w.]+) \]<off> ll`),
    encode: encodeMapRef,
  },
  { pattern: pattern(String.raw`<dst> = (?<value>[-+]?\w+?) ll`), encode: encodeWide },
  {
    pattern: pattern(String.raw`<dst> = (?<order>le|be|bswap)(?<bits>16|32|64) <src>`),
    encode: encodeSwap,
  },
  { pattern: pattern(String.raw`<dst> = \( s(?<bits>8|16|32) \) <src>`), encode: encodeMovsx },
  { pattern: pattern(String.raw`<dst> = - <src>`), encode: encodeNeg },
  {
    pattern: pattern(String.raw`<dst> (?<operator>[^\w\s=]*|s[^\w\s=]+)= (?<rest>.+)`),
    encode: encodeAlu,
  },
];

// ---- the two passes

/** First pass: statements with their addresses, and the labels. */
function parse(source: string): {
  statements: Statement[];
  labels: Map<string, number>;
  end: number;
} {
  const statements: Statement[] = [];
  const labels = new Map<string, number>();
  let pc = 0;
  for (const [index, content] of source.split("\n").entries()) {
    for (const piece of content.replace(/(\/\/|#).*/, "").split(";")) {
      let text = piece.trim();
      for (let label = /^(\w+):\s*/.exec(text); label; label = /^(\w+):\s*/.exec(text)) {
        const name = label[1] ?? "";
        if (labels.has(name)) throw new AsmError(index + 1, `label ${name} twice`, text);
        labels.set(name, pc);
        text = text.slice(label[0].length);
      }
      if (text === "") continue;
      statements.push({ line: index + 1, text, pc });
      pc += /\sll$/.test(text) ? 2 : 1;
    }
  }
  return { statements, labels, end: pc };
}

function encode(statement: Statement, context: Context): Insn {
  for (const rule of RULES) {
    const match = rule.pattern.exec(statement.text);
    if (match) return rule.encode(match.groups ?? {}, context);
  }
  throw new Reason("no such instruction");
}

function write(view: DataView, pc: number, insn: Insn): void {
  const at = pc * op.INSN_SIZE;
  view.setUint8(at, insn.opcode);
  view.setUint8(at + 1, ((insn.src ?? 0) << 4) | (insn.dst ?? 0));
  view.setInt16(at + 2, insn.off ?? 0, true);
  view.setInt32(at + 4, insn.imm ?? 0, true);
  if (insn.nextImm !== undefined) view.setInt32(at + 12, insn.nextImm, true);
}

/**
 * Assembles a program.
 * @throws {AsmError} with the line of the first statement that cannot be assembled.
 */
export function assembleProgram(source: string, symbols: Symbols = {}): Program {
  const { statements, labels, end } = parse(source);
  const insns = new Uint8Array(end * op.INSN_SIZE);
  const view = new DataView(insns.buffer);
  for (const statement of statements) {
    try {
      write(view, statement.pc, encode(statement, { pc: statement.pc, symbols, labels }));
    } catch (error) {
      if (!(error instanceof Reason || error instanceof SyntaxError)) throw error;
      throw new AsmError(statement.line, error.message, statement.text);
    }
  }
  return { insns, labels };
}

/** Assembles a program to its instructions alone, 8 bytes each; throws AsmError. */
export function assemble(source: string, symbols: Symbols = {}): Uint8Array {
  return assembleProgram(source, symbols).insns;
}

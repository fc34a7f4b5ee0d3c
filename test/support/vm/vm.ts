// An eBPF interpreter in TypeScript with helpers in JavaScript: RFC 9669, written for clarity.
// Registers are u64; stack, context and whatever a program's pointers lead to live in one
// WebAssembly.Memory, so that helpers of a Wasm module see them under the same addresses.
// A program that does what no program may do ends with a VmError that names the instruction;
// nothing is verified beforehand.
import { alu, atomicResult, compare, swapBytes, truncate, type Bits } from "./alu.js";
import * as op from "./opcodes.js";

/** What a program may not do, with the instruction that did it. */
export class VmError extends Error {
  override readonly name = "VmError";
  /** Index of the instruction, in units of 8 bytes. */
  readonly pc: number;

  constructor(pc: number, reason: string) {
    super(`insn ${pc}: ${reason}`);
    this.pc = pc;
  }
}

/** Runs the helper `id` with the registers r1 to r5 and gives r0. */
export type HelperCall = (
  id: number,
  r1: bigint,
  r2: bigint,
  r3: bigint,
  r4: bigint,
  r5: bigint,
) => bigint;

/** What a machine is made of. */
export interface JsVmOptions {
  readonly memory: WebAssembly.Memory;
  /** Address of the stack: STACK_SIZE bytes, 8-byte aligned. */
  readonly stack: number;
  readonly helpers: HelperCall;
  /**
   * Whether a program may touch `length` bytes at `address`, apart from its stack and context.
   * Without it all of the memory may be touched.
   */
  readonly validRange?: (address: number, length: number) => boolean;
  /** Instructions that one `exec` may run. Default 100 million. */
  readonly maxInsns?: number;
}

/** Saved in the caller's frame: r6 to r9. */
const FIRST_SAVED = 6;

/** The machine. One program at a time, `exec` as often as needed. */
export class JsVm {
  readonly #options: JsVmOptions;
  readonly #regs = new BigUint64Array(op.NR_REGS);
  #code = new DataView(new ArrayBuffer(0));
  #data: DataView;
  #depth = 0;
  #insnsLeft = 0;
  #ctx = { start: 0, end: 0 };

  constructor(options: JsVmOptions) {
    this.#options = options;
    this.#data = new DataView(options.memory.buffer);
  }

  /** Takes a program; its references are resolved already (relocate.ts). */
  load(insns: Uint8Array): void {
    if (insns.length % op.INSN_SIZE !== 0) throw new RangeError("a program has whole instructions");
    this.#code = new DataView(insns.slice().buffer);
  }

  /**
   * Runs the program from its first instruction with r1 = `ctxPtr`.
   * @param ctxLength bytes of context that the program may touch
   * @returns r0
   * @throws {VmError}
   */
  exec(ctxPtr: number, ctxLength: number): bigint {
    this.#depth = 0;
    this.#insnsLeft = this.#options.maxInsns ?? 100_000_000;
    this.#ctx = { start: ctxPtr, end: ctxPtr + ctxLength };
    this.#regs.fill(0n);
    return this.#enter(0, 0, [BigInt(ctxPtr)]);
  }

  /**
   * Calls the function at instruction `pc` as a helper's callback, while that helper runs.
   * The caller's registers are untouched by it.
   * @throws {VmError}
   */
  call(pc: number, ...args: bigint[]): bigint {
    const regs = this.#regs.slice();
    const result = this.#enter(pc, pc, args);
    this.#regs.set(regs);
    return result;
  }

  /** Runs a function in a frame of its own; the caller's r6 to r10 come back. */
  #enter(pc: number, callSite: number, args: readonly bigint[]): bigint {
    if (this.#depth >= op.MAX_CALL_FRAMES) throw new VmError(callSite, "too many nested calls");
    const saved = this.#regs.slice(FIRST_SAVED);
    for (const [index, value] of args.entries()) this.#regs[index + 1] = value;
    const top = this.#options.stack + op.STACK_SIZE - this.#depth * op.MAX_BPF_STACK;
    this.#regs[op.FRAME_POINTER] = BigInt(top);
    this.#depth++;
    this.#run(pc);
    this.#depth--;
    this.#regs.set(saved, FIRST_SAVED);
    return this.#reg(0);
  }

  #run(start: number): void {
    for (let pc = start; ;) {
      const at = pc * op.INSN_SIZE;
      if (at < 0 || at >= this.#code.byteLength) throw new VmError(pc, "outside the program");
      if (this.#insnsLeft-- <= 0) throw new VmError(pc, "too many instructions");
      const opcode = this.#code.getUint8(at);
      if (opcode === (op.BPF_JMP | op.BPF_EXIT)) return;
      pc = this.#step(pc, opcode);
    }
  }

  /** Runs one instruction and gives the index of the next. */
  #step(pc: number, opcode: number): number {
    if (this.#dst(pc) >= op.NR_REGS || this.#src(pc) >= op.NR_REGS) {
      throw new VmError(pc, "no such register");
    }
    switch (opcode & 0x07) {
      case op.BPF_ALU:
      case op.BPF_ALU64:
        this.#alu(pc, opcode);
        return pc + 1;
      case op.BPF_JMP:
      case op.BPF_JMP32:
        return this.#jump(pc, opcode);
      case op.BPF_LDX:
        this.#load(pc, opcode);
        return pc + 1;
      case op.BPF_ST:
      case op.BPF_STX:
        this.#store(pc, opcode);
        return pc + 1;
      default:
        return this.#loadWide(pc, opcode);
    }
  }

  #alu(pc: number, opcode: number): void {
    const bits: Bits = (opcode & 0x07) === op.BPF_ALU64 ? 64 : 32;
    const dst = this.#dst(pc);
    const code = opcode & 0xf0;
    const value = this.#reg(dst);
    let result: bigint | undefined;
    if (code === op.BPF_NEG) {
      result = BigInt.asUintN(bits, -value);
    } else if (code === op.BPF_END) {
      const swaps = bits === 64 || (opcode & op.BPF_X) !== 0;
      result = swaps ? swapBytes(value, this.#imm(pc)) : truncate(value, this.#imm(pc));
    } else {
      result = alu(code, this.#off(pc), value, this.#operand(pc, opcode), bits);
    }
    if (result === undefined) throw unknown(pc, opcode);
    this.#set(pc, dst, result);
  }

  #jump(pc: number, opcode: number): number {
    const isLong = (opcode & 0x07) === op.BPF_JMP32;
    const code = opcode & 0xf0;
    if (opcode === (op.BPF_JMP | op.BPF_CALL)) return this.#callInsn(pc);
    if (code === op.BPF_JA) return pc + 1 + (isLong ? this.#imm(pc) : this.#off(pc));
    const left = this.#reg(this.#dst(pc));
    const taken = compare(code, left, this.#operand(pc, opcode), isLong ? 32 : 64);
    if (taken === undefined) throw unknown(pc, opcode);
    return taken ? pc + 1 + this.#off(pc) : pc + 1;
  }

  #callInsn(pc: number): number {
    const kind = this.#src(pc);
    if (kind === op.BPF_HELPER_CALL) {
      const [, r1 = 0n, r2 = 0n, r3 = 0n, r4 = 0n, r5 = 0n] = this.#regs;
      this.#regs[0] = this.#options.helpers(this.#imm(pc), r1, r2, r3, r4, r5);
    } else if (kind === op.BPF_PSEUDO_CALL) {
      this.#enter(pc + 1 + this.#imm(pc), pc, []);
    } else {
      throw new VmError(pc, `calls of kind ${kind} are not supported`);
    }
    return pc + 1;
  }

  #load(pc: number, opcode: number): void {
    const mode = opcode & 0xe0;
    const bytes = sizeOf(opcode);
    const isKnown = mode === op.BPF_MEM || (mode === op.BPF_MEMSX && bytes < 8);
    if (!isKnown) throw unknown(pc, opcode);
    const value = this.#read(this.#address(pc, this.#src(pc), bytes), bytes);
    const isSigned = mode === op.BPF_MEMSX;
    this.#set(pc, this.#dst(pc), isSigned ? BigInt.asIntN(bytes * 8, value) : value);
  }

  #store(pc: number, opcode: number): void {
    const mode = opcode & 0xe0;
    const isImmediate = (opcode & 0x07) === op.BPF_ST;
    if (mode === op.BPF_ATOMIC && !isImmediate) return this.#atomic(pc, opcode);
    if (mode !== op.BPF_MEM) throw unknown(pc, opcode);
    const bytes = sizeOf(opcode);
    const value = isImmediate ? BigInt(this.#imm(pc)) : this.#reg(this.#src(pc));
    this.#write(this.#address(pc, this.#dst(pc), bytes), bytes, value);
  }

  #atomic(pc: number, opcode: number): void {
    const imm = this.#imm(pc);
    const bytes = sizeOf(opcode);
    const src = this.#src(pc);
    const isLoad = imm === op.BPF_LOAD_ACQ;
    const plain = isLoad || imm === op.BPF_STORE_REL;
    if (bytes < 4 && !plain) throw unknown(pc, opcode);
    const address = this.#address(pc, isLoad ? src : this.#dst(pc), bytes);
    if (address % bytes !== 0) throw new VmError(pc, "misaligned atomic operation");
    if (isLoad) return this.#set(pc, this.#dst(pc), this.#read(address, bytes));
    if (plain) return this.#write(address, bytes, this.#reg(src));
    const old = this.#read(address, bytes);
    const expected = BigInt.asUintN(bytes * 8, this.#reg(0));
    const operand = BigInt.asUintN(bytes * 8, this.#reg(src));
    const result = atomicResult(imm, old, operand, expected);
    if (result === undefined) throw unknown(pc, opcode);
    this.#write(address, bytes, result);
    if (imm === op.BPF_CMPXCHG) this.#regs[0] = old;
    else if ((imm & op.BPF_FETCH) !== 0) this.#set(pc, src, old);
  }

  #loadWide(pc: number, opcode: number): number {
    if (opcode !== (op.BPF_LD | op.BPF_IMM | op.BPF_DW)) throw unknown(pc, opcode);
    const at = (pc + 1) * op.INSN_SIZE;
    if (at >= this.#code.byteLength || this.#code.getUint8(at) !== 0) {
      throw new VmError(pc, "a 64-bit immediate without its second half");
    }
    const kind = this.#src(pc);
    if (kind !== 0) throw new VmError(pc, `unresolved reference of kind ${kind}`);
    const low = BigInt.asUintN(32, BigInt(this.#imm(pc)));
    this.#set(pc, this.#dst(pc), (BigInt(this.#imm(pc + 1)) << 32n) | low);
    return pc + 2;
  }

  // ---- fields of the instruction at pc

  #dst(pc: number): number {
    return this.#code.getUint8(pc * op.INSN_SIZE + 1) & 0x0f;
  }

  #src(pc: number): number {
    return this.#code.getUint8(pc * op.INSN_SIZE + 1) >> 4;
  }

  #off(pc: number): number {
    return this.#code.getInt16(pc * op.INSN_SIZE + 2, true);
  }

  #imm(pc: number): number {
    return this.#code.getInt32(pc * op.INSN_SIZE + 4, true);
  }

  #operand(pc: number, opcode: number): bigint {
    return (opcode & op.BPF_X) !== 0 ? this.#reg(this.#src(pc)) : BigInt(this.#imm(pc));
  }

  // ---- registers and memory

  #reg(index: number): bigint {
    return this.#regs[index] ?? 0n;
  }

  #set(pc: number, index: number, value: bigint): void {
    if (index >= op.FRAME_POINTER) throw new VmError(pc, `r${index} cannot be written`);
    this.#regs[index] = value;
  }

  /** Address of an access through `base`, which may be made. */
  #address(pc: number, base: number, bytes: number): number {
    const address = BigInt.asUintN(64, this.#reg(base) + BigInt(this.#off(pc)));
    const { memory } = this.#options;
    if (this.#data.buffer !== memory.buffer) this.#data = new DataView(memory.buffer);
    const isInside = address + BigInt(bytes) <= BigInt(memory.buffer.byteLength);
    if (!isInside || !this.#mayTouch(Number(address), bytes)) {
      throw new VmError(pc, `access to ${bytes} bytes at 0x${address.toString(16)}`);
    }
    return Number(address);
  }

  #mayTouch(address: number, bytes: number): boolean {
    const { validRange, stack } = this.#options;
    if (validRange === undefined) return true;
    const end = address + bytes;
    if (address >= this.#ctx.start && end <= this.#ctx.end) return true;
    const top = stack + op.STACK_SIZE;
    if (address >= top - this.#depth * op.MAX_BPF_STACK && end <= top) return true;
    return validRange(address, bytes);
  }

  #read(address: number, bytes: number): bigint {
    if (bytes === 8) return this.#data.getBigUint64(address, true);
    if (bytes === 4) return BigInt(this.#data.getUint32(address, true));
    return BigInt(bytes === 2 ? this.#data.getUint16(address, true) : this.#data.getUint8(address));
  }

  #write(address: number, bytes: number, value: bigint): void {
    if (bytes === 8) this.#data.setBigUint64(address, value, true);
    else if (bytes === 4) this.#data.setUint32(address, Number(value & 0xffffffffn), true);
    else if (bytes === 2) this.#data.setUint16(address, Number(value & 0xffffn), true);
    else this.#data.setUint8(address, Number(value & 0xffn));
  }
}

function sizeOf(opcode: number): number {
  const size = opcode & 0x18;
  if (size === op.BPF_DW) return 8;
  if (size === op.BPF_W) return 4;
  return size === op.BPF_H ? 2 : 1;
}

function unknown(pc: number, opcode: number): VmError {
  return new VmError(pc, `unknown instruction 0x${opcode.toString(16)}`);
}

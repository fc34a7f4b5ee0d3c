// Resolves what a program's 64-bit immediates refer to (RFC 9669, section 5.4): maps, map values and
// functions become the numbers that the program will see at run time. Call before a machine loads it.
import * as op from "./opcodes.js";

/** The part of a runtime that knows the maps. */
export interface MapResolver {
  /** Handle of the map behind an fd; 0 when it is none. */
  mapHandle(fd: number): number;
  /** Address of byte `off` of an array map's values; 0 or -errno when there is none. */
  mapValueAddr(fd: number, off: number): number;
}

/** A reference that cannot be resolved. */
export class RelocationError extends Error {
  override readonly name = "RelocationError";
  /** Index of the instruction. */
  readonly pc: number;

  constructor(pc: number, reason: string) {
    super(`insn ${pc}: ${reason}`);
    this.pc = pc;
  }
}

const LDDW = op.BPF_LD | op.BPF_IMM | op.BPF_DW;

/**
 * A copy of a program in which every 64-bit immediate is a plain number.
 * @param fdArray fds that references by index (kinds 5 and 6) count in
 * @throws {RelocationError} for an fd that is no map, an offset outside the values, an index outside
 * fdArray, and for kernel variables (kind 3), which only a kernel has.
 */
export function relocate(
  insns: Uint8Array,
  maps: MapResolver,
  fdArray: readonly number[] = [],
): Uint8Array {
  const result = insns.slice();
  const view = new DataView(result.buffer);
  for (let pc = 0; pc < result.length / op.INSN_SIZE; pc++) {
    const at = pc * op.INSN_SIZE;
    if (view.getUint8(at) !== LDDW) continue;
    if (at + 2 * op.INSN_SIZE > result.length) {
      throw new RelocationError(pc, "a 64-bit immediate without its second half");
    }
    const regs = view.getUint8(at + 1);
    if (regs >> 4 !== 0) {
      const imm = view.getInt32(at + 4, true);
      const nextImm = view.getUint32(at + 12, true);
      const value = resolve({ pc, kind: regs >> 4, imm, nextImm }, maps, fdArray);
      view.setUint8(at + 1, regs & 0x0f);
      view.setInt32(at + 4, value, true);
      view.setInt32(at + 12, 0, true);
    }
    pc++;
  }
  return result;
}

interface Reference {
  readonly pc: number;
  readonly kind: number;
  readonly imm: number;
  readonly nextImm: number;
}

function resolve(ref: Reference, maps: MapResolver, fdArray: readonly number[]): number {
  switch (ref.kind) {
    case op.BPF_PSEUDO_MAP_FD:
      return handle(ref, maps, ref.imm);
    case op.BPF_PSEUDO_MAP_IDX:
      return handle(ref, maps, fdAt(ref, fdArray));
    case op.BPF_PSEUDO_MAP_VALUE:
      return valueAddress(ref, maps, ref.imm);
    case op.BPF_PSEUDO_MAP_IDX_VALUE:
      return valueAddress(ref, maps, fdAt(ref, fdArray));
    case op.BPF_PSEUDO_FUNC:
      return ref.pc + 1 + ref.imm;
    case op.BPF_PSEUDO_BTF_ID:
      throw new RelocationError(ref.pc, "kernel variables (btf_var) are not supported");
    default:
      throw new RelocationError(ref.pc, `unknown kind of reference ${ref.kind}`);
  }
}

function fdAt({ pc, imm }: Reference, fdArray: readonly number[]): number {
  const fd = fdArray[imm];
  if (fd === undefined) throw new RelocationError(pc, `index ${imm} is outside the fd array`);
  return fd;
}

function handle({ pc }: Reference, maps: MapResolver, fd: number): number {
  const map = maps.mapHandle(fd);
  if (map === 0) throw new RelocationError(pc, `fd ${fd} is no map`);
  return map;
}

function valueAddress({ pc, nextImm }: Reference, maps: MapResolver, fd: number): number {
  const address = maps.mapValueAddr(fd, nextImm);
  // -errno as a number or as the u32 that an unsigned view makes of it.
  if (address === 0 || ((address | 0) >= -4095 && (address | 0) < 0)) {
    throw new RelocationError(pc, `fd ${fd} has no value at offset ${nextImm}`);
  }
  return address;
}

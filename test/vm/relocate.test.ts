// References of 64-bit immediates, all kinds.
import { expect, test } from "vitest";
import { assemble, assembleProgram } from "../support/vm/asm.js";
import { relocate, RelocationError, type MapResolver } from "../support/vm/relocate.js";

/** fd 3 is a map with 16 bytes of values at the end of the address space's lower half and beyond. */
const maps: MapResolver = {
  mapHandle: (fd) => (fd === 3 ? 0xabcd : 0),
  mapValueAddr: (fd, off) => (fd === 3 && off < 16 ? 0x8000_0000 + off : -22),
};

/** The 64-bit immediate of the instruction at pc. */
function immediate(insns: Uint8Array, pc: number): bigint {
  const view = new DataView(insns.buffer);
  expect(view.getUint8(pc * 8 + 1) >> 4).toBe(0);
  const high = BigInt(view.getUint32(pc * 8 + 12, true));
  return (high << 32n) | BigInt(view.getUint32(pc * 8 + 4, true));
}

test("plain immediates stay", () => {
  const insns = assemble("r1 = 0x1122334455667788 ll; exit");
  expect(relocate(insns, maps)).toEqual(insns);
});

test("the original is left alone", () => {
  const insns = assemble("r1 = map[3] ll; exit");
  const copy = insns.slice();
  relocate(insns, maps);
  expect(insns).toEqual(copy);
});

test("maps by fd and by index become handles", () => {
  expect(immediate(relocate(assemble("r0 = 0; r1 = map[3] ll"), maps), 1)).toBe(0xabcdn);
  expect(immediate(relocate(assemble("r1 = map_idx[1] ll"), maps, [9, 3]), 0)).toBe(0xabcdn);
});

test("values by fd and by index become addresses, unsigned", () => {
  const byFd = relocate(assemble("r1 = map_value[3] + 8 ll"), maps);
  expect(immediate(byFd, 0)).toBe(0x8000_0008n);
  const byIndex = relocate(assemble("r1 = map_idx_value[0] + 4 ll"), maps, [3]);
  expect(immediate(byIndex, 0)).toBe(0x8000_0004n);
});

test("functions become the index of their first instruction", () => {
  const { insns, labels } = assembleProgram("r0 = 1; r2 = &f ll; exit; f: r3 = &f ll; exit");
  const result = relocate(insns, maps);
  expect(immediate(result, 1)).toBe(BigInt(labels.get("f") ?? -1));
  expect(immediate(result, 4)).toBe(4n);
});

test.for([
  ["r1 = map[4] ll", "fd 4 is no map"],
  ["r1 = map_value[3] + 16 ll", "no value at offset 16"],
  ["r1 = map_value[4] ll", "no value at offset 0"],
  ["r1 = map_idx[1] ll", "outside the fd array"],
  ["r1 = map_idx_value[1] ll", "outside the fd array"],
  ["r1 = btf_var[7] ll", "not supported"],
] as const)("cannot be resolved: %s", ([text, reason]) => {
  const insns = assemble(`r0 = 0; ${text}`);
  expect(() => relocate(insns, maps, [3])).toThrow(RelocationError);
  expect(() => relocate(insns, maps, [3])).toThrow(`insn 1: `);
  expect(() => relocate(insns, maps, [3])).toThrow(reason);
});

test("half an immediate and unknown kinds are errors", () => {
  expect(() => relocate(assemble("r1 = map[3] ll").slice(0, 8), maps)).toThrow("second half");
  const insns = assemble("r1 = map[3] ll");
  insns[1] = 0x71;
  expect(() => relocate(insns, maps)).toThrow("unknown kind of reference 7");
});

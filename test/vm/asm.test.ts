// The assembler: encodings against the bytes of RFC 9669, and its complaints.
import { expect, test } from "vitest";
import { AsmError, assemble, assembleProgram } from "../support/vm/asm.js";

const bytes = (text: string, maps?: Record<string, number>): string =>
  Buffer.from(assemble(text, maps ? { maps } : {})).toString("hex");

test.for([
  ["r0 = 0", "b700000000000000"],
  ["r1 = r2", "bf21000000000000"],
  ["w0 += 5", "0400000005000000"],
  ["w0 = 0xffffffff", "b4000000ffffffff"],
  ["r3 s>>= 63", "c70300003f000000"],
  ["r3 >>= r4", "7f43000000000000"],
  ["r0 s/= r2", "3f20010000000000"],
  ["w0 s%= -3", "94000100fdffffff"],
  ["r9 = -r9", "8709000000000000"],
  ["w1 = (s16) w2", "bc21100000000000"],
  ["r1 = (s32) r2", "bf21200000000000"],
  ["r0 = be16 r0", "dc00000010000000"],
  ["r0 = le32 r0", "d400000020000000"],
  ["r0 = bswap64 r0", "d700000040000000"],
  ["r1 = *(u32 *)(r2 + 4)", "6121040000000000"],
  ["r1 = *(u8 *)(r2)", "7121000000000000"],
  ["w1 = *(u16*)(r2+2)", "6921020000000000"],
  ["r1 = *(s8 *)(r2 - 1)", "9121ffff00000000"],
  ["*(u64 *)(r10 - 8) = r1", "7b1af8ff00000000"],
  ["*(u32 *)(r10 - 4) = 0xffffffff", "620afcffffffffff"],
  ["*(u8 *)(r10 - 1) = w3", "733affff00000000"],
  ["lock *(u64 *)(r0 + 0) += r1", "db10000000000000"],
  ["lock *(u32 *)(r0 + 8) ^= w1", "c3100800a0000000"],
  ["r1 = atomic_fetch_add((u64 *)(r0 + 0), r1)", "db10000001000000"],
  ["w1 = atomic_fetch_or((u32 *)(r0 + 0), w1)", "c310000041000000"],
  ["r1 = xchg_64(r2 + 8, r1)", "db120800e1000000"],
  ["w1 = xchg32_32(r2 + 8, w1)", "c3120800e1000000"],
  ["r0 = cmpxchg_64(r2 + 8, r0, r1)", "db120800f1000000"],
  ["w0 = cmpxchg32_32(r2 + 8, w0, w1)", "c3120800f1000000"],
  ["if r1 == 2 goto +3", "1501030002000000"],
  ["if w1 s<= w2 goto -1", "de21ffff00000000"],
  ["if r1 & 0x10 goto +0", "4501000010000000"],
  ["goto +5", "0500050000000000"],
  ["gotol -2", "06000000feffffff"],
  ["call 1", "8500000001000000"],
  ["call bpf_map_update_elem", "8500000002000000"],
  ["exit", "9500000000000000"],
  ["r2 = 0x1122334455667788 ll", "18020000887766550000000044332211"],
  ["r2 = -1 ll", "18020000ffffffff00000000ffffffff"],
  ["r1 = map[4] ll", "18110000040000000000000000000000"],
  ["r1 = map_value[4] + 8 ll", "18210000040000000000000008000000"],
  ["r1 = btf_var[4] ll", "18310000040000000000000000000000"],
  ["r1 = map_idx[1] ll", "18510000010000000000000000000000"],
  ["r1 = map_idx_value[1] + 2 ll", "18610000010000000000000002000000"],
] as const)("%s", ([text, expected]) => {
  expect(bytes(text)).toBe(expected);
});

test("labels, comments and separators", () => {
  const { insns, labels } = assembleProgram(`
    start: r0 = 1 ll        // two slots
    if r0 == 1 goto done    # forward
    call f; goto start
    done:
    exit
    f: r2 = &f ll; exit
  `);
  expect([...labels]).toEqual([
    ["start", 0],
    ["done", 5],
    ["f", 6],
  ]);
  const view = new DataView(insns.buffer);
  expect(view.getInt16(2 * 8 + 2, true)).toBe(2);
  expect(view.getInt32(3 * 8 + 4, true)).toBe(2);
  expect(view.getInt16(4 * 8 + 2, true)).toBe(-5);
  expect(view.getInt32(6 * 8 + 4, true)).toBe(-1);
});

test("names of maps stand for their fds", () => {
  expect(bytes("r1 = map[stats] ll", { stats: 7 })).toBe(bytes("r1 = map[7] ll"));
});

test.for([
  ["r0 = 1\nr11 = 1", 2, "unknown register r11"],
  ["r0 = r12", 1, "unknown register r12"],
  ["\n\nfoo", 3, "no such instruction"],
  ["r0 = w1", 1, "do not mix"],
  ["if r0 == w1 goto +0", 1, "do not mix"],
  ["r0 = 0x80000000", 1, "signed imm of 32 bits"],
  ["r0 += 0x100000000", 1, "signed imm of 32 bits"],
  ["w0 = 0x100000000", 1, "imm of 32 bits"],
  ["r0 = 0x10000000000000000 ll", 1, "exceeds 64 bits"],
  ["r0 = 0xzz ll", 1, "0xzz"],
  ["goto nowhere", 1, 'unknown label "nowhere"'],
  ["call nothing", 1, 'unknown helper or function "nothing"'],
  ["a: exit\na: exit", 2, "label a twice"],
  ["r1 = map[nope] ll", 1, 'unknown map "nope"'],
  ["r1 = map[1] + 8 ll", 1, "takes no offset"],
  ["r1 = thing[1] ll", 1, 'unknown reference "thing"'],
  ["r1 = *(u24 *)(r2 + 0)", 1, "unknown type u24"],
  ["r1 = *(s64 *)(r2 + 0)", 1, "no s64 load"],
  ["w1 = *(u64 *)(r2 + 0)", 1, "needs an r register"],
  ["*(s8 *)(r2 + 0) = 1", 1, "unsigned type"],
  ["r1 = *(u8 *)(r2 + 40000)", 1, "exceeds 16 bits"],
  ["r0 = be16 r1", 1, "one register"],
  ["r0 = -r1", 1, "one register"],
  ["w0 = (s32) w1", 1, "needs r registers"],
  ["r0 ** = 2", 1, "no such instruction"],
  ["r0 ?= 2", 1, 'unknown operator "?="'],
  ["r1 = cmpxchg_64(r2 + 0, r1, r3)", 1, "register 0"],
  ["r1 = xchg_64(r2 + 0, r3)", 1, "one register"],
  ["lock *(u8 *)(r2 + 0) += r1", 1, "u32 or u64"],
  ["lock *(u64 *)(r2 + 0) -= r1", 1, 'unknown atomic operator "-="'],
  ["r0 = fish", 1, 'bad operand "fish"'],
] as const)("complains: %s", ([text, line, reason]) => {
  const complaint = (): AsmError => {
    try {
      assemble(text);
    } catch (error) {
      if (error instanceof AsmError) return error;
      throw error;
    }
    throw new Error("no complaint");
  };
  expect(complaint().line).toBe(line);
  expect(complaint().message).toContain(reason);
});

test("a jump beyond 16 bits asks for gotol", () => {
  const far = `${"r0 = 0\n".repeat(40000)}far: exit`;
  expect(() => assemble(`goto far\n${far}`)).toThrow("gotol");
  expect(() => assemble(`gotol far\n${far}`)).not.toThrow();
});

// Struct layouts against the C compiler of this machine: random structs with bit-fields, packed and
// not, must have its sizes, alignments and bytes. Skipped, with a line, where there is no `cc`.

import { execFileSync, spawnSync } from "node:child_process";
import { endianness, tmpdir } from "node:os";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { encode, i16, i32, i64, i8, u16, u32, u64, u8 } from "../../ts/codec.js";
import type { AnyCodec, BitField, StructCodec, StructMembers } from "../../ts/codec.js";
import { hostMember, structOf } from "../support/codec-arbitraries.js";
import type { Sample } from "../support/codec-arbitraries.js";

const STRUCTS = 200;

const cTypes = new Map<unknown, string>([
  [u8, "uint8_t"],
  [i8, "int8_t"],
  [u16, "uint16_t"],
  [i16, "int16_t"],
  [u32, "uint32_t"],
  [i32, "int32_t"],
  [u64, "uint64_t"],
  [i64, "int64_t"],
]);

/** The C members of a struct codec: types, names, widths. */
function cBody(codec: StructCodec<StructMembers>): string {
  const members = codec.fields.map(({ name, member, bits }) =>
    bits === undefined
      ? cMember(name, member as AnyCodec)
      : `${cTypes.get((member as BitField<unknown>).base)} ${name} : ${bits.width};`,
  );
  return members.join(" ");
}

function cMember(name: string, codec: AnyCodec): string {
  const type = cTypes.get(codec);
  return type === undefined ? `${cStruct(codec)} ${name};` : `${type} ${name};`;
}

function cStruct(codec: AnyCodec, tag = ""): string {
  const { packed } = codec as unknown as StructCodec<StructMembers>;
  const attribute = packed ? "__attribute__((packed)) " : "";
  return `struct ${attribute}${tag} { ${cBody(codec as unknown as StructCodec<StructMembers>)} }`;
}

/** C assignments of all members. */
function cAssign(target: string, value: object): string {
  return Object.entries(value)
    .map(([name, member]) =>
      typeof member === "object"
        ? cAssign(`${target}.${name}`, member as object)
        : `${target}.${name} = (__typeof__(0ULL))${BigInt.asUintN(64, BigInt(member as number))}ULL;`,
    )
    .join(" ");
}

function cProgram(samples: readonly Sample[]): string {
  const blocks = samples.map(
    ({ codec, value }, index) =>
      `{ ${cStruct(codec, `S${index}`)} s; memset(&s, 0, sizeof s); ` +
      `${cAssign("s", value as object)} show(&s, sizeof s, _Alignof(struct S${index})); }`,
  );
  return `
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    static void show(const void *data, size_t size, size_t align) {
      printf("%zu %zu ", size, align);
      for (size_t i = 0; i < size; i++) printf("%02x", ((const unsigned char *)data)[i]);
      puts("");
    }
    int main(void) { ${blocks.join("\n")} return 0; }`;
}

/** Compiles and runs a C program; undefined where there is no compiler. */
function runC(source: string): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "codec-layout-"));
  try {
    writeFileSync(join(folder, "layout.c"), source);
    const args = ["-w", "-Wno-packed-bitfield-compat", "-o", "layout", "layout.c"];
    const compiled = spawnSync("cc", args, { cwd: folder, encoding: "utf8" });
    if (compiled.error !== undefined) {
      return undefined;
    }
    expect(compiled.stderr).toBe("");
    return execFileSync(join(folder, "layout"), { encoding: "utf8" });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("structs have the C compiler's layout", ({ skip }) => {
  const members = fc.array(hostMember, { minLength: 1, maxLength: 7 });
  const structs = fc.tuple(members, fc.boolean()).map(([list, packed]) => structOf(list, packed));
  const seed = fc.sample(fc.nat(), 1)[0] ?? 0;
  const samples = fc.sample(structs, { numRuns: STRUCTS, seed });
  const output = endianness() === "LE" ? runC(cProgram(samples)) : undefined;
  if (output === undefined) {
    console.log("codec-layout: skipped, needs a C compiler (cc) on a little-endian machine");
    skip();
    return;
  }
  const lines = samples.map(({ codec, value }) => {
    const data = Buffer.from(encode(codec, value)).toString("hex");
    return `${codec.size} ${codec.align} ${data}  ${cStruct(codec)}`;
  });
  const expected = output.trimEnd().split("\n");
  expect(expected).toHaveLength(lines.length);
  for (const [index, line] of lines.entries()) {
    expect(line, `seed ${seed}`).toBe(`${expected[index]}  ${cStruct(samples[index]!.codec)}`);
  }
});

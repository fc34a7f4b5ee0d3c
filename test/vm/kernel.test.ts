// The table of the instruction set against the running kernel: its verifier takes the programs and
// its JIT (or interpreter) gives the same values. Runs where programs may be loaded.
import { platform, release } from "node:os";
import { expect, test } from "vitest";
import { assemble } from "../support/vm/asm.js";
import { initialContext, isaCases } from "../support/vm/isa-cases.js";
import { runInKernel } from "../support/vm/kernel-vm.js";

/** Where the wrapper puts r0: retval has 32 bits only. Cases use the bytes before. */
const RESULT = 56;

/** The case as a function of a program that keeps its r0 in the context. */
const wrap = (text: string) =>
  `r6 = r1; call case_; *(u64 *)(r6 + ${RESULT}) = r0; r0 = 1; exit
   case_: ${text}`;

/** The first kernel that knows every instruction of the table. */
const KERNEL = { major: 6, minor: 15 };

function isKnown(): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > KERNEL.major || (major === KERNEL.major && minor >= KERNEL.minor);
}

test("the kernel gives the table's results", ({ skip }) => {
  const cases = isaCases.filter((item) => item.kernel !== false);
  const programs = cases.map(({ text }) => ({
    insns: assemble(wrap(text)),
    context: initialContext(),
  }));
  const isLinux = platform() === "linux" && isKnown();
  const results = isLinux ? runInKernel(programs) : "no Linux kernel of 6.15 or later";
  if (typeof results === "string") {
    console.log(`skipped, programs against the kernel: ${results}`);
    skip(results);
    return;
  }
  const seen = results.map(({ error, log, context }, index) => {
    const r0 = new DataView(context.buffer, context.byteOffset).getBigUint64(RESULT, true);
    return `${cases[index]?.name}: ${error === 0 ? r0.toString(16) : `${error} ${log}`}`;
  });
  expect(seen).toEqual(cases.map(({ name, r0 }) => `${name}: ${r0.toString(16)}`));
});

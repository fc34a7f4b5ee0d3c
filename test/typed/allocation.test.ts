// What the typed maps promise not to allocate, measured on the built package in a process of its own.

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const PROBE = fileURLToPath(new URL("../support/allocation.mjs", import.meta.url));
const FLAGS = [
  "--expose-gc",
  "--min-semi-space-size=128",
  "--max-semi-space-size=128",
  // Optimised code is ready when it is due, however busy the machine is.
  "--no-concurrent-recompilation",
];
const CONTROL = "control: one object";
/** On a busy machine a process may run code that was never optimised; the next one does better. */
const ATTEMPTS = 3;

/** Bytes per call of the calls that allocated. */
function allocating(build: string): Map<string, number> {
  const printed = execFileSync(process.execPath, [...FLAGS, PROBE, build], { encoding: "utf8" });
  const { sink, ...perCall } = JSON.parse(printed) as Record<string, number>;
  expect(sink).toBeTypeOf("number");
  expect(perCall[CONTROL]).toBeGreaterThan(12);
  delete perCall[CONTROL];
  expect(Object.keys(perCall).length).toBeGreaterThan(20);
  return new Map(Object.entries(perCall).filter(([, bytes]) => !(bytes < 1)));
}

for (const build of ["plain", "shared"]) {
  test(`calls that allocate nothing, on the ${build} build`, () => {
    let suspects = allocating(build);
    for (let attempt = 1; attempt < ATTEMPTS && suspects.size > 0; attempt++) {
      const again = allocating(build);
      suspects = new Map([...suspects].filter(([name]) => again.has(name)));
    }
    expect(suspects).toEqual(new Map());
  });
}

// What the typed maps promise not to allocate, measured on the built package in a process of its own.

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const PROBE = fileURLToPath(new URL("../support/allocation.mjs", import.meta.url));
const FLAGS = ["--expose-gc", "--min-semi-space-size=128", "--max-semi-space-size=128"];
const CONTROL = "control: one object";

for (const build of ["plain", "shared"]) {
  test(`calls that allocate nothing, on the ${build} build`, () => {
    const printed = execFileSync(process.execPath, [...FLAGS, PROBE, build], { encoding: "utf8" });
    const { sink, ...perCall } = JSON.parse(printed) as Record<string, number>;
    expect(sink).toBeTypeOf("number");
    const control = perCall[CONTROL] as number;
    expect(control).toBeGreaterThan(12);
    delete perCall[CONTROL];
    const allocating = Object.entries(perCall).filter(([, bytes]) => !(bytes < 1));
    expect(Object.keys(perCall).length).toBeGreaterThan(20);
    expect(allocating).toEqual([]);
  });
}

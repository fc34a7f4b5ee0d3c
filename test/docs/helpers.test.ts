// The table of helpers in docs/simulators.md is the list of those there are.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { BUILDS } from "../support/builds.js";
import * as uapi from "../../ts/uapi.js";

/** Exports under the kernel's names that are no helpers, and a kfunc. */
const OTHERS = /^bpf$|^bpf_(map_by_fd|valid_range|helper_call|map_sum_elem_count)$/;

it("names each helper with its number", () => {
  const text = readFileSync(new URL("../../docs/simulators.md", import.meta.url), "utf8");
  const section = text.slice(text.indexOf("## Helpers"), text.indexOf("## What a VM must know"));
  const listed = [...section.matchAll(/`(?<name>\w+)` (?<number>\d+)/g)].map(
    ({ groups }) => `${groups?.["name"]} ${groups?.["number"]}`,
  );
  const [release] = BUILDS;
  const exports = WebAssembly.Module.exports(release?.core ?? expect.fail("no build"));
  const helpers = exports
    .map(({ name }) => name)
    .filter((name) => /^bpf(_|$)/.test(name) && !OTHERS.test(name))
    .map((name) => name.slice("bpf_".length));
  const numbers: Readonly<Record<string, unknown>> = uapi;
  const expected = helpers.map((name) => `${name} ${String(numbers[`BPF_FUNC_${name}`])}`);
  expect([...new Set(listed)].toSorted()).toEqual(expected.toSorted());
});

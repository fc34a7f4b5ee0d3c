import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Comparison } from "./compare.js";
import { buildDriver, KernelDriver, possibleCpus } from "./driver.js";
import { Generator } from "./generate.js";
import { survivors, VECTORS } from "./vectors.js";

const directory = mkdtempSync(join(tmpdir(), "bpfmaps-kernel-"));
const driver = buildDriver(directory);
const path = typeof driver === "string" ? "" : driver.path;
const cpus = typeof driver === "string" ? 1 : possibleCpus();
if (typeof driver === "string") console.log(`kernel comparison skipped: ${driver}`);
afterAll(() => rmSync(directory, { recursive: true }));

describe.skipIf(typeof driver === "string")("the driver", () => {
  test("gives the same answers twice", async () => {
    using left = new KernelDriver(path, "first");
    using right = new KernelDriver(path, "second");
    const generator = new Generator({ cpus, programs: true, tail: true }, () => true);
    const comparison = new Comparison(left, right, generator);
    await comparison.run(1, 20_000);
    expect([...comparison.differences.values()]).toEqual([]);
  });

  test.skipIf(cpus !== 2).each(VECTORS)("$name: the kernel", async (vector) => {
    using kernel = new KernelDriver(path);
    expect(await survivors(kernel, vector, cpus)).toBe(vector.survivors);
  });
});

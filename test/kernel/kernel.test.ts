// The live comparison: the same seeded operations on bpf(2) and on this library, every answer equal.
// A short run by default; `npm run test:kernel` compares more than two million operations.
// BPFMAPS_KERNEL_OPS sets how many, BPFMAPS_KERNEL_SEED where to begin.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createRuntime, type RuntimeOptions } from "../../ts/index.js";
import { Comparison } from "./compare.js";
import { buildDriver, KernelDriver, possibleCpus } from "./driver.js";
import { Generator } from "./generate.js";
import { type HelperExports, LibrarySide } from "./library.js";
import { canCreate, canLoadBtf, canRunPrograms, hasBpffs } from "./probe.js";
import { ARRAY_ROW, TYPES, type TypeRow } from "./types.js";
import { survivors, VECTORS } from "./vectors.js";

const FULL_OPS = 2_200_000;
const SHORT_OPS = 100_000;
const PAGE_BYTES = 65536;
const MEMORY_PAGES = 512;

/** One way to run the library, and its share of the operations. */
interface Arrangement {
  readonly name: string;
  readonly share: number;
  /** Whether the test has the end of the memory for itself. */
  readonly tail: boolean;
  options(): RuntimeOptions;
}

/** The core lives in an arena, so that the pages behind it are the test's. */
function arena(shared: boolean): RuntimeOptions {
  const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared });
  return { shared, memory, arena: { base: PAGE_BYTES, limit: (MEMORY_PAGES - 32) * PAGE_BYTES } };
}

const ARRANGEMENTS: readonly Arrangement[] = [
  { name: "in an arena", share: 0.6, tail: true, options: () => arena(false) },
  { name: "in a memory of its own", share: 0.2, tail: false, options: () => ({}) },
  { name: "built for shared memory", share: 0.2, tail: true, options: () => arena(true) },
];

const directory = mkdtempSync(join(tmpdir(), "bpfmaps-kernel-"));
const driver = buildDriver(directory);
const path = typeof driver === "string" ? "" : driver.path;
const cpus = typeof driver === "string" ? 1 : possibleCpus();
if (typeof driver === "string") console.log(`kernel comparison skipped: ${driver}`);

const defaultOps = process.env["MODE"] === "full" ? FULL_OPS : SHORT_OPS;
const totalOps = Number(process.env["BPFMAPS_KERNEL_OPS"] ?? defaultOps);
const firstSeed = Number(process.env["BPFMAPS_KERNEL_SEED"] ?? 1);
const total = { compared: 0, differences: 0 };

afterAll(() => {
  rmSync(directory, { recursive: true });
  if (total.compared === 0) return;
  console.log(`compared ${total.compared} operations, ${total.differences} differences`);
});

describe.skipIf(typeof driver === "string")("the driver", () => {
  test("gives the same answers twice", async () => {
    using left = new KernelDriver(path, "first");
    using right = new KernelDriver(path, "second");
    const generator = new Generator(
      { cpus, programs: true, tail: true, paths: true },
      TYPES.filter((row) => row.owner === undefined),
    );
    const comparison = new Comparison(left, right, generator);
    await comparison.run(1, 20_000);
    expect([...comparison.differences.values()]).toEqual([]);
  });

  test.skipIf(cpus !== 2).each(VECTORS)("knows: $name", async (vector) => {
    using kernel = new KernelDriver(path);
    expect(await survivors(kernel, vector, cpus)).toBe(vector.survivors);
  });
});

/** What both sides have. */
async function commonRows(
  kernel: KernelDriver,
  library: LibrarySide,
  exports: HelperExports,
): Promise<TypeRow[]> {
  const rows: TypeRow[] = [];
  for (const row of TYPES) {
    if (exports.map_type_supported(row.type) === 0) continue;
    if (!(await canLoadBtf(library, row, cpus))) continue;
    if (await canCreate(kernel, row, cpus)) rows.push(row);
    else console.log(`this kernel cannot create a ${row.name}`);
  }
  return rows;
}

describe.skipIf(typeof driver === "string").each(ARRANGEMENTS)(
  "the library $name",
  (arrangement) => {
    test("answers as the kernel does", { timeout: 1_200_000 }, async () => {
      using kernel = new KernelDriver(path);
      using rt = await createRuntime({ ...arrangement.options(), cpus, seed: 1 });
      const library = new LibrarySide(rt, arrangement.tail);
      const rows = await commonRows(kernel, library, rt.exports);
      const programs = await canRunPrograms(kernel, ARRAY_ROW, cpus);
      if (!programs) console.log("programs cannot be run here: helpers are not compared");
      const paths = await hasBpffs(kernel);
      const options = { cpus, programs, tail: arrangement.tail, paths };
      const generator = new Generator(options, rows);
      const comparison = new Comparison(kernel, library, generator);
      const ops = totalOps * arrangement.share;
      // Each arrangement has sessions of its own.
      const seed = firstSeed + ARRANGEMENTS.indexOf(arrangement) * 0x100_0000;
      await comparison.run(seed, ops / 10);
      const used = rt.exports.mem_used();
      await comparison.run(seed + 0x80_0000, ops);
      total.compared += comparison.compared;
      total.differences += comparison.differences.size;
      const types = [...comparison.comparedByType].map(([type, count]) => `${type} ${count}`);
      console.log(`${arrangement.name}: ${types.join(", ")}`);
      for (const { sessions, text } of comparison.differences.values()) {
        console.log(`${sessions} sessions: ${text}`);
      }
      expect(comparison.differences.size).toBe(0);
      // Everything was closed: nothing may be left but tables that grew.
      expect(rt.exports.mem_used() - used).toBeLessThan(PAGE_BYTES);
    });
  },
);

describe.each(VECTORS)("LRU eviction", (vector) => {
  test(vector.name, async () => {
    using rt = await createRuntime({ cpus: 2 });
    expect(await survivors(new LibrarySide(rt, false), vector, 2)).toBe(vector.survivors);
  });
});

// Every golden trace on every build: the core answers as the recorded kernel did, to the byte.

import { afterAll, describe, expect, it } from "vitest";
import type { RuntimeOptions } from "../../ts/api.js";
import { type Build, BUILDS, describeEachBuild, type Runtime } from "../support/builds.js";
import type { ClientOptions } from "../support/bpf.js";
import { type ReplayReport, replayTrace, reportText } from "../support/replay.js";
import { goldenTraceNames, mapTypeNumber, readGoldenTrace } from "../support/trace.js";

/** What the replays of one build add up to. */
interface Totals {
  traces: number;
  compared: number;
  skipped: number;
  readonly skippedTypes: Set<string>;
}

type Create = (options: RuntimeOptions) => Promise<Runtime>;

async function replay(
  create: Create,
  name: string,
  options: ClientOptions = {},
): Promise<ReplayReport> {
  const trace = readGoldenTrace(name);
  const runtime = await create({ cpus: trace.cpus });
  const supported = (type: number): boolean => runtime.exports.map_type_supported(type) === 1;
  const report = replayTrace(runtime, trace, supported, options);
  const wronglySkipped = [...report.skippedByType.keys()].filter(
    (type) => type === "btf" || supported(mapTypeNumber(type)),
  );
  runtime.dispose();
  expect(report.mismatchCount, reportText(trace, report)).toBe(0);
  expect(report.compared + report.skipped).toBe(trace.steps.length);
  expect(wronglySkipped, "types that the core has, but whose operations were skipped").toEqual([]);
  return report;
}

/** Declares the replay of every trace; afterwards says what they add up to. */
function replayAll(title: string, replayOne: (name: string) => Promise<ReplayReport>): void {
  const totals: Totals = { traces: 0, compared: 0, skipped: 0, skippedTypes: new Set() };

  afterAll(() => {
    const { traces, compared, skipped, skippedTypes } = totals;
    const reason = skipped === 0 ? "" : ` (types not built: ${[...skippedTypes].join(", ")})`;
    console.log(
      `${title}: ${traces} traces, ${compared} ops compared, ${skipped} skipped${reason}`,
    );
  });

  for (const name of goldenTraceNames()) {
    it(`answers ${name} as the kernel did`, async () => {
      const report = await replayOne(name);
      totals.traces += 1;
      totals.compared += report.compared;
      totals.skipped += report.skipped;
      for (const type of report.skippedByType.keys()) totals.skippedTypes.add(type);
    });
  }
}

describeEachBuild("golden traces", (build: Build) => {
  const create: Create = (options) => build.createRuntime(options);
  replayAll(build.name, (name) => replay(create, name));

  it("answers the same when the attr lies in its memory", async () => {
    await replay(create, "commands", { attrInMemory: true });
    await replay(create, "hash-zeroseed-3x5x7", { attrInMemory: true });
  });
});

describe("golden traces in an arena of a foreign memory", () => {
  const memory = new WebAssembly.Memory({ initial: 512 });
  const arena = { base: 0x10_0008, limit: 0x1f0_0000 };
  const FOREIGN = 0xa5a5a5a5;
  const words = new Uint32Array(memory.buffer);
  const [before, inside, behind] = [
    words.subarray(0, arena.base / 4),
    words.subarray(arena.base / 4, arena.limit / 4),
    words.subarray(arena.limit / 4),
  ];
  const [release] = BUILDS;

  replayAll("release, in an arena", async (name) => {
    words.fill(FOREIGN);
    const report = await replay(async (options) => {
      const runtime = await release?.createRuntime({ ...options, memory, arena });
      return runtime ?? expect.fail("no build");
    }, name);
    expect(before.every((word) => word === FOREIGN)).toBe(true);
    expect(behind.every((word) => word === FOREIGN)).toBe(true);
    expect(inside.every((word) => word === FOREIGN)).toBe(false);
    expect(memory.buffer.byteLength).toBe(words.byteLength);
    return report;
  });
});

// Every golden trace on every build: the core answers as the recorded kernel did, to the byte.

import { afterAll, expect, it } from "vitest";
import { type Build, describeEachBuild } from "../support/builds.js";
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

async function replay(
  build: Build,
  name: string,
  options: ClientOptions = {},
): Promise<ReplayReport> {
  const trace = readGoldenTrace(name);
  const runtime = await build.createRuntime({ cpus: trace.cpus });
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

describeEachBuild("golden traces", (build: Build) => {
  const totals: Totals = { traces: 0, compared: 0, skipped: 0, skippedTypes: new Set() };

  afterAll(() => {
    const { traces, compared, skipped, skippedTypes } = totals;
    const reason = skipped === 0 ? "" : ` (types not built: ${[...skippedTypes].join(", ")})`;
    console.log(
      `${build.name}: ${traces} traces, ${compared} ops compared, ${skipped} skipped${reason}`,
    );
  });

  for (const name of goldenTraceNames()) {
    it(`answers ${name} as the kernel did`, async () => {
      const report = await replay(build, name);
      totals.traces += 1;
      totals.compared += report.compared;
      totals.skipped += report.skipped;
      for (const type of report.skippedByType.keys()) totals.skippedTypes.add(type);
    });
  }

  it("answers the same when the attr lies in its memory", async () => {
    await replay(build, "commands", { attrInMemory: true });
    await replay(build, "hash-zeroseed-3x5x7", { attrInMemory: true });
  });
});

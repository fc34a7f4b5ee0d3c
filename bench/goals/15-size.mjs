// Goal 15: the core's size, and how long it takes from its bytes to a kernel that answers. A process of its own for each
// sample, since V8 keeps what it compiled.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { repositoryFile } from "../support/ours.mjs";

const GOAL = { goal: "15", family: "size" };
const KB = 1000;

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const [plain, shared] = ["build/core.wasm", "build/core.shared.wasm"].map((path) =>
    readFileSync(repositoryFile(path)),
  );
  suite.figure(
    { ...GOAL, workload: "size of core.wasm", unit: "kB", must: 64, aim: 40 },
    [plain.length / KB],
    [
      { name: "gzipped", value: gzipSync(plain, { level: 9 }).length / KB },
      { name: "core.shared.wasm", value: shared.length / KB },
    ],
  );
  const script = repositoryFile("bench/support/start-child.mjs");
  /** @type {number[]} */
  const samples = [];
  for (let i = 0; i < suite.plan.rounds; i++) {
    const child = await promisify(execFile)(process.execPath, [script]);
    samples.push(Number.parseFloat(child.stdout));
  }
  suite.figure(
    { ...GOAL, workload: "compile + instantiate", unit: "ms", must: 5, aim: 2 },
    samples,
  );
}

export default { goals: ["15"], run };

// Threads of one kernel: a runtime in shared memory, and workers that become its CPUs. They load the package as it is built.

import { existsSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { expect } from "vitest";
import { BUILDS, type Runtime, type RuntimeOptions } from "./builds.js";

const isBuilt = existsSync(new URL("../../dist/index.js", import.meta.url));

/** Can tests with threads run? Where not, says why. */
export function canThread(what: string): boolean {
  if (!isBuilt) console.log(`${what}: skipped, dist/ is not built`);
  return isBuilt;
}

/** A runtime for threads. */
export async function sharedRuntime(options: RuntimeOptions): Promise<Runtime> {
  const shared = BUILDS.find((build) => build.name === "shared");
  if (shared === undefined) throw new Error("no shared build");
  return shared.createRuntime(options);
}

/**
 * Runs a script of this folder in a thread.
 * @param data what it finds in workerData, beside `kernel` to attach to and its `cpu`
 * @returns the first message that it posts
 */
export function inThread<A>(rt: Runtime, script: string, cpu: number, data: object): Promise<A> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(script, import.meta.url), {
      workerData: { kernel: rt.share(), cpu, ...data },
    });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

/** What a thread does (race-worker.mjs), how often, and with what. */
export interface Part {
  readonly action: string;
  readonly rounds: number;
  readonly fd?: number;
  readonly fds?: readonly number[];
  readonly keys?: readonly number[];
  /** Each round begins at the same time in all threads. */
  readonly isInStep?: boolean;
}

interface Answer {
  readonly wrong: readonly string[];
  readonly done: readonly number[];
}

/** Runs each part in a thread of its own, on CPU 1 and up; nothing went wrong in any. @returns what each has done */
export async function together(
  rt: Runtime,
  parts: readonly Part[],
): Promise<(readonly number[])[]> {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const answers = await Promise.all(
    parts.map((part, i) => {
      const data = { threads: parts.length, gate, ...part };
      return inThread<Answer>(rt, "race-worker.mjs", i + 1, data);
    }),
  );
  expect(answers.flatMap(({ wrong }) => wrong)).toEqual([]);
  return answers.map(({ done }) => done);
}

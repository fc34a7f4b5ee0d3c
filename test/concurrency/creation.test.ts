// Threads that make and close maps: the tables of fds, handles and regions stay whole, and an fd is closed once.

import { describe, expect, it } from "vitest";
import { u32 } from "../../ts/index.js";
import type { Runtime } from "../support/builds.js";
import { canThread, inThread, sharedRuntime } from "../support/threads.js";

const THREADS = 3;
const ROUNDS = 6000;
const FDS = 20_000;

const isBuilt = canThread("creation between threads");

interface Answer {
  readonly wrong: readonly string[];
  /** Fds. */
  readonly closed: number;
}

/** What each thread posts. */
function inThreads(rt: Runtime, data: object): Promise<Answer[]> {
  return Promise.all(
    Array.from({ length: THREADS }, (_, i) =>
      inThread<Answer>(rt, "create-worker.mjs", i + 1, data),
    ),
  );
}

const runtime = (): Promise<Runtime> => sharedRuntime({ cpus: THREADS + 1, maxBytes: 1 << 26 });

describe.skipIf(!isBuilt)("threads", () => {
  it("that make and close maps at the same time find theirs whole", async () => {
    const rt = await runtime();
    const kept = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 4 });
    kept.set(1, 2);
    const before = rt.exports.mem_used();
    const answers = await inThreads(rt, { rounds: ROUNDS });
    expect(answers.flatMap(({ wrong }) => wrong)).toEqual([]);
    expect(kept.get(1)).toBe(2);
    // What is left: tables that grew, and each thread's own few.
    expect(rt.exports.mem_used() - before).toBeLessThan(100_000);
    rt.dispose();
  });

  it("that close the same fds close each once", async () => {
    const rt = await runtime();
    const codecs = { key: u32, value: u32 };
    const first = rt.createMap({ type: "hash", ...codecs, maxEntries: 4 });
    const { id } = first.info();
    const maps = Array.from({ length: FDS }, () => rt.mapFromId(id, codecs));
    const fds = maps.map(({ fd }) => fd);
    const answers = await inThreads(rt, { rounds: 0, fds });
    expect(answers.reduce((sum, { closed }) => sum + closed, 0)).toBe(maps.length);
    first.set(1, 2);
    expect(first.get(1)).toBe(2);
    rt.dispose();
  });
});

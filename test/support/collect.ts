// The garbage collector, for tests of what it may give back and what not.

import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** What lets the collector run at once, within the present job. Finalizers come later. */
export function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

/** Collects, finalizers included, until `done` or for a quarter of a second. @returns what `done` says at the end */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  const collect = collector();
  for (let turn = 0; turn < 50 && !done(); turn++) {
    collect();
    await sleep(5);
  }
  return done();
}

/** Long enough for everything that nobody refers to. */
export async function collectAll(): Promise<void> {
  let turns = 0;
  await collectUntil(() => turns++ === 8);
}

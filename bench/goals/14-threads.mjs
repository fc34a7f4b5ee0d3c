// Goal 14: two workers on one map in shared memory. Dimensions: shared build, HASH u32 -> u64, 500k entries, full; uniform
// gets with 10 % sets of present keys; needs two CPUs that have nothing else to do. Peer: one worker alone, of the shared build
// as well. A ratio of 0.5 is twice the throughput.

import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { filled } from "../support/contenders.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */

const ENTRIES = 500_000;
const THREADS = 2;
/** Windows of the plan in a round: long enough to make the start of a thread small. */
const WINDOWS = 4;
/** Speedups of 1.6 and 1.95. */
const [MUST, AIM] = [0.625, 0.513];

/** @param {Worker} worker @param {object} message @returns {Promise<any>} what it answers */
async function ask(worker, message) {
  const answer = once(worker, "message");
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
  worker.postMessage(message);
  const [value] = await answer;
  return value;
}

/**
 * Nanoseconds an operation of all workers together: from the first one's start to the last one's end, so that it is nobody's
 * gain to have run alone for a while.
 * @param {Worker[]} workers @param {number} round @param {number} ops of each
 */
async function runAll(workers, round, ops) {
  await Promise.all(workers.map((worker, i) => ask(worker, { prepare: round * THREADS + i })));
  const times = await Promise.all(workers.map((worker) => ask(worker, {})));
  const starts = times.map(({ start }) => start);
  const ends = times.map(({ end }) => end);
  const first = starts.reduce((a, b) => (a < b ? a : b));
  const last = ends.reduce((a, b) => (a > b ? a : b));
  return Number(last - first) / (ops * workers.length);
}

/** @param {Suite} suite */
async function run(suite) {
  if (availableParallelism() < THREADS) return suite.skip("14", "threads", "there is one CPU only");
  const { createRuntime, u32, u64 } = suite.library;
  const maxEntries = suite.size(ENTRIES);
  const rt = await createRuntime({ shared: true, cpus: THREADS + 1, seed: 1 });
  const map = filled(
    rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries }),
    maxEntries,
  );
  const child = new URL("../support/thread-child.mjs", import.meta.url);
  const ops = suite.plan.window * WINDOWS;
  const workers = Array.from({ length: THREADS }, (_, i) => {
    return new Worker(child, {
      workerData: { attach: rt.share(), cpu: i + 1, fd: map.fd, entries: maxEntries, ops },
    });
  });
  let round = 0;
  const workload = `${THREADS} threads, ${label(maxEntries)}, 10 % sets`;
  await suite.race({ goal: "14", family: "threads", workload, must: MUST, aim: AIM }, [
    {
      name: "two workers",
      role: "ours",
      ops: 1,
      answers: true,
      run: () => runAll(workers, round++, ops),
    },
    {
      name: "one worker",
      role: "peer",
      ops: 1,
      answers: true,
      run: () => runAll(workers.slice(0, 1), round++, ops),
    },
  ]);
  await Promise.all(workers.map((worker) => worker.terminate()));
  map.close();
  rt.dispose();
}

export default { goals: ["14"], run };

// A worker of goal 14: one more CPU of a shared runtime. { prepare: seed } draws queries; any other message runs them and
// answers when that began and ended, in nanoseconds of a clock that all threads have in common.

import { parentPort, workerData } from "node:worker_threads";
import { loadLibrary } from "./ours.mjs";
import { Random, keyOf } from "./random.mjs";

const SET_SHARE = 10;

const { attach, cpu, fd, entries, ops } = workerData;
const { createRuntime, u32, u64 } = await loadLibrary();
const rt = await createRuntime({ attach, cpu });
const map = /** @type {import("./loops.mjs").MapLike} */ (
  /** @type {unknown} */ (rt.mapFromFd(fd, { key: u32, value: u64.asNumber }))
);
const keys = new Int32Array(ops);

/** @param {number} seed */
function prepare(seed) {
  const random = new Random(seed);
  for (let i = 0; i < ops; i++) keys[i] = keyOf(random.below(entries));
}

function measure() {
  const start = process.hrtime.bigint();
  let sum = 0;
  for (let i = 0; i < ops; i++) {
    if (i % SET_SHARE === 0) map.set(keys[i], i);
    else sum = (sum + map.get(keys[i])) | 0;
  }
  const end = process.hrtime.bigint();
  // The sum is looked at, so that the loop stays.
  return { start, end: sum === -1 ? start : end };
}

parentPort?.on("message", (message) => {
  if (message.prepare !== undefined) prepare(message.prepare);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
  parentPort?.postMessage(message.prepare === undefined ? measure() : 0);
});

// A worker that joins the kernel of its parent and puts records into a ring buffer, through the built package.

import { parentPort, workerData } from "node:worker_threads";
import { createRuntime } from "../../dist/index.js";

const { kernel, cpu, mapId, records, mayLose } = workerData;

/** Fills a record: producer, number, words that follow from both, their sum. ring-record.ts checks it. */
function fill(bytes, producer, number) {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
  words[0] = producer;
  words[1] = number;
  let sum = (producer + number) >>> 0;
  for (let i = 2; i < words.length - 1; i++) {
    const word = Math.imul(number + i, 0x9e3779b1) >>> 0;
    words[i] = word;
    sum = (sum + word) >>> 0;
  }
  words[words.length - 1] = sum;
}

const rt = await createRuntime({ attach: kernel, cpu });
const ring = rt.mapFromId(mapId, { type: "ringbuf" });
const nap = new Int32Array(new SharedArrayBuffer(4));

function waitForRoom() {
  while (ring.maxEntries - ring.availableBytes < 512) Atomics.wait(nap, 0, 0, 0.05);
}

let written = 0;
let refused = 0;
for (let number = 0; number < records; number++) {
  const size = 12 + (number % 13) * 4;
  // A program cannot wait for room; this one looks before it reserves, so that nothing is lost.
  if (!mayLose) waitForRoom();
  const record = ring.reserve(size);
  if (record === undefined) {
    refused++;
    continue;
  }
  fill(record.bytes, cpu, number);
  if (number % 97 === 96) record.discard();
  else {
    record.submit();
    written++;
  }
}
ring.close();
rt.dispose();
// A port, not a window: there is no origin.
// oxlint-disable-next-line unicorn/require-post-message-target-origin
parentPort.postMessage({ written, refused });

// A window and a worker count in one map.
import { createRuntime, u64 } from "../dist/browser.js";

const TIMES = 100_000;

async function count() {
  const rt = await createRuntime({ shared: true, cpus: 2 });
  const map = rt.createMap({ type: "array", value: u64, maxEntries: 1 });
  const worker = new Worker("/pages/threads-worker.js", { type: "module" });
  const done = new Promise((resolve, reject) => {
    worker.addEventListener("message", resolve);
    worker.addEventListener("error", ({ message }) => reject(new Error(message)));
  });
  worker.postMessage({ attach: rt.share(), id: map.info().id, times: TIMES });
  const ref = map.ref(0);
  for (let i = 0; i < TIMES; i++) ref.add(1);
  await done;
  return { sum: Number(map.get(0)), expected: 2 * TIMES };
}

globalThis.results = count();

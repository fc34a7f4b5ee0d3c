// A small application: counts packets in the page and in a worker of its own.
import { createRuntime, u32, u64 } from "bpfmaps";

async function count() {
  const totals = [];
  for (const shared of [false, true]) {
    const rt = await createRuntime({ shared });
    const map = rt.createMap({ type: "lru_hash", key: u32, value: u64, maxEntries: 100 });
    for (let i = 0; i < 50; i++) map.set(i, BigInt(i));
    totals.push(Number([...map.values()].reduce((a, b) => a + b)));
    rt.dispose();
  }
  return totals;
}

async function inWorker() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.addEventListener("message", ({ data }) => resolve(data));
    worker.addEventListener("error", ({ message }) => reject(new Error(message)));
  });
}

globalThis.results = Promise.all([count(), inWorker()]).then(([page, worker]) => ({
  page,
  worker,
}));

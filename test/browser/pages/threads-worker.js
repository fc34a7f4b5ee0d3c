import { createRuntime, u64 } from "../dist/browser.js";

self.addEventListener("message", async ({ data: { attach, id, times } }) => {
  const rt = await createRuntime({ attach, cpu: 1 });
  const ref = rt.mapFromId(id, { type: "array", value: u64 }).ref(0);
  for (let i = 0; i < times; i++) ref.add(1);
  self.postMessage("done");
});

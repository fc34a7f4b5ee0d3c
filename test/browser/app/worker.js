import { createRuntime, u32 } from "bpfmaps";

const rt = await createRuntime();
const map = rt.createMap({ type: "array", value: u32, maxEntries: 3 });
self.postMessage(map.set(1, 7).get(1));

// node fill-child.mjs ours|Map ENTRIES: the first filling of a process, where no page of the memory was used before and no code
// is compiled. Prints JSON: nanoseconds an operation with the creation, the creation's milliseconds, and, of ours, the worst
// stall in milliseconds while a second map is filled, on pages that were not used either.

import { setLoop, stallLoop } from "./loops.mjs";
import { loadLibrary } from "./ours.mjs";
import { keyOf } from "./random.mjs";
import { MEMORY_BYTES, STALL_STEP } from "./suite.mjs";

/** @typedef {import("./loops.mjs").MapLike} MapLike */

const MS_TO_NS = 1e6;
const now = () => performance.now();

const [side = "", count = "0"] = process.argv.slice(2);
const maxEntries = Number(count);

/** @returns {Promise<() => MapLike>} */
async function maker() {
  if (side === "Map") return () => new Map();
  const { createRuntime, u32, u64 } = await loadLibrary();
  const rt = await createRuntime({ seed: 1, minBytes: MEMORY_BYTES });
  return () => rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries });
}

const make = await maker();
const keys = Int32Array.from({ length: maxEntries }, (_, i) => keyOf(i));
const start = now();
const map = make();
const create = now() - start;
setLoop(map, keys, 0);
const fill = ((now() - start) * MS_TO_NS) / maxEntries;
// The first one lives on: its pages are not to be had.
const stall = side === "Map" ? NaN : stallLoop(make(), keys, STALL_STEP, now);
if (map.get(keys[0]) !== 0) throw new Error("an entry is missing");
console.log(JSON.stringify({ fill, create, stall }));

// Goal 4: getMany. Dimensions: HASH, full, u32 -> u32 and u32 -> u64 x entries; uniform, all hit. Peer: a loop of Map.get.
// The results are added up by everybody. Detail: keys and values that lie in the runtime's memory (nothing is copied).

import { filled, getter, queriesOf } from "../support/contenders.mjs";
import { sumLoop } from "../support/loops.mjs";
import { fresh } from "../support/race.mjs";
import { uniform } from "../support/random.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").KeyWindow} KeyWindow */
/** @typedef {import("../support/contenders.mjs").Role} Role */

const SIZES = [
  { wanted: 1000, must: 0.35, aim: 0.16 },
  { wanted: 1_000_000, must: 0.5, aim: 0.28 },
  { wanted: 4_000_000, must: 0.55, aim: 0.25 },
];

/**
 * @param {string} name @param {Role} role
 * @param {{ getMany(keys: Uint32Array, out: Uint32Array): number }} map
 * @param {KeyWindow} window @param {Uint32Array} out words: as many as a value has for each key
 */
function batcher(name, role, map, window, out) {
  const loop = fresh(sumLoop);
  const step = out.length / window.ops;
  const batches = () => {
    map.getMany(/** @type {Uint32Array} */ (window.keys), out);
    return window.check(loop(out, step));
  };
  return { name, role, ops: window.ops, ...queriesOf(window), run: batches };
}

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const { rt } = suite;
  const { u32, u64 } = suite.library;
  const { window } = suite.plan;
  for (const { wanted, must, aim } of SIZES) {
    const maxEntries = suite.size(wanted);
    const narrow = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries });
    const wide = rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries });
    const map = new Map();
    for (const target of [narrow, wide, map]) filled(target, maxEntries);
    const distribution = uniform(maxEntries);
    const outPtr = rt.alloc(window * 4);
    const inPlace = suite.window("wasm", distribution, 4);
    const outInPlace = new Uint32Array(rt.memory.buffer, outPtr, window);
    const workload = `batch get, ${label(maxEntries)}`;
    await suite.race({ goal: "4", family: "batch", workload, must, aim }, [
      batcher(
        "bpfmaps u32->u32",
        "ours",
        narrow,
        suite.window("uint32", distribution, 1),
        new Uint32Array(window),
      ),
      batcher(
        "bpfmaps u32->u64",
        "ours",
        wide,
        suite.window("uint32", distribution, 2),
        new Uint32Array(window * 2),
      ),
      getter("Map", "peer", map, suite.window("int32", distribution, 3)),
      batcher("in place", "detail", narrow, inPlace, outInPlace),
    ]);
    rt.free(outPtr);
    rt.free(inPlace.byteOffset);
    narrow.close();
    wide.close();
  }
}

export default { goals: ["4"], run };

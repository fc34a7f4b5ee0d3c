// Goals 1 to 3: get of a present key. Dimensions: HASH, full, u32 -> u32 and u32 -> u64 (as a number) x entries x
// distribution. Peer: Map with small integers.
//
// The details split the figure: "raw exports" is the same loop without the typed API, by the doors that it uses, "in Wasm" the
// same without crossing to JavaScript at all (the table alone, and a call between two instances).

import { filled, getter, queriesOf } from "../support/contenders.mjs";
import { rawGetLoop } from "../support/loops.mjs";
import { fresh } from "../support/race.mjs";
import { uniform, zipf } from "../support/random.mjs";
import { label } from "../support/suite.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */
/** @typedef {import("../support/random.mjs").Distribution} Distribution */

const SIZES = [
  { goal: "1", wanted: 1000, must: 0.45, aim: 0.33 },
  { goal: "2", wanted: 100_000, must: 0.5, aim: 0.3 },
  { goal: "3", wanted: 1_000_000, must: 0.65, aim: 0.4 },
  { goal: "3", wanted: 4_000_000, must: 0.65, aim: 0.4 },
];

/** @type {readonly { shape: string, make: (n: number) => Distribution }[]} */
const SHAPES = [
  { shape: "uniform", make: uniform },
  { shape: "zipf .99", make: zipf },
];

/**
 * The same lookups by the raw exports, and without JavaScript.
 * @param {Suite} suite @param {{ fd: number }} typed @param {Distribution} distribution
 */
function details(suite, typed, distribution) {
  const { rt, loops } = suite;
  const handle = rt.exports.bpf_map_by_fd(typed.fd);
  const map = rt.exports.map_by_handle(handle);
  const inWasm = suite.window("wasm", distribution, 4);
  const raw = suite.window("int32", distribution, 5);
  const { map_get4, map_get4_any } = rt.exports;
  const rawLoop = fresh(rawGetLoop);
  const rawRun = () => raw.check(rawLoop(map_get4, map_get4_any, map, handle, raw.keys));
  const wasmRun = () => inWasm.check(loops.get4(map, handle, inWasm.keys.byteOffset, inWasm.ops));
  /** @type {import("../support/race.mjs").Contender[]} */
  const contenders = [
    { name: "raw exports", role: "detail", ops: raw.ops, ...queriesOf(raw), run: rawRun },
    { name: "in Wasm", role: "detail", ops: inWasm.ops, ...queriesOf(inWasm), run: wasmRun },
  ];
  return { contenders, free: () => rt.free(inWasm.byteOffset) };
}

/** @param {Suite} suite */
async function run(suite) {
  const { rt } = suite;
  const { u32, u64 } = suite.library;
  for (const { goal, wanted, must, aim } of SIZES) {
    if (!suite.wants(goal)) continue;
    const maxEntries = suite.size(wanted);
    const narrow = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries });
    const wide = rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries });
    // The details have a table of their own: nobody finds its table in the caches because another one just used it.
    const own = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries });
    const map = new Map();
    for (const target of [narrow, wide, own, map]) filled(target, maxEntries);
    for (const { shape, make } of SHAPES) {
      const distribution = make(maxEntries);
      const extra = details(suite, own, distribution);
      const workload = `get, ${label(maxEntries)}, ${shape}`;
      await suite.race({ goal, family: "get", workload, must, aim }, [
        getter("bpfmaps u32->u32", "ours", narrow, suite.window("int32", distribution, 1)),
        getter("bpfmaps u32->u64", "ours", wide, suite.window("int32", distribution, 2)),
        getter("Map", "peer", map, suite.window("int32", distribution, 3)),
        ...extra.contenders,
      ]);
      extra.free();
    }
    narrow.close();
    wide.close();
    own.close();
  }
}

export default { goals: ["1", "2", "3"], run };

// Goal 8: writing. Dimensions: HASH, full, u32 -> u64 x entries; uniform. Set of a present key, and a steady state in which
// each operation deletes one entry and inserts a new one. Peer: Map.

import { churner, filled, setter } from "../support/contenders.mjs";
import { uniform } from "../support/random.mjs";
import { label } from "../support/suite.mjs";

const GOAL = { goal: "8", must: 0.75, aim: 0.45 };
const SIZES = [1000, 100_000, 1_000_000];

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const { u32, u64 } = suite.library;
  for (const wanted of SIZES) {
    const maxEntries = suite.size(wanted);
    const ours = filled(
      suite.rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries }),
      maxEntries,
    );
    const map = filled(new Map(), maxEntries);
    const distribution = uniform(maxEntries);
    const size = label(maxEntries);
    await suite.race({ ...GOAL, family: "set", workload: `set existing, ${size}` }, [
      setter("bpfmaps", "ours", ours, suite.window("int32", distribution, 1)),
      setter("Map", "peer", map, suite.window("int32", distribution, 2)),
    ]);
    const { window } = suite.plan;
    await suite.race({ ...GOAL, family: "churn", workload: `delete + insert, ${size}` }, [
      churner("bpfmaps", "ours", ours, maxEntries, window, 3),
      churner("Map", "peer", map, maxEntries, window, 4),
    ]);
    ours.close();
  }
}

export default { goals: ["8"], run };

// Goal 13: bpf_map_lookup_elem as a program calls it, from Wasm. Dimensions: HASH, full, u32 -> u64 x entries; uniform, all
// hit. Peer: the same loop as an eBPF program in the running kernel (root and gcc).

import { buildDriver, KernelLookups } from "../support/kernel.mjs";
import { Random } from "../support/random.mjs";

const SIZES = [512, 65_536];
const KERNEL_LOOKUPS = 4096;

/** @param {import("../support/suite.mjs").Suite} suite */
async function run(suite) {
  const { rt, library, loops, plan } = suite;
  const driver = buildDriver();
  if (typeof driver === "string") suite.skip("13", "the kernel's side", driver);
  const random = new Random(1);
  for (const maxEntries of SIZES) {
    const map = rt.createMap({
      type: "hash",
      key: library.u32,
      value: library.u64.asNumber,
      maxEntries,
    });
    for (let i = 0; i < maxEntries; i++)
      map.set((Math.imul(i, 0x9e3779b1) & (maxEntries - 1)) >>> 0, i);
    const handle = rt.exports.bpf_map_by_fd(map.fd);
    const stack = rt.alloc(8);
    const lookups = () => {
      const hits = loops.helper4(handle, stack, maxEntries - 1, random.word(), plan.window);
      if (hits !== plan.window) throw new Error(`${hits} hits of ${plan.window}`);
      return hits;
    };
    const kernel =
      typeof driver === "string" ? undefined : new KernelLookups(driver.program, maxEntries);
    /** @type {import("../support/race.mjs").Contender[]} */
    const contenders = [{ name: "bpfmaps", role: "ours", ops: plan.window, run: lookups }];
    if (kernel !== undefined) {
      const repeat = Math.ceil(plan.window / KERNEL_LOOKUPS);
      contenders.push({
        name: "Linux helper",
        role: "peer",
        ops: 1,
        answers: true,
        run: () => kernel.sample(repeat),
      });
    }
    const workload = `helper lookup, ${maxEntries}`;
    await suite.race({ goal: "13", family: "helper", workload, must: 0.33, aim: 0.12 }, contenders);
    kernel?.close();
    rt.free(stack);
    map.close();
  }
  if (typeof driver !== "string") driver.close();
}

export default { goals: ["13"], run };

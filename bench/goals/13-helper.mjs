// Goal 13: bpf_map_lookup_elem as a program calls it, from Wasm. Dimensions: HASH, full, u32 -> u64 x entries; uniform, all
// hit. Peer: the same loop as an eBPF program in the running kernel (root, gcc, and the kernel's JIT). And, without a goal,
// BPF_MAP_LOOKUP_ELEM: rt.bpf() from JavaScript against the system call from C.

import { buildDriver, KernelLookups } from "../support/kernel.mjs";
import { kernelJit } from "../support/machine.mjs";
import { Random } from "../support/random.mjs";

/** @typedef {import("../support/suite.mjs").Suite} Suite */
/** @typedef {import("../support/race.mjs").Contender} Contender */

const SIZES = [512, 65_536];
/** Calls are slow: fewer of them. */
const SYSCALL_SHARE = 8;
const ATTR_BYTES = 32;
/** Passes at most that are not timed (suite.mjs, Plan), on both sides. */
const WARM = 3;

/** Keys below maxEntries, as bench/kernel/lookup.c has them. @param {Suite} suite @param {number} maxEntries */
function makeMap({ rt, library }, maxEntries) {
  const { u32, u64 } = library;
  const map = rt.createMap({ type: "hash", key: u32, value: u64.asNumber, maxEntries });
  for (let i = 0; i < maxEntries; i++)
    map.set((Math.imul(i, 0x9e3779b1) & (maxEntries - 1)) >>> 0, i);
  return map;
}

/** @param {Suite} suite @param {number} handle @param {number} maxEntries */
function helper({ rt, loops, plan }, handle, maxEntries) {
  const random = new Random(1);
  const stack = rt.alloc(8);
  const lookups = () => {
    const hits = loops.helper4(handle, stack, maxEntries - 1, random.word(), plan.window);
    if (hits !== plan.window) throw new Error(`${hits} hits of ${plan.window}`);
    return hits;
  };
  return { run: lookups, free: () => rt.free(stack) };
}

/** @param {Suite} suite @param {number} fd @param {number} maxEntries */
function syscall({ rt, library, plan }, fd, maxEntries) {
  const { BPF_MAP_LOOKUP_ELEM } = library;
  const ops = plan.window / SYSCALL_SHARE;
  const random = new Random(2);
  const attr = rt.alloc(ATTR_BYTES + 16);
  const key = (attr + ATTR_BYTES) >>> 2;
  const words = new Uint32Array(rt.memory.buffer);
  words.fill(0, attr >>> 2, key);
  words[attr >>> 2] = fd;
  words[(attr >>> 2) + 2] = attr + ATTR_BYTES;
  words[(attr >>> 2) + 4] = attr + ATTR_BYTES + 8;
  const lookups = () => {
    let errors = 0;
    for (let i = 0; i < ops; i++) {
      words[key] = random.word() & (maxEntries - 1);
      errors += rt.bpf(BPF_MAP_LOOKUP_ELEM, attr, ATTR_BYTES);
    }
    if (errors !== 0) throw new Error(`BPF_MAP_LOOKUP_ELEM: ${errors}`);
    return errors;
  };
  return { ops, run: lookups, free: () => rt.free(attr) };
}

/**
 * The kernel's side, warmed up as ours is: `warm` times the lookups that are not counted.
 * @param {string} name @param {KernelLookups} kernel @param {"helper" | "syscall"} by @param {number} lookups @param {number} warm
 * @returns {Contender}
 */
function peer(name, kernel, by, lookups, warm) {
  const ask = async () => {
    await kernel.sample(by, lookups * warm);
    return kernel.sample(by, lookups);
  };
  return { name, role: "peer", ops: 1, answers: true, run: ask };
}

/** Not where the kernel would interpret its program: that is another race. @param {Suite} suite */
function canRaceHelpers(suite) {
  const isInterpreted = kernelJit().enable === 0;
  if (isInterpreted)
    suite.skip(
      "13",
      "the kernel's helper",
      "net.core.bpf_jit_enable is 0: programs are interpreted",
    );
  return !isInterpreted;
}

/** @param {Suite} suite */
async function run(suite) {
  const { rt } = suite;
  const plan = { ...suite.plan, warm: Math.min(suite.plan.warm, WARM) };
  const driver = buildDriver();
  if (typeof driver === "string") suite.skip("13", "the kernel's side", driver);
  const hasHelpers = typeof driver !== "string" && canRaceHelpers(suite);
  for (const maxEntries of SIZES) {
    const map = makeMap(suite, maxEntries);
    const kernel =
      typeof driver === "string" ? undefined : new KernelLookups(driver.program, maxEntries);
    const [program, calls] = [
      helper(suite, rt.exports.bpf_map_by_fd(map.fd), maxEntries),
      syscall(suite, map.fd, maxEntries),
    ];
    const helpers = {
      goal: "13",
      family: "helper",
      workload: `helper lookup, ${maxEntries}`,
      must: 0.33,
      aim: 0.12,
    };
    await suite.race(
      helpers,
      [
        { name: "bpfmaps", role: "ours", ops: plan.window, run: program.run },
        ...(kernel && hasHelpers
          ? [peer("Linux helper", kernel, "helper", plan.window, plan.warm)]
          : []),
      ],
      plan,
    );
    const syscalls = {
      goal: "-",
      family: "syscall",
      workload: `BPF_MAP_LOOKUP_ELEM, ${maxEntries}`,
    };
    await suite.race(
      syscalls,
      [
        { name: "rt.bpf()", role: "ours", ops: calls.ops, run: calls.run },
        ...(kernel ? [peer("bpf(2)", kernel, "syscall", calls.ops, plan.warm)] : []),
      ],
      plan,
    );
    kernel?.close();
    program.free();
    calls.free();
    map.close();
  }
  if (typeof driver !== "string") driver.close();
}

export default { goals: ["13"], run };

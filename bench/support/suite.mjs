// What the goals' files work with: the runtime under test, plans and windows of queries, and the book of results.

import { readFileSync } from "node:fs";
import { loadLibrary, repositoryFile } from "./ours.mjs";
import { CoreProbe, isBusy } from "./machine.mjs";
import { Peers } from "./peers.mjs";
import { race } from "./race.mjs";
import { Random, keyOf } from "./random.mjs";
import { ratios, spread } from "./stats.mjs";

/** @typedef {import("./race.mjs").Contender} Contender */
/** @typedef {import("./random.mjs").Distribution} Distribution */
/** @typedef {import("./stats.mjs").Spread} Spread */

/**
 * How thorough a run is.
 * @typedef {object} Plan
 * @property {number} warm     passes that are not timed before each turn (race.mjs): a million operations. With 0.4
 *                             zipf at 100k took 13 ns instead of 8, for entries the other contenders had pushed out of the caches
 * @property {number} rounds   counted rounds
 * @property {number} warmup   rounds before
 * @property {number} window   operations of a round
 * @property {number} entries  larger maps are made this small
 * @property {number} heavy    counted rounds of workloads that take long (filling)
 * @property {number} patience milliseconds for turns that are taken again because they were disturbed (CoreProbe)
 *
 * @typedef {object} Options
 * @property {Plan} plan
 * @property {readonly string[]} [goals]  only these
 * @property {string} [data]              folder with real data
 * @property {boolean} [large]            scaling curves up to 16M
 */

/** For all maps of a run, so that the memory never has to grow: option `minBytes` of createRuntime says why. */
export const MEMORY_BYTES = 2 ** 30;

/** A stall is how long so many operations in a row take. */
export const STALL_STEP = 16;

/** @type {Readonly<Record<string, Plan>>} */
export const PLANS = {
  normal: {
    warm: 4,
    rounds: 21,
    warmup: 6,
    window: 1 << 18,
    entries: 2 ** 32,
    heavy: 7,
    patience: 600_000,
  },
  quick: {
    warm: 7,
    rounds: 5,
    warmup: 1,
    window: 1 << 17,
    entries: 2 ** 32,
    heavy: 3,
    patience: 8_000,
  },
  smoke: { warm: 1, rounds: 3, warmup: 1, window: 1 << 12, entries: 20_000, heavy: 2, patience: 0 },
};

/**
 * One figure of one contender.
 * @typedef {{ name: string, role: string } & Spread} Figure
 *
 * One race, or one thing measured.
 * @typedef {object} Result
 * @property {string} goal       number in the table of goals; "-": none
 * @property {string} family     which chart
 * @property {string} workload
 * @property {string} unit       of the figures: ns, B, ms, kB
 * @property {Figure[]} figures
 * @property {Row[]} rows
 * @property {boolean} busy      the machine had too much else to do
 * @property {string} [remark]   what has to be said wherever the ratio is shown
 * @property {string} [note]     more, where there is room
 * @property {{ panel: string, entries: number }} [at]  place in a scaling chart
 *
 * A line of the table: one contender of ours against the peer, or against a limit.
 * @typedef {object} Row
 * @property {string} workload
 * @property {number} ours
 * @property {number | null} peer
 * @property {string} peerName
 * @property {Spread | null} ratio   null: judged by the figure itself
 * @property {{ name: string, ratio: number } | null} [best]  the same against the best of several peers
 * @property {number | null} must
 * @property {number | null} aim
 * @property {string} verdict        aim, must, BELOW, or - when there is nothing to judge
 *
 * @typedef {object} Workload
 * @property {string} goal
 * @property {string} family
 * @property {string} workload
 * @property {number} [must]
 * @property {number} [aim]
 * @property {string} [unit]
 * @property {{ panel: string, entries: number }} [at]  place in a scaling chart
 */

/** 1000 -> 1k, 4000000 -> 4M. @param {number} n */
export function label(n) {
  if (n >= 1e6) return `${n / 1e6}M`;
  return n >= 1e3 ? `${n / 1e3}k` : String(n);
}

/** Sums over results must be right; as 32 bits. @param {number} sum @param {number} expected */
export function mustBe(sum, expected) {
  if ((sum | 0) !== (expected | 0))
    throw new Error(`wrong results: their sum is ${sum}, not ${expected}`);
  return sum;
}

/** @param {number} value @param {number | null} must @param {number | null} aim */
function judge(value, must, aim) {
  if (must === null || Number.isNaN(value)) return "-";
  if (aim !== null && value <= aim) return "aim";
  return value <= must ? "must" : "BELOW";
}

/** Where more of the turns were disturbed, the figures say so. */
export const MOST = 0.5;

/** Windows of queries a contender has: enough of them that no branch predictor knows them by heart. */
export const WINDOWS = 8;

/**
 * Queries of one contender. They are drawn before the first round: drawing them between passes would push the structure
 * under test out of the caches.
 */
export class KeyWindow {
  /** The queries of the next pass. */
  keys;
  /** Sum of the entries' numbers, as 32 bits: what a loop over values must come to. */
  expected = 0;
  /** Queries of one pass. */
  ops;
  /** Of the memory of all windows. */
  byteOffset;
  #all;
  /** @type {number[]} */
  #sums = [];
  #turn = 0;
  #distribution;
  #random;

  /**
   * @param {Int32Array | Uint32Array} keys room for all windows, of the kind that suits the contender, in the memory that
   * suits it
   * @param {Distribution} distribution @param {Random} random
   */
  constructor(keys, distribution, random) {
    this.#all = keys;
    this.ops = keys.length / WINDOWS;
    this.keys = keys.subarray(0, this.ops);
    this.byteOffset = keys.byteOffset;
    this.#distribution = distribution;
    this.#random = random;
  }

  /** Takes the next window. */
  next() {
    for (let i = this.#sums.length; i < WINDOWS; i++) this.#sums.push(this.#draw(this.#window(i)));
    this.keys = this.#window(this.#turn);
    this.expected = this.#sums[this.#turn];
    this.#turn = (this.#turn + 1) % WINDOWS;
  }

  /** Draws all windows anew before the next one is taken. */
  forget() {
    this.#sums.length = 0;
  }

  /** @param {number} i */
  #window(i) {
    return this.#all.subarray(i * this.ops, (i + 1) * this.ops);
  }

  /** @param {Int32Array | Uint32Array} keys */
  #draw(keys) {
    let sum = 0;
    for (let i = 0; i < keys.length; i++) {
      const entry = this.#distribution(this.#random);
      sum = (sum + entry) | 0;
      keys[i] = keyOf(entry);
    }
    return sum;
  }

  /** @param {number} sum */
  check(sum) {
    return mustBe(sum, this.expected);
  }
}

export class Suite {
  /** @type {Result[]} */
  results = [];
  /** @type {string[]} what was left out, and why */
  skipped = [];
  peers = new Peers();

  /**
   * @param {Options} options @param {import("./ours.mjs").Library} library
   * @param {import("./ours.mjs").BpfRuntime} rt one for all maps: as in a program, and one set of Wasm functions
   * @param {any} loops exports of bench/core/assembly
   */
  constructor(options, library, rt, loops) {
    this.options = options;
    this.plan = options.plan;
    this.core = new CoreProbe(this.plan.patience);
    this.library = library;
    this.rt = rt;
    this.loops = loops;
  }

  /** @param {Options} options */
  static async create(options) {
    const library = await loadLibrary();
    const rt = await library.createRuntime({ seed: 1, minBytes: MEMORY_BYTES });
    const module = new WebAssembly.Module(readFileSync(repositoryFile("build/bench-loops.wasm")));
    const core = /** @type {WebAssembly.ModuleImports} */ (/** @type {unknown} */ (rt.exports));
    const instance = new WebAssembly.Instance(module, { env: { memory: rt.memory }, core });
    return new Suite(options, library, rt, instance.exports);
  }

  /** Is this goal to be run? @param {string} goal */
  wants(goal) {
    const { goals } = this.options;
    return goals === undefined || goals.includes(goal);
  }

  /** A number of entries, as far as the plan goes. @param {number} wanted */
  size(wanted) {
    return Math.min(wanted, this.plan.entries);
  }

  /**
   * A map of a type whose class may not exist; its verbs are its own. @param {object} spec as for createMap
   * @returns {any} undefined: there is no such type
   */
  tryMap(spec) {
    try {
      return this.rt.createMap(/** @type {any} */ (spec));
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** For workloads that take a whole filling a round. */
  get heavyPlan() {
    return { rounds: this.plan.heavy, warmup: 1 };
  }

  /**
   * @param {"int32" | "uint32" | "wasm"} kind wasm: u32 in the runtime's memory; make all maps before
   * @param {Distribution} distribution @param {number} seed
   */
  window(kind, distribution, seed) {
    const count = this.plan.window * WINDOWS;
    const random = new Random(seed);
    if (kind === "int32") return new KeyWindow(new Int32Array(count), distribution, random);
    if (kind === "uint32") return new KeyWindow(new Uint32Array(count), distribution, random);
    const ptr = this.rt.alloc(count * 4);
    const keys = new Uint32Array(this.rt.memory.buffer, ptr, count);
    return new KeyWindow(keys, distribution, random);
  }

  /**
   * Runs contenders against each other and books the result.
   * @param {Workload} workload @param {readonly Contender[]} contenders
   * @param {{ rounds: number, warmup: number, warm?: number }} [plan]
   */
  async race(workload, contenders, plan = this.plan) {
    const wasBusy = isBusy();
    globalThis.gc?.();
    const { samples, disturbed } = await race(contenders, plan, this.core);
    const figures = contenders.map(({ name, role }) => ({
      name,
      role,
      ...spread(samples.get(name) ?? []),
    }));
    const peers = figures.filter(({ role }) => role === "peer");
    const peer = peers.at(0);
    const best = peers.length > 1 ? peers.toSorted((a, b) => a.median - b.median)[0] : undefined;
    const ours = figures.filter(({ role }) => role === "ours");
    const { must = null, aim = null } = workload;
    const rows = ours.map((figure) => {
      /** @param {Figure} to */
      const ratioTo = (to) => ratios(samples.get(figure.name) ?? [], samples.get(to.name) ?? []);
      const ratio = peer ? ratioTo(peer) : null;
      return {
        workload: ours.length > 1 ? `${workload.workload}, ${figure.name}` : workload.workload,
        ours: figure.median,
        peer: peer?.median ?? null,
        peerName: peer?.name ?? "",
        ratio,
        best: best ? { name: best.name, ratio: ratioTo(best).median } : null,
        must,
        aim,
        verdict: judge(ratio?.median ?? NaN, must, aim),
      };
    });
    return this.#book(workload, figures, rows, wasBusy || disturbed > MOST || isBusy());
  }

  /**
   * Books a figure that is judged by itself.
   * @param {Workload} workload @param {readonly number[]} samples
   * @param {readonly { name: string, value: number }[]} [details]
   */
  figure(workload, samples, details = []) {
    const { must = null, aim = null } = workload;
    const ours = { name: "bpfmaps", role: "ours", ...spread(samples) };
    const others = details.map(({ name, value }) => ({ name, role: "detail", ...spread([value]) }));
    const row = {
      workload: workload.workload,
      ours: ours.median,
      peer: null,
      peerName: "",
      ratio: null,
      must,
      aim,
      verdict: judge(ours.median, must, aim),
    };
    return this.#book(workload, [ours, ...others], [row], isBusy());
  }

  /** @param {string} goal @param {string} what @param {string} why */
  skip(goal, what, why) {
    this.skipped.push(`goal ${goal}, ${what}: ${why}`);
    console.log(`goal ${goal}, ${what}: skipped, ${why}`);
  }

  /** @param {Workload} workload @param {Figure[]} figures @param {Row[]} rows @param {boolean} busy */
  #book({ goal, family, workload, unit = "ns", at }, figures, rows, busy) {
    /** @type {Result} */
    const result = { goal, family, workload, unit, figures, rows, busy, ...(at ? { at } : {}) };
    this.results.push(result);
    const list = figures.map(({ name, median }) => `${name} ${number(median)}`).join("  ");
    console.log(`${goal.padStart(3)}  ${workload}: ${list} ${unit}`);
    return result;
  }

  /** Adds a figure that was measured besides. @param {Result} result @param {string} name @param {readonly number[]} samples */
  detail(result, name, samples) {
    const figure = { name, role: "detail", ...spread(samples) };
    result.figures.push(figure);
    console.log(`     ${name} ${number(figure.median)} ${result.unit}`);
  }

  /** What has to be said wherever the ratio is shown. @param {Result} result @param {string} remark */
  remark(result, remark) {
    result.remark = remark;
    console.log(`     ${remark}`);
  }

  /** What is told where there is room. @param {Result} result @param {string} note */
  note(result, note) {
    result.note = note;
    console.log(`     ${note}`);
  }
}

/** Three significant digits. @param {number} value */
export function number(value) {
  if (Number.isNaN(value)) return "-";
  if (value === 0 || Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

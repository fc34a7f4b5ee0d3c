// What a figure depends on besides the code.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release } from "node:os";
import { repositoryFile } from "./ours.mjs";

/** The 1-minute load average. */
export function load() {
  return loadavg()[0] ?? 0;
}

/** Too much going on for figures to mean something. @param {number} [value] */
export function isBusy(value = load()) {
  return value > availableParallelism();
}

/** Steps of a probe: about 0.1 ms. */
const PROBE = 100_000;
/** Milliseconds of probes at the beginning: long enough to have seen a calm moment. */
const LOOK_AROUND = 1000;
/** A core whose other thread is at work takes 1.4 times as long. */
const DISTURBED = 1.2;

/**
 * Finds out whether the core is ours alone. On a rented machine somebody else's work may run on the core's other thread: no
 * load average shows it, and it slows code that uses the whole core by half, code that waits for memory hardly at all. So it
 * shifts ratios.
 */
export class CoreProbe {
  /** In Wasm, which is compiled once: another version of the same JavaScript may be slower by a third. */
  #allUnits;
  #best = Infinity;
  /** Milliseconds that may be spent on taking turns again. */
  patience;

  /** @param {number} patience */
  constructor(patience) {
    this.patience = patience;
    const module = new WebAssembly.Module(readFileSync(repositoryFile("build/bench-probe.wasm")));
    const { exports } = new WebAssembly.Instance(module);
    this.#allUnits = /** @type {(count: number) => number} */ (exports.allUnits);
    const end = performance.now() + LOOK_AROUND;
    while (performance.now() < end) this.isCalm();
  }

  isCalm() {
    const start = performance.now();
    this.#allUnits(PROBE);
    const took = performance.now() - start;
    this.#best = Math.min(this.#best, took);
    return took < this.#best * DISTURBED;
  }
}

/** @param {readonly string[]} args */
function git(args) {
  return execFileSync("git", args, {
    encoding: "utf8",
    cwd: import.meta.dirname,
    stdio: ["ignore", "pipe", "ignore"],
  }).trim();
}

/** The commit; "+": and what is not committed. */
function commit() {
  try {
    const isChanged = git(["status", "--porcelain", "--untracked-files=no"]) !== "";
    return git(["rev-parse", "--short", "HEAD"]) + (isChanged ? "+" : "");
  } catch {
    return "unknown";
  }
}

/** @param {string} name of a setting in net.core @returns {number | null} null: not to be read, or not on Linux */
function netCore(name) {
  try {
    return Number(readFileSync(`/proc/sys/net/core/${name}`, "utf8"));
  } catch {
    return null;
  }
}

/** Settings of net.core: are the kernel's programs compiled (0: no), and are their constants hidden, which makes them slower? */
export function kernelJit() {
  return {
    enable: netCore("bpf_jit_enable"),
    harden: netCore("bpf_jit_harden"),
  };
}

/** @typedef {ReturnType<typeof describeMachine>} Machine */

export function describeMachine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cpus: availableParallelism(),
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    v8: process.versions.v8,
    jit: kernelJit(),
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
  };
}

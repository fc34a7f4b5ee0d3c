// What a figure depends on besides the code.

import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, loadavg, release } from "node:os";

/** The 1-minute load average. */
export function load() {
  return loadavg()[0] ?? 0;
}

/** Too much going on for figures to mean something. @param {number} [value] */
export function isBusy(value = load()) {
  return value > availableParallelism();
}

function commit() {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], {
      encoding: "utf8",
      cwd: import.meta.dirname,
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "unknown";
  }
}

/** @typedef {ReturnType<typeof describeMachine>} Machine */

export function describeMachine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cpus: availableParallelism(),
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    v8: process.versions.v8,
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
  };
}

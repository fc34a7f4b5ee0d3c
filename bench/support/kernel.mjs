// The running kernel's lookups: builds kernel/lookup.c and asks it for figures.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { repositoryFile } from "./ours.mjs";

/** LOOKUPS of lookup.c. */
const HELPER_LOOKUPS = 4096;

/** One driver process over one map. */
export class KernelLookups {
  #child;
  #lines;

  /** @param {string} program @param {number} entries */
  constructor(program, entries) {
    this.#child = spawn(program, [String(entries)], { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /**
   * Nanoseconds a lookup; undefined when the kernel refuses.
   * @param {"helper" | "syscall"} by @param {number} lookups
   */
  async sample(by, lookups) {
    const count = by === "helper" ? Math.ceil(lookups / HELPER_LOOKUPS) : lookups;
    this.#child.stdin.write(`${by} ${count}\n`);
    const { value } = await this.#lines.next();
    return value === undefined ? undefined : Number.parseFloat(value);
  }

  close() {
    this.#child.stdin.end();
  }
}

/** The compiled driver, for as long as it is in scope. */
export class KernelDriver {
  #folder;
  program;

  /** @param {string} folder */
  constructor(folder) {
    this.#folder = folder;
    this.program = join(folder, "lookup");
    const source = repositoryFile("bench/kernel/lookup.c");
    execFileSync("gcc", ["-O2", "-Wall", "-o", this.program, source], { stdio: "pipe" });
  }

  close() {
    rmSync(this.#folder, { recursive: true });
  }
}

/** @returns {KernelDriver | string} the reason why there is none */
export function buildDriver() {
  if (process.platform !== "linux") return "this is not Linux";
  if (process.getuid?.() !== 0) return "bpf(2) needs root";
  const folder = mkdtempSync(join(tmpdir(), "bpfmaps-bench-"));
  try {
    return new KernelDriver(folder);
  } catch (error) {
    rmSync(folder, { recursive: true });
    return `gcc: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`;
  }
}

// The real kernel's side: builds driver.c, feeds it chunks of records, collects its answers.

import {
  execFileSync,
  spawn,
  spawnSync,
  type ChildProcessWithoutNullStreams,
} from "node:child_process";
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { OpStream } from "./wire.js";

/** Whatever can replay a chunk of records: a kernel, or this library. */
export interface Side {
  readonly name: string;
  /** Answers to all records of `ops`, in order. */
  run(ops: OpStream): Promise<Uint8Array>;
}

/** CPUs that can exist on this host: what the kernel sizes per-CPU values by. */
export function possibleCpus(): number {
  const range = readFileSync("/sys/devices/system/cpu/possible", "utf8").trim();
  return Number(range.slice(range.lastIndexOf("-") + 1)) + 1;
}

/** The kernel whose answers are the specification. */
const KERNEL_RELEASE = "6.18";

/**
 * Builds the driver in `directory` and tries it; a string is the reason why it cannot be used.
 * BPFMAPS_KERNEL_ANY=1 compares with whatever kernel this is.
 */
export function buildDriver(directory: string): { path: string } | string {
  if (process.platform !== "linux") return "this is not Linux";
  if (process.getuid?.() !== 0) return "bpf(2) needs root";
  if (!`${release()}.`.startsWith(`${KERNEL_RELEASE}.`) && !process.env["BPFMAPS_KERNEL_ANY"]) {
    return `the kernel is ${release()}, not ${KERNEL_RELEASE}`;
  }
  const path = join(directory, "driver");
  const source = fileURLToPath(new URL("driver.c", import.meta.url));
  try {
    execFileSync("gcc", ["-O2", "-Wall", "-o", path, source], { stdio: "pipe" });
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    return missing ? "there is no gcc" : `gcc refused the driver: ${String(error)}`;
  }
  const tried = spawnSync(path, { input: "", encoding: "utf8" });
  return tried.status === 0 ? { path } : `bpf(2) cannot be driven here (${tried.stderr.trim()})`;
}

/** One driver process. */
export class KernelDriver implements Side, Disposable {
  readonly name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  #pieces: Buffer[] = [];
  #received = 0;
  #stderr = "";
  #waiting: { resolve: (answers: Uint8Array) => void; reject: (error: Error) => void } | null =
    null;

  constructor(path: string, name = "kernel") {
    this.name = name;
    this.#child = spawn(path, { stdio: "pipe" });
    this.#child.stdout.on("data", (piece: Buffer) => this.#receive(piece));
    this.#child.stderr.on("data", (piece: Buffer) => {
      this.#stderr += piece.toString();
    });
    this.#child.on("close", (code) => {
      this.#waiting?.reject(new Error(`driver ended with ${code}: ${this.#stderr}`));
      this.#waiting = null;
    });
  }

  run(ops: OpStream): Promise<Uint8Array> {
    const header = Buffer.alloc(4);
    header.writeUInt32LE(ops.length);
    const answers = new Promise<Uint8Array>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    this.#child.stdin.write(header);
    // The stream is reused for the next session, the write may be under way for longer.
    this.#child.stdin.write(Buffer.from(ops.bytes.subarray(0, ops.length)));
    return answers;
  }

  #receive(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#received += piece.length;
    if (this.#received < 4) return;
    if (this.#pieces.length > 1 && (this.#pieces[0]?.length ?? 0) < 4) {
      this.#pieces = [Buffer.concat(this.#pieces)];
    }
    const length = this.#pieces[0]?.readUInt32LE(0) ?? 0;
    if (this.#received < 4 + length) return;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#received = 0;
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve(all.subarray(4));
  }

  /** Ends the process; it closes its maps and children by itself. */
  [Symbol.dispose](): void {
    this.#child.stdin.end();
  }
}

// Replays a trace on a kernel and compares every answer with the recorded one. Operations on map
// types the kernel does not have are skipped, together with everything that follows from them, and
// counted per type: the caller checks that no supported type is among them. The same goes for maps
// with BTF on a kernel without BPF_BTF_LOAD.

import { BpfClient, type ClientOptions } from "./bpf.js";
import type { Kernel } from "./kernel.js";
import { plainBtf } from "./btf.js";
import { mapTypeNumber, type Trace, type TraceStep } from "./trace.js";
import { OBJECT_OPS, TraceMachine } from "./trace-machine.js";

export interface Mismatch {
  readonly line: number;
  /** The operations before it, the operation, the recorded and the actual answer; several lines. */
  readonly text: string;
}

export interface ReplayReport {
  readonly ops: number;
  readonly compared: number;
  readonly skipped: number;
  /** How many operations were skipped on account of which map type ("btf": of BPF_BTF_LOAD). */
  readonly skippedByType: ReadonlyMap<string, number>;
  readonly mismatchCount: number;
  /** The first few. */
  readonly mismatches: readonly Mismatch[];
}

const MISMATCHES_SHOWN = 5;
const OPS_OF_CONTEXT = 4;
const TEXT_WIDTH = 200;

/** The map type that an object exists for: it decides whether a kernel without the object is fine. */
const TYPE_OF_OBJECT: Readonly<Record<string, string>> = {
  socket: "sk_storage",
  cgroup: "cgrp_storage",
  task: "task_storage",
  file: "inode_storage",
};

/**
 * Decides which operations a kernel cannot run. A handle whose creation was skipped is remembered
 * with the type that was missing; an operation on it, or with it as an operand, is skipped too.
 */
class SkipList {
  readonly #typeOfHandle = new Map<string, string>();
  readonly #kernel: Kernel;
  readonly #supported: (type: number) => boolean;
  readonly #hasBtf: boolean;

  constructor(kernel: Kernel, supported: (type: number) => boolean, btfIsThere: boolean) {
    this.#kernel = kernel;
    this.#supported = supported;
    this.#hasBtf = btfIsThere;
  }

  /** Name of the missing map type (or "btf"), or undefined when the operation can run. */
  reason(step: TraceStep): string | undefined {
    const [op = "", name = ""] = step.words;
    const binds = op === "create" || OBJECT_OPS.has(op);
    const missing = binds ? this.#missingForNew(step.words) : this.#missingForOld(step.words);
    if (missing === undefined) {
      if (binds) this.#typeOfHandle.delete(name);
    } else if (op === "close") this.#typeOfHandle.delete(name);
    else if (binds && step.expected === "ok") this.#typeOfHandle.set(name, missing);
    else if (op.startsWith("update")) {
      // A map of maps that missed an update no longer has the recorded contents.
      this.#typeOfHandle.set(name, missing);
    }
    return missing;
  }

  #missingForNew(words: readonly string[]): string | undefined {
    const [op = ""] = words;
    const method = OBJECT_OPS.get(op);
    if (method !== undefined) {
      return this.#kernel[method] === undefined ? TYPE_OF_OBJECT[op] : undefined;
    }
    const type = words.find((word) => word.startsWith("type="))?.slice("type=".length) ?? "";
    if (!this.#supported(mapTypeNumber(type))) return type;
    if (!this.#hasBtf && words.some((word) => word.startsWith("btf="))) return "btf";
    const inner = words.find((word) => word.startsWith("inner="))?.slice("inner=".length);
    return inner === undefined ? undefined : this.#typeOfHandle.get(inner);
  }

  #missingForOld(words: readonly string[]): string | undefined {
    const [, name = "", ...operands] = words;
    const own = this.#typeOfHandle.get(name);
    if (own !== undefined) return own;
    const names = operands.flatMap((word) => [...word.matchAll(/@([^,=]+)/g)].map((m) => m[1]));
    return names.map((ref) => this.#typeOfHandle.get(ref ?? "")).find((t) => t !== undefined);
  }
}

/** Whether the kernel takes BTF at all. */
export function hasBtf(client: BpfClient): boolean {
  const fd = client.btfLoad(plainBtf(4, 4).blob);
  if (fd >= 0) client.close(fd);
  return fd >= 0;
}

/**
 * Runs every operation of `trace` on `kernel`.
 * @param supported whether the kernel has a map type, by number
 * @param options how the calls are made
 */
export function replayTrace(
  kernel: Kernel,
  trace: Trace,
  supported: (type: number) => boolean,
  options: ClientOptions = {},
): ReplayReport {
  const client = new BpfClient(kernel, options);
  const machine = new TraceMachine(kernel, client);
  const skips = new SkipList(kernel, supported, hasBtf(client));
  const skippedByType = new Map<string, number>();
  const mismatches: Mismatch[] = [];
  let compared = 0;
  let mismatchCount = 0;
  trace.steps.forEach((step, index) => {
    const missing = skips.reason(step);
    if (missing !== undefined) {
      skippedByType.set(missing, (skippedByType.get(missing) ?? 0) + 1);
      return;
    }
    const actual = machine.run(step.words);
    compared += 1;
    if (actual === step.expected) return;
    mismatchCount += 1;
    if (mismatches.length < MISMATCHES_SHOWN) mismatches.push(mismatch(trace, index, step, actual));
  });
  client.release();
  const ops = trace.steps.length;
  return { ops, compared, skipped: ops - compared, skippedByType, mismatchCount, mismatches };
}

/** The report as text: a line of counts, then the first mismatches. */
export function reportText(trace: Trace, report: ReplayReport): string {
  const skipped = [...report.skippedByType].map(([type, count]) => `${type} ${count}`).join(", ");
  const counts =
    `${trace.name}: ${report.ops} ops, ${report.compared} compared, ${report.skipped} skipped` +
    `${skipped === "" ? "" : ` (${skipped})`}, ${report.mismatchCount} mismatches`;
  return [counts, ...report.mismatches.map((m) => m.text)].join("\n");
}

function mismatch(trace: Trace, index: number, step: TraceStep, actual: string): Mismatch {
  const before = trace.steps.slice(Math.max(0, index - OPS_OF_CONTEXT), index);
  const at = firstDifference(step.expected, actual);
  const text = [
    ...before.map((s) => `  ${s.line}: ${clip(s.words.join(" "), 0)} -> ${clip(s.expected, 0)}`),
    `  ${step.line}: ${clip(step.words.join(" "), 0)}`,
    `    recorded ${clip(step.expected, at)}`,
    `    actual   ${clip(actual, at)}`,
  ].join("\n");
  return { line: step.line, text };
}

function firstDifference(a: string, b: string): number {
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  return i;
}

/** A piece of `text` that shows position `at`. */
function clip(text: string, at: number): string {
  const start = at < TEXT_WIDTH / 2 ? 0 : at - TEXT_WIDTH / 2;
  const piece = text.slice(start, start + TEXT_WIDTH);
  return (start > 0 ? "..." : "") + piece + (start + TEXT_WIDTH < text.length ? "..." : "");
}

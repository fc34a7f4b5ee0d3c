// bpfmaps/bpf-compat: the API of the npm package `bpf` on this library. A program written for the kernel's maps runs here
// with its import changed. The functions are synchronous there, so the core is loaded synchronously: without top-level
// await this entry can also be had by `require` where Node can require ES modules.
//
// Differs from `bpf` where that is at fault: values of per-CPU types have their full length, the cursor of batches has
// room for a bucket's number, a batch too small for a hash bucket grows, the enums are complete.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { host } from "./bpf-compat/backend.js";
import { checkOptions } from "./options.js";
import { BpfRuntime } from "./runtime.js";

export * from "./bpf-compat/api.js";

function loadCore(): WebAssembly.Module {
  const file = fileURLToPath(new URL("../build/core.wasm", import.meta.url));
  return new WebAssembly.Module(readFileSync(file));
}

/** The runtime that maps are made on: at first one of this entry's own, with one CPU. */
export let runtime: BpfRuntime = new BpfRuntime(loadCore(), checkOptions({}));
host.use(runtime);

/**
 * Makes another runtime the one that maps are made on, for instance one with more CPUs. Maps that exist stay where they
 * are.
 */
export function useRuntime(other: BpfRuntime): void {
  host.use(other);
  runtime = other;
}

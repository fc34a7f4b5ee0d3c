// The npm package `bpf` and the kernel behind it, where both are at hand.

import { createRequire } from "node:module";
import { release } from "node:os";
import { join } from "node:path";
import type { Bpf } from "./script.js";

/**
 * Loads the package from the directory in BPFMAPS_NPM_BPF (one in which `npm install bpf` was run), else from where this
 * file finds it.
 *
 * @returns the module, or why there is none to compare with
 */
export function loadNpmBpf(): Bpf | string {
  const directory = process.env["BPFMAPS_NPM_BPF"];
  const base = directory === undefined ? import.meta.url : join(directory, "index.js");
  let bpf: Bpf;
  try {
    const loaded: unknown = createRequire(base)("bpf");
    bpf = loaded as Bpf;
  } catch {
    return "npm bpf is not installed (BPFMAPS_NPM_BPF names a directory with it)";
  }
  if (process.getuid?.() !== 0) return "bpf(2) needs root";
  if (!release().startsWith("6.18.")) return `the kernel is ${release()}, not 6.18`;
  try {
    bpf.createMap({ type: bpf.MapType.ARRAY, keySize: 4, valueSize: 4, maxEntries: 1 }).close();
  } catch (error) {
    return `bpf(2) does not answer: ${String(error)}`;
  }
  return bpf;
}

// Compiles C to an eBPF object where clang is installed.
import { spawnSync } from "node:child_process";
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Compiles a C file for eBPF.
 * @returns the object, or a string with the reason why there is none
 */
export function compileForBpf(source: string): Uint8Array | string {
  const directory = mkdtempSync(join(tmpdir(), "bpfmaps-clang-"));
  try {
    const output = join(directory, "out.o");
    const args = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-c", source, "-o", output];
    const { status, error, stderr } = spawnSync("clang", args, { encoding: "utf8" });
    if (error !== undefined) return "clang is not installed";
    if (status === 0) return readFileSync(output);
    if (stderr.includes("bpf") && stderr.includes("target")) return "clang without a bpf target";
    throw new Error(stderr);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

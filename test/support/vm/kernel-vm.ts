// The running kernel as an eBPF machine: programs go through its verifier and are run by
// BPF_PROG_TEST_RUN (prog-run.c, compiled on the spot). Nothing is attached to anything.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A program and its context. */
export interface KernelProgram {
  readonly insns: Uint8Array;
  readonly context: Uint8Array;
}

/** What came of it: an error with the end of the verifier's log, or retval and the context. */
export interface KernelResult {
  readonly error: number;
  readonly log: string;
  readonly retval: number;
  readonly context: Uint8Array;
}

const LOG_SIZE = 512;

/**
 * Runs each program once.
 * @returns the results, or a string with the reason why there is no kernel to ask
 */
export function runInKernel(programs: readonly KernelProgram[]): KernelResult[] | string {
  const directory = mkdtempSync(join(tmpdir(), "bpfmaps-prog-run-"));
  try {
    const binary = join(directory, "prog-run");
    const source = fileURLToPath(new URL("prog-run.c", import.meta.url));
    try {
      execFileSync("cc", ["-O1", "-o", binary, source], { stdio: "pipe" });
    } catch {
      return "no C compiler with linux/bpf.h";
    }
    const { status, stdout } = spawnSync(binary, {
      input: request(programs),
      maxBuffer: 64 << 20,
    });
    if (status !== 0) return "prog-run failed";
    const results = parse(stdout, programs);
    const refused = results.every(({ error }) => error === -1 || error === -38);
    return refused ? "no permission to load programs" : results;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function request(programs: readonly KernelProgram[]): Buffer {
  const pieces = programs.flatMap(({ insns, context }) => [
    new Uint8Array(Uint32Array.of(insns.length / 8, context.length).buffer),
    insns,
    context,
  ]);
  return Buffer.concat(pieces);
}

function parse(output: Buffer, programs: readonly KernelProgram[]): KernelResult[] {
  let at = 0;
  return programs.map((program) => {
    const error = output.readInt32LE(at);
    const retval = output.readUInt32LE(at + 4);
    at += 8;
    const context = output.subarray(at, (at += program.context.length));
    const log = error === 0 ? "" : output.subarray(at, (at += LOG_SIZE)).toString();
    return { error, retval, context, log: log.replace(/\0.*/s, "") };
  });
}

#!/usr/bin/env node
/** The `bpfmaps` command. Exit codes: 0 done, 1 bad input, 2 bad usage. */

import { readFileSync } from "node:fs";

import { runFlows } from "./cli/flows.js";
import { UsageError } from "./cli/usage.js";

const help = `Usage: bpfmaps COMMAND [options]

Commands:
  flows [FILE | -]   packets and bytes per source address of a capture, in a BPF map

  --help             this text, or a command's: bpfmaps flows --help
  --version          the version
`;

const commands = new Map([["flows", runFlows]]);

async function run(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h") {
    process.stdout.write(help);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version") {
    process.stdout.write(`${readVersion()}\n`);
    return 0;
  }
  const command = commands.get(name);
  if (command === undefined) throw new UsageError(`there is no command "${name}"`);
  return command(rest);
}

function readVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  const manifest: unknown = JSON.parse(text);
  if (typeof manifest !== "object" || manifest === null || !("version" in manifest)) return "?";
  return String(manifest.version);
}

/** Whether node:util's parseArgs threw this: an unknown option, a missing value and the like. */
function isParseArgsError(error: unknown): error is Error {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return String(error.code).startsWith("ERR_PARSE_ARGS");
}

// `bpfmaps flows | head` is no error: whoever reads has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError) && !isParseArgsError(error)) throw error;
  const [line] = error.message.split("\n"); // parseArgs explains itself at length
  process.stderr.write(`bpfmaps: ${line} (see bpfmaps --help)\n`);
  process.exitCode = 2;
}

// What the command lines of all programs here have in common: `--help`, and the usage with what is wrong.

import { parseArgs } from "node:util";

/** @param {string} usage @param {string} [problem] what is wrong; without it the usage is what was asked for @returns {never} */
export function exitWithUsage(usage, problem) {
  if (problem === undefined) {
    console.log(usage);
    process.exit(0);
  }
  console.error(`${problem}\n${usage}`);
  process.exit(2);
}

/**
 * parseArgs with `--help`; a wrong option prints the usage.
 * @template {import("node:util").ParseArgsConfig} C
 * @param {C} config
 * @param {string} usage
 * @returns {ReturnType<typeof parseArgs<C>>}
 */
export function parseCommandLine(config, usage) {
  if (process.argv.includes("--help")) exitWithUsage(usage);
  try {
    return parseArgs(config);
  } catch (error) {
    return exitWithUsage(usage, error instanceof Error ? error.message : String(error));
  }
}

/** The one argument of a program that reads a folder. @param {string} usage */
export function folderArgument(usage) {
  const { positionals } = parseCommandLine({ allowPositionals: true }, usage);
  const [folder] = positionals;
  if (folder === undefined || positionals.length > 1) exitWithUsage(usage, "expected one folder");
  return folder;
}

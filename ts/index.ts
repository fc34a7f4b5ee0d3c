// The Node entry.

import { readFile } from "node:fs/promises";
import { fetchModule, loadRuntime, NO_CORE_HINT } from "./load.js";
import type { RuntimeOptions } from "./options.js";
import type { BpfRuntime } from "./runtime.js";

export * from "./api.js";

/** Node's fetch knows no files. */
async function loadFrom(address: URL | string): Promise<WebAssembly.Module> {
  if (!String(address).startsWith("file:")) return fetchModule(address);
  try {
    return await WebAssembly.compile(await readFile(new URL(address)));
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause)) throw cause;
    const from = `cannot load the core from ${String(address)}`;
    throw new Error(`${from}: ${String(cause.code)}; ${NO_CORE_HINT}`, { cause });
  }
}

/**
 * Makes a runtime.
 *
 * @throws {TypeError} an option of a wrong type
 * @throws {RangeError} an option outside its range
 * @throws {BpfError} ENOMEM: no room for the core's own state; ENODEV: the runtime to attach to has ended
 */
export async function createRuntime(options: RuntimeOptions = {}): Promise<BpfRuntime> {
  return loadRuntime(options, loadFrom);
}

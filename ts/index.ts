// The Node entry.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { loadRuntime } from "./load.js";
import type { RuntimeOptions } from "./options.js";
import type { BpfRuntime } from "./runtime.js";

export * from "./api.js";

async function readCore(shared: boolean): Promise<WebAssembly.Module> {
  const file = shared ? "../build/core.shared.wasm" : "../build/core.wasm";
  return WebAssembly.compile(await readFile(fileURLToPath(new URL(file, import.meta.url))));
}

/**
 * Makes a runtime.
 *
 * @throws {TypeError} an option of a wrong type
 * @throws {RangeError} an option outside its range
 * @throws {BpfError} ENOMEM: no room for the core's own state; ENODEV: the runtime to attach to has ended
 */
export async function createRuntime(options: RuntimeOptions = {}): Promise<BpfRuntime> {
  return loadRuntime(options, readCore);
}

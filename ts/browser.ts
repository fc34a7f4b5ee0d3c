// The entry for browsers and workers.

import { loadRuntime } from "./load.js";
import type { RuntimeOptions } from "./options.js";
import type { BpfRuntime } from "./runtime.js";

export * from "./api.js";

async function coreUrl(shared: boolean): Promise<URL> {
  // Literal paths: bundlers find the files by them.
  return shared
    ? new URL("../build/core.shared.wasm", import.meta.url)
    : new URL("../build/core.wasm", import.meta.url);
}

/** Makes a runtime; as in the Node entry, with the core fetched by its address unless the option `core` gives it. */
export async function createRuntime(options: RuntimeOptions = {}): Promise<BpfRuntime> {
  return loadRuntime(options, coreUrl);
}

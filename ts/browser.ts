// The entry for browsers and workers.

import { loadRuntime } from "./load.js";
import type { RuntimeOptions } from "./options.js";
import type { BpfRuntime } from "./runtime.js";

export * from "./api.js";

/** Makes a runtime; as in the Node entry, with the core fetched by its address unless the option `core` gives it. */
export async function createRuntime(options: RuntimeOptions = {}): Promise<BpfRuntime> {
  return loadRuntime(options);
}

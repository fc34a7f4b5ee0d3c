// The public surface: exports only.

export { BpfError, errnoName } from "./errors.js";
export type { Arena, RuntimeOptions } from "./options.js";
export { BpfRuntime } from "./runtime.js";

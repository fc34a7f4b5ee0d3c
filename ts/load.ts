import { checkOptions } from "./options.js";
import type { RuntimeOptions } from "./options.js";
import { isArrayBuffer, isModule } from "./realm.js";
import { BpfRuntime } from "./runtime.js";

/** What to do where the core is not. */
export const NO_CORE_HINT = "a bundle has to bring it along, or give it with the option core";

/** Compiles what the option `core` gives. */
async function compile(
  core: NonNullable<RuntimeOptions["core"]>,
  loadFrom: typeof fetchModule,
): Promise<WebAssembly.Module> {
  if (typeof core === "string" || core instanceof URL) return loadFrom(core);
  if (isArrayBuffer(core) || ArrayBuffer.isView(core))
    return WebAssembly.compile(core as BufferSource);
  if (isModule(core)) return core;
  throw new TypeError("core: expected bytes, a WebAssembly.Module or a URL");
}

export async function fetchModule(url: URL | string): Promise<WebAssembly.Module> {
  const response = await fetch(url);
  if (!response.ok) {
    const from = `cannot load the core from ${String(url)}`;
    throw new Error(`${from}: HTTP ${response.status}; ${NO_CORE_HINT}`);
  }
  // Servers that do not know application/wasm are common.
  return WebAssembly.compile(await response.arrayBuffer());
}

/** The package's own core. Literal paths: bundlers find the files by them. */
function coreUrl(shared: boolean): URL {
  return shared
    ? new URL("../build/core.shared.wasm", import.meta.url)
    : new URL("../build/core.wasm", import.meta.url);
}

/** @param loadFrom how a core is loaded from an address */
export async function loadRuntime(
  options: RuntimeOptions,
  loadFrom = fetchModule,
): Promise<BpfRuntime> {
  const checked = checkOptions(options);
  const { attach, shared = false, core = attach?.module ?? coreUrl(shared) } = options;
  return new BpfRuntime(await compile(core, loadFrom), checked);
}

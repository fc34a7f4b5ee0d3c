import { checkOptions } from "./options.js";
import type { RuntimeOptions } from "./options.js";
import { isArrayBuffer, isModule } from "./realm.js";
import { BpfRuntime } from "./runtime.js";

/** Compiles what the option `core` gives. */
async function compile(core: NonNullable<RuntimeOptions["core"]>): Promise<WebAssembly.Module> {
  if (typeof core === "string" || core instanceof URL) return fetchModule(core);
  if (isArrayBuffer(core) || ArrayBuffer.isView(core))
    return WebAssembly.compile(core as BufferSource);
  if (isModule(core)) return core;
  throw new TypeError("core: expected bytes, a WebAssembly.Module or a URL");
}

async function fetchModule(url: URL | string): Promise<WebAssembly.Module> {
  const response = await fetch(url);
  if (!response.ok)
    throw new Error(`cannot load the core from ${String(url)}: HTTP ${response.status}`);
  // Servers that do not know application/wasm are common.
  return WebAssembly.compile(await response.arrayBuffer());
}

/** @param defaultCore where the package's own core is, for `shared` or not */
export async function loadRuntime(
  options: RuntimeOptions,
  defaultCore: (shared: boolean) => Promise<WebAssembly.Module | URL>,
): Promise<BpfRuntime> {
  const checked = checkOptions(options);
  const { attach, shared = false, core = attach?.module ?? (await defaultCore(shared)) } = options;
  return new BpfRuntime(await compile(core), checked);
}

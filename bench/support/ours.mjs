// The library under test as users get it: dist/index.js over build/core.wasm. `npm run build` makes both.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** @typedef {typeof import("../../ts/index.js")} Library */
/** @typedef {import("../../ts/index.js").BpfRuntime} BpfRuntime */

/** @param {string} path relative to the repository */
export function repositoryFile(path) {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

/** @returns {Promise<Library>} */
export async function loadLibrary() {
  if (
    !existsSync(repositoryFile("dist/index.js")) ||
    !existsSync(repositoryFile("build/core.wasm"))
  ) {
    console.error("dist/ or build/core.wasm is missing: run `npm run build` first");
    process.exit(2);
  }
  return import(new URL("../../dist/index.js", import.meta.url).href);
}

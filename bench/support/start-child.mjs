// node start-child.mjs: prints the milliseconds from the core's bytes to a runtime.

import { readFileSync } from "node:fs";
import { loadLibrary, repositoryFile } from "./ours.mjs";

const { createRuntime } = await loadLibrary();
const core = readFileSync(repositoryFile("build/core.wasm"));
const start = performance.now();
const rt = await createRuntime({ core });
console.log(performance.now() - start);
rt.dispose();

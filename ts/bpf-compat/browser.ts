// bpfmaps/bpf-compat for browsers and workers.

import { createRuntime } from "../browser.js";
import type { BpfRuntime } from "../runtime.js";
import { host } from "./backend.js";

export * from "./api.js";

/** The runtime that maps are made on. */
export let runtime: BpfRuntime = await createRuntime();
host.use(runtime);

/** Makes another runtime the one that maps are made on; maps that exist stay where they are. */
export function useRuntime(other: BpfRuntime): void {
  host.use(other);
  runtime = other;
}

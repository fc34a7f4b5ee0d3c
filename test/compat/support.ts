// Runs tests of bpfmaps/bpf-compat on each build of the core.

import { afterEach, beforeEach } from "vitest";
import * as bpf from "../../ts/bpf-compat.js";
import { type Build, describeEachBuild, type RuntimeOptions } from "../support/builds.js";

const packageRuntime = bpf.runtime;

/** Declares a suite once per build; each test has a runtime of its own, the module's current one. */
export function describeCompat(
  name: string,
  options: RuntimeOptions,
  body: (build: Build) => void,
): void {
  describeEachBuild(name, (build) => {
    beforeEach(async () => bpf.useRuntime(await build.createRuntime(options)));
    afterEach(() => {
      bpf.runtime.dispose();
      bpf.useRuntime(packageRuntime);
    });
    body(build);
  });
}

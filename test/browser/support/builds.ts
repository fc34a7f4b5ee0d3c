// Stands in for test/support/builds.ts in the browser: the package's own cores, fetched by their addresses.

import { createRuntime } from "../../../ts/browser.js";
import { describe } from "./vitest.js";

type RuntimeOptions = NonNullable<Parameters<typeof createRuntime>[0]>;
type Runtime = Awaited<ReturnType<typeof createRuntime>>;

class Build {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  async createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
    return createRuntime({ ...options, shared: this.name === "shared" });
  }
}

export function describeEachBuild(name: string, body: (build: Build) => void): void {
  for (const build of ["plain", "shared"]) {
    describe(`${name} [${build}]`, () => body(new Build(build)));
  }
}

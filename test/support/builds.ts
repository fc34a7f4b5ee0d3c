// The three builds of the core, and a `describe` that runs its tests on each of them: semantics
// must not depend on how the core was compiled.

import { readFileSync } from "node:fs";
import { describe } from "vitest";
import { createRuntime } from "../../ts/index.js";

/** What a test may choose about a runtime; the core is the build's. */
export type RuntimeOptions = Omit<
  NonNullable<Parameters<typeof createRuntime>[0]>,
  "core" | "shared"
>;

export type Runtime = Awaited<ReturnType<typeof createRuntime>>;

export type BuildName = "release" | "shared" | "debug";

/** One compiled form of the core. */
export class Build {
  readonly name: BuildName;
  readonly #file: URL;
  #core: WebAssembly.Module | undefined;

  constructor(name: BuildName, file: string) {
    this.name = name;
    this.#file = new URL(`../../build/${file}`, import.meta.url);
  }

  /** The compiled core; compiled once, since a test file makes many runtimes of it. */
  get core(): WebAssembly.Module {
    this.#core ??= new WebAssembly.Module(readFileSync(this.#file));
    return this.#core;
  }

  /** The package's createRuntime on this build. A memory of its own begins small, so that tests meet its growth. */
  async createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
    if (options.attach !== undefined) return createRuntime(options);
    const small = options.memory === undefined ? { minBytes: 4 * 65536 } : {};
    return createRuntime({ ...small, ...options, core: this.core, shared: this.name === "shared" });
  }
}

export const BUILDS: readonly Build[] = [
  new Build("release", "core.wasm"),
  new Build("shared", "core.shared.wasm"),
  new Build("debug", "core.debug.wasm"),
];

/** Declares a suite once per build. */
export function describeEachBuild(name: string, body: (build: Build) => void): void {
  for (const build of BUILDS) describe(`${name} [${build.name}]`, () => body(build));
}

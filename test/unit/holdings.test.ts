// What the collector does with the holdings of a forgotten map, when giving them back fails.

import { afterEach, expect, it, vi } from "vitest";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

type GiveBack = (held: unknown) => void;

/** The callbacks of the registries that a module makes. */
function catchRegistries(): GiveBack[] {
  const callbacks: GiveBack[] = [];
  const Registry = function (callback: GiveBack): void {
    callbacks.push(callback);
  };
  vi.stubGlobal("FinalizationRegistry", Registry);
  vi.resetModules();
  return callbacks;
}

const fail = (): never => {
  throw new Error("the host's free");
};

it("an error in giving back does not end the process", async () => {
  const callbacks = catchRegistries();
  await import("../../ts/holdings.js");
  expect(callbacks.length).toBe(1);
  expect(() => callbacks[0]?.(fail)).not.toThrow();
});

it("nor does one in the maps of bpf-compat", async () => {
  const callbacks = catchRegistries();
  const { Backend } = await import("../../ts/bpf-compat/backend.js");
  const backend = new Backend({ views: {} } as never);
  expect(backend).toBeDefined();
  expect(() => callbacks.at(-1)?.({ release: fail })).not.toThrow();
});

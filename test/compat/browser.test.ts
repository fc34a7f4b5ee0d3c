// The entry for browsers: it fetches the core, and does without Node's Buffer.

import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

beforeEach(() => {
  vi.resetModules();
  vi.stubGlobal("fetch", async (url: URL) => new Response(readFileSync(url)));
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

test("maps work on Uint8Array", async () => {
  const bpf = await import("../../ts/bpf-compat/browser.js");
  vi.stubGlobal("Buffer", undefined);
  expect(bpf.runtime.cpus).toBe(1);
  const ref = bpf.createMap({ type: bpf.MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 10 });
  const map = new bpf.ConvMap(ref, bpf.u32type, bpf.u32type);
  map.set(1, 2).setBatch([[3, 4]]);
  expect([...map].toSorted(([a], [b]) => a - b)).toEqual([
    [1, 2],
    [3, 4],
  ]);
  const raw = new bpf.RawMap(ref);
  const value: unknown = raw.get(Uint8Array.of(1, 0, 0, 0));
  expect(value).toEqual(Uint8Array.of(2, 0, 0, 0));
  expect([...raw.getBatch(1)].flat()).toHaveLength(2);
  expect(() => raw.get(new Uint8Array(3))).toThrow("expected 4 bytes");
});

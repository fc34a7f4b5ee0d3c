// Random operations on LPM tries against the model: every answer, the order of the walk, and on the debug build the
// invariants after each step.

import fc from "fast-check";
import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { type Build, type BuildName, describeEachBuild } from "../support/builds.js";
import { LpmMap, LpmModel, keyOf, prefixOf, prefixText, type Prefix } from "../support/lpm.js";

const DATA_SIZES = [1, 2, 4, 5, 16, 32];
const MAX_ENTRIES = 24;
const RUNS: Readonly<Record<BuildName, number>> = { release: 120, shared: 60, debug: 120 };

type Step =
  | { readonly op: "update"; readonly key: Prefix; readonly value: number; readonly flags: number }
  | { readonly op: "delete" | "lookup" | "next"; readonly key: Prefix };

/** Few different bytes, so that prefixes meet; all lengths, one too many included. */
function anyPrefix(dataSize: number): fc.Arbitrary<Prefix> {
  const byte = fc.oneof(
    { weight: 4, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.constantFrom(1, 0x40, 0x80, 0xc0, 0xfe, 0xff) },
    { weight: 1, arbitrary: fc.nat(255) },
  );
  const bits = dataSize * 8;
  const length = fc.oneof(
    { weight: 4, arbitrary: fc.nat(bits) },
    { weight: 3, arbitrary: fc.nat(dataSize).map((bytes) => bytes * 8) },
    { weight: 2, arbitrary: fc.nat(Math.min(9, bits)) },
    { weight: 2, arbitrary: fc.constant(bits) },
    { weight: 1, arbitrary: fc.constantFrom(bits + 1, 0xffffffff) },
  );
  return fc.record({
    length,
    data: fc
      .array(byte, { minLength: dataSize, maxLength: dataSize })
      .map((b) => Uint8Array.from(b)),
  });
}

function anyStep(dataSize: number): fc.Arbitrary<Step> {
  const key = anyPrefix(dataSize);
  return fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        op: fc.constant("update" as const),
        key,
        value: fc.nat(0xffffffff),
        flags: fc.oneof(
          { weight: 5, arbitrary: fc.constant(0) },
          { weight: 2, arbitrary: fc.nat(4) },
        ),
      }),
    },
    {
      weight: 7,
      arbitrary: fc.record({
        op: fc.constantFrom(
          "delete" as const,
          "delete" as const,
          "lookup" as const,
          "next" as const,
        ),
        key,
      }),
    },
  );
}

function sameKey(actual: Prefix | undefined, expected: Prefix | undefined): void {
  expect(actual && prefixText(actual)).toBe(expected && prefixText(expected));
}

function apply(map: LpmMap, model: LpmModel, step: Step): void {
  const { key } = step;
  if (step.op === "update") {
    // BPF_F_LOCK (4) is refused before the map is asked: there is no lock in the value.
    const expected =
      step.flags === uapi.BPF_F_LOCK ? -uapi.EINVAL : model.update(key, step.value, step.flags);
    expect(map.update(key, step.value, step.flags)).toBe(expected);
  } else if (step.op === "delete") {
    expect(map.delete(key)).toBe(model.delete(key));
  } else if (step.op === "lookup") {
    expect(map.lookup(key)).toBe(model.lookup(key)?.value ?? -uapi.ENOENT);
  } else {
    sameKey(map.next(key), model.next(key));
  }
}

/** The whole contents, by key, by batches, and by the cursor of the typed API. */
function compareContents(map: LpmMap, model: LpmModel): void {
  const expected = model.entries.map(prefixText);
  expect(map.keys().map(prefixText)).toEqual(expected);
  for (const entry of model.entries) expect(map.lookup(entry)).toBe(model.lookup(entry)?.value);
  const { keySize } = map;
  const batch = map.client.lookupBatch({
    fd: map.fd,
    keySize,
    valueSize: 4,
    tokenSize: keySize,
    token: null,
    count: MAX_ENTRIES + 1,
  });
  expect(batch.ret).toBe(-uapi.ENOENT);
  expect(batch.count).toBe(expected.length);
  const keys = Array.from({ length: batch.count }, (_, i) =>
    prefixText(prefixOf(batch.keys.slice(i * keySize, (i + 1) * keySize))),
  );
  expect(keys).toEqual(expected);
}

describeEachBuild("LPM_TRIE", (build: Build) => {
  for (const dataSize of DATA_SIZES) {
    it(`answers as a list of prefixes does, ${dataSize} bytes of data`, async () => {
      const runtime = await build.createRuntime();
      const steps = fc.array(anyStep(dataSize), { minLength: 1, maxLength: 120, size: "max" });
      fc.assert(
        fc.property(steps, (list) => {
          const map = new LpmMap(runtime, dataSize, MAX_ENTRIES);
          const model = new LpmModel(MAX_ENTRIES);
          for (const step of list) {
            apply(map, model, step);
            expect(map.check(), JSON.stringify(step)).toBe(0);
          }
          compareContents(map, model);
          for (const entry of model.entries) expect(map.delete(entry)).toBe(0);
          expect(map.next(null)).toBeUndefined();
          expect(map.check()).toBe(0);
          map.close();
        }),
        { numRuns: RUNS[build.name] },
      );
      runtime.dispose();
    });

    it(`walks on past deleted keys by the cursor's way, ${dataSize} bytes of data`, async () => {
      const runtime = await build.createRuntime();
      const keys = fc.array(anyPrefix(dataSize), {
        minLength: 1,
        maxLength: MAX_ENTRIES,
        size: "max",
      });
      fc.assert(
        fc.property(keys, fc.nat(), (list, seed) => {
          const map = new LpmMap(runtime, dataSize, MAX_ENTRIES);
          const model = new LpmModel(MAX_ENTRIES);
          for (const key of list) expect(map.update(key, 7)).toBe(model.update(key, 7, 0));
          const iter = runtime.alloc(16 + map.keySize);
          const bytes = new Uint8Array(runtime.memory.buffer, iter, 16 + map.keySize);
          bytes.fill(0);
          const expected = model.entries.map(prefixText);
          const found: string[] = [];
          while (runtime.exports.map_iter_next(map.handle, iter, iter + 16) !== 0) {
            const key = prefixOf(bytes.slice(16));
            found.push(prefixText(key));
            if ((seed >> (found.length & 15)) & 1) expect(map.delete(key)).toBe(0);
          }
          expect(found).toEqual(expected);
          runtime.free(iter);
          map.close();
        }),
        { numRuns: RUNS[build.name] },
      );
      runtime.dispose();
    });
  }

  it("has keys of the layout the kernel wants", () => {
    expect([...keyOf({ length: 9, data: Uint8Array.of(10, 128) })]).toEqual([9, 0, 0, 0, 10, 128]);
  });
});

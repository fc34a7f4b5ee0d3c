// The verbs of typed LPM tries that take many prefixes or addresses at once, against the model of test/support/lpm.ts.

import fc from "fast-check";
import { expect, test } from "vitest";
import { bytes, lpmKey, u32, u64 } from "../../ts/index.js";
import type { Codec, LpmKey, LpmTrie } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";
import { LpmModel, keyOf, type Prefix } from "../support/lpm.js";

const MAX_ENTRIES = 16;

type Trie = LpmTrie<LpmKey<Uint8Array>, LpmKey<Uint8Array>, unknown, never>;

/** Few different bytes, so that prefixes meet. */
const anyByte = fc.constantFrom(0, 0, 0, 1, 0x80, 0xc0, 0xff);

function anyData(dataSize: number): fc.Arbitrary<Uint8Array> {
  return fc
    .array(anyByte, { minLength: dataSize, maxLength: dataSize })
    .map((list) => Uint8Array.from(list));
}

function anyPrefix(dataSize: number): fc.Arbitrary<Prefix> {
  return fc.record({ length: fc.nat(dataSize * 8), data: anyData(dataSize) });
}

interface Step {
  readonly verb: "updateBatch" | "setMany" | "deleteBatch" | "deleteMany";
  readonly keys: readonly Prefix[];
  readonly value: number;
}

function anyStep(dataSize: number): fc.Arbitrary<Step> {
  return fc.record({
    verb: fc.constantFrom("updateBatch", "setMany", "deleteBatch", "deleteMany"),
    keys: fc.array(anyPrefix(dataSize), { maxLength: 10 }),
    value: fc.nat(0xffff),
  });
}

const lpmKeyOf = ({ length, data }: Prefix): LpmKey<Uint8Array> => ({ prefixlen: length, data });

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Values are words, or pairs of them. */
interface Values {
  readonly codec: Codec<unknown, never>;
  readonly size: number;
  readonly of: (n: number) => never;
}

const VALUES: readonly Values[] = [
  { codec: u32, size: 4, of: (n) => n as never },
  { codec: u64, size: 8, of: (n) => BigInt(n) as never },
];

/** One step on both; a batch ends at the first error. */
function apply(trie: Trie, model: LpmModel, values: Values, { verb, keys, value }: Step): void {
  const isUpdate = verb === "updateBatch" || verb === "setMany";
  let refusal = "none";
  let done = 0;
  for (const key of keys) {
    const ret = isUpdate ? model.update(key, value, 0) : model.delete(key);
    if (ret === 0) done++;
    else if (verb !== "deleteMany") {
      refusal = isUpdate ? "ENOSPC" : "ENOENT";
      break;
    }
  }
  const encoded = joined(keys.map(keyOf));
  if (verb === "deleteMany") {
    expect(trie.deleteMany(encoded)).toBe(done);
    return;
  }
  const run = {
    updateBatch: () => trie.updateBatch(keys.map((key) => [lpmKeyOf(key), values.of(value)])),
    setMany: () =>
      trie.setMany(
        encoded,
        valueBytes(
          values,
          keys.map(() => value),
        ),
      ),
    deleteBatch: () => trie.deleteBatch(keys.map(lpmKeyOf)),
  }[verb];
  expect(codeOf(run)).toBe(refusal);
}

function valueBytes({ size }: Values, list: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(list.length * size));
  for (const [i, n] of list.entries()) view.setUint32(i * size, n, true);
  return new Uint8Array(view.buffer);
}

/** Matches addresses every way there is. */
function compareMatches(trie: Trie, model: LpmModel, values: Values, list: Uint8Array[]): void {
  const matches = list.map((data) => model.lookup({ length: data.length * 8, data })?.value);
  const hits = matches.filter((value) => value !== undefined).length;
  const expected = [
    hits,
    valueBytes(
      values,
      matches.map((value) => value ?? 0),
    ),
    Uint8Array.from(matches, (value) => Number(value !== undefined)),
  ];
  const ask = (verb: (out: Uint8Array, found: Uint8Array) => number): unknown[] => {
    const out = new Uint8Array(list.length * values.size).fill(9);
    const found = new Uint8Array(list.length).fill(9);
    return [verb(out, found), out, found];
  };
  expect(ask((out, found) => trie.matchMany(joined(list), out, found))).toEqual(expected);
  const keys = joined(list.map((data) => keyOf({ length: data.length * 8, data })));
  expect(ask((out, found) => trie.getMany(keys, out, found))).toEqual(expected);
  if (trie.keySize !== 8) return;
  const numbers = Uint32Array.from(list, (data) => new DataView(data.buffer).getUint32(0));
  expect(ask((out, found) => trie.matchManyU32(numbers, out, found))).toEqual(expected);
}

/** Everything in batches of a size. */
function compareBatches(trie: Trie, model: LpmModel, size: number): void {
  const expected = model.entries.map((entry) => [lpmKeyOf(entry), entry.value]);
  const cursor = trie.batchCursor();
  const looked: unknown[] = [];
  while (!cursor.done) looked.push(...trie.lookupBatch(cursor, size));
  const walked: unknown[] = [];
  for (const { keys, values, count } of trie.batches(size)) {
    expect([keys.length, values.length]).toEqual([count, count]);
    walked.push(...keys.map((key, i) => [key, values[i]]));
  }
  const asNumbers = (list: unknown[]): unknown[] =>
    (list as [unknown, unknown][]).map(([key, value]) => [key, Number(value)]);
  expect(asNumbers(looked)).toEqual(expected);
  expect(asNumbers(walked)).toEqual(expected);
}

describeEachBuild("many prefixes and addresses at once", (build) => {
  for (const dataSize of [1, 4, 16]) {
    for (const values of VALUES) {
      test(`${dataSize} bytes of data, ${values.size} of value`, async () => {
        using rt = await build.createRuntime();
        const parts = fc.tuple(
          fc.array(anyStep(dataSize), { maxLength: 12 }),
          fc.array(anyData(dataSize), { minLength: 1, maxLength: 12 }),
          fc.integer({ min: 1, max: MAX_ENTRIES + 1 }),
        );
        fc.assert(
          fc.property(parts, ([steps, addresses, size]) => {
            const key = lpmKey(bytes(dataSize));
            using map = rt.createMap({
              type: "lpm_trie",
              key,
              value: values.codec,
              maxEntries: MAX_ENTRIES,
            });
            const trie = map as unknown as Trie;
            const model = new LpmModel(MAX_ENTRIES);
            for (const step of steps) apply(trie, model, values, step);
            expect(trie.size).toBe(model.entries.length);
            compareBatches(trie, model, size);
            compareMatches(trie, model, values, addresses);
          }),
          { numRuns: 40 },
        );
      });
    }
  }
});

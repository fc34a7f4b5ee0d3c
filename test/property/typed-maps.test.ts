// Typed maps against JavaScript's Map: random sequences of every verb.

import fc from "fast-check";
import { expect, test } from "vitest";
import { BPF_EXIST, BPF_NOEXIST, bytes, struct, u16, u32, u64 } from "../../ts/index.js";
import type { Codec, HashMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

/** Keys are numbers below 12 in some dress; values are numbers below 2^16 in another. */
interface Dress<T> {
  readonly codec: Codec<T>;
  readonly on: (n: number) => T;
}

function dress<T>(codec: Codec<T>, on: (n: number) => T): Dress<never> {
  return { codec, on } as unknown as Dress<never>;
}

const Pair = struct({ low: u16, pad: u64, high: u32 });
const KEYS = [
  dress(u32, (n) => n),
  dress(u64, (n) => BigInt(n) << 40n),
  dress(bytes(16), (n) => new Uint8Array(16).fill(n)),
  dress(bytes(5), (n) => new Uint8Array(5).fill(n)),
  dress<unknown>(Pair as Codec<unknown>, (n) => ({ low: n, pad: 1n, high: n >> 2 })),
];
const VALUES = [
  dress(u32, (n) => n),
  dress(u64.asNumber, (n) => n * 2 ** 30),
  dress(u64, BigInt),
  dress<unknown>(Pair as Codec<unknown>, (n) => ({ low: n, pad: BigInt(n), high: n })),
  dress(bytes(3), (n) => Uint8Array.of(n, n >> 8, 1)),
];

const MAX_ENTRIES = 8;

const key = fc.nat(11);
const value = fc.nat(65535);
const step = fc.oneof(
  fc.record({ verb: fc.constant("set" as const), key, value }),
  fc.record({ verb: fc.constant("insert" as const), key, value }),
  fc.record({ verb: fc.constant("replace" as const), key, value }),
  fc.record({ verb: fc.constantFrom("get", "peek", "lookup", "has"), key }),
  fc.record({ verb: fc.constantFrom("delete", "take"), key }),
  fc.record({ verb: fc.constantFrom("updateBatch", "deleteBatch"), keys: fc.array(key), value }),
  fc.record({
    verb: fc.constantFrom("list", "batch", "batches", "next"),
    count: fc.integer({ min: 1, max: 9 }),
  }),
  fc.record({ verb: fc.constantFrom("grow", "clear"), odds: fc.nat(9) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The map, its model, and what both are asked. */
class Pairing {
  readonly map: HashMap<never>;
  readonly model = new Map<number, number>();
  readonly #key: (n: number) => never;
  readonly #value: (n: number) => never;
  readonly #grow: () => void;

  constructor(map: unknown, keys: Dress<never>, values: Dress<never>, grow: () => void) {
    this.map = map as HashMap<never>;
    this.#key = keys.on;
    this.#value = values.on;
    this.#grow = grow;
  }

  #expected(n: number): unknown {
    const found = this.model.get(n);
    return found === undefined ? undefined : this.#value(found);
  }

  /** The error of an update, by the model. */
  #refusal(n: number, mustBe: "present" | "absent" | "any"): string {
    const has = this.model.has(n);
    if (mustBe === "absent" && has) return "EEXIST";
    if (mustBe === "present" && !has) return "ENOENT";
    return !has && this.model.size === MAX_ENTRIES ? "E2BIG" : "none";
  }

  #update(n: number, v: number, mustBe: "present" | "absent" | "any", run: () => unknown): void {
    const refusal = this.#refusal(n, mustBe);
    expect(codeOf(run)).toBe(refusal);
    if (refusal === "none") this.model.set(n, v);
  }

  run(s: Step): void {
    const { map } = this;
    if ("keys" in s) return this.#batch(s.verb === "updateBatch", s.keys, s.value);
    if ("count" in s) return this.#walk(s.verb, s.count);
    if ("odds" in s) return s.odds === 0 ? this.#rare(s.verb) : undefined;
    const k = this.#key(s.key);
    if ("value" in s) {
      const v = this.#value(s.value);
      if (s.verb === "set") this.#update(s.key, s.value, "any", () => map.set(k, v));
      else if (s.verb === "insert") {
        this.#update(s.key, s.value, "absent", () => map.update(k, v, BPF_NOEXIST));
      } else this.#update(s.key, s.value, "present", () => map.update(k, v, BPF_EXIST));
      return;
    }
    const expected = this.#expected(s.key);
    if (s.verb === "has") expect(map.has(k)).toBe(this.model.has(s.key));
    else if (s.verb === "delete") expect(map.delete(k)).toBe(this.model.delete(s.key));
    else if (s.verb === "take") {
      expect(map.lookupAndDelete(k)).toEqual(expected);
      this.model.delete(s.key);
    } else expect(map[s.verb](k)).toEqual(expected);
    expect(map.size).toBe(this.model.size);
    return undefined;
  }

  #batch(isUpdate: boolean, keys: number[], v: number): void {
    const { map, model } = this;
    let refusal = "none";
    for (const n of keys) {
      refusal = isUpdate ? this.#refusal(n, "any") : model.has(n) ? "none" : "ENOENT";
      if (refusal !== "none") break;
      if (isUpdate) model.set(n, v);
      else model.delete(n);
    }
    const dressed = keys.map((n) => this.#key(n));
    const entries = dressed.map((k) => [k, this.#value(v)] as const);
    const run = isUpdate ? () => map.updateBatch(entries) : () => map.deleteBatch(dressed);
    expect(codeOf(run)).toBe(refusal);
  }

  #walk(verb: string, count: number): void {
    const { map, model } = this;
    const expected = [...model].map(([n, v]) => [this.#key(n), this.#value(v)]);
    let entries: unknown[] = [];
    if (verb === "list") entries = [...map];
    else if (verb === "batch") {
      const cursor = map.batchCursor();
      while (!cursor.done) entries.push(...map.lookupBatch(cursor, count));
    } else if (verb === "batches") {
      for (const { keys, values, count: n } of map.batches(count)) {
        expect([keys.length, values.length]).toEqual([n, n]);
        entries.push(...keys.map((k, i) => [k, values[i]]));
      }
    } else {
      for (let k = map.nextKey(); k !== undefined; k = map.nextKey(k))
        entries.push([k, map.get(k)]);
    }
    expect(entries.length).toBe(model.size);
    expect(entries).toEqual(expect.arrayContaining(expected));
  }

  #rare(verb: string): void {
    if (verb === "grow") return this.#grow();
    this.map.clear();
    this.model.clear();
  }
}

describeEachBuild("typed maps are Maps of limited size", (build) => {
  for (const mapFlags of [0, 1]) {
    test(`mapFlags ${mapFlags}`, async () => {
      using rt = await build.createRuntime();
      const dresses = fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES));
      fc.assert(
        fc.property(dresses, fc.array(step, { maxLength: 60 }), ([keys, values], steps) => {
          const spec = { type: "hash", maxEntries: MAX_ENTRIES, mapFlags } as const;
          using map = rt.createMap({ ...spec, key: keys.codec, value: values.codec });
          const pairing = new Pairing(map, keys, values, () => void rt.memory.grow(1));
          for (const s of steps) pairing.run(s);
        }),
        { numRuns: 150 },
      );
    });
  }
});

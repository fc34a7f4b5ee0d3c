// Typed maps of maps against JavaScript's Map: random sequences of every verb.

import fc from "fast-check";
import { expect, test } from "vitest";
import { BPF_EXIST, BPF_NOEXIST, u32 } from "../../ts/index.js";
import type { ArrayMap, ArrayOfMaps, HashOfMaps, TypedMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

const MAX_ENTRIES = 5;
const INNER_MAPS = 3;

type Inner = ArrayMap<number, number>;
type Outer = ArrayOfMaps<Inner> | HashOfMaps<number, number, Inner>;

const key = fc.nat(MAX_ENTRIES + 1);
const inner = fc.nat(INNER_MAPS - 1);
const step = fc.oneof(
  fc.record({ verb: fc.constantFrom("set", "insert", "replace"), key, inner, byFd: fc.boolean() }),
  fc.record({ verb: fc.constantFrom("get", "lookup", "delete", "next"), key }),
  fc.record({ verb: fc.constantFrom("updateBatch", "deleteBatch"), keys: fc.array(key), inner }),
  fc.record({ verb: fc.constantFrom("walk", "drain"), count: fc.integer({ min: 1, max: 7 }) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The outer map, its model (which inner map is where), and what both are asked. */
class Pairing {
  readonly outer: Outer;
  readonly inners: readonly Inner[];
  readonly ids: readonly number[];
  readonly model = new Map<number, number>();

  constructor(outer: Outer, inners: readonly Inner[]) {
    this.outer = outer;
    this.inners = inners;
    this.ids = inners.map((map) => map.info().id);
  }

  get #isArray(): boolean {
    return "length" in this.outer;
  }

  #idAt(k: number): number | undefined {
    const at = this.model.get(k);
    return at === undefined ? undefined : this.ids[at];
  }

  /** The error of an update, by the model. */
  #refusal(k: number, flags: number): string {
    const { model } = this;
    if (this.#isArray) {
      if (flags !== 0) return "EINVAL";
      return k >= MAX_ENTRIES ? "E2BIG" : "none";
    }
    if (flags === BPF_NOEXIST && model.has(k)) return "EEXIST";
    if (flags === BPF_EXIST && !model.has(k)) return "ENOENT";
    return !model.has(k) && model.size === MAX_ENTRIES ? "E2BIG" : "none";
  }

  run(s: Step): void {
    if ("keys" in s) this.#batch(s.verb === "updateBatch", s.keys, s.inner);
    else if ("count" in s) this.#walk(s.verb === "drain", s.count);
    else if ("inner" in s) this.#update(s.verb, s.key, s.inner, s.byFd);
    else if (s.verb === "delete") this.#delete(s.key);
    else this.#read(s.verb, s.key);
    if ("size" in this.outer) expect(this.outer.size).toBe(this.model.size);
  }

  #update(verb: string, k: number, at: number, byFd: boolean): void {
    const { outer } = this;
    const map = this.inners[at]!;
    const value = byFd ? map.fd : map;
    const flags = verb === "insert" ? BPF_NOEXIST : verb === "replace" ? BPF_EXIST : 0;
    const refusal = this.#refusal(k, flags);
    const run = flags === 0 ? () => outer.set(k, value) : () => outer.update(k, value, flags);
    expect(codeOf(run)).toBe(refusal);
    if (refusal === "none") this.model.set(k, at);
  }

  #delete(k: number): void {
    if (this.#isArray && k >= MAX_ENTRIES) expect(codeOf(() => this.outer.delete(k))).toBe("E2BIG");
    else expect(this.outer.delete(k)).toBe(this.model.delete(k));
  }

  #read(verb: string, k: number): void {
    const { outer } = this;
    const id = this.#idAt(k);
    if (verb === "lookup") {
      expect([outer.lookup(k), outer.idOf(k), outer.has(k)]).toEqual([id, id, id !== undefined]);
    } else if (verb === "get") {
      using map = outer.get(k);
      expect(map?.info().id).toBe(id);
    } else {
      const keys: number[] = [];
      for (let at = outer.nextKey(); at !== undefined; at = outer.nextKey(at)) keys.push(at);
      const expected = this.#isArray ? [...Array(MAX_ENTRIES).keys()] : [...this.model.keys()];
      expect(new Set(keys)).toEqual(new Set(expected));
      expect(keys.length).toBe(expected.length);
    }
  }

  #batch(isUpdate: boolean, keys: number[], at: number): void {
    const { outer, model } = this;
    if (!isUpdate && !("deleteBatch" in outer)) return;
    let refusal = "none";
    for (const k of keys) {
      refusal = isUpdate ? this.#refusal(k, 0) : model.has(k) ? "none" : "ENOENT";
      if (refusal !== "none") break;
      if (isUpdate) model.set(k, at);
      else model.delete(k);
    }
    const entries = keys.map((k, i) => {
      const map = this.inners[at]!;
      return [k, i % 2 === 0 ? map : map.fd] as const;
    });
    const run = isUpdate
      ? () => outer.updateBatch(entries)
      : () => (outer as HashOfMaps<number, number, Inner>).deleteBatch(keys);
    expect(codeOf(run)).toBe(refusal);
  }

  #walk(isDrain: boolean, count: number): void {
    const { outer, model } = this;
    const sorted = (list: readonly (readonly [number, number])[]): unknown =>
      list.toSorted(([a], [b]) => a - b);
    const expected = sorted([...model.keys()].map((k) => [k, this.#idAt(k)!]));
    expect(sorted([...outer.ids()])).toEqual(expected);
    const stepped: [number, number][] = [];
    for (const element of outer.cursor()) stepped.push([element.key, element.value]);
    expect(sorted(stepped)).toEqual(expected);
    const batches: [number, number][] = [];
    for (const { keys, values } of outer.batches(count))
      batches.push(...keys.map((k, i): [number, number] => [k, values[i]!]));
    expect(sorted(batches)).toEqual(expected);
    this.#walkMaps(expected, sorted);
    const take = isDrain && "lookupAndDeleteBatch" in outer;
    const cursor = outer.batchCursor();
    const looked: [number, number][] = [];
    while (!cursor.done) {
      looked.push(
        ...(take ? outer.lookupAndDeleteBatch(cursor, count) : outer.lookupBatch(cursor, count)),
      );
    }
    expect(sorted(looked)).toEqual(expected);
    if (take) model.clear();
  }

  /** The iterations that give inner maps. */
  #walkMaps(expected: unknown, sorted: (list: [number, number][]) => unknown): void {
    const { outer } = this;
    const idOf = (map: TypedMap): number => {
      const { id } = map.info();
      map.close();
      return id;
    };
    expect(sorted([...outer].map(([k, map]): [number, number] => [k, idOf(map)]))).toEqual(
      expected,
    );
    const keys = [...outer.keys()];
    const values = [...outer.values()].map(idOf);
    expect(sorted(keys.map((k, i): [number, number] => [k, values[i]!]))).toEqual(expected);
    const shown: [number, number][] = [];
    const maps: Inner[] = [];
    outer.forEach((map, k) => {
      maps.push(map);
      shown.push([k, map.info().id]);
    });
    expect(sorted(shown)).toEqual(expected);
    expect(maps.every((map) => map.closed)).toBe(true);
  }
}

describeEachBuild("typed maps of maps are Maps of maps", (build) => {
  for (const type of ["array_of_maps", "hash_of_maps"] as const) {
    test(type, async () => {
      using rt = await build.createRuntime();
      const spec = { type: "array", value: u32, maxEntries: 1 } as const;
      const inners = Array.from({ length: INNER_MAPS }, () => rt.createMap(spec));
      const options = { inner: inners[0]!, maxEntries: MAX_ENTRIES };
      fc.assert(
        fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
          using outer: Outer =
            type === "array_of_maps"
              ? rt.createMap({ type, ...options })
              : rt.createMap({ type, key: u32, ...options });
          const pairing = new Pairing(outer, inners);
          for (const s of steps) pairing.run(s);
        }),
        { numRuns: 100 },
      );
      // Nothing that was opened on the way is still open.
      expect([...rt.mapIds()].length).toBe(INNER_MAPS);
      expect(rt.inode().fd).toBe(3 + INNER_MAPS);
    });
  }
});

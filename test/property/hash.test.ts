// Random operations on the hash and array types, against the models: every answer, every value, the
// order of all keys after each step, and on the debug build every invariant.

import fc from "fast-check";
import { afterAll, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { type BuildName, describeEachBuild, type Runtime } from "../support/builds.js";
import { u32At, u32s, wordsOf } from "../support/bytes.js";
import { expectSound } from "../support/debug.js";
import { type Model, modelOf } from "../support/models.js";
import { expectSame } from "../support/same.js";

/** Maps per type (arrays: a fifth); each sees up to OPS_MAX operations. */
const RUNS: Readonly<Record<BuildName, number>> = { release: 150, shared: 40, debug: 60 };
const OPS_MAX = 200;

const TYPES = {
  HASH: uapi.BPF_MAP_TYPE_HASH,
  PERCPU_HASH: uapi.BPF_MAP_TYPE_PERCPU_HASH,
  LRU_HASH: uapi.BPF_MAP_TYPE_LRU_HASH,
  LRU_PERCPU_HASH: uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  ARRAY: uapi.BPF_MAP_TYPE_ARRAY,
  PERCPU_ARRAY: uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
} as const;

const isPercpu = (type: number): boolean =>
  type === TYPES.PERCPU_HASH || type === TYPES.LRU_PERCPU_HASH || type === TYPES.PERCPU_ARRAY;
const isArray = (type: number): boolean => type === TYPES.ARRAY || type === TYPES.PERCPU_ARRAY;
const isLru = (type: number): boolean => type === TYPES.LRU_HASH || type === TYPES.LRU_PERCPU_HASH;

interface Spec {
  readonly keySize: number;
  readonly valueSize: number;
  /** Of the bytes of a key behind its number: with zeros the keys that empty slots hold are among them (htab_inline.ts). */
  readonly filler: number;
  readonly maxEntries: number;
  readonly cpus: number;
  /** BPF_F_NO_PREALLOC or BPF_F_NO_COMMON_LRU, where the type knows it. */
  readonly option: boolean;
  /** BPF_F_ZERO_SEED; without it the order of the keys is nobody's business. */
  readonly zeroSeed: boolean;
  /** Go through the typed API's doors where there is one for the keys' size. */
  readonly doors: boolean;
}

const OPS = ["update", "update", "update", "use", "lookup", "delete", "lookupAndDelete"] as const;

interface Op {
  readonly op: (typeof OPS)[number];
  /** Reduced to one and a half times the size of the map, so that keys meet. */
  readonly at: number;
  readonly flags: number;
  readonly cpu: number;
}

const specs = fc.record<Spec>({
  keySize: fc.constantFrom(1, 3, 4, 8, 12, 16, 20),
  valueSize: fc.constantFrom(1, 4, 8, 16, 20, 24, 40),
  filler: fc.constantFrom(0, 0xa5),
  maxEntries: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(16, 30, 48)),
  cpus: fc.integer({ min: 1, max: 3 }),
  option: fc.boolean(),
  zeroSeed: fc.boolean(),
  doors: fc.boolean(),
});
const ops = fc.array(
  fc.record<Op>({
    op: fc.constantFrom(...OPS),
    at: fc.nat(1000),
    flags: fc.constantFrom(0, 0, 0, 1, 2, 2, 3),
    cpu: fc.nat(2),
  }),
  { maxLength: OPS_MAX, size: "max" },
);

/** A map of the core beside its model. */
class Pair {
  readonly #rt: Runtime;
  readonly #client: BpfClient;
  readonly #fd: number;
  readonly #model: Model;
  readonly #spec: Spec & { readonly type: number };
  readonly #slot: number;
  readonly #handle: number;
  readonly #map: number;
  readonly #window: number;
  #step = 0;

  constructor(rt: Runtime, type: number, spec: Spec) {
    this.#rt = rt;
    this.#client = new BpfClient(rt);
    const keySize = isArray(type) ? 4 : spec.keySize;
    const option = isLru(type) ? uapi.BPF_F_NO_COMMON_LRU : uapi.BPF_F_NO_PREALLOC;
    const seed = spec.zeroSeed ? uapi.BPF_F_ZERO_SEED : 0;
    const flags = isArray(type) ? 0 : seed | (spec.option ? option : 0);
    const doors = spec.doors && !isArray(type) && [4, 8, 16].includes(keySize);
    this.#spec = { ...spec, keySize, type, doors };
    this.#slot = Math.ceil(spec.valueSize / 8) * 8;
    const encode = (key: number): Uint8Array => this.#key(key);
    this.#model = modelOf({ ...this.#spec, flags, encode });
    this.#fd = this.#client.create({ ...this.#spec, flags });
    if (this.#fd < 0) throw new Error(`cannot create the map: ${this.#fd}`);
    this.#handle = rt.exports.bpf_map_by_fd(this.#fd);
    this.#map = rt.exports.map_by_handle(this.#handle);
    this.#window = rt.alloc(256);
  }

  #key(key: number): Uint8Array {
    const bytes = new Uint8Array(this.#spec.keySize).fill(this.#spec.filler);
    bytes.set(u32s(key).subarray(0, Math.min(4, bytes.length)));
    return bytes;
  }

  /** Bytes of a value as bpf(2) has them: every byte of every slot depends on the number. */
  #value(value: number): Uint8Array {
    const { type, valueSize, cpus } = this.#spec;
    const bytes = new Uint8Array(isPercpu(type) ? this.#slot * cpus : valueSize);
    // Values of an array that nobody has written are zero.
    return value === 0 ? bytes : bytes.map((_, i) => value * 7 + i * 3 + 1);
  }

  run({ op, at, flags, cpu }: Op): void {
    const { maxEntries, cpus } = this.#spec;
    const key = at % Math.ceil(maxEntries * 1.5);
    const value = ++this.#step;
    this.#rt.cpu = cpu % cpus;
    const bytes = this.#key(key);
    const size = this.#value(0).length;
    const label = `step ${value}: ${op} ${key} flags ${flags} on CPU ${this.#rt.cpu}`;
    if (op === "update") {
      const ret = this.#update(bytes, this.#value(value), flags);
      expectSame(ret, this.#model.update(key, value, flags, this.#rt.cpu), label);
    } else if (op === "delete") {
      expectSame(this.#delete(bytes), this.#model.delete(key), label);
    } else if (op === "use") {
      this.#use(bytes, this.#model.use(key), label);
    } else {
      const got = this.#client[op](this.#fd, bytes, size);
      this.#expectValue(got, this.#model[op](key), label);
    }
    this.#compareKeys(label);
    expectSound(this.#rt, this.#fd);
  }

  #expectValue(
    got: { readonly ret: number; readonly out: Uint8Array },
    expected: number | undefined | "unsupported",
    label: string,
  ): void {
    if (expected === "unsupported") expectSame(got.ret, -uapi.ENOTSUPP, label);
    else if (expected === undefined) expectSame(got.ret, -uapi.ENOENT, label);
    else expect(got.out, label).toEqual(this.#value(expected));
  }

  /** The words of a key, and where the value is put: what the sized doors take. */
  #door(bytes: Uint8Array, value: Uint8Array): { words: number[]; valuePtr: number } {
    new Uint8Array(this.#rt.memory.buffer).set(value, this.#window);
    return { words: wordsOf(bytes), valuePtr: this.#window };
  }

  #update(bytes: Uint8Array, value: Uint8Array, flags: number): number {
    if (!this.#spec.doors) return this.#client.update(this.#fd, bytes, value, flags);
    const { words, valuePtr } = this.#door(bytes, value);
    const [a = 0, b = 0, c = 0, d = 0] = words;
    const { map_update4, map_update8, map_update16 } = this.#rt.exports;
    if (words.length === 1) return map_update4(this.#map, this.#handle, a, valuePtr, flags);
    if (words.length === 2) return map_update8(this.#map, this.#handle, a, b, valuePtr, flags);
    return map_update16(this.#map, this.#handle, a, b, c, d, valuePtr, flags);
  }

  #delete(bytes: Uint8Array): number {
    if (!this.#spec.doors) return this.#client.delete(this.#fd, bytes);
    const words = wordsOf(bytes);
    const [a = 0, b = 0, c = 0, d = 0] = words;
    const { map_delete4, map_delete8, map_delete16 } = this.#rt.exports;
    if (words.length === 1) return map_delete4(this.#map, this.#handle, a);
    if (words.length === 2) return map_delete8(this.#map, this.#handle, a, b);
    return map_delete16(this.#map, this.#handle, a, b, c, d);
  }

  /** A program's lookup; @returns an address */
  #find(bytes: Uint8Array): number {
    if (!this.#spec.doors) {
      new Uint8Array(this.#rt.memory.buffer).set(bytes, this.#window);
      return this.#rt.exports.bpf_map_lookup_elem(this.#handle, this.#window) >>> 0;
    }
    const words = wordsOf(bytes);
    const [a = 0, b = 0, c = 0, d = 0] = words;
    const { map_lookup4, map_lookup8, map_lookup16 } = this.#rt.exports;
    if (words.length === 1) return map_lookup4(this.#map, this.#handle, a) >>> 0;
    if (words.length === 2) return map_lookup8(this.#map, this.#handle, a, b) >>> 0;
    return map_lookup16(this.#map, this.#handle, a, b, c, d) >>> 0;
  }

  /** A program's lookup: the slot of the current CPU. */
  #use(bytes: Uint8Array, expected: number | undefined, label: string): void {
    const found = this.#find(bytes);
    if (expected === undefined) {
      expectSame(found, 0, label);
      return;
    }
    const { type, valueSize } = this.#spec;
    const from = isPercpu(type) ? this.#rt.cpu * this.#slot : 0;
    const got = new Uint8Array(this.#rt.memory.buffer).slice(found, found + valueSize);
    expect(got, label).toEqual(this.#value(expected).slice(from, from + valueSize));
    expectSame(this.#rt.exports.bpf_valid_range(found, valueSize), 1, label);
  }

  /** The number of a key. */
  #number(bytes: Uint8Array): number {
    const low = new Uint8Array(4);
    low.set(bytes.subarray(0, Math.min(4, bytes.length)));
    return u32At(low);
  }

  /** Both walks, a client's and a program's, meet the model's keys in its order. */
  #compareKeys(label: string): void {
    const { keySize, type, zeroSeed } = this.#spec;
    const keys: number[] = [];
    let next = this.#client.nextKey(this.#fd, null, keySize);
    while (next.ret === 0 && keys.length < 200) {
      keys.push(this.#number(next.out));
      next = this.#client.nextKey(this.#fd, next.out, keySize);
    }
    const visited: number[] = [];
    this.#rt.setCallback((_fn, _map, key) => {
      const ptr = Number(key);
      return visited.push(
        this.#number(new Uint8Array(this.#rt.memory.buffer).slice(ptr, ptr + keySize)),
      ) > 200
        ? 1
        : 0;
    });
    this.#rt.exports.bpf_for_each_map_elem(this.#handle, 0n, 0n, 0n);
    expect(visited, label).toEqual(keys);
    const expected = this.#model.keys();
    if (!zeroSeed && !isArray(type)) {
      keys.sort((a, b) => a - b);
      expected.sort((a, b) => a - b);
    }
    expect(keys, label).toEqual(expected);
  }

  close(): void {
    this.#rt.close(this.#fd);
    this.#rt.free(this.#window);
    this.#client.release();
  }
}

describeEachBuild("against the models", (build) => {
  const runtimes = new Map<number, Runtime>();

  afterAll(() => {
    for (const rt of runtimes.values()) rt.dispose();
  });

  async function runtime(cpus: number): Promise<Runtime> {
    const rt = runtimes.get(cpus) ?? (await build.createRuntime({ cpus }));
    runtimes.set(cpus, rt);
    return rt;
  }

  for (const [name, type] of Object.entries(TYPES)) {
    it(`${name} does what its model does`, async () => {
      await fc.assert(
        fc.asyncProperty(specs, ops, async (spec, operations) => {
          const pair = new Pair(await runtime(spec.cpus), type, spec);
          try {
            for (const op of operations) pair.run(op);
          } finally {
            pair.close();
          }
        }),
        { numRuns: isArray(type) ? RUNS[build.name] / 5 : RUNS[build.name] },
      );
    });
  }
});

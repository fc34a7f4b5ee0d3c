// Typed maps of every type with keys against twins on which bpf(2) does the same: random sequences of every verb, with
// random codecs, over several fds, while the memory grows, and at addresses beyond 2^31.

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  array,
  bits,
  bytes,
  cstring,
  decode,
  f64,
  i32,
  i64,
  ipv4,
  ipv6,
  lpmKey,
  struct,
  u16be,
  u32,
  u64,
  u8,
  union,
} from "../../ts/index.js";
import type { AnyCodec } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";
import { BUILDS, describeEachBuild, type RuntimeOptions } from "../support/builds.js";
import { FirstFit } from "../support/first-fit.js";
import { Random } from "../support/random.js";
import { type Dress, Twins } from "../support/twins.js";

const MIB = 1 << 20;
const PAGE = 65536;

function dress(codec: AnyCodec, of: Dress["of"]): Dress {
  return { codec: codec as Dress["codec"], of };
}

function bytesOf(random: Random, size: number): Uint8Array {
  return new Uint8Array(size).map(() => random.u32());
}

/** Any bytes are a value. */
function anyBytes(codec: AnyCodec): Dress {
  return dress(codec, (random) => decode(codec, bytesOf(random, codec.size)));
}

const Packed = struct(
  { a: u8, b: u16be, c: u64, d: bits(u32, 5), e: bits(u32, 20) },
  { packed: true },
);
const Nested = struct({ id: u32, at: struct({ ip: ipv4, port: u16be }), list: array(u8, 3) });

const DRESSES: readonly Dress[] = [
  ...[u32, u64, i32, i64, u16be, ipv6, bytes(4), bytes(5), bytes(8), bytes(16), bytes(40)].map(
    anyBytes,
  ),
  ...[Packed, Nested, struct({ low: u32, high: u64 })].map(anyBytes),
  dress(u64.asNumber, (random) => random.u32() * 2 ** random.below(21)),
  dress(f64, (random) => random.pick([0, -0, NaN, 0.5, random.u32()])),
  dress(cstring(12), (random) => "abcdefghij".slice(random.below(11))),
];
/** As values only: what reading a union gives cannot be written. */
const ADDRESS = dress(union({ v4: ipv4, v6: bytes(16) }), (random) => ({
  v6: bytesOf(random, 16),
}));

const PREFIXES = [ipv4, ipv6, bytes(3)].map((data) =>
  dress(lpmKey(data as AnyCodec), (random) => {
    const address = new Uint8Array(data.size).map(() => random.pick([0, 128, 255]));
    return { prefixlen: random.below(data.size * 8 + 1), data: decode(data as AnyCodec, address) };
  }),
);

const HASH_FLAGS = [0, uapi.BPF_F_ZERO_SEED, uapi.BPF_F_NO_PREALLOC];
const LRU_FLAGS = [0, uapi.BPF_F_ZERO_SEED, uapi.BPF_F_NO_COMMON_LRU];
const TYPES = [
  { type: "hash", keys: DRESSES, flags: HASH_FLAGS },
  { type: "percpu_hash", keys: DRESSES, flags: HASH_FLAGS },
  { type: "lru_hash", keys: DRESSES, flags: LRU_FLAGS },
  { type: "lru_percpu_hash", keys: DRESSES, flags: LRU_FLAGS },
  { type: "array", keys: [dress(u32, () => 0)], flags: [0] },
  { type: "percpu_array", keys: [dress(u32, () => 0)], flags: [0] },
  { type: "lpm_trie", keys: PREFIXES, flags: [uapi.BPF_F_NO_PREALLOC] },
] as const;

interface Place {
  readonly options: RuntimeOptions;
  readonly grow: () => void;
}

/** Where the runtime lives, with its memory growing. */
const PLACES: Readonly<Record<string, (shared: boolean) => Place>> = {
  "a memory of its own": (shared) => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2048, shared });
    return { options: { memory }, grow: () => void memory.grow(1) };
  },
  "the host's malloc": (shared) => {
    const memory = new WebAssembly.Memory({ initial: 8, maximum: 2048, shared });
    const heap = new FirstFit(memory, 64, 8 * PAGE);
    const grow = (): void => void memory.grow(1);
    let calls = 0;
    const malloc = (size: number): number => {
      if (++calls % 16 === 0 && calls < 8000) grow();
      return heap.malloc(size);
    };
    return { options: { memory, malloc, free: heap.free }, grow };
  },
  "high addresses": (shared) => {
    const memory = new WebAssembly.Memory({ initial: 65536, maximum: 65536, shared });
    const arena = { base: 0x9000_0000, limit: 0x9000_0000 + 8 * MIB };
    return { options: { memory, arena }, grow: () => {} };
  },
};

describeEachBuild("typed maps do what bpf(2) does", (build) => {
  for (const [place, settle] of Object.entries(PLACES)) {
    test(`in ${place}`, async () => {
      const { options, grow } = settle(build.name === "shared");
      using rt = await build.createRuntime({ ...options, cpus: 2, seed: 1 });
      using other = await (BUILDS[0] as typeof build).createRuntime({ cpus: 2, seed: 1 });
      // The tables of fds and maps grow once.
      const many = Array.from({ length: 40 }, () =>
        rt.createMap({ type: "array", value: u32, maxEntries: 1 }),
      );
      for (const map of many) map.close();
      const used = rt.exports.mem_used();
      fc.assert(
        fc.property(fc.nat(), fc.integer({ min: 1, max: 100 }), (seed, steps) => {
          const random = new Random(seed);
          const { type, keys, flags } = random.pick(TYPES);
          const maxEntries = 2 + random.below(12);
          const [key, value] = [random.pick<Dress>(keys), random.pick([...DRESSES, ADDRESS])];
          const spec = { type, mapFlags: random.pick<number>(flags), maxEntries, key, value };
          {
            using twins = new Twins(rt, other, spec, random, random.oneIn(2) ? grow : () => {});
            for (let i = 0; i < steps; i++) twins.step();
          }
          expect(rt.exports.mem_used()).toBe(used);
        }),
        { numRuns: 60 },
      );
    });
  }
});

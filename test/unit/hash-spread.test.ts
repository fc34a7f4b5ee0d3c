// The hash functions through their tables: whatever pattern keys have, at most twice as many of them as of random keys may
// be away from their home chunk. (assembly/lib/hash.ts; the layouts: htab_inline.ts, htab_table.ts.)

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytes, u32, u64 } from "../../ts/index.js";
import { BUILDS, type Build, type Runtime } from "../support/builds.js";
import { debugExports } from "../support/debug.js";

const ENTRIES = 20_000;

/** A 64-bit pattern of the i-th key; maps with shorter keys take its low bytes. */
const PATTERNS: Readonly<Record<string, (i: number) => bigint>> = {
  sequential: (i) => BigInt(i),
  "strided by 64": (i) => BigInt(i) * 64n,
  "strided by 128": (i) => BigInt(i) * 128n,
  "strided by 256": (i) => BigInt(i) * 256n,
  "strided by 1000": (i) => BigInt(i) * 1000n,
  "strided by 4096": (i) => BigInt(i) * 4096n,
  "strided by 65537": (i) => BigInt(i) * 65537n,
  "pointer-like": (i) => 0x7fff_8000_0000n + BigInt(i) * 48n,
  "addresses of 16 networks": (i) => (BigInt(i % 16) << 24n) | BigInt(Math.floor(i / 16)),
};
const WIDE_PATTERNS: Readonly<Record<string, (i: number) => bigint>> = {
  ...PATTERNS,
  "high word only": (i) => BigInt(i) << 32n,
  "both words alike": (i) => (BigInt(i) << 32n) | BigInt(i),
};

/** Elements away from home, of 1000, for each of a few seeds: the median. */
function displaced(rt: Runtime, keyBytes: number, lru: boolean, key: (i: number) => bigint) {
  const shares = [1, 2, 3].map(() => {
    const codec = keyBytes === 4 ? u32 : keyBytes === 8 ? u64 : bytes(16);
    const type = lru ? "lru_hash" : "hash";
    const map = rt.createMap({ type, key: codec as typeof u32, value: u32, maxEntries: ENTRIES });
    const wide = new Uint8Array(16);
    const words = new BigUint64Array(wide.buffer);
    for (let i = 0; i < ENTRIES; i++) {
      words[0] = key(i);
      const k = keyBytes === 4 ? Number(words[0] & 0xffff_ffffn) : keyBytes === 8 ? words[0] : wide;
      map.set(k as number, i);
    }
    const count = debugExports(rt)?.displaced_elems(rt.exports.bpf_map_by_fd(map.fd)) ?? NaN;
    map.close();
    return (count / ENTRIES) * 1000;
  });
  return shares.toSorted((a, b) => a - b)[1] as number;
}

describe("spread of the hash functions", () => {
  let rt: Runtime;
  beforeAll(async () => {
    const debug = BUILDS.find(({ name }) => name === "debug") as Build;
    rt = await debug.createRuntime({ seed: 7 });
  });
  afterAll(() => rt.dispose());

  const random = (i: number): bigint =>
    BigInt.asUintN(64, (BigInt(i) + 1n) * 0x9e3779b97f4a7c15n) ^ (BigInt(i * 2654435761) << 17n);

  for (const [what, keyBytes, lru, patterns] of [
    ["4-byte keys", 4, false, PATTERNS],
    ["8-byte keys", 8, false, WIDE_PATTERNS],
    ["16-byte keys", 16, false, WIDE_PATTERNS],
    ["4-byte keys of LRU_HASH", 4, true, PATTERNS],
  ] as const) {
    describe(what, () => {
      for (const [name, key] of Object.entries(patterns)) {
        it(name, () => {
          const expected = displaced(rt, keyBytes, lru, random);
          expect(expected).toBeGreaterThan(1);
          expect(displaced(rt, keyBytes, lru, key)).toBeLessThan(expected * 2 + 5);
        });
      }
    });
  }
});

// Hash maps so large that their tables are dense (assembly/htab_chunk.ts: chunkCount), full, and emptied and filled again:
// elements lie behind their homes, at the end of the table those of the last chunk in the first ones.

import { describe, expect, it } from "vitest";
import { BpfError, bytes, u32, u64 } from "../../ts/index.js";
import type { Codec } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { expectSound } from "../support/debug.js";
import { Random } from "../support/random.js";

const ENTRIES = 10_000;

type AnyCodec = Codec<unknown, unknown>;
type Sample = readonly [name: string, codec: unknown, of: (i: number) => unknown];

const bytesOf =
  (size: number) =>
  (i: number): Uint8Array => {
    const array = new Uint8Array(size);
    new DataView(array.buffer).setUint32(0, i, true);
    return array;
  };

/** What a value was made of; NaN when it is not whole. */
function numberOf(value: unknown): number | undefined {
  if (!(value instanceof Uint8Array)) return value as number | undefined;
  const rest = value.subarray(4).some((byte) => byte !== 0);
  return rest ? NaN : new DataView(value.buffer, value.byteOffset).getUint32(0, true);
}

// The keys that empty slots hold, 0 and few others, are among them.
const KEYS: readonly Sample[] = [
  ["u32", u32, (i) => i],
  ["u64", u64, BigInt],
  ["u64, upper half", u64, (i) => BigInt(i) << 32n],
  ["16 bytes", bytes(16), bytesOf(16)],
  ["12 bytes", bytes(12), bytesOf(12)],
];
const VALUES: readonly Sample[] = [
  ["u32", u32, (i) => i],
  ["16 bytes", bytes(16), bytesOf(16)],
  ["24 bytes", bytes(24), bytesOf(24)],
];

describeEachBuild("full hash maps", (build) => {
  for (const [keyName, key, keyOf] of KEYS) {
    describe(keyName, () => {
      for (const [valueName, value, valueOf] of VALUES) {
        it(`-> ${valueName}`, async () => {
          using rt = await build.createRuntime();
          const codecs = { key: key as AnyCodec, value: value as AnyCodec };
          const map = rt.createMap({ type: "hash", ...codecs, maxEntries: ENTRIES });
          const model = new Map<number, number>();
          const random = new Random(3);
          const put = (i: number, v: number) => {
            map.set(keyOf(i), valueOf(v));
            model.set(i, v);
          };
          for (let i = 0; i < ENTRIES; i++) put(i, i);
          for (let round = 0; round < 3; round++) {
            expect(() => map.set(keyOf(4 * ENTRIES), valueOf(0))).toThrow(BpfError);
            expectSound(rt, map.fd);
            const wrong: number[] = [];
            for (const i of model.keys()) {
              if (random.oneIn(3)) continue;
              if (!map.delete(keyOf(i)) || map.delete(keyOf(i))) wrong.push(i);
              model.delete(i);
            }
            expectSound(rt, map.fd);
            while (model.size < ENTRIES) put(random.below(3 * ENTRIES), random.below(ENTRIES));
            for (let i = 0; i < 3 * ENTRIES; i++) {
              if (numberOf(map.get(keyOf(i))) !== model.get(i)) wrong.push(i);
            }
            expect(wrong).toEqual([]);
            expect([...map.keys()].length).toBe(ENTRIES);
          }
          map.close();
        });
      }
    });
  }
});

// Beyond its home a key is believed when it stands there, except those that empty slots hold: 0, and another one in the home of 0.
describeEachBuild("keys that empty slots hold, behind a full home", (build) => {
  for (const [name, codec, keyOf] of KEYS) {
    it(name, async () => {
      using rt = await build.createRuntime();
      const key = codec as AnyCodec;
      const map = rt.createMap({ type: "hash", key, value: u32, maxEntries: 64 });
      const handle = rt.exports.bpf_map_by_fd(map.fd);
      const keyPtr = rt.alloc(16);
      /** Where a key's value is while the map has no other: at home. */
      const homeOf = (i: number): number => {
        const k = keyOf(i);
        map.set(k, i);
        const raw = k instanceof Uint8Array ? k : BigUint64Array.of(BigInt(k as number)).buffer;
        new Uint8Array(rt.memory.buffer, keyPtr).set(new Uint8Array(raw));
        const value = rt.exports.bpf_map_lookup_elem(handle, keyPtr);
        map.delete(k);
        return value >>> 7;
      };
      for (let asked = 0; asked < 4; asked++) {
        const home = homeOf(asked);
        const mates: number[] = [];
        for (let i = 4; mates.length < 24; i++) if (homeOf(i) === home) mates.push(i);
        for (const i of mates) map.set(keyOf(i), i);
        expect(map.get(keyOf(asked))).toBeUndefined();
        expect(map.has(keyOf(asked))).toBe(false);
        map.set(keyOf(asked), 7);
        expect(map.get(keyOf(asked))).toBe(7);
        expectSound(rt, map.fd);
        // Emptied slots hold those keys again.
        for (const i of mates.slice(0, 12)) map.delete(keyOf(i));
        expect(map.get(keyOf(asked))).toBe(7);
        map.delete(keyOf(asked));
        expect(map.get(keyOf(asked))).toBeUndefined();
        for (const i of mates.slice(12)) {
          expect(map.get(keyOf(i))).toBe(i);
          map.delete(keyOf(i));
        }
      }
    });
  }
});

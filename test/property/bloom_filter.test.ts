// BLOOM_FILTER under BPF_F_ZERO_SEED against a set of bits.

import * as fc from "fast-check";
import { expect, it } from "vitest";
import { BPF_F_ZERO_SEED, BPF_MAP_TYPE_BLOOM_FILTER, ENOENT } from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { jhash } from "../support/jhash.js";
import { Machine } from "../support/machine.js";

const scenario = fc
  .record({
    valueSize: fc.integer({ min: 1, max: 40 }),
    maxEntries: fc.integer({ min: 1, max: 300 }),
    extra: fc.integer({ min: 0, max: 15 }),
    seed: fc.integer({ min: 0, max: 255 }),
  })
  .chain((shape) =>
    fc.record({
      shape: fc.constant(shape),
      values: fc.array(
        fc.uint8Array({ minLength: shape.valueSize, maxLength: shape.valueSize, max: 3 }),
        { minLength: 1, maxLength: 40 },
      ),
      asked: fc.array(
        fc.uint8Array({ minLength: shape.valueSize, maxLength: shape.valueSize, max: 3 }),
        { maxLength: 40 },
      ),
    }),
  );

function bitCount(maxEntries: number, hashes: number): number {
  const bits = Math.floor((maxEntries * hashes) / 5) * 7;
  return bits <= 64 ? 64 : 2 ** Math.ceil(Math.log2(bits));
}

describeEachBuild("bloom filter", (build) => {
  it("answers like a set of bits", async () => {
    const m = await Machine.start(build);
    fc.assert(
      fc.property(scenario, ({ shape, values, asked }) => {
        const hashes = shape.extra === 0 ? 5 : shape.extra;
        const mask = bitCount(shape.maxEntries, hashes) - 1;
        const set = new Set<number>();
        const bitsOf = (value: Uint8Array): number[] =>
          Array.from({ length: hashes }, (_, i) => (jhash(value, i) & mask) >>> 0);
        const fd = m.create({
          type: BPF_MAP_TYPE_BLOOM_FILTER,
          keySize: 0,
          valueSize: shape.valueSize,
          maxEntries: shape.maxEntries,
          mapExtra: BigInt(shape.extra),
          flags: BPF_F_ZERO_SEED,
        });
        for (const value of values) {
          expect(m.client.update(fd, null, value)).toBe(0);
          for (const bit of bitsOf(value)) set.add(bit);
        }
        for (const value of [...values, ...asked]) {
          const expected = bitsOf(value).every((bit) => set.has(bit)) ? 0 : -ENOENT;
          expect(m.client.test(fd, value)).toBe(expected);
        }
        m.client.close(fd);
      }),
      { numRuns: 100 },
    );
    m.dispose();
  });
});

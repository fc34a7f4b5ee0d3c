// STACK_TRACE against a table of ids.

import * as fc from "fast-check";
import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { jhash } from "../support/jhash.js";
import { Machine, u32s } from "../support/machine.js";

const { BPF_F_FAST_STACK_CMP, BPF_F_REUSE_STACKID, EEXIST, EFAULT, ENOENT, ENOMEM } = uapi;
const DEPTH = 4;

const op = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("add" as const),
      stack: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 6 }),
      flags: fc.constantFrom(0, 0, 1, 2, BPF_F_REUSE_STACKID, BPF_F_FAST_STACK_CMP),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom("lookup" as const, "delete" as const, "take" as const),
      id: fc.nat(8),
    }),
  },
);
const scenario = fc.record({
  maxEntries: fc.integer({ min: 1, max: 6 }),
  ops: fc.array(op, { maxLength: 50 }),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

function ipBytes(stack: readonly number[]): Uint8Array {
  return u32s(...stack.flatMap((ip) => [ip, 0]));
}

/** What bpf_get_stackid answers, and the table after it. */
function add(
  table: Map<number, number[]>,
  { stack, flags }: { stack: readonly number[]; flags: number },
  maxEntries: number,
  nBuckets: number,
): number {
  const skip = flags & 0xff;
  const seen = stack.slice(skip, DEPTH + skip);
  if (seen.length === 0) return -EFAULT;
  const hash = jhash(ipBytes(seen), 0);
  const id = hash & (nBuckets - 1);
  const old = table.get(id);
  if (old !== undefined) {
    const isEqual = old.length === seen.length && old.every((ip, i) => ip === seen[i]);
    const isLikely = jhash(ipBytes(old), 0) === hash;
    if (isEqual || (isLikely && (flags & BPF_F_FAST_STACK_CMP) !== 0)) return id;
    if ((flags & BPF_F_REUSE_STACKID) === 0) return -EEXIST;
  }
  if (table.size >= maxEntries) return -ENOMEM;
  table.set(id, seen);
  return id;
}

function run(m: Machine, chain: number, { maxEntries, ops }: Scenario): void {
  const type = uapi.BPF_MAP_TYPE_STACK_TRACE;
  const fd = m.create({ type, keySize: 4, valueSize: DEPTH * 8, maxEntries });
  const nBuckets = 2 ** Math.ceil(Math.log2(maxEntries));
  const table = new Map<number, number[]>();
  for (const step of ops) {
    if (step.op === "add") {
      m.put(chain, u32s(step.stack.length, 0));
      m.put(chain + 8, ipBytes(step.stack));
      const flags = BigInt(step.flags);
      const id = Number(m.runtime.exports.bpf_get_stackid(chain, m.handle(fd), flags));
      expect(id).toBe(add(table, step, maxEntries, nBuckets));
      continue;
    }
    const key = u32s(step.id);
    const stack = table.get(step.id);
    if (step.op === "delete") {
      const expected = step.id >= nBuckets ? -uapi.E2BIG : stack === undefined ? -ENOENT : 0;
      expect(m.client.delete(fd, key)).toBe(expected);
    } else {
      const call = step.op === "take" ? "lookupAndDelete" : "lookup";
      const { ret, out } = m.client[call](fd, key, DEPTH * 8);
      expect(ret).toBe(stack === undefined ? -ENOENT : 0);
      const padded = [...ipBytes(stack ?? []), ...new Uint8Array(DEPTH * 8)].slice(0, DEPTH * 8);
      if (ret === 0) expect([...out]).toEqual(padded);
    }
    if (step.op !== "lookup") table.delete(step.id);
  }
  m.client.close(fd);
}

describeEachBuild("stack trace map", (build) => {
  it("is a table of ids", async () => {
    const m = await Machine.start(build);
    const chain = m.area(256);
    fc.assert(
      fc.property(scenario, (s) => run(m, chain, s)),
      { numRuns: 150 },
    );
    m.dispose();
  });
});

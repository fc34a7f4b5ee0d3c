// QUEUE and STACK against an array.

import * as fc from "fast-check";
import { expect, it } from "vitest";
import { BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK, E2BIG, EINVAL, ENOENT } from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine } from "../support/machine.js";

const push = fc.record({
  op: fc.constant("push" as const),
  fill: fc.integer({ min: 0, max: 255 }),
  flags: fc.constantFrom(0, 0, 0, 2, 2, 1, 5),
});
const take = fc.record({ op: fc.constantFrom("peek" as const, "pop" as const) });
const scenario = fc.record({
  type: fc.constantFrom(BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK),
  maxEntries: fc.integer({ min: 1, max: 9 }),
  valueSize: fc.constantFrom(1, 3, 4, 8, 17, 64, 100),
  ops: fc.array(fc.oneof({ weight: 3, arbitrary: push }, { weight: 2, arbitrary: take }), {
    maxLength: 60,
  }),
  asProgram: fc.boolean(),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

/** The answers of a list: errno, or the byte that fills the value. */
function model({ type, maxEntries, ops }: Scenario): number[] {
  const list: number[] = [];
  return ops.map((op) => {
    if (op.op === "push") {
      if (op.flags !== 0 && op.flags !== 2) return -EINVAL;
      if (list.length === maxEntries && op.flags === 0) return -E2BIG;
      if (list.length === maxEntries) list.shift();
      list.push(op.fill);
      return 0;
    }
    const next = type === BPF_MAP_TYPE_QUEUE ? list[0] : list.at(-1);
    if (next === undefined) return -ENOENT;
    if (op.op === "pop") list.splice(type === BPF_MAP_TYPE_QUEUE ? 0 : -1, 1);
    return next;
  });
}

/** The byte that fills a value. */
function filled(bytes: Uint8Array): number {
  expect(new Set(bytes).size).toBe(1);
  return bytes[0] ?? -1;
}

function run(m: Machine, { type, maxEntries, valueSize, ops, asProgram }: Scenario): number[] {
  const fd = m.create({ type, keySize: 0, valueSize, maxEntries });
  const map = m.handle(fd);
  const core = m.runtime.exports;
  const buffer = m.area(valueSize);
  const answers = ops.map((op) => {
    if (op.op === "push") {
      const value = new Uint8Array(valueSize).fill(op.fill);
      if (!asProgram) return m.client.update(fd, null, value, op.flags);
      return core.bpf_map_push_elem(map, m.put(buffer, value), BigInt(op.flags));
    }
    if (asProgram) {
      const isPop = op.op === "pop";
      const ret = isPop ? core.bpf_map_pop_elem(map, buffer) : core.bpf_map_peek_elem(map, buffer);
      return ret < 0 ? ret : filled(m.bytes(buffer, valueSize));
    }
    const { ret, out } =
      op.op === "pop"
        ? m.client.lookupAndDelete(fd, null, valueSize)
        : m.client.lookup(fd, null, valueSize);
    return ret < 0 ? ret : filled(out);
  });
  m.runtime.free(buffer);
  m.client.close(fd);
  return answers;
}

describeEachBuild("queue and stack", (build) => {
  it("behave like a list with a bound", async () => {
    const m = await Machine.start(build);
    fc.assert(
      fc.property(scenario, (s) => {
        expect(run(m, s)).toEqual(model(s));
      }),
      { numRuns: 200 },
    );
    m.dispose();
  });
});

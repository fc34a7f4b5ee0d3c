// USER_RINGBUF against a list: samples go to the callback once, whole and in order, whatever the producer does.

import * as fc from "fast-check";
import { expect, it } from "vitest";
import type { RingRecord } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import type { Runtime } from "../support/builds.js";

const SIZE = 4096;

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("reserve" as const), n: fc.nat(1500) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("submit" as const), n: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("discard" as const), n: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("drain" as const), n: fc.nat(4) }) },
);

interface Sample {
  readonly record: RingRecord;
  readonly fill: number;
  state: "busy" | "submitted" | "discarded";
}

function run(rt: Runtime, steps: readonly { op: string; n: number }[]): void {
  using ring = rt.createMap({ type: "user_ringbuf", maxEntries: SIZE });
  const handle = rt.mapHandle(ring.fd);
  const waiting: Sample[] = [];
  const used = (): number =>
    waiting.reduce((sum, { record }) => sum + ((record.byteLength + 15) & ~7), 0);
  const finish = (n: number, isSubmit: boolean): void => {
    const busy = waiting.filter(({ state }) => state === "busy");
    const sample = busy[n % Math.max(1, busy.length)];
    if (sample === undefined) return;
    sample.state = isSubmit ? "submitted" : "discarded";
    if (isSubmit) sample.record.submit();
    else sample.record.discard();
  };
  let number = 0;
  for (const { op, n } of steps) {
    if (op === "reserve") {
      const fits = ((n + 15) & ~7) <= SIZE - used();
      const record = ring.reserve(n);
      expect(record !== undefined).toBe(fits);
      if (record === undefined) continue;
      const fill = number++ & 0xff;
      record.bytes.fill(fill);
      waiting.push({ record, fill, state: "busy" });
    } else if (op === "drain") {
      let handed = 0;
      rt.setCallback((_fn, dynptr) => {
        while (waiting[0]?.state === "discarded") waiting.shift();
        const sample = waiting.shift();
        if (sample?.state !== "submitted") throw new Error("a sample nobody submitted");
        const { byteLength } = sample.record;
        const at = rt.exports.bpf_dynptr_data(Number(dynptr), 0, byteLength) >>> 0;
        expect(at).toBe(sample.record.ptr);
        expect(sample.record.bytes.every((byte) => byte === sample.fill)).toBe(true);
        handed++;
        return handed === n ? 1n : 0n;
      });
      const ret = rt.exports.bpf_user_ringbuf_drain(handle, 0n, 0n, 0n);
      expect(ret).toBe(BigInt(handed));
      if (n === 0 || handed < n) {
        while (waiting[0]?.state === "discarded") waiting.shift();
        expect(waiting[0]?.state).not.toBe("submitted");
      }
    } else {
      finish(n, op === "submit");
    }
    expect(ring.freeBytes).toBe(SIZE - used());
  }
}

describeEachBuild("user ring buffer", (build) => {
  it("hands every sample over once, whole and in order", async () => {
    const rt = await build.createRuntime();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => run(rt, steps)),
      { numRuns: 150 },
    );
    rt.dispose();
  });
});

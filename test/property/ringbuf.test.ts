// RINGBUF against a list of records: what is reserved, committed in any order, and consumed.

import * as fc from "fast-check";
import { expect, it } from "vitest";
import { BPF_MAP_TYPE_RINGBUF } from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s } from "../support/machine.js";

const SIZE = 4096;
const BUSY = 0x80000000;
const DISCARD = 0x40000000;

interface Record {
  readonly payload: number;
  readonly size: number;
  readonly fill: number;
  state: "busy" | "submitted" | "discarded";
}

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("reserve" as const),
      n: fc.oneof(fc.nat(64), fc.nat(1200), fc.nat(4200)),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("submit" as const), n: fc.nat(7) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("discard" as const), n: fc.nat(7) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("consume" as const), n: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("map" as const), n: fc.constant(0) }) },
);

const total = (size: number): number => (size + 15) & ~7;

function run(m: Machine, steps: { op: string; n: number }[]): void {
  const core = m.runtime.exports;
  const fd = m.create({
    type: BPF_MAP_TYPE_RINGBUF,
    keySize: 0,
    valueSize: 0,
    maxEntries: SIZE,
  });
  const map = m.handle(fd);
  const base = core.ringbuf_pages(map) >>> 0;
  const data = base + 8192;
  const records: Record[] = [];
  let [consumed, produced, lost, windows] = [0, 0, 0, 0];
  const busy = (): Record[] => records.filter((r) => r.state === "busy");
  const reserve = (size: number): void => {
    const payload = core.bpf_ringbuf_reserve(map, size, 0n) >>> 0;
    const firstBusy = records.findIndex((r) => r.state === "busy");
    const waiting = firstBusy < 0 ? [] : records.slice(firstBusy);
    const pending = produced - waiting.reduce((sum, r) => sum + total(r.size), 0);
    const next = produced + total(size);
    const fits = total(size) <= SIZE && next - consumed < SIZE && next - pending < SIZE;
    expect(payload).toBe(fits ? data + (produced % SIZE) + 8 : 0);
    if (!fits) lost++;
    else {
      const fill = (records.length * 7 + size) & 0xff;
      m.bytes(payload, size).fill(fill);
      records.push({ payload, size, fill, state: "busy" });
      produced = next;
    }
  };
  const consume = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const at = data + (consumed % SIZE);
      const record = records[0];
      if (record === undefined || record.state === "busy") {
        if (record !== undefined) expect(m.u32(at)).toBe((record.size | BUSY) >>> 0);
        return;
      }
      const bit = record.state === "discarded" ? DISCARD : 0;
      expect(m.u32(at)).toBe(record.size | bit);
      expect(m.bytes(at + 8, record.size).every((byte) => byte === record.fill)).toBe(true);
      consumed += total(record.size);
      m.put(base, u32s(consumed, 0));
      records.shift();
    }
  };
  for (const { op, n } of steps) {
    if (op === "reserve") reserve(n);
    else if (op === "consume") consume(n);
    else if (op === "map") {
      core.map_mmap(fd, 4096, 4096 + 2 * SIZE, 0);
      windows++;
    } else {
      const open = busy();
      const record = open[n % Math.max(1, open.length)];
      if (record !== undefined) {
        if (op === "submit") core.bpf_ringbuf_submit(record.payload, 0n);
        else core.bpf_ringbuf_discard(record.payload, 0n);
        record.state = op === "submit" ? "submitted" : "discarded";
      }
    }
    expect(core.bpf_ringbuf_query(map, 0n)).toBe(BigInt(produced - consumed));
    for (const r of records) {
      const isBusy = r.state === "busy" ? 1 : 0;
      if (r.size > 0) expect(core.bpf_valid_range(r.payload, r.size)).toBe(isBusy);
      expect(core.bpf_valid_range(r.payload, r.size + 1)).toBe(0);
    }
  }
  expect(core.ringbuf_lost(map)).toBe(BigInt(lost));
  if (windows > 0 && busy().length === 0) {
    expect(m.bytes(data, SIZE)).toEqual(m.bytes(data + SIZE, SIZE));
  }
  for (; windows > 0; windows--) core.map_munmap(map, 0);
  m.client.close(fd);
}

describeEachBuild("ring buffer", (build) => {
  it("keeps every record in order, whole and once", async () => {
    const m = await Machine.start(build);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => run(m, steps)),
      { numRuns: 150 },
    );
    m.dispose();
  });
});

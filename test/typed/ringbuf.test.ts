// RingBuffer and UserRingBuffer on one thread.

import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BPF_RB_NO_WAKEUP, encode, RingBuffer, struct, u32, u8 } from "../../ts/index.js";
import type { BpfRuntime } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);
const event = struct({ id: u32, kind: u8 });

describeEachBuild("typed ring buffers", (build) => {
  let rt: BpfRuntime;

  beforeEach(async () => {
    rt = await build.createRuntime();
  });
  afterEach(() => rt.dispose());

  const ring = (maxEntries = 4096): RingBuffer => rt.createMap({ type: "ringbuf", maxEntries });

  describe("RingBuffer", () => {
    it("drains what was put out, oldest first", () => {
      const rb = ring();
      expect([rb.poll(), rb.drain(() => {}), rb.take()]).toEqual([false, 0, undefined]);
      expect([rb.output(bytes(1)), rb.output(bytes(2, 3)), rb.output(bytes())]).toEqual([
        true,
        true,
        true,
      ]);
      expect(rb.poll()).toBe(true);
      const seen: number[][] = [];
      expect(rb.drain((record) => void seen.push([...record]))).toBe(3);
      expect(seen).toEqual([[1], [2, 3], []]);
      expect([rb.availableBytes, rb.poll()]).toEqual([0, false]);
      expect(rb.consumerPosition).toBe(rb.producerPosition);
    });

    it("stops at a limit, at false, and at a record that is not committed", () => {
      const rb = ring();
      for (let n = 0; n < 5; n++) rb.output(bytes(n));
      expect(rb.drain(() => {}, 2)).toBe(2);
      expect(rb.drain(() => false)).toBe(1);
      const open = rb.reserve(4);
      rb.output(bytes(9));
      expect(rb.drain(() => {})).toBe(2);
      expect(rb.poll()).toBe(false);
      open?.bytes.set([5, 6, 7, 8]);
      open?.submit();
      expect(rb.take()).toEqual(bytes(5, 6, 7, 8));
      expect(rb.take()).toEqual(bytes(9));
    });

    it("a callback that throws has read its record, and the rest stays", () => {
      const rb = ring();
      rb.output(bytes(1));
      rb.output(bytes(2));
      const fail = (): never => {
        throw new Error("no");
      };
      expect(() => rb.drain(fail)).toThrow("no");
      expect(rb.take()).toEqual(bytes(2));
    });

    it("does not let a callback of its drain consume: no record comes twice, none is lost", () => {
      const rb = ring();
      for (let n = 1; n <= 4; n++) rb.output(new Uint8Array(900).fill(n));
      const seen: number[] = [];
      const lengths = new Uint32Array(4);
      rb.drain((record) => {
        seen.push(record[0] ?? 0);
        expect(codeOf(() => rb.drain(() => {}))).toBe("EBUSY");
        expect(codeOf(() => rb.take())).toBe("EBUSY");
        expect(codeOf(() => rb.recordsInto(new Uint8Array(4096), lengths))).toBe("EBUSY");
        // Into the room that a consumer in between would have made.
        rb.output(new Uint8Array(700).fill(9));
      }, 4);
      for (let record = rb.take(); record !== undefined; record = rb.take()) {
        expect([...new Set(record)]).toEqual([9]);
        seen.push(9);
      }
      expect(seen.slice(0, 4)).toEqual([1, 2, 3, 4]);
      expect([rb.availableBytes, rb.output(new Uint8Array(4000))]).toEqual([0, true]);
    });

    it("refuses arguments of other types, and loses no record by it", async () => {
      const rb = ring();
      const wrong: unknown[] = [
        [300, 1],
        "12",
        Uint16Array.of(300),
        { length: 4 },
        undefined,
        null,
      ];
      const output: (record: never) => unknown = rb.output.bind(rb);
      for (const record of wrong) expect(() => output(record as never)).toThrow(TypeError);
      expect(rb.poll()).toBe(false);
      rb.output(new Uint8Array(300).fill(7));
      const drain: (...args: never[]) => unknown = rb.drain.bind(rb);
      const into: (...args: never[]) => unknown = rb.recordsInto.bind(rb);
      const calls: readonly (() => unknown)[] = [
        () => drain(),
        () => drain({} as never),
        () => rb.drain(() => {}, Number.NaN),
        () => drain((() => {}) as never, "1" as never),
        () => into(new Uint8Array(1000) as never, new Uint8Array(1) as never),
        () => into(new Uint16Array(1000) as never, new Uint32Array(1) as never),
        () => into([] as never, [] as never),
        () => rb.wait(Number.NaN),
      ];
      for (const call of calls) expect(call).toThrow(TypeError);
      await expect(rb.waitAsync(Number.NaN)).rejects.toThrow(TypeError);
      expect(rb.take()).toEqual(new Uint8Array(300).fill(7));
      const user = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
      const push: (record: never) => unknown = user.push.bind(user);
      for (const record of wrong) expect(() => push(record as never)).toThrow(TypeError);
      await expect(user.waitAsync(8, Number.NaN)).rejects.toThrow(TypeError);
      expect(user.freeBytes).toBe(4096);
    });

    it("goes on when the callback makes the memory grow", () => {
      const rb = ring();
      for (let n = 0; n < 3; n++) rb.output(bytes(n));
      const seen: (number | undefined)[] = [];
      rb.drain((record) => {
        seen.push(record[0]);
        rt.createMap({ type: "queue", value: u32, maxEntries: 1 << 20 });
      });
      expect(seen).toEqual([0, 1, 2]);
      expect(rb.availableBytes).toBe(0);
    });

    it("steps over discarded records", () => {
      const rb = ring();
      rb.reserve(8)?.discard();
      expect(rb.poll()).toBe(false);
      expect(rb.availableBytes).toBe(0);
      rb.reserve(8)?.discard();
      rb.output(bytes(1));
      rb.reserve(8)?.discard();
      expect(rb.drain((record) => expect(record).toEqual(bytes(1)))).toBe(1);
      expect(rb.availableBytes).toBe(0);
    });

    it("counts what it loses", () => {
      const rb = ring();
      let kept = 0;
      for (let n = 0; n < 200; n++) if (rb.output(new Uint8Array(40))) kept++;
      expect(kept).toBe(85);
      expect(rb.lost).toBe(115);
      expect(rb.reserve(4000)).toBeUndefined();
      expect(rb.lost).toBe(116);
      expect(rb.drain(() => {})).toBe(85);
    });

    it("wraps without tearing", () => {
      const rb = ring();
      for (let n = 0; n < 3000; n++) {
        const size = (n * 31) % 700;
        expect(rb.output(new Uint8Array(size).fill(n))).toBe(true);
        const record = rb.take();
        expect(record?.length).toBe(size);
        if (record?.some((byte) => byte !== (n & 255))) throw new Error(`record ${n} is torn`);
      }
    });

    it("decodes records as a codec says", () => {
      const rb = rt.createMap({ type: "ringbuf", value: event, maxEntries: 4096 });
      const record = rb.reserve(event.size);
      record?.bytes.set([7, 0, 0, 0, 3, 0, 0, 0]);
      record?.submit();
      expect(rb.take()).toEqual({ id: 7, kind: 3 });
      rb.output(bytes(1));
      expect(() => rb.take()).toThrow(RangeError);
      expect(rb.take()).toBeUndefined();
    });

    it("copies many records into one array", () => {
      const rb = ring();
      for (let n = 1; n <= 5; n++) rb.output(new Uint8Array(n).fill(n));
      const out = new Uint8Array(8);
      const lengths = new Uint32Array(10);
      expect(rb.recordsInto(out, lengths)).toBe(3);
      expect([...out.subarray(0, 6), ...lengths.subarray(0, 3)]).toEqual([
        1, 2, 2, 3, 3, 3, 1, 2, 3,
      ]);
      // Of another realm.
      const foreign = runInNewContext("new Uint32Array(1)") as Uint32Array;
      expect(rb.recordsInto(out, foreign)).toBe(1);
      expect(rb.recordsInto(out, lengths)).toBe(1);
      expect(rb.recordsInto(out, lengths)).toBe(0);
      rb.output(new Uint8Array(9));
      expect(() => rb.recordsInto(out, lengths)).toThrow("E2BIG");
      expect(rb.take()?.length).toBe(9);
    });

    it("copies records whatever their lengths and wherever the array begins", () => {
      const rb = ring();
      const buffer: ArrayBuffer & { resize(bytes: number): void } = Reflect.construct(ArrayBuffer, [
        2048,
        { maxByteLength: 4096 },
      ]);
      const arrays = [0, 1, 4].map((offset) => new Uint8Array(buffer, offset, 1024));
      arrays.push(new Uint8Array(buffer));
      const lengths = new Uint32Array(16);
      for (let n = 0; n < 400; n++) {
        const sizes = [n % 7, 4, 32, (n * 13) % 150, 128, 132, 8];
        const records = sizes.map((size, i) => new Uint8Array(size).fill(n + i + 1));
        for (const record of records) expect(rb.output(record)).toBe(true);
        const out = (arrays[n % 4] as Uint8Array).fill(0);
        expect(rb.recordsInto(out, lengths)).toBe(sizes.length);
        expect([...lengths.subarray(0, sizes.length)]).toEqual(sizes);
        const all = records.flatMap((record) => [...record]);
        expect([...out.subarray(0, all.length + 8)]).toEqual([...all, ...new Uint8Array(8)]);
        // What follows the length of its buffer is longer in every other round.
        if (n % 4 === 3) buffer.resize(n % 8 === 3 ? 4096 : 2048);
      }
    });

    it("is read with for await, until it is closed", async () => {
      const rb = ring();
      const seen: number[] = [];
      const reader = (async () => {
        for await (const record of rb) seen.push(record[0] ?? -1);
      })();
      rb.output(bytes(1));
      await new Promise((resolve) => setTimeout(resolve, 5));
      rb.output(bytes(2));
      rb.output(bytes(3));
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(seen).toEqual([1, 2, 3]);
      rb.close();
      await reader;
    });

    it("waits for a wake-up, which BPF_RB_NO_WAKEUP does not give", async () => {
      const rb = ring();
      expect(await rb.waitAsync(5)).toBe(false);
      const late = rb.waitAsync(30);
      rb.output(bytes(1), BPF_RB_NO_WAKEUP);
      expect(await Promise.race([late, Promise.resolve("asleep")])).toBe("asleep");
      // Nobody wakes it: it looks again when the time is over.
      expect(await late).toBe(true);
      expect(await rb.waitAsync()).toBe(true);
      rb.take();
      const woken = rb.waitAsync(10_000);
      rb.output(bytes(2));
      expect(await woken).toBe(true);
      rb.take();
      const closed = rb.waitAsync();
      rb.close();
      expect(await closed).toBe(false);
    });

    it("two readers' maps of one ring are both woken", async () => {
      const rb = ring();
      const other = rt.mapFromId(rb.info().id, { type: "ringbuf" });
      if (!(other instanceof RingBuffer)) throw new Error("no RingBuffer");
      const both = Promise.all([rb.waitAsync(), other.waitAsync()]);
      rb.output(bytes(1));
      expect(await both).toEqual([true, true]);
      expect([other.take(), rb.take()]).toEqual([bytes(1), undefined]);
    });

    it("refuses bad sizes and flags, and throws when closed", () => {
      expect(() => ring(5000)).toThrow("EINVAL");
      const rb = ring();
      expect(() => rb.output(bytes(1), 4)).toThrow("EINVAL");
      rb.close();
      expect(() => rb.output(bytes(1))).toThrow("EBADF");
      expect(() => rb.poll()).toThrow("EBADF");
      expect(() => rb.drain(() => {})).toThrow("EBADF");
    });
  });

  it("a record is over once: what comes later does not touch the record at its place", () => {
    const user = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
    const handle = rt.exports.bpf_map_by_fd(user.fd);
    let calls = 0;
    rt.setCallback(() => {
      calls++;
      return 0n;
    });
    const drain = (): bigint => rt.exports.bpf_user_ringbuf_drain(handle, 0n, 0n, 0n);
    const first = user.reserve(2040);
    first?.submit();
    first?.discard();
    expect([drain(), calls]).toEqual([1n, 1]);
    expect(user.push(new Uint8Array(2040))).toBe(true);
    expect(drain()).toBe(1n);
    const next = user.reserve(8); // where the first one was
    first?.submit();
    expect(drain()).toBe(0n);
    next?.submit();
    expect(drain()).toBe(1n);
  });

  it("takes no records that are not bytes", () => {
    const rb = rt.createMap({ type: "ringbuf", value: event, maxEntries: 4096 });
    const user = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
    const perf = rt.createMap({ type: "perf_event_array", maxEntries: 1 });
    perf.open();
    const wrong = [
      "abc",
      [1],
      { id: 1, kind: 2 },
      Uint16Array.of(1),
      new ArrayBuffer(4),
      undefined,
    ];
    for (const record of wrong as never[]) {
      for (const write of [
        () => rb.output(record),
        () => user.push(record),
        () => perf.output(record),
      ]) {
        expect(write).toThrow(TypeError);
        expect(write).toThrow("record: expected a Uint8Array, as encode(codec, value) gives, got ");
      }
    }
    expect([rb.producerPosition, user.producerPosition, perf.drain(() => {})]).toEqual([0, 0, 0]);
    expect(rb.output(encode(event, { id: 1, kind: 2 }))).toBe(true);
    expect(rb.take()).toEqual({ id: 1, kind: 2 });
  });

  describe("UserRingBuffer", () => {
    it("goes to a program's drain", async () => {
      const rb = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
      const handle = rt.exports.bpf_map_by_fd(rb.fd);
      const seen: number[] = [];
      rt.setCallback((_fn, dynptr) => {
        const at = rt.exports.bpf_dynptr_data(Number(dynptr), 0, 1) >>> 0;
        seen.push(new Uint8Array(rt.memory.buffer)[at] ?? -1);
        return 0n;
      });
      const drain = (): bigint => rt.exports.bpf_user_ringbuf_drain(handle, 0n, 0n, 0n);
      expect(rb.push(bytes(1))).toBe(true);
      const open = rb.reserve(1);
      rb.push(bytes(3));
      expect(drain()).toBe(1n);
      open?.bytes.set([2]);
      open?.submit();
      rb.reserve(1)?.discard();
      expect(drain()).toBe(2n);
      expect(seen).toEqual([1, 2, 3]);
      expect(rb.push(new Uint8Array(4088))).toBe(true);
      expect([rb.push(bytes(1)), rb.freeBytes]).toEqual([false, 0]);
      expect(await rb.waitAsync(1, 5)).toBe(false);
      const room = rb.waitAsync(1);
      drain();
      expect(await room).toBe(true);
      expect(rb.push(bytes(4))).toBe(true);
    });

    it("wraps without tearing", () => {
      const rb = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
      const handle = rt.exports.bpf_map_by_fd(rb.fd);
      let expected = 0;
      rt.setCallback((_fn, dynptr) => {
        const size = (expected * 31) % 700;
        const at = rt.exports.bpf_dynptr_data(Number(dynptr), 0, size) >>> 0;
        const sample = new Uint8Array(rt.memory.buffer, at, size);
        if (sample.some((byte) => byte !== (expected & 255))) throw new Error("torn");
        expected++;
        return 0n;
      });
      for (let n = 0; n < 1000; n++) {
        expect(rb.push(new Uint8Array((n * 31) % 700).fill(n))).toBe(true);
        expect(rt.exports.bpf_user_ringbuf_drain(handle, 0n, 0n, 0n)).toBe(1n);
      }
    });
  });
});

// A ring buffer between threads: nothing lost, nothing torn, and what finds no room is counted.
// RING_RECORDS=5000000 moves five million records; the default is smaller.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BpfRuntime, RingBuffer } from "../../ts/index.js";
import { canThread, inThread, sharedRuntime } from "../support/threads.js";

const RECORDS = Number(process.env["RING_RECORDS"] ?? 300_000);
const RING_BYTES = 1 << 18;

interface ProducerReport {
  readonly written: number;
  readonly refused: number;
}

/** Counts the good records of each producer and checks that their numbers grow. */
class Checker {
  readonly counts = new Map<number, number>();
  readonly #last = new Map<number, number>();

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  take(record: Uint8Array): void {
    const words = new Uint32Array(record.buffer, record.byteOffset, record.byteLength >>> 2);
    const [producer = -1, number = -1] = words;
    let sum = (producer + number) >>> 0;
    for (let i = 2; i < words.length - 1; i++) sum = (sum + (words[i] ?? 0)) >>> 0;
    if (words.length !== 3 + (number % 13) || sum !== words.at(-1)) {
      throw new Error(`record ${number} of producer ${producer} is torn`);
    }
    if (number <= (this.#last.get(producer) ?? -1)) {
      throw new Error(`record ${number} of producer ${producer} came twice or late`);
    }
    this.#last.set(producer, number);
    this.counts.set(producer, (this.counts.get(producer) ?? 0) + 1);
  }
}

const isBuilt = canThread("ring buffer between threads");

describe.skipIf(!isBuilt)("ring buffer between threads", () => {
  let rt: BpfRuntime;
  let ring: RingBuffer;

  beforeEach(async () => {
    rt = await sharedRuntime({ cpus: 4, maxBytes: 1 << 24 });
    ring = rt.createMap({ type: "ringbuf", maxEntries: RING_BYTES });
  });
  afterEach(() => rt.dispose());

  const produce = (cpu: number, records: number, mayLose: boolean): Promise<ProducerReport> =>
    inThread(rt, "ring-producer.mjs", cpu, { mapId: ring.info().id, records, mayLose });

  /** Reads until the producers are done and the ring is empty. */
  const consume = async (
    producers: Promise<ProducerReport>[],
    step: (checker: Checker) => Promise<void>,
  ): Promise<{ checker: Checker; reports: ProducerReport[] }> => {
    const checker = new Checker();
    const state = { isDone: false };
    const all = Promise.all(producers).finally(() => {
      state.isDone = true;
    });
    while (!state.isDone || ring.poll()) await step(checker);
    return { checker, reports: await all };
  };

  it(`moves ${RECORDS} records of one producer`, { timeout: 600_000 }, async () => {
    const { checker, reports } = await consume([produce(1, RECORDS, false)], async (to) => {
      await ring.waitAsync(5);
      ring.drain((record) => to.take(record));
    });
    expect(reports[0]?.refused).toBe(0);
    expect(checker.total).toBe(reports[0]?.written);
    expect(checker.total).toBe(RECORDS - Math.floor(RECORDS / 97));
    expect(ring.lost).toBe(0);
  });

  it("keeps the records of three producers apart and in order", { timeout: 600_000 }, async () => {
    const each = Math.floor(RECORDS / 6);
    const producers = [1, 2, 3].map((cpu) => produce(cpu, each, false));
    const out = new Uint8Array(1 << 16);
    const lengths = new Uint32Array(4096);
    const { checker, reports } = await consume(producers, async (to) => {
      await ring.waitAsync(5);
      const count = ring.recordsInto(out, lengths);
      let at = 0;
      for (const length of lengths.subarray(0, count)) {
        to.take(out.subarray(at, at + length));
        at += length;
      }
    });
    expect(reports.map(({ refused }) => refused)).toEqual([0, 0, 0]);
    expect([1, 2, 3].map((cpu) => checker.counts.get(cpu))).toEqual(
      reports.map(({ written }) => written),
    );
    expect(ring.lost).toBe(0);
  });

  it("is read with blocking waits and with for await", { timeout: 600_000 }, async () => {
    const count = Math.min(RECORDS, 20_000);
    const checker = new Checker();
    const wanted = count - Math.floor(count / 97);
    const report = produce(1, count, false);
    while (checker.total < wanted / 2) {
      if (ring.wait(1000)) ring.drain((record) => takeHalf(checker, record, wanted / 2));
    }
    for await (const record of ring) {
      checker.take(record);
      if (checker.total === wanted) break;
    }
    expect((await report).written).toBe(wanted);
    expect(ring.poll()).toBe(false);
  });

  it("counts what a stopped consumer makes it lose", async () => {
    const count = 20_000;
    const { written, refused } = await produce(1, count, true);
    expect(refused).toBeGreaterThan(0);
    expect(ring.lost).toBe(refused);
    const checker = new Checker();
    expect(ring.drain((record) => checker.take(record))).toBe(written);
    expect(checker.total).toBe(written);
  });
});

/** Takes records until half of them are there. */
function takeHalf(checker: Checker, record: Uint8Array, half: number): boolean {
  checker.take(record);
  return checker.total < half;
}

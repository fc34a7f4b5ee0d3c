// What the codecs promise not to allocate: scalars, readInto and views.
// The heap's growth over many calls is compared with what one object per call would cost.

import { expect, test } from "vitest";
import {
  array,
  bool,
  bytes,
  f64,
  ipv4,
  struct,
  u16,
  u32,
  u64,
  u8,
  viewsOf,
} from "../../ts/codec.js";

const WARM_UP = 200_000;
/** Few enough that most rounds end before the next collection. */
const CALLS = 20_000;
const ROUNDS = 15;
/** The smallest object takes 16 bytes: a tenth of it per call cannot be one object per call. */
const LIMIT = 1.6;

/** Median heap growth in bytes per call, once the code is compiled. */
function bytesPerCall(run: (index: number) => void): number {
  for (let index = 0; index < WARM_UP; index++) {
    run(index);
  }
  const grown: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.memoryUsage().heapUsed;
    for (let index = 0; index < CALLS; index++) {
      run(index);
    }
    const growth = process.memoryUsage().heapUsed - before;
    // A collection within the round hides what was allocated: such a round says nothing.
    if (growth >= 0) {
      grown.push(growth / CALLS);
    }
  }
  return grown.toSorted((a, b) => a - b)[grown.length >> 1] ?? Infinity;
}

const Inner = struct({ port: u16, ok: bool });
const Flow = struct({
  packets: u64.asNumber,
  hits: u32,
  mac: bytes(6),
  inner: Inner,
  l: array(u8, 2),
});
const mem = viewsOf(new WebAssembly.Memory({ initial: 1 }).buffer);
const value = {
  packets: 1,
  hits: 2,
  mac: new Uint8Array(6),
  inner: { port: 3, ok: true },
  l: [4, 5],
};

test("the measurement sees one small object per call", () => {
  const kept: unknown[] = [];
  expect(bytesPerCall((index) => (kept[index & 7] = { index }))).toBeGreaterThan(LIMIT);
});

test("scalars are read and written without allocating", () => {
  for (const codec of [u8, u32, u64.asNumber]) {
    const call = (index: number): void => {
      codec.write(mem, 8, index & 0xff);
      value.hits = codec.read(mem, 8);
    };
    expect(bytesPerCall(call)).toBeLessThan(LIMIT);
  }
});

test("a struct is written, and read into an object, without allocating", () => {
  const grown = bytesPerCall((index) => {
    value.packets = index;
    Flow.write(mem, 8, value);
    Flow.readInto(mem, 8, value);
  });
  expect(grown).toBeLessThan(LIMIT);
});

test("bytes are read into an array without allocating", () => {
  const codec = bytes(100);
  const out = new Uint8Array(100);
  expect(bytesPerCall(() => codec.readInto(mem, 3, out))).toBeLessThan(LIMIT);
});

test("a view reads and writes members without allocating", () => {
  const Wide = struct({ packets: u64.asNumber, mean: f64, src: ipv4, inner: Inner });
  const view = Wide.view();
  const call = (index: number): void => {
    view.at(mem, (index & 63) * 32);
    view.packets += 1;
    view.inner.port = view.packets & 0xff;
    view.inner.ok = !view.inner.ok;
  };
  expect(bytesPerCall(call)).toBeLessThan(LIMIT);
});

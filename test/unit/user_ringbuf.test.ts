// USER_RINGBUF: a producer that writes to memory as libbpf does, drained by a program.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s } from "../support/machine.js";

const { BPF_MAP_TYPE_USER_RINGBUF, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP } = uapi;
const { E2BIG, EBUSY, EINVAL, ENOTSUPP, EPERM } = uapi;
const PAGE = uapi.PAGE_SIZE;
const BUSY = 0x80000000;
const DISCARD = 0x40000000;
/** (func (export "d") (param i64 i64 i64 i64 i64) (result i64) unreachable) */
const TRAPPING_DISPATCHER = Buffer.from(
  "0061736d01000000010a0160057e7e7e7e7e017e03020100070501016400000a05010300000b",
  "hex",
);

describeEachBuild("user ring buffer", (build) => {
  let m: Machine;
  let fd: number;
  let map: number;
  let base: number;
  let produced: number;

  beforeEach(async () => {
    m = await Machine.start(build);
    fd = create(PAGE);
    map = m.handle(fd);
    base = m.runtime.exports.ringbuf_pages(map) >>> 0;
    produced = 0;
  });
  afterEach(() => m.dispose());

  const create = (maxEntries: number): number =>
    m.create({ type: BPF_MAP_TYPE_USER_RINGBUF, keySize: 0, valueSize: 0, maxEntries });
  const core = (): Machine["runtime"]["exports"] => m.runtime.exports;
  const setProducer = (pos: number): void => {
    produced = pos;
    m.put(base + PAGE, u32s(pos, 0));
  };
  /** Writes a record as one piece and publishes it. */
  const produce = (bytes: Uint8Array, bits = 0): void => {
    const at = base + 2 * PAGE + (produced & (PAGE - 1));
    m.put(at, u32s((bytes.length | bits) >>> 0, 0));
    m.put(at + 8, bytes);
    setProducer(produced + ((bytes.length + 15) & ~7));
  };
  const consumed = (): number => m.u32(base);
  const drain = (flags = 0): number =>
    Number(core().bpf_user_ringbuf_drain(map, 5n, 77n, BigInt(flags)));
  /** Collects what the callback gets; `stopAfter` samples it answers 1. */
  const collect = (stopAfter = Infinity): number[][] => {
    const samples: number[][] = [];
    const to = m.area(64);
    m.runtime.setCallback((fn, dynptr, ctx) => {
      expect([fn, ctx]).toEqual([5n, 77n]);
      const size = m.u32(Number(dynptr) + 8) & 0xffffff;
      expect(core().bpf_dynptr_read(to, Math.min(size, 64), Number(dynptr), 0, 0n)).toBe(0);
      samples.push([...m.bytes(to, Math.min(size, 64))]);
      return samples.length >= stopAfter ? 1n : 0n;
    });
    return samples;
  };

  it("hands samples over in order and consumes them", () => {
    const samples = collect();
    expect(drain()).toBe(0);
    produce(new Uint8Array([1, 2, 3]));
    produce(new Uint8Array([]));
    produce(new Uint8Array(9).fill(7), DISCARD);
    produce(new Uint8Array([4]));
    expect(drain()).toBe(3);
    expect(samples).toEqual([[1, 2, 3], [], [4]]);
    expect(consumed()).toBe(produced);
  });

  it("stops at a busy record, and when the callback says so", () => {
    const samples = collect(2);
    for (let n = 1; n <= 3; n++) produce(new Uint8Array([n]));
    produce(new Uint8Array([9]), BUSY);
    expect(drain()).toBe(2);
    expect(consumed()).toBe(32);
    expect(drain()).toBe(1);
    expect(drain()).toBe(0);
    expect(samples).toEqual([[1], [2], [3]]);
    // The producer finishes.
    m.put(base + 2 * PAGE + 48, u32s(1));
    expect(drain()).toBe(1);
    expect(samples.at(-1)).toEqual([9]);
  });

  it("takes a record that fills the ring, and one that wraps", () => {
    const samples = collect();
    produce(new Uint8Array(PAGE - 8).fill(1));
    expect(drain()).toBe(1);
    produce(new Uint8Array(PAGE - 32));
    expect(drain()).toBe(1);
    produce(new Uint8Array(40).fill(3));
    expect(drain()).toBe(1);
    expect(samples.at(-1)).toEqual(Array.from({ length: 40 }, () => 3));
  });

  it("refuses nonsense and keeps what came before consumed", () => {
    collect();
    setProducer(7);
    expect(drain()).toBe(-EINVAL);
    setProducer(8);
    m.put(base + 2 * PAGE, u32s(8, 0));
    expect(drain()).toBe(-EINVAL);
    setProducer(0);
    produce(new Uint8Array([1]));
    m.put(base + 2 * PAGE + 16, u32s(PAGE, 0));
    setProducer(16 + PAGE + 8);
    expect(drain()).toBe(-E2BIG);
    expect(consumed()).toBe(16);
    m.put(base + PAGE, u32s(0xfffffff8, 0xffffffff));
    expect(drain()).toBe(-E2BIG);
  });

  it("checks flags, and is not to be drained from its own callback", () => {
    expect(drain(4)).toBe(-EINVAL);
    expect(Number(core().bpf_user_ringbuf_drain(map, 0n, 0n, 1n << 32n))).toBe(-EINVAL);
    produce(new Uint8Array([1]));
    let inner = 0;
    m.runtime.setCallback(() => {
      inner = drain();
      return 0n;
    });
    expect(drain()).toBe(1);
    expect(inner).toBe(-EBUSY);
    expect(drain()).toBe(0);
  });

  it("without a machine the first sample stops the drain", () => {
    produce(new Uint8Array([1]));
    produce(new Uint8Array([2]));
    expect(drain()).toBe(1);
  });

  it("wakes producers when something was consumed, or as the flags say", () => {
    const word = core().ringbuf_wakeup_word(map) >>> 0;
    const wakes = (flags: number): boolean => {
      const before = m.u32(word);
      drain(flags);
      return m.u32(word) !== before;
    };
    collect();
    expect([wakes(0), wakes(BPF_RB_FORCE_WAKEUP)]).toEqual([false, true]);
    produce(new Uint8Array([1]), DISCARD);
    expect(wakes(0)).toBe(true);
    produce(new Uint8Array([1]));
    expect(wakes(BPF_RB_NO_WAKEUP)).toBe(false);
  });

  it("the callback may touch its sample, and may close the map", () => {
    produce(u32s(1, 2));
    let at = 0;
    m.runtime.setCallback((_fn, dynptr) => {
      at = core().bpf_dynptr_data(Number(dynptr), 0, 8) >>> 0;
      expect(at).toBe(base + 2 * PAGE + 8);
      expect(core().bpf_valid_range(at, 8)).toBe(1);
      expect(core().bpf_valid_range(at, 9)).toBe(0);
      m.client.close(fd);
      return 0n;
    });
    expect(drain()).toBe(1);
    expect(core().bpf_valid_range(at, 8)).toBe(0);
    expect(drain()).toBe(-EINVAL);
  });

  it("a trap in a machine in Wasm ends the drain when the host says so", () => {
    produce(u32s(1));
    produce(u32s(2));
    const machine = new WebAssembly.Instance(new WebAssembly.Module(TRAPPING_DISPATCHER));
    m.runtime.setCallback(machine.exports["d"] as () => bigint);
    expect(() => drain()).toThrow(WebAssembly.RuntimeError);
    const samples = collect();
    expect([drain(), consumed()]).toEqual([-EBUSY, 0]);
    core().callback_threw();
    expect([drain(), samples]).toEqual([1, [[2, 0, 0, 0]]]);
    expect(consumed()).toBe(produced);
  });

  it("what a callback throws ends the drain, and with it nothing else", () => {
    const other = m.handle(create(PAGE));
    const otherBase = core().ringbuf_pages(other) >>> 0;
    m.put(otherBase + 2 * PAGE, u32s(8, 0));
    m.put(otherBase + PAGE, u32s(16, 0));
    for (let n = 0; n < 3; n++) produce(u32s(n, n));
    let isCaught = false;
    m.runtime.setCallback((fn) => {
      if (fn === 6n) throw new Error("inner");
      if (isCaught) throw new Error("outer");
      const inner = (): bigint => core().bpf_user_ringbuf_drain(other, 6n, 0n, 0n);
      expect(inner).toThrow("inner");
      isCaught = true;
      expect(drain()).toBe(-EBUSY);
      return 0n;
    });
    expect(() => drain()).toThrow("outer");
    // The samples whose callbacks threw count as read.
    expect([consumed(), m.u32(otherBase)]).toEqual([32, 16]);
    const samples = collect();
    expect(drain()).toBe(1);
    expect(samples).toEqual([[2, 0, 0, 0, 2, 0, 0, 0]]);
    const id = m.runtime.mapFromFd(fd, { type: "user_ringbuf" }).info().id;
    m.runtime.close(fd);
    expect([...m.runtime.mapIds()]).not.toContain(id);
  });

  it("everything but the consumer page may be mapped for writing", () => {
    const mmap = (offset: number, length: number): number => {
      const ret = core().map_mmap(fd, offset, length, 1);
      if (ret < 0 && ret > -4096) return ret;
      core().map_munmap(map, 1);
      return (ret >>> 0) - base;
    };
    expect(mmap(0, PAGE)).toBe(-EPERM);
    expect(mmap(PAGE, PAGE)).toBe(PAGE);
    expect(mmap(PAGE, 3 * PAGE)).toBe(PAGE);
    expect(mmap(PAGE, 4 * PAGE)).toBe(-EINVAL);
    expect(m.client.lookup(fd, null, 4).ret).toBe(-ENOTSUPP);
    expect(m.client.update(fd, null, null)).toBe(-ENOTSUPP);
  });

  it("bpf_helper_call knows 209, and the helpers of the other ring refuse this one", () => {
    collect();
    produce(new Uint8Array([1]));
    expect(core().bpf_helper_call(209, BigInt(map), 5n, 77n, 0n, 0n)).toBe(1n);
    expect(core().bpf_ringbuf_reserve(map, 8, 0n)).toBe(0);
    expect(core().bpf_ringbuf_query(map, 1n)).toBe(0n);
  });
});

// PERF_EVENT_ARRAY: commands, output of programs, and the host's reader.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";
import { Machine, u32s } from "../support/machine.js";

const { BPF_F_CURRENT_CPU, BPF_MAP_TYPE_PERF_EVENT_ARRAY } = uapi;
const { E2BIG, EBADF, EFAULT, EINVAL, ENOENT, ENOSPC, ENOTSUPP, EOPNOTSUPP } = uapi;

describeEachBuild("perf event array", (build) => {
  let m: Machine;
  let core: Machine["runtime"]["exports"];

  beforeEach(async () => {
    m = await Machine.start(build, { cpus: 2 });
    core = m.runtime.exports;
  });
  afterEach(() => m.dispose());

  const create = (maxEntries = 2, flags = 0): number => {
    const type = BPF_MAP_TYPE_PERF_EVENT_ARRAY;
    return m.client.create({ type, keySize: 4, valueSize: 4, maxEntries, flags });
  };
  const put = (map: number, index: number, fd: number, flags = 0): number =>
    m.client.update(map, u32s(index), u32s(fd), flags);

  it("checks flags, index and fd in this order; nothing can be looked up", () => {
    for (const flags of [1, 2, 0x80, 0x400]) expect(create(2, flags)).toBe(-EINVAL);
    expect(create(2, uapi.BPF_F_PRESERVE_ELEMS)).toBeGreaterThan(0);
    const fd = create();
    const event = core.perf_event_create(0, 4096);
    expect(put(fd, 9, -1, 1)).toBe(-EINVAL);
    expect(put(fd, 9, -1)).toBe(-E2BIG);
    expect([put(fd, 1, -1), put(fd, 1, fd)]).toEqual([-EBADF, -EBADF]);
    expect(put(fd, 1, event)).toBe(0);
    const key = u32s(1);
    expect(m.client.lookup(fd, key, 4).ret).toBe(-ENOTSUPP);
    expect([m.client.delete(fd, key), m.client.delete(fd, key)]).toEqual([0, -ENOENT]);
    expect(m.client.delete(fd, u32s(2))).toBe(-E2BIG);
    expect(m.client.nextKey(fd, key, 4).ret).toBe(-ENOENT);
    expect(m.runtime.close(event)).toBe(0);
  });

  it("an event needs a CPU and a power of two of pages, and lives as long as a slot has it", () => {
    for (const size of [0, 4095, 12288]) expect(core.perf_event_create(0, size)).toBe(-EINVAL);
    expect(core.perf_event_create(2, 4096)).toBe(-EINVAL);
    m.client.close(create());
    const before = m.usedBytes();
    const map = create();
    const event = core.perf_event_create(0, 4096);
    put(map, 0, event);
    put(map, 1, event);
    m.runtime.close(event);
    const data = m.area(8);
    expect(core.bpf_perf_event_output(0, m.handle(map), 0n, data, 8)).toBe(0);
    m.client.close(map);
    m.runtime.free(data);
    expect(m.usedBytes()).toBe(before);
  });

  it("output says what is wrong", () => {
    const map = create(3);
    const handle = m.handle(map);
    put(map, 0, core.perf_event_create(0, 4096));
    put(map, 1, core.perf_event_create(1, 4096));
    const data = m.area(70000);
    const output = (flags: bigint, size = 4, at = data): number =>
      core.bpf_perf_event_output(0, handle, flags, at, size);
    const current = BigInt(BPF_F_CURRENT_CPU);
    expect([output(current), output(0n), output(1n)]).toEqual([0, 0, -EOPNOTSUPP]);
    m.runtime.cpu = 1;
    expect([output(current), output(0n), output(1n)]).toEqual([0, -EOPNOTSUPP, 0]);
    expect([output(2n), output(3n), output(1n << 32n)]).toEqual([-ENOENT, -E2BIG, -EINVAL]);
    expect([output(1n, 65536), output(1n, 5000)]).toEqual([-E2BIG, -ENOSPC]);
    expect(output(1n, 4, 0xfffffffe)).toBe(-EFAULT);
    expect(core.bpf_perf_event_output(0, 0, 1n, data, 4)).toBe(-EINVAL);
    const call = core.bpf_helper_call(25, 0n, BigInt(handle), current, BigInt(data), 4n);
    expect(call).toBe(0n);
  });

  it("records are the kernel's: misc, padding, and a ring that never gets quite full", () => {
    const map = create();
    const event = core.perf_event_create(0, 4096);
    put(map, 0, event);
    const data = m.area(8192);
    const output = (size: number): number =>
      core.bpf_perf_event_output(0, m.handle(map), 0n, data, size);
    expect(output(4084)).toBe(-ENOSPC);
    m.bytes(data, 8192).fill(0xa5);
    expect(output(4076 - 24)).toBe(0);
    const pages = core.perf_event_pages(event);
    const first = pages + 4096;
    // A lost record of 24 bytes, then the sample.
    expect([m.u32(first), m.u32(first + 4)]).toEqual([2, 24 << 16]);
    expect([m.u32(first + 24), m.u32(first + 28), m.u32(first + 32)]).toEqual([
      9,
      (1 | (4064 << 16)) >>> 0,
      4052,
    ]);
    // The reader is through; the next records come round the end and pad with what lay there.
    m.put(pages + 1032, u32s(m.u32(pages + 1024)));
    m.bytes(data, 8192).fill(0);
    for (let n = 0; n < 3; n++) expect(output(1)).toBe(0);
    expect([...m.bytes(first + 24 + 8, 8)]).toEqual([4, 0, 0, 0, 0, 0xa5, 0xa5, 0xa5]);
  });

  it("the reader gets each CPU's records whole and in order, and what was lost", () => {
    const rt = m.runtime;
    const events = rt.createMap({ type: "perf_event_array", maxEntries: 2 });
    expect(() => events.output(new Uint8Array(4))).toThrow("ENOENT");
    events.open(4096);
    let expected = 0;
    const padded = (size: number): number => ((size + 12 + 7) & ~7) - 12;
    for (let n = 0; n < 500; n++) {
      const size = (n * 7) % 90;
      rt.cpu = n % 2;
      expect(events.output(new Uint8Array(size).fill(n))).toBe(true);
      const seen = events.drain((cpu, record) => {
        expect([cpu, record.length]).toEqual([n % 2, padded(size)]);
        expect(record.subarray(0, size).every((byte) => byte === (n & 255))).toBe(true);
        expected++;
      });
      expect(seen).toBe(1);
    }
    expect([expected, events.lost]).toEqual([500, 0]);
    rt.cpu = 0;
    let kept = 0;
    for (let n = 0; n < 100; n++) if (events.output(new Uint8Array(100))) kept++;
    expect(events.lost).toBe(100 - kept);
    expect(events.drain(() => false)).toBe(1);
    expect(events.drain(() => {})).toBe(kept - 1);
    expect(events.output(new Uint8Array(1))).toBe(true);
    expect(events.drain(() => {})).toBe(1);
    expect(events.lost).toBe(100 - kept);
    events.close();
    expect(() => events.drain(() => {})).toThrow("EBADF");
  });

  it("an open that fails leaves the streams and their records as they are", () => {
    m.runtime.cpu = 0;
    const events = m.runtime.createMap({ type: "perf_event_array", maxEntries: 2 });
    events.open(4096);
    events.output(new Uint8Array(4));
    const before = m.usedBytes();
    expect(codeOf(() => events.open(4097))).toBe("EINVAL");
    events.freeze();
    expect(codeOf(() => events.open(4096))).toBe("EPERM");
    expect(m.usedBytes()).toBe(before);
    expect(events.drain(() => {})).toBe(1);
  });

  it("says why a record cannot be written", () => {
    const events = m.runtime.createMap({ type: "perf_event_array", maxEntries: 1 });
    const { runtime } = m;
    runtime.cpu = 0;
    expect(() => events.output(new Uint8Array(1))).toThrow(
      "ENOENT: there is no stream for this CPU",
    );
    events.open(1 << 17);
    expect(events.output(new Uint8Array(65516))).toBe(true);
    const tooLong = (): unknown => events.output(new Uint8Array(65517));
    expect(tooLong).toThrow("E2BIG: the record has more than 65516 bytes, or no index is ");
    runtime.cpu = 1;
    expect(() => events.output(new Uint8Array(1))).toThrow("or no index is this CPU's");
  });

  it("the streams end with the map, whoever closes its fd", () => {
    m.runtime.createMap({ type: "perf_event_array", maxEntries: 2 }).close();
    const before = m.usedBytes();
    const events = m.runtime.createMap({ type: "perf_event_array", maxEntries: 2 });
    events.open(4096);
    expect(m.runtime.close(events.fd)).toBe(0);
    expect(events.closed).toBe(true);
    expect(m.usedBytes()).toBe(before);
  });

  it("a drain ends when its callback makes other streams: those it was reading are gone", () => {
    m.runtime.cpu = 0;
    const events = m.runtime.createMap({ type: "perf_event_array", maxEntries: 2 });
    events.open(4096);
    events.output(new Uint8Array(4));
    events.output(new Uint8Array(4));
    for (let n = 0; n < 5; n++) events.output(new Uint8Array(1000));
    expect(events.lost).toBe(2);
    expect(events.drain(() => events.open(8192))).toBe(1);
    expect(events.drain(() => {})).toBe(0);
    expect(events.lost).toBe(2);
  });

  it("refuses records and callbacks of other types, and loses no record by it", () => {
    const events = m.runtime.createMap({ type: "perf_event_array", maxEntries: 2 });
    events.open(4096);
    const output: (record: never) => unknown = events.output.bind(events);
    for (const record of [[300], Uint32Array.of(300), "1", { length: 4 }, undefined]) {
      expect(() => output(record as never)).toThrow(TypeError);
    }
    events.output(Uint8Array.of(7));
    expect(() => Reflect.apply(events.drain, events, []) as unknown).toThrow(TypeError);
    const seen: unknown[] = [];
    events.drain((_cpu, record) => void seen.push(record[0]));
    expect(seen).toEqual([7]);
  });

  it("the reader sees the whole of a stream that lies where the memory has grown", () => {
    const record = new Uint8Array(1000).fill(7);
    for (let round = 0; round < 30; round++) {
      const events = m.runtime.createMap({ type: "perf_event_array", maxEntries: 1 });
      events.open(65536);
      while (events.output(record));
      const isWhole: boolean[] = [];
      events.drain((_cpu, bytes) => {
        isWhole.push(bytes.subarray(0, 1000).every((byte) => byte === 7));
      });
      expect(isWhole).toEqual(Array.from({ length: 64 }, () => true));
    }
  });
});

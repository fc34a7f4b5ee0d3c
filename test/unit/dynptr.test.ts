// Dynptrs of a program's memory and of ring buffer records.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s } from "../support/machine.js";

const { E2BIG, EFAULT, EINVAL } = uapi;

describeEachBuild("dynptr", (build) => {
  let m: Machine;
  let core: Machine["runtime"]["exports"];
  let dynptr: number;
  let map: number;

  beforeEach(async () => {
    m = await Machine.start(build);
    core = m.runtime.exports;
    dynptr = m.area(16);
    const type = uapi.BPF_MAP_TYPE_RINGBUF;
    map = m.handle(m.create({ type, keySize: 0, valueSize: 0, maxEntries: 4096 }));
  });
  afterEach(() => m.dispose());

  it("of memory: reads, writes and slices within its size", () => {
    const data = m.put(m.area(16), u32s(1, 2, 3, 4));
    const other = m.area(16);
    expect(core.bpf_dynptr_from_mem(data, 16, 0n, dynptr)).toBe(0);
    expect(core.bpf_dynptr_read(other, 8, dynptr, 4, 0n)).toBe(0);
    expect(m.bytes(other, 8)).toEqual(u32s(2, 3));
    expect(core.bpf_dynptr_write(dynptr, 12, other, 4, 0n)).toBe(0);
    expect(m.u32(data + 12)).toBe(2);
    expect(core.bpf_dynptr_data(dynptr, 8, 8) >>> 0).toBe(data + 8);
    for (const [offset, len] of [
      [0, 17],
      [16, 1],
      [17, 0],
      [0xffffffff, 2],
    ] as const) {
      expect(core.bpf_dynptr_read(other, len, dynptr, offset, 0n)).toBe(-E2BIG);
      expect(core.bpf_dynptr_write(dynptr, offset, other, len, 0n)).toBe(-E2BIG);
      expect(core.bpf_dynptr_data(dynptr, offset, len)).toBe(0);
    }
    expect(core.bpf_dynptr_read(other, 0, dynptr, 16, 0n)).toBe(0);
    expect(core.bpf_dynptr_read(other, 1, dynptr, 0, 1n)).toBe(-EINVAL);
    expect(core.bpf_dynptr_write(dynptr, 0, other, 1, 1n)).toBe(-EINVAL);
    expect(core.bpf_dynptr_read(0, 4, dynptr, 0, 0n)).toBe(-EFAULT);
    expect(core.bpf_dynptr_read(other, 4, 0, 0, 0n)).toBe(-EFAULT);
  });

  it("refusals leave a null dynptr, which every use refuses", () => {
    const data = m.area(16);
    m.bytes(dynptr, 16).fill(1);
    expect(core.bpf_dynptr_from_mem(data, 0x1000000, 1n, dynptr)).toBe(-E2BIG);
    expect(m.bytes(dynptr, 16)).toEqual(new Uint8Array(16));
    expect(core.bpf_dynptr_from_mem(data, 16, 1n, dynptr)).toBe(-EINVAL);
    expect(core.bpf_dynptr_from_mem(0, 16, 0n, dynptr)).toBe(-EFAULT);
    expect(core.bpf_dynptr_from_mem(data, 16, 0n, 0)).toBe(-EFAULT);
    expect(core.bpf_dynptr_read(data, 0, dynptr, 0, 0n)).toBe(-EINVAL);
    expect(core.bpf_dynptr_write(dynptr, 0, data, 0, 0n)).toBe(-EINVAL);
    expect(core.bpf_dynptr_data(dynptr, 0, 0)).toBe(0);
  });

  it("a read-only one cannot be written to", () => {
    const data = m.area(16);
    core.bpf_dynptr_from_mem(data, 16, 0n, dynptr);
    m.bytes(dynptr, 16)[11]! |= 0x80;
    expect(core.bpf_dynptr_read(data, 4, dynptr, 0, 0n)).toBe(0);
    expect(core.bpf_dynptr_write(dynptr, 0, data, 4, 0n)).toBe(-EINVAL);
    expect(core.bpf_dynptr_data(dynptr, 0, 4)).toBe(0);
  });

  it("of a record: reserve, write, submit", () => {
    expect(core.bpf_ringbuf_reserve_dynptr(map, 12, 0n, dynptr)).toBe(0);
    const record = core.bpf_dynptr_data(dynptr, 0, 12) >>> 0;
    expect(core.bpf_valid_range(record, 12)).toBe(1);
    core.bpf_ringbuf_submit_dynptr(dynptr, 0n);
    expect(m.u32(record - 8)).toBe(12);
    expect(m.bytes(dynptr, 16)).toEqual(new Uint8Array(16));
    core.bpf_ringbuf_submit_dynptr(dynptr, 0n);
    core.bpf_ringbuf_discard_dynptr(dynptr, 0n);
    expect(core.bpf_ringbuf_reserve_dynptr(map, 12, 0n, dynptr)).toBe(0);
    const second = core.bpf_dynptr_data(dynptr, 0, 12) >>> 0;
    core.bpf_ringbuf_discard_dynptr(dynptr, 0n);
    expect(m.u32(second - 8)).toBe(0x4000000c);
  });

  it("a record that cannot be had is EINVAL or E2BIG, not EAGAIN", () => {
    expect(core.bpf_ringbuf_reserve_dynptr(map, 12, 1n, dynptr)).toBe(-EINVAL);
    expect(core.bpf_ringbuf_reserve_dynptr(map, 0x1000000, 0n, dynptr)).toBe(-E2BIG);
    expect(core.bpf_ringbuf_reserve_dynptr(map, 4096, 0n, dynptr)).toBe(-EINVAL);
    expect(core.bpf_ringbuf_reserve_dynptr(0, 8, 0n, dynptr)).toBe(-EINVAL);
    expect(core.bpf_ringbuf_reserve_dynptr(map, 8, 0n, 0)).toBe(-EFAULT);
    expect(m.bytes(dynptr, 16)).toEqual(new Uint8Array(16));
  });

  it("forged ones lead nowhere", () => {
    const data = m.area(16);
    const forge = (at: bigint, size: number, type: number, offset: number): void => {
      const view = new DataView(m.runtime.memory.buffer, dynptr, 16);
      view.setBigUint64(0, at, true);
      view.setUint32(8, (size | (type << 28)) >>> 0, true);
      view.setUint32(12, offset, true);
    };
    for (const at of [0xfffffff0n, 1n << 32n, (1n << 64n) - 8n]) {
      forge(at, 0xffffff, 1, 0xffffffff);
      expect(core.bpf_dynptr_read(data, 16, dynptr, 0, 0n)).toBe(-EFAULT);
      expect(core.bpf_dynptr_write(dynptr, 0, data, 16, 0n)).toBe(-EFAULT);
      expect(core.bpf_dynptr_data(dynptr, 0, 16)).toBe(0);
      forge(at, 16, 2, 0);
      core.bpf_ringbuf_submit_dynptr(dynptr, 0n);
    }
    forge(BigInt(data), 16, 2, 0);
    core.bpf_ringbuf_discard_dynptr(dynptr, 0n);
    expect(m.bytes(data, 16)).toEqual(new Uint8Array(16));
  });

  it("bpf_helper_call knows 197 to 203", () => {
    const call = (id: number, ...r: number[]): number => {
      const [r1, r2, r3, r4, r5] = [0, 1, 2, 3, 4].map((i) => BigInt(r[i] ?? 0));
      return Number(core.bpf_helper_call(id, r1!, r2!, r3!, r4!, r5!));
    };
    const data = m.area(16);
    expect(call(197, data, 16, 0, dynptr)).toBe(0);
    expect(call(201, data, 4, dynptr, 0, 0)).toBe(0);
    expect(call(202, dynptr, 0, data, 4, 0)).toBe(0);
    expect(call(203, dynptr, 4, 4)).toBe(data + 4);
    expect(call(198, map, 8, 0, dynptr)).toBe(0);
    expect(call(199, dynptr, 0)).toBe(0);
    expect(call(198, map, 8, 0, dynptr)).toBe(0);
    expect(call(200, dynptr, 0)).toBe(0);
    expect(core.bpf_ringbuf_query(map, 0n)).toBe(32n);
  });
});

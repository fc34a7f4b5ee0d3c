// QUEUE and STACK at bpf(2) and for programs.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import type { BytesResult } from "../support/bpf.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s, u32At } from "../support/machine.js";

const { BPF_EXIST, BPF_NOEXIST, BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK } = uapi;
const { E2BIG, EFAULT, EINVAL, ENOENT, ENOTSUPP, EPERM } = uapi;

const read = ({ ret, out }: BytesResult): number => (ret < 0 ? ret : u32At(out));

describeEachBuild("queue and stack", (build) => {
  let m: Machine;

  beforeEach(async () => {
    m = await Machine.start(build);
  });
  afterEach(() => m.dispose());

  const create = (type: number, maxEntries = 3, valueSize = 4, flags = 0): number =>
    m.client.create({ type, keySize: 0, valueSize, maxEntries, flags });
  const push = (fd: number, value: number, flags = 0): number =>
    m.client.update(fd, null, u32s(value), flags);
  const peek = (fd: number): number => read(m.client.lookup(fd, null, 4));
  const pop = (fd: number): number => read(m.client.lookupAndDelete(fd, null, 4));

  it("hands a queue's values out oldest first; BPF_EXIST drops the oldest of a full one", () => {
    const fd = create(BPF_MAP_TYPE_QUEUE);
    expect([push(fd, 1), push(fd, 2), push(fd, 3)]).toEqual([0, 0, 0]);
    expect(push(fd, 4)).toBe(-E2BIG);
    expect(peek(fd)).toBe(1);
    expect(push(fd, 4, BPF_EXIST)).toBe(0);
    expect(peek(fd)).toBe(2);
    expect(push(fd, 5, BPF_EXIST)).toBe(0);
    expect([pop(fd), pop(fd), pop(fd), pop(fd)]).toEqual([3, 4, 5, -ENOENT]);
  });

  it("hands a stack's values out newest first; BPF_EXIST drops the bottom of a full one", () => {
    const fd = create(BPF_MAP_TYPE_STACK);
    expect([push(fd, 1), push(fd, 2), push(fd, 3)]).toEqual([0, 0, 0]);
    expect(push(fd, 4)).toBe(-E2BIG);
    expect(peek(fd)).toBe(3);
    expect(push(fd, 4, BPF_EXIST)).toBe(0);
    expect(peek(fd)).toBe(4);
    expect(push(fd, 5, BPF_EXIST)).toBe(0);
    expect([pop(fd), pop(fd), pop(fd), pop(fd)]).toEqual([5, 4, 3, -ENOENT]);
  });

  it("checks sizes before it takes memory", () => {
    const type = BPF_MAP_TYPE_QUEUE;
    const at = { type, keySize: 0, valueSize: 4, maxEntries: 1 };
    expect(m.client.create({ ...at, keySize: 4 })).toBe(-EINVAL);
    expect(m.client.create({ ...at, valueSize: 0 })).toBe(-EINVAL);
    expect(m.client.create({ ...at, maxEntries: 0 })).toBe(-EINVAL);
    expect(m.client.create({ ...at, valueSize: 4194305 })).toBe(-E2BIG);
    // A ring of 4 GiB: Linux up to 6.12 refuses it.
    expect(m.client.create({ ...at, maxEntries: 0x40000000 })).toBe(-E2BIG);
    expect(m.client.create({ ...at, maxEntries: 0xffffffff, valueSize: 1 })).toBe(-E2BIG);
  });

  it("takes the flags of the type only", () => {
    for (let bit = 0; bit < 20; bit++) {
      const flag = 1 << bit;
      if (flag === uapi.BPF_F_TOKEN_FD) continue;
      const legal = [2, 3, 4, 7, 8].includes(bit);
      const fd = create(BPF_MAP_TYPE_STACK, 1, 4, flag);
      expect(fd < 0 ? fd : 0, `bit ${bit}`).toBe(legal ? 0 : -EINVAL);
      if (fd >= 0) m.client.close(fd);
    }
    expect(create(BPF_MAP_TYPE_STACK, 1, 4, 0x180)).toBe(-EINVAL);
  });

  it("refuses other flags, keys, and the commands it does not have", () => {
    const fd = create(BPF_MAP_TYPE_QUEUE);
    for (const flags of [BPF_NOEXIST, 3, 8, 2 ** 32]) expect(push(fd, 1, flags)).toBe(-EINVAL);
    expect(push(fd, 1)).toBe(0);
    const key = u32s(0);
    expect(m.client.update(fd, key, u32s(1))).toBe(-EINVAL);
    expect(m.client.lookup(fd, key, 4).ret).toBe(-EINVAL);
    expect(m.client.lookupAndDelete(fd, null, 4, 4).ret).toBe(-EINVAL);
    expect(m.client.delete(fd, null)).toBe(-EINVAL);
    expect(m.client.nextKey(fd, null, 4).ret).toBe(-EINVAL);
    const batch = { fd, keySize: 4, valueSize: 4, tokenSize: 4, token: null, count: 1 };
    expect(m.client.lookupBatch(batch).ret).toBe(-ENOTSUPP);
  });

  it("a frozen map can be peeked at only", () => {
    const fd = create(BPF_MAP_TYPE_QUEUE);
    push(fd, 7);
    expect(m.client.freeze(fd)).toBe(0);
    expect([push(fd, 8), pop(fd), peek(fd)]).toEqual([-EPERM, -EPERM, 7]);
  });

  it.each([
    ["queue", BPF_MAP_TYPE_QUEUE, 2],
    ["stack", BPF_MAP_TYPE_STACK, 1],
  ])(
    "a value popped to a bad address is gone; an empty %s answers ENOENT first",
    (_, type, left) => {
      const fd = create(type);
      push(fd, 1);
      push(fd, 2);
      const attr = new Uint8Array(uapi.BPF_ATTR_SIZE);
      const view = new DataView(attr.buffer);
      view.setInt32(0, fd, true);
      view.setBigUint64(16, 0xffff_ffff_0000n, true);
      const badPop = (): number =>
        m.runtime.bpf(uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM, attr.subarray(0, 32));
      expect(m.runtime.bpf(uapi.BPF_MAP_LOOKUP_ELEM, attr.subarray(0, 32))).toBe(-EFAULT);
      expect([badPop(), peek(fd)]).toEqual([-EFAULT, left]);
      expect([badPop(), badPop(), peek(fd)]).toEqual([-EFAULT, -ENOENT, -ENOENT]);
    },
  );

  it("a program pushes, peeks and pops; an empty map zeroes its buffer", () => {
    const core = m.runtime.exports;
    const fd = create(BPF_MAP_TYPE_STACK, 1, 8);
    const map = m.handle(fd);
    const value = m.put(m.area(8), u32s(0x11111111, 0x22222222));
    expect(core.bpf_map_push_elem(map, value, 0n)).toBe(0);
    expect(core.bpf_map_push_elem(map, value, 0n)).toBe(-E2BIG);
    expect(core.bpf_map_push_elem(map, value, 1n)).toBe(-EINVAL);
    expect(core.bpf_map_push_elem(map, value, 1n << 32n)).toBe(-EINVAL);
    m.bytes(value, 8).fill(0xee);
    expect(core.bpf_map_peek_elem(map, value)).toBe(0);
    expect(m.u32(value)).toBe(0x11111111);
    m.bytes(value, 8).fill(0xee);
    expect(core.bpf_map_pop_elem(map, value)).toBe(0);
    expect(m.u32(value + 4)).toBe(0x22222222);
    m.bytes(value, 8).fill(0xee);
    expect(core.bpf_map_pop_elem(map, value)).toBe(-ENOENT);
    expect(m.bytes(value, 8)).toEqual(new Uint8Array(8));
  });

  it("bpf_helper_call knows 87, 88 and 89, and the element helpers refuse the type", () => {
    const core = m.runtime.exports;
    const map = m.handle(create(BPF_MAP_TYPE_QUEUE));
    const value = m.put(m.area(4), u32s(9));
    const args = [BigInt(map), BigInt(value), 0n, 0n, 0n] as const;
    expect(core.bpf_helper_call(87, ...args)).toBe(0n);
    expect(core.bpf_helper_call(89, ...args)).toBe(0n);
    expect(core.bpf_helper_call(88, ...args)).toBe(0n);
    expect(core.bpf_helper_call(88, ...args)).toBe(BigInt(-ENOENT));
    expect(core.bpf_map_lookup_elem(map, value)).toBe(0);
    expect(core.bpf_map_update_elem(map, value, value, 0n)).toBe(-EINVAL);
    expect(core.bpf_map_delete_elem(map, value)).toBe(-EINVAL);
  });

  it("hostile handles and addresses are errors", () => {
    const core = m.runtime.exports;
    const map = m.handle(create(BPF_MAP_TYPE_QUEUE));
    for (const call of [
      (h: number, v: number) => core.bpf_map_push_elem(h, v, 0n),
      (h: number, v: number) => core.bpf_map_pop_elem(h, v),
      (h: number, v: number) => core.bpf_map_peek_elem(h, v),
    ]) {
      expect(call(0, 64)).toBe(-EINVAL);
      expect(call(map ^ 0x100000, 64)).toBe(-EINVAL);
      expect(call(map, 0)).toBe(-EFAULT);
      expect(call(map, 0xfffffffe)).toBe(-EFAULT);
    }
  });

  it("no byte of the ring may be touched, and closing gives all memory back", () => {
    // The first map takes the table of handles.
    m.client.close(create(BPF_MAP_TYPE_QUEUE));
    const before = m.usedBytes();
    const fd = create(BPF_MAP_TYPE_QUEUE, 100, 8);
    expect(m.usedBytes()).toBeGreaterThan(before + 800);
    for (let addr = 64; addr < 65536; addr += 4) {
      if (m.runtime.exports.bpf_valid_range(addr, 1) !== 0) throw new Error(`${addr} is valid`);
    }
    m.client.close(fd);
    expect(m.usedBytes()).toBe(before);
  });
});

// BLOOM_FILTER at bpf(2) and for programs; under BPF_F_ZERO_SEED every false positive is the kernel's.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s } from "../support/machine.js";

const { BPF_F_NUMA_NODE, BPF_F_ZERO_SEED, BPF_MAP_TYPE_BLOOM_FILTER } = uapi;
const { E2BIG, EFAULT, EINVAL, ENOENT, ENOTSUPP, EOPNOTSUPP } = uapi;

const text = (s: string): Uint8Array => new TextEncoder().encode(s);

describeEachBuild("bloom filter", (build) => {
  let m: Machine;

  beforeEach(async () => {
    m = await Machine.start(build);
  });
  afterEach(() => m.dispose());

  const create = (valueSize: number, maxEntries: number, mapExtra = 0n, flags = 0): number => {
    const type = BPF_MAP_TYPE_BLOOM_FILTER;
    return m.client.create({ type, keySize: 0, valueSize, maxEntries, mapExtra, flags });
  };
  const push = (fd: number, value: Uint8Array, flags = 0): number =>
    m.client.update(fd, null, value, flags);

  it("64 bits and three hashes: the kernel's one false positive below 200", () => {
    const fd = create(4, 4, 3n, BPF_F_ZERO_SEED);
    for (const n of [1, 2, 3]) expect(push(fd, u32s(n))).toBe(0);
    const found: number[] = [];
    for (let n = 0; n < 200; n++) {
      const ret = m.client.test(fd, u32s(n));
      expect([0, -ENOENT]).toContain(ret);
      if (ret === 0) found.push(n);
    }
    expect(found).toEqual([1, 2, 3, 171]);
  });

  it("128 bits and three bytes: of all words of three letters exactly those added", () => {
    const fd = create(3, 10, 0n, BPF_F_ZERO_SEED);
    push(fd, text("abc"));
    push(fd, text("xyz"));
    const found: string[] = [];
    const letters = "abcdefghijklmnopqrstuvwxyz".split("");
    for (const a of letters) {
      for (const b of letters) {
        for (const c of letters) {
          if (m.client.test(fd, text(a + b + c)) === 0) found.push(a + b + c);
        }
      }
    }
    expect(found).toEqual(["abc", "xyz"]);
  });

  it("takes as many bits as the kernel", () => {
    m.client.close(create(4, 1));
    const bits = (maxEntries: number, extra = 0n): number => {
      const before = m.usedBytes();
      const fd = create(4, maxEntries, extra);
      const bytes = m.usedBytes() - before;
      m.client.close(fd);
      return bytes;
    };
    const header = bits(1) - 8;
    for (const [maxEntries, expected] of [
      [9, 64],
      [45, 64],
      [46, 64],
      [64, 128],
      [100, 256],
      [1000, 2048],
    ] as const) {
      expect((bits(maxEntries, 1n) - header) * 8, `${maxEntries} entries, one hash`).toBe(expected);
    }
    for (const [maxEntries, expected] of [
      [9, 64],
      [45, 512],
      [64, 512],
      [65, 512],
      [100, 1024],
      [1000, 8192],
    ] as const) {
      expect((bits(maxEntries) - header) * 8, `${maxEntries} entries`).toBe(expected);
    }
  });

  it("a value too large is E2BIG before everything else", () => {
    const at = { type: BPF_MAP_TYPE_BLOOM_FILTER, keySize: 0, valueSize: 4, maxEntries: 1 };
    expect(m.client.create({ ...at, valueSize: 4194305, keySize: 4 })).toBe(-E2BIG);
    expect(m.client.create({ ...at, valueSize: 0x7fffffff, flags: 1 })).toBe(-E2BIG);
    expect(m.client.create({ ...at, keySize: 4 })).toBe(-EINVAL);
    expect(m.client.create({ ...at, valueSize: 0 })).toBe(-EINVAL);
    expect(m.client.create({ ...at, maxEntries: 0 })).toBe(-EINVAL);
    expect(m.client.create({ ...at, mapExtra: 15n })).toBeGreaterThan(0);
    expect(m.client.create({ ...at, mapExtra: 16n })).toBe(-EINVAL);
    expect(m.client.create({ ...at, mapExtra: 1n << 32n })).toBe(-EINVAL);
    expect(m.client.create({ ...at, flags: uapi.BPF_F_NO_PREALLOC })).toBe(-EINVAL);
    expect(m.client.create({ ...at, flags: 0x180 })).toBe(-EINVAL);
    const flags = BPF_F_ZERO_SEED | BPF_F_NUMA_NODE;
    expect(m.client.create({ ...at, flags, numaNode: -1, valueSize: 11 })).toBeGreaterThan(0);
  });

  it("info shows map_extra as it was given", () => {
    expect(m.client.info(create(4, 1)).info?.mapExtra).toBe(0n);
    expect(m.client.info(create(4, 1, 7n)).info?.mapExtra).toBe(7n);
  });

  it("max_entries is a hint: additions never fail", () => {
    const fd = create(4, 10);
    for (let n = 0; n < 1000; n++) expect(push(fd, u32s(n))).toBe(0);
    for (let n = 0; n < 1000; n++) expect(m.client.test(fd, u32s(n))).toBe(0);
  });

  it("refuses what it does not have", () => {
    const fd = create(4, 10);
    for (const flags of [1, 2, 3, 10000, 2 ** 32]) expect(push(fd, u32s(1), flags)).toBe(-EINVAL);
    expect(m.client.update(fd, null, u32s(1), 4)).toBe(-EINVAL);
    expect(m.client.update(fd, u32s(0), u32s(1))).toBe(-EINVAL);
    expect(m.client.test(fd, null)).toBe(-EFAULT);
    expect(m.client.delete(fd, null)).toBe(-EOPNOTSUPP);
    expect(m.client.nextKey(fd, null, 4).ret).toBe(-EOPNOTSUPP);
    expect(m.client.lookupAndDelete(fd, null, 4).ret).toBe(-ENOTSUPP);
    const batch = { fd, keySize: 4, valueSize: 4, tokenSize: 4, token: null, count: 1 };
    expect(m.client.lookupBatch(batch).ret).toBe(-ENOTSUPP);
  });

  it("a program adds and asks; nothing can be taken out", () => {
    const core = m.runtime.exports;
    const map = m.handle(create(12, 100));
    const value = m.put(m.area(12), text("hello, world"));
    expect(core.bpf_map_peek_elem(map, value)).toBe(-ENOENT);
    expect(core.bpf_map_push_elem(map, value, 1n)).toBe(-EINVAL);
    expect(core.bpf_map_push_elem(map, value, 0n)).toBe(0);
    expect(core.bpf_map_peek_elem(map, value)).toBe(0);
    expect(core.bpf_map_pop_elem(map, value)).toBe(-EOPNOTSUPP);
    expect(core.bpf_map_peek_elem(map, 0)).toBe(-EFAULT);
    expect(core.bpf_map_lookup_elem(map, value)).toBe(0);
  });

  it("running out of memory is ENOMEM and leaves nothing behind", async () => {
    const small = await Machine.start(build, { maxBytes: 1 << 20 });
    const at = { type: BPF_MAP_TYPE_BLOOM_FILTER, keySize: 0, valueSize: 4 };
    small.client.close(small.create({ ...at, maxEntries: 1 }));
    const before = small.usedBytes();
    expect(small.client.create({ ...at, maxEntries: 0xffffffff, mapExtra: 15n })).toBe(
      -uapi.ENOMEM,
    );
    expect(small.usedBytes()).toBe(before);
    small.dispose();
  });
});

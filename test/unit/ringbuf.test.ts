// RINGBUF at bpf(2), for programs, and in memory as a consumer maps it.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s } from "../support/machine.js";

const { BPF_MAP_TYPE_RINGBUF, BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS, BPF_RB_PROD_POS } = uapi;
const { BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE } = uapi;
const { EACCES, EAGAIN, EBUSY, EFAULT, EINVAL, ENOTSUPP, EPERM } = uapi;
const PAGE = uapi.PAGE_SIZE;
const BUSY = 0x80000000;
const DISCARD = 0x40000000;

describeEachBuild("ring buffer", (build) => {
  let m: Machine;

  beforeEach(async () => {
    m = await Machine.start(build);
  });
  afterEach(() => m.dispose());

  const create = (maxEntries = PAGE, flags = 0): number =>
    m.client.create({ type: BPF_MAP_TYPE_RINGBUF, keySize: 0, valueSize: 0, maxEntries, flags });
  const core = (): Machine["runtime"]["exports"] => m.runtime.exports;
  const mmap = (fd: number, offset: number, length: number, writable = false): number =>
    core().map_mmap(fd, offset, length, writable ? 1 : 0);
  /** Address of the ring's pages, checked to be what mmap gives. */
  const pages = (fd: number): number => {
    const at = mmap(fd, 0, PAGE) >>> 0;
    core().map_munmap(m.handle(fd), 0);
    expect(core().ringbuf_pages(m.handle(fd)) >>> 0).toBe(at);
    return at;
  };
  const reserve = (map: number, size: number, flags = 0n): number =>
    core().bpf_ringbuf_reserve(map, size, flags) >>> 0;
  const query = (map: number, what: number): number =>
    Number(core().bpf_ringbuf_query(map, BigInt(what)));
  const setConsumer = (base: number, pos: number): void => {
    m.put(base, u32s(pos, 0));
  };

  describe("bpf(2)", () => {
    it("takes powers of two of whole pages, and no other size or flag", () => {
      const at = { type: BPF_MAP_TYPE_RINGBUF, keySize: 0, valueSize: 0, maxEntries: PAGE };
      for (const maxEntries of [0, 1, 2048, 4095, 4097, 3 * PAGE, 5 * PAGE, 0xfffff000]) {
        expect(m.client.create({ ...at, maxEntries }), `${maxEntries}`).toBe(-EINVAL);
      }
      for (const maxEntries of [PAGE, 2 * PAGE, 16 * PAGE])
        expect(create(maxEntries)).toBeGreaterThan(2);
      expect(m.client.create({ ...at, keySize: 4 })).toBe(-EINVAL);
      expect(m.client.create({ ...at, valueSize: 4 })).toBe(-EINVAL);
      for (let bit = 0; bit < 20; bit++) {
        if (1 << bit === uapi.BPF_F_TOKEN_FD) continue;
        const fd = create(PAGE, 1 << bit);
        expect(fd < 0 ? fd : 0, `bit ${bit}`).toBe(bit === 2 ? 0 : -EINVAL);
      }
    });

    it("has no element command", () => {
      const fd = create();
      expect(m.client.lookup(fd, null, 4).ret).toBe(-ENOTSUPP);
      expect(m.client.update(fd, null, null)).toBe(-ENOTSUPP);
      expect(m.client.update(fd, null, null, 4)).toBe(-EINVAL);
      expect(m.client.delete(fd, null)).toBe(-ENOTSUPP);
      expect(m.client.nextKey(fd, null, 4).ret).toBe(-ENOTSUPP);
      expect(m.client.lookupAndDelete(fd, null, 4).ret).toBe(-ENOTSUPP);
      expect(m.client.lookup(fd, u32s(0), 4).ret).toBe(-EINVAL);
    });

    it("maps what the kernel maps", () => {
      const fd = create(2 * PAGE);
      const file = 6 * PAGE;
      const cases: [number, number, boolean, number][] = [
        [0, PAGE, false, 0],
        [0, PAGE, true, 0],
        [0, 1, true, 0],
        [0, PAGE + 1, true, -EPERM],
        [0, 2 * PAGE, true, -EPERM],
        [PAGE, PAGE, true, -EPERM],
        [PAGE, file - PAGE, false, 0],
        [PAGE, file - PAGE + 1, false, -EINVAL],
        [0, file, false, 0],
        [0, file + 1, false, -EINVAL],
        [PAGE, file, true, -EPERM],
        [file, PAGE, false, -EINVAL],
        [file, PAGE, true, -EPERM],
        [100, PAGE, false, -EINVAL],
        [0, 0, false, -EINVAL],
        [PAGE, 2 ** 40, true, -EPERM],
        [PAGE, 2 ** 40, false, -EINVAL],
      ];
      const base = pages(fd);
      for (const [offset, length, writable, expected] of cases) {
        const ret = mmap(fd, offset, length, writable);
        const isErr = ret < 0 && ret > -4096;
        expect(isErr ? ret : 0, `${offset} ${length} ${writable}`).toBe(expected);
        if (isErr) continue;
        expect(ret >>> 0).toBe(base + offset);
        core().map_munmap(m.handle(fd), writable ? 1 : 0);
      }
    });

    it("a frozen ring has no writable window; an open one forbids freezing", () => {
      const fd = create();
      mmap(fd, 0, PAGE, true);
      expect(m.client.freeze(fd)).toBe(-EBUSY);
      core().map_munmap(m.handle(fd), 1);
      expect(m.client.freeze(fd)).toBe(0);
      expect(mmap(fd, 0, PAGE, true)).toBe(-EPERM);
      expect(mmap(fd, 0, PAGE) >>> 0).toBe(core().ringbuf_pages(m.handle(fd)) >>> 0);
    });

    it("a window keeps the map alive and needs an fd for reading and writing", () => {
      const fd = create();
      const map = m.handle(fd);
      const id = m.client.info(fd).info?.id ?? 0;
      const writeOnly = m.client.getFdById(id, uapi.BPF_F_WRONLY);
      const readOnly = m.client.getFdById(id, uapi.BPF_F_RDONLY);
      expect(mmap(writeOnly, 0, PAGE)).toBe(-EACCES);
      expect(mmap(readOnly, 0, PAGE, true)).toBe(-EACCES);
      expect(mmap(readOnly, 0, PAGE)).toBe(-EINVAL);
      mmap(fd, 0, PAGE);
      for (const open of [fd, writeOnly, readOnly]) m.client.close(open);
      expect(reserve(map, 8)).not.toBe(0);
      core().map_munmap(map, 0);
      expect(reserve(map, 8)).toBe(0);
    });
  });

  describe("records", () => {
    it("have the kernel's header and positions", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      const first = reserve(map, 5);
      expect(first).toBe(base + 2 * PAGE + 8);
      expect(m.u32(first - 8)).toBe((5 | BUSY) >>> 0);
      expect(m.u32(first - 4)).toBe(3);
      expect(m.u32(base + PAGE)).toBe(16);
      const second = reserve(map, 16);
      expect(second).toBe(first + 16);
      expect(m.u32(base + PAGE)).toBe(40);
      core().bpf_ringbuf_discard(second, 0n);
      expect(m.u32(second - 8)).toBe((16 | DISCARD) >>> 0);
      core().bpf_ringbuf_submit(first, 0n);
      expect(m.u32(first - 8)).toBe(5);
      expect([BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE].map((what) => query(map, what))).toEqual([
        40,
        PAGE,
      ]);
      setConsumer(base, 16);
      expect(query(map, BPF_RB_AVAIL_DATA)).toBe(24);
      expect([BPF_RB_CONS_POS, BPF_RB_PROD_POS].map((what) => query(map, what))).toEqual([16, 40]);
      expect(query(map, 4)).toBe(0);
      expect(core().bpf_ringbuf_query(map, 1n << 32n)).toBe(0n);
    });

    it("pg_off counts pages from the kernel's structure on", () => {
      const map = m.handle(create(2 * PAGE));
      reserve(map, PAGE - 8);
      expect(m.u32(reserve(map, 8) - 4)).toBe(4);
    });

    it("the largest payload is the ring less sixteen bytes", () => {
      const map = m.handle(create());
      expect(reserve(map, PAGE - 8)).toBe(0);
      expect(reserve(map, PAGE)).toBe(0);
      expect(reserve(map, 0x3fffffff)).toBe(0);
      expect(reserve(map, 0x40000000)).toBe(0);
      expect(reserve(map, 0xffffffff)).toBe(0);
      expect(core().ringbuf_lost(map)).toBe(5n);
      expect(reserve(map, PAGE - 16)).not.toBe(0);
      expect(reserve(map, 0)).toBe(0);
      expect(reserve(map, 8, 1n)).toBe(0);
      expect(core().ringbuf_lost(map)).toBe(6n);
    });

    it("what is not consumed, and what is not committed, blocks the ring", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      const oldest = reserve(map, 1000);
      const next = reserve(map, 1000);
      const third = reserve(map, 1000);
      expect(reserve(map, 1200)).toBe(0);
      core().bpf_ringbuf_submit(next, 0n);
      core().bpf_ringbuf_submit(third, 0n);
      // The consumer claims to be through, but the oldest record is still being written.
      setConsumer(base, 3 * 1008);
      expect(reserve(map, 1200)).toBe(0);
      core().bpf_ringbuf_submit(oldest, 0n);
      expect(reserve(map, 1200)).not.toBe(0);
      expect(m.u32(base + PAGE + 8)).toBe(3 * 1008);
    });

    it("pending_pos goes on when there is no room", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      const record = reserve(map, 4000);
      core().bpf_ringbuf_submit(record, 0n);
      expect(m.u32(base + PAGE + 8)).toBe(0);
      expect(reserve(map, 1000)).toBe(0);
      expect(m.u32(base + PAGE + 8)).toBe(4008);
    });

    it("a record that wraps is one piece, and its end comes round on commit", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      const data = base + 2 * PAGE;
      core().bpf_ringbuf_discard(reserve(map, PAGE - 32), 0n);
      setConsumer(base, PAGE - 24);
      const record = reserve(map, 40);
      expect(record).toBe(data + PAGE - 16);
      m.put(record, u32s(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
      expect(m.u32(data)).toBe(((PAGE - 32) | DISCARD) >>> 0);
      core().bpf_ringbuf_submit(record, 0n);
      expect(m.bytes(data, 24)).toEqual(u32s(5, 6, 7, 8, 9, 10));
      expect(m.bytes(record, 40)).toEqual(u32s(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    });

    it("what a program leaves alone in a record that wraps is what the ring held there", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      const first = reserve(map, PAGE - 32);
      m.bytes(first, PAGE - 32).fill(7);
      core().bpf_ringbuf_submit(first, 0n);
      setConsumer(base, PAGE - 24);
      const record = reserve(map, 40);
      const before = [...m.bytes(base + 2 * PAGE, 24)];
      expect([...m.bytes(record + 16, 24)]).toEqual(before);
      m.put(record + 24, u32s(1));
      core().bpf_ringbuf_submit(record, 0n);
      expect(before.slice(8)).toEqual(Array.from({ length: 16 }, () => 7));
      const after = [...before.slice(0, 8), 1, 0, 0, 0, ...before.slice(12)];
      expect([...m.bytes(record + 16, 24)]).toEqual(after);
      expect([...m.bytes(base + 2 * PAGE, 24)]).toEqual(after);
    });

    it("with the data mapped, both copies are equal", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      const [one, two] = [base + 2 * PAGE, base + 3 * PAGE];
      const early = reserve(map, 8);
      m.put(early, u32s(1, 2));
      core().bpf_ringbuf_submit(early, 0n);
      mmap(fd, PAGE, 3 * PAGE);
      const same = (): void => expect(m.bytes(one, PAGE)).toEqual(m.bytes(two, PAGE));
      same();
      let pos = 16;
      for (let i = 0; i < 40; i++) {
        setConsumer(base, pos);
        const size = (i * 37) % 500;
        const record = reserve(map, size);
        expect(record).not.toBe(0);
        m.bytes(record, size).fill(i + 1);
        core().bpf_ringbuf_submit(record, 0n);
        same();
        pos += (size + 15) & ~7;
      }
    });

    it("a record reserved across the end before the mapping survives it", () => {
      const fd = create();
      const map = m.handle(fd);
      const base = pages(fd);
      core().bpf_ringbuf_discard(reserve(map, PAGE - 32), 0n);
      setConsumer(base, PAGE - 24);
      const record = reserve(map, 40);
      m.put(record, u32s(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
      mmap(fd, 0, 4 * PAGE);
      core().bpf_ringbuf_submit(record, 0n);
      expect(m.bytes(record, 40)).toEqual(u32s(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
      expect(m.bytes(base + 2 * PAGE, PAGE)).toEqual(m.bytes(base + 3 * PAGE, PAGE));
    });
  });

  it("output copies a record in", () => {
    const fd = create();
    const map = m.handle(fd);
    const base = pages(fd);
    const data = m.put(m.area(16), u32s(7, 8, 9));
    expect(core().bpf_ringbuf_output(map, data, 12, 0n)).toBe(0);
    expect(m.bytes(base + 2 * PAGE, 20)).toEqual(u32s(12, 3, 7, 8, 9));
    expect(core().bpf_ringbuf_output(map, data, 12, 4n)).toBe(-EINVAL);
    expect(core().bpf_ringbuf_output(map, data, 12, 1n << 32n)).toBe(-EINVAL);
    expect(core().bpf_ringbuf_output(0, data, 12, 0n)).toBe(-EINVAL);
    expect(core().bpf_ringbuf_output(map, 0xfffffff0, 64, 0n)).toBe(-EFAULT);
    const big = m.area(PAGE);
    expect(core().bpf_ringbuf_output(map, big, PAGE - 32, 0n)).toBe(-EAGAIN);
    expect(core().ringbuf_lost(map)).toBe(1n);
  });

  it("wakes a consumer that has caught up, or as the flags say", () => {
    const fd = create();
    const map = m.handle(fd);
    const base = pages(fd);
    const word = core().ringbuf_wakeup_word(map) >>> 0;
    const commit = (flags: number): boolean => {
      const before = m.u32(word);
      core().bpf_ringbuf_submit(reserve(map, 8), BigInt(flags));
      return m.u32(word) !== before;
    };
    expect(commit(0)).toBe(true);
    expect(commit(0)).toBe(false);
    expect(commit(BPF_RB_FORCE_WAKEUP)).toBe(true);
    setConsumer(base, 48);
    expect(commit(BPF_RB_NO_WAKEUP)).toBe(false);
    setConsumer(base, 64);
    expect(commit(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP)).toBe(true);
    setConsumer(base, 80);
    expect(commit(8)).toBe(true);
  });

  it("exactly the reserved records may be touched", () => {
    const fd = create();
    const map = m.handle(fd);
    const base = pages(fd);
    const valid = (addr: number, len: number): number => core().bpf_valid_range(addr, len);
    const one = reserve(map, 20);
    const two = reserve(map, 8);
    expect([valid(one, 20), valid(one + 4, 16), valid(one, 21), valid(one - 4, 4)]).toEqual([
      1, 1, 0, 0,
    ]);
    expect([valid(two, 8), valid(two - 8, 8), valid(two + 8, 1), valid(one + 16, 8)]).toEqual([
      1, 0, 0, 0,
    ]);
    core().bpf_ringbuf_submit(one, 0n);
    expect([valid(one, 1), valid(two, 8)]).toEqual([0, 1]);
    core().bpf_ringbuf_discard(two, 0n);
    expect(valid(two, 1)).toBe(0);
    core().bpf_ringbuf_discard(reserve(map, PAGE - 16 - 64), 0n);
    setConsumer(base, query(map, BPF_RB_PROD_POS));
    const wrapped = reserve(map, 100);
    expect([valid(wrapped, 100), valid(wrapped + 96, 4), valid(wrapped + 96, 5)]).toEqual([
      1, 1, 0,
    ]);
    // The end lies in the second copy; where it will be copied to is not the program's.
    expect(valid(base + 2 * PAGE, 1)).toBe(0);
    m.client.close(fd);
    expect(valid(wrapped, 1)).toBe(0);
  });

  it("submitting anything but a reserved record does nothing", () => {
    const fd = create();
    const map = m.handle(fd);
    const base = pages(fd);
    const record = reserve(map, 64);
    const image = (): Uint8Array => m.bytes(base, 4 * PAGE).slice();
    const before = image();
    for (const addr of [
      0,
      4,
      8,
      64,
      record - 8,
      record + 8,
      record + 4,
      base,
      base + PAGE,
      0xffffffff,
    ]) {
      core().bpf_ringbuf_submit(addr, 0n);
      core().bpf_ringbuf_discard(addr, 2n);
    }
    expect(image()).toEqual(before);
    core().bpf_ringbuf_submit(record, 0n);
    const after = image();
    core().bpf_ringbuf_discard(record, 0n);
    expect(image()).toEqual(after);
    m.client.close(fd);
    core().bpf_ringbuf_submit(record, 0n);
  });

  it("nothing the user writes to the pages leads out of them", () => {
    const fd = create();
    const map = m.handle(fd);
    const base = pages(fd);
    mmap(fd, PAGE, 3 * PAGE);
    for (let i = 0; i < 50; i++) {
      m.bytes(base, 2 * PAGE).fill(0xff - i);
      const record = reserve(map, 24);
      m.bytes(base + 2 * PAGE, 2 * PAGE).fill(0xff - i);
      if (record !== 0) core().bpf_ringbuf_submit(record, 0n);
      m.bytes(base, 8).fill(0);
      core().bpf_ringbuf_query(map, 0n);
    }
  });

  it("other maps' handles are no rings", () => {
    const queue = m.create({
      type: uapi.BPF_MAP_TYPE_QUEUE,
      keySize: 0,
      valueSize: 4,
      maxEntries: 1,
    });
    const map = m.handle(queue);
    expect(reserve(map, 8)).toBe(0);
    expect(core().bpf_ringbuf_output(map, 64, 4, 0n)).toBe(-EINVAL);
    expect(core().bpf_ringbuf_query(map, 1n)).toBe(0n);
    expect(core().ringbuf_lost(map)).toBe(BigInt(-EINVAL));
    expect([core().ringbuf_pages(map), core().ringbuf_wakeup_word(map)]).toEqual([0, 0]);
    expect(core().bpf_user_ringbuf_drain(map, 0n, 0n, 0n)).toBe(BigInt(-EINVAL));
  });

  it("bpf_helper_call knows 130 to 134", () => {
    const map = BigInt(m.handle(create()));
    const call = (id: number, ...r: bigint[]): bigint =>
      core().bpf_helper_call(id, r[0] ?? 0n, r[1] ?? 0n, r[2] ?? 0n, r[3] ?? 0n, r[4] ?? 0n);
    const data = BigInt(m.area(8));
    expect(call(130, map, data, 8n, 0n)).toBe(0n);
    const record = call(131, map, 8n, 0n);
    expect(record).toBeGreaterThan(0n);
    expect(call(131, map, (1n << 32n) + 8n, 0n)).toBe(0n);
    expect(call(132, record, 0n)).toBe(0n);
    expect(call(133, call(131, map, 8n, 0n), 0n)).toBe(0n);
    expect(call(134, map, 0n)).toBe(48n);
    expect(call(134, map, 1n)).toBe(4096n);
  });

  it("gives everything back", () => {
    m.client.close(create());
    const before = m.usedBytes();
    const fd = create(16 * PAGE);
    reserve(m.handle(fd), 8);
    m.client.close(fd);
    expect(m.usedBytes()).toBe(before);
  });
});

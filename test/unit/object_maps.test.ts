// Maps of programs, cgroups, devices, CPUs and sockets at bpf(2). Every answer is that of Linux 6.18 to a process that has no
// program, no bound socket, and an fd of a cgroup; test/kernel/types.ts has random sessions of all of them.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { expectSound } from "../support/debug.js";
import { Machine, u32s } from "../support/machine.js";

const { BPF_EXIST, BPF_NOEXIST } = uapi;
const { E2BIG, EBADF, EEXIST, EINVAL, ENODEV, ENOENT, ENOMEM, ENOSPC } = uapi;
const { ENOTSOCK, ENOTSUPP, EOPNOTSUPP, EOVERFLOW } = uapi;

/** The types, and the sizes their values may have. */
const ALL = {
  PROG_ARRAY: { type: uapi.BPF_MAP_TYPE_PROG_ARRAY, sizes: [4] },
  CGROUP_ARRAY: { type: uapi.BPF_MAP_TYPE_CGROUP_ARRAY, sizes: [4] },
  DEVMAP: { type: uapi.BPF_MAP_TYPE_DEVMAP, sizes: [4, 8] },
  DEVMAP_HASH: { type: uapi.BPF_MAP_TYPE_DEVMAP_HASH, sizes: [4, 8] },
  CPUMAP: { type: uapi.BPF_MAP_TYPE_CPUMAP, sizes: [4, 8] },
  XSKMAP: { type: uapi.BPF_MAP_TYPE_XSKMAP, sizes: [4] },
  SOCKMAP: { type: uapi.BPF_MAP_TYPE_SOCKMAP, sizes: [4, 8] },
  SOCKHASH: { type: uapi.BPF_MAP_TYPE_SOCKHASH, sizes: [4, 8] },
  REUSEPORT_SOCKARRAY: { type: uapi.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, sizes: [4, 8] },
};
type Name = keyof typeof ALL;

describeEachBuild("maps of objects", (build) => {
  let m: Machine;

  beforeEach(async () => {
    m = await Machine.start(build, { cpus: 2 });
  });
  afterEach(() => m.dispose());

  const create = (name: Name, valueSize = 4, maxEntries = 4, flags = 0, keySize = 4): number =>
    m.client.create({ type: ALL[name].type, keySize, valueSize, maxEntries, flags });
  const update = (fd: number, index: number, value: Uint8Array, flags = 0): number =>
    m.client.update(fd, u32s(index), value, flags);

  describe.each(Object.keys(ALL) as Name[])("%s", (name) => {
    const sizes: readonly number[] = ALL[name].sizes;

    it("is made with these sizes and flags, and no others", () => {
      for (const valueSize of [0, 1, 4, 5, 8, 12]) {
        const fits = sizes.includes(valueSize);
        expect(create(name, valueSize) > 0, `value size ${valueSize}`).toBe(fits);
      }
      expect(create(name, 4, 0)).toBe(-EINVAL);
      expect(create(name, 4, 4, uapi.BPF_F_NUMA_NODE)).toBeGreaterThan(0);
      const isCpumap = name === "CPUMAP";
      expect(create(name, 4, 4, uapi.BPF_F_RDONLY) > 0).toBe(!isCpumap);
      expect(create(name, 4, 4, uapi.BPF_F_RDONLY_PROG) > 0).toBe(name === "REUSEPORT_SOCKARRAY");
      expect(create(name, 4, 4, uapi.BPF_F_MMAPABLE)).toBe(-EINVAL);
      expect(create(name, 4, 257) > 0).toBe(!isCpumap);
      expect(create(name, 4, 4, 0, 5) > 0).toBe(name === "SOCKHASH");
      expect(create(name, 4, 4, 0, 513)).toBe(name === "SOCKHASH" ? -E2BIG : -EINVAL);
    });

    it("has nothing, walks over its indices, and has no batches", () => {
      for (const valueSize of sizes) {
        const fd = create(name, valueSize);
        const keys: number[] = [];
        let key: Uint8Array | null = null;
        for (;;) {
          const next = m.client.nextKey(fd, key, 4);
          if (next.ret !== 0) break;
          key = next.out;
          keys.push(key[0] as number);
        }
        expect(keys).toEqual(name.includes("HASH") ? [] : [0, 1, 2, 3]);
        const absent = m.client.lookup(fd, u32s(1), valueSize).ret;
        if (name === "XSKMAP") expect(absent).toBe(-EOPNOTSUPP);
        else if (name === "CGROUP_ARRAY") expect(absent).toBe(-ENOTSUPP);
        else if (name.includes("SOCK")) expect(absent).toBe(valueSize === 4 ? -ENOSPC : -ENOENT);
        else expect(absent).toBe(-ENOENT);
        expect(m.client.lookupAndDelete(fd, u32s(1), valueSize).ret).toBe(-ENOTSUPP);
        const batch = { fd, keySize: 4, valueSize, tokenSize: 4, token: null, count: 4 };
        expect(m.client.lookupBatch(batch).ret).toBe(-ENOTSUPP);
      }
    });

    it("says what is wrong with what is put in or taken out", () => {
      const fd = create(name, sizes.at(-1));
      const size = sizes.at(-1) as number;
      const none = new Uint8Array(size).fill(0xff);
      for (const flags of [3, 4, 8]) expect(update(fd, 1, none, flags)).toBe(-EINVAL);
      const beyond = update(fd, 4, new Uint8Array(size));
      const [isHash, isSock] = [name.includes("HASH"), name.includes("SOCK")];
      if (isHash || name === "SOCKMAP") expect(beyond).not.toBe(-E2BIG);
      else expect(beyond).toBe(-E2BIG);
      const ends = [m.client.delete(fd, u32s(1)), m.client.delete(fd, u32s(4))];
      if (isHash) expect(ends).toEqual([-ENOENT, -ENOENT]);
      else if (name === "SOCKMAP") expect(ends).toEqual([-EINVAL, -EINVAL]);
      else if (isSock || name.endsWith("ARRAY")) expect(ends).toEqual([-ENOENT, -E2BIG]);
      else expect(ends).toEqual([0, -EINVAL]);
      expectSound(m.runtime, fd);
    });
  });

  it("a cgroup goes into a CGROUP_ARRAY, which keeps it", () => {
    const fd = create("CGROUP_ARRAY");
    // The tables of objects grow with the first one.
    const first = m.runtime.cgroup();
    first.rmdir();
    first.close();
    const used = m.usedBytes();
    const cgroup = m.runtime.cgroup();
    expect(update(fd, 1, u32s(cgroup.fd))).toBe(0);
    expect(update(fd, 1, u32s(cgroup.fd), BPF_NOEXIST)).toBe(-EINVAL);
    expect(update(fd, 2, u32s(fd))).toBe(-EBADF);
    expect(update(fd, 2, u32s(0xffff_ffff))).toBe(-EBADF);
    expect(update(fd, 4, u32s(cgroup.fd))).toBe(-E2BIG);
    expect(m.client.lookup(fd, u32s(1), 4).ret).toBe(-ENOTSUPP);
    expect(cgroup.rmdir()).toBe(0);
    cgroup.close();
    expect(m.usedBytes()).toBeGreaterThan(used);
    expect(m.client.delete(fd, u32s(1))).toBe(0);
    expect(m.usedBytes()).toBe(used);
    expect(m.client.delete(fd, u32s(1))).toBe(-ENOENT);
    // One that is in it when the map ends.
    const other = m.runtime.cgroup();
    expect(update(fd, 0, u32s(other.fd))).toBe(0);
    m.runtime.close(fd);
    expect(other.rmdir()).toBe(0);
    other.close();
    expect(m.usedBytes()).toBeLessThanOrEqual(used);
  });

  it("no fd is that of a program", () => {
    const fd = create("PROG_ARRAY");
    expect(update(fd, 0, u32s(fd))).toBe(-EINVAL);
    expect(update(fd, 0, u32s(0))).toBe(-EINVAL);
    expect(update(fd, 0, u32s(999))).toBe(-EBADF);
  });

  it("a CPUMAP has the lengths of CPUs' queues", () => {
    const fd = create("CPUMAP", 8, 4);
    const at = (length: number, program = 0): Uint8Array => u32s(length, program);
    expect(update(fd, 1, at(192))).toBe(0);
    expect(m.client.lookup(fd, u32s(1), 8)).toMatchObject({ ret: 0, out: u32s(192, 0) });
    expect(update(fd, 1, at(16384), BPF_EXIST)).toBe(0);
    expect(update(fd, 1, at(192), BPF_NOEXIST)).toBe(-EEXIST);
    expect(update(fd, 1, at(16385))).toBe(-EOVERFLOW);
    expect(update(fd, m.runtime.cpus, at(192))).toBe(-ENODEV);
    expect(update(fd, 0, at(192, 999))).toBe(-ENOMEM);
    expect(update(fd, 1, at(0))).toBe(0);
    expect(m.client.lookup(fd, u32s(1), 8).ret).toBe(-ENOENT);
  });

  it("there are no devices", () => {
    const map = create("DEVMAP", 8);
    expect(m.client.info(map).info?.mapFlags).toBe(uapi.BPF_F_RDONLY_PROG);
    expect(update(map, 0, u32s(0, 0))).toBe(0);
    expect(update(map, 0, u32s(0, 0), BPF_EXIST)).toBe(0);
    expect(update(map, 0, u32s(0, 0), BPF_NOEXIST)).toBe(-EEXIST);
    expect(update(map, 0, u32s(0, 9))).toBe(-EINVAL);
    expect(update(map, 0, u32s(7, 0))).toBe(-EINVAL);
    const hash = create("DEVMAP_HASH", 4);
    expect([update(hash, 9, u32s(0)), update(hash, 9, u32s(7))]).toEqual([-EINVAL, -EINVAL]);
    expect(create("DEVMAP_HASH", 4, 0x8000_0001)).toBe(-EINVAL);
  });

  it("sockets are as socket(2) makes them", () => {
    const socket = m.runtime.socket();
    for (const name of ["SOCKMAP", "SOCKHASH", "XSKMAP"] as const) {
      const fd = create(name);
      for (const flags of name === "XSKMAP" ? [0, 1, 2] : [0, 1, 2, 3])
        expect(update(fd, 0, u32s(socket.fd), flags)).toBe(-EOPNOTSUPP);
      expect(update(fd, 0, u32s(fd))).toBe(-ENOTSOCK);
      expect(update(fd, 0, u32s(999))).toBe(-EBADF);
      expect(update(fd, 0, u32s(0xffff_ffff))).toBe(name === "XSKMAP" ? -EBADF : -EINVAL);
    }
    const fd = create("REUSEPORT_SOCKARRAY", 8);
    const of = (low: number, high = 0): Uint8Array => u32s(low, high);
    expect(update(fd, 0, of(socket.fd))).toBe(-EINVAL);
    expect(update(fd, 0, of(socket.fd), BPF_EXIST)).toBe(-ENOENT);
    expect(update(fd, 0, of(fd))).toBe(-ENOTSOCK);
    expect(update(fd, 0, of(999))).toBe(-EBADF);
    expect(update(fd, 0, of(socket.fd, 1))).toBe(-EINVAL);
    expect(update(create("REUSEPORT_SOCKARRAY", 4), 0, u32s(0xffff_ffff))).toBe(-EBADF);
  });

  it("as inner maps: not a PROG_ARRAY, an XSKMAP of one length, the others of any", () => {
    const outer = (innerMapFd: number): number =>
      m.client.create({
        type: uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
        keySize: 4,
        valueSize: 4,
        maxEntries: 2,
        innerMapFd,
      });
    expect(outer(create("PROG_ARRAY"))).toBe(-ENOTSUPP);
    for (const name of Object.keys(ALL) as Name[]) {
      if (name === "PROG_ARRAY") continue;
      const fd = outer(create(name, 4, 2));
      expect(update(fd, 0, u32s(create(name, 4, 2)))).toBe(0);
      expect(update(fd, 0, u32s(create(name, 4, 3)))).toBe(name === "XSKMAP" ? -EINVAL : 0);
    }
  });
});

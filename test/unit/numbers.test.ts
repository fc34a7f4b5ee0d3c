// Numbers that are none for the core: they would be cut to 32 bits on their way, and mean something else.

import { expect, it } from "vitest";
import { BPF_F_MMAPABLE, EBADF, EINVAL, u32 } from "../../ts/index.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

const TWO_32 = 2 ** 32;

/** As a caller without types has it. */
const text = (value: string): number => value as unknown as number;

describeEachBuild("numbers that are none", (build) => {
  const boot = async (): Promise<Runtime> => build.createRuntime({ cpus: 2 });

  it("are no length of a record", async () => {
    using rt = await boot();
    const ring = rt.createMap({ type: "ringbuf", maxEntries: 4096 });
    const user = rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
    for (const length of [TWO_32 + 8, 2 ** 30, 1.9, -1, NaN, Infinity]) {
      expect(() => ring.reserve(length)).toThrow(RangeError);
      expect(() => user.reserve(length)).toThrow(RangeError);
      await expect(user.waitAsync(length)).rejects.toThrow(RangeError);
    }
    expect(() => ring.reserve(text("8"))).toThrow("byteLength: expected a number, got string");
    expect(() => user.reserve(text("8"))).toThrow(TypeError);
    expect([ring.availableBytes, user.freeBytes]).toEqual([0, 4096]);
    expect(ring.reserve(8)?.bytes.length).toBe(8);
    expect(ring.reserve(2 ** 30 - 1)).toBeUndefined();
  });

  it("are no flags of a record, which stays reserved", async () => {
    using rt = await boot();
    const ring = rt.createMap({ type: "ringbuf", maxEntries: 4096 });
    const record = ring.reserve(8);
    for (const flags of [TWO_32, 4, 0.5, -1, NaN]) {
      expect(codeOf(() => ring.output(new Uint8Array(200), flags))).toBe("EINVAL");
      expect(codeOf(() => record?.submit(flags))).toBe("EINVAL");
      expect(codeOf(() => record?.discard(flags))).toBe("EINVAL");
    }
    expect(() => record?.submit(text("1"))).toThrow("flags: expected a number, got string");
    expect(ring.poll()).toBe(false);
    record?.submit(3);
    expect(ring.drain(() => {})).toBe(1);
  });

  it("are no flags of an operation, and say so", async () => {
    using rt = await boot();
    const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 2 }).set(1, 1);
    const queue = rt.createMap({ type: "queue", value: u32, maxEntries: 2 });
    const storage = rt.createMap({ type: "sk_storage", value: u32 });
    const socket = rt.socket();
    for (const flags of [text("1"), 1n as unknown as number, null as unknown as number]) {
      const refused: readonly (() => unknown)[] = [
        () => map.update(1, 2, flags),
        () => map.lookup(1, flags),
        () => map.lookupInto(1, 0, flags),
        () => map.lookupAndDelete(1, flags),
        () => queue.push(1, flags),
        () => storage.update(socket, 1, flags),
      ];
      for (const call of refused) {
        expect(call).toThrow(TypeError);
        expect(call).toThrow(`flags: expected a number, got ${typeof flags}`);
      }
    }
    expect([map.get(1), queue.pop(), storage.get(socket)]).toEqual([1, undefined, undefined]);
  });

  it("are no size of a stream, and leave the open ones alone", async () => {
    using rt = await boot();
    const events = rt.createMap({ type: "perf_event_array", maxEntries: 2 });
    events.open(4096);
    for (const bytes of [TWO_32 + 4096, 4096.5, -4096, NaN, text("4096")])
      expect(codeOf(() => events.open(bytes))).toBe("EINVAL");
    expect(events.output(new Uint8Array(4))).toBe(true);
  });

  it("are no fds", async () => {
    using rt = await boot();
    const map = rt.createMap({
      type: "array",
      value: u32,
      maxEntries: 1,
      mapFlags: BPF_F_MMAPABLE,
    });
    const cgroup = rt.cgroup();
    const { fd } = map;
    for (const number of [TWO_32 + fd, fd + 0.5, -TWO_32 + fd, NaN, text(`${fd}`)]) {
      expect(rt.mapHandle(number)).toBe(0);
      expect(rt.mapByIdx([number], 0)).toBe(0);
      expect(rt.mapValueAddr(number, 0)).toBe(-EBADF);
      expect(rt.close(number)).toBe(-EBADF);
      expect(codeOf(() => rt.mmap(number))).toBe("EBADF");
      expect(() => rt.attachCgroupStorage({ map: number, cgroup })).toThrow(/EBADF|expected a map/);
    }
    expect(rt.mapValueAddr(fd, TWO_32)).toBe(-EINVAL);
    expect(rt.mapValueAddr(fd, 0.5)).toBe(-EINVAL);
    expect(rt.mapValueAddr(fd, 0)).toBeGreaterThan(0);
    expect(rt.mapValueAddr(fd, map.valueSize - 1)).toBeGreaterThan(0);
    expect(rt.mapValueAddr(fd, map.valueSize)).toBe(-EINVAL);
  });

  it("are no addresses", async () => {
    using rt = await boot();
    const map = rt.createMap({ type: "array", value: u32, maxEntries: 1 });
    const addr = rt.mapValueAddr(map.fd, 0);
    expect(rt.valueRange(addr, 4)).toBe(true);
    expect(rt.valueRange(TWO_32 + addr, 4)).toBe(false);
    expect(rt.valueRange(addr, TWO_32 + 4)).toBe(false);
    expect(rt.valueRange(addr, -4)).toBe(false);
    expect(rt.valueRange(addr + 0.5, 1)).toBe(false);
    expect(rt.valueRange(addr - TWO_32, 4)).toBe(false);
    const used = rt.exports.mem_used();
    for (const bytes of [TWO_32 + 8, 8.5, -8, NaN, text("8")]) expect(rt.alloc(bytes)).toBe(0);
    expect(rt.exports.mem_used()).toBe(used);
    const ptr = rt.alloc(64);
    const end = rt.memory.buffer.byteLength;
    for (const bad of [ptr + TWO_32, ptr + 0.5, -8, NaN, 4, 5, ptr + 4, end, end + 8]) {
      expect(() => rt.free(bad)).toThrow(RangeError);
    }
    expect(() => rt.free(text(`${ptr}`))).toThrow(TypeError);
    rt.free(ptr);
    rt.free(0);
    expect(rt.exports.mem_used()).toBe(used);
  });

  it("are no CPUs", async () => {
    using rt = await boot();
    const map = rt.createMap({ type: "percpu_array", value: u32, maxEntries: 1 });
    for (const cpu of [2, TWO_32, 0.5, -1, NaN]) {
      expect(() => (rt.cpu = cpu)).toThrow(RangeError);
      expect(() => map.getOn(0, cpu)).toThrow(RangeError);
    }
    expect(rt.cpu).toBe(0);
  });

  it("are none of the places a thread may join at", async () => {
    using rt = await boot();
    if (build.name !== "shared") return;
    const attach = rt.share();
    const join = async (share: object, cpu: number) =>
      build.createRuntime({ attach: { ...attach, ...share }, cpu });
    await expect(join({}, 2)).rejects.toThrow(RangeError);
    await expect(join({ cpus: 2 ** 32 + 2 }, 0)).rejects.toThrow("attach.cpus: expected");
    await expect(join({ root: rt.memory.buffer.byteLength }, 0)).rejects.toThrow("attach.root");
    await expect(join({ cpus: 3 }, 2)).rejects.toThrow("has 2 CPUs");
    (await join({}, 1)).dispose();
  });
});

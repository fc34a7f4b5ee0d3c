// Host objects: options, lifetimes, numbers.

import { expect, it } from "vitest";
import { BpfError } from "../../ts/errors.js";
import { EBADF, EBUSY, ENOENT } from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";

/** A value of a wrong type, as a caller without types gives it. */
function bad(value: unknown): never {
  return value as never;
}

describeEachBuild("host objects", (build) => {
  it("share the lowest free numbers of one fd table", async () => {
    const rt = await build.createRuntime();
    const fds = [rt.socket(), rt.cgroup(), rt.task(), rt.inode()].map((object) => object.fd);
    expect(fds).toEqual([3, 4, 5, 6]);
    expect(rt.close(4)).toBe(0);
    expect(rt.socket().fd).toBe(4);
    rt.dispose();
  });

  it("are what programs may touch, as long as they live", async () => {
    const rt = await build.createRuntime();
    const valid = (ptr: number, bytes: number): number => rt.exports.bpf_valid_range(ptr, bytes);
    for (const object of [rt.socket(), rt.cgroup(), rt.task(), rt.inode()]) {
      expect(object.ptr % 8).toBe(0);
      expect(valid(object.ptr, 16)).toBe(1);
      expect(valid(object.ptr - 1, 1)).toBe(0);
      expect(valid(object.ptr, 4096)).toBe(0);
      object.close();
    }
    const socket = rt.socket();
    const dup = socket.dup();
    expect(dup.ptr).toBe(socket.ptr);
    expect(dup.fd).not.toBe(socket.fd);
    expect(socket.close()).toBe(0);
    expect(valid(dup.ptr, 16)).toBe(1);
    expect(dup.close()).toBe(0);
    expect(valid(dup.ptr, 1)).toBe(0);
    rt.dispose();
  });

  it("survive a program that writes over what it can reach", async () => {
    const rt = await build.createRuntime();
    const objects = [rt.socket(), rt.cgroup(), rt.task(), rt.inode()];
    for (const { ptr } of objects) {
      let bytes = 0;
      while (rt.exports.bpf_valid_range(ptr, bytes + 1) === 1) bytes++;
      new Uint8Array(rt.memory.buffer).fill(0xff, ptr, ptr + bytes);
    }
    for (const object of objects) expect(object.close()).toBe(0);
    rt.dispose();
  });

  it("close only their own fd", async () => {
    const rt = await build.createRuntime();
    const first = rt.socket();
    expect(first.close()).toBe(0);
    const second = rt.socket();
    expect(second.fd).toBe(first.fd);
    expect(first.close()).toBe(-EBADF);
    expect(() => first.dup()).toThrow(BpfError);
    expect(() => first.accept()).toThrow(/EBADF/);
    expect(second.close()).toBe(0);
    rt.dispose();
  });

  it("a cgroup is removed when it is empty, and lives on behind its fds", async () => {
    const rt = await build.createRuntime();
    const parent = rt.cgroup();
    const child = rt.cgroup({ parent });
    expect(child.id).not.toBe(parent.id);
    expect(parent.rmdir()).toBe(-EBUSY);
    const task = rt.task({ cgroup: child });
    expect(child.rmdir()).toBe(-EBUSY);
    expect(task.exit()).toBe(0);
    expect(child.rmdir()).toBe(0);
    expect(child.rmdir()).toBe(-ENOENT);
    expect(() => rt.cgroup({ parent: child })).toThrow(/ENOENT/);
    expect(rt.exports.bpf_valid_range(child.ptr, 8)).toBe(1);
    parent.close();
    expect(parent.rmdir()).toBe(0);
    expect(child.close()).toBe(0);
    expect(task.reap()).toBe(0);
    expect(rt.exports.bpf_valid_range(child.ptr, 8)).toBe(0);
    expect(rt.exports.bpf_valid_range(parent.ptr, 8)).toBe(0);
    rt.dispose();
  });

  it("a cgroup that is closed and not removed is still there", async () => {
    const rt = await build.createRuntime();
    const cgroup = rt.cgroup({ version: 1 });
    cgroup.close();
    expect(rt.exports.bpf_valid_range(cgroup.ptr, 8)).toBe(1);
    expect(rt.cgroup({ parent: cgroup }).version).toBe(1);
    expect(() => rt.cgroup({ parent: cgroup, version: 2 })).toThrow(RangeError);
    rt.dispose();
  });

  it("a pid that is taken gives another pidfd of the same task", async () => {
    const rt = await build.createRuntime();
    const task = rt.task({ pid: 42 });
    const again = rt.task({ pid: 42 });
    expect([again.pid, again.ptr]).toEqual([42, task.ptr]);
    expect(rt.task().pid).not.toBe(42);
    expect(task.exit()).toBe(0);
    expect(task.exit()).toBe(-ENOENT);
    expect(again.reap()).toBe(0);
    expect(task.reap()).toBe(-ENOENT);
    const other = rt.task({ pid: 42 });
    expect(task.reap()).toBe(-ENOENT);
    expect(other.exit()).toBe(0);
    rt.dispose();
  });

  it("anonymous files share one inode", async () => {
    const rt = await build.createRuntime();
    const one = rt.inode({ anonymous: true });
    const two = rt.inode({ anonymous: true });
    expect(two.ptr).toBe(one.ptr);
    expect(rt.inode().ptr).not.toBe(one.ptr);
    rt.dispose();
  });

  it("children wait for accept, and go with a listener that does not accept them", async () => {
    const rt = await build.createRuntime();
    const used = rt.exports.mem_used();
    const listener = rt.socket({ family: "inet6", type: "stream" });
    listener.handshake();
    listener.handshake();
    const child = listener.accept();
    expect(child.ptr).not.toBe(listener.ptr);
    const view = new DataView(rt.memory.buffer);
    expect([view.getUint32(child.ptr + 4, true), view.getUint32(child.ptr + 8, true)]).toEqual([
      10, 1,
    ]);
    listener.close();
    child.close();
    // The table of regions, which stays.
    expect(rt.exports.mem_used() - used).toBeLessThan(1024);
    rt.dispose();
  });

  it("children are accepted oldest first", async () => {
    const rt = await build.createRuntime();
    const listener = rt.socket({ type: "stream" });
    const serials: number[] = [];
    const accept = (): void => {
      const child = listener.accept();
      serials.push(rt.exports.host_serial(child.fd) - rt.exports.host_serial(listener.fd));
      child.close();
    };
    for (let i = 0; i < 3; i++) listener.handshake();
    accept();
    accept();
    listener.handshake();
    accept();
    accept();
    listener.handshake();
    accept();
    expect(serials).toEqual([1, 2, 3, 4, 5]);
    rt.dispose();
  });

  it("refuse options that cannot be", async () => {
    const rt = await build.createRuntime();
    const other = await build.createRuntime();
    expect(() => rt.socket({ family: bad("ipx") })).toThrow(RangeError);
    expect(() => rt.socket({ family: bad("toString") })).toThrow(RangeError);
    expect(() => rt.socket({ type: bad({}) })).toThrow(TypeError);
    expect(() => rt.socket({ optmemMax: -1 })).toThrow(RangeError);
    expect(() => rt.socket({ optmemMax: bad("1") })).toThrow(TypeError);
    expect(() => rt.socket(bad(5))).toThrow(TypeError);
    expect(() => rt.cgroup({ version: bad(3) })).toThrow(RangeError);
    expect(() => rt.cgroup({ parent: bad({ ptr: 8 }) })).toThrow(TypeError);
    expect(() => rt.cgroup({ parent: other.cgroup() })).toThrow(TypeError);
    expect(() => rt.task({ pid: 0 })).toThrow(RangeError);
    expect(() => rt.task({ pid: 1.5 })).toThrow(RangeError);
    expect(() => rt.task({ cgroup: bad(7) })).toThrow(TypeError);
    expect(() => rt.inode({ anonymous: bad(1) })).toThrow(TypeError);
    for (const name of ["family", "type", "optmemMax"])
      expect(() => rt.socket({ [name]: null })).toThrow(`${name}: expected a n`);
    expect(() => rt.cgroup({ version: bad(null) })).toThrow(TypeError);
    expect(() => rt.inode({ anonymous: bad(null) })).toThrow(TypeError);
    rt.dispose();
    other.dispose();
  });
});

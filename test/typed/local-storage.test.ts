// The typed storages: keyed by sockets, cgroups, tasks and inodes.

import { expect, expectTypeOf, it } from "vitest";
import { bytes, struct, u32, u64 } from "../../ts/codec.js";
import type { Socket } from "../../ts/host.js";
import {
  CgrpStorage,
  InodeStorage,
  type LocalStorage,
  SkStorage,
  TaskStorage,
} from "../../ts/maps/local-storage.js";
import { BPF_EXIST, BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_NOEXIST } from "../../ts/uapi.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";

const Stats = struct({ packets: u64, bytes: u64 });

/** A storage of each type with an owner for it. */
function all(rt: Runtime): readonly (readonly [LocalStorage<never, number>, never])[] {
  const value = u32;
  return [
    [rt.createMap({ type: "sk_storage", value }), rt.socket()],
    [rt.createMap({ type: "cgrp_storage", value }), rt.cgroup()],
    [rt.createMap({ type: "task_storage", value }), rt.task()],
    [rt.createMap({ type: "inode_storage", value }), rt.inode()],
  ] as never;
}

describeEachBuild("typed storages", (build) => {
  it("are maps from owners to values", async () => {
    const rt = await build.createRuntime();
    for (const [storage, owner] of all(rt)) {
      expect(storage.get(owner)).toBeUndefined();
      expect(storage.has(owner)).toBe(false);
      expect(storage.set(owner, 7).get(owner)).toBe(7);
      expect(storage.has(owner)).toBe(true);
      expect(() => storage.update(owner, 1, BPF_NOEXIST)).toThrow(/EEXIST/);
      storage.update(owner, 8, BPF_EXIST);
      expect(storage.getOrCreate(owner, 3)).toBe(8);
      expect(storage.delete(owner)).toBe(true);
      expect(storage.delete(owner)).toBe(false);
      expect(() => storage.update(owner, 1, BPF_EXIST)).toThrow(/ENOENT/);
      expect(() => storage.update(owner, 1, 3)).toThrow(/EINVAL/);
      expect(() => storage.update(owner, 1, -1)).toThrow(/EINVAL/);
      expect(storage.getOrCreate(owner)).toBe(0);
      expect(storage.delete(owner)).toBe(true);
      expect(storage.getOrCreate(owner, 5)).toBe(5);
      expect(storage.mapFlags).toBe(BPF_F_NO_PREALLOC);
      expect(storage.info().btfId).toBeGreaterThan(0);
    }
    rt.dispose();
  });

  it("have the class of their type", async () => {
    const rt = await build.createRuntime();
    const sk = rt.createMap({ type: "sk_storage", value: Stats, name: "stats" });
    expect(sk).toBeInstanceOf(SkStorage);
    expect(sk.name).toBe("stats");
    expectTypeOf(sk.get).parameter(0).toEqualTypeOf<Socket>();
    expectTypeOf(sk.get).returns.toEqualTypeOf<{ packets: bigint; bytes: bigint } | undefined>();
    const classes = [CgrpStorage, TaskStorage, InodeStorage];
    (["cgrp_storage", "task_storage", "inode_storage"] as const).forEach((type, i) => {
      expect(rt.createMap({ type, value: u32 })).toBeInstanceOf(classes[i]);
    });
    const again = rt.mapFromFd(rt.createMap({ type: "sk_storage", value: u64 }).fd, { value: u64 });
    expect(again).toBeInstanceOf(SkStorage);
    expect(() => rt.mapFromFd(sk.fd, { value: u32 })).toThrow(RangeError);
    rt.dispose();
  });

  it("count packets on a socket, as a sockops program does", async () => {
    const rt = await build.createRuntime();
    const stats = rt.createMap({ type: "sk_storage", value: Stats });
    const socket = rt.socket();
    for (const size of [60, 1500, 40]) {
      const seen = stats.refOrCreate(socket);
      seen.add("packets", 1);
      seen.add("bytes", size);
    }
    expect(stats.get(socket)).toEqual({ packets: 3n, bytes: 1600n });
    // What a program sees is the same value.
    const at = rt.exports.bpf_sk_storage_get(rt.exports.bpf_map_by_fd(stats.fd), socket.ptr, 0, 0n);
    expect(stats.ref(socket)?.ptr).toBe(at >>> 0);
    const out = { packets: 0n, bytes: 0n };
    expect(stats.getInto(socket, out)).toBe(out);
    expect(out.packets).toBe(3n);
    expect(socket.omemAlloc).toBe(72 + 16 + 176);
    rt.dispose();
  });

  it("give the children of a listener copies with BPF_F_CLONE", async () => {
    const rt = await build.createRuntime();
    const policy = rt.createMap({ type: "sk_storage", value: u32, mapFlags: BPF_F_CLONE });
    const local = rt.createMap({ type: "sk_storage", value: u32 });
    const listener = rt.socket();
    policy.set(listener, 11);
    local.set(listener, 12);
    const child = listener.accept();
    policy.set(listener, 99);
    expect([policy.get(child), local.get(child)]).toEqual([11, undefined]);
    rt.dispose();
  });

  it("end with their owners, and are not taken for a later one", async () => {
    const rt = await build.createRuntime();
    const storage = rt.createMap({ type: "sk_storage", value: u32 });
    // Somebody keeps the sockets' memory in place.
    rt.socket();
    const socket = rt.socket();
    storage.set(socket, 1);
    socket.close();
    const later = rt.socket();
    expect(later.ptr).toBe(socket.ptr);
    storage.set(later, 2);
    expect(storage.get(socket)).toBeUndefined();
    expect(() => storage.set(socket, 3)).toThrow(/ENOENT.*owner is gone/);
    expect(storage.delete(socket)).toBe(false);
    expect(storage.get(later)).toBe(2);
    const task = rt.task();
    const started = rt.createMap({ type: "task_storage", value: u64 });
    started.set(task, 1n);
    task.close();
    expect(started.get(task)).toBe(1n);
    task.reap();
    expect(started.get(task)).toBeUndefined();
    const cgroup = rt.cgroup();
    const counters = rt.createMap({ type: "cgrp_storage", value: u32 });
    counters.set(cgroup, 4);
    cgroup.rmdir();
    expect(counters.get(cgroup)).toBe(4);
    expect(() => counters.set(cgroup, 5)).toThrow(/ENOENT/);
    rt.dispose();
  });

  it("say what is wrong", async () => {
    const rt = await build.createRuntime();
    const other = await build.createRuntime();
    const storage = rt.createMap({ type: "sk_storage", value: bytes(4) });
    const bad = (owner: unknown) => (): unknown => storage.get(owner as Socket);
    expect(bad(rt.cgroup())).toThrow("owner: expected a Socket of this runtime");
    expect(bad(other.socket())).toThrow(TypeError);
    expect(bad(3)).toThrow(TypeError);
    expect(bad(null)).toThrow(TypeError);
    const socket = rt.socket({ optmemMax: 100 });
    expect(() => storage.set(socket, new Uint8Array(4))).toThrow(/ENOMEM.*optmem_max/);
    expect(() => storage.set(socket, new Uint8Array(5))).toThrow(RangeError);
    storage.freeze();
    expect(() => storage.set(rt.socket(), new Uint8Array(4))).toThrow(/EPERM.*frozen/);
    expect(() => storage.delete(socket)).toThrow(/EPERM/);
    storage.close();
    expect(bad(socket)).toThrow(/EBADF.*closed/);
    expect(() => storage.set(socket, new Uint8Array(4))).toThrow(/EBADF/);
    expect(() => rt.createMap({ type: "sk_storage", value: 5 as never })).toThrow(TypeError);
    expect(() => rt.createMap({ type: "sk_storage", value: bytes(65408) })).toThrow(/E2BIG/);
    expect(() => rt.createMap({ type: "sk_storage", value: u32, mapFlags: 2 })).toThrow(/EINVAL/);
    rt.dispose();
    other.dispose();
  });

  it("refuse what the kernel refuses", async () => {
    using rt = await build.createRuntime();
    for (const option of [{ maxEntries: 5 }, { mapExtra: 1 }, { maxEntries: "5" }]) {
      const spec = { type: "sk_storage", value: u32, ...option };
      expect(() => rt.createMap(spec as never)).toThrow(/EINVAL|expected a number/);
    }
    expect(
      rt.createMap({ type: "sk_storage", value: u32, maxEntries: 0 } as never).maxEntries,
    ).toBe(0);
  });

  it("leave no BTF and no memory behind", async () => {
    const rt = await build.createRuntime();
    const warm = rt.createMap({ type: "inode_storage", value: u32 });
    const anyFile = rt.inode();
    warm.set(anyFile, 1);
    anyFile.close();
    warm.close();
    const used = rt.exports.mem_used();
    const storage = rt.createMap({ type: "inode_storage", value: bytes(100) });
    const file = rt.inode();
    storage.getOrCreate(file);
    storage.close();
    file.close();
    expect(rt.exports.mem_used()).toBe(used);
    expect(rt.bpf(23, new Uint8Array(8))).toBe(-2);
    rt.dispose();
  });
});

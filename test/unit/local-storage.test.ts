// Values attached to sockets, cgroups, tasks and inodes. The expectations were taken from Linux 6.18 unless a comment says
// otherwise.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BtfBuilder, plainBtf } from "../support/btf.js";
import { type Build, describeEachBuild, type Runtime } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { GET_F_CREATE, StorageRig } from "../support/storage.js";

const { BPF_EXIST, BPF_F_CLONE, BPF_F_LOCK, BPF_F_NO_PREALLOC, BPF_NOEXIST } = uapi;
const SK = uapi.BPF_MAP_TYPE_SK_STORAGE;
const CGRP = uapi.BPF_MAP_TYPE_CGRP_STORAGE;
const TASK = uapi.BPF_MAP_TYPE_TASK_STORAGE;
const INODE = uapi.BPF_MAP_TYPE_INODE_STORAGE;

interface Kind {
  readonly type: number;
  readonly make: (rt: Runtime) => { fd: number; ptr: number; close(): number };
  readonly get: (rt: Runtime, map: number, ptr: number, value: number, flags: bigint) => number;
  readonly drop: (rt: Runtime, map: number, ptr: number) => number;
}

const KINDS: readonly Kind[] = [
  {
    type: SK,
    make: (rt) => rt.socket(),
    get: (rt, map, ptr, value, flags) => rt.exports.bpf_sk_storage_get(map, ptr, value, flags),
    drop: (rt, map, ptr) => rt.exports.bpf_sk_storage_delete(map, ptr),
  },
  {
    type: CGRP,
    make: (rt) => rt.cgroup(),
    get: (rt, map, ptr, value, flags) => rt.exports.bpf_cgrp_storage_get(map, ptr, value, flags),
    drop: (rt, map, ptr) => rt.exports.bpf_cgrp_storage_delete(map, ptr),
  },
  {
    type: TASK,
    make: (rt) => rt.task(),
    get: (rt, map, ptr, value, flags) => rt.exports.bpf_task_storage_get(map, ptr, value, flags),
    drop: (rt, map, ptr) => rt.exports.bpf_task_storage_delete(map, ptr),
  },
  {
    type: INODE,
    make: (rt) => rt.inode(),
    get: (rt, map, ptr, value, flags) => rt.exports.bpf_inode_storage_get(map, ptr, value, flags),
    drop: (rt, map, ptr) => rt.exports.bpf_inode_storage_delete(map, ptr),
  },
];

async function rigOf(build: Build): Promise<StorageRig> {
  return new StorageRig(await build.createRuntime({ cpus: 2 }));
}

describeEachBuild("local storage", (build) => {
  it("is created with BPF_F_NO_PREALLOC, an int key, no entries and BTF only", async () => {
    const rig = await rigOf(build);
    const noIds = { btfKeyTypeId: 0, btfValueTypeId: 0 };
    for (const { type } of KINDS) {
      const create = (spec: object, btf = plainBtf(4, 8)): number =>
        rig.createWith(btf, {
          type,
          keySize: 4,
          valueSize: 8,
          maxEntries: 0,
          flags: BPF_F_NO_PREALLOC,
          ...spec,
        });
      expect(create({})).toBeGreaterThan(2);
      expect(create({ flags: BPF_F_NO_PREALLOC | BPF_F_CLONE })).toBeGreaterThan(2);
      expect(create({ flags: 0 })).toBe(-uapi.EINVAL);
      expect(create({ flags: BPF_F_NO_PREALLOC | uapi.BPF_F_RDONLY })).toBe(-uapi.EINVAL);
      expect(create({ maxEntries: 1 })).toBe(-uapi.EINVAL);
      expect(create({ keySize: 8 })).toBe(-uapi.EINVAL);
      expect(create({ valueSize: 0 })).toBe(-uapi.EINVAL);
      expect(create(noIds)).toBe(-uapi.EINVAL);
      expect(create({ btfFd: 999 })).toBe(-uapi.EBADF);
      expect(create({ valueSize: 65407 }, plainBtf(4, 65407))).toBeGreaterThan(2);
      expect(create({ valueSize: 65408 }, plainBtf(4, 65408))).toBe(-uapi.E2BIG);
      expect(create({ valueSize: 16 })).toBe(-uapi.EINVAL);
      const struct = new BtfBuilder();
      const valueTypeId = struct.int("long", 8);
      const keyTypeId = struct.struct("key", 4, []);
      expect(create({}, { blob: struct.build(), keyTypeId, valueTypeId })).toBe(-uapi.EINVAL);
    }
    rig.rt.dispose();
  });

  it("has no iteration and no batches", async () => {
    const rig = await rigOf(build);
    for (const { type } of KINDS) {
      const { fd } = rig.map(type, 8);
      expect(rig.client.nextKey(fd, null, 4).ret).toBe(-uapi.ENOTSUPP);
      expect(rig.client.lookupAndDelete(fd, u32s(3), 8).ret).toBe(-uapi.ENOTSUPP);
      const batch = { fd, keySize: 4, valueSize: 8, tokenSize: 4, token: null, count: 1 };
      expect(rig.client.lookupBatch(batch).ret).toBe(-uapi.ENOTSUPP);
    }
    rig.rt.dispose();
  });

  it("creates and replaces as the flags say, and says first what is wrong with the fd", async () => {
    const rig = await rigOf(build);
    for (const { type, make } of KINDS) {
      const map = rig.map(type, 8);
      const { fd } = make(rig.rt);
      const value = u32s(1, 2);
      expect(rig.update(map, fd, value, BPF_EXIST)).toBe(-uapi.ENOENT);
      expect(rig.update(map, fd, value, BPF_NOEXIST)).toBe(0);
      expect(rig.update(map, fd, value, BPF_NOEXIST)).toBe(-uapi.EEXIST);
      expect(rig.update(map, fd, u32s(3, 4), BPF_EXIST)).toBe(0);
      expect(rig.update(map, fd, u32s(5, 6), 0)).toBe(0);
      expect(rig.lookup(map, fd)).toEqual(u32s(5, 6));
      expect(rig.update(map, fd, value, 3)).toBe(-uapi.EINVAL);
      expect(rig.update(map, fd, value, BPF_F_LOCK)).toBe(-uapi.EINVAL);
      expect(rig.update(map, 1000, value, 3)).toBe(-uapi.EBADF);
      expect(rig.client.update(map.fd, null, value)).toBe(-uapi.EFAULT);
      expect(rig.client.update(map.fd, u32s(fd), null)).toBe(-uapi.EFAULT);
      expect(rig.delete(map, fd)).toBe(0);
      expect(rig.delete(map, fd)).toBe(-uapi.ENOENT);
      expect(rig.lookup(map, fd)).toBe(-uapi.ENOENT);
    }
    rig.rt.dispose();
  });

  it("keeps an address until its element is deleted", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    for (const { type, make, get, drop } of KINDS) {
      const map = rig.map(type, 12);
      const owner = make(rt);
      const first = get(rt, map.handle, owner.ptr, 0, GET_F_CREATE);
      expect(first).not.toBe(0);
      expect(rig.isLive(map, first)).toBe(true);
      expect(rt.exports.bpf_valid_range(first, 13)).toBe(0);
      expect(get(rt, map.handle, owner.ptr, 0, 0n)).toBe(first);
      expect(rig.update(map, owner.fd, u32s(1, 2, 3))).toBe(0);
      expect(rig.update(map, owner.fd, u32s(4, 5, 6), BPF_EXIST)).toBe(0);
      expect(get(rt, map.handle, owner.ptr, 0, 0n)).toBe(first);
      expect(rig.isLive(map, first)).toBe(true);
      expect(rig.lookup(map, owner.fd)).toEqual(u32s(4, 5, 6));
      expect(drop(rt, map.handle, owner.ptr)).toBe(0);
      expect(rig.isLive(map, first)).toBe(false);
      expect(drop(rt, map.handle, owner.ptr)).toBe(-uapi.ENOENT);
      const third = get(rt, map.handle, owner.ptr, 0, GET_F_CREATE);
      rig.client.close(map.fd);
      expect(rig.isLive(map, third)).toBe(false);
    }
    rt.dispose();
  });

  it("starts as a copy of the given value, or as zeros", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const init = rt.alloc(8);
    new Uint8Array(rt.memory.buffer).set(u32s(7, 8), init);
    for (const { type, make, get } of KINDS) {
      const map = rig.map(type, 8);
      const [one, two, three] = [make(rt), make(rt), make(rt)];
      get(rt, map.handle, one.ptr, init, GET_F_CREATE);
      get(rt, map.handle, two.ptr, 0, GET_F_CREATE);
      expect(rig.lookup(map, one.fd)).toEqual(u32s(7, 8));
      expect(rig.lookup(map, two.fd)).toEqual(u32s(0, 0));
      // An existing value is found, not made again.
      const at = get(rt, map.handle, two.ptr, init, GET_F_CREATE);
      expect(rig.lookup(map, two.fd)).toEqual(u32s(0, 0));
      expect(at).toBe(get(rt, map.handle, two.ptr, 0, 0n));
      expect(get(rt, map.handle, three.ptr, 0xfffffff0, GET_F_CREATE)).toBe(0);
      expect(get(rt, map.handle, three.ptr, 0, 0n)).toBe(0);
    }
    rt.dispose();
  });

  it("refuses helpers whose arguments are nothing", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const maps = KINDS.map(({ type }) => rig.map(type, 8));
    KINDS.forEach(({ make, get, drop }, i) => {
      const map = maps[i];
      const other = maps[(i + 1) % maps.length];
      if (map === undefined || other === undefined) throw new Error("no map");
      const { ptr } = make(rt);
      expect(get(rt, map.handle, ptr, 0, 2n)).toBe(0);
      expect(get(rt, map.handle, ptr, 0, 1n << 32n)).toBe(0);
      expect(get(rt, map.handle, 0, 0, GET_F_CREATE)).toBe(0);
      expect(get(rt, map.handle, ptr + 8, 0, GET_F_CREATE)).toBe(0);
      expect(get(rt, 0, ptr, 0, GET_F_CREATE)).toBe(0);
      expect(get(rt, other.handle, ptr, 0, GET_F_CREATE)).toBe(0);
      expect(drop(rt, map.handle, 0)).toBe(-uapi.EINVAL);
      expect(drop(rt, map.handle, ptr - 8)).toBe(-uapi.EINVAL);
      expect(drop(rt, other.handle, ptr)).toBe(-uapi.EINVAL);
      expect(rt.exports.bpf_map_lookup_elem(map.handle, ptr)).toBe(0);
      expect(rt.exports.bpf_map_update_elem(map.handle, ptr, ptr, 0n)).toBe(-uapi.EINVAL);
      expect(rt.exports.bpf_map_delete_elem(map.handle, ptr)).toBe(-uapi.EINVAL);
    });
    rt.dispose();
  });

  it("is called by the kernel's numbers", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const calls = [
      [uapi.BPF_FUNC_sk_storage_get, uapi.BPF_FUNC_sk_storage_delete],
      [uapi.BPF_FUNC_cgrp_storage_get, uapi.BPF_FUNC_cgrp_storage_delete],
      [uapi.BPF_FUNC_task_storage_get, uapi.BPF_FUNC_task_storage_delete],
      [uapi.BPF_FUNC_inode_storage_get, uapi.BPF_FUNC_inode_storage_delete],
    ] as const;
    KINDS.forEach(({ type, make, get }, i) => {
      const map = rig.map(type, 8);
      const { ptr } = make(rt);
      const [getId = 0, deleteId = 0] = calls[i] ?? [];
      const args = [BigInt(map.handle), BigInt(ptr)] as const;
      const made = rt.exports.bpf_helper_call(getId, ...args, 0n, GET_F_CREATE, 0n);
      expect(made).toBe(BigInt(get(rt, map.handle, ptr, 0, 0n)));
      expect(made).not.toBe(0n);
      expect(rt.exports.bpf_helper_call(deleteId, ...args, 0n, 0n, 0n)).toBe(0n);
    });
    rt.dispose();
  });

  it("finds the values of more maps than there are cache slots", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const socket = rt.socket();
    const maps = Array.from({ length: 40 }, () => rig.map(SK, 4));
    maps.forEach((map, i) => expect(rig.update(map, socket.fd, u32s(i))).toBe(0));
    for (let round = 0; round < 3; round++) {
      maps.forEach((map, i) => expect(rig.lookup(map, socket.fd)).toEqual(u32s(i)));
    }
    maps.forEach((map) => expect(rig.check(map)).toBe(0));
    maps.filter((_, i) => i % 3 === 0).forEach((map) => rig.client.close(map.fd));
    maps.forEach((map, i) => {
      if (i % 3 !== 0) expect(rig.lookup(map, socket.fd)).toEqual(u32s(i));
    });
    rt.dispose();
  });

  it("writes in place under BPF_F_LOCK, and a lock reads as zero", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    for (const { type, make, get } of KINDS) {
      const map = rig.map(type, 8, { lockOffset: 0 });
      const owner = make(rt);
      expect(rig.update(map, owner.fd, u32s(1, 7), BPF_NOEXIST | BPF_F_LOCK)).toBe(0);
      expect(rig.lookup(map, owner.fd, BPF_F_LOCK)).toEqual(u32s(0, 7));
      const at = get(rt, map.handle, owner.ptr, 0, 0n);
      expect(rig.update(map, owner.fd, u32s(9, 8), BPF_EXIST | BPF_F_LOCK)).toBe(0);
      expect(rig.isLive(map, at)).toBe(true);
      expect(rig.update(map, owner.fd, u32s(9, 8), BPF_NOEXIST | BPF_F_LOCK)).toBe(-uapi.EEXIST);
      expect(rig.lookup(map, owner.fd, BPF_F_LOCK)).toEqual(u32s(0, 8));
      expect(rt.exports.bpf_spin_lock(at)).toBe(0);
      expect(rt.exports.bpf_spin_unlock(at)).toBe(0);
      expect(rt.exports.bpf_spin_lock(at + 4)).toBe(-uapi.EINVAL);
      expect(rig.update(map, owner.fd, u32s(5, 5))).toBe(0);
      expect(rig.lookup(map, owner.fd)).toEqual(u32s(0, 5));
      expect(rig.client.delete(map.fd, u32s(owner.fd))).toBe(0);
      expect(rig.isLive(map, at)).toBe(false);
      expect(rt.exports.bpf_spin_lock(at)).toBe(-uapi.EINVAL);
      expect(rig.client.freeze(map.fd)).toBe(-uapi.ENOTSUPP);
    }
    rt.dispose();
  });
});

describeEachBuild("SK_STORAGE", (build) => {
  it("knows sockets by any of their fds", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const map = rig.map(SK, 4);
    const socket = rt.socket({ family: "unix" });
    const dup = socket.dup();
    expect(rig.update(map, socket.fd, u32s(5))).toBe(0);
    socket.close();
    expect(rig.lookup(map, dup.fd)).toEqual(u32s(5));
    dup.close();
    const next = rt.socket();
    expect(rig.lookup(map, next.fd)).toBe(-uapi.ENOENT);
    expect(rig.lookup(map, map.fd)).toBe(-uapi.ENOTSOCK);
    expect(rig.update(map, 1, u32s(5))).toBe(-uapi.ENOTSOCK);
    expect(rig.delete(map, 500)).toBe(-uapi.EBADF);
    rt.dispose();
  });

  it("charges 72 bytes and the value, and 176 for the first, to stay below optmem_max", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const socket = rt.socket({ optmemMax: 131072 });
    const maps = Array.from({ length: 17 }, () => rig.map(SK, 8000));
    const value = new Uint8Array(8000);
    const results = maps.map((map) => rig.update(map, socket.fd, value));
    expect(results).toEqual([...Array.from({ length: 16 }, () => 0), -uapi.ENOMEM]);
    expect(socket.omemAlloc).toBe(16 * 8072 + 176);
    for (const map of maps.slice(0, 16)) rig.delete(map, socket.fd);
    expect(socket.omemAlloc).toBe(0);
    rt.dispose();
  });

  it("charges a replacement before it gives back what it replaces", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const socket = rt.socket();
    const big = rig.map(SK, 65407);
    const fits = rig.map(SK, 65344);
    const over = rig.map(SK, 65345);
    expect(rig.update(big, socket.fd, new Uint8Array(65407).fill(1))).toBe(0);
    expect(rig.update(over, socket.fd, new Uint8Array(65345))).toBe(-uapi.ENOMEM);
    // Room is asked for before the flags are held against what is there.
    expect(rig.update(over, socket.fd, new Uint8Array(65345), BPF_EXIST)).toBe(-uapi.ENOMEM);
    const replaced = new Uint8Array(65407).fill(2);
    expect(rig.update(big, socket.fd, replaced)).toBe(-uapi.ENOMEM);
    expect(rig.update(big, socket.fd, replaced, BPF_NOEXIST)).toBe(-uapi.ENOMEM);
    expect(rig.lookup(big, socket.fd)).toEqual(new Uint8Array(65407).fill(1));
    expect(rig.update(fits, socket.fd, new Uint8Array(65344))).toBe(0);
    const charged = socket.omemAlloc;
    expect(charged).toBe(131071);
    rig.client.close(fits.fd);
    expect(socket.omemAlloc).toBe(charged - 65416);
    rig.client.close(big.fd);
    expect(socket.omemAlloc).toBe(0);
    rt.dispose();
  });

  it("gives a program NULL, and bpf(2) ENOMEM, when there is no room", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const map = rig.map(SK, 8);
    for (const [optmemMax, made] of [
      [256, false],
      [257, true],
    ] as const) {
      const socket = rt.socket({ optmemMax });
      const at = rt.exports.bpf_sk_storage_get(map.handle, socket.ptr, 0, GET_F_CREATE);
      expect(at !== 0).toBe(made);
      expect(socket.omemAlloc).toBe(made ? 256 : 0);
    }
    // Of a socket without any storage it is known that there is nothing to replace before room is asked for.
    const full = rt.socket({ optmemMax: 8 });
    expect(rig.update(map, full.fd, new Uint8Array(8))).toBe(-uapi.ENOMEM);
    expect(rig.update(map, full.fd, new Uint8Array(8), BPF_EXIST)).toBe(-uapi.ENOENT);
    rt.dispose();
  });

  it("copies BPF_F_CLONE values to a child when the handshake ends, not at accept", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const a = rig.map(SK, 4, { flags: BPF_F_NO_PREALLOC | BPF_F_CLONE });
    const b = rig.map(SK, 4);
    const listener = rt.socket();
    const client = rt.socket();
    expect(rig.update(a, listener.fd, u32s(11))).toBe(0);
    expect(rig.update(b, listener.fd, u32s(12))).toBe(0);
    listener.handshake();
    expect(rig.update(a, listener.fd, u32s(99))).toBe(0);
    const child = listener.accept();
    expect(rig.lookup(a, child.fd)).toEqual(u32s(11));
    expect(rig.lookup(b, child.fd)).toBe(-uapi.ENOENT);
    expect(rig.lookup(a, client.fd)).toBe(-uapi.ENOENT);
    expect(rig.lookup(a, listener.fd)).toEqual(u32s(99));
    expect(rig.update(a, child.fd, u32s(1))).toBe(0);
    expect(rig.lookup(a, listener.fd)).toEqual(u32s(99));
    expect(child.omemAlloc).toBe(72 + 4 + 176);
    rt.dispose();
  });
});

describeEachBuild("CGRP_STORAGE", (build) => {
  it("is on the cgroup, not on the fd, and ends for bpf(2) with rmdir", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const map = rig.map(CGRP, 4);
    const empty = rig.map(CGRP, 4);
    const cgroup = rt.cgroup({ version: 1 });
    const dup = cgroup.dup();
    expect(rig.update(map, cgroup.fd, u32s(3))).toBe(0);
    cgroup.close();
    expect(rig.lookup(map, dup.fd)).toEqual(u32s(3));
    expect(cgroup.rmdir()).toBe(0);
    expect(rig.lookup(map, dup.fd)).toBe(-uapi.ENOENT);
    expect(rig.update(map, dup.fd, u32s(4))).toBe(-uapi.ENOENT);
    expect(rig.delete(map, dup.fd)).toBe(-uapi.ENOENT);
    // A program still finds what is there, and can make nothing new.
    const at = rt.exports.bpf_cgrp_storage_get(map.handle, cgroup.ptr, 0, GET_F_CREATE);
    expect(rig.isLive(map, at)).toBe(true);
    expect(rt.exports.bpf_cgrp_storage_get(empty.handle, cgroup.ptr, 0, GET_F_CREATE)).toBe(0);
    dup.close();
    expect(rig.isLive(map, at)).toBe(false);
    expect(rig.lookup(map, map.fd)).toBe(-uapi.EBADF);
    expect(rig.lookup(map, rt.socket().fd)).toBe(-uapi.EBADF);
    rt.dispose();
  });
});

describeEachBuild("TASK_STORAGE", (build) => {
  it("is shared by the pidfds of a task, survives exit, and ends with reaping", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const map = rig.map(TASK, 4);
    const task = rt.task();
    const again = rt.task({ pid: task.pid });
    expect(rig.update(map, task.fd, u32s(3))).toBe(0);
    expect(rig.lookup(map, again.fd)).toEqual(u32s(3));
    task.exit();
    expect(rig.lookup(map, again.fd)).toEqual(u32s(3));
    expect(rig.update(map, again.fd, u32s(4))).toBe(0);
    const at = rt.exports.bpf_task_storage_get(map.handle, task.ptr, 0, 0n);
    expect(rig.isLive(map, at)).toBe(true);
    task.reap();
    expect(rig.isLive(map, at)).toBe(false);
    for (const result of [
      rig.lookup(map, again.fd),
      rig.update(map, again.fd, u32s(1)),
      rig.delete(map, task.fd),
    ]) {
      expect(result).toBe(-uapi.ENOENT);
    }
    expect(rt.exports.bpf_task_storage_get(map.handle, task.ptr, 0, GET_F_CREATE)).toBe(0);
    expect(rt.exports.bpf_task_storage_delete(map.handle, task.ptr)).toBe(-uapi.EINVAL);
    expect(rig.lookup(map, 0)).toBe(-uapi.EBADF);
    expect(rig.lookup(map, rt.inode().fd)).toBe(-uapi.EBADF);
    rt.dispose();
  });
});

describeEachBuild("INODE_STORAGE", (build) => {
  it("takes any open fd: files, sockets and pidfds have their own inode", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const map = rig.map(INODE, 4);
    const objects = [rt.inode(), rt.inode(), rt.socket(), rt.socket(), rt.cgroup(), rt.task()];
    objects.forEach(({ fd }, i) => expect(rig.lookup(map, fd), `${i}`).toBe(-uapi.ENOENT));
    objects.forEach(({ fd }, i) => expect(rig.update(map, fd, u32s(i))).toBe(0));
    objects.forEach(({ fd }, i) => expect(rig.lookup(map, fd)).toEqual(u32s(i)));
    expect(rig.update(map, objects[2]?.fd ?? 0, u32s(9), BPF_NOEXIST)).toBe(-uapi.EEXIST);
    expect(rig.lookup(map, 777)).toBe(-uapi.EBADF);
    expect(rig.check(map)).toBe(0);
    objects.forEach((object) => object.close());
    expect(rig.check(map)).toBe(0);
    rt.dispose();
  });

  it("sees one inode behind all anonymous files, maps and BTF among them", async () => {
    const rig = await rigOf(build);
    const { rt } = rig;
    const map = rig.map(INODE, 4);
    const other = rig.map(INODE, 4);
    expect(rig.lookup(map, map.fd)).toBe(-uapi.ENOENT);
    expect(rig.update(map, map.fd, u32s(3), BPF_EXIST)).toBe(-uapi.ENOENT);
    expect(rig.update(map, map.fd, u32s(3))).toBe(0);
    expect(rig.lookup(map, other.fd)).toEqual(u32s(3));
    const file = rt.inode({ anonymous: true });
    expect(rig.lookup(map, file.fd)).toEqual(u32s(3));
    expect(rt.exports.bpf_inode_storage_get(map.handle, file.ptr, 0, 0n)).not.toBe(0);
    file.close();
    expect(rig.lookup(map, other.fd)).toEqual(u32s(3));
    expect(rig.delete(map, other.fd)).toBe(0);
    expect(rig.lookup(map, map.fd)).toBe(-uapi.ENOENT);
    expect(rig.update(map, 0, u32s(5))).toBe(0);
    expect(rig.lookup(map, 2)).toEqual(u32s(5));
    rt.dispose();
  });
});

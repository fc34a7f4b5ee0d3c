// bpf_spin_lock in the values of HASH and ARRAY.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { lockBtf } from "../support/btf.js";
import { describeEachBuild } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { StorageRig } from "../support/storage.js";
import { walk } from "../support/walk.js";

const { BPF_ANY, BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST } = uapi;
const TYPES = [uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_ARRAY];

describeEachBuild("bpf_spin_lock", (build) => {
  for (const type of TYPES) {
    const name = type === uapi.BPF_MAP_TYPE_HASH ? "HASH" : "ARRAY";

    it(`reads as zero in ${name} and is left alone by updates`, async () => {
      const rig = new StorageRig(await build.createRuntime());
      const { rt, client } = rig;
      const spec = { type, keySize: 4, valueSize: 8, maxEntries: 4 };
      const fd = rig.createWith(lockBtf(4, 8, 0), spec);
      const key = u32s(1);
      expect(client.update(fd, key, u32s(1, 7), BPF_ANY)).toBe(0);
      expect(client.lookup(fd, key, 8, BPF_F_LOCK).out).toEqual(u32s(0, 7));
      expect(client.lookup(fd, key, 8).out).toEqual(u32s(0, 7));
      const present = client.update(fd, key, u32s(1, 8), BPF_NOEXIST | BPF_F_LOCK);
      expect(present).toBe(-uapi.EEXIST);
      expect(client.update(fd, key, u32s(1, 9), BPF_EXIST | BPF_F_LOCK)).toBe(0);
      const keyPtr = rt.alloc(4);
      new Uint8Array(rt.memory.buffer).set(key, keyPtr);
      const at = rt.exports.bpf_map_lookup_elem(rt.exports.bpf_map_by_fd(fd), keyPtr);
      const words = (): Uint32Array => new Uint32Array(rt.memory.buffer, at, 2);
      expect([...words()]).toEqual([0, 9]);
      expect(rt.exports.bpf_spin_lock(at)).toBe(0);
      expect(words()[0]).toBe(1);
      // What other words say is the program's business.
      expect(client.lookup(fd, key, 8).out).toEqual(u32s(0, 9));
      expect(rt.exports.bpf_spin_unlock(at)).toBe(0);
      expect(words()[0]).toBe(0);
      expect(client.freeze(fd)).toBe(-uapi.ENOTSUPP);
      // Before it matters how the fd was opened.
      const readOnly = client.getFdById(client.info(fd).info?.id ?? 0, uapi.BPF_F_RDONLY);
      expect(client.freeze(readOnly)).toBe(-uapi.ENOTSUPP);
      rt.dispose();
    });

    it(`is found at its offset in values of ${name} only`, async () => {
      const rig = new StorageRig(await build.createRuntime());
      const { rt, client } = rig;
      const fd = rig.createWith(lockBtf(4, 16, 8), {
        type,
        keySize: 4,
        valueSize: 16,
        maxEntries: 2,
      });
      const keyPtr = rt.alloc(4);
      new Uint8Array(rt.memory.buffer).set(u32s(0), keyPtr);
      expect(client.update(fd, u32s(0), new Uint8Array(16))).toBe(0);
      const at = rt.exports.bpf_map_lookup_elem(rt.exports.bpf_map_by_fd(fd), keyPtr);
      for (let offset = -16; offset < 32; offset++) {
        const isLock = offset === 8 || (type === uapi.BPF_MAP_TYPE_ARRAY && offset === 24);
        const want = isLock ? 0 : -uapi.EINVAL;
        const call = (id: number): bigint =>
          rt.exports.bpf_helper_call(id, BigInt(at + offset), 0n, 0n, 0n, 0n);
        expect(call(uapi.BPF_FUNC_spin_lock), `${offset}`).toBe(BigInt(want));
        expect(call(uapi.BPF_FUNC_spin_unlock)).toBe(BigInt(want));
      }
      expect(rt.exports.bpf_spin_lock(0)).toBe(-uapi.EINVAL);
      expect(rt.exports.bpf_spin_lock(keyPtr)).toBe(-uapi.EINVAL);
      client.close(fd);
      expect(rt.exports.bpf_spin_lock(at + 8)).toBe(-uapi.EINVAL);
      rt.dispose();
    });
  }

  it("makes a map another kind of inner map", async () => {
    const rig = new StorageRig(await build.createRuntime());
    const { rt, client } = rig;
    const spec = { type: uapi.BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 8, maxEntries: 4 };
    const plain = client.create(spec);
    const locked = rig.createWith(lockBtf(4, 8, 0), spec);
    const elsewhere = rig.createWith(lockBtf(4, 8, 4), spec);
    for (const template of [plain, locked, elsewhere]) {
      const outer = client.create({
        type: uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
        keySize: 4,
        valueSize: 4,
        maxEntries: 1,
        innerMapFd: template,
      });
      for (const inner of [plain, locked, elsewhere]) {
        const want = inner === template ? 0 : -uapi.EINVAL;
        expect(client.update(outer, u32s(0), u32s(inner))).toBe(want);
      }
    }
    rt.dispose();
  });

  it("leaves an element at its place in the bucket when BPF_F_LOCK replaces its value", async () => {
    const rig = new StorageRig(await build.createRuntime());
    const { rt, client } = rig;
    const fd = rig.createWith(lockBtf(4, 8, 0), {
      type: uapi.BPF_MAP_TYPE_HASH,
      keySize: 4,
      valueSize: 8,
      maxEntries: 4,
      flags: uapi.BPF_F_ZERO_SEED,
    });
    const update = (key: number, flags: number): number[] => {
      expect(client.update(fd, u32s(key), u32s(0, key), flags)).toBe(0);
      return walk(client, fd);
    };
    for (const key of [1, 2, 3]) update(key, BPF_ANY);
    // Answers of Linux 6.18; 3 and 1 share a bucket.
    expect(update(4, BPF_ANY)).toEqual([4, 2, 3, 1]);
    expect(update(1, BPF_F_LOCK)).toEqual([4, 2, 3, 1]);
    expect(update(1, BPF_EXIST | BPF_F_LOCK)).toEqual([4, 2, 3, 1]);
    expect(update(1, BPF_ANY)).toEqual([4, 2, 1, 3]);
    rt.dispose();
  });

  for (const flags of [0, uapi.BPF_F_ZERO_SEED, uapi.BPF_F_NO_PREALLOC]) {
    it(`is free in a new element, whoever held it there before: flags ${flags}`, async () => {
      const rig = new StorageRig(await build.createRuntime());
      const { rt, client } = rig;
      const spec = { type: uapi.BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 8, maxEntries: 1, flags };
      const fd = rig.createWith(lockBtf(4, 8, 4), spec);
      const keyPtr = rt.alloc(4);
      const lockOf = (key: number): number => {
        new Uint8Array(rt.memory.buffer).set(u32s(key), keyPtr);
        return rt.exports.bpf_map_lookup_elem(rt.exports.bpf_map_by_fd(fd), keyPtr) + 4;
      };
      const seen = new Set<number>();
      for (const key of [1, 2, 3]) {
        expect(client.update(fd, u32s(key), u32s(7, 7))).toBe(0);
        const at = lockOf(key);
        seen.add(at);
        expect(new Uint32Array(rt.memory.buffer, at, 1)[0]).toBe(0);
        // A program that keeps it.
        expect(rt.exports.bpf_spin_lock(at)).toBe(0);
        expect(client.delete(fd, u32s(key))).toBe(0);
      }
      // Or this test sees nothing.
      expect(seen.size).toBeLessThan(3);
      rt.dispose();
    });
  }

  it("can be in values of some types, and not for programs that only read or write", async () => {
    const rig = new StorageRig(await build.createRuntime());
    const create = (type: number, flags = 0): number =>
      rig.createWith(lockBtf(4, 8, 4), { type, keySize: 4, valueSize: 8, maxEntries: 4, flags });
    expect(create(uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_NO_PREALLOC)).toBeGreaterThan(2);
    for (const type of [
      uapi.BPF_MAP_TYPE_PERCPU_HASH,
      uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
      uapi.BPF_MAP_TYPE_LRU_HASH,
      uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ]) {
      expect(create(type)).toBe(-uapi.EOPNOTSUPP);
    }
    expect(create(uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_RDONLY_PROG)).toBe(-uapi.EACCES);
    expect(create(uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_F_WRONLY_PROG)).toBe(-uapi.EACCES);
    rig.rt.dispose();
  });
});

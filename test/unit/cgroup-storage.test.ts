// CGROUP_STORAGE and PERCPU_CGROUP_STORAGE. What happens without attachments was taken from Linux 6.18; with attachments,
// from its documentation and tests.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { BtfBuilder, lockBtf } from "../support/btf.js";
import { type Build, describeEachBuild, type Runtime } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { StorageRig } from "../support/storage.js";

const SHARED = uapi.BPF_MAP_TYPE_CGROUP_STORAGE;
const PERCPU = uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
const INGRESS = 0;
const EGRESS = 1;

interface Rig {
  readonly rt: Runtime;
  readonly client: BpfClient;
  /** A map; throws when there is none. */
  map(type: number, keySize: number, valueSize: number): { fd: number; handle: number };
}

async function rigOf(build: Build): Promise<Rig> {
  const rt = await build.createRuntime({ cpus: 2 });
  const client = new BpfClient(rt);
  const map = (
    type: number,
    keySize: number,
    valueSize: number,
  ): { fd: number; handle: number } => {
    const fd = client.create({ type, keySize, valueSize, maxEntries: 0 });
    if (fd < 0) throw new Error(`no map: ${fd}`);
    return { fd, handle: rt.exports.bpf_map_by_fd(fd) };
  };
  return { rt, client, map };
}

/** The key of a cgroup and attach type, `size` bytes. */
function keyOf(id: bigint, attachType: number, size: number): Uint8Array {
  return u32s(Number(id), 0, attachType, 0).subarray(0, size);
}

describeEachBuild("CGROUP_STORAGE", (build: Build) => {
  it("is created with keys of 8 or 16 bytes and no entries", async () => {
    const { rt, client } = await rigOf(build);
    for (const [type, max] of [
      [SHARED, 65407],
      [PERCPU, 32768],
    ] as const) {
      const create = (spec: object): number =>
        client.create({ type, keySize: 8, valueSize: 4, maxEntries: 0, ...spec });
      expect(create({})).toBeGreaterThan(2);
      expect(create({ keySize: 16 })).toBeGreaterThan(2);
      expect(create({ keySize: 4 })).toBe(-uapi.EINVAL);
      expect(create({ valueSize: 0 })).toBe(-uapi.EINVAL);
      expect(create({ valueSize: max })).toBeGreaterThan(2);
      expect(create({ valueSize: max + 1 })).toBe(-uapi.E2BIG);
      expect(create({ valueSize: max + 1, flags: 1, maxEntries: 1 })).toBe(-uapi.E2BIG);
      expect(create({ maxEntries: 1 })).toBe(-uapi.EINVAL);
      expect(create({ flags: uapi.BPF_F_NO_PREALLOC })).toBe(-uapi.EINVAL);
      expect(create({ flags: uapi.BPF_F_RDONLY_PROG })).toBeGreaterThan(2);
      expect(create({ flags: 0x180 })).toBe(-uapi.EINVAL);
    }
    rt.dispose();
  });

  it("has no elements without attachments", async () => {
    const { rt, client, map } = await rigOf(build);
    for (const [type, legal] of [
      [SHARED, [0, 2]],
      [PERCPU, [0, 2]],
    ] as const) {
      const { fd } = map(type, 16, 8);
      const key = keyOf(1n, 0, 16);
      const value = new Uint8Array(64);
      for (let flags = 0; flags < 10; flags++) {
        const want = (legal as readonly number[]).includes(flags) ? -uapi.ENOENT : -uapi.EINVAL;
        expect(client.update(fd, key, value, flags)).toBe(want);
      }
      expect(client.lookup(fd, key, 64).ret).toBe(-uapi.ENOENT);
      expect(client.delete(fd, key)).toBe(-uapi.EINVAL);
      expect(client.nextKey(fd, key, 16).ret).toBe(-uapi.ENOENT);
      expect(client.nextKey(fd, null, 16).ret).toBe(-uapi.ENOENT);
      expect(client.lookupAndDelete(fd, key, 64).ret).toBe(-uapi.ENOTSUPP);
    }
    rt.dispose();
  });

  it("has a value for each cgroup and attach type, or for all types of a cgroup", async () => {
    const { rt, client, map } = await rigOf(build);
    const [parent, child] = [rt.cgroup(), rt.cgroup()];
    for (const keySize of [8, 16]) {
      const { fd, handle } = map(SHARED, keySize, 8);
      const attachments = [
        rt.attachCgroupStorage({ map: fd, cgroup: parent, attachType: INGRESS }),
        rt.attachCgroupStorage({ map: fd, cgroup: parent, attachType: EGRESS }),
        rt.attachCgroupStorage({ map: { fd }, cgroup: child, attachType: EGRESS }),
      ];
      const ptrs = attachments.map((attached) =>
        attached.run(() => rt.exports.bpf_get_local_storage(handle, 0n)),
      );
      expect(new Set(ptrs).size).toBe(keySize === 8 ? 2 : 3);
      expect(rt.exports.bpf_get_local_storage(handle, 0n)).toBe(0);
      for (const ptr of ptrs) {
        expect(rt.exports.bpf_valid_range(ptr, 8)).toBe(1);
        expect(rt.exports.bpf_valid_range(ptr, 9)).toBe(0);
        new DataView(rt.memory.buffer).setUint32(ptr, 5, true);
      }
      // Newest first; user space goes on from what the program left.
      const first = client.nextKey(fd, null, keySize);
      expect(first.out).toEqual(keyOf(child.id, EGRESS, keySize));
      expect(client.lookup(fd, first.out, 8).out).toEqual(u32s(5, 0));
      expect(client.update(fd, first.out, u32s(6, 7), uapi.BPF_EXIST)).toBe(0);
      const at = attachments[2]?.run(() => rt.exports.bpf_get_local_storage(handle, 0n)) ?? 0;
      expect(at).toBe(ptrs[2]);
      expect(rt.exports.bpf_valid_range(at, 8)).toBe(1);
      expect(new DataView(rt.memory.buffer).getUint32(at + 4, true)).toBe(7);
      const keys = [];
      for (let key: Uint8Array | null = null; ; keys.push(key)) {
        const { ret, out } = client.nextKey(fd, key, keySize);
        if (ret !== 0) break;
        key = out;
      }
      expect(keys.length).toBe(keySize === 8 ? 2 : 3);
      expect(attachments.map((attached) => attached.detach())).toEqual([0, 0, 0]);
      expect(attachments[0]?.detach()).toBe(-uapi.ENOENT);
      expect(client.nextKey(fd, null, keySize).ret).toBe(-uapi.ENOENT);
      expect(rt.exports.bpf_valid_range(at, 8)).toBe(0);
    }
    rt.dispose();
  });

  it("keeps the value as long as one attachment is left, and the map with it", async () => {
    const { rt, client, map } = await rigOf(build);
    const used = rt.exports.mem_used();
    const cgroup = rt.cgroup();
    const { fd, handle } = map(SHARED, 8, 8);
    const one = rt.attachCgroupStorage({ map: fd, cgroup });
    const two = rt.attachCgroupStorage({ map: fd, cgroup, attachType: 7 });
    client.close(fd);
    const get = (): number => rt.exports.bpf_get_local_storage(handle, 0n);
    expect(one.run(get)).not.toBe(0);
    expect(one.run(get)).toBe(two.run(get));
    expect(one.detach()).toBe(0);
    expect(two.run(get)).not.toBe(0);
    expect(two.run(() => rt.exports.bpf_get_local_storage(handle, 1n))).toBe(0);
    expect(two.detach()).toBe(0);
    expect(two.run(get)).toBe(0);
    cgroup.rmdir();
    cgroup.close();
    client.release();
    // Tables of handles and regions stay.
    expect(rt.exports.mem_used() - used).toBeLessThan(2048);
    rt.dispose();
  });

  it("ends with its cgroup", async () => {
    const { rt, client, map } = await rigOf(build);
    const cgroup = rt.cgroup();
    const { fd, handle } = map(SHARED, 16, 8);
    const attached = rt.attachCgroupStorage({ map: fd, cgroup });
    const at = attached.run(() => rt.exports.bpf_get_local_storage(handle, 0n));
    expect(cgroup.rmdir()).toBe(0);
    expect(rt.exports.bpf_valid_range(at, 8)).toBe(0);
    expect(client.nextKey(fd, null, 16).ret).toBe(-uapi.ENOENT);
    expect(attached.detach()).toBe(-uapi.ENOENT);
    expect(() => rt.attachCgroupStorage({ map: fd, cgroup })).toThrow(/ENOENT/);
    rt.dispose();
  });

  it("has a value a CPU in the per-CPU type", async () => {
    const { rt, client, map } = await rigOf(build);
    const cgroup = rt.cgroup();
    const { fd, handle } = map(PERCPU, 8, 5);
    const attached = rt.attachCgroupStorage({ map: fd, cgroup });
    const ptrs = [0, 1].map((cpu) => {
      rt.cpu = cpu;
      const at = attached.run(() => rt.exports.bpf_get_local_storage(handle, 0n));
      new Uint8Array(rt.memory.buffer)[at] = cpu + 1;
      expect(rt.exports.bpf_valid_range(at, 5)).toBe(1);
      expect(rt.exports.bpf_valid_range(at, 6)).toBe(0);
      return at;
    });
    expect((ptrs[1] ?? 0) - (ptrs[0] ?? 0)).toBe(8);
    const key = keyOf(cgroup.id, 0, 8);
    expect(client.lookup(fd, key, 16).out).toEqual(u32s(1, 0, 2, 0));
    expect(client.update(fd, key, u32s(3, 4, 5, 6))).toBe(0);
    expect(client.lookup(fd, key, 16).out).toEqual(u32s(3, 4, 5, 6));
    // Written where it stands.
    expect(attached.run(() => rt.exports.bpf_get_local_storage(handle, 0n))).toBe(ptrs[1]);
    rt.dispose();
  });

  it("remembers the attachment of the caller when runs are nested", async () => {
    const { rt, map } = await rigOf(build);
    const [a, b] = [rt.cgroup(), rt.cgroup()];
    const { fd, handle } = map(SHARED, 8, 8);
    const [outer, inner] = [a, b].map((cgroup) => rt.attachCgroupStorage({ map: fd, cgroup }));
    const get = (): bigint =>
      rt.exports.bpf_helper_call(uapi.BPF_FUNC_get_local_storage, BigInt(handle), 0n, 0n, 0n, 0n);
    const seen = outer?.run(() => [get(), inner?.run(get), get()]) ?? [];
    expect(seen[0]).toBe(seen[2]);
    expect(seen[0]).not.toBe(seen[1]);
    expect(() =>
      outer?.run(() => {
        throw new Error("program");
      }),
    ).toThrow("program");
    expect(get()).toBe(0n);
    rt.dispose();
  });

  it("refuses what is no map of its kind, and no cgroup", async () => {
    const { rt, client, map } = await rigOf(build);
    const cgroup = rt.cgroup();
    const { fd } = map(SHARED, 8, 8);
    const hash = client.create({ type: 1, keySize: 4, valueSize: 4, maxEntries: 1 });
    expect(() => rt.attachCgroupStorage({ map: hash, cgroup })).toThrow(/EINVAL/);
    expect(() => rt.attachCgroupStorage({ map: 999, cgroup })).toThrow(/EBADF/);
    expect(() => rt.attachCgroupStorage({ map: fd, cgroup: rt.socket() as never })).toThrow(
      TypeError,
    );
    expect(() => rt.attachCgroupStorage({ map: fd, cgroup, attachType: -1 })).toThrow(RangeError);
    rt.dispose();
  });

  it("attaches to no other cgroup that has the fd of a closed one", async () => {
    const { rt, map } = await rigOf(build);
    const { fd } = map(SHARED, 8, 4);
    const closed = rt.cgroup();
    closed.close();
    expect(() => rt.attachCgroupStorage({ map: fd, cgroup: closed })).toThrow(/EBADF/);
    const other = rt.cgroup();
    expect(other.fd).toBe(closed.fd);
    expect(() => rt.attachCgroupStorage({ map: fd, cgroup: closed })).toThrow(/EBADF/);
    rt.dispose();
  });

  it("takes a lock in shared values, and types of the keys", async () => {
    const rt = await build.createRuntime();
    const rig = new StorageRig(rt);
    const btf = new BtfBuilder();
    const [u32, u64] = [btf.int("u32", 4), btf.int("u64", 8)];
    const struct = btf.struct("key", 16, [
      { name: "id", type: u64, offset: 0 },
      { name: "type", type: u32, offset: 8 },
    ]);
    const other = btf.struct("other", 16, [{ name: "id", type: u64, offset: 0 }]);
    const create = (keySize: number, keyTypeId: number): number =>
      rig.createWith(
        { blob: btf.build(), keyTypeId, valueTypeId: u32 },
        { type: SHARED, keySize, valueSize: 4, maxEntries: 0 },
      );
    expect(create(16, struct)).toBeGreaterThan(2);
    expect(create(16, other)).toBe(-uapi.EINVAL);
    expect(create(8, u64)).toBeGreaterThan(2);
    expect(create(8, 0)).toBe(-uapi.EINVAL);
    const lockMap = lockBtf(8, 8, 0);
    // Keys of 8 bytes are arrays there, which they may not be.
    const spec = { keySize: 8, valueSize: 8, maxEntries: 0 };
    expect(rig.createWith(lockMap, { ...spec, type: SHARED })).toBe(-uapi.EINVAL);
    expect(rig.createWith(lockMap, { ...spec, type: PERCPU })).toBe(-uapi.EOPNOTSUPP);
    rt.dispose();
  });
});

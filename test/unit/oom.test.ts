// Out of memory, at every allocation there is: the first n allocations succeed, the next fails, for n = 0, 1, 2, ...
// until the operation gets through. Each failure is -ENOMEM, leaves nothing behind and breaks nothing. Debug build only:
// the others cannot be told to fail.

import { describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import type { CreateSpec } from "../support/attr.js";
import { BUILDS, type Runtime } from "../support/builds.js";
import { BtfBuilder, lockBtf, plainBtf } from "../support/btf.js";
import { u32s, u64s } from "../support/bytes.js";
import { type DebugExports, debugExports, expectSound } from "../support/debug.js";
import { StorageRig } from "../support/storage.js";

const ALLOCATIONS_MAX = 200;
const NO_PREALLOC = uapi.BPF_F_NO_PREALLOC;
const NO_COMMON_LRU = uapi.BPF_F_NO_COMMON_LRU;

const map = (type: number, flags = 0, rest: Partial<CreateSpec> = {}): CreateSpec => ({
  type,
  keySize: 4,
  valueSize: 8,
  maxEntries: 100,
  flags,
  ...rest,
});

/** Maps to create; of types that are not built, the test sees that they are refused. */
const CREATIONS: Readonly<Record<string, CreateSpec>> = {
  "HASH, small": map(uapi.BPF_MAP_TYPE_HASH),
  "HASH, separate": map(uapi.BPF_MAP_TYPE_HASH, 0, { valueSize: 300 }),
  "HASH, no prealloc": map(uapi.BPF_MAP_TYPE_HASH, NO_PREALLOC),
  PERCPU_HASH: map(uapi.BPF_MAP_TYPE_PERCPU_HASH),
  "PERCPU_HASH, no prealloc": map(uapi.BPF_MAP_TYPE_PERCPU_HASH, NO_PREALLOC),
  LRU_HASH: map(uapi.BPF_MAP_TYPE_LRU_HASH),
  "LRU_HASH, no common": map(uapi.BPF_MAP_TYPE_LRU_HASH, NO_COMMON_LRU),
  LRU_PERCPU_HASH: map(uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH),
  ARRAY: map(uapi.BPF_MAP_TYPE_ARRAY),
  "ARRAY, mmapable": map(uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_F_MMAPABLE),
  PERCPU_ARRAY: map(uapi.BPF_MAP_TYPE_PERCPU_ARRAY),
  QUEUE: map(uapi.BPF_MAP_TYPE_QUEUE, 0, { keySize: 0 }),
  STACK: map(uapi.BPF_MAP_TYPE_STACK, 0, { keySize: 0 }),
  BLOOM_FILTER: map(uapi.BPF_MAP_TYPE_BLOOM_FILTER, 0, { keySize: 0 }),
  LPM_TRIE: map(uapi.BPF_MAP_TYPE_LPM_TRIE, NO_PREALLOC, { keySize: 8 }),
  RINGBUF: map(uapi.BPF_MAP_TYPE_RINGBUF, 0, { keySize: 0, valueSize: 0, maxEntries: 4096 }),
};

const STORAGES = [
  uapi.BPF_MAP_TYPE_SK_STORAGE,
  uapi.BPF_MAP_TYPE_CGRP_STORAGE,
  uapi.BPF_MAP_TYPE_TASK_STORAGE,
  uapi.BPF_MAP_TYPE_INODE_STORAGE,
];

interface Machine {
  readonly rt: Runtime;
  readonly client: BpfClient;
  readonly debug: DebugExports;
}

async function boot(): Promise<Machine> {
  const build = BUILDS.find((one) => one.name === "debug");
  const rt = await build?.createRuntime({ cpus: 2 });
  const debug = rt === undefined ? undefined : debugExports(rt);
  if (rt === undefined || debug === undefined)
    throw new Error("no debug build: npm run build:core");
  return { rt, client: new BpfClient(rt), debug };
}

/**
 * Calls `attempt` with ever more allocations until it answers >= 0, which it returns. Checks each failure.
 * @param used bytes that must be in use after a failure; undefined: not looked at
 */
function failUntilSuccess(
  { rt, debug }: Machine,
  used: number | undefined,
  attempt: () => number,
  fds: readonly number[] = [],
): number {
  for (let n = 0; n < ALLOCATIONS_MAX; n++) {
    debug.fail_after(n);
    const ret = attempt();
    debug.fail_after(-1);
    expectSound(rt, ...fds);
    if (ret >= 0) return ret;
    expect(ret, `allocation ${n}`).toBe(-uapi.ENOMEM);
    if (used !== undefined)
      expect(rt.exports.mem_used(), `after allocation ${n} failed`).toBe(used);
  }
  throw new Error("the operation never gets through");
}

describe("out of memory", () => {
  for (const [name, spec] of Object.entries(CREATIONS)) {
    it(`creates ${name} or nothing`, async () => {
      const machine = await boot();
      const { rt, client } = machine;
      if (rt.exports.map_type_supported(spec.type) === 0) {
        expect(client.create(spec)).toBe(-uapi.EINVAL);
        return;
      }
      // Tables that the first map brings along stay.
      rt.close(client.create(spec));
      const used = rt.exports.mem_used();
      const fd = failUntilSuccess(machine, used, () => client.create(spec));
      expectSound(rt, fd);
      rt.close(fd);
      expect(rt.exports.mem_used()).toBe(used);
      rt.dispose();
    });
  }

  it("creates the first map of a kernel or nothing", async () => {
    const machine = await boot();
    const spec = map(uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH);
    const fd = failUntilSuccess(machine, undefined, () => machine.client.create(spec));
    expectSound(machine.rt, fd);
    machine.rt.dispose();
  });

  for (const type of [uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_PERCPU_HASH]) {
    it(`inserts into type ${type} without preallocation or changes nothing`, async () => {
      const machine = await boot();
      const { rt, client } = machine;
      // Elements so large that a few fill a slab.
      const valueSize = 4096;
      const value = new Uint8Array(
        type === uapi.BPF_MAP_TYPE_HASH ? valueSize : 2 * valueSize,
      ).fill(7);
      const fd = client.create(map(type, NO_PREALLOC, { valueSize }));
      // The client's own buffers.
      client.lookup(fd, u32s(0), value.length);
      for (let key = 0; key < 20; key++) {
        const used = rt.exports.mem_used();
        failUntilSuccess(
          machine,
          used,
          () => {
            const ret = client.update(fd, u32s(key), value);
            expect(client.lookup(fd, u32s(key), value.length).ret).toBe(ret < 0 ? -uapi.ENOENT : 0);
            return ret;
          },
          [fd],
        );
        expect(rt.exports.bpf_map_sum_elem_count(rt.exports.bpf_map_by_fd(fd))).toBe(
          BigInt(key + 1),
        );
      }
      rt.dispose();
    });
  }

  it("allocates for no operation on a preallocated map", async () => {
    const { rt, client, debug } = await boot();
    const fds = Object.values(CREATIONS)
      .filter(({ flags, keySize }) => keySize === 4 && flags !== NO_PREALLOC)
      .map((spec) => client.create(spec));
    // The client's own buffers.
    client.lookup(fds[0] ?? -1, new Uint8Array(1024), 1024);
    const value = new Uint8Array(600);
    for (const fd of fds) client.update(fd, u32s(0), value);
    debug.fail_after(0);
    for (const fd of fds) {
      for (let key = 0; key < 200; key++) {
        expect([0, -uapi.E2BIG]).toContain(client.update(fd, u32s(key), value));
        client.lookup(fd, u32s(key), 600);
        client.delete(fd, u32s(key - 50));
      }
      client.nextKey(fd, null, 4);
    }
    debug.fail_after(-1);
    expectSound(rt, ...fds);
    rt.dispose();
  });

  it("pins or leaves no name", async () => {
    const machine = await boot();
    const { rt, client } = machine;
    const fd = client.create(map(uapi.BPF_MAP_TYPE_ARRAY));
    client.get("/nowhere/else");
    client.pin(fd, "/sys/fs/nowhere/else");
    const used = rt.exports.mem_used();
    failUntilSuccess(machine, used, () => client.pin(fd, "/sys/fs/bpf/a"));
    expect(client.get("/sys/fs/bpf/a")).toBeGreaterThan(fd);
    rt.dispose();
  });

  it("makes the file system at its first use or not at all", async () => {
    const machine = await boot();
    const fd = machine.client.create(map(uapi.BPF_MAP_TYPE_ARRAY));
    machine.client.update(fd, u32s(0), u64s(0));
    machine.client.pin(-1, "/some/path/to/take/a/buffer/for");
    // The tree around the mount stays once it is whole.
    failUntilSuccess(machine, undefined, () => machine.client.pin(fd, "/sys/fs/bpf/a"));
    expect(machine.rt.bpffs.readdir("/sys/fs")).toEqual([{ name: "bpf", isDirectory: true }]);
    machine.rt.dispose();
  });

  it("opens an fd beyond the table's end or drops the map", async () => {
    const machine = await boot();
    const { rt, client } = machine;
    const spec = map(uapi.BPF_MAP_TYPE_ARRAY);
    while (client.create(spec) < 63);
    const used = rt.exports.mem_used();
    expect(failUntilSuccess(machine, used, () => client.create(spec))).toBe(64);
    rt.dispose();
  });

  it("loads a BTF or nothing", async () => {
    const machine = await boot();
    const { rt, client } = machine;
    const { blob } = plainBtf(4, 8);
    client.close(client.btfLoad(blob));
    const used = rt.exports.mem_used();
    const fd = failUntilSuccess(machine, used, () => client.btfLoad(blob));
    client.close(fd);
    expect(rt.exports.mem_used()).toBe(used);
    rt.dispose();
  });

  it("finds the lock of a value or makes no map", async () => {
    const machine = await boot();
    const { rt, client } = machine;
    const btf = new BtfBuilder();
    const word = btf.int("int", 4);
    const lock = btf.struct("bpf_spin_lock", 4, [{ name: "val", type: word, offset: 0 }]);
    const inner = btf.struct("inner", 4, [{ name: "x", type: word, offset: 0 }]);
    const value = btf.struct("value", 8, [
      { name: "inner", type: inner, offset: 0 },
      { name: "lock", type: lock, offset: 4 },
    ]);
    const blob = btf.build();
    client.close(client.btfLoad(blob));
    const used = rt.exports.mem_used();
    const btfFd = failUntilSuccess(machine, used, () => client.btfLoad(blob));
    const spec = { type: uapi.BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: 8, maxEntries: 1 };
    const create = (): number =>
      client.create({ ...spec, btfFd, btfKeyTypeId: word, btfValueTypeId: value });
    client.close(create());
    const fd = failUntilSuccess(machine, rt.exports.mem_used(), create);
    expect(client.lookup(fd, u32s(0), 8, uapi.BPF_F_LOCK).ret).toBe(0);
    rt.dispose();
  });

  it("creates a storage map or nothing", async () => {
    const machine = await boot();
    const rig = new StorageRig(machine.rt);
    const btf = lockBtf(4, 16, 4);
    const btfFd = rig.client.btfLoad(btf.blob);
    for (const type of STORAGES) {
      const spec = {
        type,
        keySize: 4,
        valueSize: 16,
        maxEntries: 0,
        flags: NO_PREALLOC,
        btfFd,
        btfKeyTypeId: btf.keyTypeId,
        btfValueTypeId: btf.valueTypeId,
      };
      rig.client.close(rig.client.create(spec));
      const used = machine.rt.exports.mem_used();
      const fd = failUntilSuccess(machine, used, () => rig.client.create(spec));
      rig.client.close(fd);
      expect(machine.rt.exports.mem_used()).toBe(used);
    }
    machine.rt.dispose();
  });

  it("makes a host object or nothing", async () => {
    const machine = await boot();
    const { rt } = machine;
    const makes = [
      () => rt.exports.socket_create(2, 1, 131072),
      () => rt.exports.cgroup_create(0, 0, 2),
      () => rt.exports.task_create(0, 0, 0),
      () => rt.exports.inode_create(0),
      () => rt.exports.inode_create(1),
    ];
    // Tables of regions.
    for (const make of makes) make();
    for (let fd = 3; fd < 63; fd++) rt.socket();
    for (const make of makes) failUntilSuccess(machine, undefined, make);
    rt.dispose();
  });

  it("stores a value with an owner or changes nothing", async () => {
    const machine = await boot();
    const { rt } = machine;
    const rig = new StorageRig(rt);
    const [sk, cgrp, task, inode] = STORAGES.map((type) => rig.map(type, 5000));
    const value = new Uint8Array(5000).fill(3);
    for (let round = 0; round < 8; round++) {
      const socket = rt.socket();
      const owners = [
        [sk, socket.fd],
        [cgrp, rt.cgroup().fd],
        [task, rt.task().fd],
        [inode, rt.inode().fd],
        [inode, socket.fd],
      ] as const;
      for (const [storage, fd] of owners) {
        if (storage === undefined) throw new Error("no map");
        rig.lookup(storage, fd);
        const used = rt.exports.mem_used();
        failUntilSuccess(
          machine,
          round === 0 ? undefined : used,
          () => {
            const ret = rig.update(storage, fd, value);
            expect(rig.lookup(storage, fd)).toEqual(ret < 0 ? -uapi.ENOENT : value);
            return ret;
          },
          [storage.fd],
        );
      }
    }
    rt.dispose();
  });

  it("attaches a CGROUP_STORAGE or does not", async () => {
    const machine = await boot();
    const { rt, client } = machine;
    const fd = client.create({
      type: uapi.BPF_MAP_TYPE_CGROUP_STORAGE,
      keySize: 8,
      valueSize: 5000,
      maxEntries: 0,
    });
    for (let round = 0; round < 4; round++) {
      const cgroup = rt.cgroup();
      const attach = (): number => rt.exports.cgroup_storage_attach(fd, cgroup.fd, 0);
      failUntilSuccess(machine, undefined, attach);
    }
    let count = 0;
    for (let key: Uint8Array | null = null; ; count++) {
      const { ret, out } = client.nextKey(fd, key, 8);
      if (ret < 0) break;
      key = out;
    }
    expect(count).toBe(4);
    rt.dispose();
  });
});

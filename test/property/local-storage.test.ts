// Owners and storage maps come and go in random order, and values with them. Afterwards nothing is left: the allocator is
// where it was, and no address of a value that is gone is live.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { type Build, type BuildName, describeEachBuild } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { expectSound } from "../support/debug.js";
import { Random } from "../support/random.js";
import { expectSame } from "../support/same.js";
import { GET_F_CREATE, type StorageMap, StorageRig } from "../support/storage.js";

const OWNERS: Readonly<Record<BuildName, number>> = {
  release: 100_000,
  shared: 100_000,
  debug: 20_000,
};
const MAPS = 200;
/** Owners and maps that live at the same time, about. */
const OWNERS_AT_ONCE = 400;
const MAPS_AT_ONCE = 24;
const SEED = 20261120;

const TYPES = [
  uapi.BPF_MAP_TYPE_SK_STORAGE,
  uapi.BPF_MAP_TYPE_CGRP_STORAGE,
  uapi.BPF_MAP_TYPE_TASK_STORAGE,
  uapi.BPF_MAP_TYPE_INODE_STORAGE,
];

interface Owner {
  readonly kind: number;
  readonly fd: number;
  readonly ptr: number;
  readonly values: Map<LiveMap, Uint8Array>;
  end(): void;
}

interface LiveMap extends StorageMap {
  readonly kind: number;
}

/** The model: which owner has which value of which map. */
class World {
  readonly rig: StorageRig;
  readonly random: Random;
  readonly owners: Owner[] = [];
  readonly maps: LiveMap[] = [];
  /** Addresses of values, live and dead. */
  readonly addresses = new Map<number, LiveMap>();
  ownersMade = 0;
  mapsMade = 0;

  constructor(rig: StorageRig, seed: number) {
    this.rig = rig;
    this.random = new Random(seed);
  }

  addMap(): void {
    const kind = this.random.below(4);
    const valueSize = this.random.pick([1, 4, 8, 12, 100, 2000]);
    const type = TYPES[kind] ?? 0;
    this.maps.push({ kind, ...this.rig.map(type, valueSize) });
    this.mapsMade++;
  }

  dropMap(): void {
    const [map] = this.maps.splice(this.random.below(this.maps.length), 1);
    if (map === undefined) return;
    for (const owner of this.owners) owner.values.delete(map);
    expectSame(this.rig.client.close(map.fd), 0);
  }

  addOwner(): void {
    const kind = this.random.below(4);
    this.ownersMade++;
    this.owners.push({ kind, values: new Map(), ...this.#make(kind) });
  }

  #make(kind: number): { fd: number; ptr: number; end(): void } {
    const { rt } = this.rig;
    switch (kind) {
      case 0: {
        const socket = rt.socket();
        return { fd: socket.fd, ptr: socket.ptr, end: () => void socket.close() };
      }
      case 1: {
        const cgroup = rt.cgroup();
        return {
          fd: cgroup.fd,
          ptr: cgroup.ptr,
          end: () => {
            expectSame(cgroup.rmdir(), 0);
            cgroup.close();
          },
        };
      }
      case 2: {
        const task = rt.task();
        return {
          fd: task.fd,
          ptr: task.ptr,
          end: () => {
            task.close();
            expectSame(task.reap(), 0);
          },
        };
      }
      default: {
        const inode = rt.inode();
        return { fd: inode.fd, ptr: inode.ptr, end: () => void inode.close() };
      }
    }
  }

  dropOwner(): void {
    const [owner] = this.owners.splice(this.random.below(this.owners.length), 1);
    owner?.end();
  }

  /** One operation on a value, through bpf(2) or as a program. */
  use(): void {
    if (this.owners.length === 0) return;
    const { random, rig } = this;
    const owner = random.pick(this.owners);
    const maps = this.maps.filter((map) => map.kind === owner.kind);
    if (maps.length === 0) return;
    const map = random.pick(maps);
    const known = owner.values.get(map);
    switch (random.below(5)) {
      case 0:
      case 1: {
        const value = new Uint8Array(map.valueSize).fill(random.below(256));
        value.set(u32s(random.u32()).subarray(0, map.valueSize));
        const flags = random.below(3);
        const refused =
          flags === uapi.BPF_NOEXIST
            ? known !== undefined && -uapi.EEXIST
            : flags === uapi.BPF_EXIST && known === undefined && -uapi.ENOENT;
        expectSame(rig.update(map, owner.fd, value, flags), refused === false ? 0 : refused);
        if (refused === false) owner.values.set(map, value);
        break;
      }
      case 2:
        expectSame(rig.delete(map, owner.fd), known === undefined ? -uapi.ENOENT : 0);
        owner.values.delete(map);
        break;
      case 3:
        this.#expectValue(map, owner, known);
        break;
      default: {
        const ptr = this.get(map, owner, GET_F_CREATE);
        expectSame(ptr !== 0, true);
        if (known === undefined) owner.values.set(map, new Uint8Array(map.valueSize));
        this.addresses.set(ptr, map);
      }
    }
  }

  #expectValue(map: LiveMap, owner: Owner, value: Uint8Array | undefined): void {
    const found = this.rig.lookup(map, owner.fd);
    if (typeof found === "number" || value === undefined) {
      expectSame(found, value ?? -uapi.ENOENT);
    } else if (Buffer.compare(found, value) !== 0) {
      expect(found).toEqual(value);
    }
  }

  get(map: LiveMap, owner: Owner, flags: bigint): number {
    const { exports } = this.rig.rt;
    const get = [
      exports.bpf_sk_storage_get,
      exports.bpf_cgrp_storage_get,
      exports.bpf_task_storage_get,
      exports.bpf_inode_storage_get,
    ][map.kind];
    return get === undefined ? 0 : get(map.handle, owner.ptr, 0, flags) >>> 0;
  }

  /** Every value is where it should be; every address ever seen is live only if a value is there now. */
  check(): void {
    expectSound(this.rig.rt, ...this.maps.map((map) => map.fd));
    const sizes = new Map<number, number>();
    for (const owner of this.owners) {
      for (const [map, value] of owner.values) {
        this.#expectValue(map, owner, value);
        sizes.set(this.get(map, owner, 0n), map.valueSize);
      }
    }
    for (const [ptr] of this.addresses) {
      const size = sizes.get(ptr);
      const isLive = this.rig.rt.exports.bpf_valid_range(ptr, size ?? 1);
      expectSame(isLive, size === undefined ? this.#insideAnother(ptr, sizes) : 1);
    }
    this.addresses.clear();
    for (const ptr of sizes.keys()) this.addresses.set(ptr, this.maps[0] as LiveMap);
  }

  /** A byte that was a value's first may be inside a larger value now, or inside an owner. */
  #insideAnother(ptr: number, sizes: ReadonlyMap<number, number>): number {
    for (const [start, size] of sizes) if (ptr > start && ptr < start + size) return 1;
    const bytes = [80, 16, 16, 16];
    for (const owner of this.owners) {
      if (ptr >= owner.ptr && ptr < owner.ptr + (bytes[owner.kind] ?? 0)) return 1;
    }
    return 0;
  }
}

/** Runs a whole life of `owners` owners and MAPS maps. */
function live(rig: StorageRig, owners: number, seed: number): void {
  const world = new World(rig, seed);
  const { random } = world;
  const stepsPerMap = Math.floor(owners / MAPS);
  for (let step = 0; world.ownersMade < owners; step++) {
    if (step % stepsPerMap === 0 && world.mapsMade < MAPS) world.addMap();
    if (world.maps.length > 0 && random.below(MAPS_AT_ONCE * stepsPerMap) < world.maps.length) {
      world.dropMap();
    }
    world.addOwner();
    if (random.below(OWNERS_AT_ONCE) < world.owners.length) world.dropOwner();
    world.use();
    world.use();
    if (random.oneIn(owners / 20)) world.check();
  }
  world.check();
  // Both orders of ending: some maps first, then all owners, then the other maps.
  while (world.maps.length > MAPS_AT_ONCE / 3) world.dropMap();
  while (world.owners.length > 0) world.dropOwner();
  while (world.maps.length > 0) world.dropMap();
  world.check();
}

describeEachBuild("local storage", (build: Build) => {
  it("leaves nothing behind when owners and maps are gone", async () => {
    const rt = await build.createRuntime({ cpus: 2, seed: 1 });
    const rig = new StorageRig(rt);
    // The tables of fds, handles and regions grow with their first use and stay; the client's buffers, too.
    live(rig, 4000, SEED);
    const used = rt.exports.mem_used();
    live(rig, OWNERS[build.name], SEED + 1);
    expect(rt.exports.mem_used()).toBe(used);
    rt.dispose();
  });
});

// What the tests of storages share: maps with their BTF, keys that are fds, values that are words.

import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "./bpf.js";
import { debugExports } from "./debug.js";
import { lockBtf, type MapBtf, plainBtf } from "./btf.js";
import type { Runtime } from "./builds.js";
import { u32s } from "./bytes.js";

export const GET_F_CREATE = BigInt(uapi.BPF_LOCAL_STORAGE_GET_F_CREATE);

/** A storage map: its fd for bpf(2), its handle for helpers. */
export interface StorageMap {
  readonly fd: number;
  readonly handle: number;
  readonly valueSize: number;
}

export interface StorageMapOptions {
  readonly flags?: number;
  /** Offset of a bpf_spin_lock in the value. */
  readonly lockOffset?: number;
}

/** Makes storage maps and reads and writes them by fd. */
export class StorageRig {
  readonly rt: Runtime;
  readonly client: BpfClient;

  constructor(rt: Runtime) {
    this.rt = rt;
    this.client = new BpfClient(rt);
  }

  /** A map of any type with a BTF; the fd, or -errno. */
  createWith(btf: MapBtf, spec: Parameters<BpfClient["create"]>[0]): number {
    const btfFd = this.client.btfLoad(btf.blob);
    if (btfFd < 0) throw new Error(`BTF_LOAD: ${btfFd}`);
    const { keyTypeId, valueTypeId } = btf;
    const fd = this.client.create({
      btfFd,
      btfKeyTypeId: keyTypeId,
      btfValueTypeId: valueTypeId,
      ...spec,
    });
    this.client.close(btfFd);
    return fd;
  }

  map(type: number, valueSize: number, options: StorageMapOptions = {}): StorageMap {
    const { flags = uapi.BPF_F_NO_PREALLOC, lockOffset } = options;
    const btf =
      lockOffset === undefined ? plainBtf(4, valueSize) : lockBtf(4, valueSize, lockOffset);
    const fd = this.createWith(btf, { type, keySize: 4, valueSize, maxEntries: 0, flags });
    if (fd < 0) throw new Error(`no storage map: ${fd}`);
    return { fd, handle: this.rt.exports.bpf_map_by_fd(fd), valueSize };
  }

  update(map: StorageMap, fd: number, value: Uint8Array, flags = 0): number {
    return this.client.update(map.fd, u32s(fd), value, flags);
  }

  delete(map: StorageMap, fd: number): number {
    return this.client.delete(map.fd, u32s(fd));
  }

  /** The value, or -errno. */
  lookup(map: StorageMap, fd: number, flags = 0): Uint8Array | number {
    const { ret, out } = this.client.lookup(map.fd, u32s(fd), map.valueSize, flags);
    return ret < 0 ? ret : out;
  }

  /** Is this whole value (of `map`) live at `ptr`? */
  isLive(map: StorageMap, ptr: number): boolean {
    return this.rt.exports.bpf_valid_range(ptr, map.valueSize) === 1;
  }

  /** Walks the map's structure (debug build only); 0 is sound. */
  check(map: StorageMap): number {
    return debugExports(this.rt)?.check_map(map.handle) ?? 0;
  }
}

// createMap for storages: they have neither keys of the caller's nor a size, and they need a BTF.

import type { AnyCodec, Codec } from "./codec.js";
import { check } from "./errors.js";
import { Cgroup, Inode, Socket, Task } from "./host.js";
import type { HostObject } from "./host.js";
import type { MapIdentity, TypedMap } from "./map.js";
import { checkSize, codecOf, commonAttr, mapCreate } from "./map-spec.js";
import type { MapOptions } from "./map-spec.js";
import type { Codecs } from "./map-types.js";
import { CgrpStorage, InodeStorage, SkStorage, TaskStorage } from "./maps/local-storage.js";
import type { BpfRuntime } from "./runtime.js";
import { allocate, mapInfo } from "./syscall.js";
import * as uapi from "./uapi.js";

/** A type name of a storage map. */
export type StorageTypeName = "sk_storage" | "cgrp_storage" | "task_storage" | "inode_storage";

interface StorageType {
  readonly mapType: number;
  readonly StorageClass: new (
    runtime: BpfRuntime,
    identity: MapIdentity,
    value: Codec<never, never>,
    ownerClass: abstract new (...args: never[]) => HostObject,
  ) => TypedMap;
  readonly ownerClass: abstract new (...args: never[]) => HostObject;
}

/** Type names (those of bpftool) and what is behind them. */
export const STORAGE_TYPES: Readonly<Record<StorageTypeName, StorageType>> = {
  sk_storage: {
    mapType: uapi.BPF_MAP_TYPE_SK_STORAGE,
    StorageClass: SkStorage,
    ownerClass: Socket,
  },
  cgrp_storage: {
    mapType: uapi.BPF_MAP_TYPE_CGRP_STORAGE,
    StorageClass: CgrpStorage,
    ownerClass: Cgroup,
  },
  task_storage: {
    mapType: uapi.BPF_MAP_TYPE_TASK_STORAGE,
    StorageClass: TaskStorage,
    ownerClass: Task,
  },
  inode_storage: {
    mapType: uapi.BPF_MAP_TYPE_INODE_STORAGE,
    StorageClass: InodeStorage,
    ownerClass: Inode,
  },
};

/** Is this one of the types of this file? */
export function isStorageType(name: string): name is StorageTypeName {
  return Object.hasOwn(STORAGE_TYPES, name);
}

/** See {@link BpfRuntime.createMap}. */
export function createStorage(
  runtime: BpfRuntime,
  name: StorageTypeName,
  spec: Partial<MapOptions> & Codecs,
): TypedMap {
  const type = STORAGE_TYPES[name];
  const value = codecOf("value", spec.value);
  // Storages have no such options, but who gives one shall hear what the kernel says to it.
  const common = commonAttr({ ...spec, maxEntries: spec.maxEntries ?? 0 });
  const btfFd = loadBtf(runtime, value.size);
  try {
    const fd = mapCreate(runtime, {
      ...common,
      mapType: type.mapType,
      keySize: 4,
      valueSize: value.size,
      mapFlags: (common.mapFlags | uapi.BPF_F_NO_PREALLOC) >>> 0,
      btf: { fd: btfFd, keyTypeId: BTF_INT, valueTypeId: BTF_BYTES },
    });
    try {
      return wrapStorage(runtime, { fd, info: mapInfo(runtime, fd) }, type, value);
    } catch (error) {
      runtime.close(fd);
      throw error;
    }
  } finally {
    // The map holds it.
    runtime.close(btfFd);
  }
}

/** See {@link BpfRuntime.mapFromFd}. */
export function storageFromFd(
  runtime: BpfRuntime,
  identity: MapIdentity,
  name: StorageTypeName,
  codec: AnyCodec | undefined,
): TypedMap {
  const value = codecOf("value", codec);
  checkSize("value", value.size, identity.info.valueSize);
  return wrapStorage(runtime, identity, STORAGE_TYPES[name], value);
}

function wrapStorage(
  runtime: BpfRuntime,
  identity: MapIdentity,
  { StorageClass, ownerClass }: StorageType,
  value: AnyCodec,
): TypedMap {
  return new StorageClass(runtime, identity, value as Codec<never, never>, ownerClass);
}

// ---- BTF: an int for the key, bytes for the value -----------------------------------------------------------------------

const BTF_INT = 1;
const BTF_BYTES = 3;

/** Kind of a type, in its second word. */
function info(kind: number): number {
  return kind << 24;
}

/**
 * Loads `int` (type 1), `char` (2) and `char[bytes]` (3).
 * @returns the BTF's fd
 */
function loadBtf(runtime: BpfRuntime, bytes: number): number {
  const strings = "\0int\0char\0\0";
  const int = [1, info(uapi.BTF_KIND_INT), 4, (1 << 24) | 32];
  const char = [5, info(uapi.BTF_KIND_INT), 1, 8];
  const array = [0, info(uapi.BTF_KIND_ARRAY), 0, 2, 1, bytes];
  const types = [...int, ...char, ...array];
  const typeBytes = types.length * 4;
  const header = [0x0001eb9f, 24, 0, typeBytes, typeBytes, strings.length];
  const size = 24 + typeBytes + strings.length;
  const ptr = allocate(runtime, size);
  try {
    const { views } = runtime;
    views.reach(ptr, size);
    [...header, ...types].forEach((word, i) => views.dv.setUint32(ptr + i * 4, word, true));
    views.u8.set(new TextEncoder().encode(strings), ptr + 24 + typeBytes);
    const attr = new DataView(new ArrayBuffer(40));
    attr.setUint32(0, ptr, true);
    attr.setUint32(16, size, true);
    return check(runtime.bpf(uapi.BPF_BTF_LOAD, new Uint8Array(attr.buffer)), "bpf_btf_load");
  } finally {
    runtime.free(ptr);
  }
}

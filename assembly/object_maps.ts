// Maps of objects that a program hands packets and calls to: PROG_ARRAY, CGROUP_ARRAY, DEVMAP, DEVMAP_HASH, CPUMAP, XSKMAP,
// SOCKMAP, SOCKHASH, REUSEPORT_SOCKARRAY. Kernel: kernel/bpf/arraymap.c, devmap.c, cpumap.c, reuseport_array.c,
// net/xdp/xskmap.c, net/core/sock_map.c (behaviour checked against 6.18).
//
// Differs: of those objects only cgroups and CPUs exist here. There are no programs, no network devices (not even lo), and
// all sockets are as socket(2) makes them: not bound, not connected, no AF_XDP. So most of these maps stay empty, and bpf(2)
// answers what it answers to a process that has no such object. A CPU of a CPUMAP is its queue's length only.

import {
  BPF_EXIST,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_MAP_TYPE_CGROUP_ARRAY,
  BPF_MAP_TYPE_CPUMAP,
  BPF_MAP_TYPE_DEVMAP,
  BPF_MAP_TYPE_DEVMAP_HASH,
  BPF_MAP_TYPE_PROG_ARRAY,
  BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
  BPF_MAP_TYPE_SOCKHASH,
  BPF_MAP_TYPE_SOCKMAP,
  BPF_MAP_TYPE_XSKMAP,
  BPF_NOEXIST,
  E2BIG,
  EBADF,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOTSOCK,
  ENOTSUPP,
  EOPNOTSUPP,
  EOVERFLOW,
} from "../ts/uapi";
import { BpfFdArray } from "./arraymap";
import { FD_CGROUP, FD_FREE, FD_SOCKET, fdKind } from "./fd";
import { HostObject } from "./host";
import { hold, hostPut } from "./host_objects";
import { SCRATCH_INNER, kernel, scratchPtr } from "./kernel";
import { MapCreateAttr, attrLegal, copyOut, isOneOf } from "./map";

const SOCKET_TYPES: u64 =
  (1 << BPF_MAP_TYPE_SOCKMAP) |
  (1 << BPF_MAP_TYPE_SOCKHASH) |
  (1 << BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
/** Values are fds, as in all arrays of references. */
const FD_TYPES: u64 = (1 << BPF_MAP_TYPE_PROG_ARRAY) | (1 << BPF_MAP_TYPE_CGROUP_ARRAY);
const DEVICE_TYPES: u64 = (1 << BPF_MAP_TYPE_DEVMAP) | (1 << BPF_MAP_TYPE_DEVMAP_HASH);
/** Their keys are no indices. */
const HASH_TYPES: u64 = (1 << BPF_MAP_TYPE_DEVMAP_HASH) | (1 << BPF_MAP_TYPE_SOCKHASH);
/** A value is 4 bytes; elsewhere 4 or 8. */
const SHORT_TYPES: u64 = FD_TYPES | (1 << BPF_MAP_TYPE_XSKMAP);

const OPEN_FLAGS: u32 = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
const REUSEPORT_FLAGS: u32 = OPEN_FLAGS | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
const SOCKHASH_KEY_MAX: u32 = 512;
const CPUMAP_CPUS_MAX: u32 = 256;
const CPUMAP_QUEUE_MAX: u32 = 16384;

/**
 * What the types ask of their attributes; some in init, as in the kernel.
 * @returns 0, or -errno: EINVAL sizes, flags; E2BIG a key of a SOCKHASH, a CPUMAP for more CPUs than a kernel can have
 */
export function objectCheck(attr: MapCreateAttr): i32 {
  const type = attr.mapType;
  const bit: u64 = 1 << (<u64>type);
  let flags = OPEN_FLAGS;
  if (type == BPF_MAP_TYPE_CPUMAP) flags = BPF_F_NUMA_NODE;
  if (type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY) flags = REUSEPORT_FLAGS;
  const isSockhash = type == BPF_MAP_TYPE_SOCKHASH;
  const keySize = isSockhash && attr.keySize != 0 ? attr.keySize : 4;
  const isLong = attr.valueSize == 8 && (SHORT_TYPES & bit) == 0;
  if (!attrLegal(attr, keySize, flags) || (attr.valueSize != 4 && !isLong)) return -EINVAL;
  if (attr.keySize > SOCKHASH_KEY_MAX) return -E2BIG;
  if (type == BPF_MAP_TYPE_CPUMAP && attr.maxEntries > CPUMAP_CPUS_MAX) return -E2BIG;
  return HASH_TYPES & bit && attr.maxEntries >> 31 ? -EINVAL : 0;
}

/** bpf(2) only. A slot has a cgroup, or the length of a CPU's queue; those of the other types stay empty. */
export class BpfObjectMap extends BpfFdArray {
  override init(attr: MapCreateAttr): i32 {
    // Programs only look at devices.
    if (isOneOf(this, DEVICE_TYPES)) this.mapFlags |= BPF_F_RDONLY_PROG;
    const ret = objectCheck(attr);
    return ret == 0 ? super.init(attr) : ret;
  }

  override fdGetPtr(fd: i32): usize {
    if (this.mapType == BPF_MAP_TYPE_PROG_ARRAY)
      return <usize>(fdKind(fd) == FD_FREE ? -EBADF : -EINVAL);
    const cgroup = hold(fd, FD_CGROUP);
    return cgroup == 0 ? <usize>-EBADF : cgroup;
  }

  override fdPutPtr(ptr: usize): void {
    if (this.mapType == BPF_MAP_TYPE_CGROUP_ARRAY) hostPut(changetype<HostObject>(ptr));
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    if (isOneOf(this, SOCKET_TYPES)) return this.valueSize == 4 ? -ENOSPC : -ENOENT;
    switch (this.mapType) {
      case BPF_MAP_TYPE_CGROUP_ARRAY:
        return -ENOTSUPP;
      case BPF_MAP_TYPE_XSKMAP:
        return -EOPNOTSUPP;
      case BPF_MAP_TYPE_CPUMAP:
        return this.lookupQueue(load<u32>(key), value);
      default:
        return -ENOENT;
    }
  }

  /** The length of a CPU's queue, and no program. */
  private lookupQueue(cpu: u32, value: u64): i32 {
    const length = cpu < this.maxEntries ? load<u32>(this.slotAt(cpu)) : 0;
    if (length == 0) return -ENOENT;
    const copy = scratchPtr() + SCRATCH_INNER;
    store<u64>(copy, length);
    return copyOut(value, copy, this.valueSize);
  }

  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (isOneOf(this, FD_TYPES)) return super.updateElem(key, value, flags, syscall);
    if (!syscall) return -EINVAL;
    const type = this.mapType;
    const first = load<u32>(value);
    const second: u32 = this.valueSize == 8 ? load<u32>(value, 4) : 0;
    // Beyond INT_MAX.
    const isLarge = second != 0 || <i32>first < 0;
    if (type == BPF_MAP_TYPE_SOCKMAP || type == BPF_MAP_TYPE_SOCKHASH)
      return isLarge ? -EINVAL : checkSocket(first, -EOPNOTSUPP);
    if (flags > <u64>BPF_EXIST || type == BPF_MAP_TYPE_DEVMAP_HASH) return -EINVAL;
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    if (type == BPF_MAP_TYPE_XSKMAP) return checkSocket(first, -EOPNOTSUPP);
    if (type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY) {
      if (isLarge && this.valueSize == 8) return -EINVAL;
      return checkSocket(first, flags == <u64>BPF_EXIST ? -ENOENT : -EINVAL);
    }
    if (flags == <u64>BPF_NOEXIST) return -EEXIST;
    const hasProgram = <i32>second > 0;
    if (type == BPF_MAP_TYPE_DEVMAP) return first == 0 && !hasProgram ? 0 : -EINVAL;
    if (first > CPUMAP_QUEUE_MAX) return -EOVERFLOW;
    if (index >= kernel().nrCpus) return -ENODEV;
    if (first != 0 && hasProgram) return -ENOMEM;
    store<u32>(this.slotAt(index), first);
    return 0;
  }

  override deleteElem(key: usize): i32 {
    if (isOneOf(this, FD_TYPES | (1 << BPF_MAP_TYPE_REUSEPORT_SOCKARRAY)))
      return super.deleteElem(key);
    if (isOneOf(this, HASH_TYPES)) return -ENOENT;
    const index = load<u32>(key);
    if (index >= this.maxEntries || this.mapType == BPF_MAP_TYPE_SOCKMAP) return -EINVAL;
    store<u32>(this.slotAt(index), 0);
    return 0;
  }

  override getNextKey(key: usize, next: u64): i32 {
    return isOneOf(this, HASH_TYPES) ? -ENOENT : super.getNextKey(key, next);
  }
}

/** What is said of an fd that should be a socket's: EBADF, ENOTSOCK; `ret` of a socket. */
function checkSocket(fd: u32, ret: i32): i32 {
  const kind = fdKind(fd);
  if (kind == FD_FREE) return -EBADF;
  return kind == FD_SOCKET ? ret : -ENOTSOCK;
}

// ARRAY and PERCPU_ARRAY, and what arrays of references have in common. Kernel: kernel/bpf/arraymap.c (behaviour checked
// against 6.18).
//
// All values exist from the creation on and are zero; an address stays for the life of the map.
//
//   ARRAY          values: | value 0, padded to 8 | value 1 | ...                  page-aligned with BPF_F_MMAPABLE
//   PERCPU_ARRAY   values: | CPU 0: value 0, value 1, ... | pad to 64 | CPU 1: value 0, ... |
//                  CPUs are far apart, so that they share cache lines only at the seams, and the pad avoids that too.

import {
  BPF_EXIST,
  BPF_F_INNER_MAP,
  BPF_F_LOCK,
  BPF_F_MMAPABLE,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_NOEXIST,
  E2BIG,
  EEXIST,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOTSUPP,
  PAGE_SIZE,
} from "../ts/uapi";
import { BATCH_LOOKUP, BATCH_UPDATE, BpfMap, MapCreateAttr, NO_LOCK } from "./map";
import {
  attrLegal,
  copyMapValue,
  copyMapValueLocked,
  copyValueOut,
  isErr,
  lockMissing,
  mmapWindow,
} from "./map";
import { callBackOnElem, keyWord } from "./callback";
import { allocZeroed, cpu, free, kernel } from "./kernel";
import { copyBytes, isUserRange, round8 } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import { DEAD, addRegion, findRegion, regionLo, regionOwner, removeRegion } from "./lib/region";

/** The largest per-CPU value (PCPU_MIN_UNIT_SIZE), bytes. */
export const PERCPU_VALUE_MAX: u32 = 32768;
const VALUE_SIZE_MAX: u32 = 0x7fffffff;

const ARRAY_FLAGS: u32 =
  BPF_F_NUMA_NODE |
  BPF_F_RDONLY |
  BPF_F_WRONLY |
  BPF_F_RDONLY_PROG |
  BPF_F_WRONLY_PROG |
  BPF_F_MMAPABLE |
  BPF_F_INNER_MAP;
const PERCPU_ARRAY_FLAGS: u32 =
  BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

export class BpfArray extends BpfMap {
  values: u32;
  /** Bytes from one value to the next: round8(valueSize). */
  stride: u32;
  /** Bytes from one CPU's values to the next's; 0 for ARRAY. */
  cpuStride: u32;

  /** EINVAL: sizes, flags. E2BIG: value too large. */
  static allocCheck(attr: MapCreateAttr): i32 {
    const percpu = attr.mapType == BPF_MAP_TYPE_PERCPU_ARRAY;
    if (!attrLegal(attr, 4, percpu ? PERCPU_ARRAY_FLAGS : ARRAY_FLAGS)) return -EINVAL;
    if (percpu && attr.mapFlags & BPF_F_NUMA_NODE && attr.numaNode != 0xffffffff) return -EINVAL;
    return attr.valueSize > (percpu ? PERCPU_VALUE_MAX : VALUE_SIZE_MAX) ? -E2BIG : 0;
  }

  override init(attr: MapCreateAttr): i32 {
    const percpu = this.mapType == BPF_MAP_TYPE_PERCPU_ARRAY;
    const align: u32 = percpu ? 64 : this.mapFlags & BPF_F_MMAPABLE ? PAGE_SIZE : 8;
    this.stride = round8(this.valueSize);
    let bytes = (<u64>this.stride * this.maxEntries + align - 1) & ~(<u64>align - 1);
    if (percpu) {
      this.cpuStride = <u32>bytes;
      // Above 4 GiB the product is no size of ours; saturate so that it cannot wrap.
      if (bytes <= 0xffffffff) bytes *= kernel().nrCpus;
    }
    const values = allocZeroed(bytes, align);
    this.values = <u32>values;
    if (values == 0) return -ENOMEM;
    const self = changetype<usize>(this);
    return addRegion(values, values + <usize>bytes, self, true) ? 0 : -ENOMEM;
  }

  private valueAt(index: u32, cpuIndex: u32): usize {
    return this.values + cpuIndex * this.cpuStride + index * this.stride;
  }

  override lookupElem(key: usize): usize {
    const index = load<u32>(key);
    return index < this.maxEntries ? this.valueAt(index, cpu()) : 0;
  }

  /** Order of checks: flags, index, NOEXIST as a bit, and only then (a program may come here) BPF_F_LOCK without a lock. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if ((flags & ~(<u64>BPF_F_LOCK)) > <u64>BPF_EXIST) return -EINVAL;
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    if (flags & BPF_NOEXIST) return -EEXIST;
    if (lockMissing(this, flags)) return -EINVAL;
    if (syscall && this.cpuStride != 0) {
      for (let i: u32 = 0; i < kernel().nrCpus; i++) {
        copyBytes(this.valueAt(index, i), value + i * this.stride, this.stride);
      }
      return 0;
    }
    const to = this.valueAt(index, cpu());
    if (this.lockOffset == NO_LOCK) copyBytes(to, value, this.valueSize);
    else if (flags & BPF_F_LOCK) copyMapValueLocked(this, to, value);
    else copyMapValue(this, to, value);
    return 0;
  }

  override deleteElem(key: usize): i32 {
    return -EINVAL;
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -ENOENT;
    if (this.cpuStride == 0) return copyValueOut(this, value, this.valueAt(index, 0), flags);
    if (!isUserRange(value, this.userValueSize())) return -EFAULT;
    for (let i: u32 = 0; i < kernel().nrCpus; i++) {
      copyBytes(<usize>value + i * this.stride, this.valueAt(index, i), this.stride);
    }
    return 0;
  }

  override getNextKey(key: usize, next: u64): i32 {
    return indexAfter(this.maxEntries, key, next);
  }

  override batchOps(): u32 {
    return BATCH_LOOKUP | BATCH_UPDATE;
  }

  override mmapBytes(): u64 {
    return this.mapFlags & BPF_F_MMAPABLE ? <u64>this.stride * this.maxEntries : 0;
  }

  override mmap(offset: u64, length: u64, writable: bool): usize {
    if (this.cpuStride != 0) return <usize>-ENOTSUPP;
    return mmapWindow(this, this.values, offset, length, writable);
  }

  override directValueAddr(off: u32): usize {
    if (this.cpuStride != 0 || this.maxEntries != 1) return <usize>-ENOTSUPP;
    return off < this.valueSize ? this.values + off : <usize>-EINVAL;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    let offset = addr - lo;
    if (this.cpuStride != 0) offset %= this.cpuStride;
    return offset / this.stride < this.maxEntries ? offset % this.stride : DEAD;
  }

  override forEach(fn: u64, ctx: u64): i64 {
    const count = this.maxEntries;
    const key = keyWord();
    let index: u32 = 0;
    let goOn: bool = true;
    while (goOn && index < count) {
      store<u32>(key, index);
      goOn = callBackOnElem(fn, this, key, this.valueAt(index, cpu()), ctx);
      index++;
    }
    return index;
  }

  override check(): i32 {
    const region = findRegion(this.values);
    if (
      region == 0 ||
      regionLo(region) != this.values ||
      changetype<usize>(regionOwner(region)) != changetype<usize>(this)
    )
      return 1;
    const cpus = this.cpuStride == 0 ? 1 : kernel().nrCpus;
    const last = this.valueAt(this.maxEntries - 1, cpus - 1);
    return findRegion(<u32>last + this.stride - 1) == region ? 0 : 2;
  }

  override release(): void {
    removeRegion(this.values);
    free(this.values);
  }
}

/** getNextKey of arrays: every index is a key, whether there is something or not. */
function indexAfter(maxEntries: u32, key: usize, next: u64): i32 {
  let index: u32 = 0;
  if (key != 0 && load<u32>(key) < maxEntries) {
    index = load<u32>(key) + 1;
    if (index == maxEntries) return -ENOENT;
  }
  return putIndex(next, index);
}

/** Writes an index as the next key to a user's address. */
export function putIndex(next: u64, index: u32): i32 {
  if (!isUserRange(next, 4)) return -EFAULT;
  store<u32>(<usize>next, index);
  return 0;
}

// ---- arrays of references: ARRAY_OF_MAPS, PERF_EVENT_ARRAY ------------------------------------------------------------
// bpf(2) puts fds in; an element is what was behind the fd, with a reference.
//
//   slots:   | reference, u32: an address or a handle; 0: empty | ...

export abstract class BpfFdArray extends BpfMap {
  slots: u32;

  /** A reference to what is behind a user's fd; or -errno as an address. */
  abstract fdGetPtr(fd: i32): usize;

  /** Drops the reference of a slot. */
  abstract fdPutPtr(ptr: usize): void;

  override init(attr: MapCreateAttr): i32 {
    this.slots = <u32>allocZeroed(<u64>this.maxEntries * 4);
    return this.slots == 0 ? -ENOMEM : 0;
  }

  slotAt(index: u32): usize {
    assert(index < this.maxEntries);
    return this.slots + index * 4;
  }

  /** Puts a reference (0: none) into a slot and drops the one before. @returns false when there was none */
  private exchange(index: u32, ptr: usize): bool {
    lock(lockOf(this));
    const old = load<u32>(this.slotAt(index));
    store<u32>(this.slotAt(index), ptr);
    unlock(lockOf(this));
    if (old != 0) this.fdPutPtr(old);
    return old != 0;
  }

  /** bpf(2) only. Order of checks: flags, index, fd. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (!syscall || flags != 0) return -EINVAL;
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    const ptr = this.fdGetPtr(load<i32>(value));
    if (isErr(ptr)) return <i32>ptr;
    this.exchange(index, ptr);
    return 0;
  }

  override deleteElem(key: usize): i32 {
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    return this.exchange(index, 0) ? 0 : -ENOENT;
  }

  override getNextKey(key: usize, next: u64): i32 {
    return indexAfter(this.maxEntries, key, next);
  }

  override release(): void {
    if (this.slots == 0) return;
    for (let index: u32 = 0; index < this.maxEntries; index++) this.exchange(index, 0);
    free(this.slots);
  }
}

/** Held while a slot changes. */
export function lockOf(map: BpfFdArray): usize {
  return changetype<usize>(map) + offsetof<BpfFdArray>("lockWord");
}

// ARRAY and PERCPU_ARRAY. Kernel: kernel/bpf/arraymap.c (behaviour checked against 6.18).
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
import { BATCH_LOOKUP, BATCH_UPDATE, BpfMap, MapCreateAttr, mapByHandle } from "./map";
import {
  attrLegal,
  copyMapValue,
  copyMapValueLocked,
  copyOut,
  copyValueOut,
  updateFlagsLegal,
} from "./map";
import { callBackOnElem, keyWord } from "./callback";
import { allocZeroed, cpu, free, kernel, scratchPtr } from "./kernel";
import { copyBytes, isUserRange, round8 } from "./lib/bytes";
import { addRegion, findRegion, regionLo, regionOwner, removeRegion } from "./lib/region";

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

  /** EINVAL: sizes, flags. E2BIG: value too large. Spec: hash-array-syscall.md 2.3, 2.4. */
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

  override lookupPercpuElem(key: usize, cpuIndex: u32): usize {
    const index = load<u32>(key);
    if (this.cpuStride == 0 || cpuIndex >= kernel().nrCpus || index >= this.maxEntries) return 0;
    return this.valueAt(index, cpuIndex);
  }

  /** Order of checks: flags, index, NOEXIST as a bit, and only then (a program may come here) BPF_F_LOCK without a lock. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if ((flags & ~(<u64>BPF_F_LOCK)) > <u64>BPF_EXIST) return -EINVAL;
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    if (flags & BPF_NOEXIST) return -EEXIST;
    if (!updateFlagsLegal(this, flags)) return -EINVAL;
    if (this.cpuStride == 0) {
      const to = this.valueAt(index, 0);
      if (flags & BPF_F_LOCK) copyMapValueLocked(this, to, value);
      else copyMapValue(this, to, value);
    } else if (syscall) {
      for (let i: u32 = 0; i < kernel().nrCpus; i++) {
        copyBytes(this.valueAt(index, i), value + i * this.stride, this.stride);
      }
    } else {
      copyBytes(this.valueAt(index, cpu()), value, this.valueSize);
    }
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
    let index: u32 = 0;
    if (key != 0 && load<u32>(key) < this.maxEntries) {
      index = load<u32>(key) + 1;
      if (index == this.maxEntries) return -ENOENT;
    }
    store<u32>(scratchPtr(), index, 248);
    return copyOut(next, scratchPtr() + 248, 4);
  }

  override batchOps(): u32 {
    return BATCH_LOOKUP | BATCH_UPDATE;
  }

  override userValueSize(): u32 {
    return this.cpuStride == 0 ? this.valueSize : this.stride * kernel().nrCpus;
  }

  override mmapBytes(): u64 {
    return this.cpuStride == 0 && this.mapFlags & BPF_F_MMAPABLE
      ? <u64>this.stride * this.maxEntries
      : 0;
  }

  override mmap(offset: u64, length: u64, writable: bool): usize {
    if (this.cpuStride != 0) return <usize>-ENOTSUPP;
    if ((this.mapFlags & BPF_F_MMAPABLE) == 0 || length == 0) return <usize>-EINVAL;
    const page: u64 = PAGE_SIZE;
    const bytes = (<u64>this.stride * this.maxEntries + page - 1) & ~(page - 1);
    if (offset & (page - 1) || offset > bytes || length > bytes - offset) return <usize>-EINVAL;
    if (writable) this.writableMmaps++;
    return this.values + <usize>offset;
  }

  override directValueAddr(off: u32): usize {
    if (this.cpuStride != 0 || this.maxEntries != 1) return <usize>-ENOTSUPP;
    return off < this.valueSize ? this.values + off : <usize>-EINVAL;
  }

  override innerMapMatches(meta: BpfMap): bool {
    const isPlain = this.cpuStride == 0 && (this.mapFlags & BPF_F_INNER_MAP) == 0;
    return !isPlain || this.maxEntries == meta.maxEntries;
  }

  override isLive(lo: u32, addr: u32, len: u32): bool {
    let offset = addr - lo;
    if (this.cpuStride != 0) offset %= this.cpuStride;
    const within = offset % this.stride;
    return offset / this.stride < this.maxEntries && within + <u64>len <= this.valueSize;
  }

  override forEach(fn: u64, ctx: u64): i64 {
    const handle = this.handle;
    const count = this.maxEntries;
    const key = keyWord();
    let index: u32 = 0;
    while (index < count) {
      store<u32>(key, index);
      const value = this.valueAt(index, cpu());
      index++;
      if (callBackOnElem(fn, handle, key, 4, value, ctx) != 0 || mapByHandle(handle) == 0) break;
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
    if (this.values == 0) return;
    removeRegion(this.values);
    free(this.values);
  }
}

// QUEUE and STACK: values without keys. Kernel: kernel/bpf/queue_stack_maps.c (behaviour checked against 6.18).
//
// One ring of slots serves both; they differ in the end from which a value is taken.
//
//   slots:  | slot 0 | slot 1 | ... | slot maxEntries |    valueSize bytes each, back to back
//               ^ tail: the oldest         ^ head: the next to be written
//
//   QUEUE takes at the tail, STACK in front of the head. One slot always stays free, so head == tail means empty.
//
// Invariants (check): head and tail are in 0..maxEntries. Every operation is O(1) and runs under the map's lock.
// Programs get copies, never addresses: no byte of the ring may be touched by one.
//
// Differs: a ring of 4 GiB or more is -E2BIG (as up to Linux 6.12), where 6.18 tries to allocate it.

import {
  BPF_EXIST,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_MAP_TYPE_STACK,
  BPF_NOEXIST,
  E2BIG,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
} from "../ts/uapi";
import { BpfMap, KMALLOC_MAX_SIZE, MapCreateAttr, attrLegal } from "./map";
import { allocGrow, free } from "./kernel";
import { copyBytes, isUserRange } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";

const QUEUE_STACK_FLAGS: u32 =
  BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

export class BpfQueueStack extends BpfMap {
  slots: u32;
  /** Index of the slot that is written next. */
  head: u32;
  /** Index of the oldest value's slot. */
  tail: u32;

  /** EINVAL: sizes, flags. E2BIG: value too large, or the ring is. */
  static allocCheck(attr: MapCreateAttr): i32 {
    if (!attrLegal(attr, 0, QUEUE_STACK_FLAGS)) return -EINVAL;
    if (attr.valueSize > KMALLOC_MAX_SIZE) return -E2BIG;
    return attr.maxEntries >= <u32>0xffffffff / attr.valueSize ? -E2BIG : 0;
  }

  override init(attr: MapCreateAttr): i32 {
    this.slots = <u32>allocGrow((<u64>this.maxEntries + 1) * this.valueSize);
    return this.slots == 0 ? -ENOMEM : 0;
  }

  private slotAt(index: u32): usize {
    assert(index <= this.maxEntries);
    return this.slots + index * this.valueSize;
  }

  private after(index: u32): u32 {
    return index == this.maxEntries ? 0 : index + 1;
  }

  private before(index: u32): u32 {
    return index == 0 ? this.maxEntries : index - 1;
  }

  /**
   * Adds a value: of a QUEUE the last to come, of a STACK the first.
   * @param flags BPF_ANY; BPF_EXIST: when the map is full, its oldest value makes room (of a STACK the bottom one)
   * @returns 0; -EINVAL other flags; -E2BIG full
   */
  override pushElem(value: usize, flags: u64): i32 {
    if (flags == BPF_NOEXIST || flags > <u64>BPF_EXIST) return -EINVAL;
    lock(lockOf(this));
    const next = this.after(this.head);
    const isFull = next == this.tail;
    if (isFull && flags == BPF_EXIST) this.tail = this.after(this.tail);
    const ret = next == this.tail ? -E2BIG : 0;
    if (ret == 0) {
      copyBytes(this.slotAt(this.head), value, this.valueSize);
      this.head = next;
    }
    unlock(lockOf(this));
    return ret;
  }

  /** @returns 0, or -ENOENT: empty, `value` is zeroed */
  override takeValue(value: usize, andPop: bool): i32 {
    const ret = this.take(value, andPop);
    if (ret != 0) memory.fill(value, 0, this.valueSize);
    return ret;
  }

  /** Copies the next value to `value`; andPop: and removes it. -ENOENT: empty; -EFAULT: `value` is NULL. */
  private take(value: usize, andPop: bool): i32 {
    lock(lockOf(this));
    let ret = -ENOENT;
    if (this.head != this.tail) {
      const isStack = this.mapType == BPF_MAP_TYPE_STACK;
      const next = isStack ? this.before(this.head) : this.tail;
      ret = value == 0 ? -EFAULT : 0;
      if (ret == 0) copyBytes(value, this.slotAt(next), this.valueSize);
      if (andPop && isStack) this.head = next;
      else if (andPop) this.tail = this.after(next);
    }
    unlock(lockOf(this));
    return ret;
  }

  override deleteElem(key: usize): i32 {
    return -EINVAL;
  }

  override getNextKey(key: usize, next: u64): i32 {
    return -EINVAL;
  }

  /** Peeks. -ENOENT: empty (nothing is written); -EFAULT. */
  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    return this.takeUser(value, false);
  }

  /** Pops. A bad address loses the value, as in the kernel. */
  override lookupAndDeleteUser(key: usize, value: u64, flags: u64): i32 {
    return this.takeUser(value, true);
  }

  private takeUser(value: u64, andPop: bool): i32 {
    return this.take(isUserRange(value, this.valueSize) ? <usize>value : 0, andPop);
  }

  override release(): void {
    free(this.slots);
  }

  override check(): i32 {
    return this.head <= this.maxEntries && this.tail <= this.maxEntries ? 0 : 1;
  }
}

function lockOf(ring: BpfQueueStack): usize {
  return changetype<usize>(ring) + offsetof<BpfQueueStack>("lockWord");
}

// PERF_EVENT_ARRAY, as far as bpf_perf_event_output needs it: one stream of records a CPU, which the host reads. Kernel:
// kernel/bpf/arraymap.c, kernel/trace/bpf_trace.c (the commands are checked against 6.18; what programs do is from the
// specification, other-types.md 13).
//
//   map slots:   | address of a PerfEvent, u32; 0: empty | ...
//   event pages: | struct perf_event_mmap_page: data_head at 1024, data_tail 1032, data_offset 1040, data_size 1048 | data |
//
//   sample:      | type u32 = 9 | misc u16 | size u16 | raw size u32 | raw bytes, padded so that size is a multiple of 8 |
//   lost:        | type u32 = 2 | misc u16 | size u16 | id u64 | number of samples that found no room u64 |
//
// Positions count bytes and never go back; a record that reaches the end of the data goes on at its start. The writer is
// the event's CPU, and nobody else: no lock.
//
// Differs: events are made by the host (perf_event_create) and are all of the kind that takes output (SW_BPF_OUTPUT); a
// slot keeps its event until it is replaced, deleted, or the map ends, whoever put it in (as with BPF_F_PRESERVE_ELEMS).

import {
  BPF_F_CURRENT_CPU,
  BPF_F_INDEX_MASK,
  BPF_F_NUMA_NODE,
  BPF_F_PRESERVE_ELEMS,
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  E2BIG,
  EBADF,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOSPC,
  EOPNOTSUPP,
  PAGE_SIZE,
} from "../ts/uapi";
import { FD_PERF_EVENT, FMODE_READ, FMODE_WRITE, fdInstall, fdKind, fdObject } from "./fd";
import { allocZeroed, cpu, free, kernel } from "./kernel";
import { loadAcquire, storeRelease } from "./lib/atomic";
import { isUserRange } from "./lib/bytes";
import { SHARED, lock, unlock } from "./lib/lock";
import { BpfMap, MapCreateAttr, attrLegal, mapByHandle } from "./map";
import { indexAfter } from "./map_in_map";

const PERF_FLAGS: u32 = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_PRESERVE_ELEMS;
const PERF_RECORD_LOST: u32 = 2;
const PERF_RECORD_SAMPLE: u32 = 9;
const LOST_BYTES: u32 = 24;
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
const DATA_OFFSET: usize = 1040;
const DATA_SIZE: usize = 1048;

@unmanaged
export class PerfEvent {
  /** The fd and the slots that hold it. */
  refcnt: u32;
  cpu: u32;
  pages: u32;
  /** A power of two. */
  dataSize: u32;
  head: u64;
  /** Samples that found no room and are not reported yet. */
  lost: u64;
}

function eventGet(event: PerfEvent): void {
  if (SHARED) atomic.add<u32>(changetype<usize>(event), 1);
  else event.refcnt++;
}

/** Drops a reference; the last one ends the event. */
export function eventPut(event: PerfEvent): void {
  let left: u32;
  if (SHARED) left = atomic.sub<u32>(changetype<usize>(event), 1) - 1;
  else left = --event.refcnt;
  if (left != 0) return;
  free(event.pages);
  free(changetype<usize>(event));
}

/**
 * Makes a perf event that takes the output of programs on one CPU.
 * @param dataBytes room for records: a power of two of whole pages
 * @returns its fd, or -errno: EINVAL, ENOMEM, EMFILE
 */
export function perf_event_create(onCpu: u32, dataBytes: u32): i32 {
  const isSize = dataBytes >= <u32>PAGE_SIZE && (dataBytes & (dataBytes - 1)) == 0;
  if (onCpu >= kernel().nrCpus || !isSize) return -EINVAL;
  const ptr = allocZeroed(offsetof<PerfEvent>());
  if (ptr == 0) return -ENOMEM;
  const event = changetype<PerfEvent>(ptr);
  event.pages = <u32>allocZeroed(<u64>PAGE_SIZE + dataBytes, PAGE_SIZE);
  event.refcnt = 1;
  event.cpu = onCpu;
  event.dataSize = dataBytes;
  if (event.pages == 0) {
    eventPut(event);
    return -ENOMEM;
  }
  store<u64>(event.pages + DATA_OFFSET, PAGE_SIZE);
  store<u64>(event.pages + DATA_SIZE, dataBytes);
  return fdInstall(FD_PERF_EVENT, FMODE_READ | FMODE_WRITE, ptr);
}

/** Address of an event's pages, for as long as it lives; 0: not the fd of one. */
export function perf_event_pages(fd: i32): usize {
  return fdKind(fd) == FD_PERF_EVENT ? changetype<PerfEvent>(fdObject(fd)).pages : 0;
}

// ---- the map --------------------------------------------------------------------------------------------------------

export class BpfPerfEventArray extends BpfMap {
  slots: u32;

  /** EINVAL: sizes, flags. */
  static allocCheck(attr: MapCreateAttr): i32 {
    return attr.valueSize == 4 && attrLegal(attr, 4, PERF_FLAGS) ? 0 : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    this.slots = <u32>allocZeroed(<u64>this.maxEntries * 4);
    return this.slots == 0 ? -ENOMEM : 0;
  }

  /** The event of a slot; 0: empty. */
  eventAt(index: u32): u32 {
    assert(index < this.maxEntries);
    return load<u32>(this.slots + index * 4);
  }

  /** Puts an event (0: none) into a slot. @returns false when there was none before */
  private exchange(index: u32, event: usize): bool {
    const word = changetype<usize>(this) + offsetof<BpfPerfEventArray>("lockWord");
    lock(word);
    const old = this.eventAt(index);
    store<u32>(this.slots + index * 4, event);
    unlock(word);
    if (old != 0) eventPut(changetype<PerfEvent>(old));
    return old != 0;
  }

  /** bpf(2) only. Order of checks: flags, index, fd. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (!syscall || flags != 0) return -EINVAL;
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    const fd = load<i32>(value);
    if (fdKind(fd) != FD_PERF_EVENT) return -EBADF;
    const event = fdObject(fd);
    eventGet(changetype<PerfEvent>(event));
    this.exchange(index, event);
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

  override hasElemHelpers(): bool {
    return false;
  }

  override release(): void {
    if (this.slots == 0) return;
    for (let index: u32 = 0; index < this.maxEntries; index++) this.exchange(index, 0);
    free(this.slots);
  }
}

// ---- output ---------------------------------------------------------------------------------------------------------

/** Copies bytes to the data at event.head and moves it on; a source of 0 stands for zeros. */
function append(event: PerfEvent, from: usize, bytes: u32): void {
  const data = event.pages + PAGE_SIZE;
  const offset = <u32>event.head & (event.dataSize - 1);
  const first = min(bytes, event.dataSize - offset);
  if (from == 0) {
    memory.fill(data + offset, 0, first);
    memory.fill(data, 0, bytes - first);
  } else {
    memory.copy(data + offset, from, first);
    memory.copy(data, from + first, bytes - first);
  }
  event.head += bytes;
}

/** Headers are 8-aligned and so in one piece. */
function appendHeader(event: PerfEvent, type: u32, size: u32): void {
  const at = event.pages + PAGE_SIZE + (<u32>event.head & (event.dataSize - 1));
  store<u32>(at, type);
  store<u32>(at, size << 16, 4);
  event.head += 8;
}

function appendWord(event: PerfEvent, word: u64): void {
  store<u64>(event.pages + PAGE_SIZE + (<u32>event.head & (event.dataSize - 1)), word);
  event.head += 8;
}

function output(event: PerfEvent, data: u32, size: u32): i32 {
  // Header, size and bytes, rounded up; the size on record includes the padding.
  const total = (<u64>size + 12 + 7) & ~7;
  if (total > 0xffff) return -E2BIG;
  const used = event.head - loadAcquire<u64>(event.pages + DATA_TAIL);
  const needed = total + (event.lost != 0 ? LOST_BYTES : 0);
  if (used > event.dataSize || needed > event.dataSize - used) {
    event.lost++;
    return -ENOSPC;
  }
  if (event.lost != 0) {
    appendHeader(event, PERF_RECORD_LOST, LOST_BYTES);
    appendWord(event, 0);
    appendWord(event, event.lost);
    event.lost = 0;
  }
  appendHeader(event, PERF_RECORD_SAMPLE, <u32>total);
  // Eight bytes at once: the size, and the first of the data (or of the padding).
  const head = min<u32>(size, 4);
  let word: u64 = total - 12;
  for (let i: u32 = 0; i < head; i++) word |= (<u64>load<u8>(data + i)) << (32 + i * 8);
  appendWord(event, word);
  append(event, data + head, size - head);
  append(event, 0, <u32>total - 16 - (size - head));
  storeRelease<u64>(event.pages + DATA_HEAD, event.head);
  return 0;
}

/**
 * Writes `size` bytes to the stream of a CPU.
 * @param ctx   not looked at
 * @param flags index of the event, or BPF_F_CURRENT_CPU
 * @returns 0 or -errno: EINVAL flags, no such map; E2BIG index, or 64 KiB and more; ENOENT empty slot; EOPNOTSUPP the event
 *   is another CPU's; ENOSPC no room (counted, and reported by a lost record); EFAULT
 */
export function bpf_perf_event_output(
  ctx: u32,
  handle: u32,
  flags: u64,
  data: u32,
  size: u32,
): i32 {
  const ptr = mapByHandle(handle);
  if (ptr == 0 || changetype<BpfMap>(ptr).mapType != BPF_MAP_TYPE_PERF_EVENT_ARRAY) return -EINVAL;
  if (flags & ~(<u64>BPF_F_INDEX_MASK)) return -EINVAL;
  if (!isUserRange(data, size)) return -EFAULT;
  const map = changetype<BpfPerfEventArray>(ptr);
  const index = <u32>flags == <u32>BPF_F_CURRENT_CPU ? cpu() : <u32>flags;
  if (index >= map.maxEntries) return -E2BIG;
  const event = map.eventAt(index);
  if (event == 0) return -ENOENT;
  if (changetype<PerfEvent>(event).cpu != cpu()) return -EOPNOTSUPP;
  return output(changetype<PerfEvent>(event), data, size);
}

/** Samples of an event that found no room and that no lost record reports yet; -EBADF: not the fd of one. */
export function perf_event_lost(fd: i32): i64 {
  return fdKind(fd) == FD_PERF_EVENT ? <i64>changetype<PerfEvent>(fdObject(fd)).lost : -EBADF;
}

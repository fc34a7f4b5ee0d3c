// PERF_EVENT_ARRAY, as far as bpf_perf_event_output needs it: one stream of records a CPU, which the host reads. Kernel:
// kernel/bpf/arraymap.c, kernel/trace/bpf_trace.c (behaviour checked against 6.18).
//
//   map slots:   | address of a PerfEvent, u32; 0: empty | ...
//   event pages: | struct perf_event_mmap_page: data_head at 1024, data_tail 1032, data_offset 1040, data_size 1048 | data |
//
//   sample:      | type u32 = 9 | misc u16 = 1 | size u16 | raw size u32 | raw bytes, padded so that size is a multiple of 8 |
//   lost:        | type u32 = 2 | misc u16 = 0 | size u16 | id u64 | number of samples that found no room u64 |
//
// Positions count bytes and never go back; a record that reaches the end of the data goes on at its start. One byte of the data
// stays free, and padding keeps what was there. The writer is the event's CPU, and nobody else: no lock. But it holds the event
// while it writes: another thread may take it out of its slot.
//
// Differs: events are made by the host (perf_event_create) and are all of the kind that takes output (SW_BPF_OUTPUT); a
// slot keeps its event until it is replaced, deleted, or the map ends, whoever put it in (as with BPF_F_PRESERVE_ELEMS).
// A sample of more than 65516 bytes is E2BIG: its size would overflow the u16, as it does in the kernel, which answers 0 and
// leaves a record in the stream that says another size than it has.

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
import { BpfFdArray, lockOf } from "./arraymap";
import { FD_PERF_EVENT, FMODE_READ, FMODE_WRITE, fdInstall, fdTake } from "./fd";
import { allocZeroed, cpu, free, kernel } from "./kernel";
import { loadAcquire, storeRelease } from "./lib/atomic";
import { isUserRange, round8 } from "./lib/bytes";
import { SHARED, lock, unlock } from "./lib/lock";
import { refcountDecAndTest, refcountInc } from "./lib/refcount";
import { MapCreateAttr, attrLegal, isErr, mapOfType } from "./map";

const PERF_FLAGS: u32 = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_PRESERVE_ELEMS;
const PERF_RECORD_LOST: u64 = 2;
/** With PERF_RECORD_MISC_KERNEL. */
const PERF_RECORD_SAMPLE: u64 = (1 << 32) | 9;
const LOST_BYTES: u32 = 24;
/** The most raw bytes of a sample: its size is a u16 and a multiple of 8. */
const RAW_MAX: u32 = 0xfff8 - 12;
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

/** Drops a reference; the last one ends the event. */
export function eventPut(event: PerfEvent): void {
  if (!refcountDecAndTest(changetype<usize>(event) + offsetof<PerfEvent>("refcnt"))) return;
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
  const event = fdTake(fd, FD_PERF_EVENT);
  if (isErr(event)) return 0;
  const pages = changetype<PerfEvent>(event).pages;
  eventPut(changetype<PerfEvent>(event));
  return pages;
}

// ---- the map --------------------------------------------------------------------------------------------------------

export class BpfPerfEventArray extends BpfFdArray {
  /** EINVAL: sizes, flags. */
  static allocCheck(attr: MapCreateAttr): i32 {
    return attr.valueSize == 4 && attrLegal(attr, 4, PERF_FLAGS) ? 0 : -EINVAL;
  }

  override fdGetPtr(fd: i32): usize {
    const event = fdTake(fd, FD_PERF_EVENT);
    return isErr(event) ? <usize>-EBADF : event;
  }

  override fdPutPtr(ptr: usize): void {
    eventPut(changetype<PerfEvent>(ptr));
  }

  /** The event of a slot, 0 for none; in the shared build with a reference. */
  hold(index: u32): usize {
    if (!SHARED) return load<u32>(this.slotAt(index));
    lock(lockOf(this));
    const event: usize = load<u32>(this.slotAt(index));
    if (event != 0) refcountInc(event + offsetof<PerfEvent>("refcnt"));
    unlock(lockOf(this));
    return event;
  }
}

// ---- output ---------------------------------------------------------------------------------------------------------

/** Where event.head is in the data. */
function headPtr(event: PerfEvent): usize {
  return event.pages + PAGE_SIZE + (<u32>event.head & (event.dataSize - 1));
}

/** Copies bytes to event.head and moves it on. */
function append(event: PerfEvent, from: usize, bytes: u32): void {
  const at = headPtr(event);
  const data = event.pages + PAGE_SIZE;
  const first = min(bytes, <u32>(data + event.dataSize - at));
  memory.copy(at, from, first);
  memory.copy(data, from + first, bytes - first);
  event.head += bytes;
}

/** Records begin and end 8-aligned: words are in one piece. */
function appendWord(event: PerfEvent, word: u64): void {
  store<u64>(headPtr(event), word);
  event.head += 8;
}

/** @param type with misc, as PERF_RECORD_SAMPLE has it */
function appendHeader(event: PerfEvent, type: u64, size: u32): void {
  appendWord(event, type | ((<u64>size) << 48));
}

function output(event: PerfEvent, data: u32, size: u32): i32 {
  if (size > RAW_MAX) return -E2BIG;
  // Header, size and bytes, rounded up; the size on record includes the padding.
  const total = round8(8 + 4 + size);
  const raw = total - 12;
  const used = event.head - loadAcquire<u64>(event.pages + DATA_TAIL);
  const needed = <u64>total + (event.lost != 0 ? LOST_BYTES : 0);
  if (used >= event.dataSize || needed >= event.dataSize - used) {
    event.lost++;
    return -ENOSPC;
  }
  if (event.lost != 0) {
    appendHeader(event, PERF_RECORD_LOST, LOST_BYTES);
    appendWord(event, 0);
    appendWord(event, event.lost);
    event.lost = 0;
  }
  appendHeader(event, PERF_RECORD_SAMPLE, total);
  store<u32>(headPtr(event), raw);
  event.head += 4;
  append(event, data, size);
  event.head += raw - size;
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
  const mapPtr = mapOfType(handle, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  if (mapPtr == 0 || flags & ~(<u64>BPF_F_INDEX_MASK)) return -EINVAL;
  if (!isUserRange(data, size)) return -EFAULT;
  const map = changetype<BpfPerfEventArray>(mapPtr);
  const index = <u32>flags == <u32>BPF_F_CURRENT_CPU ? cpu() : <u32>flags;
  if (index >= map.maxEntries) return -E2BIG;
  const ptr = map.hold(index);
  if (ptr == 0) return -ENOENT;
  const event = changetype<PerfEvent>(ptr);
  const ret = event.cpu == cpu() ? output(event, data, size) : -EOPNOTSUPP;
  if (SHARED) eventPut(event);
  return ret;
}

/** Samples of an event that found no room and that no lost record reports yet; -EBADF: not the fd of one. */
export function perf_event_lost(fd: i32): i64 {
  const event = fdTake(fd, FD_PERF_EVENT);
  if (isErr(event)) return -EBADF;
  const lost = <i64>changetype<PerfEvent>(event).lost;
  eventPut(changetype<PerfEvent>(event));
  return lost;
}

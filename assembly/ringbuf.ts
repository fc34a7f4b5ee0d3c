// RINGBUF and USER_RINGBUF: records of bytes from programs to user space, and back. Kernel: kernel/bpf/ringbuf.c (behaviour
// checked against 6.18).
//
//   file offset   0                  4096               8192            8192 + maxEntries
//   ring:         | consumer page    | producer page    | data          | data again      |
//                 | consumer_pos u64 | producer_pos u64 |
//                                    | pending_pos  u64 |
//
//   record:       | len u32: 30 bits, BUSY 1 << 31, DISCARD 1 << 30 | pg_off u32 | payload | pad to 8 |
//                 at data + (pos & mask); pos counts bytes and never goes back. pg_off: page of the record, from the
//                 kernel's ring structure on, whose first page is not mapped (the first data page is 3).
//
// The kernel maps the data twice, so that a record that wraps is one piece. Linear memory cannot do that; here are two
// copies, kept like this:
//   - a record is one piece at data + (pos & mask), the end of a wrapping one in the second copy: programs and readers of
//     records need nothing else;
//   - commit copies that end to the start of the first copy, and reserve what was there to it: of bytes that a program leaves
//     alone the reader sees what the ring held before;
//   - once somebody has mapped the second copy (isMirrored), reserve and commit write headers and records to both.
// Differs: a user who writes to one copy does not see it in the other. Producers of a USER_RINGBUF write records as one
// piece (as libbpf does), from where the drain reads them.
//
// Who may write what: of a RINGBUF user space writes consumer_pos only, so prodPos and pendPos here are the truth and the
// producer page shows them; of a USER_RINGBUF it is the other way round (consPos). Whatever the other side writes, no
// access leaves the data.
//
// `marks` has a bit for each 8 bytes of data: a reserved, not yet committed record starts there. That is how submit knows
// a record from any other address, and bpf_valid_range what a program may touch.
//
// Threads: reserve runs under the map's lock; commit takes none. Consumers read producer_pos, then headers, atomically.
// `wakeups` is the word to wait on: it is counted up and notified whenever the kernel would wake a poller.

import {
  BPF_F_NUMA_NODE,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_USER_RINGBUF,
  BPF_RB_AVAIL_DATA,
  BPF_RB_CONS_POS,
  BPF_RB_FORCE_WAKEUP,
  BPF_RB_NO_WAKEUP,
  BPF_RB_PROD_POS,
  BPF_RB_RING_SIZE,
  BPF_RINGBUF_BUSY_BIT,
  BPF_RINGBUF_DISCARD_BIT,
  BPF_RINGBUF_HDR_SZ,
  E2BIG,
  EAGAIN,
  EBUSY,
  EFAULT,
  EINVAL,
  ENOMEM,
  EPERM,
  PAGE_SIZE,
} from "../ts/uapi";
import { callBack, callbackLevel, leaveLevel } from "./callback";
import { DYNPTR_LOCAL, DYNPTR_SIZE_MAX, dynptrInit, dynptrSetNull } from "./dynptr";
import { allocZeroed, free } from "./kernel";
import { countAndNotify, fetchAnd, fetchOr, loadAcquire, storeRelease } from "./lib/atomic";
import { copyBytes, isUserRange } from "./lib/bytes";
import { wakeup } from "./lib/env";
import { SHARED, lock, unlock } from "./lib/lock";
import { addRegion, findRegion, regionLo, regionOwner, removeRegion } from "./lib/region";
import { BpfMap, MapCreateAttr, isErr, mapGet, mapOfType, mapPut, mmapWindow } from "./map";

const HDR: u32 = BPF_RINGBUF_HDR_SZ;
const BUSY: u32 = BPF_RINGBUF_BUSY_BIT;
const DISCARD: u32 = BPF_RINGBUF_DISCARD_BIT;
const LEN_MASK: u32 = 0x3fffffff;
/** The page of the first data page in the kernel's structure. */
const DATA_PGOFF: u32 = 3;
const DATA_AT: u32 = 2 * PAGE_SIZE;
const WAKEUP_FLAGS: u64 = BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP;
/** Samples one drain looks at. */
const DRAIN_SAMPLES_MAX: u32 = 131072;

export class BpfRingbuf extends BpfMap {
  /** The consumer page. */
  ring: u32;
  data: u32;
  mask: u32;
  marks: u32;
  isMirrored: bool;
  prodPos: u64;
  /** Start of the oldest record that is not committed. */
  pendPos: u64;
  consPos: u64;
  /** Records that found no room. */
  lost: u64;
  /** Counted up at each wake-up. */
  wakeups: u32;
  /** Somebody waits for the host's wake-up (plain build). */
  isAwaited: u32;
  /** USER_RINGBUF: a drain runs. */
  busy: u32;
  /** USER_RINGBUF: the sample that a callback has at the moment. */
  sample: u32;
  sampleSize: u32;
  dynptr: u64;
  dynptrRest: u64;
  /** USER_RINGBUF, while a drain runs: the ring that is drained around it; callbackLevel. */
  outer: u32;
  level: u32;

  /** EINVAL: sizes (max_entries is a power of two of whole pages), flags. */
  static checkAttr(attr: MapCreateAttr): i32 {
    const size = attr.maxEntries;
    if (attr.keySize != 0 || attr.valueSize != 0 || attr.mapFlags & ~BPF_F_NUMA_NODE)
      return -EINVAL;
    return popcnt(size) == 1 && size >= <u32>PAGE_SIZE ? 0 : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    const ret = BpfRingbuf.checkAttr(attr);
    if (ret != 0) return ret;
    const size = this.maxEntries;
    this.mask = size - 1;
    this.ring = <u32>allocZeroed(DATA_AT + 2 * <u64>size, PAGE_SIZE);
    if (this.ring == 0) return -ENOMEM;
    const data = this.ring + DATA_AT;
    this.data = data;
    this.marks = <u32>allocZeroed(size >> 6);
    if (this.marks == 0) return -ENOMEM;
    return addRegion(data, data + 2 * size, changetype<usize>(this), true) ? 0 : -ENOMEM;
  }

  override mmapBytes(): u64 {
    return <u64>DATA_AT + 2 * <u64>this.maxEntries;
  }

  /** EPERM: writable where the other side writes; EINVAL: outside the file. */
  override mmap(offset: u64, length: u64, writable: bool): usize {
    const isUser = this.mapType == BPF_MAP_TYPE_USER_RINGBUF;
    const isOthers = isUser ? offset == 0 : offset != 0 || length > <u64>PAGE_SIZE;
    if (writable && isOthers) return <usize>-EPERM;
    const ptr = mmapWindow(this, this.ring, offset, length, writable);
    if (isErr(ptr) || this.isMirrored) return ptr;
    if (offset + length > DATA_AT + <u64>this.maxEntries) startMirror(this);
    return ptr;
  }

  override isLive(lo: u32, addr: u32, len: u32): bool {
    let start = this.sample;
    let size = this.sampleSize;
    if (this.mapType == BPF_MAP_TYPE_RINGBUF) {
      const at = lastMark(this, min(addr - lo, this.mask));
      if (at < 0) return false;
      start = lo + at + HDR;
      size = load<u32>(start - HDR) & LEN_MASK;
    }
    const offset = addr - start;
    return start != 0 && offset <= size && len <= size - offset;
  }

  override release(): void {
    removeRegion(this.data);
    free(this.marks);
    free(this.ring);
  }
}

// ---- marks ----------------------------------------------------------------------------------------------------------

function markWord(rb: BpfRingbuf, offset: u32): usize {
  assert(offset <= rb.mask && (offset & 7) == 0);
  return rb.marks + ((offset >>> 8) << 2);
}

function markBit(offset: u32): u32 {
  return 1 << ((offset >>> 3) & 31);
}

function isMarked(rb: BpfRingbuf, offset: u32): bool {
  return (loadAcquire<u32>(markWord(rb, offset)) & markBit(offset)) != 0;
}

/** Offset of the last record that starts at or below an offset and is reserved; -1 when there is none. */
function lastMark(rb: BpfRingbuf, offset: u32): i32 {
  let word = markWord(rb, offset & ~7);
  // The bits up to the offset's own.
  let bits = load<u32>(word) & ((markBit(offset) << 1) - 1);
  while (bits == 0) {
    if (word == rb.marks) return -1;
    word -= 4;
    bits = load<u32>(word);
  }
  return ((word - rb.marks) << 6) | ((31 - clz(bits)) << 3);
}

// ---- the two copies -------------------------------------------------------------------------------------------------

/** Bytes of a record in the second copy because it wraps; `size` is its payload's. */
function spilled(rb: BpfRingbuf, offset: u32, size: u32): u32 {
  const end = offset + HDR + size;
  const ringSize = rb.maxEntries;
  // A header that was overwritten may claim anything.
  return end <= ringSize ? 0 : min(end - ringSize, ringSize);
}

/** Makes the second copy equal to the first, except where a reserved record lies in it. */
function startMirror(rb: BpfRingbuf): void {
  lock(lockOf(rb));
  rb.isMirrored = true;
  let kept: u32 = 0;
  if (rb.mapType == BPF_MAP_TYPE_RINGBUF) {
    const at = lastMark(rb, rb.mask & ~7);
    if (at >= 0) kept = spilled(rb, at, load<u32>(rb.data + at) & LEN_MASK);
    memory.copy(rb.data + rb.maxEntries + kept, rb.data + kept, rb.maxEntries - kept);
  }
  unlock(lockOf(rb));
}

/** Brings the copies together for a record that is about to be published. */
function mirror(rb: BpfRingbuf, payload: usize, offset: u32, size: u32): void {
  const spill = spilled(rb, offset, size);
  if (spill != 0) memory.copy(rb.data, rb.data + rb.maxEntries, spill);
  if (!rb.isMirrored) return;
  const bytes = min(size, rb.mask - offset - (HDR - 1));
  copyBytes(payload + rb.maxEntries, payload, bytes);
}

// ---- producing (RINGBUF) --------------------------------------------------------------------------------------------

function lockOf(rb: BpfRingbuf): usize {
  return changetype<usize>(rb) + offsetof<BpfRingbuf>("lockWord");
}

/** Address of the position that the consumer (or the producer, one page on) publishes. */
function consumerWord(rb: BpfRingbuf): usize {
  return rb.ring;
}

function producerWord(rb: BpfRingbuf): usize {
  return rb.ring + PAGE_SIZE;
}

/** Steps pendPos over what has been committed. */
function advancePending(rb: BpfRingbuf): u64 {
  const produced = rb.prodPos;
  let pos = rb.pendPos;
  while (pos < produced) {
    const offset = <u32>pos & rb.mask;
    if (isMarked(rb, offset)) break;
    const size = load<u32>(rb.data + offset) & LEN_MASK;
    pos += recordBytes(size);
  }
  pos = min(pos, produced);
  rb.pendPos = pos;
  store<u64>(producerWord(rb), pos, 8);
  return pos;
}

/** Bytes that a record with `size` bytes of payload takes. */
function recordBytes(size: u64): u64 {
  return (size + HDR + 7) & ~7;
}

/** Address of the payload of a new record; 0: no room, which is counted. */
function reserve(rb: BpfRingbuf, size: u32): usize {
  const bytes = recordBytes(size);
  lock(lockOf(rb));
  const next = rb.prodPos + bytes;
  const consumed = loadAcquire<u64>(consumerWord(rb));
  // Neither what is not consumed nor what is not committed may span more than the ring.
  const fits =
    size <= LEN_MASK &&
    bytes <= rb.maxEntries &&
    // pending_pos goes on whether or not there is room.
    next - advancePending(rb) <= rb.mask &&
    next - consumed <= rb.mask;
  let payload: usize = 0;
  if (fits) {
    const offset = <u32>rb.prodPos & rb.mask;
    const hdr = rb.data + offset;
    const pgOff = DATA_PGOFF + offset / PAGE_SIZE;
    store<u32>(hdr, pgOff, 4);
    storeRelease<u32>(hdr, size | BUSY);
    if (rb.isMirrored) store<u64>(hdr + rb.maxEntries, load<u64>(hdr));
    // Asked first: to copy no bytes costs a tenth of the whole.
    else if (offset + bytes > rb.maxEntries)
      memory.copy(rb.data + rb.maxEntries, rb.data, spilled(rb, offset, size));
    fetchOr(markWord(rb, offset), markBit(offset));
    rb.prodPos = next;
    storeRelease<u64>(producerWord(rb), next);
    payload = hdr + HDR;
  } else {
    rb.lost++;
  }
  unlock(lockOf(rb));
  return payload;
}

function wake(rb: BpfRingbuf): void {
  countAndNotify(changetype<usize>(rb) + offsetof<BpfRingbuf>("wakeups"));
  if (!SHARED && rb.isAwaited) wakeup(rb.handle);
}

/** Publishes the record with this payload, or drops it; anything that is not a reserved record is left alone. */
function commit(payload: u32, flags: u64, bit: u32): void {
  const hdr = payload - HDR;
  const region = findRegion(hdr);
  if (region == 0 || payload < HDR) return;
  // Perhaps none: host.ts sees to it that mapType may be read of any owner.
  const rb = changetype<BpfRingbuf>(regionOwner(region));
  if (rb.mapType != BPF_MAP_TYPE_RINGBUF) return;
  const offset = hdr - regionLo(region);
  if (offset > rb.mask || offset & 7 || !isMarked(rb, offset)) return;
  publish(rb, payload, flags, bit);
}

/** commit for a record that is one. */
function publish(rb: BpfRingbuf, payload: u32, flags: u64, bit: u32): void {
  const hdr = payload - HDR;
  const offset = hdr - rb.data;
  const size = load<u32>(hdr) & LEN_MASK;
  mirror(rb, payload, offset, size);
  const own = markBit(offset);
  if ((fetchAnd(markWord(rb, offset), ~own) & own) == 0) return;
  storeRelease<u32>(hdr, size | bit);
  if (rb.isMirrored) storeRelease<u32>(hdr + rb.maxEntries, size | bit);
  const caughtUp = (<u32>loadAcquire<u64>(consumerWord(rb)) & rb.mask) == offset;
  if (flags & BPF_RB_FORCE_WAKEUP || (caughtUp && (flags & BPF_RB_NO_WAKEUP) == 0)) wake(rb);
}

/**
 * Reserves a record of `size` bytes for the program to fill in; it must be submitted or discarded.
 * @param flags 0
 * @returns its address; 0: no room (counted as lost), other flags, no such map
 */
export function bpf_ringbuf_reserve(handle: u32, size: u32, flags: u64): usize {
  const rb = mapOfType(handle, BPF_MAP_TYPE_RINGBUF);
  return rb == 0 || flags != 0 ? 0 : reserve(changetype<BpfRingbuf>(rb), size);
}

/**
 * Publishes a reserved record. Addresses that are none do nothing.
 * @param flags BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP; without either a consumer that had read everything is woken
 */
export function bpf_ringbuf_submit(payload: u32, flags: u64): void {
  commit(payload, flags, 0);
}

/** Drops a reserved record: consumers skip it. Flags and wake-up as bpf_ringbuf_submit. */
export function bpf_ringbuf_discard(payload: u32, flags: u64): void {
  commit(payload, flags, DISCARD);
}

/** Copies `size` bytes into a new record and publishes it. 0 or -errno: EINVAL flags, no such map; EFAULT; EAGAIN no room. */
export function bpf_ringbuf_output(handle: u32, data: u32, size: u32, flags: u64): i32 {
  const rb = mapOfType(handle, BPF_MAP_TYPE_RINGBUF);
  if (rb == 0 || flags & ~WAKEUP_FLAGS) return -EINVAL;
  if (!isUserRange(data, size)) return -EFAULT;
  const payload = reserve(changetype<BpfRingbuf>(rb), size);
  if (payload == 0) return -EAGAIN;
  copyBytes(payload, data, size);
  publish(changetype<BpfRingbuf>(rb), <u32>payload, flags, 0);
  return 0;
}

/** BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE, BPF_RB_CONS_POS, BPF_RB_PROD_POS; 0 for anything else. Bytes. */
export function bpf_ringbuf_query(handle: u32, what: u64): u64 {
  const ptr = mapOfType(handle, BPF_MAP_TYPE_RINGBUF);
  if (ptr == 0 || what > <u64>BPF_RB_PROD_POS) return 0;
  const rb = changetype<BpfRingbuf>(ptr);
  const produced = loadAcquire<u64>(producerWord(rb));
  const consumed = loadAcquire<u64>(consumerWord(rb));
  switch (<u32>what) {
    case BPF_RB_AVAIL_DATA:
      return produced - consumed;
    case BPF_RB_RING_SIZE:
      return rb.maxEntries;
    case BPF_RB_CONS_POS:
      return consumed;
    default:
      return produced;
  }
}

// ---- draining (USER_RINGBUF) ----------------------------------------------------------------------------------------

/** What peekSample found. */
const NOTHING: i32 = 0;
const SAMPLE: i32 = 1;
const DISCARDED: i32 = 2;

function acquireBusy(rb: BpfRingbuf): bool {
  const word = changetype<usize>(rb) + offsetof<BpfRingbuf>("busy");
  return (fetchOr(word, 1) & 1) == 0;
}

/** The ring of this instance's innermost drain; 0: none runs. */
let draining: u32 = 0;

function beginDrain(rb: BpfRingbuf): void {
  // The callback may close the map.
  mapGet(rb);
  rb.outer = draining;
  rb.level = callbackLevel();
  draining = <u32>changetype<usize>(rb);
}

/** isRead: were there records? */
function endDrain(rb: BpfRingbuf, isRead: bool, flags: u64): void {
  draining = rb.outer;
  storeRelease<u32>(changetype<usize>(rb) + offsetof<BpfRingbuf>("busy"), 0);
  if (flags & BPF_RB_FORCE_WAKEUP || (isRead && (flags & BPF_RB_NO_WAKEUP) == 0)) wake(rb);
  mapPut(rb);
}

/**
 * The host's dispatcher throws: what called back is left without an end of its own. A drain ends, and its sample counts as
 * read; other rings' drains and other callbacks around it go on, or are left, too.
 */
export function callback_threw(): void {
  const rb = changetype<BpfRingbuf>(draining);
  if (draining == 0 || rb.level != callbackLevel()) {
    leaveLevel();
    return;
  }
  releaseSample(rb);
  consume(rb);
  endDrain(rb, true, 0);
}

/** Steps over the record that peekSample has found. */
function consume(rb: BpfRingbuf): void {
  const pos = rb.consPos + recordBytes(rb.sampleSize);
  rb.consPos = pos;
  storeRelease<u64>(consumerWord(rb), pos);
}

/** Looks at the next record: SAMPLE with rb.sample set, DISCARDED, NOTHING (yet), or -errno. */
function peekSample(rb: BpfRingbuf): i32 {
  const produced = loadAcquire<u64>(producerWord(rb));
  if (produced & 7) return -EINVAL;
  if (rb.consPos >= produced) return NOTHING;
  const hdr = rb.data + (<u32>rb.consPos & rb.mask);
  const word = loadAcquire<u32>(hdr);
  const size = word & LEN_MASK;
  const bytes = recordBytes(size);
  if (bytes > produced - rb.consPos) return -EINVAL;
  if (bytes > rb.maxEntries || size > DYNPTR_SIZE_MAX) return -E2BIG;
  rb.sampleSize = size;
  if (word & DISCARD) return DISCARDED;
  if (word & BUSY) return NOTHING;
  rb.sample = hdr + HDR;
  return SAMPLE;
}

/** Hands the sample to the program. @returns true: go on */
function handSample(rb: BpfRingbuf, fn: u64, ctx: u64): bool {
  const dynptr = changetype<usize>(rb) + offsetof<BpfRingbuf>("dynptr");
  dynptrInit(dynptr, rb.sample, rb.sampleSize, DYNPTR_LOCAL);
  const goOn = callBack(fn, dynptr, ctx, 0, 0) == 0;
  releaseSample(rb);
  return goOn;
}

/** The program has it no longer. */
function releaseSample(rb: BpfRingbuf): void {
  dynptrSetNull(changetype<usize>(rb) + offsetof<BpfRingbuf>("dynptr"));
  rb.sample = 0;
}

/**
 * Hands what user space has produced to a program's callback(dynptr, ctx), one sample after the other, until it answers
 * non-zero; discarded records are skipped.
 * @param fn    what names the callback (callback.ts)
 * @param flags BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP; without either waiting producers are woken if anything was consumed
 * @returns number of samples handed over; -EINVAL flags, no such map, or nonsense in the ring; -E2BIG a sample too large;
 *   -EBUSY another drain runs. Samples before an error stay consumed.
 */
export function bpf_user_ringbuf_drain(handle: u32, fn: u64, ctx: u64, flags: u64): i64 {
  const ptr = mapOfType(handle, BPF_MAP_TYPE_USER_RINGBUF);
  if (ptr == 0 || flags & ~WAKEUP_FLAGS) return -EINVAL;
  const rb = changetype<BpfRingbuf>(ptr);
  if (!acquireBusy(rb)) return -EBUSY;
  beginDrain(rb);
  let seen: u32 = 0;
  let samples: i64 = 0;
  let ret = 0;
  let goOn: bool = true;
  while (goOn && seen < DRAIN_SAMPLES_MAX) {
    ret = peekSample(rb);
    if (ret <= 0) break;
    seen++;
    if (ret == SAMPLE) {
      samples++;
      goOn = handSample(rb, fn, ctx);
    }
    consume(rb);
  }
  endDrain(rb, seen != 0, flags);
  return ret < 0 ? ret : samples;
}

// ---- for the host ---------------------------------------------------------------------------------------------------

/** Records that found no room so far; -EINVAL: not a RINGBUF. */
export function ringbuf_lost(handle: u32): i64 {
  const rb = mapOfType(handle, BPF_MAP_TYPE_RINGBUF);
  return rb == 0 ? -EINVAL : <i64>changetype<BpfRingbuf>(rb).lost;
}

/** The ring of either type behind a handle, or 0. */
function anyRing(handle: u32): usize {
  const rb = mapOfType(handle, BPF_MAP_TYPE_RINGBUF);
  return rb != 0 ? rb : mapOfType(handle, BPF_MAP_TYPE_USER_RINGBUF);
}

/** Address of the consumer page (file offset 0); 0: not a ring buffer. It stays for the life of the map. */
export function ringbuf_pages(handle: u32): usize {
  const rb = anyRing(handle);
  return rb == 0 ? 0 : changetype<BpfRingbuf>(rb).ring;
}

/** Address of the u32 that each wake-up counts up and notifies; 0: not a ring buffer. */
export function ringbuf_wakeup_word(handle: u32): usize {
  const rb = anyRing(handle);
  return rb == 0 ? 0 : rb + offsetof<BpfRingbuf>("wakeups");
}

/** Plain build: shall wake-ups of this map call the host (env.wakeup)? */
export function ringbuf_await(handle: u32, isAwaited: u32): void {
  const rb = anyRing(handle);
  if (rb != 0) changetype<BpfRingbuf>(rb).isAwaited = isAwaited;
}

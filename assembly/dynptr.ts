// Dynptrs: a program's pointer to memory whose size is known only when it runs. Kernel: kernel/bpf/helpers.c (behaviour
// checked against 6.18).
//
// A dynptr is 16 bytes of the program's memory, 8-aligned, laid out as in the kernel:
//
//   0           8                                          12
//   | data u64  | size: 24 bits, type << 28, read-only bit 31 | offset u32 |      data 0: the null dynptr
//
// Nobody has verified the program here, so a dynptr may be any bytes: the memory it names is checked at each use.

import { E2BIG, EFAULT, EINVAL } from "../ts/uapi";
import { isUserRange } from "./lib/bytes";
import { bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit } from "./ringbuf";

const DYNPTR_BYTES: u32 = 16;
/** Largest memory a dynptr can name, bytes. */
export const DYNPTR_SIZE_MAX: u32 = 0xffffff;
/** Types: memory of the program (or a sample of a USER_RINGBUF), a reserved record. */
export const DYNPTR_LOCAL: u32 = 1;
const DYNPTR_RINGBUF: u32 = 2;
const TYPE_SHIFT: u32 = 28;
const TYPE_MASK: u32 = 7;
const READ_ONLY: u32 = 0x80000000;

@unmanaged
class Dynptr {
  data: u64;
  sizeAndType: u32;
  offset: u32;

  get size(): u32 {
    return this.sizeAndType & DYNPTR_SIZE_MAX;
  }

  get type(): u32 {
    return (this.sizeAndType >> TYPE_SHIFT) & TYPE_MASK;
  }
}
if (offsetof<Dynptr>() != DYNPTR_BYTES) ERROR("Dynptr mirrors struct bpf_dynptr_kern");

/** Writes a dynptr; `at` is checked. */
export function dynptrInit(at: usize, data: usize, size: u32, type: u32): void {
  assert(size <= DYNPTR_SIZE_MAX);
  const dynptr = changetype<Dynptr>(at);
  dynptr.data = data;
  dynptr.sizeAndType = size | (type << TYPE_SHIFT);
  dynptr.offset = 0;
}

export function dynptrSetNull(at: usize): void {
  memory.fill(at, 0, DYNPTR_BYTES);
}

/**
 * The memory [offset, offset + len) of a dynptr, for reading or writing.
 * @returns its address; -EFAULT: the dynptr is outside the memory, or names what is; -EINVAL: null, or read-only and to be
 *   written; -E2BIG: beyond its size
 */
function slice(at: u32, offset: u32, len: u32, forWriting: bool): i64 {
  if (!isUserRange(at, DYNPTR_BYTES)) return -EFAULT;
  const dynptr = changetype<Dynptr>(at);
  if (dynptr.data == 0 || (forWriting && dynptr.sizeAndType & READ_ONLY)) return -EINVAL;
  if (len > dynptr.size || offset > dynptr.size - len) return -E2BIG;
  const start = dynptr.data + dynptr.offset + offset;
  return start >= dynptr.data && isUserRange(start, len) ? <i64>start : -EFAULT;
}

/** A dynptr of a program's own memory. 0 or -errno, the dynptr then null: E2BIG size; EINVAL flags; EFAULT. */
export function bpf_dynptr_from_mem(data: u32, size: u32, flags: u64, dynptr: u32): i32 {
  if (!isUserRange(dynptr, DYNPTR_BYTES)) return -EFAULT;
  dynptrSetNull(dynptr);
  if (size > DYNPTR_SIZE_MAX) return -E2BIG;
  if (flags != 0) return -EINVAL;
  if (!isUserRange(data, size)) return -EFAULT;
  dynptrInit(dynptr, data, size, DYNPTR_LOCAL);
  return 0;
}

/** Copies `len` bytes at `offset` of a dynptr to `to`. 0 or -errno: EINVAL null, flags; E2BIG; EFAULT. */
export function bpf_dynptr_read(to: u32, len: u32, dynptr: u32, offset: u32, flags: u64): i32 {
  if (flags != 0) return -EINVAL;
  const from = slice(dynptr, offset, len, false);
  if (from < 0) return <i32>from;
  if (!isUserRange(to, len)) return -EFAULT;
  memory.copy(to, <usize>from, len);
  return 0;
}

/** Copies `len` bytes from `from` to `offset` of a dynptr. 0 or -errno: EINVAL null, read-only, flags; E2BIG; EFAULT. */
export function bpf_dynptr_write(dynptr: u32, offset: u32, from: u32, len: u32, flags: u64): i32 {
  const to = slice(dynptr, offset, len, true);
  if (to < 0) return <i32>to;
  if (flags != 0) return -EINVAL;
  if (!isUserRange(from, len)) return -EFAULT;
  memory.copy(<usize>to, from, len);
  return 0;
}

/** Address of [offset, offset + len) of a dynptr; 0: null, read-only, or beyond its size. */
export function bpf_dynptr_data(dynptr: u32, offset: u32, len: u32): usize {
  const at = slice(dynptr, offset, len, true);
  return at < 0 ? 0 : <usize>at;
}

/**
 * As bpf_ringbuf_reserve, for sizes the program learns late. On an error the dynptr is null, which submit and discard take.
 * @returns 0 or -errno: EINVAL flags, no room (not EAGAIN), no such map; E2BIG size; EFAULT
 */
export function bpf_ringbuf_reserve_dynptr(handle: u32, size: u32, flags: u64, dynptr: u32): i32 {
  if (!isUserRange(dynptr, DYNPTR_BYTES)) return -EFAULT;
  dynptrSetNull(dynptr);
  if (flags != 0) return -EINVAL;
  if (size > DYNPTR_SIZE_MAX) return -E2BIG;
  const payload = bpf_ringbuf_reserve(handle, size, 0);
  if (payload == 0) return -EINVAL;
  dynptrInit(dynptr, payload, size, DYNPTR_RINGBUF);
  return 0;
}

/** The record of a ring buffer's dynptr, which is null from now on; 0 when it is none. */
function takeRecord(dynptr: u32): u32 {
  if (!isUserRange(dynptr, DYNPTR_BYTES)) return 0;
  const data = changetype<Dynptr>(dynptr).data;
  const isRecord = changetype<Dynptr>(dynptr).type == DYNPTR_RINGBUF && data <= 0xffffffff;
  dynptrSetNull(dynptr);
  return isRecord ? <u32>data : 0;
}

export function bpf_ringbuf_submit_dynptr(dynptr: u32, flags: u64): void {
  bpf_ringbuf_submit(takeRecord(dynptr), flags);
}

export function bpf_ringbuf_discard_dynptr(dynptr: u32, flags: u64): void {
  bpf_ringbuf_discard(takeRecord(dynptr), flags);
}

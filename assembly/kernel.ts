// The state of one kernel: one root structure in linear memory, from which everything else is reached.
//
// Wasm globals hold what belongs to one instance only: where the root is, the current CPU, this instance's scratch
// area. Several instances attached to one root (shared memory) are the CPUs of one kernel.

import { ATTR_WINDOW, CPUS_MAX, KERNEL_MAGIC } from "../ts/abi";
import { PAGE_SIZE } from "../ts/uapi";
import {
  HEAP_GROW,
  HEAP_MALLOC,
  HEAP_SIZE,
  Heap,
  heapAddSegment,
  heapAlloc,
  heapAllocGrow,
  heapFree,
  heapFreeAll,
  heapInit,
  heapReserve,
  heapUnreserve,
  hostAlloc,
  hostRelease,
} from "./lib/heap";
import { SHARED } from "./lib/lock";

const KERNEL_SIZE: u32 = 256;
const ROOT_ALIGN: u32 = 64;

// The scratch area of an instance, by offset. In front is the attr of the command that bpf() runs; what else commands note
// lies in its tail, or behind it. An instance runs one command at a time and no program's callback within it, so that what
// belongs to different commands may overlap.

/** OBJ_GET_INFO_BY_FD, whose attr is short: what it tells (104 bytes). */
export const SCRATCH_INFO: u32 = 128;
/** Debug build: the sums of a walk over the heap (12 bytes). */
export const SCRATCH_SUMS: u32 = 128;
/** OBJ_PIN, OBJ_GET and the calls of bpffs: the last name of a path (20 bytes). */
export const SCRATCH_LAST: u32 = 176;
/** BTF_LOAD: the header of the blob (24 bytes). */
export const SCRATCH_BTF_HEADER: u32 = 200;
/** BTF_LOAD, MAP_CREATE: the special fields of a type (16 bytes). */
export const SCRATCH_FIELDS: u32 = 224;
/** Updates: a number on its way into a map (8 bytes). */
export const SCRATCH_NUMBER: u32 = 232;
/** Updates of a HASH_OF_MAPS: the handle of the inner map (4 bytes). An fd in SCRATCH_NUMBER has been read by then. */
export const SCRATCH_INNER: u32 = 232;
/** All hash maps, within any command: a key on its way to jhash (16 bytes). Overlaps nothing. */
export const SCRATCH_KEY: u32 = 240;
/** The attr as its caller gave it (ts/runtime.ts); bpf() copies it to the front. */
const SCRATCH_WINDOW: u32 = ATTR_WINDOW;
/** The keys of running callbacks (callback.ts). */
export const SCRATCH_KEYS: u32 = SCRATCH_WINDOW + PAGE_SIZE;
export const KEYS_BYTES: u32 = 192;
/** A batch's two keys (batch.ts). */
export const SCRATCH_BATCH: u32 = SCRATCH_KEYS + KEYS_BYTES;
/** Room for the longest key of a type with generic batches, an LPM trie's. */
export const BATCH_KEY_MAX: u32 = 264;
const SCRATCH_SIZE: u32 = SCRATCH_BATCH + 2 * BATCH_KEY_MAX;
if (SCRATCH_KEY + 16 > SCRATCH_WINDOW) ERROR("SCRATCH_KEY must end in front of the window");

@unmanaged
export class Kernel {
  magic: u32;
  nrCpus: u32;
  /** Guards fds, handles, ids and the pin tree; taken before the heap's lock, and after a map's (map_in_map.ts). */
  lockWord: u32;
  /** Guards the regions; taken before the heap's lock, after any other. */
  regionsLock: u32;
  /** State of random64. */
  rng: u64;
  /** The clock, ns (ktimeGetNs). */
  ktime: u64;
  // fd.ts
  fds: u32;
  fdCapacity: u32;
  fdHint: u32;
  // map.ts: handles and ids
  handles: u32;
  /** The bits of a handle that are the offset of its entry. */
  handleMask: u32;
  handleFree: u32;
  handleFreeTail: u32;
  nextMapId: u32;
  /** Live maps. */
  mapCount: u32;
  // lib/region.ts
  regions: u32;
  regionCount: u32;
  regionCapacity: u32;
  // bpffs.ts
  bpffsRoot: u32;
  // btf.ts
  btfHead: u32;
  nextBtfId: u32;
  // host.ts
  host: u32;
  /** Up to this address 4 bytes can be read. The memory may have grown since helpers.ts looked at its size. */
  wordsEnd: u32;
}
if (offsetof<Kernel>() > KERNEL_SIZE) ERROR("Kernel must fit KERNEL_SIZE");

let root: usize = 0;
let currentCpu: u32 = 0;
let scratch: usize = 0;

export function kernel(): Kernel {
  return changetype<Kernel>(root);
}

/** The lock of the kernel's own tables: fds, handles, ids, pins. */
export function kernelLockWord(): usize {
  return root + offsetof<Kernel>("lockWord");
}

function heap(): Heap {
  return changetype<Heap>(root + KERNEL_SIZE);
}

/** The CPU on which the running call runs. */
export function cpu(): u32 {
  return currentCpu;
}

/** Does nothing for an index that is no CPU. */
export function setCpu(index: u32): void {
  if (index < kernel().nrCpus) currentCpu = index;
}

/** This instance's scratch area (SCRATCH_*). */
export function scratchPtr(): usize {
  return scratch;
}

/**
 * Makes a kernel.
 * @param source   HEAP_GROW, HEAP_ARENA or HEAP_MALLOC
 * @param base     address of the memory to begin with (HEAP_GROW; base == limit: none), or of the arena; HEAP_MALLOC: unused
 * @param limit    the end of that memory; HEAP_MALLOC: unused
 * @param maxBytes HEAP_GROW: bound of the memory's size, bytes
 * @param nrCpus   possible CPUs, 1..CPUS_MAX: sizes of per-CPU values are computed with 32 bits
 * @param seed     start of the random numbers
 * @returns the address of the root; 0: there is no room, or nrCpus is out of its range
 */
export function kernelInit(
  source: u32,
  base: u32,
  limit: u32,
  maxBytes: u64,
  nrCpus: u32,
  seed: u64,
): usize {
  if (nrCpus - 1 >= <u32>CPUS_MAX) return 0;
  const rootBytes = KERNEL_SIZE + HEAP_SIZE;
  let at: usize = 0;
  if (source == HEAP_MALLOC) {
    at = hostAlloc(rootBytes, ROOT_ALIGN);
    if (at == 0) return 0;
  } else {
    if (source == HEAP_GROW && base >= limit) {
      const old = memory.grow(1);
      if (old < 0) return 0;
      base = (<u32>old) << 16;
      limit = base + 0x10000;
    }
    at = (base + ROOT_ALIGN - 1) & ~(ROOT_ALIGN - 1);
    if (at < base || <u64>at + rootBytes > limit) return 0;
  }
  root = at;
  memory.fill(root, 0, rootBytes);
  heapInit(heap(), source, maxBytes);
  if (source != HEAP_MALLOC && !heapAddSegment(heap(), <u32>at + rootBytes, limit)) return 0;
  const k = kernel();
  k.magic = KERNEL_MAGIC;
  k.nrCpus = nrCpus;
  k.rng = seed;
  k.nextMapId = 1;
  k.nextBtfId = 1;
  return attach(at, 0) ? at : 0;
}

/** Makes this instance a CPU of the kernel at `at`; false when there is none, it has no such CPU, or no room. */
export function attach(at: usize, cpuIndex: u32): bool {
  root = at;
  if (kernel().magic != KERNEL_MAGIC || cpuIndex >= kernel().nrCpus) return false;
  currentCpu = cpuIndex;
  scratch = allocZeroed(SCRATCH_SIZE);
  return scratch != 0;
}

/** Ends the kernel: with the host's malloc every block goes back; otherwise the memory simply is the host's again. */
export function kernelExit(): void {
  if (root == 0) return;
  kernel().magic = 0;
  heapFreeAll(heap());
  if (heap().source == HEAP_MALLOC) hostRelease(<u32>root);
  root = 0;
  scratch = 0;
}

/** Leaves a kernel that others go on using. */
export function kernelDetach(): void {
  if (root != 0) free(scratch);
  root = 0;
  scratch = 0;
}

// ---- memory -------------------------------------------------------------------------------------------------------

/** Frees a table that has been replaced by a larger one. In the shared build others may still be reading it: it stays. */
export function freeReplaced(table: usize): void {
  if (!SHARED) free(table);
}

/** Allocates 8-aligned memory without growing it; 0 when out of memory. What operations use. */
export function alloc(bytes: u64): usize {
  return heapAlloc(heap(), bytes, 8);
}

/** Allocates 8-aligned memory; may grow it. For creation. */
export function allocGrow(bytes: u64): usize {
  return heapAllocGrow(heap(), bytes, 8);
}

/** Allocates `align`-aligned zeroed memory; may grow it. For creation. */
export function allocZeroed(bytes: u64, align: u32 = 8): usize {
  const ptr = heapAllocGrow(heap(), bytes, align);
  if (ptr != 0) memory.fill(ptr, 0, <usize>bytes);
  return ptr;
}

export function free(ptr: usize): void {
  heapFree(heap(), ptr);
}

/** Promises `bytes` to a map that allocates while it runs (see heapReserve). */
export function reserve(bytes: u64): void {
  heapReserve(heap(), bytes);
}

/**
 * Takes `bytes` off a promise (heapReserve): they have been allocated, or are no longer wanted.
 * @param left address of the u64 that says how much of the promise is left
 */
export function usePromise(left: usize, bytes: u64): void {
  const used = min(load<u64>(left), bytes);
  heapUnreserve(heap(), used);
  store<u64>(left, load<u64>(left) - used);
}

export function heapUsedBytes(): u32 {
  return heap().usedBytes;
}

export function heapStruct(): Heap {
  return heap();
}

// ---- random numbers -----------------------------------------------------------------------------------------------

/** splitmix64 (Steele, Lea, Flood 2014; public domain): seeds of maps, bpf_get_prandom_u32. */
export function random64(): u64 {
  const step: u64 = 0x9e3779b97f4a7c15;
  const at = changetype<usize>(kernel()) + offsetof<Kernel>("rng");
  let z: u64;
  if (SHARED) z = atomic.add<u64>(at, step) + step;
  else store<u64>(at, (z = load<u64>(at) + step));
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// ---- time ---------------------------------------------------------------------------------------------------------
// The clock is the host's to move. Differs: between two settings it advances by 1 ns a question instead of by itself, so
// that asking costs no call to the host, a run can be repeated, and a simulator's time is its own.

/** Nanoseconds since the start, later than any answer before. */
export function ktimeGetNs(): u64 {
  const at = changetype<usize>(kernel()) + offsetof<Kernel>("ktime");
  if (SHARED) return atomic.add<u64>(at, 1) + 1;
  return ++kernel().ktime;
}

/** The clock as it stands. */
export function ktime(): u64 {
  return kernel().ktime;
}

/** Moves the clock to `ns`; it does not go back. */
export function setKtime(ns: u64): void {
  const at = changetype<usize>(kernel()) + offsetof<Kernel>("ktime");
  let now = kernel().ktime;
  while (now < ns) {
    if (!SHARED) {
      store<u64>(at, ns);
      return;
    }
    const seen = atomic.cmpxchg<u64>(at, now, ns);
    if (seen == now) return;
    now = seen;
  }
}

// Options of createRuntime: what they mean, and the checks of them.

import { CPUS_MAX } from "./abi.js";
import { integer, isU32 } from "./numbers.js";
import { isMemory, isModule, isSharedBuffer } from "./realm.js";

/** A range of addresses that belongs to this core alone: base <= a < limit. */
export interface Arena {
  readonly base: number;
  readonly limit: number;
}

/** What another thread needs to join a runtime (`rt.share()`); can be posted to workers. */
export interface SharedRuntime {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly cpus: number;
  /** Address of the kernel's state. */
  readonly root: number;
}

/** Options of {@link createRuntime}. */
export interface RuntimeOptions {
  /** Possible CPUs, 1..1024; default 1. Per-CPU values have this many slots. */
  readonly cpus?: number | undefined;
  /** The CPU on which operations run at first (`rt.cpu`); with `attach` the one that this thread is. Default 0. */
  readonly cpu?: number | undefined;
  /**
   * An existing memory to live in; default: a memory of its own. Without `arena` and `malloc` the runtime grows it and uses
   * the pages it added; where it may not grow (`maxBytes`, the memory's maximum) and holds nothing but zeros, all of it.
   */
  readonly memory?: WebAssembly.Memory | undefined;
  /** Live inside this range of `memory` only; never grows the memory. Out of room is ENOMEM. */
  readonly arena?: Arena | undefined;
  /**
   * Take everything from the host's allocator in `memory`; needs `free`. 0 means that there is no room, as does anything
   * else that is no address, or an exception.
   */
  readonly malloc?: ((bytes: number) => number) | undefined;
  /** Counterpart of `malloc`. What it throws is ignored: it is called where nobody could deal with it. */
  readonly free?: ((ptr: number) => void) | undefined;
  /**
   * The memory has this many bytes from the start; default 48 MiB, or `maxBytes` if that is less. They are addresses only,
   * until they are used. Give what your maps will need: a memory that is not shared detaches its buffer when it grows, and
   * once that has happened, V8 checks for it at every access to any typed array of the process.
   */
  readonly minBytes?: number | undefined;
  /** The memory is never grown beyond this many bytes; default 4 GiB (a shared one of its own: 1 GiB). */
  readonly maxBytes?: number | undefined;
  /** Makes a run repeatable: hash seeds, bloom seeds, bpf_get_prandom_u32, `ktime` starts at 0. Default: random. */
  readonly seed?: number | bigint | undefined;
  /** Use the build for shared memory (threads). */
  readonly shared?: boolean | undefined;
  /** Join the runtime of another thread (shared build) as one more of its CPUs; only `cpu` goes with it. */
  readonly attach?: SharedRuntime | undefined;
  /**
   * Where the core comes from: bytes, a compiled module, or an address to fetch (in Node also one of a file). Default: the
   * package's own file, `bpfmaps/core.wasm` or `bpfmaps/core.shared.wasm`.
   */
  readonly core?: ArrayBuffer | ArrayBufferView | WebAssembly.Module | URL | string | undefined;
}

const PAGE_BYTES = 65536;
const MEMORY_BYTES_MAX = 65536 * PAGE_BYTES;
const SHARED_BYTES_DEFAULT = 1 << 30;
/** Enough for a million elements of 16 + 16 bytes. At 64 MiB V8 would collect garbage, which takes longer than all else. */
const MIN_BYTES_DEFAULT = 48 << 20;

/** HEAP_GROW, HEAP_ARENA, HEAP_MALLOC of assembly/lib/heap.ts. */
export const SOURCE = { grow: 0, arena: 1, malloc: 2 } as const;

/** Options after checking. */
export interface CheckedOptions {
  readonly cpus: number;
  readonly memory: WebAssembly.Memory;
  readonly source: number;
  /** Where the core begins. It may grow the memory, so it comes after all that may fail. */
  readonly takeRoom: () => Arena;
  readonly maxBytes: number;
  readonly seed: bigint;
  /** Where the clock starts, ns. */
  readonly ktime: bigint;
  readonly malloc: (bytes: number) => number;
  readonly free: (ptr: number) => void;
  /** Address of the state of a kernel to join; 0: make a new one. */
  readonly root: number;
  readonly cpu: number;
}

/**
 * @throws {TypeError} a wrong type
 * @throws {RangeError} a number outside its range
 */
export function checkOptions(options: RuntimeOptions): CheckedOptions {
  if (typeof options !== "object" || options === null)
    throw new TypeError("options: expected an object");
  const { attach, cpu = 0, cpus = 1, shared = false, memory, seed } = options;
  if (attach !== undefined) return checkAttach(attach, options);
  if (typeof shared !== "boolean") throw new TypeError("shared: expected a boolean");
  const isOwnShared = shared && memory === undefined;
  const { maxBytes = isOwnShared ? SHARED_BYTES_DEFAULT : MEMORY_BYTES_MAX } = options;
  integer("cpus", cpus, 1, CPUS_MAX);
  return {
    cpus,
    cpu: integer("cpu", cpu, 0, cpus - 1),
    maxBytes: integer("maxBytes", maxBytes, PAGE_BYTES, MEMORY_BYTES_MAX),
    seed: seedOf(seed),
    ktime: seed === undefined ? BigInt(Math.round(performance.now() * 1e6)) : 0n,
    root: 0,
    ...place(options, shared, maxBytes),
  };
}

const NO_HOST = { malloc: () => 0, free: () => {} };

/** What the first runtime of a kernel decides for all. */
const SETTLED = [
  "cpus",
  "memory",
  "arena",
  "malloc",
  "free",
  "minBytes",
  "maxBytes",
  "seed",
  "shared",
  "core",
] as const;

/** A thread more of an existing kernel. */
function checkAttach(share: SharedRuntime, options: RuntimeOptions): CheckedOptions {
  if (!isMemory(share?.memory) || !isModule(share.module)) {
    throw new TypeError("attach: expected what rt.share() gives");
  }
  for (const name of SETTLED) {
    if (options[name] === undefined || (name === "shared" && options.shared)) continue;
    throw new TypeError(`attach: ${name} is settled already, only cpu goes with it`);
  }
  const cpus = integer("attach.cpus", share.cpus, 1, CPUS_MAX);
  const { cpu = 0 } = options;
  return {
    cpus,
    cpu: integer("cpu", cpu, 0, cpus - 1),
    memory: share.memory,
    root: checkRoot(share),
    source: SOURCE.grow,
    takeRoom: () => ({ base: 0, limit: 0 }),
    maxBytes: MEMORY_BYTES_MAX,
    seed: 0n,
    ktime: 0n,
    ...NO_HOST,
  };
}

/** Bytes at a kernel's root that are its own at the least. */
export const ROOT_BYTES = 256;

function checkRoot({ root, memory }: SharedRuntime): number {
  integer("attach.root", root, 8, memory.buffer.byteLength - ROOT_BYTES);
  if (root % 8 !== 0) throw new RangeError(`attach.root: no runtime begins at ${root}`);
  return root;
}

type Place = Pick<CheckedOptions, "memory" | "source" | "takeRoom" | "malloc" | "free">;

/** Where the core lives. */
function place(options: RuntimeOptions, shared: boolean, maxBytes: number): Place {
  const { memory, arena, malloc, free, minBytes } = options;
  if (memory === undefined) {
    if (arena !== undefined || malloc !== undefined || free !== undefined) {
      throw new TypeError("arena and malloc need the memory they are in: option memory");
    }
    return { source: SOURCE.grow, ...NO_HOST, ...ownMemory(shared, maxBytes, minBytes) };
  }
  if (!isMemory(memory)) throw new TypeError("memory: expected a WebAssembly.Memory");
  if (minBytes !== undefined)
    throw new TypeError("minBytes is for a memory that the runtime makes itself");
  if (isSharedBuffer(memory.buffer) !== shared) {
    throw new TypeError(
      `memory is ${shared ? "not " : ""}shared: set the option shared accordingly`,
    );
  }
  const isHosts = malloc !== undefined || free !== undefined;
  if (arena !== undefined && isHosts) throw new TypeError("arena and malloc exclude each other");
  if (arena !== undefined) {
    const room = checkArena(arena, memory);
    return { memory, source: SOURCE.arena, takeRoom: () => room, ...NO_HOST };
  }
  if (isHosts) return { memory, ...hostHeap(options, memory) };
  return { memory, source: SOURCE.grow, takeRoom: () => takeOver(memory, maxBytes), ...NO_HOST };
}

/** A memory that the runtime makes itself. */
function ownMemory(
  shared: boolean,
  maxBytes: number,
  minBytes: number = Math.min(MIN_BYTES_DEFAULT, maxBytes),
): Pick<Place, "memory" | "takeRoom"> {
  integer("minBytes", minBytes, PAGE_BYTES, maxBytes);
  const maximum = Math.floor(maxBytes / PAGE_BYTES);
  const initial = Math.min(Math.ceil(minBytes / PAGE_BYTES), maximum);
  const memory = new WebAssembly.Memory({ initial, maximum, shared });
  return { memory, takeRoom: () => ({ base: 64, limit: memory.buffer.byteLength }) };
}

/**
 * A memory given without arena or malloc: only pages that the core adds itself are its own. One that may not grow is taken
 * over whole if nobody has written to it yet.
 * @throws {RangeError} there is no room
 */
function takeOver(memory: WebAssembly.Memory, maxBytes: number): Arena {
  const size = memory.buffer.byteLength;
  const page = size + PAGE_BYTES <= maxBytes ? addPage(memory) : undefined;
  // Address 0 is NULL.
  if (page !== undefined)
    return { base: Math.max(page, 64), limit: Math.min(page + PAGE_BYTES, ADDRESS_MAX) };
  if (size === 0) throw new RangeError("memory has no page and may not grow");
  if (size > maxBytes) throw new RangeError(`maxBytes: memory has ${size} bytes already`);
  if (new BigUint64Array(memory.buffer).every((word) => word === 0n))
    return { base: 64, limit: Math.min(size, ADDRESS_MAX) };
  throw new RangeError("memory cannot grow and is in use: give an arena or malloc");
}

/** @returns the address of the new page; undefined: the memory may not grow */
function addPage(memory: WebAssembly.Memory): number | undefined {
  try {
    return memory.grow(1) * PAGE_BYTES;
  } catch {
    return undefined;
  }
}

/** The host's allocator: neither function may throw through the core, which would stay locked. */
function hostHeap(
  { malloc, free }: RuntimeOptions,
  memory: WebAssembly.Memory,
): Omit<Place, "memory"> {
  if (typeof malloc !== "function") throw new TypeError("malloc: expected a function");
  if (typeof free !== "function")
    throw new TypeError("free: expected a function (malloc's counterpart)");
  if (memory.buffer.byteLength === 0)
    throw new RangeError("memory: malloc has no memory to allocate from, grow it first");
  return {
    source: SOURCE.malloc,
    takeRoom: () => ({ base: 0, limit: 0 }),
    malloc: (bytes) => {
      try {
        const ptr = malloc(bytes);
        // Addresses from a Wasm export are signed.
        return isU32(ptr) || (ptr | 0) === ptr ? ptr : 0;
      } catch {
        return 0;
      }
    },
    free: (ptr) => {
      try {
        free(ptr);
      } catch {
        // Whatever is wrong is wrong with the host's allocator: nobody here could mend it.
      }
    },
  };
}

/** The core uses no addresses from here on: they stand for errors. */
const ADDRESS_MAX = 0xfffff000;

function checkArena(arena: Arena, memory: WebAssembly.Memory): Arena {
  if (typeof arena !== "object" || arena === null)
    throw new TypeError("arena: expected { base, limit }");
  const size = memory.buffer.byteLength;
  const base = integer("arena.base", arena.base, 0, size);
  const limit = integer("arena.limit", arena.limit, 0, size);
  if (limit <= base) throw new RangeError("arena.limit must be above arena.base");
  // Address 0 is NULL.
  return { base: Math.max(base, 8), limit: Math.min(limit, ADDRESS_MAX) };
}

/** Not from `crypto`: loading it takes Node as long as compiling the core does, and the hashes do not resist attackers anyway. */
const random32 = (): number => Math.floor(Math.random() * 2 ** 32);

function seedOf(seed: unknown): bigint {
  if (seed === undefined) return (BigInt(random32()) << 32n) | BigInt(random32());
  if (typeof seed === "bigint") return BigInt.asUintN(64, seed);
  if (typeof seed !== "number")
    throw new TypeError(`seed: expected a number or bigint, got ${typeof seed}`);
  if (!Number.isSafeInteger(seed))
    throw new RangeError("seed: expected a safe integer or a bigint");
  return BigInt.asUintN(64, BigInt(seed));
}

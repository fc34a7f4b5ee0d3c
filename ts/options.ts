// Options of createRuntime: what they mean and whether they can be.

import { CPUS_MAX } from "./abi.js";
import { integer } from "./numbers.js";

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
  readonly cpus?: number;
  /** An existing memory to live in; default: a memory of its own. */
  readonly memory?: WebAssembly.Memory;
  /** Live inside this range of `memory` only; never grows the memory. Out of room is ENOMEM. */
  readonly arena?: Arena;
  /** Take everything from the host's allocator in `memory`; needs `free`. */
  readonly malloc?: (bytes: number) => number;
  /** Counterpart of `malloc`. */
  readonly free?: (ptr: number) => void;
  /**
   * The memory has this many bytes from the start; default 48 MiB, or `maxBytes` if that is less. Until it is used it takes
   * addresses only. When a memory that is not shared has to grow, its buffer is detached, and from then on V8 compiles every
   * access to any typed array of the process with a check for that: who knows what the maps need says so here.
   */
  readonly minBytes?: number;
  /** The memory is never grown beyond this many bytes; default 4 GiB (shared: 1 GiB). */
  readonly maxBytes?: number;
  /** Makes a run repeatable: hash seeds, bloom seeds, bpf_get_prandom_u32, `ktime` starts at 0. Default: random. */
  readonly seed?: number | bigint;
  /** Use the build for shared memory (threads). */
  readonly shared?: boolean;
  /** Join the runtime of another thread (shared build) as one more of its CPUs; no other option but `cpu` goes with it. */
  readonly attach?: SharedRuntime;
  /** With `attach`: the CPU this thread is; default 0. */
  readonly cpu?: number;
  /** Where the core comes from: bytes, a compiled module, or an address to fetch. Default: the package's own file. */
  readonly core?: BufferSource | WebAssembly.Module | URL | string;
}

const PAGE_BYTES = 65536;
const MEMORY_BYTES_MAX = 65536 * PAGE_BYTES;
const SHARED_BYTES_DEFAULT = 1 << 30;
/** A million elements of 16 + 16 bytes. With 64 MiB V8 takes fright and collects garbage, which takes longer than all else. */
const MIN_BYTES_DEFAULT = 48 << 20;

/** HEAP_GROW, HEAP_ARENA, HEAP_MALLOC of assembly/lib/heap.ts. */
export const SOURCE = { grow: 0, arena: 1, malloc: 2 } as const;

/** Options after checking. */
export interface CheckedOptions {
  readonly cpus: number;
  readonly memory: WebAssembly.Memory;
  readonly source: number;
  readonly base: number;
  readonly limit: number;
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
  if (options.attach !== undefined) return checkAttach(options.attach, options);
  const cpus = integer("cpus", options.cpus ?? 1, 1, CPUS_MAX);
  const shared = options.shared ?? false;
  if (typeof shared !== "boolean") throw new TypeError("shared: expected a boolean");
  const maxBytes = integer(
    "maxBytes",
    options.maxBytes ?? (shared ? SHARED_BYTES_DEFAULT : MEMORY_BYTES_MAX),
    PAGE_BYTES,
    MEMORY_BYTES_MAX,
  );
  const minBytes = integer(
    "minBytes",
    options.minBytes ?? Math.min(MIN_BYTES_DEFAULT, maxBytes),
    PAGE_BYTES,
    maxBytes,
  );
  return {
    cpus,
    maxBytes,
    seed: seedOf(options.seed),
    ktime: options.seed === undefined ? BigInt(Math.round(performance.now() * 1e6)) : 0n,
    root: 0,
    cpu: 0,
    ...place(options, shared, minBytes, maxBytes),
  };
}

/** A thread more of an existing kernel. */
function checkAttach(share: SharedRuntime, options: RuntimeOptions): CheckedOptions {
  if (
    !(share.memory instanceof WebAssembly.Memory) ||
    !(share.module instanceof WebAssembly.Module)
  ) {
    throw new TypeError("attach: expected what rt.share() gives");
  }
  const cpus = integer("attach.cpus", share.cpus, 1, CPUS_MAX);
  return {
    cpus,
    cpu: integer("cpu", options.cpu ?? 0, 0, cpus - 1),
    memory: share.memory,
    root: integer("attach.root", share.root, 1, share.memory.buffer.byteLength - ROOT_BYTES),
    source: SOURCE.grow,
    base: 0,
    limit: 0,
    maxBytes: MEMORY_BYTES_MAX,
    seed: 0n,
    ktime: 0n,
    malloc: () => 0,
    free: () => {},
  };
}

/** Bytes at a kernel's root that are its own at the least. */
export const ROOT_BYTES = 256;

type Place = Pick<CheckedOptions, "memory" | "source" | "base" | "limit" | "malloc" | "free">;

/** Where the core lives. */
function place(
  options: RuntimeOptions,
  shared: boolean,
  minBytes: number,
  maxBytes: number,
): Place {
  const none = { malloc: () => 0, free: () => {} };
  const { memory, arena, malloc, free } = options;
  if (memory === undefined) {
    if (arena !== undefined || malloc !== undefined || free !== undefined) {
      throw new TypeError("arena and malloc need the memory they are in: option memory");
    }
    const maximum = Math.floor(maxBytes / PAGE_BYTES);
    const initial = Math.min(Math.ceil(minBytes / PAGE_BYTES), maximum);
    const own = new WebAssembly.Memory({ initial, maximum, shared });
    return { memory: own, source: SOURCE.grow, base: 64, limit: own.buffer.byteLength, ...none };
  }
  if (!(memory instanceof WebAssembly.Memory))
    throw new TypeError("memory: expected a WebAssembly.Memory");
  if (options.minBytes !== undefined)
    throw new TypeError("minBytes is for a memory that the runtime makes itself");
  const isShared = !(memory.buffer instanceof ArrayBuffer);
  if (isShared !== shared) {
    throw new TypeError(
      `memory is ${isShared ? "" : "not "}shared: set the option shared accordingly`,
    );
  }
  if (arena !== undefined && malloc !== undefined)
    throw new TypeError("arena and malloc exclude each other");
  if (arena !== undefined)
    return { memory, source: SOURCE.arena, ...checkArena(arena, memory), ...none };
  if (malloc === undefined && free === undefined)
    return { memory, source: SOURCE.grow, ...takeOver(memory), ...none };
  if (typeof malloc !== "function") throw new TypeError("malloc: expected a function");
  if (typeof free !== "function")
    throw new TypeError("free: expected a function (malloc's counterpart)");
  return { memory, source: SOURCE.malloc, base: 0, limit: 0, malloc, free };
}

/**
 * A memory given without arena or malloc: only pages that the core adds itself are its own. A memory that cannot grow is
 * taken over whole if nobody has written to it yet.
 */
function takeOver(memory: WebAssembly.Memory): { base: number; limit: number } {
  try {
    memory.grow(1);
    const limit = memory.buffer.byteLength;
    return { base: limit - PAGE_BYTES, limit };
  } catch {
    const words = new BigUint64Array(memory.buffer);
    if (words.every((word) => word === 0n)) return { base: 64, limit: memory.buffer.byteLength };
    throw new RangeError("memory cannot grow and is in use: give an arena or malloc");
  }
}

/** The core uses no addresses from here on: they stand for errors. */
const ADDRESS_MAX = 0xfffff000;

function checkArena(arena: Arena, memory: WebAssembly.Memory): { base: number; limit: number } {
  if (typeof arena !== "object" || arena === null)
    throw new TypeError("arena: expected { base, limit }");
  const size = memory.buffer.byteLength;
  const base = integer("arena.base", arena.base, 0, size);
  const limit = integer("arena.limit", arena.limit, 0, size);
  if (limit <= base) throw new RangeError("arena.limit must be above arena.base");
  // Address 0 is NULL.
  return { base: Math.max(base, 8), limit: Math.min(limit, ADDRESS_MAX) };
}

/** Not from `crypto`: to load that takes Node as long as to compile the core, and the hashes are none against attackers. */
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

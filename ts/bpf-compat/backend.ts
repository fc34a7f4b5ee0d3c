// bpf(2) of one runtime as the classes of this entry call it: the attr lies in the core's memory, where it is laid out
// word by word, so that a call allocates nothing on either side.

import type { BpfRuntime } from "../runtime.js";
import {
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_FREEZE,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_INFO_SIZE,
  BPF_OBJ_GET_INFO_BY_FD,
  EBADF,
  ENOMEM,
} from "../uapi.js";
import type { LiveViews } from "../views.js";
import { BPFError } from "./errors.js";

const ATTR_SIZE = 64;
const ELEM_ATTR_SIZE = 32;
const BATCH_ATTR_SIZE = 56;
const INFO_ATTR_SIZE = 16;
/** Words of the batch attr. */
const BATCH_COUNT = 8;

/** Bytes of the attr a command knows, where they are fewer than ELEM_ATTR_SIZE: what follows must not be there. */
const SHORT_ATTR_SIZE: { readonly [cmd: number]: number } = {
  [BPF_MAP_DELETE_ELEM]: 16,
  [BPF_MAP_GET_NEXT_KEY]: 24,
  [BPF_MAP_FREEZE]: 4,
};

/** Something in a runtime that goes back when its owner is closed or collected. */
export interface Releasable {
  release(): void;
}

/** Operands of a batch command: addresses, but for count and flags. */
export interface BatchOperands {
  readonly fd: number;
  readonly cursorIn: number;
  readonly cursorOut: number;
  readonly keys: number;
  readonly values: number;
  readonly count: number;
  readonly flags: number;
}

/** One runtime. */
export class Backend {
  readonly runtime: BpfRuntime;
  readonly views: LiveViews;
  readonly #net = new FinalizationRegistry<Releasable>((held) => held.release());
  #attrPtr = 0;

  constructor(runtime: BpfRuntime) {
    this.runtime = runtime;
    this.views = runtime.views;
  }

  /** Releases `held` when `owner` has been collected; `held` must not lead to `owner`. */
  catch(owner: object, held: Releasable): void {
    this.#net.register(owner, held, owner);
  }

  /** `owner` was closed in the open. */
  forget(owner: object): void {
    this.#net.unregister(owner);
  }

  /** @throws {BPFError} ENOMEM */
  alloc(bytes: number, operation: string): number {
    if (this.runtime.disposed) throw new BPFError(EBADF, operation);
    const ptr = this.runtime.alloc(bytes);
    if (ptr === 0) throw new BPFError(ENOMEM, operation);
    return ptr;
  }

  free(ptr: number): void {
    if (ptr !== 0 && !this.runtime.disposed) this.runtime.free(ptr);
  }

  /** Copies bytes into the memory. @throws {BPFError} EBADF: the runtime has ended */
  put(ptr: number, bytes: Uint8Array): void {
    if (this.runtime.disposed) throw new BPFError(EBADF, "bpf");
    this.views.reach(ptr, bytes.length);
    this.views.u8.set(bytes, ptr);
  }

  /** Copies bytes out of the memory. */
  take(ptr: number, out: Uint8Array): void {
    this.views.reach(ptr, out.length);
    out.set(this.views.u8.subarray(ptr, ptr + out.length));
  }

  /** A command on one element, or freeze. @returns >= 0 or -errno */
  elem(cmd: number, fd: number, key: number, value: number, flags: number): number {
    const ptr = this.#attr();
    const { u32 } = this.views;
    let at = ptr >>> 2;
    u32[at++] = fd;
    u32[at++] = 0;
    u32[at++] = key;
    u32[at++] = 0;
    u32[at++] = value;
    u32[at++] = 0;
    u32[at++] = flags;
    u32[at] = 0;
    return this.runtime.bpf(cmd, ptr, SHORT_ATTR_SIZE[cmd] ?? ELEM_ATTR_SIZE);
  }

  /** A *_BATCH command; `batchCount` has the count afterwards. @returns 0 or -errno */
  batch(cmd: number, operands: BatchOperands): number {
    const ptr = this.#attr();
    const { u32 } = this.views;
    const at = ptr >>> 2;
    u32.fill(0, at, at + BATCH_ATTR_SIZE / 4);
    u32[at] = operands.cursorIn;
    u32[at + 2] = operands.cursorOut;
    u32[at + 4] = operands.keys;
    u32[at + 6] = operands.values;
    u32[at + BATCH_COUNT] = operands.count;
    u32[at + 9] = operands.fd;
    u32[at + 10] = operands.flags;
    return this.runtime.bpf(cmd, ptr, BATCH_ATTR_SIZE);
  }

  /** attr.batch.count as the last batch left it. */
  get batchCount(): number {
    return this.views.u32[(this.#attr() >>> 2) + BATCH_COUNT] as number;
  }

  /** BPF_OBJ_GET_INFO_BY_FD of a map. @returns struct bpf_map_info, or -errno */
  mapInfo(fd: number): DataView | number {
    const ptr = this.#attr();
    const info = ptr + ATTR_SIZE;
    const { u8, u32 } = this.views;
    u8.fill(0, info, info + BPF_MAP_INFO_SIZE);
    const at = ptr >>> 2;
    u32[at] = fd;
    u32[at + 1] = BPF_MAP_INFO_SIZE;
    u32[at + 2] = info;
    u32[at + 3] = 0;
    const status = this.runtime.bpf(BPF_OBJ_GET_INFO_BY_FD, ptr, INFO_ATTR_SIZE);
    if (status < 0) return status;
    const copy = new Uint8Array(BPF_MAP_INFO_SIZE);
    this.take(info, copy);
    return new DataView(copy.buffer);
  }

  /** Address of the attr, followed by room for an info; views reach it. */
  #attr(): number {
    if (this.runtime.disposed) throw new BPFError(EBADF, "bpf");
    if (this.#attrPtr === 0) {
      this.#attrPtr = this.alloc(ATTR_SIZE + BPF_MAP_INFO_SIZE, "bpf");
    }
    this.views.reach(this.#attrPtr, ATTR_SIZE + BPF_MAP_INFO_SIZE);
    return this.#attrPtr;
  }
}

/** The runtime that maps are made on and foreign fds belong to. */
class Host {
  readonly #backends = new WeakMap<BpfRuntime, Backend>();
  #backend: Backend | undefined;

  /** Makes `runtime` the one. */
  use(runtime: BpfRuntime): void {
    let backend = this.#backends.get(runtime);
    if (backend === undefined) {
      backend = new Backend(runtime);
      this.#backends.set(runtime, backend);
    }
    this.#backend = backend;
  }

  get backend(): Backend {
    if (this.#backend === undefined) throw new Error("no runtime: call useRuntime first");
    return this.#backend;
  }
}

/** npm `bpf` has one kernel for the whole process; this is its place here. Entries fill it before anybody can ask. */
export const host = new Host();

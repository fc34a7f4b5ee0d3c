import { BpfError } from "./errors.js";
import { integer, isFd } from "./numbers.js";
import type { BpfRuntime } from "./runtime.js";
import { EBADF } from "./uapi.js";

/** Options of `rt.mmap`. */
export interface MmapOptions {
  /** First byte of the map to show; a multiple of 4096. Default 0. */
  readonly offset?: number | undefined;
  /** Bytes to show; default: all from `offset` on. */
  readonly length?: number | undefined;
  /** The window is only read. Default false. */
  readonly readonly?: boolean | undefined;
}

/** Addresses above this are -errno. */
const ADDRESS_MAX = 0xfffff000;

/**
 * A window over the values of a map, shared with it: what is written here is what lookups read, and vice versa. Element i
 * of an array is at `i * roundUp(valueSize, 8)`.
 *
 * The window keeps the map alive until it is closed, and a writable one keeps it from being frozen.
 */
export class MmapWindow {
  /** Address of the first byte in the runtime's memory; it stays. */
  readonly ptr: number;
  /** Length in bytes. */
  readonly length: number;
  /** Made with `readonly`: the promise not to write. JavaScript cannot enforce it. */
  readonly readonly: boolean;
  readonly #runtime: BpfRuntime;
  readonly #handle: number;
  #bytes: Uint8Array;
  #closed = false;

  /**
   * @internal
   * @throws {BpfError} what the kernel's mmap refuses
   */
  constructor(runtime: BpfRuntime, fd: number, options: MmapOptions = {}) {
    const { exports, memory } = runtime;
    const { offset = 0, readonly = false, length: asked } = options;
    // Getters of the options are the caller's code.
    runtime.mustLive("mmap");
    integer("offset", offset, 0, Number.MAX_SAFE_INTEGER);
    if (typeof readonly !== "boolean") throw new TypeError("readonly: expected a boolean");
    if (!isFd(fd)) throw new BpfError("mmap", -EBADF);
    const rest = Math.max(1, exports.map_mmap_bytes(fd) - offset);
    this.length = integer("length", asked === undefined ? rest : asked, 0, Number.MAX_SAFE_INTEGER);
    this.readonly = readonly;
    // Before, or it would be lost when another thread closes the fd behind.
    this.#handle = exports.bpf_map_by_fd(fd);
    this.ptr = exports.map_mmap(fd, offset, this.length, this.readonly ? 0 : 1) >>> 0;
    if (this.ptr > ADDRESS_MAX) throw new BpfError("mmap", this.ptr | 0);
    this.#runtime = runtime;
    this.#bytes = new Uint8Array(memory.buffer, this.ptr, this.length);
  }

  /**
   * The window as bytes. An array taken earlier goes stale when the memory grows; this getter then gives a fresh one.
   * @throws {BpfError} EBADF: the window is closed, or the runtime has ended
   */
  get bytes(): Uint8Array {
    const { memory, disposed } = this.#runtime;
    if (this.#closed || disposed) throw new BpfError("mmap", -EBADF, "the window is closed");
    if (this.#bytes.buffer !== memory.buffer) {
      this.#bytes = new Uint8Array(memory.buffer, this.ptr, this.length);
    }
    return this.#bytes;
  }

  /** Gives the window up. Closing twice is fine. */
  close(): void {
    if (this.#closed || this.#runtime.disposed) return;
    this.#closed = true;
    this.#runtime.exports.map_munmap(this.#handle, this.readonly ? 0 : 1);
  }

  /** The same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

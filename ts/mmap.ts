import type { CoreExports } from "./core.js";
import { BpfError } from "./errors.js";

/** Options of `rt.mmap`. */
export interface MmapOptions {
  /** First byte of the map to show; a multiple of 4096. Default 0. */
  readonly offset?: number;
  /** Bytes to show; default: all from `offset` on. */
  readonly length?: number;
  /** The window is only read. Default false. */
  readonly readonly?: boolean;
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
  readonly #exports: CoreExports;
  readonly #memory: WebAssembly.Memory;
  readonly #handle: number;
  #bytes: Uint8Array;
  #closed = false;

  /**
   * @internal
   * @throws {BpfError} what the kernel's mmap refuses
   */
  constructor(
    exports: CoreExports,
    memory: WebAssembly.Memory,
    fd: number,
    options: MmapOptions = {},
  ) {
    const offset = size("offset", options.offset ?? 0);
    const rest = Math.max(1, exports.map_mmap_bytes(fd) - offset);
    this.length = size("length", options.length ?? rest);
    this.readonly = options.readonly ?? false;
    // Before, or it would be lost when another thread closes the fd behind.
    this.#handle = exports.bpf_map_by_fd(fd);
    this.ptr = exports.map_mmap(fd, offset, this.length, this.readonly ? 0 : 1) >>> 0;
    if (this.ptr > ADDRESS_MAX) throw new BpfError("mmap", this.ptr | 0);
    this.#exports = exports;
    this.#memory = memory;
    this.#bytes = new Uint8Array(memory.buffer, this.ptr, this.length);
  }

  /**
   * The window as bytes. An array taken earlier goes stale when the memory grows; this getter then gives a fresh one.
   * @throws {Error} the window is closed
   */
  get bytes(): Uint8Array {
    if (this.#closed) throw new Error("the window is closed");
    if (this.#bytes.buffer !== this.#memory.buffer) {
      this.#bytes = new Uint8Array(this.#memory.buffer, this.ptr, this.length);
    }
    return this.#bytes;
  }

  /** Gives the window up. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#exports.map_munmap(this.#handle, this.readonly ? 0 : 1);
  }

  /** The same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function size(name: string, value: unknown): number {
  if (typeof value !== "number") {
    throw new TypeError(`${name}: expected a number, got ${typeof value}`);
  }
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${name}: expected a number of bytes, got ${value}`);
  }
  return value;
}

import type { CoreExports } from "./core.js";
import { BpfError, check } from "./errors.js";
import { ENOMEM } from "./uapi.js";

/** A name in a directory of the BPF file system. */
export interface BpffsEntry {
  readonly name: string;
  readonly isDirectory: boolean;
}

const DIRECTORY = 1;

/**
 * The BPF file system of a runtime, mounted at `/sys/fs/bpf`: directories for pinned maps. Maps are pinned with
 * BPF_OBJ_PIN (a pin keeps the map alive) and opened with BPF_OBJ_GET.
 *
 * Paths are as in Linux; relative ones start at `/`. Names have at most 255 bytes and no dots. Errors are the kernel's,
 * as {@link BpfError}.
 */
export class Bpffs {
  readonly #exports: CoreExports;
  readonly #memory: WebAssembly.Memory;

  /** @internal */
  constructor(exports: CoreExports, memory: WebAssembly.Memory) {
    this.#exports = exports;
    this.#memory = memory;
  }

  /** Makes a directory; its parent exists. */
  mkdir(path: string): void {
    this.#call("mkdir", path, (ptr) => this.#exports.bpffs_mkdir(ptr));
  }

  /** Removes a pin. The map lives on while an fd or another pin refers to it. */
  unlink(path: string): void {
    this.#call("unlink", path, (ptr) => this.#exports.bpffs_unlink(ptr));
  }

  /** Removes an empty directory. */
  rmdir(path: string): void {
    this.#call("rmdir", path, (ptr) => this.#exports.bpffs_rmdir(ptr));
  }

  /** An fd of a directory, for the path_fd of BPF_OBJ_PIN and BPF_OBJ_GET; close it with `rt.close`. */
  open(path: string): number {
    return this.#call("open", path, (ptr) => this.#exports.bpffs_open(ptr));
  }

  /** The names in a directory, newest first. */
  readdir(path: string): BpffsEntry[] {
    const entries: BpffsEntry[] = [];
    this.#call("readdir", path, (ptr) => {
      const bytes = this.#exports.bpffs_readdir(ptr, 0, 0);
      if (bytes <= 0) return bytes;
      const list = this.#exports.mem_alloc(bytes) >>> 0;
      if (list === 0) return -ENOMEM;
      this.#exports.bpffs_readdir(ptr, list, bytes);
      entries.push(...readList(new Uint8Array(this.#memory.buffer).slice(list, list + bytes)));
      this.#exports.mem_free(list);
      return 0;
    });
    return entries;
  }

  /** Runs `call` with the path in linear memory. */
  #call(name: string, path: string, call: (ptr: number) => number): number {
    if (typeof path !== "string")
      throw new TypeError(`path: expected a string, got ${typeof path}`);
    if (path.includes("\0")) throw new TypeError("path: a NUL would end it");
    const bytes = new TextEncoder().encode(`${path}\0`);
    const ptr = this.#exports.mem_alloc(bytes.length) >>> 0;
    if (ptr === 0) throw new BpfError(name, -ENOMEM);
    new Uint8Array(this.#memory.buffer).set(bytes, ptr);
    const ret = call(ptr);
    this.#exports.mem_free(ptr);
    return check(ret, name, ret < 0 ? `cannot ${name} ${JSON.stringify(path)}` : undefined);
  }
}

/** Entries of the core: a kind, a name, NUL. */
function readList(bytes: Uint8Array): BpffsEntry[] {
  const text = new TextDecoder();
  const entries: BpffsEntry[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0, at + 1);
    entries.push({
      name: text.decode(bytes.subarray(at + 1, end)),
      isDirectory: bytes[at] === DIRECTORY,
    });
    at = end + 1;
  }
  return entries;
}

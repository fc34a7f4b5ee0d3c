import type { CoreExports } from "./core.js";
import { BpfError, check } from "./errors.js";
import type { BpfRuntime } from "./runtime.js";
import { pathBytes } from "./syscall.js";
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
  readonly #runtime: BpfRuntime;

  /** @internal */
  constructor(runtime: BpfRuntime) {
    this.#runtime = runtime;
  }

  /** Makes a directory; its parent exists. */
  mkdir(path: string): void {
    this.#call("mkdir", path, (core, ptr) => core.bpffs_mkdir(ptr));
  }

  /** Removes a pin. The map lives on while an fd or another pin refers to it. */
  unlink(path: string): void {
    this.#call("unlink", path, (core, ptr) => core.bpffs_unlink(ptr));
  }

  /** Removes an empty directory. */
  rmdir(path: string): void {
    this.#call("rmdir", path, (core, ptr) => core.bpffs_rmdir(ptr));
  }

  /** An fd of a directory, for the path_fd of BPF_OBJ_PIN and BPF_OBJ_GET; close it with `rt.close`. */
  open(path: string): number {
    return this.#call("open", path, (core, ptr) => core.bpffs_open(ptr));
  }

  /** The names in a directory, newest first. */
  readdir(path: string): BpffsEntry[] {
    let entries: BpffsEntry[] = [];
    this.#call("readdir", path, (core, ptr) => {
      const bytes = core.bpffs_readdir(ptr, 0, 0);
      if (bytes <= 0) return bytes;
      const list = core.mem_alloc(bytes) >>> 0;
      if (list === 0) return -ENOMEM;
      core.bpffs_readdir(ptr, list, bytes);
      const { buffer } = this.#runtime.memory;
      entries = readList(new Uint8Array(buffer).slice(list, list + bytes));
      core.mem_free(list);
      return 0;
    });
    return entries;
  }

  /** Runs `call` with the path in linear memory. */
  #call(name: string, path: string, call: (core: CoreExports, ptr: number) => number): number {
    this.#runtime.mustLive(name);
    const { exports, memory } = this.#runtime;
    const bytes = pathBytes(path);
    const ptr = exports.mem_alloc(bytes.length) >>> 0;
    if (ptr === 0) throw new BpfError(name, -ENOMEM);
    new Uint8Array(memory.buffer).set(bytes, ptr);
    const ret = call(exports, ptr);
    exports.mem_free(ptr);
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

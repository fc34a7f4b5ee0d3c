// What a typed map holds in its runtime: an fd, memory for keys and values on their way, and the door that must not be
// used any more when these are gone. Apart from the map, so that it can be given back when the map was forgotten.

import type { BpfRuntime } from "./runtime.js";
import { allocate } from "./syscall.js";

/** Opened for reading, for writing (assembly/fd.ts). */
export const FMODE_READ = 1;
export const FMODE_WRITE = 2;

/**
 * Watches over maps and cursors that may be dropped without close(). Of what the host's `free` throws then nobody could be
 * told, and it would end the process.
 */
const forgotten = new FinalizationRegistry<() => void>((giveBack) => {
  try {
    giveBack();
  } catch {
    // As good as given back.
  }
});

/** Has `giveBack` called when the collector finds `owner`. */
export function watch(owner: object, giveBack: () => void): void {
  forgotten.register(owner, giveBack, owner);
}

/** `owner` gave back itself what it held. */
export function unwatch(owner: object): void {
  forgotten.unregister(owner);
}

/** The possessions of one typed map. */
export class Holdings {
  readonly runtime: BpfRuntime;
  readonly fd: number;
  /** The map's handle, as a signed number. */
  readonly handle: number;
  /** FMODE_READ, FMODE_WRITE: what the fd was opened for. */
  readonly mode: number;
  readonly #blocks = new Set<number>();
  #shut: (() => void) | undefined;
  #isOpen = true;

  constructor(runtime: BpfRuntime, fd: number) {
    this.runtime = runtime;
    this.fd = fd;
    this.handle = runtime.exports.bpf_map_by_fd(fd);
    this.mode = runtime.exports.fd_mode(fd);
    runtime.holdings.add(this);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Is the fd (still) one of this map? Somebody may have closed it behind the typed map's back. */
  get ownsFd(): boolean {
    return this.#isOpen && this.runtime.exports.bpf_map_by_fd(this.fd) === this.handle;
  }

  /** What to do at the end; it must not refer to the map, or that is never forgotten. */
  onEnd(shut: () => void): void {
    this.#shut = shut;
  }

  /**
   * Memory that lives no longer than the map is open.
   * @throws {BpfError} ENOMEM
   */
  take(bytes: number): number {
    const ptr = allocate(this.runtime, bytes);
    this.#blocks.add(ptr);
    return ptr;
  }

  /** Gives a block of `take` back; anything else is passed over. */
  give(ptr: number): void {
    if (this.#blocks.delete(ptr)) this.runtime.free(ptr);
  }

  /** Gives everything back; the fd only when `closeFd`. */
  release(closeFd = true): void {
    if (!this.#isOpen) return;
    const { runtime } = this;
    const ownsFd = !runtime.disposed && this.ownsFd;
    this.#isOpen = false;
    runtime.holdings.delete(this);
    this.#shut?.();
    if (runtime.disposed) return;
    if (closeFd && ownsFd) runtime.exports.fd_close(this.fd);
    for (const ptr of this.#blocks) runtime.free(ptr);
    this.#blocks.clear();
  }
}

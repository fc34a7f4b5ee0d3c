// What a typed map holds in its runtime: memory for keys and values on their way, and a door that must not be used any more
// once the fd is closed. It is apart from the map because refs and cursors need it, too.
//
// The fd is not among it: it is an entry of the fd table, and programs and other typed maps may use it. It stays open until it
// is closed, or the runtime ends. When a typed map is garbage, only its memory is given back.

import type { Codec } from "./codec.js";
import type { BpfRuntime } from "./runtime.js";
import { Staging } from "./staging.js";
import { allocate } from "./syscall.js";

/** Opened for reading, for writing (assembly/fd.ts). */
export const FMODE_READ = 1;
export const FMODE_WRITE = 2;

/** Watches over what may be dropped without close(). */
const forgotten = new FinalizationRegistry<() => void>((giveBack) => giveBack());

/** Has `giveBack` called when the collector finds `owner`. */
export function watch(owner: object, giveBack: () => void): void {
  forgotten.register(owner, giveBack, owner);
}

/** `owner` gave back itself what it held. */
export function unwatch(owner: object): void {
  forgotten.unregister(owner);
}

/** Blocks of a runtime's memory. */
class Blocks {
  readonly #runtime: BpfRuntime;
  readonly #blocks = new Set<number>();

  constructor(runtime: BpfRuntime) {
    this.#runtime = runtime;
  }

  take(bytes: number): number {
    const ptr = allocate(this.#runtime, bytes);
    this.#blocks.add(ptr);
    return ptr;
  }

  give(ptr: number): void {
    if (this.#blocks.delete(ptr)) this.#runtime.free(ptr);
  }

  giveAll(): void {
    for (const ptr of this.#blocks) this.#runtime.free(ptr);
    this.#blocks.clear();
  }
}

/**
 * The way from the table of open holdings to one of them, which only that one keeps alive. What a WeakRef was made of lives
 * until the job ends, and what it leads to as well: so the end of the holdings cuts the way, and the next ones use it again.
 * Otherwise a loop that opens and closes maps would keep all of them.
 */
class Link {
  readonly weak = new WeakRef<Link>(this);
  holdings: Holdings | undefined;
}

/** So many links wait for their next use. */
const SPARE_MAX = 1024;

/** The holdings of the typed maps that are open, by fd. It keeps nobody from being collected. */
export class OpenHoldings {
  readonly #byFd = new Map<number, Set<WeakRef<Link>>>();
  readonly #spare: Link[] = [];

  add(fd: number, holdings: Holdings): Link {
    const link = this.#spare.pop() ?? new Link();
    link.holdings = holdings;
    const sameFd = this.#byFd.get(fd);
    if (sameFd === undefined) this.#byFd.set(fd, new Set([link.weak]));
    else sameFd.add(link.weak);
    return link;
  }

  /** The holdings have ended. */
  delete(fd: number, link: Link): void {
    link.holdings = undefined;
    this.forget(fd, link.weak);
    if (this.#spare.length < SPARE_MAX) this.#spare.push(link);
  }

  /** The holdings were collected. */
  forget(fd: number, link: WeakRef<Link>): void {
    const sameFd = this.#byFd.get(fd);
    if (sameFd?.delete(link) && sameFd.size === 0) this.#byFd.delete(fd);
  }

  /** An fd was closed: what typed maps hold for it goes. */
  releaseFd(fd: number): void {
    for (const link of this.#byFd.get(fd) ?? []) link.deref()?.holdings?.release();
  }

  releaseAll(): void {
    for (const fd of this.#byFd.keys()) this.releaseFd(fd);
  }
}

/** The possessions of one typed map. */
export class Holdings {
  readonly runtime: BpfRuntime;
  readonly fd: number;
  /** The map's handle, as a signed number. */
  readonly handle: number;
  /** FMODE_READ, FMODE_WRITE: what the fd was opened for. */
  readonly mode: number;
  readonly #blocks: Blocks;
  readonly #link: Link;
  readonly #stagings = new Map<object, Staging<unknown>>();
  #shut: (() => void) | undefined;
  #isOpen = true;

  constructor(runtime: BpfRuntime, fd: number) {
    this.runtime = runtime;
    this.fd = fd;
    this.handle = runtime.exports.bpf_map_by_fd(fd);
    this.mode = runtime.exports.fd_mode(fd);
    const blocks = new Blocks(runtime);
    this.#blocks = blocks;
    this.#link = runtime.holdings.add(fd, this);
    const { weak } = this.#link;
    watch(this, () => {
      runtime.holdings.forget(fd, weak);
      blocks.giveAll();
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Is the fd (still) one of this map? Somebody may have closed it behind the typed map's back. */
  get ownsFd(): boolean {
    return this.#isOpen && this.runtime.exports.bpf_map_by_fd(this.fd) === this.handle;
  }

  /** What to do at the end. */
  onEnd(shut: () => void): void {
    this.#shut = shut;
  }

  /**
   * Memory that lives no longer than the map is open.
   * @throws {BpfError} ENOMEM
   */
  take(bytes: number): number {
    return this.#blocks.take(bytes);
  }

  /** Where values are laid out that go to the map's memory by a ref. */
  stagingOf<I>(codec: Codec<unknown, I>): Staging<I> {
    let staging = this.#stagings.get(codec) as Staging<I> | undefined;
    if (staging === undefined) {
      staging = new Staging(codec);
      this.#stagings.set(codec, staging as Staging<unknown>);
    }
    return staging;
  }

  /** Gives a block of `take` back; anything else is passed over. */
  give(ptr: number): void {
    this.#blocks.give(ptr);
  }

  /** Closes the fd, for all typed maps that go by it. */
  close(): void {
    if (this.ownsFd) this.runtime.close(this.fd);
    this.release();
  }

  /** Gives everything back but the fd. */
  release(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    unwatch(this);
    this.runtime.holdings.delete(this.fd, this.#link);
    this.#shut?.();
    this.#blocks.giveAll();
  }
}

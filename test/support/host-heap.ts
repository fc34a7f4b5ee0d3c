// A host's malloc for the options `malloc` and `free` of createRuntime, which can be told to fail.

import type { RuntimeOptions } from "./builds.js";

/** Blocks from the start of a memory, reused by size. */
export class HostHeap {
  readonly memory: WebAssembly.Memory;
  readonly #free = new Map<number, number[]>();
  readonly #sizes = new Map<number, number>();
  #end = 64;
  #left = Infinity;
  /** The last address that was given back and is none of its blocks; what free throws, nobody would see. */
  #wrong: number | undefined;

  constructor(pages: number, shared: boolean) {
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
  }

  /** Blocks handed out and not given back. */
  get liveBlocks(): number {
    if (this.#wrong !== undefined) throw new Error(`free(${this.#wrong}): no such block`);
    return this.#sizes.size;
  }

  /** From now on, `count` allocations succeed and all others fail. */
  failAfter(count: number): void {
    this.#left = count;
  }

  options(): RuntimeOptions {
    return {
      memory: this.memory,
      malloc: (bytes) => this.#malloc(bytes),
      free: (ptr) => this.#release(ptr),
    };
  }

  #malloc(bytes: number): number {
    if (this.#left <= 0) return 0;
    this.#left--;
    const size = Math.max(16, (bytes + 15) & ~15);
    let ptr = this.#free.get(size)?.pop();
    if (ptr === undefined) {
      if (this.#end + size > this.memory.buffer.byteLength) return 0;
      ptr = this.#end;
      this.#end += size;
    }
    this.#sizes.set(ptr, size);
    return ptr;
  }

  #release(ptr: number): void {
    const size = this.#sizes.get(ptr);
    if (size === undefined) {
      this.#wrong = ptr;
      return;
    }
    this.#sizes.delete(ptr);
    const list = this.#free.get(size) ?? [];
    list.push(ptr);
    this.#free.set(size, list);
  }
}

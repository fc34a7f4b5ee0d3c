// A toy malloc in a foreign memory, as a host has one: first fit over a list of regions, with a canary around each block.
// It grows the memory when it has no room.

const HEADER = 16;
const CANARY = 0xc0ffee11;
const PAGE = 65536;

interface Region {
  readonly base: number;
  readonly limit: number;
}

//   block:  | payload bytes u32 | used u32 | - | canary | payload ... | canary, - |
//           16 bytes in front, 16 behind; blocks of a region follow each other
export class FirstFit {
  readonly #memory: WebAssembly.Memory;
  readonly #regions: Region[] = [];
  #words: Uint32Array;
  /** Blocks handed out at the moment. */
  usedCount = 0;
  /** Times that it grew the memory. */
  growCount = 0;

  constructor(memory: WebAssembly.Memory, base: number, limit: number) {
    this.#memory = memory;
    this.#words = new Uint32Array(memory.buffer);
    this.#addRegion(base, limit);
  }

  readonly malloc = (bytes: number): number => {
    const size = (Math.max(bytes, 16) + 15) & ~15;
    return this.#firstFit(size) || (this.#grow(size) ? this.#firstFit(size) : 0);
  };

  /** What it finds wrong, check() says: what it throws nobody would see. */
  readonly free = (ptr: number): void => {
    try {
      this.#release(ptr);
    } catch (error) {
      this.#problem ??= error;
    }
  };

  #problem: unknown;

  #release(ptr: number): void {
    if (ptr === 0) return;
    const block = ptr - HEADER;
    if (this.#at(block + 4) !== 1) throw new Error(`free(${ptr}): no block`);
    this.#expectCanaries(block);
    this.#set(block + 4, 0);
    this.usedCount--;
  }

  /** Throws when a block's surroundings were written to, or no block was given back. */
  check(): void {
    if (this.#problem !== undefined) throw this.#problem;
    for (const { base, limit } of this.#regions) {
      let block = base;
      for (; block < limit; block += this.#at(block) + 2 * HEADER) {
        if (this.#at(block + 4) === 1) this.#expectCanaries(block);
      }
      if (block !== limit) throw new Error(`the list of blocks at ${base} is broken`);
    }
  }

  #addRegion(base: number, limit: number): void {
    this.#regions.push({ base, limit });
    this.#set(base, limit - base - 2 * HEADER);
    this.#set(base + 4, 0);
  }

  #grow(size: number): boolean {
    const pages = Math.ceil((size + 2 * HEADER) / PAGE) + 2;
    let base = 0;
    try {
      base = this.#memory.grow(pages) * PAGE;
    } catch {
      return false;
    }
    this.growCount++;
    this.#addRegion(base, base + pages * PAGE);
    return true;
  }

  #firstFit(size: number): number {
    for (const { base, limit } of this.#regions) {
      for (let block = base; block < limit; block += this.#at(block) + 2 * HEADER) {
        if (this.#at(block + 4) === 1) continue;
        this.#joinFree(block, limit);
        if (this.#at(block) >= size) return this.#take(block, size);
      }
    }
    return 0;
  }

  /** Joins a free block with the free ones behind it. */
  #joinFree(block: number, limit: number): void {
    for (;;) {
      const next = block + this.#at(block) + 2 * HEADER;
      if (next >= limit || this.#at(next + 4) === 1) return;
      this.#set(block, this.#at(block) + this.#at(next) + 2 * HEADER);
    }
  }

  #take(block: number, size: number): number {
    const rest = this.#at(block) - size - 2 * HEADER;
    if (rest >= 16) {
      const next = block + size + 2 * HEADER;
      this.#set(next, rest);
      this.#set(next + 4, 0);
      this.#set(block, size);
    }
    this.#set(block + 4, 1);
    this.#set(block + 12, CANARY);
    this.#set(block + HEADER + this.#at(block), CANARY);
    this.usedCount++;
    return block + HEADER;
  }

  #expectCanaries(block: number): void {
    if (this.#at(block + 12) !== CANARY || this.#at(block + HEADER + this.#at(block)) !== CANARY) {
      throw new Error(`the surroundings of the block at ${block} were written to`);
    }
  }

  #at(address: number): number {
    return this.#fresh()[address >>> 2] ?? 0;
  }

  #set(address: number, word: number): void {
    this.#fresh()[address >>> 2] = word;
  }

  #fresh(): Uint32Array {
    if (this.#words.buffer !== this.#memory.buffer) {
      this.#words = new Uint32Array(this.#memory.buffer);
    }
    return this.#words;
  }
}

// Three runtimes and a host's allocator in one memory: an arena, a guest of malloc, and one that grows the memory, while
// the host grows it too. A million operations, each compared with a model; around everything lie canaries.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { expectSound } from "../support/debug.js";
import { FirstFit } from "../support/first-fit.js";
import { Random } from "../support/random.js";

const OPERATIONS = 1_000_000;
const GROWTHS = 50;
/** Operations between two growths by the host. */
const ROUND = OPERATIONS / GROWTHS;
/** Operations that one map lives for, about. */
const MAP_LIFE = 5000;
const MIB = 1 << 20;
const PAGE = 65536;
const CANARY = 0x5ca1ab1e;
const KEYS = 512;

const MAP_TYPES = [
  { type: uapi.BPF_MAP_TYPE_HASH, flags: 0 },
  { type: uapi.BPF_MAP_TYPE_HASH, flags: uapi.BPF_F_NO_PREALLOC },
  { type: uapi.BPF_MAP_TYPE_LRU_HASH, flags: 0 },
  { type: uapi.BPF_MAP_TYPE_PERCPU_HASH, flags: 0 },
  { type: uapi.BPF_MAP_TYPE_ARRAY, flags: 0 },
  { type: uapi.BPF_MAP_TYPE_PERCPU_ARRAY, flags: 0 },
] as const;

/** Words of a memory that may grow at any time. */
class Words {
  readonly #memory: WebAssembly.Memory;
  #view: Uint32Array;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
    this.#view = new Uint32Array(memory.buffer);
  }

  get all(): Uint32Array {
    if (this.#view.buffer !== this.#memory.buffer)
      this.#view = new Uint32Array(this.#memory.buffer);
    return this.#view;
  }

  range(base: number, limit: number): Uint32Array {
    return this.all.subarray(base >>> 2, limit >>> 2);
  }
}

/** A map of a tenant with a model of it: key to the two words of its value. */
class ModelledMap {
  readonly fd: number;
  readonly handle: number;
  readonly maxEntries: number;
  readonly isArray: boolean;
  readonly isLru: boolean;
  readonly model = new Map<number, number>();

  constructor(rt: Runtime, client: BpfClient, random: Random) {
    const { type, flags } = random.pick(MAP_TYPES);
    this.maxEntries = 1 + random.below(KEYS);
    // Sizes beyond the words in use make for blocks of many sizes.
    const valueSize = 8 + 4 * random.below(20);
    this.fd = client.create({ type, keySize: 4, valueSize, maxEntries: this.maxEntries, flags });
    if (this.fd < 0) throw new Error(`MAP_CREATE: ${this.fd}`);
    this.handle = rt.mapHandle(this.fd);
    this.isArray = type === uapi.BPF_MAP_TYPE_ARRAY || type === uapi.BPF_MAP_TYPE_PERCPU_ARRAY;
    this.isLru = type === uapi.BPF_MAP_TYPE_LRU_HASH;
    if (this.isArray) for (let key = 0; key < this.maxEntries; key++) this.model.set(key, 0);
  }

  /** What an update answers when the model says so. */
  updateResult(key: number): number {
    if (this.isArray) return key < this.maxEntries ? 0 : -uapi.E2BIG;
    const isFull = this.model.size >= this.maxEntries && !this.isLru;
    return isFull && !this.model.has(key) ? -uapi.E2BIG : 0;
  }
}

/** One runtime that works with its maps through helpers, at random. */
class Tenant {
  readonly #rt: Runtime;
  readonly #client: BpfClient;
  readonly #random: Random;
  readonly #words: Words;
  readonly #key: number;
  readonly #value: number;
  #map: ModelledMap;
  #life = 0;
  mapCount = 0;

  constructor(rt: Runtime, words: Words, seed: number) {
    this.#rt = rt;
    this.#words = words;
    this.#client = new BpfClient(rt);
    this.#random = new Random(seed);
    this.#key = rt.alloc(16);
    this.#value = rt.alloc(128);
    this.#map = this.#newMap();
  }

  #newMap(): ModelledMap {
    this.#life = 1 + this.#random.below(2 * MAP_LIFE);
    this.mapCount++;
    return new ModelledMap(this.#rt, this.#client, this.#random);
  }

  /** Its map at the moment. */
  get fd(): number {
    return this.#map.fd;
  }

  /** One operation; throws when it answers otherwise than the model. */
  step(): void {
    if (this.#life-- === 0) {
      this.#rt.close(this.#map.fd);
      this.#map = this.#newMap();
    }
    const key = this.#random.below(KEYS);
    const what = this.#random.below(4);
    if (what < 2) this.#lookup(key);
    else if (what === 2) this.#update(key);
    else this.#delete(key);
  }

  #lookup(key: number): void {
    this.#words.all[this.#key >>> 2] = key;
    const { model, handle, isLru } = this.#map;
    const ptr = this.#rt.exports.bpf_map_lookup_elem(handle, this.#key) >>> 0;
    const expected = model.get(key);
    if (ptr === 0) {
      if (expected !== undefined && !isLru) throw new Error(`key ${key} is lost`);
      model.delete(key);
      return;
    }
    const value = this.#words.all[ptr >>> 2];
    const again = this.#words.all[(ptr >>> 2) + 1];
    if (expected === undefined || value !== expected || again !== expected) {
      throw new Error(`key ${key}: ${value}, ${again} instead of ${expected}`);
    }
    const next = this.#random.u32();
    this.#words.range(ptr, ptr + 8).fill(next);
    model.set(key, next);
  }

  #update(key: number): void {
    const value = this.#random.u32();
    this.#words.all[this.#key >>> 2] = key;
    this.#words.range(this.#value, this.#value + 128).fill(value);
    const { handle } = this.#map;
    const ret = this.#rt.exports.bpf_map_update_elem(handle, this.#key, this.#value, 0n);
    const expected = this.#map.updateResult(key);
    if (ret !== expected) throw new Error(`update of ${key}: ${ret} instead of ${expected}`);
    if (ret === 0) this.#map.model.set(key, value);
  }

  #delete(key: number): void {
    this.#words.all[this.#key >>> 2] = key;
    const { model, handle, isArray, isLru } = this.#map;
    const ret = this.#rt.exports.bpf_map_delete_elem(handle, this.#key);
    const has = !isArray && model.delete(key);
    const expected = isArray ? -uapi.EINVAL : has ? 0 : -uapi.ENOENT;
    // An LRU map may have evicted the key.
    if (ret !== expected && !(isLru && has && ret === -uapi.ENOENT)) {
      throw new Error(`delete of ${key}: ${ret} instead of ${expected}`);
    }
  }
}

describeEachBuild("one memory for all", (build) => {
  it(`bears a million operations and ${GROWTHS} growths by the host`, async () => {
    const shared = build.name === "shared";
    const memory = new WebAssembly.Memory({ initial: 8 * 16, maximum: 512 * 16, shared });
    const words = new Words(memory);
    const arena = { base: MIB, limit: 3 * MIB };
    const malloc = { base: 5 * MIB, limit: 5 * MIB + PAGE };
    /** What belongs to nobody in here. */
    const canaries = [
      { base: 0, limit: arena.base },
      { base: arena.limit, limit: malloc.base },
      { base: malloc.limit, limit: memory.buffer.byteLength },
    ];
    for (const { base, limit } of canaries) words.range(base, limit).fill(CANARY);
    const host = new FirstFit(memory, malloc.base, malloc.limit);
    const runtimes = [
      await build.createRuntime({ cpus: 2, memory, arena, seed: 1 }),
      await build.createRuntime({ cpus: 2, memory, malloc: host.malloc, free: host.free, seed: 2 }),
      await build.createRuntime({ cpus: 2, memory, seed: 3 }),
    ];
    const tenants = runtimes.map((rt, index) => new Tenant(rt, words, index + 1));
    const random = new Random(4);
    const ownBlocks: number[] = [];

    for (let operation = 0; operation < OPERATIONS; operation++) {
      random.pick(tenants).step();
      // The host works with its allocator as well.
      if (operation % 100 === 0) {
        const ptr = host.malloc(random.below(2000));
        ownBlocks.push(ptr);
        if (ownBlocks.length > 64) host.free(ownBlocks.splice(random.below(64), 1)[0] ?? 0);
      }
      if (operation % ROUND === 0) {
        const base = memory.grow(1) * PAGE;
        words.range(base, base + PAGE).fill(CANARY);
        canaries.push({ base, limit: base + PAGE });
        host.check();
      }
    }

    expect(canaries).toHaveLength(3 + GROWTHS);
    for (const { base, limit } of canaries) {
      expect(
        words.range(base, limit).every((word) => word === CANARY),
        `${base}..`,
      ).toBe(true);
    }
    expect(host.growCount).toBeGreaterThan(0);
    expect(tenants.every(({ mapCount }) => mapCount > 20)).toBe(true);
    for (const [index, rt] of runtimes.entries()) {
      expectSound(rt, tenants[index]?.fd ?? -1);
      rt.dispose();
    }
    host.check();
    for (const ptr of ownBlocks) host.free(ptr);
    expect(host.usedCount).toBe(0);
  });
});

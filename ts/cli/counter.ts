/**
 * The job of `bpfmaps flows`, twice: as the eBPF program of the kernel's documentation does it with
 * a map, and as JavaScript does it with a Map.
 */

import { bytes, struct, u64 } from "../index.js";
import type { BpfRuntime } from "../index.js";
import { flowTupleSize } from "./packet.js";

/** The map types that `flows` can count in. */
export const counterTypes = ["lru_hash", "hash", "percpu_hash", "lru_percpu_hash"] as const;
/** One of {@link counterTypes}. */
export type CounterType = (typeof counterTypes)[number];

/** A map to count in. `keySize` bytes from the start of a flow tuple are the key: 16 or 40. */
export interface CounterOptions {
  readonly type: CounterType;
  readonly keySize: number;
  readonly maxEntries: number;
}

/** What was counted under one key. */
export interface Counted {
  readonly key: Uint8Array;
  readonly packets: number;
  readonly bytes: number;
}

const BPF_NOEXIST = 1n;

/** Packets waiting to be counted: flow tuples in linear memory, lengths beside them. */
export class PacketBatch {
  readonly capacity: number;
  /** Where the tuples are in the runtime's memory. */
  readonly address: number;
  readonly lengths: Uint32Array;
  count = 0;
  readonly #rt: BpfRuntime;
  #tuples: Uint8Array;

  constructor(rt: BpfRuntime, capacity: number) {
    this.#rt = rt;
    this.capacity = capacity;
    this.address = allocate(rt, capacity * flowTupleSize);
    this.lengths = new Uint32Array(capacity);
    this.#tuples = this.#view();
  }

  /** The tuples' bytes; to be asked for anew whenever the memory may have grown. */
  get tuples(): Uint8Array {
    if (this.#tuples.byteLength === 0) this.#tuples = this.#view();
    return this.#tuples;
  }

  #view(): Uint8Array {
    return new Uint8Array(this.#rt.memory.buffer, this.address, this.capacity * flowTupleSize);
  }
}

/**
 * Counts in a BPF map. This is `update_stats` of the kernel's documentation of BPF_MAP_TYPE_HASH,
 * line by line: look the key up; add to the value in place when there is one; otherwise insert, and
 * only if nobody else has by now.
 */
export class MapCounter {
  /** Keys that got an entry, again and again when they were evicted in between. */
  inserted = 0;
  /** Packets that found the map full, and their bytes. Maps with LRU make room instead. */
  refusedPackets = 0;
  refusedBytes = 0;
  readonly #rt: BpfRuntime;
  readonly #map: ReturnType<typeof createCounterMap>;
  readonly #handle: number;
  readonly #newValue: number;

  constructor(rt: BpfRuntime, options: CounterOptions) {
    this.#rt = rt;
    this.#map = createCounterMap(rt, options);
    this.#handle = rt.exports.bpf_map_by_fd(this.#map.fd);
    this.#newValue = allocate(rt, 16);
    new Uint32Array(rt.memory.buffer, this.#newValue, 4).fill(0);
  }

  /** Counts every packet of the batch on the current CPU. */
  count(batch: PacketBatch): void {
    const { exports, memory } = this.#rt;
    const words = new Uint32Array(memory.buffer);
    const handle = this.#handle;
    const newValue = this.#newValue;
    const { count, lengths } = batch;
    for (let i = 0, key = batch.address; i < count; i++, key += flowTupleSize) {
      const length = lengths[i]!;
      const value = exports.bpf_map_lookup_elem(handle, key) >>> 0;
      if (value !== 0) {
        add(words, value >>> 2, 1);
        add(words, (value >>> 2) + 2, length);
        continue;
      }
      words[newValue >>> 2] = 1;
      words[(newValue >>> 2) + 2] = length;
      if (exports.bpf_map_update_elem(handle, key, newValue, BPF_NOEXIST) === 0) {
        this.inserted++;
      } else {
        this.refusedPackets++;
        this.refusedBytes += length;
      }
    }
  }

  /** All entries of the map, the counts of a per-CPU map summed. */
  entries(): Counted[] {
    const result: Counted[] = [];
    for (const [key, value] of this.#map) {
      const perCpu = Array.isArray(value) ? value : [value];
      let packets = 0n;
      let total = 0n;
      for (const one of perCpu) {
        packets += one.packets;
        total += one.bytes;
      }
      result.push({ key, packets: Number(packets), bytes: Number(total) });
    }
    return result;
  }

  close(): void {
    this.#map.close();
    this.#rt.free(this.#newValue);
  }
}

function createCounterMap(rt: BpfRuntime, options: CounterOptions) {
  return rt.createMap({
    type: options.type,
    key: bytes(options.keySize),
    value: struct({ packets: u64, bytes: u64 }),
    maxEntries: options.maxEntries,
    name: "flows",
  });
}

/** Adds to the u64 whose low half is `words[at]`, without a BigInt. */
function add(words: Uint32Array, at: number, amount: number): void {
  const sum = words[at]! + amount;
  words[at] = sum;
  if (sum > 0xffffffff) words[at + 1] = words[at + 1]! + 1;
}

function allocate(rt: BpfRuntime, size: number): number {
  const address = rt.alloc(size);
  if (address === 0) throw new RangeError(`no room for ${size} bytes`);
  return address;
}

interface JsValue {
  packets: number;
  bytes: number;
  used: boolean;
}

/**
 * Counts the same packets in a JavaScript Map, as well as that can be done: keys of 16 bytes are
 * bigints and others strings, whichever was measured to be quickest; and where the BPF map has LRU,
 * a full Map gives its oldest entry that was not used since it was last passed over (the CLOCK
 * algorithm, which costs nothing while entries are found).
 */
export class JsCounter {
  readonly map = new Map<bigint | string, JsValue>();
  readonly #options: CounterOptions;
  readonly #evicts: boolean;

  constructor(options: CounterOptions) {
    this.#options = options;
    this.#evicts = options.type.startsWith("lru");
  }

  count(batch: PacketBatch): void {
    const { count, lengths, tuples } = batch;
    if (this.#options.keySize === 16) {
      const words = new BigUint64Array(tuples.buffer, tuples.byteOffset, count * 5);
      for (let i = 0; i < count; i++) {
        this.#add((words[i * 5]! << 64n) | words[i * 5 + 1]!, lengths[i]!);
      }
      return;
    }
    const w = new Uint16Array(tuples.buffer, tuples.byteOffset, count * 20);
    for (let i = 0, at = 0; i < count; i++, at += 20) {
      this.#add(flowString(w, at), lengths[i]!);
    }
  }

  #add(key: bigint | string, length: number): void {
    const value = this.map.get(key);
    if (value !== undefined) {
      value.packets++;
      value.bytes += length;
      value.used = true;
      return;
    }
    if (this.map.size >= this.#options.maxEntries) {
      if (!this.#evicts) return;
      this.#evict();
    }
    this.map.set(key, { packets: 1, bytes: length, used: false });
  }

  #evict(): void {
    for (const [key, value] of this.map) {
      this.map.delete(key);
      if (!value.used) return;
      value.used = false;
      this.map.set(key, value); // to the end: a second chance
    }
  }
}

/** The 37 bytes that differ between flows as one string, 16 bits to a character. */
function flowString(w: Uint16Array, at: number): string {
  // Spelt out: this is 84 ns where a loop or Buffer's latin1 is 110 to 140.
  return String.fromCharCode(
    w[at]!,
    w[at + 1]!,
    w[at + 2]!,
    w[at + 3]!,
    w[at + 4]!,
    w[at + 5]!,
    w[at + 6]!,
    w[at + 7]!,
    w[at + 8]!,
    w[at + 9]!,
    w[at + 10]!,
    w[at + 11]!,
    w[at + 12]!,
    w[at + 13]!,
    w[at + 14]!,
    w[at + 15]!,
    w[at + 16]!,
    w[at + 17]!,
    w[at + 18]!,
  );
}

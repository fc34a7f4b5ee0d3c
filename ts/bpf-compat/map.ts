// Maps of any type, with the methods of JavaScript's Map: RawMap on bytes, ConvMap on values of the program's own kind.

import {
  BPF_MAP_DELETE_BATCH,
  BPF_MAP_LOOKUP_AND_DELETE_BATCH,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  BPF_MAP_LOOKUP_BATCH,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_BATCH,
} from "../uapi.js";
import { walkBatches } from "./batch.js";
import { allocBytes } from "./bytes.js";
import type { Bytes } from "./bytes.js";
import { SizedConversion } from "./conversion.js";
import type { TypeConversion } from "./conversion.js";
import { windowOf } from "./map-ref.js";
import type { MapRef } from "./map-ref.js";
import type { Batch, MapWindow } from "./window.js";

/**
 * A map of any type. What an operation does, and whether the type has it, is the map's affair: a missing operation throws
 * {@link BPFError} ENOTSUPP or EINVAL.
 */
export interface IMap<K, V> {
  /**
   * The value of a key; undefined when there is none.
   *
   * @param flags MapLookupFlags
   */
  get(key: K, flags?: number): V | undefined;
  /** Deletes an entry and returns its value; undefined when there is none. */
  getDelete(key: K): V | undefined;
  /**
   * Adds an entry or replaces its value.
   *
   * @param flags MapUpdateFlags
   * @throws {BPFError} E2BIG: the map is full; EEXIST, ENOENT: see the flags
   */
  set(key: K, value: V, flags?: number): this;
  /** Deletes an entry. @returns false when there was none */
  delete(key: K): boolean;
  /**
   * Walks the map in batches, each of one call.
   *
   * @param batchSize entries to ask for, at least 1; batches may be smaller, never larger
   * @param flags     MapLookupFlags
   * @throws {BPFError} after the entries found before the error
   */
  getBatch(batchSize: number, flags?: number): IterableIterator<[K, V][]>;
  /**
   * Sets many entries with one call.
   *
   * @param flags MapUpdateFlags; BPF_F_LOCK at most
   * @throws {BPFError} with `count`: the entries set before the error
   */
  setBatch(entries: [K, V][], flags?: number): this;
  /**
   * Deletes many entries with one call.
   *
   * @throws {BPFError} ENOENT: one of them is missing; `count` entries before it were deleted
   */
  deleteBatch(keys: K[]): void;
  /**
   * Walks the keys behind `start`; without it, or when it is missing, from the first one. The next key is asked for
   * before one is handed out, so that deleting that one is safe. Deleting others may start the walk anew.
   */
  keys(start?: K): Generator<K, undefined>;
  /** Makes the map read-only for bpf(2), for good. Programs may go on writing. */
  freeze(): void;
  /** Whether there is an entry. */
  has(key: K): boolean;
  /** Walks the entries as {@link keys} does. */
  entries(start?: K): IterableIterator<[K, V]>;
  /** Walks the values as {@link keys} does. */
  values(start?: K): IterableIterator<V>;
  /** Walks the entries and deletes each before it is handed out. */
  consumeEntries(start?: K): IterableIterator<[K, V]>;
  /** Deletes all entries behind `start`. */
  clear(start?: K): void;
  /** As {@link entries}. */
  [Symbol.iterator](): IterableIterator<[K, V]>;
}

/**
 * Keys and values as bytes of exactly the map's sizes; another length throws an Error.
 *
 * On per-CPU types a value has a slot of round_up(valueSize, 8) bytes for each possible CPU, see
 * {@link RawMap.valueBufferSize}.
 */
export class RawMap implements IMap<Bytes, Bytes> {
  readonly ref: MapRef;
  readonly #window: MapWindow;

  constructor(ref: MapRef) {
    this.ref = ref;
    this.#window = windowOf(ref, this);
  }

  /** Bytes of a value buffer. Not in npm `bpf`. */
  get valueBufferSize(): number {
    return this.#window.valueSize;
  }

  /** @param out where to put the value; default: a new buffer */
  get(key: Uint8Array, flags = 0, out?: Bytes): Bytes | undefined {
    return this.#lookup(BPF_MAP_LOOKUP_ELEM, "bpf_map_lookup_elem_flags", key, flags, out);
  }

  /** @param out where to put the value; default: a new buffer */
  getDelete(key: Uint8Array, out?: Bytes): Bytes | undefined {
    const operation = "bpf_map_lookup_and_delete_elem";
    return this.#lookup(BPF_MAP_LOOKUP_AND_DELETE_ELEM, operation, key, 0, out);
  }

  set(key: Uint8Array, value: Uint8Array, flags = 0): this {
    this.#window.checkKey(key);
    this.#window.checkValue(value);
    this.#window.update(this.ref.fd, key, value, flags);
    return this;
  }

  delete(key: Uint8Array): boolean {
    return this.#window.delete(this.ref.fd, this.#window.checkKey(key));
  }

  *getBatch(batchSize: number, flags = 0): IterableIterator<[Bytes, Bytes][]> {
    const operation = "bpf_map_lookup_batch";
    for (const batch of this.#walk(BPF_MAP_LOOKUP_BATCH, operation, batchSize, flags)) {
      for (let from = 0; from < batch.count; from += batchSize) {
        yield this.#entriesOf(batch, from, Math.min(from + batchSize, batch.count));
      }
    }
  }

  /**
   * Empties the map in batches, each of one call that hands out entries and deletes them. Not in npm `bpf`.
   *
   * @param batchSize entries to ask for, at least 1; batches may be smaller, and larger where a hash bucket holds more
   * @param flags     MapLookupFlags
   * @throws {BPFError} ENOTSUPP: not a hash type
   */
  *getDeleteBatch(batchSize: number, flags = 0): IterableIterator<[Bytes, Bytes][]> {
    const operation = "bpf_map_lookup_and_delete_batch";
    for (const batch of this.#walk(BPF_MAP_LOOKUP_AND_DELETE_BATCH, operation, batchSize, flags)) {
      yield this.#entriesOf(batch, 0, batch.count);
    }
  }

  setBatch(entries: [Uint8Array, Uint8Array][], flags = 0): this {
    const keys = entries.map(([key]) => this.#window.checkKey(key));
    const values = entries.map(([, value]) => this.#window.checkValue(value));
    const operation = "bpf_map_update_batch";
    this.#window.writeBatch(BPF_MAP_UPDATE_BATCH, operation, this.ref.fd, keys, values, flags);
    return this;
  }

  deleteBatch(keys: Uint8Array[]): void {
    for (const key of keys) this.#window.checkKey(key);
    const operation = "bpf_map_delete_batch";
    this.#window.writeBatch(BPF_MAP_DELETE_BATCH, operation, this.ref.fd, keys, [], 0);
  }

  *keys(start?: Uint8Array): Generator<Bytes, undefined> {
    let key = this.getNextKey(start);
    while (key !== undefined) {
      const next = this.getNextKey(key);
      yield key;
      key = next;
    }
    return undefined;
  }

  /**
   * The key behind `key`; the first one without it or when it is missing; undefined behind the last one.
   *
   * @param out where to put it; default: a new buffer
   */
  getNextKey(key?: Uint8Array, out?: Bytes): Bytes | undefined {
    if (key !== undefined) this.#window.checkKey(key);
    const next = out === undefined ? allocBytes(this.ref.keySize) : this.#window.checkKey(out);
    return this.#window.nextKey(this.ref.fd, key, next);
  }

  freeze(): void {
    this.#window.freeze(this.ref.fd);
  }

  has(key: Uint8Array): boolean {
    return this.get(key) !== undefined;
  }

  *entries(start?: Uint8Array): IterableIterator<[Bytes, Bytes]> {
    for (const key of this.keys(start)) {
      const value = this.get(key);
      // Deleted since its key was found.
      if (value !== undefined) yield [key, value];
    }
  }

  *values(start?: Uint8Array): IterableIterator<Bytes> {
    for (const [, value] of this.entries(start)) yield value;
  }

  *consumeEntries(start?: Uint8Array): IterableIterator<[Bytes, Bytes]> {
    for (const key of this.keys(start)) {
      const value = this.getDelete(key);
      if (value !== undefined) yield [key, value];
    }
  }

  clear(start?: Uint8Array): void {
    for (const key of this.keys(start)) this.delete(key);
  }

  [Symbol.iterator](): IterableIterator<[Bytes, Bytes]> {
    return this.entries();
  }

  #lookup(
    cmd: number,
    operation: string,
    key: Uint8Array,
    flags: number,
    out: Bytes | undefined,
  ): Bytes | undefined {
    this.#window.checkKey(key);
    const value = this.#window.valueOut(out);
    return this.#window.lookup(cmd, operation, this.ref.fd, key, flags, value);
  }

  #walk(
    cmd: number,
    operation: string,
    batchSize: number,
    flags: number,
  ): ReturnType<typeof walkBatches> {
    return walkBatches(this.#window, this.ref, cmd, operation, batchSize, flags);
  }

  /** Entries from..to of a batch; they share its buffers. */
  #entriesOf(batch: Batch, from: number, to: number): [Bytes, Bytes][] {
    const { keySize, valueSize } = this.#window;
    return Array.from({ length: to - from }, (_, n) => {
      const i = from + n;
      return [
        batch.keys.subarray(i * keySize, (i + 1) * keySize),
        batch.values.subarray(i * valueSize, (i + 1) * valueSize),
      ];
    });
  }
}

/**
 * Keys and values by conversions. On per-CPU types the value's conversion sees the slots of all CPUs: see `perCpuType`.
 */
export class ConvMap<K, V> implements IMap<K, V> {
  readonly #map: RawMap;
  readonly #key: SizedConversion<K>;
  readonly #value: SizedConversion<V>;

  constructor(ref: MapRef, keyConv: TypeConversion<K>, valueConv: TypeConversion<V>) {
    this.#map = new RawMap(ref);
    this.#key = new SizedConversion(keyConv, ref.keySize);
    this.#value = new SizedConversion(valueConv, this.#map.valueBufferSize);
  }

  get ref(): MapRef {
    return this.#map.ref;
  }

  get(key: K, flags?: number): V | undefined {
    return this.#value.parseMaybe(this.#map.get(this.#key.format(key), flags));
  }

  getDelete(key: K): V | undefined {
    return this.#value.parseMaybe(this.#map.getDelete(this.#key.format(key)));
  }

  set(key: K, value: V, flags?: number): this {
    this.#map.set(this.#key.format(key), this.#value.format(value), flags);
    return this;
  }

  delete(key: K): boolean {
    return this.#map.delete(this.#key.format(key));
  }

  *getBatch(batchSize: number, flags?: number): IterableIterator<[K, V][]> {
    for (const entries of this.#map.getBatch(batchSize, flags)) yield this.#parseAll(entries);
  }

  /** As {@link RawMap.getDeleteBatch}. */
  *getDeleteBatch(batchSize: number, flags?: number): IterableIterator<[K, V][]> {
    for (const entries of this.#map.getDeleteBatch(batchSize, flags)) yield this.#parseAll(entries);
  }

  setBatch(entries: [K, V][], flags?: number): this {
    const bytes = entries.map(([key, value]): [Bytes, Bytes] => [
      this.#key.format(key),
      this.#value.format(value),
    ]);
    this.#map.setBatch(bytes, flags);
    return this;
  }

  deleteBatch(keys: K[]): void {
    this.#map.deleteBatch(keys.map((key) => this.#key.format(key)));
  }

  *keys(start?: K): Generator<K, undefined> {
    for (const key of this.#map.keys(this.#key.formatMaybe(start))) yield this.#key.parse(key);
    return undefined;
  }

  freeze(): void {
    this.#map.freeze();
  }

  has(key: K): boolean {
    return this.#map.has(this.#key.format(key));
  }

  *entries(start?: K): IterableIterator<[K, V]> {
    for (const entry of this.#map.entries(this.#key.formatMaybe(start))) yield this.#parse(entry);
  }

  *values(start?: K): IterableIterator<V> {
    for (const value of this.#map.values(this.#key.formatMaybe(start))) {
      yield this.#value.parse(value);
    }
  }

  *consumeEntries(start?: K): IterableIterator<[K, V]> {
    for (const entry of this.#map.consumeEntries(this.#key.formatMaybe(start))) {
      yield this.#parse(entry);
    }
  }

  clear(start?: K): void {
    this.#map.clear(this.#key.formatMaybe(start));
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  #parse([key, value]: [Bytes, Bytes]): [K, V] {
    return [this.#key.parse(key), this.#value.parse(value)];
  }

  #parseAll(entries: [Bytes, Bytes][]): [K, V][] {
    return entries.map((entry) => this.#parse(entry));
  }
}

// ARRAY maps by index.

import {
  BPF_MAP_LOOKUP_BATCH,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_BATCH,
  ENOENT,
} from "../uapi.js";
import { walkBatches } from "./batch.js";
import { checkU32 } from "./bytes.js";
import type { Bytes } from "./bytes.js";
import { MapType } from "./constants.js";
import { SizedConversion, u32type } from "./conversion.js";
import type { TypeConversion } from "./conversion.js";
import { BPFError } from "./errors.js";
import { createMap, windowOf } from "./map-ref.js";
import type { MapDefOptional, MapRef } from "./map-ref.js";
import type { Batch, MapWindow } from "./window.js";

/** An ARRAY map. Its values are always there, zero at first. */
export interface IArrayMap<V> {
  /** Number of values. */
  readonly length: number;
  /**
   * The value at an index.
   *
   * @param flags MapLookupFlags
   * @throws {RangeError} no such index
   */
  get(key: number, flags?: number): V;
  /**
   * Sets the value at an index.
   *
   * @param flags MapUpdateFlags; BPF_NOEXIST fails with EEXIST
   * @throws {RangeError} no such index
   */
  set(key: number, value: V, flags?: number): this;
  /**
   * Walks the values in batches, each of one call.
   *
   * @param batchSize values to ask for, at least 1
   * @param flags     MapLookupFlags
   */
  getBatch(batchSize: number, flags?: number): IterableIterator<V[]>;
  /**
   * Sets many values with one call; indexes in any order, also repeated.
   *
   * @param flags MapUpdateFlags; BPF_F_LOCK at most
   * @throws {RangeError} no such index
   * @throws {BPFError} with `count`: the values set before the error
   */
  setBatch(entries: [number, V][], flags?: number): this;
  /** Makes the map read-only for bpf(2), for good. Programs may go on writing. */
  freeze(): void;
  /** All values, with one call. */
  getAll(): V[];
  /**
   * Sets all values with one call.
   *
   * @param values exactly `length`
   */
  setAll(values: V[]): this;
  /** Walks the values. */
  values(): IterableIterator<V>;
  /** As {@link values}. */
  [Symbol.iterator](): IterableIterator<V>;
}

/** Values as bytes of exactly the map's value size. */
export class RawArrayMap implements IArrayMap<Bytes> {
  readonly ref: MapRef;
  readonly length: number;
  readonly #window: MapWindow;
  readonly #index = new SizedConversion(u32type, 4);

  /** @throws {Error} not an ARRAY */
  constructor(ref: MapRef) {
    if (ref.type !== MapType.ARRAY) {
      throw new Error(`expected an ARRAY map, got ${MapType[ref.type] ?? ref.type}`);
    }
    this.ref = ref;
    this.length = ref.maxEntries;
    this.#window = windowOf(ref, this);
  }

  /** @param out where to put the value; default: a new buffer */
  get(key: number, flags = 0, out?: Bytes): Bytes {
    const index = this.#key(key);
    const operation = "bpf_map_lookup_elem_flags";
    const bytes = this.#window.valueOut(out);
    const { fd } = this.ref;
    const value = this.#window.lookup(BPF_MAP_LOOKUP_ELEM, operation, fd, index, flags, bytes);
    if (value === undefined) throw new BPFError(ENOENT, operation);
    return value;
  }

  set(key: number, value: Uint8Array, flags = 0): this {
    const index = this.#key(key);
    this.#window.checkValue(value);
    this.#window.update(this.ref.fd, index, value, flags);
    return this;
  }

  *getBatch(batchSize: number, flags = 0): IterableIterator<Bytes[]> {
    const operation = "bpf_map_lookup_batch";
    const { ref } = this;
    const walk = walkBatches(this.#window, ref, BPF_MAP_LOOKUP_BATCH, operation, batchSize, flags);
    for (const batch of walk) yield this.#valuesOf(batch);
  }

  setBatch(entries: [number, Uint8Array][], flags = 0): this {
    const keys = entries.map(([index]) => this.#key(index));
    const values = entries.map(([, value]) => this.#window.checkValue(value));
    const operation = "bpf_map_update_batch";
    this.#window.writeBatch(BPF_MAP_UPDATE_BATCH, operation, this.ref.fd, keys, values, flags);
    return this;
  }

  freeze(): void {
    this.#window.freeze(this.ref.fd);
  }

  getAll(): Bytes[] {
    return [...this.getBatch(this.length)].flat();
  }

  setAll(values: Uint8Array[]): this {
    if (values.length !== this.length) {
      throw new Error(`expected ${this.length} values, got ${values.length}`);
    }
    return this.setBatch(values.map((value, index) => [index, value]));
  }

  *values(): IterableIterator<Bytes> {
    for (let index = 0; index < this.length; index++) yield this.get(index);
  }

  [Symbol.iterator](): IterableIterator<Bytes> {
    return this.values();
  }

  #key(index: number): Bytes {
    if (checkU32("index", index) >= this.length) {
      throw new RangeError(`index: ${index} is not below the array's length ${this.length}`);
    }
    return this.#index.format(index);
  }

  /** The values of a batch; they share its buffer. */
  #valuesOf(batch: Batch & { readonly count: number }): Bytes[] {
    const { valueSize } = this.#window;
    return Array.from({ length: batch.count }, (_, i) =>
      batch.values.subarray(i * valueSize, (i + 1) * valueSize),
    );
  }
}

/** Values by a conversion. */
export class ConvArrayMap<V> implements IArrayMap<V> {
  readonly #map: RawArrayMap;
  readonly #value: SizedConversion<V>;

  /** @throws {Error} not an ARRAY */
  constructor(ref: MapRef, valueConv: TypeConversion<V>) {
    this.#map = new RawArrayMap(ref);
    this.#value = new SizedConversion(valueConv, ref.valueSize);
  }

  get ref(): MapRef {
    return this.#map.ref;
  }

  get length(): number {
    return this.#map.length;
  }

  get(key: number, flags?: number): V {
    return this.#value.parse(this.#map.get(key, flags));
  }

  set(key: number, value: V, flags?: number): this {
    this.#map.set(key, this.#value.format(value), flags);
    return this;
  }

  *getBatch(batchSize: number, flags?: number): IterableIterator<V[]> {
    for (const values of this.#map.getBatch(batchSize, flags)) yield this.#parseAll(values);
  }

  setBatch(entries: [number, V][], flags?: number): this {
    const bytes = entries.map(([index, value]): [number, Bytes] => [
      index,
      this.#value.format(value),
    ]);
    this.#map.setBatch(bytes, flags);
    return this;
  }

  freeze(): void {
    this.#map.freeze();
  }

  getAll(): V[] {
    return this.#parseAll(this.#map.getAll());
  }

  setAll(values: V[]): this {
    this.#map.setAll(values.map((value) => this.#value.format(value)));
    return this;
  }

  *values(): IterableIterator<V> {
    for (const value of this.#map.values()) yield this.#value.parse(value);
  }

  [Symbol.iterator](): IterableIterator<V> {
    return this.values();
  }

  #parseAll(values: Bytes[]): V[] {
    return values.map((value) => this.#value.parse(value));
  }
}

/**
 * Creates an ARRAY map.
 *
 * @param length    number of values
 * @param valueSize bytes of a value
 */
export function createArrayMap<V>(
  length: number,
  valueSize: number,
  valueConv: TypeConversion<V>,
  options?: MapDefOptional,
): ConvArrayMap<V> {
  const ref = createMap({
    ...options,
    type: MapType.ARRAY,
    keySize: 4,
    valueSize,
    maxEntries: length,
  });
  return new ConvArrayMap(ref, valueConv);
}

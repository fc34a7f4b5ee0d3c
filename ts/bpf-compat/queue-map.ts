// QUEUE and STACK maps: values without keys, first in first out or last in first out.

import { BPF_MAP_LOOKUP_AND_DELETE_ELEM, BPF_MAP_LOOKUP_ELEM } from "../uapi.js";
import { allocBytes } from "./bytes.js";
import type { Bytes } from "./bytes.js";
import { MapType } from "./constants.js";
import { SizedConversion } from "./conversion.js";
import type { TypeConversion } from "./conversion.js";
import { createMap, windowOf } from "./map-ref.js";
import type { MapDefOptional, MapRef } from "./map-ref.js";
import type { MapWindow } from "./window.js";

/** A QUEUE or STACK map. */
export interface IQueueMap<V> {
  /**
   * The next value, which stays; undefined when there is none.
   *
   * @param flags MapLookupFlags
   */
  peek(flags?: number): V | undefined;
  /** Takes the next value; undefined when there is none. */
  pop(): V | undefined;
  /**
   * Adds a value.
   *
   * @param flags MapUpdateFlags; BPF_EXIST drops the oldest value of a full map
   * @throws {BPFError} E2BIG: the map is full
   */
  push(value: V, flags?: number): this;
  /** Makes the map read-only for bpf(2), for good. Programs may go on writing. */
  freeze(): void;
  /** Whether there is no value. */
  empty(): boolean;
  /**
   * Takes values until there are none.
   *
   * @param limit at most so many
   */
  consumeValues(limit?: number): IterableIterator<V>;
  /** As {@link consumeValues}. */
  [Symbol.iterator](): IterableIterator<V>;
}

/** These maps have no keys. */
const NO_KEY = allocBytes(0);

/** Values as bytes of exactly the map's value size. */
export class RawQueueMap implements IQueueMap<Bytes> {
  readonly ref: MapRef;
  readonly #window: MapWindow;

  /** @throws {Error} neither a QUEUE nor a STACK */
  constructor(ref: MapRef) {
    if (ref.type !== MapType.QUEUE && ref.type !== MapType.STACK) {
      throw new Error(`expected a QUEUE or STACK map, got ${MapType[ref.type] ?? ref.type}`);
    }
    this.ref = ref;
    this.#window = windowOf(ref, this);
  }

  /** @param out where to put the value; default: a new buffer */
  peek(flags = 0, out?: Bytes): Bytes | undefined {
    return this.#lookup(BPF_MAP_LOOKUP_ELEM, "bpf_map_lookup_elem_flags", flags, out);
  }

  /** @param out where to put the value; default: a new buffer */
  pop(out?: Bytes): Bytes | undefined {
    return this.#lookup(BPF_MAP_LOOKUP_AND_DELETE_ELEM, "bpf_map_lookup_and_delete_elem", 0, out);
  }

  push(value: Uint8Array, flags = 0): this {
    this.#window.checkValue(value);
    this.#window.update(this.ref.fd, NO_KEY, value, flags);
    return this;
  }

  freeze(): void {
    this.#window.freeze(this.ref.fd);
  }

  empty(): boolean {
    return this.peek() === undefined;
  }

  *consumeValues(limit = Infinity): IterableIterator<Bytes> {
    for (let taken = 0; taken < limit; taken++) {
      const value = this.pop();
      if (value === undefined) return;
      yield value;
    }
  }

  [Symbol.iterator](): IterableIterator<Bytes> {
    return this.consumeValues();
  }

  #lookup(
    cmd: number,
    operation: string,
    flags: number,
    out: Bytes | undefined,
  ): Bytes | undefined {
    const value = this.#window.valueOut(out);
    return this.#window.lookup(cmd, operation, this.ref.fd, NO_KEY, flags, value);
  }
}

/** Values by a conversion. */
export class ConvQueueMap<V> implements IQueueMap<V> {
  readonly #map: RawQueueMap;
  readonly #value: SizedConversion<V>;

  /** @throws {Error} neither a QUEUE nor a STACK */
  constructor(ref: MapRef, valueConv: TypeConversion<V>) {
    this.#map = new RawQueueMap(ref);
    this.#value = new SizedConversion(valueConv, ref.valueSize);
  }

  get ref(): MapRef {
    return this.#map.ref;
  }

  peek(flags?: number): V | undefined {
    return this.#value.parseMaybe(this.#map.peek(flags));
  }

  pop(): V | undefined {
    return this.#value.parseMaybe(this.#map.pop());
  }

  push(value: V, flags?: number): this {
    this.#map.push(this.#value.format(value), flags);
    return this;
  }

  freeze(): void {
    this.#map.freeze();
  }

  empty(): boolean {
    return this.#map.empty();
  }

  *consumeValues(limit?: number): IterableIterator<V> {
    for (const value of this.#map.consumeValues(limit)) yield this.#value.parse(value);
  }

  [Symbol.iterator](): IterableIterator<V> {
    return this.consumeValues();
  }
}

/**
 * Creates a QUEUE map: the first value in is the first out.
 *
 * @param maxEntries values it can hold
 * @param valueSize  bytes of a value
 */
export function createQueueMap<V>(
  maxEntries: number,
  valueSize: number,
  valueConv: TypeConversion<V>,
  options?: MapDefOptional,
): ConvQueueMap<V> {
  const ref = createMap({ ...options, type: MapType.QUEUE, keySize: 0, valueSize, maxEntries });
  return new ConvQueueMap(ref, valueConv);
}

/**
 * Creates a STACK map: the last value in is the first out.
 *
 * @param maxEntries values it can hold
 * @param valueSize  bytes of a value
 */
export function createStackMap<V>(
  maxEntries: number,
  valueSize: number,
  valueConv: TypeConversion<V>,
  options?: MapDefOptional,
): ConvQueueMap<V> {
  const ref = createMap({ ...options, type: MapType.STACK, keySize: 0, valueSize, maxEntries });
  return new ConvQueueMap(ref, valueConv);
}

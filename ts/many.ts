// The typed-array verbs: many elements with one crossing.
//
// Arrays in the runtime's memory are used where they are; others are copied, a chunk at a time.

import { isUint8Array } from "./codec/base.js";
import type { BpfError } from "./errors.js";
import type { Holdings } from "./holdings.js";
import { Lane, Room, byteCount } from "./lane.js";
import type { LaneKind, NumericArray } from "./lane.js";
import type { LiveViews } from "./views.js";

/** Elements that one crossing copies at most, so that their memory stays small. */
const CHUNK = 4096;

/** Looks `count` keys up. Addresses; `found` may be 0. @returns the number of hits */
export type FindMany = (keys: number, count: number, values: number, found: number) => number;

/** What the arrays of a map are like. */
export interface LanesOptions {
  readonly holdings: Holdings;
  readonly mem: LiveViews;
  /** What the caller calls the keys. */
  readonly name: string;
  readonly keySize: number;
  readonly keyKind: LaneKind;
  readonly valueSize: number;
}

/** The arrays of a call: keys, values, and what was found. */
export class Lanes {
  /** Elements of one crossing. */
  step = CHUNK;
  readonly keys: Lane;
  readonly values: Lane;
  readonly found: Lane;
  readonly #options: LanesOptions;
  readonly #room: Room;

  constructor(options: LanesOptions) {
    const { holdings, mem } = options;
    this.#options = options;
    this.#room = new Room(holdings);
    this.keys = new Lane(mem, options.keySize, options.keyKind);
    this.values = new Lane(mem, options.valueSize);
    this.found = new Lane(mem, 1);
  }

  /** Makes room for what has to be copied. @returns the address of a word for the error */
  begin(keys: NumericArray, values?: NumericArray, found?: NumericArray): number {
    // Where the arrays are is settled before memory is taken: growing the memory detaches views of it.
    let bytes = this.keys.begin(keys, CHUNK) + 8;
    if (values !== undefined) bytes += this.values.begin(values, CHUNK);
    if (found !== undefined) bytes += this.found.begin(found, CHUNK);
    this.step = bytes === 8 ? 0x7fffffff : CHUNK;
    const errorPtr = this.#room.take(bytes);
    let ptr = this.keys.settle(errorPtr + 8);
    if (values !== undefined) ptr = this.values.settle(ptr);
    if (found !== undefined) ptr = this.found.settle(ptr);
    this.#options.mem.reach(errorPtr, bytes);
    return errorPtr;
  }

  /** Lets go of the caller's arrays. */
  end(): void {
    this.keys.end();
    this.values.end();
    this.found.end();
  }

  /** @returns the number of keys */
  countOf(keys: NumericArray): number {
    const { name, keySize } = this.#options;
    const bytes = byteCount(name, keys);
    if (bytes % keySize !== 0) {
      throw new RangeError(`${name}: expected a multiple of ${keySize} bytes, got ${bytes}`);
    }
    return bytes / keySize;
  }

  checkValues(arrayName: string, values: NumericArray, count: number): void {
    const { name, valueSize } = this.#options;
    const bytes = byteCount(arrayName, values);
    if (bytes < count * valueSize) {
      throw new RangeError(
        `${arrayName}: expected ${count * valueSize} bytes for ${count} ${name}, got ${bytes}`,
      );
    }
  }

  /** Looks all keys up. @returns the number of hits */
  lookUp(find: FindMany, keys: NumericArray, out: NumericArray, found?: Uint8Array): number {
    const count = this.countOf(keys);
    this.checkValues("out", out, count);
    if (found !== undefined) checkFound(found, count);
    this.begin(keys, out, found);
    let hits = 0;
    for (let at = 0; at < count; at += this.step) {
      const n = Math.min(this.step, count - at);
      const keyPtr = this.keys.enter(at, n);
      const foundPtr = found === undefined ? 0 : this.found.address(at);
      hits += find(keyPtr, n, this.values.address(at), foundPtr);
      this.values.leave(at, n);
      if (found !== undefined) this.found.leave(at, n);
    }
    this.end();
    return hits;
  }
}

function checkFound(found: Uint8Array, count: number): void {
  if (!isUint8Array(found)) throw new TypeError("found: expected a Uint8Array");
  if (found.length < count) {
    throw new RangeError(`found: expected ${count} bytes, got ${found.length}`);
  }
}

/** What the verbs need of their map. */
export interface ManyMap {
  readonly holdings: Holdings;
  readonly door: {
    readonly mem: LiveViews;
    readonly handle: number;
    readonly key: { readonly size: number };
    readonly value: { readonly size: number };
  };
  /** The error of a verb that came to -errno after `count` elements. */
  readonly failed: (syscall: string, ret: number, count: number) => BpfError;
}

/** The typed-array verbs of one map. */
export class Many {
  readonly #map: ManyMap;
  readonly #lanes: Lanes;
  readonly #find: FindMany;

  constructor(map: ManyMap) {
    const { holdings, door } = map;
    const { exports } = holdings.runtime;
    this.#map = map;
    this.#lanes = new Lanes({
      holdings,
      mem: door.mem,
      name: "keys",
      keySize: door.key.size,
      keyKind: "bytes",
      valueSize: door.value.size,
    });
    this.#find = (keys, count, values, found) =>
      exports.map_get_many(door.handle, keys, count, values, found);
  }

  get(keys: NumericArray, out: NumericArray, found: Uint8Array | undefined): number {
    return this.#lanes.lookUp(this.#find, keys, out, found);
  }

  set(keys: NumericArray, values: NumericArray): void {
    const lanes = this.#lanes;
    const count = lanes.countOf(keys);
    lanes.checkValues("values", values, count);
    const { map_set_many } = this.#map.holdings.runtime.exports;
    const { handle, mem } = this.#map.door;
    const errorPtr = lanes.begin(keys, values);
    let done = 0;
    let ret = 0;
    for (let at = 0; at < count && ret === 0; at += lanes.step) {
      const n = Math.min(lanes.step, count - at);
      const keyPtr = lanes.keys.enter(at, n);
      done += map_set_many(handle, keyPtr, n, lanes.values.enter(at, n), 0, errorPtr);
      // Elements may come from the host's malloc, which makes its memory grow.
      mem.reach(errorPtr, 4);
      ret = mem.i32[errorPtr >>> 2] as number;
    }
    lanes.end();
    if (ret !== 0) throw this.#map.failed("bpf_map_update_batch", ret, done);
  }

  delete(keys: NumericArray): number {
    const lanes = this.#lanes;
    const count = lanes.countOf(keys);
    const { map_delete_many } = this.#map.holdings.runtime.exports;
    const { handle, mem } = this.#map.door;
    const errorPtr = lanes.begin(keys);
    let deleted = 0;
    let ret = 0;
    for (let at = 0; at < count && ret === 0; at += lanes.step) {
      const n = Math.min(lanes.step, count - at);
      deleted += map_delete_many(handle, lanes.keys.enter(at, n), n, errorPtr);
      ret = mem.i32[errorPtr >>> 2] as number;
    }
    lanes.end();
    if (ret !== 0) throw this.#map.failed("bpf_map_delete_batch", ret, deleted);
    return deleted;
  }
}

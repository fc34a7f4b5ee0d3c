// Batches: the four *_BATCH commands on encoded entries, and the typed-array verbs.

import { viewsOf } from "./codec.js";
import type { MapDoor } from "./door.js";
import type { BpfError } from "./errors.js";
import type { Holdings } from "./holdings.js";
import { Lane, byteCount } from "./lane.js";
import type { NumericArray } from "./lane.js";
import { integer, round8 } from "./numbers.js";
import * as uapi from "./uapi.js";

/** Elements that one crossing of the typed-array verbs copies at most, so that their memory stays small. */
const CHUNK = 4096;
const BATCH_ATTR_BYTES = 56;
const COUNT_OFFSET = 32;

/** Where a walk in batches has got to. Opaque, and good for the map that made it only. */
export class BatchCursor {
  /** True when the walk has seen everything. */
  done = false;
  /** @internal The batches of the map it belongs to. */
  readonly owner: object;
  /** @internal The kernel's cursor; undefined at the start. */
  position: Uint8Array | undefined;

  /** @internal */
  constructor(owner: object) {
    this.owner = owner;
  }
}

/** Memory for batches: grows when more is asked for, lives as long as the map is open. */
class Room {
  readonly #holdings: Holdings;
  #ptr = 0;
  #bytes = 0;

  constructor(holdings: Holdings) {
    this.#holdings = holdings;
  }

  /** At least this many bytes; what was taken before is gone. */
  take(bytes: number): number {
    if (bytes > this.#bytes) {
      this.#holdings.give(this.#ptr);
      this.#ptr = 0;
      this.#bytes = 0;
      this.#ptr = this.#holdings.take(bytes);
      this.#bytes = bytes;
    }
    return this.#ptr;
  }
}

/** The pointers and the count of a batch attr. */
interface BatchArgs {
  readonly inBatch?: number;
  readonly outBatch?: number;
  readonly keys: number;
  readonly values?: number;
  readonly count: number;
}

/** What batches need of their map. */
export interface BatchMap<K, KI, V, VI> {
  readonly holdings: Holdings;
  readonly door: MapDoor<K, KI, V, VI>;
  readonly maxEntries: number;
  /** The error of a command that answered -errno after `count` elements. */
  readonly failed: (syscall: string, ret: number, count: number) => BpfError;
}

/** The batch verbs of one map. */
export class Batches<K, KI, V, VI> {
  readonly #map: BatchMap<K, KI, V, VI>;
  readonly #holdings: Holdings;
  readonly #door: MapDoor<K, KI, V, VI>;
  readonly #attr = new Uint8Array(BATCH_ATTR_BYTES);
  readonly #view = new DataView(this.#attr.buffer);
  readonly #room: Room;
  readonly #keys: Lane;
  readonly #values: Lane;
  readonly #found: Lane;

  constructor(map: BatchMap<K, KI, V, VI>) {
    const { holdings, door } = map;
    this.#map = map;
    this.#holdings = holdings;
    this.#door = door;
    this.#room = new Room(holdings);
    this.#keys = new Lane(door.mem, door.key.size);
    this.#values = new Lane(door.mem, door.value.size);
    this.#found = new Lane(door.mem, 1);
  }

  // ---- the kernel's commands ----

  /** LOOKUP_BATCH and LOOKUP_AND_DELETE_BATCH. A bucket larger than the room is tried again with more room. */
  lookup(cmd: number, cursor: BatchCursor, count: number): [K, V][] {
    integer("count", count, 1, 0x7fffffff);
    if (!(cursor instanceof BatchCursor) || cursor.owner !== this) {
      throw new TypeError("cursor: expected one that batchCursor() of this map made");
    }
    const { key, value, mem } = this.#door;
    // The cursor has 4 bytes (hash types) or those of a key.
    const cursorBytes = Math.max(8, round8(key.size));
    for (let room = Math.min(count, this.#map.maxEntries); !cursor.done; room *= 2) {
      const keyBytes = round8(room * key.size);
      const bytes = cursorBytes * 2 + keyBytes + room * value.size;
      const inBatch = this.#room.take(bytes);
      const outBatch = inBatch + cursorBytes;
      const keys = outBatch + cursorBytes;
      const { position } = cursor;
      mem.reach(inBatch, bytes);
      if (position !== undefined) mem.u8.set(position, inBatch);
      const start = position === undefined ? 0 : inBatch;
      const values = keys + keyBytes;
      const ret = this.#call(cmd, { inBatch: start, outBatch, keys, values, count: room });
      if (ret === -uapi.ENOSPC) continue;
      if (ret < 0 && ret !== -uapi.ENOENT) throw this.#error(cmd, ret);
      cursor.done = ret < 0;
      cursor.position = mem.u8.slice(outBatch, keys);
      return this.#decode(mem.u8.slice(keys, inBatch + bytes), keyBytes);
    }
    return [];
  }

  /** The entries a lookup gave. `bytes` is a copy: a codec of the user's may do anything with the map. */
  #decode(bytes: Uint8Array, valuesAt: number): [K, V][] {
    const { key, value } = this.#door;
    const count = this.#view.getUint32(COUNT_OFFSET, true);
    const mem = viewsOf(bytes.buffer);
    const entries: [K, V][] = [];
    for (let i = 0; i < count; i++) {
      entries.push([key.read(mem, i * key.size), value.read(mem, valuesAt + i * value.size)]);
    }
    return entries;
  }

  update(entries: Iterable<readonly [KI, VI]>): void {
    const { key, value } = this.#door;
    const list = [...entries];
    const keyBytes = round8(list.length * key.size);
    const bytes = new ArrayBuffer(keyBytes + list.length * value.size);
    const mem = viewsOf(bytes);
    for (const [i, [k, v]] of list.entries()) {
      key.write(mem, i * key.size, k, `keys[${i}]`);
      value.write(mem, keyBytes + i * value.size, v, `values[${i}]`);
    }
    const keys = this.#place(mem.u8);
    const batch = { keys, values: keys + keyBytes, count: list.length };
    const ret = this.#call(uapi.BPF_MAP_UPDATE_BATCH, batch);
    if (ret < 0) throw this.#error(uapi.BPF_MAP_UPDATE_BATCH, ret);
  }

  delete(keysToDelete: Iterable<KI>): void {
    const { key } = this.#door;
    const list = [...keysToDelete];
    const mem = viewsOf(new ArrayBuffer(list.length * key.size));
    for (const [i, k] of list.entries()) key.write(mem, i * key.size, k, `keys[${i}]`);
    const keys = this.#place(mem.u8);
    const ret = this.#call(uapi.BPF_MAP_DELETE_BATCH, { keys, count: list.length });
    if (ret < 0) throw this.#error(uapi.BPF_MAP_DELETE_BATCH, ret);
  }

  /** Puts bytes into the room. Encoded elsewhere first: a getter of the caller's may use the map. */
  #place(bytes: Uint8Array): number {
    const { mem } = this.#door;
    const ptr = this.#room.take(bytes.length + 8);
    mem.reach(ptr, bytes.length);
    mem.u8.set(bytes, ptr);
    return ptr;
  }

  #call(cmd: number, batch: BatchArgs): number {
    const view = this.#view;
    view.setBigUint64(0, BigInt(batch.inBatch ?? 0), true);
    view.setBigUint64(8, BigInt(batch.outBatch ?? 0), true);
    view.setBigUint64(16, BigInt(batch.keys), true);
    view.setBigUint64(24, BigInt(batch.values ?? 0), true);
    view.setUint32(COUNT_OFFSET, batch.count, true);
    view.setInt32(36, this.#holdings.fd, true);
    return this.#holdings.runtime.bpf(cmd, this.#attr);
  }

  #error(cmd: number, ret: number): BpfError {
    const names = ["lookup", "lookup_and_delete", "update", "delete"];
    const syscall = `bpf_map_${names[cmd - uapi.BPF_MAP_LOOKUP_BATCH]}_batch`;
    // Errors found before the first element leave the count as it was.
    const count = this.#view.getUint32(COUNT_OFFSET, true);
    return this.#map.failed(syscall, ret, count);
  }

  // ---- typed arrays ----
  // Arrays in the runtime's memory are used where they are; others are copied, a chunk at a time.

  getMany(keys: NumericArray, out: NumericArray, found: Uint8Array | undefined): number {
    const count = this.#countOf(keys);
    this.#checkValues("out", out, count);
    if (found !== undefined) checkFound(found, count);
    const { map_get_many } = this.#holdings.runtime.exports;
    const { handle } = this.#door;
    this.#begin(keys, out, found);
    let hits = 0;
    for (let at = 0; at < count; at += this.#step) {
      const n = Math.min(this.#step, count - at);
      const keyPtr = this.#keys.enter(at, n);
      const foundPtr = found === undefined ? 0 : this.#found.address(at);
      hits += map_get_many(handle, keyPtr, n, this.#values.address(at), foundPtr);
      this.#values.leave(at, n);
      if (found !== undefined) this.#found.leave(at, n);
    }
    this.#end();
    return hits;
  }

  setMany(keys: NumericArray, values: NumericArray): void {
    const count = this.#countOf(keys);
    this.#checkValues("values", values, count);
    const { map_set_many } = this.#holdings.runtime.exports;
    const { handle, mem } = this.#door;
    const errorPtr = this.#begin(keys, values, undefined);
    let done = 0;
    let ret = 0;
    for (let at = 0; at < count && ret === 0; at += this.#step) {
      const n = Math.min(this.#step, count - at);
      const keyPtr = this.#keys.enter(at, n);
      done += map_set_many(handle, keyPtr, n, this.#values.enter(at, n), 0, errorPtr);
      ret = mem.i32[errorPtr >>> 2] as number;
    }
    this.#end();
    if (ret !== 0) throw this.#map.failed("bpf_map_update_batch", ret, done);
  }

  deleteMany(keys: NumericArray): number {
    const count = this.#countOf(keys);
    const { map_delete_many } = this.#holdings.runtime.exports;
    const { handle, mem } = this.#door;
    const errorPtr = this.#begin(keys, undefined, undefined);
    let deleted = 0;
    let ret = 0;
    for (let at = 0; at < count && ret === 0; at += this.#step) {
      const n = Math.min(this.#step, count - at);
      deleted += map_delete_many(handle, this.#keys.enter(at, n), n, errorPtr);
      ret = mem.i32[errorPtr >>> 2] as number;
    }
    this.#end();
    if (ret !== 0) throw this.#map.failed("bpf_map_delete_batch", ret, deleted);
    return deleted;
  }

  /** Elements of one crossing. */
  #step = CHUNK;

  /** Makes room for what has to be copied. @returns the address of a word for the error */
  #begin(keys: NumericArray, values?: NumericArray, found?: NumericArray): number {
    // Where the arrays are is settled before memory is taken: growing the memory detaches views of it.
    let bytes = this.#keys.begin(keys, CHUNK) + 8;
    if (values !== undefined) bytes += this.#values.begin(values, CHUNK);
    if (found !== undefined) bytes += this.#found.begin(found, CHUNK);
    this.#step = bytes === 8 ? 0x7fffffff : CHUNK;
    const errorPtr = this.#room.take(bytes);
    let ptr = this.#keys.settle(errorPtr + 8);
    if (values !== undefined) ptr = this.#values.settle(ptr);
    if (found !== undefined) ptr = this.#found.settle(ptr);
    this.#door.mem.reach(errorPtr, bytes);
    return errorPtr;
  }

  /** Lets go of the caller's arrays. */
  #end(): void {
    this.#keys.end();
    this.#values.end();
    this.#found.end();
  }

  #countOf(keys: NumericArray): number {
    const bytes = byteCount("keys", keys);
    const { size } = this.#door.key;
    if (bytes % size !== 0) {
      throw new RangeError(`keys: expected a multiple of ${size} bytes, got ${bytes}`);
    }
    return bytes / size;
  }

  #checkValues(name: string, values: NumericArray, count: number): void {
    const bytes = byteCount(name, values);
    const { size } = this.#door.value;
    if (bytes < count * size) {
      throw new RangeError(
        `${name}: expected ${count * size} bytes for ${count} keys, got ${bytes}`,
      );
    }
  }
}

function checkFound(found: Uint8Array, count: number): void {
  if (!(found instanceof Uint8Array)) throw new TypeError("found: expected a Uint8Array");
  if (found.length < count) {
    throw new RangeError(`found: expected ${count} bytes, got ${found.length}`);
  }
}

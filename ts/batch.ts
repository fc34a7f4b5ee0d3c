// Batches: the four *_BATCH commands on encoded entries, and the typed-array verbs.

import type { MapDoor } from "./door.js";
import { BpfError } from "./errors.js";
import type { BpfRuntime } from "./runtime.js";
import { allocate } from "./syscall.js";
import * as uapi from "./uapi.js";

/** A typed array that holds keys or values one behind the other. */
export type NumericArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

/** Elements that one crossing of the typed-array verbs takes at most, so that their memory stays small. */
const CHUNK = 4096;
const BATCH_ATTR_BYTES = 56;

/** Where a walk in batches has got to. Opaque: the map that made it knows what is inside. */
export class BatchCursor {
  /** True when the walk has seen everything. */
  done = false;
  /** @internal The kernel's cursor; undefined at the start. */
  position: Uint8Array | undefined;
}

/** Memory for batches: grows when more is asked for, lives as long as the map is open. */
class Room {
  readonly #runtime: BpfRuntime;
  #ptr = 0;
  #bytes = 0;

  constructor(runtime: BpfRuntime) {
    this.#runtime = runtime;
  }

  /** At least this many bytes. */
  take(bytes: number): number {
    if (bytes > this.#bytes) {
      this.free();
      this.#ptr = allocate(this.#runtime, bytes);
      this.#bytes = bytes;
    }
    return this.#ptr;
  }

  free(): void {
    if (this.#ptr !== 0 && !this.#runtime.disposed) this.#runtime.free(this.#ptr);
    this.#ptr = 0;
    this.#bytes = 0;
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

/** A part of a typed-array verb that crosses at once. */
interface Chunk {
  readonly count: number;
  /** Addresses: keys, values, and a byte for each element (or the error). */
  readonly keys: number;
  readonly values: number;
  readonly found: number;
}

/** The batch verbs of one map. */
export class Batches<K, KI, V, VI> {
  readonly #runtime: BpfRuntime;
  readonly #fd: number;
  readonly #door: MapDoor<K, KI, V, VI>;
  readonly #name: string;
  readonly #attr = new Uint8Array(BATCH_ATTR_BYTES);
  readonly #view = new DataView(this.#attr.buffer);
  readonly #room: Room;

  constructor(runtime: BpfRuntime, fd: number, door: MapDoor<K, KI, V, VI>, name: string) {
    this.#runtime = runtime;
    this.#fd = fd;
    this.#door = door;
    this.#name = name;
    this.#room = new Room(runtime);
  }

  close(): void {
    this.#room.free();
  }

  // ---- the kernel's commands ----

  /** LOOKUP_BATCH and LOOKUP_AND_DELETE_BATCH. A bucket larger than the room is tried again with more room. */
  lookup(cmd: number, cursor: BatchCursor, count: number): [K, V][] {
    checkCount(count);
    const { key, value, mem } = this.#door;
    // The cursor has 4 bytes (hash types) or those of a key.
    const cursorBytes = Math.max(8, round8(key.size));
    for (let room = count; !cursor.done; room *= 2) {
      const inBatch = this.#room.take(
        cursorBytes * 2 + round8(room * key.size) + room * round8(value.size),
      );
      const outBatch = inBatch + cursorBytes;
      const keys = outBatch + cursorBytes;
      const values = keys + round8(room * key.size);
      mem.reach(values);
      const { position } = cursor;
      if (position !== undefined) mem.u8.set(position, inBatch);
      const start = position === undefined ? 0 : inBatch;
      const ret = this.#call(cmd, { inBatch: start, outBatch, keys, values, count: room });
      if (ret === -uapi.ENOSPC) continue;
      if (ret < 0 && ret !== -uapi.ENOENT) throw this.#error(cmd, ret);
      cursor.done = ret < 0;
      mem.reach(values);
      cursor.position = mem.u8.slice(outBatch, keys);
      return this.#decode(keys, values, this.#view.getUint32(32, true));
    }
    return [];
  }

  #decode(keys: number, values: number, count: number): [K, V][] {
    const { key, value, mem } = this.#door;
    const entries: [K, V][] = [];
    for (let i = 0; i < count; i++) {
      entries.push([key.read(mem, keys + i * key.size), value.read(mem, values + i * value.size)]);
    }
    return entries;
  }

  update(entries: Iterable<readonly [KI, VI]>): void {
    const { key, value, mem } = this.#door;
    const list = [...entries];
    const keys = this.#room.take(round8(list.length * key.size) + list.length * value.size + 8);
    const values = keys + round8(list.length * key.size);
    mem.reach(values + list.length * value.size);
    for (const [i, [k, v]] of list.entries()) {
      key.write(mem, keys + i * key.size, k, "key");
      value.write(mem, values + i * value.size, v, "value");
    }
    const ret = this.#call(uapi.BPF_MAP_UPDATE_BATCH, { keys, values, count: list.length });
    if (ret < 0) throw this.#error(uapi.BPF_MAP_UPDATE_BATCH, ret);
  }

  delete(keysToDelete: Iterable<KI>): void {
    const { key, mem } = this.#door;
    const list = [...keysToDelete];
    const keys = this.#room.take(list.length * key.size + 8);
    mem.reach(keys + list.length * key.size);
    for (const [i, k] of list.entries()) key.write(mem, keys + i * key.size, k, "key");
    const ret = this.#call(uapi.BPF_MAP_DELETE_BATCH, { keys, count: list.length });
    if (ret < 0) throw this.#error(uapi.BPF_MAP_DELETE_BATCH, ret);
  }

  #call(cmd: number, batch: BatchArgs): number {
    const view = this.#view;
    view.setBigUint64(0, BigInt(batch.inBatch ?? 0), true);
    view.setBigUint64(8, BigInt(batch.outBatch ?? 0), true);
    view.setBigUint64(16, BigInt(batch.keys), true);
    view.setBigUint64(24, BigInt(batch.values ?? 0), true);
    view.setUint32(32, batch.count, true);
    view.setInt32(36, this.#fd, true);
    return this.#runtime.bpf(cmd, this.#attr);
  }

  #error(cmd: number, ret: number): BpfError {
    const names = ["lookup", "lookup_and_delete", "update", "delete"];
    const syscall = `bpf_map_${names[cmd - uapi.BPF_MAP_LOOKUP_BATCH]}_batch`;
    return this.#batchError(syscall, ret, this.#view.getUint32(32, true));
  }

  #batchError(syscall: string, ret: number, count: number): BpfError {
    const isFull = ret === -uapi.E2BIG;
    const detail = isFull ? `map '${this.#name}' is full (${count} elements done)` : undefined;
    return new BpfError(syscall, ret, detail, count);
  }

  // ---- typed arrays ----

  getMany(keys: NumericArray, out: NumericArray, found: Uint8Array | undefined): number {
    const count = this.#countOf(keys);
    this.#checkValues(out, count);
    if (found !== undefined && found.length < count) {
      throw new RangeError(`found: expected ${count} elements, got ${found.length}`);
    }
    const { mem, handle, key, value } = this.#door;
    const { map_get_many } = this.#runtime.exports;
    if (this.#isOwn(keys) && this.#isOwn(out) && (found === undefined || this.#isOwn(found))) {
      return map_get_many(handle, keys.byteOffset, count, out.byteOffset, found?.byteOffset ?? 0);
    }
    let hits = 0;
    for (let at = 0; at < count; at += CHUNK) {
      const chunk = this.#chunk(at, count);
      copyIn(mem.u8, chunk.keys, keys, at * key.size, chunk.count * key.size);
      const foundPtr = found === undefined ? 0 : chunk.found;
      hits += map_get_many(handle, chunk.keys, chunk.count, chunk.values, foundPtr);
      const valueBytes = chunk.count * value.size;
      const target = new Uint8Array(out.buffer, out.byteOffset + at * value.size, valueBytes);
      target.set(mem.u8.subarray(chunk.values, chunk.values + valueBytes));
      found?.set(mem.u8.subarray(chunk.found, chunk.found + chunk.count), at);
    }
    return hits;
  }

  setMany(keys: NumericArray, values: NumericArray): void {
    const count = this.#countOf(keys);
    this.#checkValues(values, count);
    const { mem, handle, key, value } = this.#door;
    const { map_set_many } = this.#runtime.exports;
    for (let at = 0; at < count; at += CHUNK) {
      const chunk = this.#chunk(at, count);
      copyIn(mem.u8, chunk.keys, keys, at * key.size, chunk.count * key.size);
      copyIn(mem.u8, chunk.values, values, at * value.size, chunk.count * value.size);
      const done = map_set_many(handle, chunk.keys, chunk.count, chunk.values, 0, chunk.found);
      const ret = mem.i32[chunk.found >>> 2] as number;
      if (ret !== 0) throw this.#batchError("bpf_map_update_batch", ret, at + done);
    }
  }

  deleteMany(keys: NumericArray): number {
    const count = this.#countOf(keys);
    const { mem, handle, key } = this.#door;
    const { map_delete_many } = this.#runtime.exports;
    let deleted = 0;
    for (let at = 0; at < count; at += CHUNK) {
      const chunk = this.#chunk(at, count);
      copyIn(mem.u8, chunk.keys, keys, at * key.size, chunk.count * key.size);
      deleted += map_delete_many(handle, chunk.keys, chunk.count, chunk.found);
      const ret = mem.i32[chunk.found >>> 2] as number;
      if (ret !== 0) throw this.#batchError("bpf_map_delete_batch", ret, deleted);
    }
    return deleted;
  }

  /** Room for the crossing that begins at element `at` of `total`. */
  #chunk(at: number, total: number): Chunk {
    const { key, value, mem } = this.#door;
    const most = Math.min(CHUNK, total);
    const keyBytes = round8(most * key.size);
    const valueBytes = round8(most * value.size);
    const keys = this.#room.take(keyBytes + valueBytes + round8(most));
    const found = keys + keyBytes + valueBytes;
    mem.reach(found + most);
    return { count: Math.min(CHUNK, total - at), keys, values: keys + keyBytes, found };
  }

  #isOwn(array: NumericArray): boolean {
    return array.buffer === this.#runtime.memory.buffer;
  }

  #countOf(keys: NumericArray): number {
    if (!ArrayBuffer.isView(keys)) throw new TypeError("keys: expected a typed array");
    const { size } = this.#door.key;
    if (keys.byteLength % size !== 0) {
      throw new RangeError(`keys: expected a multiple of ${size} bytes, got ${keys.byteLength}`);
    }
    return keys.byteLength / size;
  }

  #checkValues(values: NumericArray, count: number): void {
    if (!ArrayBuffer.isView(values)) throw new TypeError("values: expected a typed array");
    const bytes = count * this.#door.value.size;
    if (values.byteLength < bytes) {
      throw new RangeError(
        `values: expected ${bytes} bytes for ${count} keys, got ${values.byteLength}`,
      );
    }
  }
}

function copyIn(
  u8: Uint8Array,
  ptr: number,
  from: NumericArray,
  offset: number,
  bytes: number,
): void {
  u8.set(new Uint8Array(from.buffer, from.byteOffset + offset, bytes), ptr);
}

function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

function checkCount(count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > 0x7fffffff) {
    throw new RangeError(`count: expected a positive integer, got ${count}`);
  }
}

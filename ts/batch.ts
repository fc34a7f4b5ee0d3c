// Batches: the four *_BATCH commands on encoded entries.

import { viewsOf } from "./codec.js";
import type { MapDoor } from "./door.js";
import type { BpfError } from "./errors.js";
import type { Holdings } from "./holdings.js";
import { Room } from "./lane.js";
import { integer, round8 } from "./numbers.js";
import * as uapi from "./uapi.js";

const BATCH_ATTR_BYTES = 56;
const COUNT_OFFSET = 32;

/** How far a walk in batches has got. Opaque; only for the map that made it. */
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

/** Some elements of a walk. The same object with the same arrays, filled anew, at each turn of a loop over `batches`. */
export interface MapBatch<K, V> {
  /** The keys: `count` of them. */
  readonly keys: readonly K[];
  /** The value of each key. */
  readonly values: readonly V[];
  /** The number of elements. */
  readonly count: number;
}

/** A batch as it is filled: its arrays keep their memory. */
export class BatchFill<K, V> implements MapBatch<K, V> {
  readonly keys: K[] = [];
  readonly values: V[] = [];
  count = 0;

  /** Begins a new batch. */
  restart(): void {
    this.count = 0;
  }

  add(key: K, value: V): void {
    this.keys[this.count] = key;
    this.values[this.count] = value;
    this.count++;
  }

  /** No more elements come: what is left of the batch before goes. */
  finish(): void {
    this.keys.length = this.count;
    this.values.length = this.count;
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

  constructor(map: BatchMap<K, KI, V, VI>) {
    const { holdings, door } = map;
    this.#map = map;
    this.#holdings = holdings;
    this.#door = door;
    this.#room = new Room(holdings);
  }

  /** A batch to be filled. */
  newBatch(): BatchFill<K, V> {
    return new BatchFill();
  }

  /** LOOKUP_BATCH and LOOKUP_AND_DELETE_BATCH. */
  lookup(cmd: number, cursor: BatchCursor, count: number): [K, V][] {
    const { keys, values } = this.fill(this.newBatch(), cmd, cursor, count);
    return keys.map((key, i) => [key, values[i] as V]);
  }

  /**
   * The same into a batch, in the place of what is in it.
   * @returns the batch
   */
  fill(batch: BatchFill<K, V>, cmd: number, cursor: BatchCursor, count: number): BatchFill<K, V> {
    integer("count", count, 1, 0x7fffffff);
    if (!(cursor instanceof BatchCursor) || cursor.owner !== this) {
      throw new TypeError("cursor: expected one that batchCursor() of this map made");
    }
    batch.restart();
    if (!cursor.done) this.#fetch(batch, cmd, cursor, count);
    batch.finish();
    return batch;
  }

  /** The next batch. A bucket larger than the room is tried again with more room. */
  #fetch(batch: BatchFill<K, V>, cmd: number, cursor: BatchCursor, count: number): void {
    const { key, value, mem } = this.#door;
    // The cursor has 4 bytes (hash types) or those of a key.
    const cursorBytes = Math.max(8, round8(key.size));
    for (let room = Math.min(count, this.#map.maxEntries); ; room *= 2) {
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
      if (ret < 0 && ret !== -uapi.ENOENT) throw this.#error(cmd, ret, room);
      cursor.done = ret < 0;
      cursor.position = mem.u8.slice(outBatch, keys);
      this.#decode(batch, mem.u8.slice(keys, inBatch + bytes), keyBytes);
      return;
    }
  }

  /** The elements a lookup gave. `bytes` is a copy: a codec of the user's may do anything with the map. */
  #decode(batch: BatchFill<K, V>, bytes: Uint8Array, valuesAt: number): void {
    const { key, value } = this.#door;
    const count = this.#view.getUint32(COUNT_OFFSET, true);
    const mem = viewsOf(bytes.buffer);
    for (let i = 0; i < count; i++) {
      batch.add(key.read(mem, i * key.size), value.read(mem, valuesAt + i * value.size));
    }
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
    const keys = this.#place(uapi.BPF_MAP_UPDATE_BATCH, mem.u8);
    const batch = { keys, values: keys + keyBytes, count: list.length };
    const ret = this.#call(uapi.BPF_MAP_UPDATE_BATCH, batch);
    if (ret < 0) throw this.#error(uapi.BPF_MAP_UPDATE_BATCH, ret, list.length);
  }

  delete(keysToDelete: Iterable<KI>): void {
    const { key } = this.#door;
    const list = [...keysToDelete];
    const mem = viewsOf(new ArrayBuffer(list.length * key.size));
    for (const [i, k] of list.entries()) key.write(mem, i * key.size, k, `keys[${i}]`);
    const keys = this.#place(uapi.BPF_MAP_DELETE_BATCH, mem.u8);
    const ret = this.#call(uapi.BPF_MAP_DELETE_BATCH, { keys, count: list.length });
    if (ret < 0) throw this.#error(uapi.BPF_MAP_DELETE_BATCH, ret, list.length);
  }

  /** Puts bytes into the room. Encoded elsewhere first: a getter of the caller's may use the map, or close it. */
  #place(cmd: number, bytes: Uint8Array): number {
    if (!this.#holdings.ownsFd) throw this.#map.failed(nameOf(cmd), -uapi.EBADF, 0);
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

  #error(cmd: number, ret: number, asked: number): BpfError {
    const count = this.#view.getUint32(COUNT_OFFSET, true);
    // Errors found before the first element leave the count as it was: with all elements done there could be none.
    return this.#map.failed(nameOf(cmd), ret, count === asked ? 0 : count);
  }
}

function nameOf(cmd: number): string {
  const names = ["lookup", "lookup_and_delete", "update", "delete"];
  return `bpf_map_${names[cmd - uapi.BPF_MAP_LOOKUP_BATCH]}_batch`;
}

// The buffers of one map in the core's memory: a key, the next key, a value, and one for batches. They are taken at the
// first use, used for every call, and given back when the map's reference is closed or collected.

import { round8 } from "../numbers.js";
import {
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_FREEZE,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_UPDATE_ELEM,
  EFAULT,
  ENOENT,
  ENOSPC,
} from "../uapi.js";
import type { Backend, Releasable } from "./backend.js";
import { allocBytes, checkBytes } from "./bytes.js";
import type { Bytes } from "./bytes.js";
import { MapType } from "./constants.js";
import { checkStatus } from "./errors.js";
import type { MapInfo } from "./map-ref.js";

/** A batch buffer above this many bytes is not kept. */
const BATCH_BYTES_KEPT = 1 << 20;

const PERCPU_TYPES: ReadonlySet<MapType> = new Set([
  MapType.PERCPU_HASH,
  MapType.PERCPU_ARRAY,
  MapType.LRU_PERCPU_HASH,
  MapType.PERCPU_CGROUP_STORAGE,
]);

/** What a batch lookup found. */
export interface Batch {
  /** 0 or -errno. */
  readonly status: number;
  /** Entries; undefined when unknown. */
  readonly count: number | undefined;
  /** The entries' keys and values, back to back. */
  readonly keys: Bytes;
  readonly values: Bytes;
}

/** Where a walk of batches stands. */
export interface BatchCursor {
  /** As the core wrote it: a bucket's number or a key, hence 4 bytes at least. */
  readonly bytes: Uint8Array;
  isStart: boolean;
}

/** The window onto one map. Fds are passed in, because the reference may be closed at any time. */
export class MapWindow implements Releasable {
  readonly backend: Backend;
  readonly keySize: number;
  /** Bytes of a value as it is passed: on per-CPU types a slot of round_up(value_size, 8) for each possible CPU. */
  readonly valueSize: number;
  readonly #cursorSize: number;
  #ptr = 0;
  #batchPtr = 0;
  #batchBytes = 0;

  constructor(backend: Backend, info: Pick<MapInfo, "type" | "keySize" | "valueSize">) {
    this.backend = backend;
    this.keySize = info.keySize;
    this.valueSize = PERCPU_TYPES.has(info.type)
      ? round8(info.valueSize) * backend.runtime.cpus
      : info.valueSize;
    this.#cursorSize = round8(Math.max(4, info.keySize));
  }

  release(): void {
    this.backend.free(this.#ptr);
    this.#ptr = 0;
    this.#releaseBatch();
  }

  checkKey<B extends Uint8Array>(key: B): B {
    return checkBytes("key", key, this.keySize);
  }

  checkValue<B extends Uint8Array>(value: B): B {
    return checkBytes("value", value, this.valueSize);
  }

  /** The caller's buffer for a value, or a new one. */
  valueOut(out: Bytes | undefined): Bytes {
    return out === undefined ? allocBytes(this.valueSize) : this.checkValue(out);
  }

  /**
   * Reads with `cmd`, one of the lookups.
   * @returns `out`, or undefined after ENOENT
   */
  lookup(
    cmd: number,
    operation: string,
    fd: number,
    key: Uint8Array,
    flags: number,
    out: Bytes,
  ): Bytes | undefined {
    const keyPtr = this.#putKey(key, operation);
    const valuePtr = this.#valuePtr();
    const status = this.backend.elem(cmd, fd, keyPtr, valuePtr, flags);
    if (status === -ENOENT) return undefined;
    checkStatus(operation, status);
    this.backend.take(valuePtr, out);
    return out;
  }

  update(fd: number, key: Uint8Array, value: Uint8Array, flags: number): void {
    const operation = "bpf_map_update_elem";
    const keyPtr = this.#putKey(key, operation);
    const valuePtr = this.#valuePtr();
    this.backend.put(valuePtr, value);
    checkStatus(operation, this.backend.elem(BPF_MAP_UPDATE_ELEM, fd, keyPtr, valuePtr, flags));
  }

  /** @returns false after ENOENT */
  delete(fd: number, key: Uint8Array): boolean {
    const operation = "bpf_map_delete_elem";
    const keyPtr = this.#putKey(key, operation);
    const status = this.backend.elem(BPF_MAP_DELETE_ELEM, fd, keyPtr, 0, 0);
    if (status === -ENOENT) return false;
    checkStatus(operation, status);
    return true;
  }

  /** @returns `out`, or undefined after the last key */
  nextKey(fd: number, key: Uint8Array | undefined, out: Bytes): Bytes | undefined {
    const operation = "bpf_map_get_next_key";
    this.#reserve(operation);
    const keyPtr = key === undefined ? 0 : this.#putKey(key, operation);
    const nextPtr = this.#ptr + round8(this.keySize);
    const status = this.backend.elem(BPF_MAP_GET_NEXT_KEY, fd, keyPtr, nextPtr, 0);
    if (status === -ENOENT) return undefined;
    checkStatus(operation, status);
    this.backend.take(nextPtr, out);
    return out;
  }

  freeze(fd: number): void {
    checkStatus("bpf_map_freeze", this.backend.elem(BPF_MAP_FREEZE, fd, 0, 0, 0));
  }

  /** A cursor at the start of the map. */
  cursor(): BatchCursor {
    return { bytes: new Uint8Array(this.#cursorSize), isStart: true };
  }

  /** One BPF_MAP_LOOKUP_BATCH or BPF_MAP_LOOKUP_AND_DELETE_BATCH; moves the cursor unless it has to be repeated. */
  lookupBatch(
    cmd: number,
    operation: string,
    fd: number,
    cursor: BatchCursor,
    count: number,
    flags: number,
  ): Batch {
    const { backend } = this;
    const inPtr = this.#reserveBatch(count, operation);
    const outPtr = inPtr + this.#cursorSize;
    const keysPtr = outPtr + this.#cursorSize;
    const valuesPtr = keysPtr + round8(count * this.keySize);
    backend.put(inPtr, cursor.bytes);
    backend.put(outPtr, cursor.bytes);
    const status = backend.batch(cmd, {
      fd,
      cursorIn: cursor.isStart ? 0 : inPtr,
      cursorOut: outPtr,
      keys: keysPtr,
      values: valuesPtr,
      count,
      flags,
    });
    // ENOENT is the end of the map: its count is right.
    const found =
      status === -ENOENT ? backend.batchCount : trustedCount(status, count, backend.batchCount);
    const keys = allocBytes((found ?? 0) * this.keySize);
    const values = allocBytes((found ?? 0) * this.valueSize);
    backend.take(keysPtr, keys);
    backend.take(valuesPtr, values);
    if (status !== -ENOSPC) {
      backend.take(outPtr, cursor.bytes);
      cursor.isStart = false;
    }
    this.#trimBatch();
    return { status, count: found, keys, values };
  }

  /**
   * BPF_MAP_UPDATE_BATCH, or BPF_MAP_DELETE_BATCH without values. Keys and values have been checked.
   *
   * @throws {BPFError} with `count`: the entries processed before the error
   */
  writeBatch(
    cmd: number,
    operation: string,
    fd: number,
    keys: readonly Uint8Array[],
    values: readonly Uint8Array[],
    flags: number,
  ): void {
    const { backend } = this;
    const count = keys.length;
    const keysPtr = this.#reserveBatch(count, operation) + 2 * this.#cursorSize;
    const valuesPtr = keysPtr + round8(count * this.keySize);
    keys.forEach((key, i) => backend.put(keysPtr + i * this.keySize, key));
    values.forEach((value, i) => backend.put(valuesPtr + i * this.valueSize, value));
    const operands = {
      fd,
      cursorIn: 0,
      cursorOut: 0,
      keys: keysPtr,
      values: valuesPtr,
      count,
      flags,
    };
    const status = backend.batch(cmd, operands);
    const done = trustedCount(status, count, backend.batchCount);
    this.#trimBatch();
    checkStatus(operation, status, done);
  }

  /** Types without keys want NULL. */
  #putKey(key: Uint8Array, operation: string): number {
    this.#reserve(operation);
    if (this.keySize === 0) return 0;
    this.backend.put(this.#ptr, key);
    return this.#ptr;
  }

  #reserve(operation: string): void {
    if (this.#ptr !== 0) return;
    this.#ptr = this.backend.alloc(2 * round8(this.keySize) + round8(this.valueSize), operation);
  }

  #valuePtr(): number {
    return this.#ptr + 2 * round8(this.keySize);
  }

  /** Two cursors, then `count` keys, then `count` values. */
  #reserveBatch(count: number, operation: string): number {
    const bytes =
      2 * this.#cursorSize + round8(count * this.keySize) + round8(count * this.valueSize);
    if (bytes > this.#batchBytes) {
      this.#releaseBatch();
      this.#batchPtr = this.backend.alloc(bytes, operation);
      this.#batchBytes = bytes;
    }
    return this.#batchPtr;
  }

  #trimBatch(): void {
    if (this.#batchBytes > BATCH_BYTES_KEPT) this.#releaseBatch();
  }

  #releaseBatch(): void {
    this.backend.free(this.#batchPtr);
    this.#batchPtr = 0;
    this.#batchBytes = 0;
  }
}

/**
 * How many entries a batch processed. Errors found before the first entry leave attr.batch.count as it went in: with all
 * entries processed there could be no error. EFAULT may come at any time.
 */
function trustedCount(status: number, asked: number, count: number): number | undefined {
  if (status >= 0 || count !== asked) return count;
  return status === -EFAULT ? undefined : 0;
}

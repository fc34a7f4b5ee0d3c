// RINGBUF and USER_RINGBUF as typed maps.
//
// The consumer reads the ring where it lies: producer position, then record headers, then bytes. In shared memory with
// Atomics, since the producer may be another thread; V8 does not inline them, hence plain accesses elsewhere.
// Format and protocol: assembly/ringbuf.ts.

import { ByteWords, isBytes } from "../byte-words.js";
import type { Codec } from "../codec.js";
import { isArrayOf } from "../codec/base.js";
import { BpfError } from "../errors.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import { integer, isFlags } from "../numbers.js";
import { checkCallback, checkOut, checkRecord, checkTime } from "./records.js";
import type { BpfRuntime } from "../runtime.js";
import * as uapi from "../uapi.js";
import type { LiveViews } from "../views.js";
import { RingWaiter } from "./ring-wait.js";

const HDR = uapi.BPF_RINGBUF_HDR_SZ;
const LEN_MASK = 0x3fffffff;
const TWO_32 = 0x1_0000_0000;
/** drain() tells the producer about the room it made after this share of the ring. */
const PUBLISH_SHARE = 4;

/** Records up to so many bytes are copied word by word, which is faster than a view of them. */
const SHORT = 128;

const ALL_FLAGS = uapi.BPF_RB_NO_WAKEUP | uapi.BPF_RB_FORCE_WAKEUP;

/** Bytes a record with `size` bytes of payload takes. */
function recordBytes(size: number): number {
  return (size + HDR + 7) & ~7;
}

/** What both types have: pages, positions, decoding. */
export abstract class RingMap<V> extends TypedMap {
  /** @internal */
  protected readonly handle: number;
  /** @internal */
  protected readonly codec: Codec<V, never> | undefined;
  /** @internal */
  protected readonly waiter: RingWaiter;
  /** @internal Address of the consumer page. */
  protected readonly pages: number;
  /** @internal Address of the data. */
  protected readonly data: number;
  /** @internal */
  protected readonly views: LiveViews;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity, value: Codec<V, never> | undefined) {
    super(runtime, identity, SHORT);
    this.handle = this.holdings.handle;
    this.codec = value;
    const waiter = new RingWaiter(runtime, this.handle);
    this.waiter = waiter;
    this.holdings.onEnd(() => waiter.end());
    this.pages = runtime.exports.ringbuf_pages(this.handle) >>> 0;
    this.data = this.pages + 2 * uapi.PAGE_SIZE;
    this.views = runtime.views;
    this.views.reach(this.data + 2 * identity.info.maxEntries - 1);
  }

  /** Bytes that the consumer has read since the beginning. */
  get consumerPosition(): number {
    this.mustAllow("mmap", 0);
    return this.position(this.pages);
  }

  /** Bytes that producers have reserved since the beginning. */
  get producerPosition(): number {
    this.mustAllow("mmap", 0);
    return this.position(this.pages + uapi.PAGE_SIZE);
  }

  /** @internal A word that the other side writes. */
  protected load32(at: number): number {
    const { i32, isShared } = this.views;
    return isShared ? Atomics.load(i32, at >>> 2) : (i32[at >>> 2] as number);
  }

  /** @internal A word that the other side reads. */
  protected store32(at: number, word: number): void {
    const { i32, isShared } = this.views;
    if (isShared) Atomics.store(i32, at >>> 2, word | 0);
    else i32[at >>> 2] = word;
  }

  /** @internal A position is read in two words: again, if the high one has changed meanwhile. */
  protected position(at: number): number {
    const { views } = this;
    const index = at >>> 2;
    views.reach(at);
    if (!views.isShared)
      return (views.u32[index + 1] as number) * TWO_32 + (views.u32[index] as number);
    while (true) {
      const high = Atomics.load(views.u32, index + 1);
      const low = Atomics.load(views.u32, index);
      if (Atomics.load(views.u32, index + 1) === high) return high * TWO_32 + low;
    }
  }

  /** @internal Publishes a position; the halves together when the high one changes. */
  protected setPosition(at: number, position: number, before: number): void {
    const { views } = this;
    views.reach(at);
    if (Math.floor(position / TWO_32) === Math.floor(before / TWO_32)) this.store32(at, position);
    else Atomics.store(views.u64, at >>> 3, BigInt(position));
  }

  /** @internal Address of what lies at a position; the ring's size is a power of two. */
  protected addressOf(position: number): number {
    return this.data + ((position >>> 0) & (this.maxEntries - 1));
  }

  /** @internal The payload of a record that is being filled in. */
  payload({ ptr, byteLength }: RingRecord): Uint8Array {
    this.mustAllow("mmap", 0);
    const { views } = this;
    views.reach(ptr + byteLength);
    return views.u8.subarray(ptr, ptr + byteLength);
  }
}

/** @throws {TypeError | RangeError} not what the length of a record may be */
function checkLength(byteLength: number): void {
  integer("byteLength", byteLength, 0, LEN_MASK);
}

/** A record that has been reserved and is being filled in. The first `submit` or `discard` counts, others do nothing. */
export class RingRecord {
  /** Address of the payload in the runtime's memory. */
  readonly ptr: number;
  /** Bytes of the payload, as they were asked for. */
  readonly byteLength: number;
  readonly #ring: Pick<UserRingBuffer, "finish" | "payload">;
  #isOver = false;

  /** @internal */
  constructor(ring: Pick<UserRingBuffer, "finish" | "payload">, ptr: number, byteLength: number) {
    this.#ring = ring;
    this.ptr = ptr;
    this.byteLength = byteLength;
  }

  /**
   * The payload; what is in it before it is written is whatever was there.
   * @throws {BpfError} EBADF: the map is closed
   */
  get bytes(): Uint8Array {
    return this.#ring.payload(this);
  }

  /**
   * Publishes the record.
   * @param flags BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
   * @throws {BpfError} EINVAL: other flags; EBADF: the map is closed
   */
  submit(flags = 0): void {
    this.#end(true, flags);
  }

  /** Drops the record: the consumer skips it. Flags and errors as of `submit`. */
  discard(flags = 0): void {
    this.#end(false, flags);
  }

  /** Once: by the next time another record may be at the address. */
  #end(isSubmit: boolean, flags: number): void {
    if (this.#isOver) return;
    this.#ring.finish(this, isSubmit, flags);
    this.#isOver = true;
  }
}

/**
 * BPF_MAP_TYPE_RINGBUF: records from programs (any number of producers) to one consumer. `maxEntries` is its size in
 * bytes, a power of two and at least 4096. Records are read as the codec `value` says, without one as bytes.
 *
 * @example
 * ```ts
 * const events = rt.createMap({ type: "ringbuf", value: u32, maxEntries: 4096 });
 * events.output(new Uint8Array([1, 0, 0, 0]));
 * const seen: number[] = [];
 * events.drain((event) => void seen.push(event)); // seen: [1]
 * ```
 */
export class RingBuffer<V = Uint8Array> extends RingMap<V> implements AsyncIterable<V> {
  /** Of recordsInto, and of output. */
  readonly #outWords = new ByteWords(0);
  readonly #recordWords = new ByteWords(0);
  #isConsuming = false;

  // ---- producing: what programs do with the helpers ----

  /**
   * Copies a record in and publishes it (bpf_ringbuf_output).
   * @param flags BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
   * @returns false: no room, the record is lost (`lost` counts it)
   * @throws {TypeError} no Uint8Array
   * @throws {BpfError} EINVAL: other flags
   */
  output(record: Uint8Array, flags = 0): boolean {
    checkRecord(record);
    this.#checkFlags("bpf_ringbuf_output", flags);
    if (record.length <= SHORT && flags === 0) return this.#outputShort(record);
    const ptr = this.#reserve(record.length);
    if (ptr === 0) return false;
    this.views.reach(ptr + record.length);
    this.views.u8.set(record, ptr);
    this.runtime.exports.bpf_ringbuf_submit(ptr, BigInt(flags));
    return true;
  }

  /** In one call. */
  #outputShort(record: Uint8Array): boolean {
    this.mustAllow("bpf_ringbuf_output", 0);
    const { handle, views, window } = this;
    views.reach(window, SHORT);
    const words = this.#recordWords.view(record);
    const count = words.length;
    if (count * 4 === record.length) {
      const to = window >>> 2;
      for (let i = 0; i < count; i++) views.i32[to + i] = words[i] as number;
    } else {
      views.u8.set(record, window);
    }
    const ret = this.runtime.exports.bpf_ringbuf_output(handle, window, record.length, 0n);
    if (ret === 0) return true;
    this.mustBeOpen("bpf_ringbuf_output");
    return false;
  }

  /**
   * Reserves a record of `byteLength` bytes (bpf_ringbuf_reserve); undefined: no room. Submit or discard it.
   * @throws {TypeError | RangeError} no integer in 0..2^30-1
   */
  reserve(byteLength: number): RingRecord | undefined {
    checkLength(byteLength);
    const ptr = this.#reserve(byteLength);
    return ptr === 0 ? undefined : new RingRecord(this, ptr, byteLength);
  }

  #checkFlags(syscall: string, flags: number): void {
    if (!isFlags(flags) || flags > ALL_FLAGS) throw this.failed(syscall, -uapi.EINVAL);
  }

  #reserve(byteLength: number): number {
    this.mustAllow("bpf_ringbuf_reserve", 0);
    const ptr = this.runtime.exports.bpf_ringbuf_reserve(this.handle, byteLength, 0n) >>> 0;
    if (ptr === 0) this.mustBeOpen("bpf_ringbuf_reserve");
    return ptr;
  }

  /** @internal */
  finish(record: RingRecord, isSubmit: boolean, flags: number): void {
    this.mustAllow("bpf_ringbuf_submit", 0);
    this.#checkFlags("bpf_ringbuf_submit", flags);
    const { exports } = this.runtime;
    if (isSubmit) exports.bpf_ringbuf_submit(record.ptr, BigInt(flags));
    else exports.bpf_ringbuf_discard(record.ptr, BigInt(flags));
  }

  /** Records that found no room so far. */
  get lost(): number {
    this.mustBeOpen("ringbuf_lost");
    return Number(this.runtime.exports.ringbuf_lost(this.handle));
  }

  /** Bytes that are reserved and not consumed, headers included (BPF_RB_AVAIL_DATA). */
  get availableBytes(): number {
    return this.producerPosition - this.consumerPosition;
  }

  // ---- consuming ----

  /** Is there a record to read now? Discarded ones are stepped over. */
  poll(): boolean {
    this.mustBeOpen("poll");
    const { consumerPosition } = this;
    const at = this.#skipDiscarded(consumerPosition);
    if (at !== consumerPosition) this.setPosition(this.pages, at, consumerPosition);
    return this.#header(at, this.producerPosition) >= 0;
  }

  /**
   * Hands over the records that are there, oldest first.
   * @param callback gets each record; bytes are a view of the ring, good until the callback returns. False ends it.
   * @param limit    at most this many
   * @returns the number of records handed over. One whose callback throws counts as read.
   * @throws {TypeError} no function; a limit that is no number
   * @throws {RangeError} a record that is shorter than the map's codec; it counts as read
   * @throws {BpfError} EBUSY: called by a callback of the same map's drain
   */
  drain(callback: (record: V) => boolean | void, limit = Infinity): number {
    checkCallback(callback);
    if (typeof limit !== "number" || Number.isNaN(limit)) {
      throw new TypeError(`limit: expected a number, got ${String(limit)}`);
    }
    this.mustBeOpen("ring_buffer__consume");
    return this.#consume(limit, (ptr, size) => callback(this.#view(ptr, size)) !== false);
  }

  /**
   * Takes the oldest record out, as a copy; undefined: there is none.
   * @throws {RangeError} a record that is shorter than the map's codec; it counts as read
   * @throws {BpfError} EBUSY: called by a callback of the same map's drain
   */
  take(): V | undefined {
    this.mustBeOpen("ring_buffer__consume");
    let record: V | undefined;
    this.#consume(1, (ptr, size) => {
      record = this.#copy(ptr, size);
      return true;
    });
    return record;
  }

  /**
   * Copies records, oldest first, one behind the other, without allocating.
   * @param out     for the bytes; a record that does not fit stays in the ring
   * @param lengths for the length of each record
   * @returns the number of records copied
   * @throws {TypeError} other arrays
   * @throws {BpfError} E2BIG: the first record is longer than `out`; EBUSY: called by a callback of the same map's drain
   */
  recordsInto(out: Uint8Array, lengths: Uint32Array): number {
    checkOut(out);
    if (!isArrayOf("Uint32Array", lengths)) throw new TypeError("lengths: expected a Uint32Array");
    this.mustBeOpen("ring_buffer__consume");
    const { views } = this;
    const words = this.#outWords.view(out);
    // Not of other arrays, and their buffer may have another length by now.
    const hasWords = isBytes(out, out.length) && words.length === out.length >>> 2;
    let used = 0;
    let count = 0;
    let isTooLong = false;
    this.#consume(
      lengths.length,
      (ptr, size) => {
        const to = used >>> 2;
        if (hasWords && ((size | used) & 3) === 0 && size <= SHORT) {
          const from = ptr >>> 2;
          for (let i = 0; i < size >>> 2; i++) words[to + i] = views.i32[from + i] as number;
        } else {
          out.set(views.u8.subarray(ptr, ptr + size), used);
        }
        lengths[count++] = size;
        used += size;
        return true;
      },
      (size) => {
        const fits = size <= out.length - used;
        isTooLong = !fits && count === 0;
        return fits;
      },
    );
    if (isTooLong) {
      throw new BpfError(
        "ring_buffer__consume",
        -uapi.E2BIG,
        "the record is longer than the array",
      );
    }
    return count;
  }

  /**
   * Resolves to true when there is a record to read, to false after `timeoutMs` or when the map is closed.
   * @throws {TypeError} a time that is no number
   */
  async waitAsync(timeoutMs = Infinity): Promise<boolean> {
    checkTime(timeoutMs);
    const end = Date.now() + timeoutMs;
    while (this.holdings.isOpen) {
      const { count } = this.waiter;
      if (this.poll()) return true;
      const left = end - Date.now();
      if (left <= 0) return false;
      await this.waiter.sleep(count, left);
    }
    return false;
  }

  /**
   * Blocks this thread until there is a record to read (shared memory only, and not on a browser's main thread).
   * @returns false after `timeoutMs`
   * @throws {TypeError} a time that is no number
   */
  wait(timeoutMs = Infinity): boolean {
    checkTime(timeoutMs);
    const end = Date.now() + timeoutMs;
    while (true) {
      const { count } = this.waiter;
      if (this.poll()) return true;
      const left = end - Date.now();
      if (left <= 0) return false;
      this.waiter.block(count, left);
    }
  }

  /** Takes records out as they come, as copies, until the map is closed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<V> {
    while (this.holdings.isOpen) {
      const record = this.take();
      if (record !== undefined) yield record;
      else if (!(await this.waitAsync())) return;
    }
  }

  /** Header word of the record at a position; negative: none, or not committed yet. */
  #header(position: number, produced: number): number {
    if (position >= produced) return -1;
    const at = this.addressOf(position);
    // A callback may have made the memory grow.
    this.views.reach(at);
    return this.load32(at);
  }

  #skipDiscarded(position: number): number {
    const produced = this.producerPosition;
    let at = position;
    let header = this.#header(at, produced);
    while (header >= 0 && (header & uapi.BPF_RINGBUF_DISCARD_BIT) !== 0) {
      at += recordBytes(header & LEN_MASK);
      header = this.#header(at, produced);
    }
    return at;
  }

  /** Walks over committed records; `fits` may refuse one, which then stays. */
  #consume(
    limit: number,
    visit: (ptr: number, size: number) => boolean,
    fits?: (size: number) => boolean,
  ): number {
    // Two walks at once would read records twice, and give room back that is still read.
    if (this.#isConsuming) {
      throw new BpfError("ring_buffer__consume", -uapi.EBUSY, "a drain of this map is under way");
    }
    this.#isConsuming = true;
    try {
      return this.#walk(limit, visit, fits);
    } finally {
      this.#isConsuming = false;
    }
  }

  #walk(
    limit: number,
    visit: (ptr: number, size: number) => boolean,
    fits?: (size: number) => boolean,
  ): number {
    const publishEvery = this.maxEntries / PUBLISH_SHARE;
    let position = this.consumerPosition;
    let published = position;
    let produced = this.producerPosition;
    let count = 0;
    try {
      while (count < limit) {
        if (position >= produced) {
          produced = this.producerPosition;
          if (position >= produced) break;
        }
        const header = this.#header(position, produced);
        if (header < 0) break;
        const size = header & LEN_MASK;
        const ptr = this.addressOf(position) + HDR;
        const isDiscarded = (header & uapi.BPF_RINGBUF_DISCARD_BIT) !== 0;
        if (!isDiscarded && fits !== undefined && !fits(size)) break;
        position += recordBytes(size);
        if (isDiscarded) continue;
        count++;
        if (!visit(ptr, size)) break;
        if (!this.holdings.isOpen) break;
        if (position - published >= publishEvery) {
          this.setPosition(this.pages, position, published);
          published = position;
        }
      }
    } finally {
      if (position !== published && this.holdings.isOpen) {
        this.setPosition(this.pages, position, published);
      }
    }
    return count;
  }

  #view(ptr: number, size: number): V {
    return this.codec === undefined
      ? (this.views.u8.subarray(ptr, ptr + size) as V)
      : this.#decode(this.codec, ptr, size);
  }

  #copy(ptr: number, size: number): V {
    if (this.codec !== undefined) return this.#decode(this.codec, ptr, size);
    const copy = new Uint8Array(size);
    copy.set(this.views.u8.subarray(ptr, ptr + size));
    return copy as V;
  }

  #decode(codec: Codec<V, never>, ptr: number, size: number): V {
    if (size < codec.size) {
      throw new RangeError(`record of ${size} bytes: the codec needs ${codec.size}`);
    }
    return codec.read(this.views, ptr);
  }
}

/**
 * BPF_MAP_TYPE_USER_RINGBUF: records from user space to a program, which takes them with bpf_user_ringbuf_drain. One
 * producer; `maxEntries` is the size in bytes.
 */
export class UserRingBuffer extends RingMap<Uint8Array> {
  /**
   * Reserves a record; undefined: no room. The next one comes behind it, in whatever order they are submitted.
   * @throws {TypeError | RangeError} no integer in 0..2^30-1
   */
  reserve(byteLength: number): RingRecord | undefined {
    this.mustBeOpen("user_ring_buffer__reserve");
    checkLength(byteLength);
    const produced = this.producerPosition;
    const bytes = recordBytes(byteLength);
    if (bytes > this.maxEntries - (produced - this.consumerPosition)) return undefined;
    const at = this.addressOf(produced);
    this.views.reach(at + bytes);
    this.store32(at + 4, 0);
    this.store32(at, byteLength | uapi.BPF_RINGBUF_BUSY_BIT);
    this.setPosition(this.pages + uapi.PAGE_SIZE, produced + bytes, produced);
    return new RingRecord(this, at + HDR, byteLength);
  }

  /**
   * Copies a record in and publishes it.
   * @returns false: no room
   * @throws {TypeError} no Uint8Array
   */
  push(record: Uint8Array): boolean {
    checkRecord(record);
    const reserved = this.reserve(record.length);
    if (reserved === undefined) return false;
    reserved.bytes.set(record);
    reserved.submit();
    return true;
  }

  /**
   * Resolves to true when a program has made room since the ring was seen full, to false after the time or at close.
   * @throws {TypeError | RangeError} no integer in 0..2^30-1; a time that is no number
   */
  async waitAsync(byteLength: number, timeoutMs = Infinity): Promise<boolean> {
    checkLength(byteLength);
    checkTime(timeoutMs);
    const end = Date.now() + timeoutMs;
    while (this.holdings.isOpen) {
      const { count } = this.waiter;
      if (recordBytes(byteLength) <= this.freeBytes) return true;
      const left = end - Date.now();
      if (left <= 0) return false;
      await this.waiter.sleep(count, left);
    }
    return false;
  }

  /** Bytes that are neither reserved nor waiting to be drained. */
  get freeBytes(): number {
    return this.maxEntries - (this.producerPosition - this.consumerPosition);
  }

  /** @internal */
  finish(record: RingRecord, isSubmit: boolean, _flags: number): void {
    this.mustAllow("user_ring_buffer__submit", 0);
    this.views.reach(record.ptr);
    const bits = isSubmit ? 0 : uapi.BPF_RINGBUF_DISCARD_BIT;
    this.store32(record.ptr - HDR, record.byteLength | bits);
  }
}

// PERF_EVENT_ARRAY as a typed map: a stream of records for each CPU. Format: assembly/perf_event.ts.

import { check } from "../errors.js";
import { FMODE_WRITE } from "../holdings.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import { isU32 } from "../numbers.js";
import { checkCallback, checkRecord } from "./records.js";
import type { BpfRuntime } from "../runtime.js";
import * as uapi from "../uapi.js";

const DATA_HEAD = 1024;
const DATA_TAIL = 1032;
const DATA_SIZE = 1048;
const PERF_RECORD_LOST = 2;
const PERF_RECORD_SAMPLE = 9;
/** An index and an fd. */
const WINDOW_BYTES = 8;
/** Header, and the size of the bytes. */
const SAMPLE_HDR = 12;
const LOST_COUNT = 16;

/** The reader of one CPU's stream. */
interface Stream {
  readonly cpu: number;
  readonly fd: number;
  readonly pages: number;
}

/**
 * BPF_MAP_TYPE_PERF_EVENT_ARRAY: programs write records to the stream of their CPU with bpf_perf_event_output, this side
 * reads them all. `open` makes the streams, which end with the map.
 *
 * @example
 * ```ts
 * const events = rt.createMap({ type: "perf_event_array", maxEntries: rt.cpus });
 * events.open();
 * events.output(new Uint8Array([1, 2, 3, 4]));
 * const seen: number[] = [];
 * events.drain((cpu, bytes) => void seen.push(cpu, bytes.length)); // seen: [0, 4]
 * ```
 */
export class PerfEventArray extends TypedMap {
  /** Replaced as a whole: a drain sees by it that the streams it reads are gone. */
  #streams: readonly Stream[] = [];
  /** Lost samples that are no longer counted in a stream. */
  #reported = 0;

  /** @internal */
  constructor(runtime: BpfRuntime, identity: MapIdentity) {
    super(runtime, identity, WINDOW_BYTES);
    this.holdings.onEnd(() => this.#replaceStreams([]));
  }

  /**
   * Makes a stream for each CPU that the map has an index for. They take the place of the streams that are there, whose
   * records are lost; after an error those are still there.
   * @param byteLength room of each stream: a power of two, at least 4096
   * @throws {BpfError} EINVAL: another size; ENOMEM; EPERM: frozen
   */
  open(byteLength = 65536): void {
    this.mustAllow("perf_event_open", FMODE_WRITE);
    if (!isU32(byteLength)) throw this.failed("perf_event_open", -uapi.EINVAL);
    const streams: Stream[] = [];
    const count = Math.min(this.runtime.cpus, this.maxEntries);
    try {
      for (let cpu = 0; cpu < count; cpu++) streams.push(this.#newStream(cpu, byteLength));
      for (const stream of streams) this.#put(stream);
    } catch (error) {
      for (const { fd } of streams) this.runtime.close(fd);
      throw error;
    }
    this.#reported = this.lost;
    this.#replaceStreams(streams);
  }

  #newStream(cpu: number, byteLength: number): Stream {
    const { exports } = this.runtime;
    const fd = check(exports.perf_event_create(cpu, byteLength), "perf_event_open");
    return { cpu, fd, pages: exports.perf_event_pages(fd) >>> 0 };
  }

  /** Puts a stream at the index of its CPU. */
  #put({ cpu, fd }: Stream): void {
    const { exports, views } = this.runtime;
    const { handle } = this.holdings;
    views.reach(this.window, WINDOW_BYTES);
    views.u32[this.window >>> 2] = cpu;
    views.i32[(this.window >>> 2) + 1] = fd;
    const ret = exports.map_update(handle, this.window, this.window + 4, uapi.BPF_ANY);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
  }

  /**
   * What a program does on the runtime's current CPU: writes a record.
   * @returns false: no room, the record is lost
   * @throws {TypeError} no Uint8Array
   * @throws {BpfError} ENOENT: no stream for this CPU; E2BIG: more than 65516 bytes, or no such index
   */
  output(record: Uint8Array): boolean {
    checkRecord(record);
    this.mustBeOpen("bpf_perf_event_output");
    const { exports, views } = this.runtime;
    const ptr = this.holdings.take(Math.max(1, record.length));
    views.reach(ptr + record.length);
    views.u8.set(record, ptr);
    const flags = BigInt(uapi.BPF_F_CURRENT_CPU);
    const ret = exports.bpf_perf_event_output(0, this.holdings.handle, flags, ptr, record.length);
    this.holdings.give(ptr);
    if (ret !== 0 && ret !== -uapi.ENOSPC) throw this.failed("bpf_perf_event_output", ret);
    return ret === 0;
  }

  /**
   * Hands over the records that are there, CPU after CPU, oldest first.
   * @param callback gets copies; like the kernel's they are padded, to 4 more than a multiple of 8, with what lay in
   *   the stream before. False ends it, as does closing the map or `open`.
   * @returns the number of records
   * @throws {TypeError} no function
   */
  drain(callback: (cpu: number, record: Uint8Array) => boolean | void): number {
    checkCallback(callback);
    this.mustBeOpen("perf_buffer__consume");
    let count = 0;
    const streams = this.#streams;
    for (const stream of streams) {
      for (let record = this.#next(stream); record !== undefined; record = this.#next(stream)) {
        count++;
        const goOn = callback(stream.cpu, record) !== false;
        if (!goOn || streams !== this.#streams) return count;
      }
    }
    return count;
  }

  /** Samples that found no room so far, on all CPUs. */
  get lost(): number {
    this.mustBeOpen("perf_event_open");
    const { exports } = this.runtime;
    return this.#streams.reduce(
      (sum, { fd }) => sum + Number(exports.perf_event_lost(fd)),
      this.#reported,
    );
  }

  /** @internal */
  protected override explain(ret: number, syscall: string): string | undefined {
    if (ret === -uapi.E2BIG)
      return "the record has more than 65516 bytes, or no index is this CPU's";
    if (ret === -uapi.ENOENT) return "there is no stream for this CPU: open makes them";
    return super.explain(ret, syscall);
  }

  #replaceStreams(streams: readonly Stream[]): void {
    for (const { fd } of this.#streams) this.runtime.close(fd);
    this.#streams = streams;
  }

  /** Takes the next sample of a stream; lost records are added up on the way. */
  #next({ pages }: Stream): Uint8Array | undefined {
    const { views } = this.runtime;
    views.reach(pages + DATA_TAIL);
    const head = Atomics.load(views.u64, (pages + DATA_HEAD) >>> 3);
    let tail = Atomics.load(views.u64, (pages + DATA_TAIL) >>> 3);
    let record: Uint8Array | undefined;
    while (record === undefined && tail < head) {
      const bytes = this.#bytesAt(pages, Number(tail));
      const view = new DataView(bytes.buffer);
      const type = view.getUint32(0, true);
      if (type === PERF_RECORD_LOST) this.#reported += Number(view.getBigUint64(LOST_COUNT, true));
      if (type === PERF_RECORD_SAMPLE) record = bytes.subarray(SAMPLE_HDR);
      tail += BigInt(bytes.length);
      Atomics.store(views.u64, (pages + DATA_TAIL) >>> 3, tail);
    }
    return record;
  }

  /** A copy of the record at a position, which may go on at the start of the data. */
  #bytesAt(pages: number, position: number): Uint8Array {
    const { views } = this.runtime;
    const data = pages + uapi.PAGE_SIZE;
    const dataSize = views.u32[(pages + DATA_SIZE) >>> 2] ?? 0;
    // A shared memory's views may end among the pages.
    views.reach(data, dataSize);
    const offset = position % dataSize;
    const size = views.u16[(data + offset + 6) >>> 1] ?? 0;
    const bytes = new Uint8Array(size);
    const first = Math.min(size, dataSize - offset);
    bytes.set(views.u8.subarray(data + offset, data + offset + first));
    bytes.set(views.u8.subarray(data, data + size - first), first);
    return bytes;
  }
}

// The syscall-level client of the test suite: the map commands of bpf(2) with their operands as
// bytes. It lays out union bpf_attr, keeps keys and values in buffers of the kernel's memory that it
// reuses, and judges nothing: every answer is handed back as it came (>= 0, or -errno).

import * as uapi from "../../ts/uapi.js";
import {
  ATTR_END,
  type CreateSpec,
  setU64,
  type U64,
  writeCreateAttr,
  writeElemAttr,
} from "./attr.js";
import type { Kernel } from "./kernel.js";

/** Outcome of a command that hands bytes out; `out` is a copy, empty after an error. */
export interface BytesResult {
  readonly ret: number;
  readonly out: Uint8Array;
}

/** Outcome of a batch command. */
export interface BatchResult {
  readonly ret: number;
  /** attr.batch.count after the call. */
  readonly count: number;
  /** What the kernel wrote to out_batch; null when it wrote nothing. */
  readonly token: Uint8Array | null;
  /** The first `count` keys and values, back to back (lookups only). */
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** Operands of the two batch lookups; sizes in bytes. */
export interface BatchLookup {
  readonly fd: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly tokenSize: number;
  /** null starts at the beginning. */
  readonly token: Uint8Array | null;
  readonly count: number;
  readonly elemFlags?: U64;
  readonly flags?: U64;
}

/** Operands of BPF_MAP_UPDATE_BATCH and BPF_MAP_DELETE_BATCH. */
export interface BatchWrite {
  readonly fd: number;
  readonly keys: Uint8Array | null;
  readonly values: Uint8Array | null;
  readonly count: number;
  readonly elemFlags?: U64;
  readonly flags?: U64;
}

/** struct bpf_map_info, the fields that maps of this library have. */
export interface MapInfo {
  readonly type: number;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly mapFlags: number;
  readonly name: string;
  readonly btfId: number;
  readonly btfKeyTypeId: number;
  readonly btfValueTypeId: number;
  readonly mapExtra: bigint;
}

export interface ClientOptions {
  /** Pass the attr as an address in the kernel's memory instead of as a Uint8Array. */
  readonly attrInMemory?: boolean;
}

const NO_BYTES = new Uint8Array(0);
/** Fill of out_batch before a call: no bucket index and no key of a test looks like it. */
const UNWRITTEN = 0xdb;

/** A buffer in the kernel's memory that grows on demand. */
class Area {
  ptr = 0;
  #size = 0;
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  reserve(size: number): number {
    if (size > this.#size || this.ptr === 0) {
      this.release();
      this.#size = Math.max(64, 2 ** Math.ceil(Math.log2(Math.max(1, size))));
      this.ptr = this.#kernel.alloc(this.#size) >>> 0;
      if (this.ptr === 0) throw new Error(`the kernel's memory has no ${this.#size} bytes left`);
    }
    return this.ptr;
  }

  release(): void {
    if (this.ptr !== 0) this.#kernel.free(this.ptr);
    this.ptr = 0;
    this.#size = 0;
  }
}

/** bpf(2) with bytes instead of pointers. One instance serves one kernel, one call at a time. */
export class BpfClient {
  readonly kernel: Kernel;
  readonly #attr = new DataView(new ArrayBuffer(uapi.BPF_ATTR_SIZE));
  readonly #attrBytes = new Uint8Array(this.#attr.buffer);
  readonly #attrOfSize = new Map<number, Uint8Array>();
  readonly #attrInMemory: boolean;
  readonly #attrArea: Area;
  readonly #key: Area;
  readonly #value: Area;
  readonly #tokenIn: Area;
  readonly #tokenOut: Area;
  #memory: Uint8Array = NO_BYTES;

  constructor(kernel: Kernel, options: ClientOptions = {}) {
    this.kernel = kernel;
    this.#attrInMemory = options.attrInMemory ?? false;
    this.#attrArea = new Area(kernel);
    this.#key = new Area(kernel);
    this.#value = new Area(kernel);
    this.#tokenIn = new Area(kernel);
    this.#tokenOut = new Area(kernel);
  }

  /** Frees the client's buffers; the next call takes new ones. */
  release(): void {
    for (const area of [this.#attrArea, this.#key, this.#value, this.#tokenIn, this.#tokenOut]) {
      area.release();
    }
  }

  /** BPF_MAP_CREATE: the fd, or -errno. */
  create(spec: CreateSpec): number {
    writeCreateAttr(this.#clear(), spec);
    return this.#call(uapi.BPF_MAP_CREATE);
  }

  /** BPF_MAP_LOOKUP_ELEM; `valueSize` is the user's (all CPUs' slots). */
  lookup(fd: number, key: Uint8Array | null, valueSize: number, flags: U64 = 0): BytesResult {
    return this.#fetch(uapi.BPF_MAP_LOOKUP_ELEM, fd, key, valueSize, flags);
  }

  /** BPF_MAP_LOOKUP_AND_DELETE_ELEM; a null key pops from a queue or stack. */
  lookupAndDelete(
    fd: number,
    key: Uint8Array | null,
    valueSize: number,
    flags: U64 = 0,
  ): BytesResult {
    return this.#fetch(uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, key, valueSize, flags);
  }

  /** BPF_MAP_LOOKUP_ELEM with a value going in: membership of a bloom filter. */
  test(fd: number, value: Uint8Array | null, flags: U64 = 0): number {
    writeElemAttr(this.#clear(), fd, 0, this.#put(this.#value, value), flags);
    return this.#call(uapi.BPF_MAP_LOOKUP_ELEM);
  }

  /** BPF_MAP_UPDATE_ELEM: 0 or -errno. */
  update(fd: number, key: Uint8Array | null, value: Uint8Array | null, flags: U64 = 0): number {
    const keyPtr = this.#put(this.#key, key);
    writeElemAttr(this.#clear(), fd, keyPtr, this.#put(this.#value, value), flags);
    return this.#call(uapi.BPF_MAP_UPDATE_ELEM);
  }

  /**
   * BPF_MAP_DELETE_ELEM: 0 or -errno. The command has no flags; flags other than 0 make the attr
   * long enough to hold them, which the kernel refuses.
   */
  delete(fd: number, key: Uint8Array | null, flags: U64 = 0): number {
    writeElemAttr(this.#clear(), fd, this.#put(this.#key, key), 0, flags);
    const size = BigInt(flags) === 0n ? ATTR_END[uapi.BPF_MAP_DELETE_ELEM] : 32;
    return this.#call(uapi.BPF_MAP_DELETE_ELEM, size);
  }

  /** BPF_MAP_GET_NEXT_KEY; a null key asks for the first one. */
  nextKey(fd: number, key: Uint8Array | null, keySize: number): BytesResult {
    const next = this.#value.reserve(keySize);
    const attr = this.#clear();
    attr.setInt32(0, fd, true);
    attr.setUint32(8, this.#put(this.#key, key), true);
    attr.setUint32(16, next, true);
    const ret = this.#call(uapi.BPF_MAP_GET_NEXT_KEY);
    return { ret, out: ret < 0 ? NO_BYTES : this.#copy(next, keySize) };
  }

  lookupBatch(batch: BatchLookup): BatchResult {
    return this.#fetchBatch(uapi.BPF_MAP_LOOKUP_BATCH, batch);
  }

  lookupAndDeleteBatch(batch: BatchLookup): BatchResult {
    return this.#fetchBatch(uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH, batch);
  }

  updateBatch(batch: BatchWrite): BatchResult {
    return this.#writeBatch(uapi.BPF_MAP_UPDATE_BATCH, batch);
  }

  deleteBatch(batch: BatchWrite): BatchResult {
    return this.#writeBatch(uapi.BPF_MAP_DELETE_BATCH, batch);
  }

  /** BPF_MAP_FREEZE: 0 or -errno. */
  freeze(fd: number): number {
    this.#clear().setInt32(0, fd, true);
    return this.#call(uapi.BPF_MAP_FREEZE);
  }

  /** BPF_OBJ_GET_INFO_BY_FD of a map; `info` is undefined after an error. */
  info(fd: number): { readonly ret: number; readonly info: MapInfo | undefined } {
    const size = uapi.BPF_MAP_INFO_SIZE;
    const ptr = this.#value.reserve(size);
    this.#view().fill(0, ptr, ptr + size);
    const attr = this.#clear();
    attr.setInt32(0, fd, true);
    attr.setUint32(4, size, true);
    attr.setUint32(8, ptr, true);
    const ret = this.#call(uapi.BPF_OBJ_GET_INFO_BY_FD);
    return { ret, info: ret < 0 ? undefined : readMapInfo(this.#copy(ptr, size)) };
  }

  /** BPF_MAP_GET_NEXT_ID: `id` is next_id as the kernel left it. */
  getNextId(startId: number): { readonly ret: number; readonly id: number } {
    this.#clear().setUint32(0, startId, true);
    const ret = this.#call(uapi.BPF_MAP_GET_NEXT_ID);
    return { ret, id: this.#attr.getUint32(4, true) };
  }

  /** BPF_MAP_GET_FD_BY_ID: the fd, or -errno. */
  getFdById(id: number, openFlags = 0): number {
    const attr = this.#clear();
    attr.setUint32(0, id, true);
    attr.setUint32(8, openFlags, true);
    return this.#call(uapi.BPF_MAP_GET_FD_BY_ID);
  }

  /** BPF_OBJ_PIN: 0 or -errno. A null path is a NULL pointer. */
  pin(fd: number, path: string | null, fileFlags = 0, pathFd = 0): number {
    this.#writeObjAttr(fd, path, fileFlags, pathFd);
    return this.#call(uapi.BPF_OBJ_PIN);
  }

  /** BPF_OBJ_GET: the fd, or -errno. */
  get(path: string | null, fileFlags = 0, pathFd = 0): number {
    this.#writeObjAttr(0, path, fileFlags, pathFd);
    return this.#call(uapi.BPF_OBJ_GET);
  }

  /** BPF_BTF_LOAD: the BTF's fd, or -errno. */
  btfLoad(blob: Uint8Array): number {
    const attr = this.#clear();
    attr.setUint32(0, this.#put(this.#value, blob), true);
    attr.setUint32(16, blob.length, true);
    return this.#call(uapi.BPF_BTF_LOAD);
  }

  /** close(2): 0 or -EBADF. */
  close(fd: number): number {
    return this.kernel.close(fd);
  }

  #writeObjAttr(fd: number, path: string | null, fileFlags: number, pathFd: number): void {
    const bytes = path === null ? null : new TextEncoder().encode(`${path}\0`);
    const attr = this.#clear();
    attr.setUint32(0, this.#put(this.#key, bytes), true);
    attr.setInt32(8, fd, true);
    attr.setUint32(12, fileFlags, true);
    attr.setInt32(16, pathFd, true);
  }

  #fetch(
    cmd: number,
    fd: number,
    key: Uint8Array | null,
    valueSize: number,
    flags: U64,
  ): BytesResult {
    const value = this.#value.reserve(valueSize);
    writeElemAttr(this.#clear(), fd, this.#put(this.#key, key), value, flags);
    const ret = this.#call(cmd);
    return { ret, out: ret < 0 ? NO_BYTES : this.#copy(value, valueSize) };
  }

  #fetchBatch(cmd: number, batch: BatchLookup): BatchResult {
    const { fd, keySize, valueSize, tokenSize, token, count } = batch;
    const keys = this.#key.reserve(keySize * count);
    const values = this.#value.reserve(valueSize * count);
    const tokenIn = this.#put(this.#tokenIn, token);
    const tokenOut = this.#tokenOut.reserve(tokenSize);
    this.#view().fill(UNWRITTEN, tokenOut, tokenOut + tokenSize);
    const attr = this.#clear();
    attr.setUint32(0, tokenIn, true);
    attr.setUint32(8, tokenOut, true);
    attr.setUint32(16, keys, true);
    attr.setUint32(24, values, true);
    this.#setBatchTail(count, fd, batch.elemFlags, batch.flags);
    const ret = this.#call(cmd);
    const done = this.#attr.getUint32(32, true);
    const next = this.#copy(tokenOut, tokenSize);
    return {
      ret,
      count: done,
      token: next.every((byte) => byte === UNWRITTEN) ? null : next,
      keys: this.#copy(keys, keySize * Math.min(done, count)),
      values: this.#copy(values, valueSize * Math.min(done, count)),
    };
  }

  #writeBatch(cmd: number, batch: BatchWrite): BatchResult {
    const keys = this.#put(this.#key, batch.keys);
    const values = this.#put(this.#value, batch.values);
    const attr = this.#clear();
    attr.setUint32(16, keys, true);
    attr.setUint32(24, values, true);
    this.#setBatchTail(batch.count, batch.fd, batch.elemFlags, batch.flags);
    const ret = this.#call(cmd);
    const count = this.#attr.getUint32(32, true);
    return { ret, count, token: null, keys: NO_BYTES, values: NO_BYTES };
  }

  #setBatchTail(count: number, fd: number, elemFlags: U64 = 0, flags: U64 = 0): void {
    this.#attr.setUint32(32, count, true);
    this.#attr.setInt32(36, fd, true);
    setU64(this.#attr, 40, elemFlags);
    setU64(this.#attr, 48, flags);
  }

  #call(cmd: number, size: number = ATTR_END[cmd] ?? uapi.BPF_ATTR_SIZE): number {
    if (!this.#attrInMemory) return this.kernel.bpf(cmd, this.#attrHead(size));
    const ptr = this.#attrArea.reserve(uapi.BPF_ATTR_SIZE);
    this.#view().set(this.#attrHead(size), ptr);
    const ret = this.kernel.bpf(cmd, ptr, size);
    this.#attrBytes.set(this.#view().subarray(ptr, ptr + size));
    return ret;
  }

  /** The first `size` bytes of the attr; kept, so that a call allocates nothing here. */
  #attrHead(size: number): Uint8Array {
    let head = this.#attrOfSize.get(size);
    if (head === undefined) {
      head = this.#attrBytes.subarray(0, size);
      this.#attrOfSize.set(size, head);
    }
    return head;
  }

  #clear(): DataView {
    this.#attrBytes.fill(0);
    return this.#attr;
  }

  /** Copies `bytes` into `area` and returns its address; null becomes NULL. */
  #put(area: Area, bytes: Uint8Array | null): number {
    if (bytes === null) return 0;
    const ptr = area.reserve(bytes.length);
    this.#view().set(bytes, ptr);
    return ptr;
  }

  #copy(ptr: number, size: number): Uint8Array {
    return size === 0 ? NO_BYTES : this.#view().slice(ptr, ptr + size);
  }

  /** The memory now: growth replaces the buffer. */
  #view(): Uint8Array {
    const { buffer } = this.kernel.memory;
    if (this.#memory.buffer !== buffer) this.#memory = new Uint8Array(buffer);
    return this.#memory;
  }
}

function readMapInfo(bytes: Uint8Array): MapInfo {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const name = bytes.subarray(24, 24 + uapi.BPF_OBJ_NAME_LEN);
  const end = name.indexOf(0);
  return {
    type: view.getUint32(0, true),
    id: view.getUint32(4, true),
    keySize: view.getUint32(8, true),
    valueSize: view.getUint32(12, true),
    maxEntries: view.getUint32(16, true),
    mapFlags: view.getUint32(20, true),
    name: String.fromCharCode(...name.subarray(0, end < 0 ? name.length : end)),
    btfId: view.getUint32(64, true),
    btfKeyTypeId: view.getUint32(68, true),
    btfValueTypeId: view.getUint32(72, true),
    mapExtra: view.getBigUint64(80, true),
  };
}

// This library's side: replays records on a runtime, exactly as driver.c does on bpf(2).

import type { CallbackDispatcher } from "../../ts/api.js";
import { BpfError } from "../../ts/errors.js";
import { ENOENT } from "../../ts/uapi.js";
import { STACK_SIZE } from "../support/vm/opcodes.js";
import { RelocationError, relocate } from "../support/vm/relocate.js";
import { JsVm } from "../support/vm/vm.js";
import { describeRecord } from "./describe.js";
import type { Side } from "./driver.js";
import {
  BUF,
  FILL,
  FLAG,
  IO,
  NO_SLOT,
  OBJECT,
  OP,
  PATCH,
  PATH,
  PROG,
  REGISTERS,
  REGISTER_SIZE,
  RING,
  SLOTS,
  WINDOWS,
  type OpStream,
} from "./wire.js";

/** Program-side exports that the records use; see the helper ABI. */
export interface HelperExports {
  bpf_map_by_fd(fd: number): number;
  bpf_map_lookup_elem(map: number, key: number): number;
  bpf_map_lookup_percpu_elem(map: number, key: number, cpu: number): number;
  bpf_map_update_elem(map: number, key: number, value: number, flags: bigint): number;
  bpf_map_delete_elem(map: number, key: number): number;
  bpf_map_push_elem?(map: number, value: number, flags: bigint): number;
  bpf_map_pop_elem?(map: number, value: number): number;
  bpf_map_peek_elem?(map: number, value: number): number;
  bpf_valid_range(address: number, length: number): number;
  bpf_helper_call(id: number, r1: bigint, r2: bigint, r3: bigint, r4: bigint, r5: bigint): bigint;
  ringbuf_wakeup_word(map: number): number;
  map_munmap(map: number, writable: number): void;
  map_mmap(fd: number, offset: number, length: number, writable: number): number;
  map_type_supported(type: number): number;
}

interface HostObject {
  readonly fd: number;
  readonly ptr: number;
  close(): unknown;
  exit?(): unknown;
  reap?(): unknown;
  rmdir?(): unknown;
}

interface DrivenBpffs {
  mkdir(path: string): void;
  unlink(path: string): void;
  rmdir(path: string): void;
  open(path: string): number;
  readdir(path: string): { readonly name: string; readonly isDirectory: boolean }[];
}

interface Window {
  readonly map: number;
  readonly writable: number;
}

/** The part of a runtime that is driven. */
export interface DrivenRuntime {
  cpu: number;
  readonly memory: WebAssembly.Memory;
  readonly exports: HelperExports;
  alloc(byteLength: number): number;
  bpf(cmd: number, attrPtr: number, size: number): number;
  close(fd: number): number;
  setCallback(dispatcher: CallbackDispatcher | null): void;
  readonly bpffs: DrivenBpffs;
  socket?(options: object): HostObject;
  task?(options: object): HostObject;
  cgroup?(options: object): HostObject;
  inode?(options: object): HostObject;
}

const EBADF = 9;
const EFAULT = 14;
const EINVAL = 22;
const ATTR_ROOM = 8192;
const SCRATCH_SIZE = 4 << 20;
const BPF_MAP_GET_NEXT_KEY = 4;
const BPF_OBJ_GET_INFO_BY_FD = 15;
const BPF_OBJ_PIN = 6;
const INFO_SIZE = 104;
const BPFFS = "/sys/fs/bpf";
const PAGE_SIZE = 4096;
/** Head of a ring buffer's record. */
const BUSY_BIT = 0x8000_0000;
const LENGTH_MASK = 0x3fff_ffff;
/** struct __sk_buff, and where its socket is. */
const SK_BUFF_SIZE = 192;
const SK_BUFF_DATA = 76;
const SK_BUFF_SK = 168;
const PACKET_ROOM = 65536;
const BPF_FUNC_SK_FULLSOCK = 95;
/** Outside every memory; the kernel is given an address of its own half. */
const BAD_ADDRESS = 0xffff_fff0;

export class LibrarySide implements Side {
  readonly name = "library";
  readonly #rt: DrivenRuntime;
  readonly #attr: number;
  readonly #registers: number;
  readonly #scratch: number;
  readonly #io: number;
  readonly #ctx: number;
  readonly #packet: number;
  readonly #machine: JsVm;
  readonly #hasTail: boolean;
  #u8: Uint8Array = new Uint8Array(0);
  #view = new DataView(new ArrayBuffer(0));
  readonly #fds = new Int32Array(SLOTS).fill(-1);
  readonly #ids = new Uint32Array(SLOTS);
  readonly #windows: (Window | undefined)[] = [];
  #bpffsUsed = false;
  readonly #wakeups: (number | undefined)[] = [];
  readonly #objects: (HostObject | null)[] = Array.from({ length: SLOTS }, () => null);
  #answers = new Uint8Array(1 << 20);
  #answersView = new DataView(this.#answers.buffer);
  #length = 0;
  // Cursor over the records being replayed.
  #in = new DataView(new ArrayBuffer(0));
  #inBytes = new Uint8Array(0);
  #at = 0;

  /** @param hasTail whether the last page of the memory is the test's own */
  constructor(rt: DrivenRuntime, hasTail: boolean) {
    this.#rt = rt;
    this.#hasTail = hasTail;
    const room = rt.alloc(
      ATTR_ROOM +
        REGISTERS * REGISTER_SIZE +
        SCRATCH_SIZE +
        IO.SIZE +
        SK_BUFF_SIZE +
        STACK_SIZE +
        PACKET_ROOM,
    );
    if (room === 0) throw new Error("no room for the test's buffers");
    this.#attr = room;
    this.#registers = room + ATTR_ROOM;
    this.#scratch = this.#registers + REGISTERS * REGISTER_SIZE;
    this.#io = this.#scratch + SCRATCH_SIZE;
    this.#ctx = this.#io + IO.SIZE;
    this.#machine = this.#makeMachine(this.#ctx + SK_BUFF_SIZE);
    this.#packet = this.#ctx + SK_BUFF_SIZE + STACK_SIZE;
    this.#refresh();
  }

  run(ops: OpStream): Promise<Uint8Array> {
    return Promise.resolve(this.runNow(ops));
  }

  runNow(ops: OpStream): Uint8Array {
    this.#in = ops.view;
    this.#inBytes = ops.bytes;
    this.#length = 0;
    for (let at = 0; at < ops.length;) {
      const length = ops.view.getUint32(at, true);
      this.#at = at + 4;
      const head = this.#length;
      this.#put32(0);
      try {
        this.#record();
      } catch (cause) {
        const record = describeRecord(ops.bytes.subarray(at, at + length));
        throw new Error(`the library threw in: ${record}`, { cause });
      }
      this.#answersView.setUint32(head, this.#length - head - 4, true);
      at += length;
    }
    return this.#answers.subarray(0, this.#length);
  }

  #record(): void {
    const op = this.#get8();
    if (op === OP.BPF) this.#bpf();
    else if (op === OP.CPU) this.#rt.cpu = this.#get8();
    else if (op === OP.CLOSE) this.#put32(this.#closeSlot(this.#get8()));
    else if (op === OP.WALK) this.#walk();
    else if (op === OP.PROG) this.#prog();
    else if (op === OP.RESET) this.#reset();
    else if (op === OP.OBJECT) this.#object();
    else if (op === OP.END) this.#endObject(this.#get8());
    else if (op === OP.RUN) this.#run();
    else if (op === OP.RING) this.#ring();
    else if (op === OP.PATH) this.#path();
    else if (op === OP.MMAP) this.#mmap();
    else throw new Error(`unknown record ${op}`);
  }

  #bpf(): void {
    const at = this.#at;
    const bytes = this.#inBytes;
    const bufferCount = bytes[at] ?? 0;
    const patchCount = bytes[at + 1] ?? 0;
    const result = bytes[at + 2] ?? NO_SLOT;
    const cmd = this.#in.getInt32(at + 3, true);
    const size = this.#in.getUint32(at + 7, true);
    const attrLength = bytes[at + 11] ?? 0;
    const changed = bytes[at + 12] ?? 0;
    const changedLength = bytes[at + 13] ?? 0;
    const flags = bytes[at + 14] ?? 0;
    this.#refresh();
    this.#u8.fill(0, this.#attr, this.#attr + 256);
    this.#u8.set(bytes.subarray(at + 15, at + 15 + attrLength), this.#attr);
    const buffersAt = at + 15 + attrLength;
    const patchesAt = this.#placeBuffers(buffersAt, bufferCount);
    this.#patchBefore(patchesAt, patchCount);

    const before = this.#u8.slice(this.#attr, this.#attr + 256);
    const isTail = (flags & FLAG.TAIL_ATTR) !== 0;
    const tail = this.#u8.length - size;
    if (isTail) this.#u8.copyWithin(tail, this.#attr, this.#attr + size);
    const attr = isTail ? tail : (flags & FLAG.BAD_ATTR) === 0 ? this.#attr : BAD_ADDRESS;
    const ret = this.#rt.bpf(cmd, attr, size);
    this.#refresh();
    if (isTail) this.#u8.copyWithin(this.#attr, tail, tail + size);
    if (cmd === BPF_OBJ_PIN) this.#bpffsUsed = true;
    if (result !== NO_SLOT && ret >= 0) this.#fillSlot(result, ret, flags);
    if (ret === 0 || ret === -ENOENT) this.#patchAfter(patchesAt, patchCount);
    this.#put32(ret);
    this.#putMemory(this.#attr + changed, changedLength);
    if ((flags & FLAG.CHANGES) !== 0) {
      const shown = this.#answers.subarray(this.#length - changedLength, this.#length);
      for (let i = 0; i < shown.length; i++) shown[i]! ^= before[changed + i]!;
    }
    this.#putBuffers(
      buffersAt,
      bufferCount,
      ret === -EFAULT && (flags & FLAG.BLANK_ON_FAULT) !== 0,
    );
  }

  // Addresses of the current record's buffers, by number.
  readonly #places = new Uint32Array(256);

  #placeBuffers(start: number, count: number): number {
    let at = start;
    let next = this.#scratch;
    for (let i = 0; i < count; i++) {
      const kind = this.#inBytes[at + 1] ?? 0;
      const length = this.#in.getUint32(at + 4, true);
      let place = next;
      if ((kind & BUF.REG) !== 0) {
        place = this.#registers + this.#in.getUint16(at + 2, true) * REGISTER_SIZE;
      } else if ((kind & BUF.TAIL) !== 0) {
        if (!this.#hasTail) throw new Error("this runtime has no tail");
        place = this.#u8.length - length;
      } else {
        next += (length + 15) & ~7;
      }
      this.#view.setUint32(this.#attr + (this.#inBytes[at] ?? 0), place, true);
      this.#view.setUint32(this.#attr + (this.#inBytes[at] ?? 0) + 4, 0, true);
      this.#places[i] = place;
      at += 8;
      if ((kind & BUF.IN) !== 0) {
        this.#u8.set(this.#inBytes.subarray(at, at + length), place);
        at += length;
      } else if ((kind & BUF.REG) === 0) {
        this.#u8.fill(FILL, place, place + length);
      }
    }
    if (next > this.#scratch + SCRATCH_SIZE) throw new Error("buffers do not fit");
    return at;
  }

  #putBuffers(start: number, count: number, blank: boolean): void {
    let at = start;
    for (let i = 0; i < count; i++) {
      const kind = this.#inBytes[at + 1] ?? 0;
      const size = this.#in.getUint16(at + 2, true);
      const length = this.#in.getUint32(at + 4, true);
      at += 8 + ((kind & BUF.IN) !== 0 ? length : 0);
      if ((kind & BUF.OUT) === 0) continue;
      this.#putMemory(this.#places[i] ?? 0, length);
      if ((kind & BUF.PADDED) !== 0) this.#clearPadding(length, size);
      if (blank) this.#answers.fill(0, this.#length - length, this.#length);
    }
  }

  /** Clears the padding in the last `length` bytes of the answers. */
  #clearPadding(length: number, valueSize: number): void {
    const stride = (valueSize + 7) & ~7;
    const start = this.#length - length;
    for (let at = start; at + stride <= this.#length; at += stride) {
      this.#answers.fill(0, at + valueSize, at + stride);
    }
  }

  #patchTarget(at: number): number {
    const target = this.#inBytes[at] ?? 0;
    const base = target === 0 ? this.#attr : (this.#places[target - 1] ?? 0);
    return base + this.#in.getUint16(at + 2, true);
  }

  #patchBefore(start: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const at = start + i * 6;
      const what = this.#inBytes[at + 1] ?? 0;
      if (what === PATCH.OUT_ID || what === PATCH.OUT_ANY) continue;
      const slot = this.#in.getUint16(at + 4, true);
      let value = what === PATCH.FD ? (this.#fds[slot] ?? -1) : this.#slotId(slot);
      if (what === PATCH.ID_BEFORE) value--;
      this.#view.setUint32(this.#patchTarget(at), value, true);
    }
  }

  #patchAfter(start: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const at = start + i * 6;
      const what = this.#inBytes[at + 1];
      if (what !== PATCH.OUT_ID && what !== PATCH.OUT_ANY) continue;
      const place = this.#patchTarget(at);
      const id = this.#view.getUint32(place, true);
      const slot = id === 0 ? -1 : this.#ids.lastIndexOf(id);
      this.#view.setUint32(place, what === PATCH.OUT_ID ? slot : Number(id !== 0), true);
    }
  }

  #slotId(slot: number): number {
    const fd = this.#fds[slot] ?? -1;
    if (this.#ids[slot] !== 0 || fd < 0) return this.#ids[slot] ?? 0;
    // Above the records' own buffers: a record's attr and buffers are in place already.
    const query = this.#scratch + SCRATCH_SIZE - 128;
    this.#view.setUint32(query, fd, true);
    this.#view.setUint32(query + 4, INFO_SIZE, true);
    this.#view.setBigUint64(query + 8, BigInt(query + 16), true);
    this.#u8.fill(0, query + 16, query + 16 + INFO_SIZE);
    if (this.#rt.bpf(BPF_OBJ_GET_INFO_BY_FD, query, 16) !== 0) return 0;
    // Of BTF, whose answer is shorter, an id is not kept: maps have the same numbers.
    if (this.#view.getUint32(query + 4, true) === 32) return this.#view.getUint32(query + 28, true);
    this.#ids[slot] = this.#view.getUint32(query + 20, true);
    return this.#ids[slot] ?? 0;
  }

  #fillSlot(slot: number, fd: number, flags: number): void {
    if ((this.#fds[slot] ?? -1) >= 0) this.#closeSlot(slot);
    this.#fds[slot] = fd;
    this.#ids[slot] = 0;
    if ((flags & FLAG.WANT_ID) !== 0) this.#slotId(slot);
  }

  #closeSlot(slot: number): number {
    const ret = this.#rt.close(this.#fds[slot] ?? -1);
    this.#fds[slot] = -1;
    this.#wakeups[slot] = undefined;
    return ret;
  }

  #walk(): void {
    const fd = this.#fds[this.#get8()] ?? -1;
    const keySize = this.#get32();
    const limit = this.#get32();
    const head = this.#length;
    let count = 0;
    let ret: number;
    this.#put32(0);
    this.#put32(0);
    this.#refresh();
    this.#view.setInt32(this.#attr, fd, true);
    this.#view.setBigUint64(this.#attr + 8, 0n, true);
    this.#view.setBigUint64(this.#attr + 16, BigInt(this.#scratch), true);
    while ((ret = this.#rt.bpf(BPF_MAP_GET_NEXT_KEY, this.#attr, 24)) === 0 && count < limit) {
      this.#refresh();
      this.#putMemory(this.#scratch, keySize);
      this.#view.setUint32(this.#attr + 8, this.#scratch, true);
      count++;
    }
    this.#answersView.setInt32(head, ret, true);
    this.#answersView.setUint32(head + 4, count, true);
  }

  #prog(): void {
    const fd = this.#fds[this.#get8()] ?? -1;
    const helper = this.#get8();
    const cpu = this.#get32();
    const keySize = this.#get32();
    const valueSize = this.#get32();
    const flags = this.#in.getBigUint64(this.#at, true);
    const content = this.#inBytes.subarray(this.#at + 8, this.#at + 8 + keySize + valueSize);
    this.#refresh();
    const key = this.#scratch;
    const value = this.#scratch + 4096;
    const room = this.#scratch + 8192;
    this.#u8.set(content.subarray(0, keySize), key);
    this.#u8.fill(0, value + valueSize, value + valueSize + 8);
    this.#u8.set(content.subarray(keySize), value);
    this.#u8.set(content.subarray(keySize), room);
    const exports = this.#rt.exports;
    const map = exports.bpf_map_by_fd(fd);
    let ret: number = -EINVAL;
    let answer = room;
    if (fd < 0) ret = -EBADF;
    else if (helper === PROG.LOOKUP || helper === PROG.LOOKUP_PERCPU) {
      const found =
        helper === PROG.LOOKUP
          ? exports.bpf_map_lookup_elem(map, key)
          : exports.bpf_map_lookup_percpu_elem(map, key, cpu);
      ret = found === 0 ? 0 : 1;
      // A live value is what a program may touch; -1 shows as a difference.
      if (found !== 0 && exports.bpf_valid_range(found, valueSize) !== 1) ret = -1;
      if (found !== 0) answer = found;
    } else if (helper === PROG.UPDATE) ret = exports.bpf_map_update_elem(map, key, value, flags);
    else if (helper === PROG.DELETE) ret = exports.bpf_map_delete_elem(map, key);
    else if (helper === PROG.PUSH) {
      ret = exports.bpf_map_push_elem?.(map, value, flags) ?? -EINVAL;
    } else if (helper === PROG.POP) ret = exports.bpf_map_pop_elem?.(map, room) ?? -EINVAL;
    else if (helper === PROG.PEEK) {
      ret = exports.bpf_map_peek_elem?.(map, room) ?? -EINVAL;
    }
    this.#refresh();
    this.#put32(ret);
    this.#putMemory(answer, valueSize);
  }

  // --- whole programs ---

  #run(): void {
    const functions = this.#get8();
    const [insns, input] = [this.#get32() * 8, this.#get32()];
    const [output, packets] = [this.#get32(), this.#get32()];
    const at = this.#at + functions * 4;
    this.#refresh();
    const io = this.#io;
    this.#u8.fill(0, io, io + IO.SIZE);
    this.#u8.set(this.#inBytes.subarray(at + insns, at + insns + input), io + IO.INPUT);
    const isLoaded = this.#load(this.#inBytes.slice(at, at + insns));
    let ret = 0;
    this.#at = at + insns + input;
    const runs = isLoaded ? Math.max(1, packets) : 0;
    for (let i = 0; i < runs; i++) {
      const length = packets > 0 ? this.#get16() : 64;
      this.#u8.fill(0, this.#packet, this.#packet + length);
      if (packets > 0) {
        this.#u8.set(this.#inBytes.subarray(this.#at, this.#at + length), this.#packet);
        this.#at += length;
      }
      ret = (Math.imul(ret, 31) + this.#exec(length)) | 0;
    }
    this.#put32(isLoaded ? ret : -EBADF);
    this.#putMemory(io + IO.OUTPUT, output);
  }

  /** False: the program refers to a map that is not there. */
  #load(insns: Uint8Array): boolean {
    const maps = {
      mapHandle: (slot: number) => this.#rt.exports.bpf_map_by_fd(this.#fds[slot] ?? -1) >>> 0,
      mapValueAddr: (_slot: number, offset: number) => this.#io + offset,
    };
    try {
      this.#machine.load(relocate(insns, maps));
      return true;
    } catch (error) {
      if (error instanceof RelocationError) return false;
      throw error;
    }
  }

  /** Runs the program on a packet of this length. */
  #exec(length: number): number {
    const socket = this.#rt.socket?.({});
    this.#view.setUint32(this.#ctx, length, true);
    this.#view.setUint32(this.#ctx + SK_BUFF_DATA, this.#packet, true);
    this.#view.setUint32(this.#ctx + SK_BUFF_DATA + 4, this.#packet + length, true);
    this.#view.setUint32(this.#ctx + SK_BUFF_SK, socket?.ptr ?? 0, true);
    this.#rt.setCallback((fn, r1, r2, r3, r4) => this.#machine.call(Number(fn), r1, r2, r3, r4));
    const ret = this.#machine.exec(this.#ctx, SK_BUFF_SIZE);
    socket?.close();
    this.#refresh();
    return Number(BigInt.asIntN(32, ret));
  }

  #makeMachine(room: number): JsVm {
    const { exports } = this.#rt;
    return new JsVm({
      memory: this.#rt.memory,
      stack: room,
      helpers: (id, r1, r2, r3, r4, r5) =>
        id === BPF_FUNC_SK_FULLSOCK ? r1 : exports.bpf_helper_call(id, r1, r2, r3, r4, r5),
      validRange: (address, length) =>
        (address >= this.#io && address + length <= this.#io + IO.SIZE) ||
        (address >= this.#packet && address + length <= this.#packet + PACKET_ROOM) ||
        exports.bpf_valid_range(address, length) === 1,
    });
  }

  #ring(): void {
    const slot = this.#get8();
    const fd = this.#fds[slot] ?? -1;
    const kind = this.#get8();
    const isUser = (kind & RING.USER) !== 0;
    const size = this.#get32();
    const count = this.#get32();
    const copies = (kind & RING.MIRRORED) === 0 ? 1 : 2;
    const { map_mmap: mmap, map_munmap: munmap, bpf_map_by_fd: handle } = this.#rt.exports;
    const cons = mmap(fd, 0, PAGE_SIZE, isUser ? 0 : 1);
    const data = mmap(fd, PAGE_SIZE, PAGE_SIZE + copies * size, isUser ? 1 : 0);
    const isError = (address: number) => (address | 0) < 0;
    if (!isError(cons)) munmap(handle(fd), isUser ? 0 : 1);
    if (!isError(data)) munmap(handle(fd), isUser ? 1 : 0);
    const failed = [cons, data].find(isError);
    this.#put32(failed ?? 0);
    if (failed !== undefined) return;
    this.#refresh();
    const prod = cons + PAGE_SIZE;
    const position = (at: number) => this.#view.getBigUint64(at, true);
    const used = Number(position(prod) - position(cons));
    this.#put32(this.#wasWoken(slot) && (isUser ? used < size : used > 0) ? 1 : 0);
    const recordAt = (pos: bigint) => prod + PAGE_SIZE + (Number(pos) & (size - 1));
    if (isUser) {
      const content = this.#inBytes.subarray(this.#at, this.#at + count);
      this.#u8.set(content, recordAt(position(prod)));
      this.#view.setBigUint64(prod, position(prod) + BigInt(count), true);
    }
    const limit = isUser ? 0 : count;
    for (let i = 0; i < limit && position(cons) < position(prod); i++) {
      const record = recordAt(position(cons));
      const head = this.#view.getUint32(record, true);
      if (head >= BUSY_BIT) break;
      const length = head & LENGTH_MASK;
      this.#putMemory(record, 8 + length);
      this.#view.setBigUint64(cons, position(cons) + BigInt((length + 15) & ~7), true);
    }
    this.#putMemory(cons, 8);
    this.#putMemory(prod, 16);
  }

  /** Whether there was a wake-up since this was asked last; the first time always. */
  #wasWoken(slot: number): boolean {
    const map = this.#rt.exports.bpf_map_by_fd(this.#fds[slot] ?? -1);
    const count = this.#view.getUint32(this.#rt.exports.ringbuf_wakeup_word(map) >>> 0, true);
    const before = this.#wakeups[slot];
    this.#wakeups[slot] = count;
    return count !== before;
  }

  #object(): void {
    const slot = this.#get8();
    const kind = this.#get8();
    let object: HostObject | undefined;
    if (kind === OBJECT.SOCKET) object = this.#rt.socket?.({});
    else if (kind === OBJECT.TASK) object = this.#rt.task?.({});
    else if (kind === OBJECT.CGROUP) object = this.#rt.cgroup?.({});
    else if (kind === OBJECT.FILE) object = this.#rt.inode?.({});
    if (object) {
      this.#fillSlot(slot, object.fd, 0);
      this.#objects[slot] = object;
    }
    this.#put32(object ? object.fd : -EINVAL);
  }

  #endObject(slot: number): void {
    const object = this.#objects[slot];
    object?.exit?.();
    object?.reap?.();
    object?.rmdir?.();
    this.#objects[slot] = null;
  }

  #reset(): void {
    for (let slot = 0; slot < SLOTS; slot++) {
      if ((this.#fds[slot] ?? -1) >= 0) this.#closeSlot(slot);
      this.#ids[slot] = 0;
      this.#endObject(slot);
    }
    for (let i = 0; i < WINDOWS; i++) this.#unmap(i);
    if (this.#bpffsUsed) this.#clearBpffs(BPFFS);
    this.#bpffsUsed = false;
    this.#refresh();
    this.#u8.fill(0, this.#registers, this.#registers + REGISTERS * REGISTER_SIZE);
    this.#rt.cpu = 0;
  }

  // --- paths and windows ---

  #path(): void {
    const what = this.#get8();
    const slot = this.#get8();
    const end = this.#inBytes.indexOf(0, this.#at);
    const path = new TextDecoder().decode(this.#inBytes.subarray(this.#at, end));
    const fs = this.#rt.bpffs;
    let ret = 0;
    this.#bpffsUsed = true;
    try {
      if (what === PATH.MKDIR) fs.mkdir(path);
      else if (what === PATH.UNLINK) fs.unlink(path);
      else if (what === PATH.RMDIR) fs.rmdir(path);
      else this.#fillSlot(slot, (ret = fs.open(path)), 0);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      ret = error.errno;
    }
    this.#put32(ret);
  }

  #clearBpffs(directory: string): void {
    for (const { name, isDirectory } of this.#rt.bpffs.readdir(directory)) {
      const path = `${directory}/${name}`;
      if (isDirectory) {
        this.#clearBpffs(path);
        this.#rt.bpffs.rmdir(path);
      } else this.#rt.bpffs.unlink(path);
    }
  }

  #unmap(index: number): void {
    const window = this.#windows[index];
    if (window) this.#rt.exports.map_munmap(window.map, window.writable);
    this.#windows[index] = undefined;
  }

  #mmap(): void {
    const index = this.#get8();
    const slot = this.#get8();
    const prot = this.#get8();
    const writable = prot === 0 ? 0 : 1;
    const offset = this.#in.getBigUint64(this.#at, true);
    const length = this.#in.getBigUint64(this.#at + 8, true);
    this.#unmap(index);
    if (slot === NO_SLOT) return this.#put32(0);
    const fd = this.#fds[slot] ?? -1;
    const map = this.#rt.exports.bpf_map_by_fd(fd);
    const at = this.#rt.exports.map_mmap(fd, Number(offset), Number(length), writable);
    const failed = (at | 0) < 0 && (at | 0) >= -4095;
    this.#put32(failed ? at | 0 : 0);
    if (failed) return;
    this.#windows[index] = { map, writable };
    this.#refresh();
    this.#putMemory(at >>> 0, 64);
    if (prot === 2) this.#u8.fill(0x5a, (at >>> 0) + index * 8, (at >>> 0) + index * 8 + 3);
  }

  // --- streams and memory ---

  /** Views on the memory are lost when it grows. */
  #refresh(): void {
    const buffer = this.#rt.memory.buffer;
    if (this.#u8.buffer === buffer && this.#u8.length === buffer.byteLength) return;
    this.#u8 = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  #get8(): number {
    return this.#inBytes[this.#at++] ?? 0;
  }

  #get16(): number {
    this.#at += 2;
    return this.#in.getUint16(this.#at - 2, true);
  }

  #get32(): number {
    this.#at += 4;
    return this.#in.getUint32(this.#at - 4, true);
  }

  #room(length: number): void {
    if (this.#length + length <= this.#answers.length) return;
    const answers = new Uint8Array((this.#length + length) * 2);
    answers.set(this.#answers);
    this.#answers = answers;
    this.#answersView = new DataView(answers.buffer);
  }

  #put32(value: number): void {
    this.#room(4);
    this.#answersView.setInt32(this.#length, value, true);
    this.#length += 4;
  }

  #putMemory(address: number, length: number): void {
    this.#room(length);
    this.#answers.set(this.#u8.subarray(address, address + length), this.#length);
    this.#length += length;
  }
}

// Random bpf(2) calls: attrs that are nearly right, attrs of noise, and arguments that are not even
// of the right JS type. The calls must not touch what they have no business with, so the generator
// keeps to three rules:
//   1. an address it hands out lies in the window it owns, or outside the memory, or is NULL
//      (an address inside the memory is not refused, whoever owns it: it is one address space), and
//      what a call writes from there stays in the window;
//   2. no fd and no id of a bystander gets into an attr;
//   3. the fds that calls return are closed again, so that the maps in existence stay few.

import * as uapi from "../../ts/uapi.js";
import { ATTR_END } from "./attr.js";
import { lockBtf, plainBtf } from "./btf.js";
import { Random } from "./random.js";

/** Memory that the fuzzer owns. What a call may write from an address in it stays inside it. */
export interface FuzzWindow {
  readonly base: number;
  /** End of the addresses that are handed out. */
  readonly end: number;
  /** Whether the memory ends where the window ends, so that addresses just below may be used. */
  readonly endsMemory: boolean;
  /** Longest value that a map may have, bytes; a map with longer ones is closed at once. */
  readonly maxValueSize: number;
  /** Largest count of a batch. */
  readonly maxCount: number;
}

/** What the fuzzer drives: the parts of a runtime that it uses. */
export interface FuzzTarget {
  readonly memory: { readonly buffer: ArrayBufferLike };
  cpu: number;
  readonly cpus: number;
  close(fd: number): number;
}

/** One call: the arguments of rt.bpf, of any type, and whether they are so wrong that it must fail. */
export interface FuzzCall {
  readonly args: readonly unknown[];
  readonly mustFail: boolean;
}

const BATCH_COMMANDS: ReadonlySet<number> = new Set([
  uapi.BPF_MAP_LOOKUP_BATCH,
  uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH,
  uapi.BPF_MAP_UPDATE_BATCH,
  uapi.BPF_MAP_DELETE_BATCH,
]);
/** Commands in the proportions of the calls: the frequent ones change maps, freezing is rare. */
const COMMANDS: readonly number[] = Object.keys(ATTR_END)
  .map(Number)
  .flatMap((cmd) => Array.from({ length: weight(cmd) }, () => cmd));
/** The commands that hand out an fd. */
const FD_COMMANDS: ReadonlySet<unknown> = new Set<unknown>([
  uapi.BPF_MAP_CREATE,
  uapi.BPF_OBJ_GET,
  uapi.BPF_MAP_GET_FD_BY_ID,
  uapi.BPF_BTF_LOAD,
  uapi.BPF_BTF_GET_FD_BY_ID,
]);
const ODD_COMMANDS: readonly number[] = [
  -1,
  5,
  8,
  13,
  16,
  28,
  33,
  36,
  37,
  99,
  2 ** 31 - 1,
  -(2 ** 31),
];
const ODD_NUMBERS: readonly number[] = [0, 1, 3, 4, 5, 7, 8, 15, 16, 255, 256, 4096, 32768, 65535];
const HUGE_NUMBERS: readonly number[] = [0x10000, 4194252, 0x7fffffff, 0x80000000, 0xffffffff];
const ODD_SIZES: readonly unknown[] = [
  -1,
  -5000,
  4095,
  4096,
  4097,
  5000,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1.5,
];
const MAP_AT_0_COMMANDS: ReadonlySet<number> = new Set([
  uapi.BPF_MAP_LOOKUP_ELEM,
  uapi.BPF_MAP_UPDATE_ELEM,
  uapi.BPF_MAP_DELETE_ELEM,
  uapi.BPF_MAP_GET_NEXT_KEY,
  uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  uapi.BPF_MAP_FREEZE,
  uapi.BPF_MAP_GET_FD_BY_ID,
]);
const COMMON_TYPES: readonly number[] = [
  uapi.BPF_MAP_TYPE_HASH,
  uapi.BPF_MAP_TYPE_ARRAY,
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LPM_TRIE,
  uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
  uapi.BPF_MAP_TYPE_QUEUE,
  uapi.BPF_MAP_TYPE_STACK,
  uapi.BPF_MAP_TYPE_BLOOM_FILTER,
];
const MAX_OPEN = 40;

/** Where an attr holds addresses that the command reads from or writes to. */
function pointerOffsets(cmd: number): readonly number[] {
  if (BATCH_COMMANDS.has(cmd)) return [0, 8, 16, 24];
  if (cmd === uapi.BPF_BTF_LOAD) return [0, 8];
  if (cmd === uapi.BPF_OBJ_PIN || cmd === uapi.BPF_OBJ_GET) return [0];
  if (cmd === uapi.BPF_OBJ_GET_INFO_BY_FD) return [8];
  return MAP_AT_0_COMMANDS.has(cmd) && cmd !== uapi.BPF_MAP_GET_FD_BY_ID ? [8, 16] : [];
}

function weight(cmd: number): number {
  if (cmd === uapi.BPF_MAP_FREEZE) return 1;
  if (cmd === uapi.BPF_MAP_CREATE || cmd === uapi.BPF_MAP_UPDATE_ELEM) return 40;
  return cmd <= uapi.BPF_MAP_GET_NEXT_KEY || BATCH_COMMANDS.has(cmd) ? 20 : 10;
}

/** Where an attr holds the fd or id of the map that a command changes or opens; -1: nowhere. */
function fdOffset(cmd: number): number {
  if (BATCH_COMMANDS.has(cmd)) return 36;
  if (cmd === uapi.BPF_OBJ_PIN) return 8;
  return MAP_AT_0_COMMANDS.has(cmd) ? 0 : -1;
}

export class SyscallFuzzer {
  readonly #random: Random;
  readonly #target: FuzzTarget;
  readonly #window: FuzzWindow;
  readonly #forbidden: ReadonlySet<number>;
  readonly #fds: number[] = [];
  readonly #attr = new Uint8Array(5008);
  readonly #view = new DataView(this.#attr.buffer);

  /** @param forbidden fds and ids of the bystanders */
  constructor(
    seed: number,
    target: FuzzTarget,
    window: FuzzWindow,
    forbidden: ReadonlySet<number>,
  ) {
    this.#random = new Random(seed);
    this.#target = target;
    this.#window = window;
    this.#forbidden = forbidden;
  }

  next(): FuzzCall {
    const random = this.#random;
    if (random.oneIn(64)) this.#scribble();
    if (random.oneIn(128)) this.#target.cpu = random.below(this.#target.cpus);
    if (random.oneIn(20)) return this.#hostileCall();
    const cmd = random.oneIn(30) ? random.pick(ODD_COMMANDS) : random.pick(COMMANDS);
    this.#attr.fill(0);
    if (random.oneIn(5)) this.#noise(cmd);
    else this.#fields(cmd);
    const size = this.#size(cmd);
    this.#attr.fill(0, size);
    this.#spare(cmd);
    if (random.oneIn(2)) return this.#pointerCall(cmd, size);
    return {
      args: [cmd, random.oneIn(16) ? this.#attrInMemory(size) : this.#attr.slice(0, size)],
      mustFail: false,
    };
  }

  /** Takes note of what a call returned; closes an fd when there are too many. */
  took(call: FuzzCall, ret: number): void {
    if (ret <= 2 || !FD_COMMANDS.has(call.args[0])) return;
    const isMap = call.args[0] === uapi.BPF_MAP_CREATE;
    const tooLong = Math.max(this.#view.getUint32(4, true), this.#view.getUint32(8, true));
    if (isMap && tooLong > this.#window.maxValueSize) this.#target.close(ret);
    else this.#fds.push(ret);
    if (this.#fds.length <= MAX_OPEN) return;
    const [fd] = this.#fds.splice(this.#random.below(this.#fds.length), 1);
    if (fd !== undefined) this.#target.close(fd);
  }

  closeAll(): void {
    for (const fd of this.#fds.splice(0)) this.#target.close(fd);
  }

  /** Small numbers into the window: keys that repeat, fds, paths. */
  #scribble(): void {
    const random = this.#random;
    const { base, end } = this.#window;
    const bytes = new Uint8Array(this.#target.memory.buffer, base, Math.min(4096, end - base));
    if (random.oneIn(4)) bytes.set(new TextEncoder().encode(`/sys/fs/bpf/${random.below(6)}\0`));
    else for (let i = 0; i < 64; i++) bytes[random.below(bytes.length)] = random.below(9);
  }

  #fields(cmd: number): void {
    switch (cmd) {
      case uapi.BPF_MAP_CREATE:
        return this.#createFields();
      case uapi.BPF_MAP_LOOKUP_BATCH:
      case uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH:
      case uapi.BPF_MAP_UPDATE_BATCH:
      case uapi.BPF_MAP_DELETE_BATCH:
        for (const offset of [0, 8, 16, 24]) this.#setPointer(offset);
        this.#view.setUint32(32, this.#random.below(this.#window.maxCount + 1), true);
        this.#view.setInt32(36, this.#fd(), true);
        this.#setFlags(40);
        this.#setFlags(48);
        return undefined;
      case uapi.BPF_OBJ_PIN:
      case uapi.BPF_OBJ_GET:
        this.#setPointer(0);
        this.#view.setInt32(8, this.#random.oneIn(2) ? 0 : this.#fd(), true);
        this.#view.setUint32(12, this.#random.pick([0, 0, 0, 8, 16, 24, 0x4000, 1]), true);
        return undefined;
      case uapi.BPF_BTF_LOAD:
        this.#btfFields();
        return undefined;
      case uapi.BPF_MAP_GET_NEXT_ID:
      case uapi.BPF_MAP_GET_FD_BY_ID:
      case uapi.BPF_BTF_GET_NEXT_ID:
      case uapi.BPF_BTF_GET_FD_BY_ID:
        this.#view.setUint32(
          0,
          this.#random.oneIn(4) ? this.#number() : this.#random.below(500),
          true,
        );
        this.#view.setUint32(8, this.#random.pick([0, 0, 0, 8, 16, 24, 1]), true);
        return undefined;
      case uapi.BPF_OBJ_GET_INFO_BY_FD:
        this.#view.setInt32(0, this.#fd(), true);
        this.#view.setUint32(4, this.#random.oneIn(4) ? this.#number() : 104, true);
        this.#setPointer(8);
        return undefined;
      default:
        this.#view.setInt32(0, this.#fd(), true);
        this.#setPointer(8);
        this.#setPointer(16);
        this.#setFlags(24);
        return undefined;
    }
  }

  /** A blob that is right or nearly so, or whatever lies in the window. */
  #btfFields(): void {
    const random = this.#random;
    this.#setPointer(0);
    this.#view.setUint32(16, this.#number(), true);
    if (random.oneIn(3)) return;
    const { blob } = random.oneIn(2) ? plainBtf(4, 8) : lockBtf(4, 16, 8);
    if (!random.oneIn(3)) blob[random.below(blob.length)] = random.u32();
    const ptr = this.#inWindow();
    new Uint8Array(this.#target.memory.buffer).set(blob, ptr);
    this.#view.setUint32(0, ptr, true);
    this.#view.setUint32(4, 0, true);
    this.#view.setUint32(16, blob.length, true);
  }

  #createFields(): void {
    const random = this.#random;
    const view = this.#view;
    const anyType = random.oneIn(3);
    const type = anyType ? random.below(uapi.MAX_BPF_MAP_TYPE + 2) : random.pick(COMMON_TYPES);
    view.setUint32(0, type, true);
    view.setUint32(4, random.oneIn(4) ? this.#number() : random.pick([4, 4, 4, 8, 0, 16]), true);
    view.setUint32(8, random.oneIn(4) ? this.#number() : random.pick([4, 8, 8, 16, 33]), true);
    view.setUint32(12, random.oneIn(8) ? this.#number() : random.below(70), true);
    if (random.oneIn(3)) view.setUint32(16, 1 << random.below(20), true);
    if (random.oneIn(2)) view.setUint32(20, this.#fd(), true);
    if (random.oneIn(8)) view.setUint32(24, this.#number(), true);
    if (random.oneIn(30)) random.fill(this.#attr.subarray(28, 44));
    for (const offset of [44, 48, 52, 56, 60, 64, 72, 80, 88]) {
      if (random.oneIn(100)) view.setUint32(offset, this.#number(), true);
    }
  }

  /** A number for a size, count or flags field. Huge ones are rare: a kernel may really allocate. */
  #number(): number {
    const random = this.#random;
    if (random.oneIn(16)) return random.pick(HUGE_NUMBERS);
    return random.oneIn(4) ? random.below(100) : random.pick(ODD_NUMBERS);
  }

  #fd(): number {
    const random = this.#random;
    if (this.#fds.length > 0 && !random.oneIn(6)) return random.pick(this.#fds);
    return random.pick([-1, 0, 1, 2, 999, 2 ** 31 - 1, -(2 ** 31), 60]);
  }

  #setFlags(offset: number): void {
    const random = this.#random;
    if (!random.oneIn(3)) return;
    if (random.oneIn(4)) this.#view.setUint32(offset + 4, random.u32(), true);
    this.#view.setUint32(offset, random.oneIn(4) ? random.u32() : random.below(9), true);
  }

  #setPointer(offset: number): void {
    const [low, high] = this.#pointer();
    this.#view.setUint32(offset, low, true);
    this.#view.setUint32(offset + 4, high, true);
  }

  /** An address as its two words. */
  #pointer(): readonly [low: number, high: number] {
    const random = this.#random;
    if (!random.oneIn(8)) return [this.#inWindow(), 0];
    const memoryEnd = this.#target.memory.buffer.byteLength;
    switch (random.below(7)) {
      case 0:
        return [0, 0];
      case 1:
        return [memoryEnd, 0];
      case 2:
        return [memoryEnd + random.below(64), 0];
      case 3:
        return [0xffffffff - random.below(64), 0];
      case 4:
        return [this.#inWindow(), random.pick([1, 2, 0x80000000, 0xffffffff])];
      case 5:
        return [random.below(16), 1 + random.below(3)];
      default:
        return this.#window.endsMemory ? [memoryEnd - random.below(300), 0] : [0, 0];
    }
  }

  #mayUse(low: number, high: number): boolean {
    const { base, end, endsMemory } = this.#window;
    if (high !== 0 || low === 0 || low >= this.#target.memory.buffer.byteLength) return true;
    return low >= base && (endsMemory || low < (base + end) / 2);
  }

  #inWindow(): number {
    const { base, end } = this.#window;
    return base + this.#random.below(Math.min(4096, end - base));
  }

  /** Bytes without meaning, but for the pointers: those of noise would point anywhere. */
  #noise(cmd: number): void {
    const random = this.#random;
    const noise = this.#attr.subarray(0, random.below(200));
    if (random.oneIn(2)) random.fill(noise);
    else for (let i = 0; i < 8; i++) noise[random.below(noise.length)] = random.below(40);
    for (const offset of pointerOffsets(cmd)) {
      if (random.oneIn(2)) this.#view.setUint32(offset + 4, random.u32() | 1, true);
      else this.#setPointer(offset);
    }
  }

  #size(cmd: number): number {
    const random = this.#random;
    const end = ATTR_END[cmd] ?? uapi.BPF_ATTR_SIZE;
    switch (random.below(8)) {
      case 0:
        return random.below(end + 1);
      case 1:
        return uapi.BPF_ATTR_SIZE;
      case 2:
        return random.below(5001);
      case 3:
        if (random.oneIn(2)) this.#attr[random.below(5000)] = 1 + random.below(255);
        return random.below(5001);
      default:
        return end;
    }
  }

  /** Keeps the call away from the bystanders and from what is outside the window. */
  #spare(cmd: number): void {
    const view = this.#view;
    const offset = fdOffset(cmd);
    if (offset >= 0 && this.#forbidden.has(view.getUint32(offset, true))) {
      view.setUint32(offset, 0xfffffffe, true);
    }
    // A short attr may have cut an address: what is left would point anywhere.
    for (const at of pointerOffsets(cmd)) {
      if (!this.#mayUse(view.getUint32(at, true), view.getUint32(at + 4, true))) {
        this.#attr.fill(0, at, at + 8);
      }
    }
    if (BATCH_COMMANDS.has(cmd) && !this.#window.endsMemory) {
      view.setUint32(32, view.getUint32(32, true) % (this.#window.maxCount + 1), true);
    }
    if (cmd === uapi.BPF_OBJ_GET_INFO_BY_FD && view.getUint32(12, true) === 0) {
      // The buffer of an info is input as well, and has addresses to write to in it.
      const memory = new Uint8Array(this.#target.memory.buffer);
      const ptr = view.getUint32(8, true);
      if (ptr !== 0) memory.fill(0, ptr, ptr + 168);
    }
  }

  /** The attr as an array that is itself in the kernel's memory: when that grows, it is gone. */
  #attrInMemory(size: number): Uint8Array {
    const ptr = this.#inWindow();
    const view = new Uint8Array(this.#target.memory.buffer, ptr, size);
    view.set(this.#attr.subarray(0, size));
    return view;
  }

  /** The attr in memory, or where no memory is. */
  #pointerCall(cmd: number, size: number): FuzzCall {
    const random = this.#random;
    const memory = new Uint8Array(this.#target.memory.buffer);
    if (random.oneIn(12)) return this.#oddPointerCall(cmd, size);
    const endsMemory = this.#window.endsMemory && random.oneIn(4);
    const ptr = endsMemory ? memory.length - random.below(200) : this.#inWindow();
    memory.set(this.#attr.subarray(0, Math.min(5000, memory.length - ptr)), ptr);
    return { args: [cmd, ptr, size], mustFail: false };
  }

  #oddPointerCall(cmd: number, size: number): FuzzCall {
    const random = this.#random;
    const memoryEnd = this.#target.memory.buffer.byteLength;
    // The window's first bytes are an attr that does nothing with a bystander.
    const { base } = this.#window;
    new Uint8Array(this.#target.memory.buffer, base, 168).fill(0xff);
    const outside = [
      memoryEnd,
      memoryEnd + 1,
      2 ** 32 - 4,
      2 ** 32 + base,
      -8,
      2 ** 53,
      Number.NaN,
    ];
    if (random.oneIn(2)) return { args: [cmd, random.pick(outside), size], mustFail: false };
    const wrong = [undefined, null, "92", {}, [92], 92n, Symbol("size"), true];
    if (random.oneIn(2)) return { args: [cmd, base, random.pick(ODD_SIZES)], mustFail: false };
    return { args: [cmd, base, wrong[random.below(wrong.length)]], mustFail: true };
  }

  /** Arguments that TypeScript would not let through. */
  #hostileCall(): FuzzCall {
    const random = this.#random;
    const fine = new Uint8Array(32).fill(0xff);
    if (random.oneIn(3)) {
      const attr = hostileAttr(random);
      return { args: [random.pick(COMMANDS), attr.value], mustFail: attr.mustFail };
    }
    const commands = [
      Number.NaN,
      "1",
      {},
      null,
      undefined,
      1n,
      Symbol("cmd"),
      [1],
      throwing(),
      true,
    ];
    const cmd: unknown = commands[random.below(commands.length)];
    if (random.oneIn(8)) return { args: random.oneIn(2) ? [] : [cmd], mustFail: true };
    if (random.oneIn(2)) return { args: [cmd, fine], mustFail: true };
    return { args: [cmd, this.#window.base, 32], mustFail: true };
  }
}

function refuse(): never {
  throw new Error("a caller's code ran");
}

/** An object that throws when it is taken for a number or text. */
function throwing(): object {
  return { valueOf: refuse, toString: refuse, [Symbol.toPrimitive]: refuse };
}

/** Bytes that do not want to be read. */
class HostileBytes extends Uint8Array {
  override get length(): number {
    return refuse();
  }
  override subarray(): never {
    return refuse();
  }
  override slice(): never {
    return refuse();
  }
}

function hostileAttr(random: Random): { readonly value: unknown; readonly mustFail: boolean } {
  const detached = new Uint8Array(168).fill(0xff);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const odd: unknown[] = [
    detached,
    new Uint8Array(new SharedArrayBuffer(168)).fill(0xff),
    new Uint8ClampedArray(168).fill(0xff),
    new Float64Array(21).fill(Number.NaN),
    new DataView(new ArrayBuffer(92)),
    new ArrayBuffer(92),
    new HostileBytes(168).fill(0xff),
    Object.create(Uint8Array.prototype),
    new Proxy(new Uint8Array(92).fill(0xff), {}),
    Buffer.alloc(92, 0xff),
  ];
  const wrong: unknown[] = [
    null,
    undefined,
    [1, 2, 3],
    "attr",
    {},
    { length: 92 },
    throwing(),
    true,
    7n,
  ];
  const mustFail = random.oneIn(2);
  const list = mustFail ? wrong : odd;
  return { value: list[random.below(list.length)], mustFail };
}

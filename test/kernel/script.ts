// Random programs: several helper calls on one map, some of them in callbacks, with everything that
// they answer and see written down. The same instructions run in the kernel, past its verifier, and
// in the machine of the tests on this library.
//
// r6: the io element, which has the input at IO.INPUT and takes the results from IO.OUTPUT on.

import { assembleProgram } from "../support/vm/asm.js";
import { TYPE } from "./abi.js";
import type { Random } from "./random.js";
import type { Shape, TypeRow } from "./types.js";
import { IO, type OpStream } from "./wire.js";

/** Where a callback counts its turns. */
const TURNS = 0;
/** Turns that a callback takes at most: what it inserts might keep it going. */
const TURNS_MAX = 200;
/** Results of callbacks that are written down: bytes. */
const TURNS_BYTES = 768;
const OUTPUT_MAX = IO.SIZE - IO.OUTPUT - 2048;
const INPUT_MAX = 4096;

const WITH_ELEMENTS: readonly number[] = [
  TYPE.HASH,
  TYPE.PERCPU_HASH,
  TYPE.LRU_HASH,
  TYPE.LRU_PERCPU_HASH,
  TYPE.ARRAY,
  TYPE.PERCPU_ARRAY,
  TYPE.LPM_TRIE,
];
const PER_CPU: readonly number[] = [TYPE.PERCPU_HASH, TYPE.LRU_PERCPU_HASH, TYPE.PERCPU_ARRAY];

const round8 = (size: number): number => (size + 7) & ~7;

export interface ScriptTools {
  readonly random: Random;
  readonly row: TypeRow;
  readonly shape: Shape;
  readonly cpus: number;
  readonly slot: number;
  key(): Uint8Array;
  value(length: number): Uint8Array;
  flags(): bigint;
}

/** One program in the making. */
export class Script {
  readonly #tools: ScriptTools;
  readonly #random: Random;
  readonly #shape: Shape;
  readonly #type: number;
  readonly #lines: string[] = [];
  readonly #callbacks: string[] = [];
  readonly #input: number[] = [];
  #output = 0;
  #labels = 0;

  constructor(tools: ScriptTools) {
    this.#tools = tools;
    this.#random = tools.random;
    this.#shape = tools.shape;
    this.#type = tools.row.type;
  }

  /** Appends a record with the program. */
  write(ops: OpStream): void {
    const steps = this.#random.between(1, 6);
    for (let i = 0; i < steps && this.#output < OUTPUT_MAX && this.#input.length < INPUT_MAX; i++) {
      this.#step();
    }
    this.#end(ops);
  }

  /** Appends a record with a program that drains a user ring buffer to its end. */
  writeDrain(ops: OpStream): void {
    this.#drain(0, TURNS_MAX);
    this.#end(ops);
  }

  #end(ops: OpStream): void {
    const text = [
      `r9 = r1; r6 = map_value[${IO.SLOT}] ll`,
      ...this.#lines,
      "r0 = 0; exit",
      ...this.#callbacks,
    ].join("\n");
    const { insns, labels } = assembleProgram(text);
    const starts = [...labels].filter(([name]) => name.startsWith("f")).map(([, pc]) => pc);
    ops.run(insns, [0, ...starts], Uint8Array.from(this.#input), this.#output, text);
  }

  #step(): void {
    const type = this.#type;
    if (WITH_ELEMENTS.includes(type)) return this.#elementStep();
    if (type === TYPE.ARRAY_OF_MAPS || type === TYPE.HASH_OF_MAPS) return this.#outerStep();
    if (type === TYPE.RINGBUF) return this.#ringStep();
    if (type === TYPE.USER_RINGBUF) {
      const stopAt = this.#random.chance(0.4) ? this.#random.below(6) : TURNS_MAX;
      return this.#drain(this.#random.pick([0, 0, 1, 2, 3, 4]), stopAt);
    }
    if (type === TYPE.SK_STORAGE) return this.#storageStep();
    return this.#queueStep();
  }

  #elementStep(): void {
    const random = this.#random;
    const choice = random.below(20);
    if (choice < 5) return this.#lookup("");
    if (choice < 10) return this.#update();
    if (choice < 13) return this.#delete();
    if (choice < 14 && (this.#shape.lockOffset ?? -1) >= 0) return this.#locked();
    if (choice < 15 && PER_CPU.includes(this.#type)) {
      return this.#lookup(` r3 = ${random.below(this.#tools.cpus + 2)};`);
    }
    if (choice < 17 && this.#type !== TYPE.LPM_TRIE) return this.#forEach();
    const hasLock = (this.#shape.lockOffset ?? -1) >= 0;
    if (choice < 19 && !hasLock) return this.#fromElement();
    return this.#lookup("");
  }

  // --- pieces ---

  #line(...text: readonly string[]): void {
    this.#lines.push(...text);
  }

  #label(prefix = "l"): string {
    return `${prefix}${this.#labels++}`;
  }

  /** Offset of bytes in the io element. */
  #bytes(bytes: Uint8Array): number {
    const at = IO.INPUT + this.#input.length;
    this.#input.push(...bytes, ...new Uint8Array(round8(bytes.length) - bytes.length));
    return at;
  }

  /** Offset of room for results. */
  #room(bytes: number): number {
    const at = IO.OUTPUT + this.#output;
    this.#output += round8(bytes);
    return at;
  }

  #log(): void {
    this.#line(`*(u64 *)(r6 + ${this.#room(8)}) = r0`);
  }

  #map(): string {
    return `r1 = map[${this.#tools.slot}] ll`;
  }

  #at(register: string, offset: number, io = "r6"): string {
    return `${register} = ${io}; ${register} += ${offset}`;
  }

  /** The accessible pieces of a value: [offset, bytes]. */
  #pieces(size: number): [number, number][] {
    const lock = this.#shape.lockOffset ?? -1;
    const pieces: [number, number][] = [];
    for (let at = 0; at < size;) {
      const inLock = (bytes: number) => lock >= 0 && at < lock + 4 && at + bytes > lock;
      const bytes = [8, 4, 2, 1].find((n) => at % n === 0 && at + n <= size && !inLock(n));
      if (bytes === undefined) at = lock + 4;
      else {
        pieces.push([at, bytes]);
        at += bytes;
      }
    }
    return pieces;
  }

  /** Copies by r1. */
  #copy(from: string, to: string, at: number, pieces: readonly [number, number][]): string[] {
    return pieces.map(
      ([offset, bytes]) =>
        `r1 = *(u${bytes * 8} *)(${from} + ${offset}); *(u${bytes * 8} *)(${to} + ${at + offset}) = r1`,
    );
  }

  /** Changes a value that `register` points at. */
  #mutate(register: string, size: number): string {
    const pieces = this.#pieces(size);
    if (pieces.length === 0) return "";
    const [offset, bytes] = this.#random.pick(pieces);
    const imm = this.#random.below(0x7fff_ffff);
    const aligned = this.#type !== TYPE.LPM_TRIE && bytes >= 4;
    if (aligned && this.#random.chance(0.5)) {
      const operator = this.#random.pick(["+=", "|=", "&=", "^="]);
      return `r1 = ${imm}; lock *(u${bytes * 8} *)(${register} + ${offset}) ${operator} r1`;
    }
    return `*(u${bytes * 8} *)(${register} + ${offset}) = ${bytes < 4 ? imm & 0x7f : imm}`;
  }

  // --- elements ---

  #lookup(cpu: string): void {
    const { valueSize } = this.#shape;
    const out = this.#label();
    const helper = cpu === "" ? "bpf_map_lookup_elem" : "bpf_map_lookup_percpu_elem";
    this.#line(this.#map(), this.#at("r2", this.#bytes(this.#tools.key())));
    this.#line(`${cpu} call ${helper}`.trim(), `if r0 == 0 goto ${out}`);
    this.#found("r0", valueSize);
    this.#line(`${out}:`);
  }

  /** Writes down that there is a value, what it is, and perhaps changes it. */
  #found(register: string, size: number): void {
    this.#line(`*(u64 *)(r6 + ${this.#room(8)}) = 1`);
    this.#line(...this.#copy(register, "r6", this.#room(size), this.#pieces(size)));
    if (this.#random.chance(0.3)) this.#line(this.#mutate(register, size));
  }

  #update(): void {
    const { valueSize } = this.#shape;
    this.#line(this.#map(), this.#at("r2", this.#bytes(this.#tools.key())));
    this.#line(this.#at("r3", this.#bytes(this.#tools.value(valueSize))));
    this.#line(`r4 = 0x${this.#tools.flags().toString(16)} ll; call bpf_map_update_elem`);
    this.#log();
  }

  #delete(): void {
    this.#line(this.#map(), this.#at("r2", this.#bytes(this.#tools.key())));
    this.#line("call bpf_map_delete_elem");
    this.#log();
  }

  /** Hands a value of the map in again: as the value of an element, or as a key. */
  #fromElement(): void {
    const random = this.#random;
    const { keySize, valueSize } = this.#shape;
    const out = this.#label();
    this.#line(this.#map(), this.#at("r2", this.#bytes(this.#tools.key())));
    this.#line(`call bpf_map_lookup_elem; if r0 == 0 goto ${out}; r7 = r0`, this.#map());
    const own = keySize <= valueSize && random.chance(0.3);
    if (own) this.#line("r2 = r7");
    else this.#line(this.#at("r2", this.#bytes(this.#tools.key())));
    if (own && random.chance(0.3)) this.#line("call bpf_map_delete_elem");
    else {
      const value = this.#bytes(this.#tools.value(valueSize));
      this.#line(own && random.chance(0.5) ? this.#at("r3", value) : "r3 = r7");
      this.#line(`r4 = 0x${this.#tools.flags().toString(16)} ll; call bpf_map_update_elem`);
    }
    this.#log();
    this.#line(`${out}:`);
  }

  /** Changes a value under its lock. */
  #locked(): void {
    const { valueSize, lockOffset = 0 } = this.#shape;
    const out = this.#label();
    this.#line(this.#map(), this.#at("r2", this.#bytes(this.#tools.key())));
    this.#line("call bpf_map_lookup_elem", `if r0 == 0 goto ${out}`, "r7 = r0");
    this.#line(`r1 = r7; r1 += ${lockOffset}; call bpf_spin_lock`);
    this.#line(this.#mutate("r7", valueSize));
    this.#line(...this.#copy("r7", "r6", this.#room(valueSize), this.#pieces(valueSize)));
    this.#line(`r1 = r7; r1 += ${lockOffset}; call bpf_spin_unlock`);
    this.#line(`${out}:`);
  }

  #forEach(): void {
    const random = this.#random;
    const name = this.#label("f");
    const flags = random.chance(0.03) ? 1 : 0;
    this.#line(`*(u64 *)(r6 + ${TURNS}) = 0`, this.#map());
    this.#line(`r2 = &${name} ll; r3 = 0; r4 = ${flags}; call bpf_for_each_map_elem`);
    this.#log();
    this.#callbacks.push(...this.#callback(name));
  }

  /** r6: key, r7: value, r8: io, r9: turn. */
  #callback(name: string): string[] {
    const random = this.#random;
    const { keySize, valueSize } = this.#shape;
    const stride = round8(keySize) + round8(valueSize);
    const limit = Math.max(1, Math.floor(TURNS_BYTES / stride));
    const area = this.#room(limit * stride);
    const actions = this.#room(8);
    const [go, stop] = [this.#label(), this.#label()];
    const stopAt = random.chance(0.3) ? random.below(6) : TURNS_MAX;
    const keyPieces: [number, number][] = [];
    for (let i = 0; i < keySize; i++) keyPieces.push([i, 1]);
    const lines = [
      `${name}: r6 = r2; r7 = r3; r8 = map_value[${IO.SLOT}] ll`,
      `r9 = *(u64 *)(r8 + ${TURNS}); r1 = r9; r1 += 1; *(u64 *)(r8 + ${TURNS}) = r1`,
      `if r9 >= ${limit} goto ${go}`,
      `r2 = r9; r2 *= ${stride}; r2 += r8`,
      ...this.#copy("r6", "r2", area, keyPieces),
      ...this.#copy("r7", "r2", area + round8(keySize), this.#pieces(valueSize)),
      `${go}:`,
    ];
    if (random.chance(0.3)) lines.push(this.#mutate("r7", valueSize));
    for (let i = random.below(3); i > 0; i--) lines.push(...this.#action(actions));
    lines.push(`if r9 >= ${stopAt} goto ${stop}`, "r0 = 0; exit", `${stop}: r0 = 1; exit`);
    return lines;
  }

  /**
   * What a callback does to its map: all turns, every other, or one of them. The kernel chooses the next element of a
   * bucket before the turn, and shows it as it was even if it is deleted, replaced or evicted then (library: hashtab.ts,
   * "Differs:"); so those things happen to the current element only.
   */
  #action(result: number): string[] {
    const random = this.#random;
    const skip = this.#label();
    const turn = random.below(5);
    const lines: string[] = [];
    if (random.chance(0.3)) lines.push(`if r9 & 1 goto ${skip}`);
    else if (random.chance(0.6)) lines.push(`if r9 != ${turn} goto ${skip}`);
    const inHash = this.#type !== TYPE.ARRAY && this.#type !== TYPE.PERCPU_ARRAY;
    const lru = this.#type === TYPE.LRU_HASH || this.#type === TYPE.LRU_PERCPU_HASH;
    const choice = random.pick(lru ? [0, 2] : [0, 1, 2]);
    const current = random.chance(0.5) || (inHash && choice === 0);
    const key = current ? "r2 = r6" : this.#at("r2", this.#bytes(this.#tools.key()), "r8");
    lines.push(`${this.#map()}; ${key}`);
    if (choice === 0) lines.push("call bpf_map_delete_elem");
    else if (choice === 1) {
      const value = this.#bytes(this.#tools.value(this.#shape.valueSize));
      const flags = (current || !inHash ? this.#tools.flags() : 1n).toString(16);
      lines.push(this.#at("r3", value, "r8"), `r4 = 0x${flags} ll; call bpf_map_update_elem`);
    } else {
      const none = this.#label();
      lines.push("call bpf_map_lookup_elem", `if r0 == 0 goto ${none}`, "r0 = 1", `${none}:`);
    }
    return [
      ...lines,
      `r1 = *(u64 *)(r8 + ${result}); r1 *= 31; r1 += r0; *(u64 *)(r8 + ${result}) = r1`,
      `${skip}:`,
    ];
  }

  // --- queues, stacks, Bloom filters ---

  #queueStep(): void {
    const { valueSize } = this.#shape;
    const bloom = this.#type === TYPE.BLOOM_FILTER;
    const choice = this.#random.below(5);
    this.#line(this.#map());
    if (choice < 3) {
      this.#line(this.#at("r2", this.#bytes(this.#tools.value(valueSize))));
      const flags = this.#random.pick([0n, 0n, 0n, 2n, 2n, this.#tools.flags()]);
      this.#line(`r3 = 0x${flags.toString(16)} ll; call bpf_map_push_elem`);
    } else {
      const at = bloom ? this.#bytes(this.#tools.value(valueSize)) : this.#room(valueSize);
      const pop = choice === 3 && !bloom;
      this.#line(this.#at("r2", at), `call bpf_map_${pop ? "pop" : "peek"}_elem`);
    }
    this.#log();
  }

  // --- maps of maps (inner maps have 4-byte keys and values) ---

  #outerStep(): void {
    const random = this.#random;
    const out = this.#label();
    this.#line(this.#map(), this.#at("r2", this.#bytes(this.#tools.key())));
    this.#line(`call bpf_map_lookup_elem; if r0 == 0 goto ${out}`);
    this.#line(`*(u64 *)(r6 + ${this.#room(8)}) = 1; r1 = r0`);
    const key = this.#bytes(Uint8Array.of(random.below(4), 0, 0, 0));
    this.#line(this.#at("r2", key));
    const choice = random.below(4);
    if (choice < 2) {
      this.#line(`call bpf_map_lookup_elem; if r0 == 0 goto ${out}`);
      this.#found("r0", 4);
    } else if (choice === 2) {
      const value = this.#bytes(random.bytes(4));
      this.#line(this.#at("r3", value), `r4 = ${random.below(4)}; call bpf_map_update_elem`);
      this.#log();
    } else {
      this.#line("call bpf_map_delete_elem");
      this.#log();
    }
    this.#line(`${out}:`);
  }

  // --- ring buffers ---

  #ringStep(): void {
    const choice = this.#random.below(10);
    if (choice < 3) return this.#reserve();
    if (choice < 5) return this.#outputRecord();
    if (choice < 7) return this.#dynptr();
    if (choice < 8) return this.#reserveTwo();
    this.#line(this.#map());
    this.#line(`r2 = ${this.#random.below(6)}; call bpf_ringbuf_query`);
    this.#log();
  }

  #recordSize(): number {
    const random = this.#random;
    const { maxEntries } = this.#shape;
    if (random.chance(0.6)) return random.between(1, 80);
    if (random.chance(0.5)) return random.between(1, 1500);
    return Math.max(1, maxEntries - random.below(40) + random.pick([0, 0, 8, 4096]));
  }

  #wakeup(): number {
    return this.#random.pick([0, 0, 1, 2, 3]);
  }

  /** What a program does with a record of its own: whole words at its start and its end. */
  #fillRecord(register: string, size: number): void {
    const word = size >= 4 ? 4 : 1;
    const last = size - word;
    const imm = () => (word === 4 ? this.#random.below(0x7fff_ffff) : this.#random.below(0x7f));
    for (const at of [0, last, last >> 1]) {
      if (at >= 0 && at < 0x7fff && size > 0) {
        this.#line(`*(u${word * 8} *)(${register} + ${at}) = ${imm()}`);
      }
    }
  }

  #commit(register: string): void {
    const verb = this.#random.pick(["submit", "submit", "discard"]);
    this.#line(`r1 = ${register}; r2 = ${this.#wakeup()}; call bpf_ringbuf_${verb}`);
  }

  #reserve(): void {
    const size = this.#recordSize();
    const out = this.#label();
    this.#line(this.#map(), `r2 = ${size}; r3 = ${this.#random.chance(0.05) ? 1 : 0}`);
    this.#line(`call bpf_ringbuf_reserve; if r0 == 0 goto ${out}; r7 = r0`);
    this.#line(`*(u64 *)(r6 + ${this.#room(8)}) = 1`);
    this.#fillRecord("r7", size);
    this.#commit("r7");
    this.#line(`${out}:`);
  }

  /** Two at a time, which are committed in either order. */
  #reserveTwo(): void {
    const [a, b] = [this.#recordSize(), this.#recordSize()];
    const [out, none] = [this.#label(), this.#label()];
    this.#line(`${this.#map()}; r2 = ${a}; r3 = 0; call bpf_ringbuf_reserve`);
    this.#line(`if r0 == 0 goto ${out}; r7 = r0`);
    this.#line(`${this.#map()}; r2 = ${b}; r3 = 0; call bpf_ringbuf_reserve`);
    this.#line(`if r0 == 0 goto ${none}; r8 = r0`);
    this.#fillRecord("r8", b);
    this.#commit("r8");
    this.#line(`${this.#map()}; r2 = ${this.#random.below(4)}; call bpf_ringbuf_query`);
    this.#log();
    this.#line(`${none}:`);
    this.#fillRecord("r7", a);
    this.#commit("r7");
    this.#line(`${out}:`);
  }

  #outputRecord(): void {
    const size = Math.min(this.#recordSize(), 6000);
    const data = this.#bytes(this.#random.bytes(Math.min(size, 64)));
    const flags = this.#random.pick([0, 0, 1, 2, 3, 4, 8]);
    this.#line(this.#map(), this.#at("r2", data));
    this.#line(`r3 = ${size}; r4 = ${flags}; call bpf_ringbuf_output`);
    this.#log();
  }

  #dynptr(): void {
    const random = this.#random;
    const size = this.#recordSize();
    this.#line(this.#map());
    const big = random.chance(0.03) ? 0x100_0000 : size;
    this.#line(`r2 = ${big}; r3 = ${random.chance(0.05) ? 1 : 0}; r4 = r10; r4 += -16`);
    this.#line("call bpf_ringbuf_reserve_dynptr");
    this.#log();
    for (let i = random.below(4); i > 0; i--) this.#dynptrUse("r1 = r10; r1 += -16", size);
    const verb = random.pick(["submit", "submit", "discard"]);
    this.#line("r1 = r10; r1 += -16", `r2 = ${this.#wakeup()}; call bpf_ringbuf_${verb}_dynptr`);
  }

  /** Reads, writes or looks into the dynptr that `pointer` puts into r1. */
  #dynptrUse(pointer: string, size: number): void {
    const random = this.#random;
    const length = random.between(1, 40);
    const offset = random.pick([0, 0, random.below(size + 1), Math.max(0, size - length)]);
    const flags = random.chance(0.05) ? 1 : 0;
    const choice = random.below(3);
    if (choice === 0) {
      const data = this.#bytes(random.bytes(length));
      this.#line(pointer, `r2 = ${offset}`, this.#at("r3", data));
      this.#line(`r4 = ${length}; r5 = ${flags}; call bpf_dynptr_write`);
      this.#log();
    } else if (choice === 1) {
      this.#line(`${pointer}; r3 = r1; r2 = ${length}`, this.#at("r1", this.#room(length)));
      this.#line(`r4 = ${offset}; r5 = ${flags}; call bpf_dynptr_read`);
      this.#log();
    } else {
      const out = this.#label();
      this.#line(`${pointer}; r2 = ${offset}; r3 = ${length}; call bpf_dynptr_data`);
      this.#line(`if r0 == 0 goto ${out}; *(u64 *)(r6 + ${this.#room(8)}) = 1`);
      this.#line(`*(u8 *)(r0 + ${length - 1}) = ${random.below(0x7f)}`);
      this.#line(`${out}:`);
    }
  }

  // --- user ring buffers ---

  #drain(flags: number, stopAt: number): void {
    const random = this.#random;
    const name = this.#label("f");
    this.#line(`*(u64 *)(r6 + ${TURNS}) = 0`, this.#map());
    this.#line(`r2 = &${name} ll; r3 = 0; r4 = ${flags}; call bpf_user_ringbuf_drain`);
    this.#log();
    const [go, stop, none] = [this.#label(), this.#label(), this.#label()];
    const length = random.between(1, 24);
    const stride = 48;
    const limit = TURNS_BYTES / stride;
    const area = this.#room(TURNS_BYTES);
    this.#callbacks.push(
      `${name}: r6 = r1; r8 = map_value[${IO.SLOT}] ll`,
      `r9 = *(u64 *)(r8 + ${TURNS}); r1 = r9; r1 += 1; *(u64 *)(r8 + ${TURNS}) = r1`,
      `if r9 >= ${limit} goto ${go}`,
      `r7 = r9; r7 *= ${stride}; r7 += r8`,
      `r1 = r7; r1 += ${area}; r2 = ${length}; r3 = r6; r4 = ${random.below(3)}; r5 = 0`,
      `call bpf_dynptr_read; *(u64 *)(r7 + ${area + 24}) = r0`,
      `r1 = r6; r2 = ${random.below(3)}; r3 = ${length}; call bpf_dynptr_data`,
      `if r0 == 0 goto ${none}; *(u64 *)(r7 + ${area + 32}) = 1`,
      `r1 = *(u8 *)(r0 + ${length - 1}); *(u8 *)(r7 + ${area + 40}) = r1`,
      `${none}:`,
      `${go}:`,
      `if r9 >= ${stopAt} goto ${stop}`,
      "r0 = 0; exit",
      `${stop}: r0 = 1; exit`,
    );
  }

  // --- storages of sockets: each run has a socket of its own ---

  #storageStep(): void {
    const random = this.#random;
    const out = this.#label();
    this.#line(`r1 = *(u64 *)(r9 + 168); if r1 == 0 goto ${out}; call 95`);
    this.#line(`if r0 == 0 goto ${out}; r2 = r0`, this.#map());
    if (random.chance(0.25)) {
      this.#line("call bpf_sk_storage_delete");
      this.#log();
    } else {
      const { valueSize } = this.#shape;
      const first = random.chance(0.5)
        ? "r3 = 0"
        : this.#at("r3", this.#bytes(random.bytes(valueSize)));
      const flags = random.pick([0, 1, 1, 1, 2, 3]);
      this.#line(`${first}; r4 = ${flags}; call bpf_sk_storage_get; if r0 == 0 goto ${out}`);
      this.#found("r0", valueSize);
    }
    this.#line(`${out}:`);
  }
}

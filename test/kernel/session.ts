// The operations of one session: a map is created, used and abused, and everything is closed again.
//
// Nothing here depends on an answer, so a session is one chunk for either side. Where an operation
// needs what an earlier one returned (the next key, a batch cursor), it uses a register.

import { ATTR_END, ATTR_SIZE, CMD, F, TYPE } from "./abi.js";
import { BTF_SLOT, makeMap, MAP_SLOT } from "./make-map.js";
import type { Random } from "./random.js";
import { Script } from "./script.js";
import {
  INNER_MAPS,
  INNER_SLOT,
  OWNERS,
  OWNER_SLOT,
  type Shape,
  type TypeRow,
  type Verb,
  VERBS,
} from "./types.js";
import { BUF, FLAG, PATCH, PROG, RING, type OpStream } from "./wire.js";

/** Two more descriptors of the map, with restricted access. */
const RDONLY_SLOT = 1;
const WRONLY_SLOT = 2;
/** Never filled: its descriptor is -1. */
const EMPTY_SLOT = 3;
/** Whatever else is created for a moment. */
const OTHER_SLOT = 4;

/** Registers: the walk's current key, the batch cursor. */
const KEY_REGISTER = 0;
const CURSOR_REGISTER = 1;

/** Bytes after an answer's buffer that nobody may touch. */
/** A batch's patches, at most: a record has room for a few more. */
const PATCHES_MAX = 60;
const MARGIN = 8;

/** Outside memory for the kernel and for the library; the last two have a small low word. */
const BAD_POINTERS = [0n, 0n, 0xffff_ffff_0000_0000n, 0x1_0000_1000n, 0xffff_8000_0000_1000n];

/** No descriptors of programs. */
const NO_PROGRAMS = [0, 500, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

const ILLEGAL_FLAGS = [3n, 4n, 5n, 6n, 7n, 8n, 16n, 24n, 1n << 32n, (5n << 32n) | 8n, 1n << 63n];

export interface SessionOptions {
  readonly cpus: number;
  /** Whether programs can be run. */
  readonly programs: boolean;
  /** Whether buffers may end where memory ends. */
  readonly tail: boolean;
  /** Whether there is a bpffs. */
  readonly paths: boolean;
}

/** Where the pointers of the element commands are. */
const KEY_AT = 8;
const VALUE_AT = 16;

export class Session {
  readonly #random: Random;
  readonly #ops: OpStream;
  readonly #row: TypeRow;
  readonly #shape: Shape;
  readonly #options: SessionOptions;
  /** How often an operation is deliberately wrong. */
  readonly #errors: number;
  /** How often the CPU changes; 0 keeps to CPU 0. */
  readonly #hops: number;
  readonly #key: Uint8Array;
  readonly #value: Uint8Array;
  readonly #verbs: Verb[] = [];
  /**
   * A program's insert fills value_size bytes of each slot: the padding behind is whatever the recycled element had
   * before, which depends on the allocator. (What bpf(2) writes there it reads back.)
   */
  readonly #stalePadding: boolean;
  #restricted = false;
  readonly #mirrored: boolean;
  /** Bytes put into a user's ring buffer. */
  #produced = 0;
  /** Patches that the record under construction will get. */
  readonly #pending: [target: number, what: number, offset: number, slot?: number][] = [];

  constructor(random: Random, ops: OpStream, row: TypeRow, options: SessionOptions) {
    this.#random = random;
    this.#ops = ops;
    this.#row = row;
    this.#options = options;
    this.#shape = row.shape(random, options.cpus);
    this.#errors = random.pick([0, 0.01, 0.03, 0.15]);
    this.#mirrored = random.chance(0.5);
    this.#hops = random.pick([0, 0, 0.01, 0.05]);
    this.#key = new Uint8Array(this.#shape.keySize);
    this.#value = new Uint8Array(Math.max(this.#shape.userValueSize, this.#shape.valueSize));
    this.#chooseVerbs();
    const updates = (["progUpdate", "script"] as const).some((verb) => this.#verbs.includes(verb));
    this.#stalePadding = row.recycledSlots === true && updates;
  }

  /** Appends the whole session. */
  run(): void {
    const random = this.#random;
    const shape = this.#shape;
    makeMap(random, this.#ops, this.#row, shape);
    if (random.chance(0.3)) this.#restrictedFds();
    if (shape.keySize + shape.valueSize > 0 && random.chance(0.6)) this.#fill();
    const length = 60 + random.below(Math.min(2500, 200 + shape.maxEntries * 3));
    const freezeAt = random.chance(0.1) ? random.below(length) : -1;
    for (let i = 0; i < length; i++) {
      if (this.#hops > 0 && random.chance(this.#hops))
        this.#ops.cpu(random.below(Math.min(2, this.#options.cpus)));
      if (i === freezeAt) this.#freeze();
      this.#verb(random.pick(this.#verbs));
    }
    this.#ops.walk(MAP_SLOT, shape.keySize, shape.maxEntries + 2);
    this.#end();
  }

  /** Each session prefers other verbs, so that rare mixtures get their turn. */
  #chooseVerbs(): void {
    const large = this.#shape.maxEntries > 64;
    for (const verb of VERBS) {
      const weight = this.#row.weights[verb] ?? 0;
      const isProgram = verb.startsWith("prog") || verb === "script";
      if (isProgram && !this.#options.programs) continue;
      const whole = verb === "walk" || verb.endsWith("Batch");
      const share = weight * this.#random.pick([0, 0.3, 1, 1, 3]) * (large && whole ? 0.1 : 1);
      const count = Math.floor(share * 10 + (weight > 0 ? this.#random.u32() / 0x1_0000_0000 : 0));
      for (let i = 0; i < count; i++) this.#verbs.push(verb);
    }
    if (this.#verbs.length === 0) this.#verbs.push("update", "lookup");
  }

  #verb(verb: Verb): void {
    switch (verb) {
      case "update":
        return this.#update();
      case "lookup":
        return this.#lookup(CMD.MAP_LOOKUP_ELEM);
      case "lookupAndDelete":
        return this.#lookup(CMD.MAP_LOOKUP_AND_DELETE_ELEM);
      case "delete":
        return this.#delete();
      case "nextKey":
        return this.#nextKey();
      case "walk":
        return this.#ops.walk(MAP_SLOT, this.#shape.keySize, this.#shape.maxEntries + 2);
      case "lookupBatch":
        return this.#lookupBatch(CMD.MAP_LOOKUP_BATCH);
      case "lookupAndDeleteBatch":
        return this.#lookupBatch(CMD.MAP_LOOKUP_AND_DELETE_BATCH);
      case "updateBatch":
        return this.#writeBatch(CMD.MAP_UPDATE_BATCH);
      case "deleteBatch":
        return this.#writeBatch(CMD.MAP_DELETE_BATCH);
      case "info":
        return this.#info();
      case "object":
        return this.#objectCommand();
      case "owner":
        return this.#owner();
      case "script":
        return this.#script();
      case "ring":
        return this.#ring();
      default:
        return this.#program(verb);
    }
  }

  // --- pieces of an attr ---

  #wrong(): boolean {
    return this.#errors > 0 && this.#random.chance(this.#errors);
  }

  /** Begins a command; now and then with another size, trailing bytes, or an unreadable attr. */
  #begin(cmd: number, end: number): void {
    const random = this.#random;
    if (!this.#wrong() || !random.chance(0.2)) return this.#ops.bpf(cmd, end, end);
    switch (random.below(5)) {
      case 0:
        return this.#ops.bpf(cmd, end, random.pick([ATTR_SIZE, ATTR_SIZE + 8, 4096]));
      case 1: {
        const extra = random.pick([end, end + 1, ATTR_SIZE - 1, ATTR_SIZE, ATTR_SIZE + 20]);
        this.#ops.bpf(cmd, extra + 1, extra + 1);
        return this.#ops.attrBytes(extra, Uint8Array.of(1));
      }
      case 2:
        return this.#ops.bpf(cmd, end, random.pick([4097, 0xffff_ffff]));
      case 3:
        return this.#ops.bpf(cmd, end, 8 * random.below(end / 8));
      default:
        this.#ops.bpf(cmd, end, random.pick([end, end, 0]));
        return this.#ops.flag(FLAG.BAD_ATTR);
    }
  }

  /** The descriptor to use: nearly always the map's own. Patches come last in a record. */
  #fd(): { slot: number; literal: number } {
    const random = this.#random;
    if (this.#restricted && random.chance(0.1)) {
      return { slot: random.pick([RDONLY_SLOT, WRONLY_SLOT]), literal: 0 };
    }
    if (this.#wrong() && random.chance(0.2)) {
      if (random.chance(0.4)) return { slot: EMPTY_SLOT, literal: 0 };
      return { slot: -1, literal: random.pick([0, 1, 2, 0x7fff_ffff, 0xffff_ffff, 500]) };
    }
    return { slot: MAP_SLOT, literal: 0 };
  }

  /** A buffer that the command reads; sometimes an address that it cannot read. */
  #input(attrOffset: number, bytes: Uint8Array): void {
    if (this.#wrong() && this.#random.chance(0.25)) return this.#badPointer(attrOffset);
    this.#ops.buffer(attrOffset, BUF.IN, bytes.length, bytes);
  }

  /** A buffer that the command writes. */
  #output(attrOffset: number, length: number): void {
    if (this.#wrong() && this.#random.chance(0.25)) return this.#badPointer(attrOffset);
    this.#ops.buffer(attrOffset, BUF.OUT, length + MARGIN);
  }

  /** A buffer for values; `kind` in addition to OUT. */
  #outputValues(attrOffset: number, length: number, kind = 0): void {
    const padded = this.#stalePadding ? BUF.PADDED : 0;
    const { valueSize } = this.#shape;
    this.#ops.buffer(attrOffset, BUF.OUT | kind | padded, length, undefined, valueSize);
  }

  #badPointer(attrOffset: number): void {
    this.#ops.attr64(attrOffset, this.#random.pick(BAD_POINTERS));
    this.#ops.flag(FLAG.BLANK_ON_FAULT);
  }

  /** Ends a record about a map; patches follow all buffers. */
  #patchFd(fd: { slot: number; literal: number }, offset = 0): void {
    for (const patch of this.#pending) this.#ops.patch(...patch);
    this.#pending.length = 0;
    if (fd.slot >= 0) this.#ops.patch(0, PATCH.FD, offset, fd.slot);
    else this.#ops.attr32(offset, fd.literal);
    this.#ops.endBpf();
  }

  #randomKey(): Uint8Array {
    const index = this.#random.below(this.#shape.universe);
    this.#row.key(this.#random, this.#shape, index, this.#key);
    return this.#key;
  }

  /** Bloom filters are asked for values that were put in before. */
  #randomValue(length: number): Uint8Array {
    const value = this.#value.subarray(0, length);
    if (this.#row.type !== TYPE.BLOOM_FILTER) return this.#random.fill(value);
    const seed = this.#random.below(this.#shape.maxEntries * 2);
    for (let i = 0; i < length; i++) value[i] = Math.imul(seed + 1, i + 77) >>> 3;
    return value;
  }

  #updateFlags(): bigint {
    if (this.#wrong() && this.#random.chance(0.4)) return this.#random.pick(ILLEGAL_FLAGS);
    return this.#random.pick([0n, 0n, 0n, 0n, 0n, 1n, 2n]) | this.#lockFlag();
  }

  /** BPF_F_LOCK every other time where there is a lock. */
  #lockFlag(): bigint {
    return (this.#shape.lockOffset ?? -1) >= 0 && this.#random.chance(0.5) ? 4n : 0n;
  }

  #keyPointer(): void {
    if (this.#row.owner !== undefined) return this.#ownerKey();
    if (this.#shape.keySize > 0) return this.#input(KEY_AT, this.#randomKey());
    // Keyless types want NULL.
    if (this.#wrong() && this.#random.chance(0.2)) this.#ops.buffer(KEY_AT, BUF.IN, 8);
  }

  /** The key of a storage is an owner's descriptor. */
  #ownerKey(): void {
    if (this.#wrong() && this.#random.chance(0.25)) return this.#badPointer(KEY_AT);
    this.#ops.buffer(KEY_AT, BUF.IN, 4);
    const slot = this.#wrong()
      ? this.#random.pick([EMPTY_SLOT, MAP_SLOT, BTF_SLOT])
      : OWNER_SLOT + this.#random.below(OWNERS);
    this.#pending.push([this.#bufferCount(), PATCH.FD, 0, slot]);
  }

  // --- single elements ---

  #update(index = -1): void {
    this.#begin(CMD.MAP_UPDATE_ELEM, ATTR_END.elem);
    this.#ops.attr64(24, index < 0 ? this.#updateFlags() : 0n);
    if (index < 0) this.#keyPointer();
    else {
      this.#row.key(this.#random, this.#shape, index, this.#key);
      if (this.#shape.keySize > 0) this.#ops.buffer(KEY_AT, BUF.IN, this.#key.length, this.#key);
    }
    if (this.#row.inner) this.#innerValue();
    else if (this.#row.words) this.#objectValue(this.#row.words);
    else this.#input(VALUE_AT, this.#randomValue(this.#shape.userValueSize));
    this.#patchFd(this.#fd());
  }

  #lookup(cmd: number): void {
    const random = this.#random;
    this.#begin(cmd, ATTR_END.elem);
    const illegal = this.#wrong() && random.chance(0.4);
    this.#ops.attr64(24, illegal ? random.pick(ILLEGAL_FLAGS) : this.#lockFlag());
    this.#keyPointer();
    const fault = this.#wrong() && random.chance(0.25);
    if (fault) this.#badPointer(VALUE_AT);
    else if (this.#row.type === TYPE.BLOOM_FILTER) {
      const value = this.#randomValue(this.#shape.valueSize);
      this.#ops.buffer(VALUE_AT, BUF.IN | BUF.OUT, value.length, value);
    } else this.#outputValues(VALUE_AT, this.#shape.userValueSize + MARGIN);
    // A map of maps answers with an id.
    if (this.#row.inner && !fault) this.#pending.push([this.#bufferCount(), PATCH.OUT_ID, 0]);
    this.#patchFd(this.#fd());
  }

  #delete(): void {
    this.#begin(CMD.MAP_DELETE_ELEM, ATTR_END.delete);
    this.#keyPointer();
    this.#patchFd(this.#fd());
  }

  #nextKey(): void {
    const random = this.#random;
    const size = this.#shape.keySize;
    this.#begin(CMD.MAP_GET_NEXT_KEY, ATTR_END.nextKey);
    const from = random.below(10);
    if (from < 5) this.#ops.buffer(KEY_AT, BUF.REG, size, undefined, KEY_REGISTER);
    else if (from < 8) this.#keyPointer();
    if (random.chance(0.7)) {
      this.#ops.buffer(VALUE_AT, BUF.REG | BUF.OUT, size + MARGIN, undefined, KEY_REGISTER);
    } else this.#output(VALUE_AT, size);
    this.#patchFd(this.#fd());
  }

  // --- batches: in_batch 0, out_batch 8, keys 16, values 24, count 32, fd 36, elem_flags 40, flags 48

  #batchHead(cmd: number, count: number): void {
    const random = this.#random;
    this.#begin(cmd, ATTR_END.batch);
    this.#ops.attr32(32, count);
    this.#ops.changed(32, 4);
    this.#ops.attr64(40, this.#lockFlag());
    if (!this.#wrong() || !random.chance(0.4)) return;
    if (random.chance(0.6)) this.#ops.attr64(40, random.pick([...ILLEGAL_FLAGS, 1n, 2n]));
    else this.#ops.attr64(48, random.pick([1n, 4n, 1n << 40n]));
  }

  #lookupBatch(cmd: number): void {
    const random = this.#random;
    const { keySize, userValueSize, maxEntries } = this.#shape;
    const count = random.chance(0.3)
      ? maxEntries + random.below(3)
      : random.below(Math.min(maxEntries, 40) + 1);
    const cursorSize = this.#row.cursor === "bucket" ? 4 : keySize;
    this.#batchHead(cmd, count);
    const from = random.below(10);
    if (from < 5) this.#ops.buffer(0, BUF.REG, cursorSize, undefined, CURSOR_REGISTER);
    else if (from < 7) this.#input(0, this.#cursor(cursorSize));
    if (random.chance(0.8)) {
      this.#ops.buffer(8, BUF.REG | BUF.OUT, cursorSize + MARGIN, undefined, CURSOR_REGISTER);
    } else this.#output(8, cursorSize);
    if (!this.#row.inner && this.#options.tail && count > 1 && this.#wrong()) {
      // Room for fewer elements than asked for; what was written before the fault is unspecified.
      this.#ops.buffer(16, BUF.OUT, count * keySize + MARGIN);
      this.#outputValues(24, random.below(count) * userValueSize, BUF.TAIL);
      this.#ops.flag(FLAG.BLANK_ON_FAULT);
    } else {
      this.#output(16, count * keySize);
      if (this.#wrong() && random.chance(0.25)) this.#badPointer(24);
      else {
        this.#outputValues(24, count * userValueSize + MARGIN);
        if (this.#row.inner) this.#patchValues(count, PATCH.OUT_ID, () => 0);
      }
    }
    this.#patchFd(this.#fd(), 36);
  }

  #cursor(size: number): Uint8Array {
    if (this.#row.cursor === "key") return this.#randomKey();
    const cursor = new Uint8Array(size);
    const buckets = 2 ** Math.ceil(Math.log2(this.#shape.maxEntries));
    new DataView(cursor.buffer).setUint32(0, this.#random.below(buckets + 2), true);
    return cursor;
  }

  #writeBatch(cmd: number): void {
    const random = this.#random;
    const { keySize, userValueSize, maxEntries } = this.#shape;
    const count = random.below(Math.min(maxEntries + 4, random.chance(0.1) ? 300 : 12));
    const keys = new Uint8Array(count * keySize);
    for (let i = 0; i < count; i++) keys.set(this.#randomKey(), i * keySize);
    this.#batchHead(cmd, count);
    if (this.#options.tail && count > 1 && this.#wrong()) {
      const readable = random.below(keys.length);
      this.#ops.buffer(16, BUF.IN | BUF.TAIL, readable, keys);
    } else this.#input(16, keys);
    if (cmd === CMD.MAP_UPDATE_BATCH && this.#row.inner) {
      this.#ops.buffer(24, BUF.IN, count * 4, new Uint8Array(count * 4));
      this.#patchValues(count, PATCH.FD, () => this.#innerSlot());
    } else if (cmd === CMD.MAP_UPDATE_BATCH) {
      this.#input(24, random.bytes(count * userValueSize));
    }
    this.#patchFd(this.#fd(), 36);
  }

  // --- objects ---

  /** Two more descriptors of the map: one may only read, one may only write. */
  #restrictedFds(): void {
    this.#restricted = true;
    this.#fdById(F.RDONLY, RDONLY_SLOT);
    this.#fdById(F.WRONLY, WRONLY_SLOT);
  }

  #fdById(flags: number, slot: number): void {
    this.#ops.bpf(CMD.MAP_GET_FD_BY_ID, ATTR_END.fdById);
    this.#ops.attr32(8, flags);
    this.#ops.result(slot);
    this.#ops.patch(0, PATCH.ID, 0, MAP_SLOT);
    this.#ops.endBpf();
  }

  #fill(): void {
    const count = Math.ceil(this.#shape.maxEntries * this.#random.pick([0.5, 1, 1, 1.3]));
    for (let i = 0; i < count; i++) this.#update(i);
  }

  #freeze(): void {
    this.#begin(CMD.MAP_FREEZE, ATTR_END.freeze);
    this.#patchFd(this.#fd());
  }

  #info(): void {
    const random = this.#random;
    const length = random.pick([
      0, 4, 8, 24, 40, 80, 88, 96, 100, 102, 104, 104, 104, 112, 4096, 4097,
    ]);
    const room = new Uint8Array(length);
    if (length > 88 && random.chance(0.2)) room[random.between(88, Math.min(length, 120) - 1)] = 1;
    this.#begin(CMD.OBJ_GET_INFO_BY_FD, ATTR_END.info);
    this.#ops.attr32(4, length);
    this.#ops.changed(4, 4);
    if (this.#wrong()) this.#badPointer(8);
    else {
      this.#ops.buffer(8, BUF.IN | BUF.OUT, length, room);
      if (length >= 8) this.#pending.push([1, PATCH.OUT_ID, 4]);
      // The id of the map's BTF.
      if (length >= 68) this.#pending.push([1, PATCH.OUT_ANY, 64]);
    }
    this.#patchFd(this.#fd());
  }

  /** Commands about objects, and commands that do not exist. */
  #objectCommand(): void {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        return this.#otherFd();
      case 1:
        return this.#nextId();
      case 2:
        this.#ops.bpf(random.pick([-1, 1000, 0x7fff_ffff]), ATTR_END.elem);
        return this.#patchFd(this.#fd());
      case 3:
        return this.#ops.close(random.pick([OTHER_SLOT, EMPTY_SLOT]));
      case 4:
        return this.#info();
      default:
        // Unknown ids.
        this.#begin(CMD.MAP_GET_FD_BY_ID, ATTR_END.fdById);
        this.#ops.attr32(0, random.pick([0, 0x7fff_ffff, 0xffff_ffff]));
        this.#ops.attr32(8, random.pick([0, F.RDONLY, 1, F.RDONLY | F.WRONLY]));
        return this.#ops.endBpf();
    }
  }

  #otherFd(): void {
    const flags = [0, F.RDONLY, F.WRONLY, F.RDONLY | F.WRONLY, 1, 0x40];
    this.#fdById(this.#random.pick(flags), OTHER_SLOT);
  }

  /** The id after the one before this map's is this map's, whatever other maps exist. */
  #nextId(): void {
    const start = this.#wrong() ? this.#random.pick([0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) : 0;
    // The attr stays whole: the first map of all is none of ours.
    this.#ops.bpf(CMD.MAP_GET_NEXT_ID, ATTR_END.nextId);
    this.#ops.changed(4, 4);
    this.#ops.attr32(0, start);
    if (start === 0) {
      this.#ops.patch(0, PATCH.ID_BEFORE, 0, MAP_SLOT);
      this.#ops.patch(0, PATCH.OUT_ID, 4);
    }
    this.#ops.endBpf();
  }

  // --- programs ---

  #program(verb: Verb): void {
    const { keySize, valueSize } = this.#shape;
    const helper = PROGRAM_OF[verb];
    if (helper === undefined) throw new Error(`no operation for ${verb}`);
    const cpu = this.#random.below(this.#options.cpus + 1);
    const key = keySize > 0 ? this.#randomKey() : this.#key;
    const value = this.#randomValue(valueSize);
    this.#ops.prog(MAP_SLOT, helper, key, value, this.#updateFlags(), cpu);
  }

  /** A program of several calls. */
  #script(): void {
    this.#newScript().write(this.#ops);
  }

  #newScript(): Script {
    return new Script({
      random: this.#random,
      row: this.#row,
      shape: this.#shape,
      cpus: this.#options.cpus,
      slot: MAP_SLOT,
      key: () => this.#randomKey(),
      value: (length) => this.#randomValue(length),
      flags: () => this.#updateFlags(),
    });
  }

  /** The user's end of a ring buffer. */
  #ring(): void {
    const random = this.#random;
    const { maxEntries } = this.#shape;
    if (this.#row.type === TYPE.RINGBUF) {
      const count = random.pick([1, 1, 2, 5, 100, 100]);
      return this.#ops.consume(MAP_SLOT, maxEntries, count, this.#mirrored ? RING.MIRRORED : 0);
    }
    if (!this.#options.programs) return;
    // Nothing may be written over what was not read: the library has two copies of the data, not one that is mapped twice.
    if (this.#errors === 0) this.#newScript().writeDrain(this.#ops);
    for (let i = random.between(1, 3); i > 0; i--) {
      const sample = this.#sample();
      if (this.#errors > 0 && (this.#produced += sample.length) > maxEntries) return;
      this.#ops.produce(MAP_SLOT, maxEntries, sample);
    }
  }

  /** A record for a user ring buffer. Only sessions with errors have some that stop the drain. */
  #sample(): Uint8Array {
    const random = this.#random;
    const length = random.below(random.chance(0.8) ? 64 : 1200);
    const sample = new Uint8Array((length + 15) & ~7);
    random.fill(sample.subarray(8));
    const bits = random.chance(0.1) ? 0x4000_0000 : this.#wrong() ? 0x8000_0000 : 0;
    const claimed = this.#wrong() ? length + random.pick([8, 4096]) : length;
    new DataView(sample.buffer).setUint32(0, (claimed | bits) >>> 0, true);
    return sample;
  }

  // --- maps of maps ---

  /** A value that becomes an inner map's descriptor. */
  #innerValue(): void {
    if (this.#wrong() && this.#random.chance(0.25)) return this.#badPointer(VALUE_AT);
    this.#ops.buffer(VALUE_AT, BUF.IN, 4);
    this.#patchValues(1, PATCH.FD, () => this.#innerSlot());
  }

  /** A word, or an object's descriptor; of values of 8 bytes, now and then a program's descriptor that is none behind it. */
  #objectValue(words: readonly number[]): void {
    const random = this.#random;
    if (this.#wrong() && random.chance(0.25)) return this.#badPointer(VALUE_AT);
    const value = new Uint8Array(this.#shape.valueSize);
    const view = new DataView(value.buffer);
    view.setUint32(0, random.pick(words), true);
    if (value.length === 8 && random.chance(0.3)) view.setUint32(4, random.pick(NO_PROGRAMS), true);
    this.#ops.buffer(VALUE_AT, BUF.IN, value.length, value);
    if (!this.#row.takesObjects || random.chance(0.5)) return;
    this.#patchValues(1, PATCH.FD, () => OWNER_SLOT + random.below(OWNERS));
  }

  #innerSlot(): number {
    return this.#wrong()
      ? this.#random.pick([EMPTY_SLOT, MAP_SLOT])
      : INNER_SLOT + this.#random.below(INNER_MAPS);
  }

  /** Patches the words of the last buffer, values of an outer map, as far as a record has room for patches. */
  #patchValues(count: number, what: number, slotOf: () => number): void {
    for (let i = 0; i < Math.min(count, PATCHES_MAX); i++)
      this.#pending.push([this.#bufferCount(), what, 4 * i, slotOf()]);
  }

  // --- owners of storages ---

  /** An owner goes, its descriptor goes, or a new owner takes the place. */
  #owner(): void {
    const slot = OWNER_SLOT + this.#random.below(OWNERS);
    const choice = this.#random.below(4);
    if (choice === 0) return this.#ops.close(slot);
    if (choice === 1) return this.#ops.endObject(slot);
    this.#ops.endObject(slot);
    this.#ops.object(slot, this.#row.owner ?? 0);
  }

  /** Buffers of the record under construction. */
  #bufferCount(): number {
    return this.#ops.bytes[(this.#ops.starts.at(-1) ?? 0) + 5] ?? 0;
  }

  #end(): void {
    this.#ops.close(MAP_SLOT);
    this.#ops.close(MAP_SLOT);
    this.#ops.reset();
  }
}

const PROGRAM_OF: Partial<Record<Verb, number>> = {
  progLookup: PROG.LOOKUP,
  progUpdate: PROG.UPDATE,
  progDelete: PROG.DELETE,
  progPush: PROG.PUSH,
  progPop: PROG.POP,
  progPeek: PROG.PEEK,
  progLookupPercpu: PROG.LOOKUP_PERCPU,
};

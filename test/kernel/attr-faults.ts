// What makes a command wrong: its fields, its memory, the size of its attr.

import { ATTR_SIZE, CMD, F } from "./abi.js";
import { fieldsOf } from "./attr-fields.js";
import { BAD_POINTERS, FD_NUMBERS, FD_SLOTS, MARGIN, U32S } from "./attr-values.js";
import type { Draft } from "./draft.js";
import type { Random } from "./random.js";
import { BUF, FLAG, PATCH, REGISTER_SIZE } from "./wire.js";

const TOKEN_FD = 0x1_0000;
/** Where buffers are that share their memory. */
const SHARED_REGISTER = 3;
/** The kernel really allocates what it accepts. */
const MEMORY_MAX = 4 << 20;

export interface FaultOptions {
  /** Whether buffers may end where memory ends. */
  readonly tail: boolean;
  /** Whether buffers of lookups have room for all that the map has. */
  readonly large: boolean;
}

/** The attr of a creation, kept from taking much memory: values up to 64 KiB are not refused for their size. */
function keepSmall(attr: DataView): void {
  const element = 64 + attr.getUint32(4, true) + attr.getUint32(8, true);
  const maxEntries = attr.getUint32(12, true);
  if (element < 1 << 20 && element * maxEntries > MEMORY_MAX) attr.setUint32(12, 8, true);
}

export class Faults {
  readonly #random: Random;
  readonly #options: FaultOptions;

  constructor(random: Random, options: FaultOptions) {
    this.#random = random;
    this.#options = options;
  }

  /** Makes one thing wrong; sometimes it is not. */
  apply(draft: Draft): void {
    const random = this.#random;
    const { view } = draft;
    if (random.chance(0.2)) return this.#sizeFault(draft);
    if (draft.cmd === CMD.MAP_CREATE) {
      this.#createFault(draft);
      return keepSmall(view);
    }
    if (random.chance(0.1) && this.#contentFault(draft)) return;
    const [at, kind] = random.pick(fieldsOf(draft.cmd));
    switch (kind) {
      case "fd":
        draft.drop(at);
        if (draft.cmd === CMD.OBJ_GET_INFO_BY_FD) draft.hideIds();
        if (random.chance(0.6)) return draft.fd(at, random.pick(FD_SLOTS));
        return view.setUint32(at, random.pick(FD_NUMBERS), true);
      case "in":
      case "out":
        return this.#pointerFault(draft, at);
      case "flags":
        return view.setBigUint64(at, view.getBigUint64(at, true) ^ this.#bits(64), true);
      case "flags32":
        // The library's log is always empty.
        if (draft.cmd === CMD.BTF_LOAD && at === 24) draft.changed = 28;
        return view.setUint32(at, view.getUint32(at, true) ^ Number(this.#bits(32)), true);
      case "count":
        return this.#countFault(draft, at);
      default:
        return view.setUint32(at, random.pick(U32S), true);
    }
  }

  /** Other descriptors in the place of a key or value. @returns false: there are none in this command */
  #contentFault(draft: Draft): boolean {
    const places = draft.patches.filter(([target, what]) => target !== 0 && what === PATCH.FD);
    if (places.length === 0) return false;
    this.#random.pick(places)[3] = this.#random.pick(FD_SLOTS);
    return true;
  }

  #bits(width: number): bigint {
    const random = this.#random;
    let bits = 1n << BigInt(random.below(random.chance(0.6) ? 6 : width));
    if (random.chance(0.4)) bits |= 1n << BigInt(random.below(width));
    return bits;
  }

  #countFault(draft: Draft, at: number): void {
    const { cmd, view } = draft;
    const isId = cmd < CMD.MAP_LOOKUP_BATCH && at === 0;
    if (isId) {
      draft.drop(0);
      const isNext = cmd === CMD.MAP_GET_NEXT_ID || cmd === CMD.BTF_GET_NEXT_ID;
      draft.patches = draft.patches.filter(([, what]) => what !== PATCH.OUT_ID);
      if (isNext) draft.patches.push([0, PATCH.OUT_ANY, 4, 0]);
      const ids = [0, 0x7fff_fffd, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
      return view.setUint32(0, this.#random.pick(ids), true);
    }
    const isBatch = cmd >= CMD.MAP_LOOKUP_BATCH;
    const isChange = cmd >= CMD.MAP_UPDATE_BATCH;
    const own = view.getUint32(at, true);
    if (cmd === CMD.OBJ_GET_INFO_BY_FD) draft.hideIds();
    // The library's log is always empty, and fits.
    if (cmd === CMD.BTF_LOAD && at === 20)
      return view.setUint32(
        at,
        this.#random.pick([0, 0x3fff_ffff, 0x4000_0000, 0xffff_ffff]),
        true,
      );
    // Lookups with a large count stay within what the map has; changes would read whatever is behind the keys.
    const few = [0, 1, Math.max(0, own - 1)];
    view.setUint32(
      at,
      this.#random.pick(
        isBatch && (isChange || !this.#options.large)
          ? few
          : [...few, ...U32S, own + 1, 4096, 4097, (1 << 24) + 1],
      ),
      true,
    );
  }

  #pointerFault(draft: Draft, at: number): void {
    const random = this.#random;
    const buffer = draft.buffers.find((candidate) => candidate.at === at);
    draft.flags |= FLAG.BLANK_ON_FAULT;
    const choice = random.below(4);
    const isLog = draft.cmd === CMD.BTF_LOAD && at === 8;
    if (
      choice === 0 &&
      buffer &&
      !isLog &&
      this.#options.tail &&
      (draft.flags & FLAG.TAIL_ATTR) === 0
    ) {
      const isTaken = draft.buffers.some(({ kind }) => (kind & BUF.TAIL) !== 0);
      if (isTaken || (buffer.kind & BUF.REG) !== 0) return;
      buffer.kind |= BUF.TAIL;
      // The kernel sees bytes behind a struct that it knows not before it runs into the end of memory.
      if (draft.cmd === CMD.OBJ_GET_INFO_BY_FD) buffer.content?.fill(0, 32);
      buffer.length = random.pick([
        0,
        1,
        random.below(buffer.length + 1),
        Math.max(0, buffer.length - MARGIN),
        buffer.length,
      ]);
      const index = draft.buffers.indexOf(buffer) + 1;
      draft.patches = draft.patches.filter(
        ([target, , offset]) => target !== index || offset + 4 <= buffer.length,
      );
      return;
    }
    if (
      choice === 1 &&
      buffer &&
      !draft.keepsApart &&
      !draft.buffers.some((b) => b.kind === 0) &&
      draft.buffers.every(({ length }) => length <= REGISTER_SIZE)
    ) {
      // The same memory as another buffer's.
      const other = random.pick(draft.buffers);
      // Which of a batch's arrays is written first is not the same.
      const sharing = draft.buffers.filter(
        (b) => b === buffer || b === other || b.reg === SHARED_REGISTER,
      );
      const arrays = sharing.filter(({ at: place }) => place >= 16);
      if (draft.cmd >= CMD.MAP_LOOKUP_BATCH && arrays.length > 1) return;
      // A short one's ids are not patched any more.
      if (((buffer.kind | other.kind) & BUF.TAIL) !== 0) return;
      const length = Math.max(buffer.length, other.length);
      const content = buffer.content ?? other.content ?? new Uint8Array(0);
      for (const one of [buffer, other]) {
        one.kind |= BUF.REG | BUF.IN;
        Object.assign(one, { reg: SHARED_REGISTER, length, content });
      }
      return;
    }
    draft.drop(at);
    draft.view.setBigUint64(at, random.pick(BAD_POINTERS), true);
  }

  #sizeFault(draft: Draft): void {
    const random = this.#random;
    const { end } = draft;
    draft.flags &= ~(FLAG.TAIL_ATTR | FLAG.BAD_ATTR);
    switch (random.below(6)) {
      case 0:
        draft.size = random.pick([ATTR_SIZE, ATTR_SIZE + 1, 4095, 4096]);
        return;
      case 1: {
        const at = random.pick([end, end + 1, random.between(end, ATTR_SIZE - 1), ATTR_SIZE, 250]);
        draft.length = at + 1;
        draft.attr[at] = 1 << random.below(8);
        draft.size = random.pick([at + 1, at, ATTR_SIZE, 4096]);
        return;
      }
      case 2:
        draft.size = random.pick([4097, 0x8000_0000, 0xffff_ffff]);
        return;
      case 3:
      case 4:
        draft.size = this.#shortSize(draft);
        if (draft.size < 4)
          draft.patches = draft.patches.map((patch) =>
            patch[1] === PATCH.OUT_ID && patch[0] === 0 ? [0, PATCH.OUT_ANY, patch[2], 0] : patch,
          );
        if (draft.buffers.some(({ kind }) => (kind & BUF.TAIL) !== 0)) return;
        if (this.#options.tail && random.chance(0.6))
          draft.flags |= FLAG.TAIL_ATTR | FLAG.BLANK_ON_FAULT;
        return;
      default:
        draft.flags |= FLAG.BAD_ATTR | FLAG.BLANK_ON_FAULT;
        draft.size = random.pick([draft.size, 0, 4096, 4097]);
    }
  }

  /** A size that cuts no pointer or id in two: what is left of those is not the same on both sides. */
  #shortSize(draft: Draft): number {
    const whole = draft.patches.flatMap(([target, , at]) => (target === 0 ? [[at, 4]] : []));
    for (const { at } of draft.buffers) whole.push([at, 8]);
    for (const [at, kind] of fieldsOf(draft.cmd))
      whole.push([at, kind === "in" || kind === "out" ? 8 : kind === "count" ? 4 : 1]);
    const size = this.#random.below(draft.end + 1);
    const cut = whole.find(([at = 0, bytes = 0]) => size > at && size < at + bytes);
    return cut?.[0] ?? size;
  }

  #createFault(draft: Draft): void {
    const random = this.#random;
    const { view } = draft;
    const word = (at: number, values: readonly number[]) => {
      draft.drop(at);
      view.setUint32(at, random.pick(values), true);
    };
    const fd = (at: number) => {
      draft.drop(at);
      if (random.chance(0.6)) draft.fd(at, random.pick(FD_SLOTS));
      else view.setUint32(at, random.pick(FD_NUMBERS), true);
    };
    switch (random.below(15)) {
      case 0:
        return word(0, [0, 34, 35, 64, 66, 999, 0x8000_0001, 0xffff_ffff]);
      case 1:
        return word(4, [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 259, 260, 261, 511, 512, 513, 0xffff_ffff]);
      case 2:
        return word(8, [0, 1, 3, 4, 5, 8, 12, 32760, 32768, 32769, 0x8000_0000, 0xffff_ffff]);
      case 3:
        return word(12, [0, 1, 2, 3, 5, 4096, 8192, 12288]);
      case 4:
      case 5:
        return view.setUint32(16, (view.getUint32(16, true) ^ Number(this.#bits(32))) >>> 0, true);
      case 6:
        return fd(20);
      case 7:
        word(24, [0, 1, 63, 64, 1024, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
        if (random.chance(0.5)) view.setUint32(16, view.getUint32(16, true) | F.NUMA_NODE, true);
        return;
      case 8: {
        const name = random.bytes(16);
        if (random.chance(0.7)) name[random.below(16)] = 0;
        if (random.chance(0.8))
          for (let i = 0; i < 16; i++)
            if (name[i] !== 0)
              name[i] = "aZ9_. -/\u00e9\u0001".charCodeAt(
                random.below(random.chance(0.8) ? 5 : 10),
              );
        return draft.attr.set(name, 28);
      }
      case 9:
        // No other is in every host.
        return word(44, [1, 99_999, 0xffff_ffff]);
      case 10:
        fd(48);
        if (random.chance(0.7)) {
          view.setUint32(52, random.pick([0, 1, 2, 3, 0xffff_ffff]), true);
          view.setUint32(56, random.pick([0, 1, 2, 3, 0xffff_ffff]), true);
        }
        return;
      case 11:
        return word(60, [1, 0xffff_ffff]);
      case 12:
        view.setBigUint64(64, random.pick([1n, 5n, 15n, 16n, 1n << 32n, 1n << 63n]), true);
        return;
      case 13:
        fd(random.pick([72, 76]));
        if (random.chance(0.5))
          view.setUint32(16, view.getUint32(16, true) | random.pick([TOKEN_FD, 0x8000]), true);
        return;
      default:
        draft.drop(80);
        view.setBigUint64(80, random.pick(BAD_POINTERS), true);
        if (random.chance(0.4)) draft.input(80, random.bytes(32));
        view.setUint32(88, random.pick([0, 1, 31, 32, 32, 33, 64]), true);
    }
  }
}

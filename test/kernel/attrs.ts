// Sessions about attrs: commands that are right but for one, two or three things, so that it shows what is looked at, in
// which order, and what is written in spite of an error.

import { plainBtf } from "../support/btf.js";
import { CMD, F, TYPE } from "./abi.js";
import { CMDS, NO_CMD } from "./attr-fields.js";
import { Faults } from "./attr-faults.js";
import {
  BATCH_MAX,
  CLOSED_SLOT,
  DIRECTORY,
  DIRECTORY_SLOT,
  FD_SLOTS,
  MANY_TYPES,
  MARGIN,
  NEW_SLOT,
  OBJECTS,
  OBJECT_SLOT,
  OTHER_SLOT,
  PATHS,
  PINNED_SLOT,
  RDONLY_SLOT,
  TYPE_IDS,
  WRONLY_SLOT,
} from "./attr-values.js";
import { Draft } from "./draft.js";
import { BTF_SLOT, makeMap, MAP_SLOT } from "./make-map.js";
import type { Random } from "./random.js";
import { INNER_MAPS, INNER_SLOT, OWNERS, OWNER_SLOT, type Shape, type TypeRow } from "./types.js";
import { BUF, FLAG, NO_SLOT, PATCH, PATH, WINDOWS, type OpStream } from "./wire.js";

const PATH_FD = 0x4000;
/** Of a session, after its beginning. */
const OPERATIONS = 300;
export interface AttrOptions {
  readonly cpus: number;
  /** What maps are made of. */
  readonly rows: readonly TypeRow[];
  /** Whether buffers may end where memory ends. */
  readonly tail: boolean;
  /** Whether there is a bpffs. */
  readonly paths: boolean;
}

export class AttrSession {
  readonly #random: Random;
  readonly #ops: OpStream;
  readonly #row: TypeRow;
  readonly #shape: Shape;
  readonly #options: AttrOptions;
  readonly #faults: Faults;
  readonly #faultsMax: number;
  #frozen = false;

  constructor(random: Random, ops: OpStream, row: TypeRow, options: AttrOptions) {
    this.#random = random;
    this.#ops = ops;
    this.#row = row;
    this.#options = options;
    this.#shape = row.shape(random, options.cpus);
    const large = !row.inner && this.#shape.maxEntries <= BATCH_MAX;
    this.#faults = new Faults(random, { tail: options.tail, large });
    this.#faultsMax = random.pick([1, 2, 2, 3]);
  }

  run(): void {
    const random = this.#random;
    const { keySize, maxEntries } = this.#shape;
    this.#setUp();
    for (let i = 0; i < Math.min(maxEntries, 40); i++) this.#emit(CMD.MAP_UPDATE_ELEM, 0);
    const freezeAt = random.chance(0.3) ? random.below(OPERATIONS) : -1;
    for (let i = 0; i < OPERATIONS; i++) {
      if (i === freezeAt) {
        this.#frozen = true;
        this.#emit(CMD.MAP_FREEZE, 0);
      } else if (random.chance(0.1)) this.#window();
      else if (random.chance(0.02)) this.#emit(CMD.MAP_FREEZE, 2);
      else if (random.chance(0.05)) this.#pathStep();
      else this.#emit(this.#cmd(), random.between(0, this.#faultsMax));
      if (i % 40 === 39) this.#state();
    }
    this.#ops.walk(OTHER_SLOT, 4, 20);
    if (keySize > 0 && this.#row.owner === undefined)
      this.#ops.walk(MAP_SLOT, keySize, maxEntries + 2);
    this.#ops.reset();
  }

  #cmd(): number {
    const cmd = this.#random.pick(CMDS);
    const isPath = cmd === CMD.OBJ_PIN || cmd === CMD.OBJ_GET;
    return isPath && !this.#options.paths ? CMD.MAP_LOOKUP_ELEM : cmd;
  }

  #setUp(): void {
    const random = this.#random;
    const ops = this.#ops;
    makeMap(random, ops, this.#row, this.#shape);
    const other = new Draft(CMD.MAP_CREATE);
    other.result = OTHER_SLOT;
    other.flags |= FLAG.WANT_ID;
    for (const [i, word] of [TYPE.HASH, 4, 4, 16, F.ZERO_SEED].entries())
      other.view.setUint32(4 * i, word, true);
    other.write(ops);
    if (this.#shape.lockOffset === undefined) {
      const load = this.#btfLoad();
      load.drop(0);
      load.input(0, MANY_TYPES);
      load.view.setUint32(16, MANY_TYPES.length, true);
      load.result = BTF_SLOT;
      load.write(ops);
    }
    for (const [slot, flags] of [
      [RDONLY_SLOT, F.RDONLY],
      [WRONLY_SLOT, F.WRONLY],
      [CLOSED_SLOT, 0],
    ] as const) {
      const draft = new Draft(CMD.MAP_GET_FD_BY_ID);
      draft.view.setUint32(8, flags, true);
      draft.patches.push([0, PATCH.ID, 0, MAP_SLOT]);
      draft.result = slot;
      draft.write(ops);
    }
    OBJECTS.forEach((kind, i) => ops.object(OBJECT_SLOT + i, kind));
    if (this.#options.paths) {
      ops.path(PATH.MKDIR, DIRECTORY);
      ops.path(PATH.OPEN, DIRECTORY, DIRECTORY_SLOT);
    }
    ops.close(CLOSED_SLOT);
  }

  /** What the map is like now. */
  #state(): void {
    const { keySize, maxEntries } = this.#shape;
    if (keySize > 0) this.#ops.walk(MAP_SLOT, keySize, maxEntries + 2);
    this.#emit(CMD.OBJ_GET_INFO_BY_FD, 0);
  }

  // --- correct commands ---

  #emit(cmd: number, faults: number): void {
    const draft = this.#correct(cmd);
    for (let i = 0; i < faults; i++) this.#faults.apply(draft);
    draft.write(this.#ops);
  }

  #correct(cmd: number): Draft {
    if (cmd === CMD.MAP_CREATE) return this.#create();
    if (cmd === CMD.BTF_LOAD) return this.#btfLoad();
    if (cmd >= CMD.MAP_LOOKUP_BATCH && cmd !== NO_CMD) return this.#batch(cmd);
    if (cmd === CMD.OBJ_GET_INFO_BY_FD) return this.#info();
    if (cmd === CMD.OBJ_PIN || cmd === CMD.OBJ_GET) return this.#pathCommand(cmd);
    const draft = new Draft(cmd);
    switch (cmd) {
      case CMD.MAP_FREEZE:
        draft.fd(0, this.#frozen ? MAP_SLOT : NEW_SLOT);
        break;
      case CMD.MAP_GET_NEXT_ID:
        draft.patches.push([0, PATCH.ID_BEFORE, 0, MAP_SLOT], [0, PATCH.OUT_ID, 4, 0]);
        break;
      case CMD.BTF_GET_NEXT_ID:
        draft.patches.push([0, PATCH.ID_BEFORE, 0, BTF_SLOT], [0, PATCH.OUT_ANY, 4, 0]);
        break;
      case CMD.MAP_GET_FD_BY_ID:
        draft.patches.push([0, PATCH.ID, 0, this.#random.pick([MAP_SLOT, OTHER_SLOT])]);
        draft.view.setUint32(8, this.#random.pick([0, F.RDONLY, F.WRONLY]), true);
        draft.result = NEW_SLOT;
        break;
      case CMD.BTF_GET_FD_BY_ID:
        draft.patches.push([0, PATCH.ID, 0, BTF_SLOT]);
        draft.result = NEW_SLOT;
        break;
      default:
        this.#element(draft);
    }
    return draft;
  }

  #key(): Uint8Array {
    const key = new Uint8Array(this.#shape.keySize);
    this.#row.key(this.#random, this.#shape, this.#random.below(this.#shape.universe), key);
    return key;
  }

  /** Adds `count` keys. */
  #keys(draft: Draft, at: number, count: number): void {
    const { keySize } = this.#shape;
    const keys = new Uint8Array(count * keySize);
    for (let i = 0; i < count; i++) keys.set(this.#key(), i * keySize);
    draft.input(at, keys);
    if (this.#row.owner !== undefined)
      draft.words(count, PATCH.FD, () => OWNER_SLOT + this.#random.below(OWNERS));
  }

  /** Adds `count` values to be written. */
  #values(draft: Draft, at: number, count: number): void {
    const values = this.#random.bytes(count * this.#shape.userValueSize);
    const { words } = this.#row;
    if (words && values.length > 0)
      new DataView(values.buffer).setUint32(0, this.#random.pick(words), true);
    draft.keepsApart = words !== undefined;
    draft.input(at, values);
    if (this.#row.inner)
      draft.words(count, PATCH.FD, () => INNER_SLOT + this.#random.below(INNER_MAPS));
  }

  #lockFlag(): bigint {
    return (this.#shape.lockOffset ?? -1) >= 0 && this.#random.chance(0.5) ? 4n : 0n;
  }

  #element(draft: Draft): void {
    const { keySize, userValueSize } = this.#shape;
    const { cmd } = draft;
    draft.fd(0, this.#random.chance(0.1) ? this.#random.pick([1, 2, PINNED_SLOT]) : MAP_SLOT);
    if (keySize > 0 && (cmd !== CMD.MAP_GET_NEXT_KEY || this.#random.chance(0.8)))
      this.#keys(draft, 8, 1);
    if (cmd === CMD.MAP_GET_NEXT_KEY) draft.output(16, keySize + MARGIN);
    else if (cmd === CMD.MAP_UPDATE_ELEM) {
      this.#values(draft, 16, 1);
      draft.view.setBigUint64(24, this.#lockFlag() | this.#random.pick([0n, 0n, 1n, 2n]), true);
    } else if (cmd !== CMD.MAP_DELETE_ELEM) {
      draft.output(16, userValueSize + MARGIN);
      if (this.#row.inner) draft.words(1, PATCH.OUT_ID, () => 0);
      draft.view.setBigUint64(24, this.#lockFlag(), true);
    }
  }

  #batch(cmd: number): Draft {
    const random = this.#random;
    const { keySize, userValueSize, maxEntries } = this.#shape;
    const draft = new Draft(cmd);
    const count = Math.min(BATCH_MAX, random.pick([1, 2, 5, maxEntries, maxEntries + 3]));
    draft.view.setUint32(32, count, true);
    draft.view.setBigUint64(40, this.#lockFlag(), true);
    draft.fd(36, random.chance(0.1) ? random.pick([1, 2, PINNED_SLOT]) : MAP_SLOT);
    if (cmd === CMD.MAP_UPDATE_BATCH || cmd === CMD.MAP_DELETE_BATCH) {
      this.#keys(draft, 16, count);
      if (cmd === CMD.MAP_UPDATE_BATCH) this.#values(draft, 24, count);
      return draft;
    }
    if (random.chance(0.5))
      draft.buffers.push({ at: 0, kind: BUF.REG, length: keySize, reg: random.below(2) });
    else if (random.chance(0.3)) {
      const cursor = this.#row.cursor === "key" ? this.#key() : new Uint8Array(keySize + 4);
      if (this.#row.cursor !== "key") cursor[0] = random.below(maxEntries * 2);
      if (random.chance(0.2)) random.fill(cursor);
      draft.input(0, cursor);
    }
    draft.buffers.push({
      at: 8,
      kind: BUF.REG | BUF.OUT,
      length: keySize + MARGIN,
      reg: random.below(2),
    });
    // Enough for all, should the count get large: it is not the same which of the two is written first.
    const room = Math.max(count, Math.min(BATCH_MAX, maxEntries));
    draft.output(16, room * keySize + MARGIN);
    draft.output(24, room * userValueSize + MARGIN);
    if (this.#row.inner) draft.words(count, PATCH.OUT_ID, () => 0);
    return draft;
  }

  #info(): Draft {
    const random = this.#random;
    const draft = new Draft(CMD.OBJ_GET_INFO_BY_FD);
    const ofBtf = random.chance(0.4);
    const length = random.chance(0.5)
      ? ofBtf
        ? 32
        : 104
      : random.pick([0, 4, 16, 28, 32, 40, 96, 100, 103, 104, 108, 128]);
    const info = new Uint8Array(length + MARGIN);
    draft.view.setUint32(4, length, true);
    draft.fd(0, ofBtf ? BTF_SLOT : random.pick([MAP_SLOT, MAP_SLOT, RDONLY_SLOT, OTHER_SLOT]));
    const view = new DataView(info.buffer);
    if (!ofBtf && length >= 104 && random.chance(0.3)) {
      // hash, hash_size, padding and what is behind
      view.setUint32(88 + 4 * random.below(4), random.pick([1, 32, 0x1000]), true);
    }
    if (ofBtf && length >= 16) {
      view.setUint32(8, random.pick([0, 0, 1, 24, 4096]), true);
      if (length >= 28) view.setUint32(24, random.pick([0, 0, 1, 8]), true);
      if (length >= 32) view.setUint32(28, random.pick([0, 0, 0, 1]), true);
      if (random.chance(0.2)) view.setUint32(4, random.pick([0xffff_0000, 0x1000]), true);
      if (length >= 24 && random.chance(0.2))
        view.setUint32(20, random.pick([0xffff_0000, 0x1000]), true);
    }
    if (length > 32 && random.chance(0.1)) info[32 + random.below(length - 32)] = 1;
    // Differs: the hash of a frozen ARRAY is not computed (assembly/map_obj.ts), so nobody asks for one of the right size.
    if (!ofBtf && length >= 100 && view.getUint32(96, true) === 32) view.setBigUint64(88, 0n, true);
    draft.input(8, info, BUF.OUT);
    if (!ofBtf) draft.patches.push([1, length >= 8 ? PATCH.OUT_ID : PATCH.OUT_ANY, 4, 0]);
    if (!ofBtf && length >= 68) draft.patches.push([1, PATCH.OUT_ANY, 64, 0]);
    if (ofBtf && length >= 16) draft.patches.push([1, PATCH.OUT_ANY, 12, 0]);
    return draft;
  }

  #btfLoad(): Draft {
    const random = this.#random;
    const draft = new Draft(CMD.BTF_LOAD);
    const { blob } = plainBtf(4, random.pick([4, 8]));
    draft.view.setUint32(16, blob.length, true);
    draft.input(0, blob);
    draft.result = NEW_SLOT;
    if (random.chance(0.3)) {
      // The library's log is always empty.
      draft.buffers.push({ at: 8, kind: 0, length: 4096, reg: 0 });
      draft.view.setUint32(20, 4096, true);
      draft.view.setUint32(24, random.between(1, 15), true);
      draft.changed = 28;
    }
    return draft;
  }

  #pathCommand(cmd: number): Draft {
    const random = this.#random;
    const draft = new Draft(cmd);
    const relative = random.chance(0.4);
    const path = random.pick(PATHS);
    draft.input(0, new TextEncoder().encode(`${path}\0`));
    if (cmd === CMD.OBJ_PIN) draft.fd(8, random.pick([MAP_SLOT, OTHER_SLOT, RDONLY_SLOT]));
    else {
      draft.view.setUint32(12, random.pick([0, 0, F.RDONLY, F.WRONLY]), true);
      draft.result = PINNED_SLOT;
    }
    if (relative) {
      draft.view.setUint32(12, draft.view.getUint32(12, true) | PATH_FD, true);
      draft.fd(16, DIRECTORY_SLOT);
    }
    return draft;
  }

  #create(): Draft {
    const random = this.#random;
    const row = random.pick(this.#options.rows);
    const shape = row.shape(random, this.#options.cpus);
    const draft = new Draft(CMD.MAP_CREATE);
    const words = [row.type, shape.keySize, shape.valueSize, shape.maxEntries, shape.mapFlags];
    const { view } = draft;
    for (const [i, word] of words.entries()) view.setUint32(4 * i, word, true);
    draft.view.setBigUint64(64, BigInt(shape.mapExtra), true);
    if (row.inner) draft.fd(20, random.pick([INNER_SLOT, OTHER_SLOT, MAP_SLOT]));
    draft.attr.set([0x6d, 0x31], 28);
    if (row.btf && (shape.lockOffset ?? -1) < 0) {
      draft.fd(48, BTF_SLOT);
      view.setUint32(52, 1, true);
      view.setUint32(56, random.pick([1, 2, 3]), true);
    }
    if (random.chance(0.4)) {
      draft.fd(48, BTF_SLOT);
      view.setUint32(52, random.below(TYPE_IDS), true);
      view.setUint32(56, random.below(TYPE_IDS), true);
      if (random.chance(0.7)) view.setUint32(8, random.pick([4, 8, 8, 8, 16]), true);
    }
    draft.result = NEW_SLOT;
    draft.flags |= FLAG.WANT_ID;
    return draft;
  }

  // --- windows and paths ---

  #window(): void {
    const random = this.#random;
    const window = random.below(WINDOWS);
    if (random.chance(0.3)) return this.#ops.mmap(window, NO_SLOT, 0, 0n, 0n);
    const slot = random.chance(0.6)
      ? MAP_SLOT
      : random.pick(FD_SLOTS.filter((one) => one < OBJECT_SLOT));
    const offset = random.pick([0n, 0n, 0n, 4096n, 8192n, 1n, 4095n, 1n << 40n]);
    const length = random.pick([1n, 4096n, 4096n, 64n, 8192n, 12288n, 0n, 1n << 31n]);
    const isArray = slot === MAP_SLOT && this.#row.type === TYPE.ARRAY;
    this.#ops.mmap(window, slot, random.below(isArray ? 3 : 2), offset, length);
  }

  #pathStep(): void {
    if (!this.#options.paths) return;
    const what = this.#random.pick([PATH.MKDIR, PATH.UNLINK, PATH.UNLINK, PATH.RMDIR]);
    this.#ops.path(what, this.#random.pick(PATHS.slice(0, 14)));
  }
}

// A record of a command in the making, which can be changed until it is written.

import { endOf } from "./attr-fields.js";
import { BUF, FLAG, NO_SLOT, PATCH, type OpStream } from "./wire.js";

/** Bytes of an attr that a record can have. */
export const ROOM = 255;

export interface Buffer {
  readonly at: number;
  kind: number;
  length: number;
  readonly content?: Uint8Array | undefined;
  reg: number;
}

export type Patch = [target: number, what: number, offset: number, slot: number];

/** A command in the making. */
export class Draft {
  readonly cmd: number;
  readonly end: number;
  readonly attr = new Uint8Array(ROOM);
  readonly view = new DataView(this.attr.buffer);
  length: number;
  size: number;
  flags = FLAG.CHANGES;
  result = NO_SLOT;
  /** Bytes of the attr to compare, at most. */
  changed = ROOM;
  buffers: Buffer[] = [];
  patches: Patch[] = [];
  /** No buffer shares another's memory: a key's bytes as a value would be lo, or the process's own descriptors. */
  keepsApart = false;

  constructor(cmd: number) {
    this.cmd = cmd;
    this.end = endOf(cmd);
    this.length = this.end;
    this.size = this.end;
  }

  fd(at: number, slot: number): void {
    this.drop(at);
    this.patches.push([0, PATCH.FD, at, slot]);
  }

  /** Nothing but the attr's bytes decides about this field any more. */
  drop(at: number): void {
    this.patches = this.patches.filter(([target, , offset]) => target !== 0 || offset !== at);
    const index = this.buffers.findIndex((buffer) => buffer.at === at);
    if (index < 0) return;
    this.buffers.splice(index, 1);
    this.patches = this.patches.filter(([target]) => target !== index + 1);
    for (const patch of this.patches) if (patch[0] > index + 1) patch[0]--;
  }

  input(at: number, content: Uint8Array, kind = 0): void {
    this.buffers.push({ at, kind: BUF.IN | kind, length: content.length, content, reg: 0 });
  }

  output(at: number, length: number): void {
    this.buffers.push({ at, kind: BUF.OUT, length, reg: 0 });
  }

  /** Patches words of the last buffer. */
  words(count: number, what: number, slot: () => number): void {
    for (let i = 0; i < count; i++) this.patches.push([this.buffers.length, what, 4 * i, slot()]);
  }

  /** An info's ids are where those of a map are, or those of BTF. */
  hideIds(): void {
    const [info] = this.buffers;
    this.patches = this.patches.filter(([target]) => target === 0);
    for (const at of [4, 12, 64])
      if (info && info.length >= at + 4) this.patches.push([1, PATCH.OUT_ANY, at, 0]);
  }

  write(ops: OpStream): void {
    ops.bpf(this.cmd, this.length, this.size);
    ops.attrBytes(0, this.attr.subarray(0, this.length));
    ops.changed(0, Math.min(this.length, this.changed));
    ops.flag(this.flags);
    ops.result(this.result);
    for (const { at, kind, length, content, reg } of this.buffers)
      ops.buffer(at, kind, length, content, reg);
    for (const patch of this.patches) ops.patch(...patch);
    ops.endBpf();
  }
}

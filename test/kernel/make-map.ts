// Makes the map of a session, and whatever it needs to exist: BTF, inner maps, owners of storages.

import { ATTR_END, CMD, TYPE } from "./abi.js";
import { lockBtf, plainBtf } from "../support/btf.js";
import type { Random } from "./random.js";
import { INNER_MAPS, INNER_SLOT, OWNERS, OWNER_SLOT, type Shape, type TypeRow } from "./types.js";
import { BUF, FLAG, OBJECT, PATCH, type OpStream } from "./wire.js";

export const MAP_SLOT = 0;
export const BTF_SLOT = 5;

/** Kinds of objects. */
const KINDS = Object.keys(OBJECT).length;

/** Begins the MAP_CREATE of a shape; patches and the record's end are the caller's. */
function beginCreate(ops: OpStream, type: number, shape: Shape, slot: number): void {
  ops.bpf(CMD.MAP_CREATE, ATTR_END.create);
  ops.attr32(0, type);
  ops.attr32(4, shape.keySize);
  ops.attr32(8, shape.valueSize);
  ops.attr32(12, shape.maxEntries);
  ops.attr32(16, shape.mapFlags);
  ops.attr64(64, BigInt(shape.mapExtra));
  ops.attrBytes(28, Uint8Array.of(0x6d, 0x61, 0x70));
  ops.result(slot);
  ops.flag(FLAG.WANT_ID);
}

/** Maps to put into a map of maps; the first is its template, the last ones may not fit it. */
function makeInnerMaps(random: Random, ops: OpStream, types: readonly number[]): void {
  const type = random.pick(types);
  for (let i = 0; i < INNER_MAPS; i++) {
    const odd = i >= INNER_MAPS - 2 ? random.pick([1, 2, 3]) : 0;
    const inner: Shape = {
      keySize: 4,
      valueSize: odd === 2 ? 8 : 4,
      userValueSize: 4,
      maxEntries: odd === 1 ? 3 : 2,
      mapFlags: 0,
      mapExtra: 0,
      universe: 2,
    };
    beginCreate(ops, odd === 3 ? TYPE.PERCPU_ARRAY : type, inner, INNER_SLOT + i);
    ops.endBpf();
  }
}

/** Loads the BTF of a shape into BTF_SLOT; returns the ids of its key's and value's types. */
function loadBtf(ops: OpStream, shape: Shape): [keyTypeId: number, valueTypeId: number] {
  const { keySize, valueSize, lockOffset = -1 } = shape;
  const btf =
    lockOffset < 0 ? plainBtf(keySize, valueSize) : lockBtf(keySize, valueSize, lockOffset);
  ops.bpf(CMD.BTF_LOAD, ATTR_END.btfLoad);
  ops.attr32(16, btf.blob.length);
  ops.buffer(0, BUF.IN, btf.blob.length, btf.blob);
  ops.result(BTF_SLOT);
  ops.endBpf();
  return [btf.keyTypeId, btf.valueTypeId];
}

/** Appends the making of a map in MAP_SLOT. */
export function makeMap(random: Random, ops: OpStream, row: TypeRow, shape: Shape): void {
  if (row.inner) makeInnerMaps(random, ops, row.inner);
  for (let i = 0; i < OWNERS && row.owner !== undefined; i++) ops.object(OWNER_SLOT + i, row.owner);
  for (let i = 0; i < OWNERS && row.takesObjects; i++) ops.object(OWNER_SLOT + i, i % KINDS);
  const typeIds = shape.lockOffset === undefined ? null : loadBtf(ops, shape);
  beginCreate(ops, row.type, shape, MAP_SLOT);
  if (typeIds) {
    ops.attr32(52, typeIds[0]);
    ops.attr32(56, typeIds[1]);
    ops.patch(0, PATCH.FD, 48, BTF_SLOT);
  }
  if (row.inner) ops.patch(0, PATCH.FD, 20, INNER_SLOT);
  ops.endBpf();
}

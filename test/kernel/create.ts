// Sessions that only create maps: every field of the attr is tried with legal and illegal values.
//
// The kernel really allocates what it accepts, so each map is capped; sizes above the cap are only
// used where the attr check refuses them before any memory is taken.

import { ATTR_END, ATTR_SIZE, CMD, TYPE } from "./abi.js";
import type { Random } from "./random.js";
import type { TypeRow } from "./types.js";
import { BUF, FLAG, PATCH, type OpStream } from "./wire.js";

const MEMORY_MAX = 4 << 20;

const KEY_SIZES = [0, 1, 3, 4, 4, 4, 4, 4, 5, 8, 16, 64, 260, 261, 513, 4096];
const VALUE_SIZES = [0, 1, 4, 4, 8, 8, 8, 13, 64, 4096, 32760, 32761, 32768, 32769];
const MAX_ENTRIES = [0, 1, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64, 100, 1023, 1024];
/** Refused by the attr check of the types that are given them. */
const HUGE_VALUES = [0x8000_0000, 0xffff_ffff];

function estimate(keySize: number, valueSize: number, maxEntries: number, cpus: number): number {
  return (64 + keySize + (valueSize + 8) * cpus) * (maxEntries + cpus);
}

function sizes(random: Random, row: TypeRow, cpus: number): [number, number, number] {
  const shape = row.shape(random, cpus);
  const keySize = random.chance(0.3) ? random.pick(KEY_SIZES) : shape.keySize;
  let valueSize = random.chance(0.4) ? random.pick(VALUE_SIZES) : shape.valueSize;
  let maxEntries = random.chance(0.4) ? random.pick(MAX_ENTRIES) : shape.maxEntries;
  const odd = random.below(40);
  if (odd === 0) valueSize = random.pick(HUGE_VALUES);
  else if (odd === 1 && row.type === TYPE.HASH) valueSize = (4 << 20) - 48 - keySize;
  else if (odd === 2 && row.type === TYPE.HASH) maxEntries = 0xffff_ffff;
  else if (estimate(keySize, valueSize, maxEntries, cpus) > MEMORY_MAX) maxEntries = 1;
  return [keySize, valueSize, maxEntries];
}

function flags(random: Random, row: TypeRow): number {
  let chosen = random.pick(row.createFlags);
  if (random.chance(0.3)) chosen |= random.pick(row.createFlags);
  if (random.chance(0.15)) chosen |= 2 ** random.below(32);
  // A token's descriptor is host business: the flag changes who may do things, not what they do.
  return chosen & ~0x1_0000;
}

function name(random: Random): Uint8Array {
  const bytes = new Uint8Array(16);
  const length = random.chance(0.02) ? 16 : random.below(16);
  for (let i = 0; i < length; i++) {
    const legal = random.chance(0.98);
    bytes[i] = legal ? "abcXYZ019_.".charCodeAt(random.below(11)) : random.u32();
  }
  // Bytes after the first NUL do not count.
  if (length < 15 && random.chance(0.05)) bytes[15] = random.u32();
  return bytes;
}

/** Fields that are nearly always zero. */
function oddField(random: Random, ops: OpStream): void {
  const choice = random.below(9);
  if (choice === 0) ops.attr32(24, random.pick([0, 1, 64, 0x7fff_ffff, 0xffff_ffff]));
  else if (choice === 1) ops.attr32(20, random.pick([0, 1, 0xffff_ffff]));
  else if (choice === 2) ops.attr64(64, random.pick([1n, 5n, 15n, 16n, 1n << 40n]));
  else if (choice === 3) ops.attr32(60, 1);
  else if (choice === 4) ops.attr32(52, 1);
  else if (choice === 5) {
    ops.attr32(48, random.pick([0xffff_ffff, 0, 1]));
    ops.attr32(56, 1);
  } else if (choice === 6) ops.attr32(72, random.pick([1, 0xffff_ffff]));
  else if (choice === 7) ops.attr32(76, random.pick([1, 0xffff_ffff]));
  else {
    ops.attr64(80, random.pick([0n, 0xffff_ffff_0000_0000n]));
    ops.attr32(88, random.pick([1, 31, 32, 33]));
  }
}

/** Creates `count` maps of a type, asks each for its info and closes it again. */
export function createSession(
  random: Random,
  ops: OpStream,
  row: TypeRow,
  cpus: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    const [keySize, valueSize, maxEntries] = sizes(random, row, cpus);
    let size: number = ATTR_END.create;
    if (random.chance(0.02)) size = random.pick([ATTR_SIZE, 4096, 4097, 48, 72, 24]);
    ops.bpf(CMD.MAP_CREATE, ATTR_END.create, size);
    ops.attr32(0, random.chance(0.01) ? random.pick([0, 34, 999, 0xffff_ffff]) : row.type);
    ops.attr32(4, keySize);
    ops.attr32(8, valueSize);
    ops.attr32(12, maxEntries);
    ops.attr32(16, flags(random, row));
    if (row.type === TYPE.BLOOM_FILTER) ops.attr64(64, BigInt(random.below(18)));
    ops.attrBytes(28, name(random));
    if (random.chance(0.2)) oddField(random, ops);
    ops.result(0);
    ops.flag(FLAG.WANT_ID);
    ops.endBpf();
    ops.bpf(CMD.OBJ_GET_INFO_BY_FD, ATTR_END.info);
    ops.attr32(4, 104);
    ops.changed(4, 4);
    ops.buffer(8, BUF.IN | BUF.OUT, 104);
    ops.patch(1, PATCH.OUT_ID, 4);
    ops.patch(0, PATCH.FD, 0, 0);
    ops.endBpf();
    ops.close(0);
  }
  ops.reset();
}

// Records and answers in words, for the report of a difference.

import { CMD, TYPE } from "./abi.js";
import { ATTR_AT, BUF, NO_SLOT, OBJECT, OP, PATCH, PATH, PROG } from "./wire.js";

const CMD_NAMES = names(CMD);
const TYPE_NAMES = names(TYPE);
const PROG_NAMES = names(PROG);
const OBJECT_NAMES = names(OBJECT);
const PATH_NAMES = names(PATH);
const SHOWN_BYTES = 48;

function names(table: Record<string, number>): Map<number, string> {
  return new Map(Object.entries(table).map(([name, value]) => [value, name]));
}

function hex(bytes: Uint8Array, max = SHOWN_BYTES): string {
  const shown = Buffer.from(bytes.subarray(0, max)).toString("hex");
  return bytes.length > max ? `${shown}..(${bytes.length} bytes)` : shown || "-";
}

/** Attr fields of a BPF record, without the pointers that buffers fill in. */
function describeAttr(cmd: number, attr: DataView): string {
  const u32 = (offset: number): number =>
    offset + 4 <= attr.byteLength ? attr.getUint32(offset, true) : 0;
  const u64 = (offset: number): string =>
    offset + 8 <= attr.byteLength ? `0x${attr.getBigUint64(offset, true).toString(16)}` : "-";
  if (cmd === CMD.MAP_CREATE) {
    const type = TYPE_NAMES.get(u32(0)) ?? u32(0);
    return `${hex(new Uint8Array(attr.buffer, attr.byteOffset + 16, Math.max(0, Math.min(76, attr.byteLength - 16))), 80)} type=${type} key=${u32(4)} value=${u32(8)} max=${u32(12)} flags=0x${u32(16).toString(16)} extra=${u64(64)}`;
  }
  if (cmd >= CMD.MAP_LOOKUP_BATCH && cmd <= CMD.MAP_DELETE_BATCH) {
    return `count=${u32(32)} elem_flags=${u64(40)} flags=${u64(48)}`;
  }
  if (cmd === CMD.MAP_LOOKUP_ELEM || cmd === CMD.MAP_UPDATE_ELEM) return `flags=${u64(24)}`;
  return hex(new Uint8Array(attr.buffer, attr.byteOffset, attr.byteLength));
}

function describeBpf(record: Uint8Array, view: DataView): string {
  const cmd = view.getInt32(8, true);
  const size = view.getUint32(12, true);
  const attrLength = record[16] ?? 0;
  const attr = new DataView(record.buffer, record.byteOffset + ATTR_AT, attrLength);
  const words = [CMD_NAMES.get(cmd) ?? `cmd ${cmd}`, describeAttr(cmd, attr)];
  if (size !== attrLength) words.push(`size=${size}`);
  if (record[19]) words.push(`record-flags=${record[19]}`);
  let at = ATTR_AT + attrLength;
  for (let i = 0; i < (record[5] ?? 0); i++) {
    const kind = record[at + 1] ?? 0;
    const length = view.getUint32(at + 4, true);
    const name = `@${record[at]}`;
    if ((kind & BUF.REG) !== 0) words.push(`${name}=reg${view.getUint16(at + 2, true)}`);
    else if ((kind & BUF.IN) !== 0) {
      words.push(`${name}=${hex(record.subarray(at + 8, at + 8 + length))}`);
    } else words.push(`${name}=room(${length})${(kind & BUF.TAIL) !== 0 ? " then a fault" : ""}`);
    at += 8 + ((kind & BUF.IN) !== 0 ? length : 0);
  }
  for (let i = 0; i < (record[6] ?? 0); i++, at += 6) {
    const slot = view.getUint16(at + 4, true);
    if (record[at + 1] === PATCH.FD && record[at] === 0) words.push(`fd=slot${slot}`);
    else if (record[at + 1] === PATCH.FD) words.push(`value=fd of slot${slot}`);
    else if (record[at + 1] !== PATCH.OUT_ID) words.push(`id=of slot${slot}`);
  }
  if (record[7] !== NO_SLOT) words.push(`-> slot${record[7]}`);
  return words.join(" ");
}

/** One record in words. */
export function describeRecord(record: Uint8Array): string {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  switch (record[4]) {
    case OP.BPF:
      return describeBpf(record, view);
    case OP.CPU:
      return `CPU ${record[5]}`;
    case OP.CLOSE:
      return `CLOSE slot${record[5]}`;
    case OP.WALK:
      return `WALK slot${record[5]}`;
    case OP.PROG: {
      const keySize = view.getUint32(11, true);
      const key = hex(record.subarray(27, 27 + keySize));
      const value = hex(record.subarray(27 + keySize));
      const helper = PROG_NAMES.get(record[6] ?? 0);
      return `PROGRAM ${helper} key=${key} value=${value} flags=0x${view.getBigUint64(19, true).toString(16)} cpu=${view.getUint32(7, true)}`;
    }
    case OP.RUN: {
      const functions = record[5] ?? 0;
      const input = 22 + functions * 4 + view.getUint32(6, true) * 8;
      let text = input + view.getUint32(10, true);
      const words = [...record.subarray(input, text)].map((byte) =>
        byte.toString(16).padStart(2, "0"),
      );
      const packets = view.getUint32(18, true);
      for (let i = 0; i < packets; i++) text += 2 + view.getUint16(text, true);
      if (packets > 0) words.push(` packets=${packets}`);
      return `RUN input=${words.join("")}\n${new TextDecoder().decode(record.subarray(text))}`;
    }
    case OP.RING:
      return `RING slot${record[5]} count=${view.getUint32(11, true)} ${hex(record.subarray(15))}`;
    case OP.PATH: {
      const path = new TextDecoder().decode(record.subarray(7, -1));
      return `${PATH_NAMES.get(record[5] ?? 0)} ${path} -> slot${record[6]}`;
    }
    case OP.MMAP:
      return `MMAP window${record[5]} slot${record[6]} prot=${record[7]} offset=0x${view.getBigUint64(8, true).toString(16)} length=0x${view.getBigUint64(16, true).toString(16)}`;
    case OP.RESET:
      return "RESET";
    case OP.END:
      return `END slot${record[5]}`;
    default:
      return `OBJECT ${OBJECT_NAMES.get(record[6] ?? 0)} -> slot${record[5]}`;
  }
}

/** One answer in words; `record` tells what its bytes are. */
export function describeAnswer(record: Uint8Array, answer: Uint8Array): string {
  if (answer.length < 4) return "-";
  const view = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
  const words = [String(view.getInt32(0, true))];
  if (record[4] === OP.RUN) {
    // The results, eight bytes each.
    for (let at = 4; at + 8 <= answer.length; at += 8) {
      words.push(`${at - 4}:${view.getBigUint64(at, true).toString(16)}`);
    }
    return words.join(" ");
  }
  if (record[4] !== OP.BPF) return [...words, hex(answer.subarray(4))].join(" ");
  const recordView = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const changed = record[18] ?? 0;
  if (changed > 0) words.push(`attr[${record[17]}]=${view.getUint32(4, true)}`);
  let at = ATTR_AT + (record[16] ?? 0);
  let from = 4 + changed;
  for (let i = 0; i < (record[5] ?? 0); i++) {
    const kind = record[at + 1] ?? 0;
    const length = recordView.getUint32(at + 4, true);
    if ((kind & BUF.OUT) !== 0) {
      words.push(`@${record[at]}=${hex(answer.subarray(from, from + length))}`);
      from += length;
    }
    at += 8 + ((kind & BUF.IN) !== 0 ? length : 0);
  }
  return words.join(" ");
}

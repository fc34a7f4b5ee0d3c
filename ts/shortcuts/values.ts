// Values that are scalars: reading and writing them, each kind with code of its own.

import { KIND } from "../codec.js";
import type { Door, Read, Write } from "./types.js";

const TWO_32 = 0x1_0000_0000;
const SAFE_HIGH = 0x1f_ffff;

/** Reads values. Beyond views that are stale there is undefined: then the door does it. */
export function reader(door: Door): Read {
  const { mem } = door;
  switch (door.valueKind) {
    case KIND.U8:
      return (ptr) => mem.u8[ptr] ?? door.read(ptr);
    case KIND.U16:
      return (ptr) => mem.u16[ptr >>> 1] ?? door.read(ptr);
    case KIND.U32:
      return (ptr) => mem.u32[ptr >>> 2] ?? door.read(ptr);
    case KIND.I32:
      return (ptr) => mem.i32[ptr >>> 2] ?? door.read(ptr);
    case KIND.U64:
      return (ptr) => mem.u64[ptr >>> 3] ?? door.read(ptr);
    case KIND.I64:
      return (ptr) => mem.i64[ptr >>> 3] ?? door.read(ptr);
    case KIND.F64:
      return (ptr) => mem.f64[ptr >>> 3] ?? door.read(ptr);
    case KIND.U64_NUMBER:
      return (ptr) => {
        const high = mem.u32[(ptr >>> 2) + 1] as number;
        if (high <= SAFE_HIGH) return high * TWO_32 + (mem.u32[ptr >>> 2] as number);
        return door.read(ptr);
      };
    default:
      return (ptr) => door.read(ptr);
  }
}

/**
 * Writes values to the window, which the views reach, those of up to 4 bytes as a whole word; none for kinds that are left to
 * the door.
 */
export function writer(door: Door): Write | undefined {
  const { mem } = door;
  const word = door.valuePtr >>> 2;
  const long = door.valuePtr >>> 3;
  switch (door.valueKind) {
    case KIND.U8:
      return (value) => {
        if (typeof value !== "number" || (value & 0xff) !== value) return false;
        mem.i32[word] = value;
        return true;
      };
    case KIND.U16:
      return (value) => {
        if (typeof value !== "number" || (value & 0xffff) !== value) return false;
        mem.i32[word] = value;
        return true;
      };
    case KIND.U32:
      return (value) => {
        if (typeof value !== "number" || value >>> 0 !== value) return false;
        mem.i32[word] = value;
        return true;
      };
    case KIND.I32:
      return (value) => {
        if (typeof value !== "number" || (value | 0) !== value) return false;
        mem.i32[word] = value;
        return true;
      };
    case KIND.U64:
      return (value) => {
        if (typeof value !== "bigint" || BigInt.asUintN(64, value) !== value) return false;
        mem.u64[long] = value;
        return true;
      };
    case KIND.I64:
      return (value) => {
        if (typeof value !== "bigint" || BigInt.asIntN(64, value) !== value) return false;
        mem.i64[long] = value;
        return true;
      };
    case KIND.F64:
      return (value) => {
        if (typeof value !== "number") return false;
        mem.f64[long] = value;
        return true;
      };
    case KIND.U64_NUMBER:
      return (value) => {
        if (typeof value !== "number" || value < 0 || !Number.isSafeInteger(value)) return false;
        mem.u32[word] = value >>> 0;
        mem.u32[word + 1] = value < TWO_32 ? 0 : Math.floor(value / TWO_32);
        return true;
      };
    default:
      return undefined;
  }
}

// What the chunks of all layouts have in common: their number, homes, tags, and the count of elements that went on.

import { ABSENT, ASK } from "../ts/abi";
import { BpfHtab } from "./hashtab";

/** An overflow count that got here stays. */
export const STICKY: u32 = 0xffff;

/** ctz of no candidates is 32: this bit of the first candidate's number says that there is none. */
export const NO_CANDIDATE: u32 = 32;

/** Tables of up to this many entries get more room: they stay small enough for the caches all the same. */
const ROOMY_ENTRIES: u32 = 8192;

/** Inlined where they are used. */
export class Chunks {
  /** The index of a hash among `count`, monotone in the hash. */
  @inline
  static index(hash: u32, count: u32): u32 {
    return <u32>((<u64>hash * count) >> 32);
  }

  /** 16 tags at once: those equal to `tag`, a bit each. */
  @inline
  static tagged(tags: usize, tag: u32): u32 {
    return i8x16.bitmask(i8x16.eq(v128.load(tags), i8x16.splat(<i8>tag)));
  }

  /** A value (8 bytes, or 4 and the zeros behind) as the map_get4 doors answer it: ASK where it looks like an answer. */
  @inline
  static number(value: u64): u32 {
    return value < <u64>ABSENT ? <u32>value : <u32>ASK;
  }
}

/**
 * 1..255, from the bits of a hash behind those that choose among `count` chunks: its upper bits are the good ones, and the
 * product is there anyway.
 */
export function tagOf(hash: u32, count: u32): u32 {
  const tag = <u32>((<u64>hash * count) >> 24) & 0xff;
  return tag + u32(tag == 0);
}

/** Changes the overflow count (u16) of a chunk by 1 or -1. */
export function addOverflow(count: usize, change: u32): void {
  const overflow: u32 = load<u16>(count);
  if (overflow != STICKY) store<u16>(count, overflow + change);
}

/** Chunks of `slots` slots for a table with `percent` slots for 100 entries (`roomyPercent` in small tables). */
export function chunkCount(h: BpfHtab, slots: u32, percent: u32, roomyPercent: u32): u32 {
  const wanted = <u64>h.maxEntries * (h.maxEntries <= ROOMY_ENTRIES ? roomyPercent : percent);
  return <u32>(wanted / (100 * slots)) + 2;
}

// BLOOM_FILTER: "has this value been added?", answered "maybe" or "no". Kernel: kernel/bpf/bloom_filter.c (behaviour
// checked against 6.18, bit for bit under BPF_F_ZERO_SEED).
//
//   bits:  u32 words, bit h & 31 of word h >> 5; bitMask + 1 bits, a power of two from 64 to 2^32
//
// A value sets (or asks for) one bit per hash function: jhash(value, seed + i) & bitMask. Bits are never cleared, so an
// addition never fails and max_entries is only a hint for the size. Each operation is O(hash functions * valueSize).
// Additions from several CPUs set bits atomically; there is no lock.

import {
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_F_ZERO_SEED,
  E2BIG,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
  EOPNOTSUPP,
} from "../ts/uapi";
import { BpfMap, KMALLOC_MAX_SIZE, MapCreateAttr, attrLegal } from "./map";
import { allocZeroed, free, random64 } from "./kernel";
import { fetchOr } from "./lib/atomic";
import { isUserRange } from "./lib/bytes";
import { jhash, jhash4, jhash8 } from "./lib/jhash";

const BLOOM_FLAGS: u32 =
  BPF_F_NUMA_NODE |
  BPF_F_ZERO_SEED |
  BPF_F_RDONLY |
  BPF_F_WRONLY |
  BPF_F_RDONLY_PROG |
  BPF_F_WRONLY_PROG;
/** Hash functions when map_extra is 0. */
const HASHES_DEFAULT: u32 = 5;

export class BpfBloomFilter extends BpfMap {
  bits: u32;
  bitMask: u32;
  seed: u32;
  nHashes: u32;

  /** E2BIG: value too large, before anything else. */
  static allocCheck(attr: MapCreateAttr): i32 {
    return attr.valueSize > KMALLOC_MAX_SIZE ? -E2BIG : 0;
  }

  /** EINVAL: sizes, flags, more than 15 hash functions. */
  override init(attr: MapCreateAttr): i32 {
    if (!attrLegal(attr, 0, BLOOM_FLAGS) || attr.mapExtra > 15) return -EINVAL;
    this.nHashes = this.mapExtra == 0 ? HASHES_DEFAULT : <u32>this.mapExtra;
    this.seed = this.mapFlags & BPF_F_ZERO_SEED ? 0 : <u32>random64();
    this.bitMask = maskFor(this.maxEntries, this.nHashes);
    this.bits = <u32>allocZeroed((<u64>this.bitMask + 1) >> 3);
    return this.bits == 0 ? -ENOMEM : 0;
  }

  /** The bit that hash function i picks for a value. */
  private bitOf(value: usize, i: u32): u32 {
    assert(i < this.nHashes);
    const seed = this.seed + i;
    const size = this.valueSize;
    if (size == 4) return jhash4(load<u32>(value), seed) & this.bitMask;
    if (size == 8) return jhash8(load<u64>(value), seed) & this.bitMask;
    return jhash(value, size, seed) & this.bitMask;
  }

  /** Sets the bits of a value, or asks for them. @returns 0; -ENOENT: one of those asked for is not set */
  private visit(value: usize, isPush: bool): i32 {
    for (let i: u32 = 0; i < this.nHashes; i++) {
      const bit = this.bitOf(value, i);
      const word = this.bits + ((bit >>> 5) << 2);
      const one: u32 = 1 << (bit & 31);
      if (isPush) fetchOr(word, one);
      else if ((load<u32>(word) & one) == 0) return -ENOENT;
    }
    return 0;
  }

  /** Adds a value. @returns 0; -EINVAL flags other than BPF_ANY */
  override pushElem(value: usize, flags: u64): i32 {
    return flags == 0 ? this.visit(value, true) : -EINVAL;
  }

  /** Asks: 0: `value` may have been added; -ENOENT: it has not. */
  override takeValue(value: usize, andPop: bool): i32 {
    return andPop ? -EOPNOTSUPP : this.visit(value, false);
  }

  /** The value is what is asked about: it is read, not written. */
  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    return isUserRange(value, this.valueSize) ? this.visit(<usize>value, false) : -EFAULT;
  }

  override deleteElem(key: usize): i32 {
    return -EOPNOTSUPP;
  }

  override getNextKey(key: usize, next: u64): i32 {
    return -EOPNOTSUPP;
  }

  override release(): void {
    free(this.bits);
  }
}

/** Number of bits less one: some 1.4 per value and hash function (1 / ln 2), rounded up to a power of two. */
function maskFor(maxEntries: u32, nHashes: u32): u32 {
  const hashes = <u64>maxEntries * nHashes;
  // The kernel divides first, in 32 bits; what overflows them gets as many bits as a hash can name.
  const bits = (hashes / 5) * 7;
  if (bits > 0x80000000) return 0xffffffff;
  return bits <= 64 ? 63 : <u32>(((<u64>1) << (64 - clz(bits - 1))) - 1);
}

// The hashes of tables whose order is nobody's business (no BPF_F_ZERO_SEED): multiply and xor-shift, seeded
// per map. jhash costs two to three times as much. test/unit/hash-spread.test.ts: sequential, strided, pointer-like and
// high-word-only keys spread nearly like random ones.

const C1: u64 = 0x9e3779b97f4a7c15;
const C2: u64 = 0xd6e8feb86659fd93;
const C3: u64 = 0xa0761d6478bd642f;

// The functions called upper... are for callers that use the upper bits only: half the work.

/**
 * The upper bits for a key of 4 bytes: multiplicative hashing. Of some 260,000 multipliers tried this one spreads keys best that
 * are 1 to 64, or 1, 3 or 5 times a power of two, or 1000 apart: of 20 to 110,000 such keys a tenth is away from home at worst,
 * with the seed it was tried with. With the golden ratio it is half of the keys 128 apart (at 65,536).
 */
export function upper4(a: u32, seed: u32): u32 {
  return (a ^ seed) * 0xb9eb6fcf;
}

/** The upper bits for a key of 8 bytes. Without folding, keys 64 apart missed their homes three times as often as random ones. */
export function upper8(a: u64, seed: u64): u32 {
  return folded((a ^ seed) * C1);
}

/** The upper bits for a key of 16 bytes; upper8 where b is 0. */
export function upper16(a: u64, b: u64, seed: u64): u32 {
  return folded((a ^ seed) * C1 + b * C3);
}

function folded(x: u64): u32 {
  return <u32>(x ^ (x >> 32)) * 0x9e3779b1;
}

/** A key of 8 bytes. */
export function hash8(a: u64, seed: u64): u32 {
  return mixed((a ^ seed) * C1);
}

/** A key of 16 bytes; hash8 where b is 0. */
export function hash16(a: u64, b: u64, seed: u64): u32 {
  return hash8(a ^ rotl<u64>(b * C3, 32), seed);
}

function mixed(x: u64): u32 {
  return <u32>(((x ^ (x >> 32)) * C2) >> 32);
}

/** A key of any length. */
export function hashBytes(key: usize, length: u32, seed: u64): u32 {
  let x = seed ^ length;
  while (length >= 8) {
    x = (x ^ load<u64>(key)) * C1;
    x ^= x >> 32;
    key += 8;
    length -= 8;
  }
  let tail: u64 = 0;
  if (length & 4) {
    tail = load<u32>(key);
    key += 4;
  }
  if (length & 2) {
    tail = (tail << 16) | load<u16>(key);
    key += 2;
  }
  if (length & 1) tail = (tail << 8) | load<u8>(key);
  return mixed((x ^ tail) * C3);
}

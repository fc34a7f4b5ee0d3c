// Bob Jenkins' lookup3 (public domain, 2006) in the form the kernel calls jhash: initval is added to 0xdeadbeef + length,
// the result is c. Little-endian word loads make jhash and jhash2 agree. Checked by the golden traces with
// BPF_F_ZERO_SEED, whose order it makes, and by a second implementation (test/support/jhash.ts).

/**
 * @param key     address of `length` bytes, any alignment
 * @param initval the seed; 0 for BPF_F_ZERO_SEED maps
 */
export function jhash(key: usize, length: u32, initval: u32): u32 {
  let a: u32 = 0xdeadbeef + length + initval;
  let b = a;
  let c = a;
  while (length > 12) {
    a += load<u32>(key);
    b += load<u32>(key, 4);
    c += load<u32>(key, 8);
    a = (a - c) ^ rotl<u32>(c, 4);
    c += b;
    b = (b - a) ^ rotl<u32>(a, 6);
    a += c;
    c = (c - b) ^ rotl<u32>(b, 8);
    b += a;
    a = (a - c) ^ rotl<u32>(c, 16);
    c += b;
    b = (b - a) ^ rotl<u32>(a, 19);
    a += c;
    c = (c - b) ^ rotl<u32>(b, 4);
    b += a;
    length -= 12;
    key += 12;
  }
  if (length == 0) return c;
  return jhashFinal(
    a + tailWord(key, length),
    b + (length > 4 ? tailWord(key + 4, length - 4) : 0),
    c + (length > 8 ? tailWord(key + 8, length - 8) : 0),
  );
}

/** jhash of a key of 4 bytes. */
export function jhash4(k: u32, initval: u32): u32 {
  const start: u32 = 0xdeadbeef + 4 + initval;
  return jhashFinal(start + k, start, start);
}

/** jhash of a key of 8 bytes. */
export function jhash8(k: u64, initval: u32): u32 {
  const start: u32 = 0xdeadbeef + 8 + initval;
  return jhashFinal(start + <u32>k, start + <u32>(k >> 32), start);
}

/** The first min(4, length) bytes of key as a zero-padded word. */
function tailWord(key: usize, length: u32): u32 {
  if (length >= 4) return load<u32>(key);
  let word: u32 = 0;
  while (length-- != 0) word = (word << 8) | load<u8>(key + length);
  return word;
}

function jhashFinal(a: u32, b: u32, c: u32): u32 {
  c = (c ^ b) - rotl<u32>(b, 14);
  a = (a ^ c) - rotl<u32>(c, 11);
  b = (b ^ a) - rotl<u32>(a, 25);
  c = (c ^ b) - rotl<u32>(b, 16);
  a = (a ^ c) - rotl<u32>(c, 4);
  b = (b ^ a) - rotl<u32>(a, 14);
  return (c ^ b) - rotl<u32>(b, 24);
}

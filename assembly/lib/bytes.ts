// Ranges of linear memory: checking, copying, comparing.
//
// memory.copy and memory.fill are calls into the engine (some 10 ns), so short runs are done in place. Up to 16 bytes
// are moved as u32: JavaScript writes keys and values as u32 words mostly, and a u64 load of two fresh u32 stores stalls.

/** Size of the memory in bytes: 2^32 is possible, hence u64. */
export function memoryBytes(): u64 {
  return (<u64>memory.size()) << 16;
}

/** May a caller's [ptr, ptr + len) be touched? NULL may not. */
export function isUserRange(ptr: u64, len: u64): bool {
  const size = memoryBytes();
  // ptr - 1: NULL becomes the largest number.
  return len <= size && ptr - 1 < size - len;
}

export function round8(n: u32): u32 {
  return (n + 7) & ~7;
}

export function copyBytes(dst: usize, src: usize, n: u32): void {
  if (n > 64) {
    memory.copy(dst, src, n);
    return;
  }
  let i: u32 = 0;
  if (n > 16) {
    for (; i + 8 <= n; i += 8) store<u64>(dst + i, load<u64>(src + i));
  }
  for (; i + 4 <= n; i += 4) store<u32>(dst + i, load<u32>(src + i));
  for (; i < n; i++) store<u8>(dst + i, load<u8>(src + i));
}

export function zeroBytes(dst: usize, n: u32): void {
  if (n > 64) {
    memory.fill(dst, 0, n);
    return;
  }
  let i: u32 = 0;
  for (; i + 8 <= n; i += 8) store<u64>(dst + i, 0);
  for (; i < n; i++) store<u8>(dst + i, 0);
}

export function equalBytes(a: usize, b: usize, n: u32): bool {
  let i: u32 = 0;
  for (; i + 8 <= n; i += 8) {
    if (load<u64>(a + i) != load<u64>(b + i)) return false;
  }
  if (i + 4 <= n) {
    if (load<u32>(a + i) != load<u32>(b + i)) return false;
    i += 4;
  }
  for (; i < n; i++) {
    if (load<u8>(a + i) != load<u8>(b + i)) return false;
  }
  return true;
}

/** Are all n bytes from ptr on zero? */
export function isZero(ptr: usize, n: u32): bool {
  let i: u32 = 0;
  for (; i + 8 <= n; i += 8) {
    if (load<u64>(ptr + i) != 0) return false;
  }
  for (; i < n; i++) {
    if (load<u8>(ptr + i) != 0) return false;
  }
  return true;
}

/** Smallest power of two >= n (1 for 0); 0 when that is 2^32. */
export function roundupPow2(n: u32): u32 {
  return n <= 1 ? 1 : n > 0x80000000 ? 0 : 1 << (32 - clz(n - 1));
}

/** May a name hold this byte? Letters (Latin-1 ones too, as in the kernel's isalnum), digits, `_` and `.`. */
export function isNameByte(c: u32): bool {
  const lower = c | 0x20;
  if (c >= 0x30 && c <= 0x39) return true;
  if (lower >= 0x61 && lower <= 0x7a) return true;
  if (c == 0x5f || c == 0x2e) return true;
  // Not the signs of multiplication and division.
  return c >= 0xc0 && lower != 0xf7;
}

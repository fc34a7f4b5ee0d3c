// A loop that keeps a core's arithmetic units busy and waits for nothing: bench/support/machine.mjs.

/** Four chains of `count` steps. */
export function allUnits(count: u32): u32 {
  let a: u32 = 1;
  let b: u32 = 2;
  let c: u32 = 3;
  let d: u32 = 4;
  for (let i: u32 = 0; i < count; i++) {
    a = (a + i) ^ (a >> 3);
    b = (b ^ i) + (b >> 5);
    c = (c + i) ^ (c >> 7);
    d = (d ^ i) + (d >> 9);
  }
  return a ^ b ^ c ^ d;
}

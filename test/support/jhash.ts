// The kernel's jhash once more, in TypeScript: what tests compare the core's with. Bob Jenkins'
// lookup3 (public domain) with initval added to 0xdeadbeef + length; the result is c.

const rotl = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

export function jhash(bytes: Uint8Array, initval: number): number {
  const padded = new Uint8Array(Math.ceil((bytes.length + 1) / 12) * 12);
  padded.set(bytes);
  const view = new DataView(padded.buffer);
  let a = (0xdeadbeef + bytes.length + initval) | 0;
  let b = a;
  let c = a;
  let at = 0;
  let left = bytes.length;
  const add = (): void => {
    a = (a + view.getInt32(at, true)) | 0;
    b = (b + view.getInt32(at + 4, true)) | 0;
    c = (c + view.getInt32(at + 8, true)) | 0;
  };
  while (left > 12) {
    add();
    a = (a - c) ^ rotl(c, 4);
    c = (c + b) | 0;
    b = (b - a) ^ rotl(a, 6);
    a = (a + c) | 0;
    c = (c - b) ^ rotl(b, 8);
    b = (b + a) | 0;
    a = (a - c) ^ rotl(c, 16);
    c = (c + b) | 0;
    b = (b - a) ^ rotl(a, 19);
    a = (a + c) | 0;
    c = (c - b) ^ rotl(b, 4);
    b = (b + a) | 0;
    left -= 12;
    at += 12;
  }
  if (left === 0) return c >>> 0;
  add();
  c = ((c ^ b) - rotl(b, 14)) | 0;
  a = ((a ^ c) - rotl(c, 11)) | 0;
  b = ((b ^ a) - rotl(a, 25)) | 0;
  c = ((c ^ b) - rotl(b, 16)) | 0;
  a = ((a ^ c) - rotl(c, 4)) | 0;
  b = ((b ^ a) - rotl(a, 14)) | 0;
  return ((c ^ b) - rotl(b, 24)) >>> 0;
}

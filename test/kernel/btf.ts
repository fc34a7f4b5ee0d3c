// A small BTF: an int or bytes for the key, bytes or a struct with a bpf_spin_lock for the value.

const KIND_INT = 1;
const KIND_ARRAY = 3;
const KIND_STRUCT = 4;
const HEADER_SIZE = 24;

/** Ids of the types in the order in which they are written. */
const INT = 1;
const CHAR = 2;
const KEY_BYTES = 3;
const VALUE_BYTES = 4;
const SPIN_LOCK = 5;
const LOCKED_VALUE = 6;

export interface MapBtf {
  readonly bytes: Uint8Array;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/**
 * BTF for a map.
 * @param lockOffset where in the value the lock is, -1 for none
 */
export function mapBtf(keySize: number, valueSize: number, lockOffset: number): MapBtf {
  const strings = "\0int\0char\0bpf_spin_lock\0val\0value\0lock\0";
  const named = (name: string): number => strings.indexOf(`\0${name}\0`) + 1;
  const types = [
    [named("int"), KIND_INT << 24, 4, 32],
    [named("char"), KIND_INT << 24, 1, 8],
    [0, KIND_ARRAY << 24, 0, CHAR, INT, Math.max(1, keySize)],
    [0, KIND_ARRAY << 24, 0, CHAR, INT, valueSize],
    [named("bpf_spin_lock"), (KIND_STRUCT << 24) | 1, 4, named("val"), INT, 0],
  ];
  if (lockOffset >= 0) {
    const member = [named("lock"), SPIN_LOCK, lockOffset * 8];
    types.push([named("value"), (KIND_STRUCT << 24) | 1, valueSize, ...member]);
  }
  const words = Uint32Array.from(types.flat());
  const bytes = new Uint8Array(HEADER_SIZE + words.byteLength + strings.length);
  const header = [0x0001_eb9f, HEADER_SIZE, 0, words.byteLength, words.byteLength, strings.length];
  bytes.set(new Uint8Array(Uint32Array.from(header).buffer), 0);
  bytes.set(new Uint8Array(words.buffer), HEADER_SIZE);
  bytes.set(Buffer.from(strings, "latin1"), HEADER_SIZE + words.byteLength);
  return {
    bytes,
    keyTypeId: keySize === 4 ? INT : KEY_BYTES,
    valueTypeId: lockOffset >= 0 ? LOCKED_VALUE : VALUE_BYTES,
  };
}

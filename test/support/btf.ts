// A small assembler of BTF blobs: enough kinds to describe the keys and values of maps.
// Layout: Documentation/bpf/btf.rst (magic 0xeB9F, version 1; header, type section, string section).

import * as uapi from "../../ts/uapi.js";

const BTF_MAGIC = 0xeb9f;
const BTF_VERSION = 1;
const HEADER_SIZE = 24;

/** encoding bits of BTF_KIND_INT. */
export const BTF_INT_SIGNED = 1;
export const BTF_INT_CHAR = 2;
export const BTF_INT_BOOL = 4;

/** A member of a struct or union; `offset` in bytes. */
export interface BtfMember {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
}

/** A variable of a datasec; `offset` and `size` in bytes. */
export interface BtfSecVar {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
}

/** Each method appends one type and returns its id (the first is 1; 0 is void). */
export class BtfBuilder {
  readonly #words: number[] = [];
  readonly #strings = new Map<string, number>([["", 0]]);
  #stringsLength = 1;
  #lastId = 0;

  int(name: string, size: number, encoding = 0, bits = size * 8): number {
    return this.#type(name, uapi.BTF_KIND_INT, 0, size, [(encoding << 24) | bits]);
  }

  array(elemType: number, indexType: number, count: number): number {
    return this.#type("", uapi.BTF_KIND_ARRAY, 0, 0, [elemType, indexType, count]);
  }

  struct(name: string, size: number, members: readonly BtfMember[]): number {
    return this.#composite(uapi.BTF_KIND_STRUCT, name, size, members);
  }

  union(name: string, size: number, members: readonly BtfMember[]): number {
    return this.#composite(uapi.BTF_KIND_UNION, name, size, members);
  }

  enum(name: string, size: number, values: Readonly<Record<string, number>>): number {
    const entries = Object.entries(values);
    const words = entries.flatMap(([key, value]) => [this.#string(key), value]);
    return this.#type(name, uapi.BTF_KIND_ENUM, entries.length, size, words);
  }

  ptr(type: number): number {
    return this.#type("", uapi.BTF_KIND_PTR, 0, type);
  }

  typedef(name: string, type: number): number {
    return this.#type(name, uapi.BTF_KIND_TYPEDEF, 0, type);
  }

  const(type: number): number {
    return this.#type("", uapi.BTF_KIND_CONST, 0, type);
  }

  volatile(type: number): number {
    return this.#type("", uapi.BTF_KIND_VOLATILE, 0, type);
  }

  restrict(type: number): number {
    return this.#type("", uapi.BTF_KIND_RESTRICT, 0, type);
  }

  typeTag(tag: string, type: number): number {
    return this.#type(tag, uapi.BTF_KIND_TYPE_TAG, 0, type);
  }

  float(name: string, size: number): number {
    return this.#type(name, uapi.BTF_KIND_FLOAT, 0, size);
  }

  fwd(name: string): number {
    return this.#type(name, uapi.BTF_KIND_FWD, 0, 0);
  }

  /** `linkage`: 0 static, 1 global. */
  var(name: string, type: number, linkage = 1): number {
    return this.#type(name, uapi.BTF_KIND_VAR, 0, type, [linkage]);
  }

  datasec(name: string, size: number, vars: readonly BtfSecVar[]): number {
    const words = vars.flatMap((v) => [v.type, v.offset, v.size]);
    return this.#type(name, uapi.BTF_KIND_DATASEC, vars.length, size, words);
  }

  build(): Uint8Array {
    const typeLength = this.#words.length * 4;
    const blob = new Uint8Array(HEADER_SIZE + typeLength + this.#stringsLength);
    const view = new DataView(blob.buffer);
    view.setUint16(0, BTF_MAGIC, true);
    view.setUint8(2, BTF_VERSION);
    view.setUint32(4, HEADER_SIZE, true);
    view.setUint32(12, typeLength, true);
    view.setUint32(16, typeLength, true);
    view.setUint32(20, this.#stringsLength, true);
    this.#words.forEach((word, i) => view.setUint32(HEADER_SIZE + i * 4, word >>> 0, true));
    for (const [text, offset] of this.#strings) {
      blob.set(new TextEncoder().encode(text), HEADER_SIZE + typeLength + offset);
    }
    return blob;
  }

  #composite(kind: number, name: string, size: number, members: readonly BtfMember[]): number {
    const words = members.flatMap((m) => [this.#string(m.name), m.type, m.offset * 8]);
    return this.#type(name, kind, members.length, size, words);
  }

  #type(
    name: string,
    kind: number,
    vlen: number,
    sizeOrType: number,
    words: readonly number[] = [],
  ): number {
    this.#words.push(this.#string(name), (kind << 24) | vlen, sizeOrType, ...words);
    this.#lastId += 1;
    return this.#lastId;
  }

  #string(text: string): number {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    const offset = this.#stringsLength;
    this.#strings.set(text, offset);
    this.#stringsLength += new TextEncoder().encode(text).length + 1;
    return offset;
  }
}

/** A blob with the ids of a map's key and value in it. */
export interface MapBtf {
  readonly blob: Uint8Array;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

interface Basics {
  readonly int: number;
  readonly char: number;
  readonly key: number;
}

/**
 * The key of the traces' BTF: nothing (void) for a map without keys, an int when it has four bytes,
 * else an array of bytes.
 */
function addBasics(btf: BtfBuilder, keySize: number): Basics {
  const int = btf.int("int", 4, BTF_INT_SIGNED);
  const char = btf.int("unsigned char", 1);
  if (keySize === 0) return { int, char, key: 0 };
  return { int, char, key: keySize === 4 ? int : btf.array(char, int, keySize) };
}

/** A map whose key and value are plain bytes. */
export function plainBtf(keySize: number, valueSize: number): MapBtf {
  const btf = new BtfBuilder();
  const { int, char, key } = addBasics(btf, keySize);
  const valueTypeId = btf.array(char, int, valueSize);
  return { blob: btf.build(), keyTypeId: key, valueTypeId };
}

/** A map whose value is a struct with a `struct bpf_spin_lock` at `lockOffset`, bytes around it. */
export function lockBtf(keySize: number, valueSize: number, lockOffset: number): MapBtf {
  const btf = new BtfBuilder();
  const { int, char, key } = addBasics(btf, keySize);
  const u32 = btf.int("unsigned int", 4);
  const lock = btf.struct("bpf_spin_lock", 4, [{ name: "val", type: u32, offset: 0 }]);
  const members: BtfMember[] = [];
  if (lockOffset > 0) {
    members.push({ name: "head", type: btf.array(char, int, lockOffset), offset: 0 });
  }
  members.push({ name: "lock", type: lock, offset: lockOffset });
  const tail = lockOffset + 4;
  if (valueSize > tail) {
    members.push({ name: "tail", type: btf.array(char, int, valueSize - tail), offset: tail });
  }
  const valueTypeId = btf.struct("value", valueSize, members);
  return { blob: btf.build(), keyTypeId: key, valueTypeId };
}

// Live views of values in linear memory: what a program's value pointer is.

import { KIND } from "./codec.js";
import type { Codec, CodecKind, StructField } from "./codec.js";
import type { LiveViews } from "./views.js";

/** A struct codec, as far as a ref needs it. */
interface Fields {
  readonly fields: readonly StructField[];
}

interface Place {
  readonly offset: number;
  readonly kind: CodecKind;
}

function placesOf(codec: Codec<unknown, never>): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  if (codec.kind !== KIND.STRUCT) return places;
  for (const field of (codec as unknown as Fields).fields) {
    if (field.bits === undefined) {
      places.set(field.name, {
        offset: field.offset,
        kind: (field.member as Codec<unknown, never>).kind,
      });
    }
  }
  return places;
}

/**
 * A view of one value where it lies. Reading and writing go to the map's memory at once; nobody checks that the key is
 * still present (as with a pointer in a BPF program).
 */
export class ValueRef<V, VI = V> {
  readonly #mem: LiveViews;
  readonly #codec: Codec<V, VI>;
  readonly #places: ReadonlyMap<string, Place>;
  /** Address of the value. */
  ptr = 0;

  /** @internal */
  constructor(mem: LiveViews, codec: Codec<V, VI>) {
    this.#mem = mem;
    this.#codec = codec;
    this.#places = placesOf(codec);
  }

  /** Aims at another value. */
  at(ptr: number): this {
    this.ptr = ptr;
    this.#mem.reach(ptr);
    return this;
  }

  get value(): V {
    this.#mem.reach(this.ptr);
    return this.#codec.read(this.#mem, this.ptr);
  }

  set value(value: VI) {
    this.#mem.reach(this.ptr);
    this.#codec.write(this.#mem, this.ptr, value);
  }

  /**
   * `__sync_fetch_and_add` on the value, or on a field of it: atomic between threads, wrapping around as in C.
   * @param field name of an integer field; left out when the value is an integer itself
   * @throws {TypeError} not an integer field of 8 to 64 bits in host byte order
   */
  add(field: V extends object ? string & keyof V : never, amount: number | bigint): void;
  add(amount: number | bigint): void;
  add(field: string | number | bigint, amount?: number | bigint): void {
    if (typeof field === "string") {
      const place = this.#places.get(field);
      if (place === undefined)
        throw new TypeError(`add: no integer field ${JSON.stringify(field)}`);
      this.#addAt(this.ptr + place.offset, place.kind, amount as number | bigint);
    } else {
      this.#addAt(this.ptr, this.#codec.kind, field);
    }
  }

  #addAt(ptr: number, kind: CodecKind, amount: number | bigint): void {
    const mem = this.#mem;
    mem.reach(ptr);
    switch (kind) {
      case KIND.U64:
      case KIND.I64:
      case KIND.U64_NUMBER:
      case KIND.I64_NUMBER:
        this.#add64(ptr, amount);
        break;
      case KIND.U32:
      case KIND.I32:
        Atomics.add(mem.i32, aligned(ptr, 4) >>> 2, Number(amount));
        break;
      case KIND.U16:
      case KIND.I16:
        Atomics.add(mem.i16, aligned(ptr, 2) >>> 1, Number(amount));
        break;
      case KIND.U8:
      case KIND.I8:
        Atomics.add(mem.i8, ptr, Number(amount));
        break;
      default:
        throw new TypeError("add: not an integer in host byte order");
    }
  }

  /** On memory of one thread two 32-bit halves do, without a BigInt. */
  #add64(ptr: number, amount: number | bigint): void {
    const { u32, i64 } = this.#mem;
    if (
      typeof amount === "bigint" ||
      !(u32.buffer instanceof ArrayBuffer) ||
      !Number.isSafeInteger(amount)
    ) {
      Atomics.add(i64, aligned(ptr, 8) >>> 3, BigInt.asIntN(64, BigInt(amount)));
      return;
    }
    const at = ptr >>> 2;
    const low = (u32[at] as number) + (amount >>> 0);
    const carry = low > 0xffffffff ? 1 : 0;
    u32[at] = low;
    u32[at + 1] = (u32[at + 1] as number) + Math.floor(amount / 0x1_0000_0000) + carry;
  }
}

function aligned(ptr: number, size: number): number {
  if (ptr % size !== 0) throw new TypeError("add: the field is not aligned (packed struct)");
  return ptr;
}

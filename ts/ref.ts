// Live views of values in linear memory: what a program's value pointer is.

import { KIND } from "./codec.js";
import type { Aimable, Codec, CodecKind, StructField } from "./codec.js";
import { fieldsView } from "./cursor.js";
import { BpfError } from "./errors.js";
import { FMODE_WRITE } from "./holdings.js";
import type { Holdings } from "./holdings.js";
import type { Staging } from "./staging.js";
import { EBADF, EPERM } from "./uapi.js";
import type { LiveViews } from "./views.js";

const TWO_32 = 0x1_0000_0000;

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
      const { kind } = field.member as Codec<unknown, never>;
      places.set(field.name, { offset: field.offset, kind });
    }
  }
  return places;
}

/** Names of the fields that `add` takes. */
export type AddableField<V> = {
  [Name in keyof V]: V[Name] extends number | bigint ? Name : never;
}[keyof V] &
  string;

/**
 * A view of one value where it lies. Reading and writing go to the map's memory at once; nobody checks that the key is
 * still present (as with a pointer in a BPF program). After the map is closed it throws EBADF.
 */
export class ValueRef<V, VI = V> {
  readonly #holdings: Holdings;
  readonly #mem: LiveViews;
  readonly #codec: Codec<V, VI>;
  readonly #places: ReadonlyMap<string, Place>;
  readonly #isShared: boolean;
  #fields: Aimable | undefined;
  /** Since the first assignment: to ask for it each time would be a search. */
  #staging: Staging<VI> | undefined;
  /** Address of the value. */
  ptr = 0;

  /** @internal */
  constructor(holdings: Holdings, mem: LiveViews, codec: Codec<V, VI>) {
    this.#holdings = holdings;
    this.#mem = mem;
    this.#codec = codec;
    this.#places = placesOf(codec);
    this.#isShared = mem.isShared;
  }

  /** @internal Aims at another value of the same map. */
  at(ptr: number): this {
    this.ptr = ptr;
    return this;
  }

  /**
   * The value as it is now; assigning replaces it (not at once for other threads).
   * @throws {BpfError} EPERM, when it is assigned to: the map's fd is not open for writing
   * @throws {TypeError | RangeError} what is assigned does not fit the codec
   */
  get value(): V {
    if (!this.#holdings.isOpen) throw this.#closed();
    this.#mem.reach(this.ptr, this.#codec.size);
    return this.#codec.read(this.#mem, this.ptr);
  }

  set value(value: VI) {
    const { ptr } = this;
    const mem = this.#mem;
    this.#mustBeWritable();
    const staging = (this.#staging ??= this.#holdings.stagingOf(this.#codec));
    if (!staging.isLive) {
      mem.reach(ptr, staging.size);
      staging.write(value, mem, ptr);
      return;
    }
    const laid = staging.lay(value, "value");
    // The caller's code may have closed the map.
    this.#mustBeWritable();
    mem.reach(ptr, staging.size);
    staging.move(laid, mem, ptr);
  }

  /**
   * Accessors for the fields of the value, a struct: they read and write it where it lies.
   * @throws {TypeError} the value is no struct
   * @throws {BpfError} EPERM: the map's fd is not open for writing
   */
  get fields(): V {
    this.#mustBeWritable();
    this.#mem.reach(this.ptr, this.#codec.size);
    this.#fields ??= fieldsView(this.#codec);
    return this.#fields.at(this.#mem, this.ptr) as V;
  }

  /**
   * `__sync_fetch_and_add` on the value, or on a field of it: atomic between threads, wrapping around as in C.
   * @param field name of an integer field; left out when the value is an integer itself
   * @param amount an integer; negative ones subtract
   * @throws {TypeError} not an integer of 8 to 64 bits in host byte order; an amount that is none; a field at an address
   * that is no multiple of its size (packed structs)
   * @throws {BpfError} EPERM: the map's fd is not open for writing
   */
  add(field: AddableField<V>, amount: number | bigint): void;
  add(amount: V extends number | bigint ? number | bigint : never): void;
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
    this.#mustBeWritable();
    const mem = this.#mem;
    mem.reach(ptr, 8);
    switch (kind) {
      case KIND.U64:
      case KIND.I64:
      case KIND.U64_NUMBER:
      case KIND.I64_NUMBER:
        this.#add64(aligned(ptr, 8), amount);
        break;
      case KIND.U32:
      case KIND.I32:
        Atomics.add(mem.i32, aligned(ptr, 4) >>> 2, low32(amount));
        break;
      case KIND.U16:
      case KIND.I16:
        Atomics.add(mem.i16, aligned(ptr, 2) >>> 1, low32(amount));
        break;
      case KIND.U8:
      case KIND.I8:
        Atomics.add(mem.i8, ptr, low32(amount));
        break;
      default:
        throw new TypeError("add: not an integer in host byte order");
    }
  }

  /** In two halves of 32 bits, without a BigInt; on memory of several threads in the core, which can do it at once. */
  #add64(ptr: number, amount: number | bigint): void {
    const low = low32(amount) >>> 0;
    const high =
      typeof amount === "bigint"
        ? Number(BigInt.asIntN(32, amount >> 32n))
        : Math.floor(amount / TWO_32);
    if (this.#isShared) {
      this.#holdings.runtime.exports.value_add64(ptr, low, high);
      return;
    }
    const { u32 } = this.#mem;
    const at = ptr >>> 2;
    const sum = (u32[at] as number) + low;
    u32[at] = sum;
    u32[at + 1] = (u32[at + 1] as number) + high + (sum >= TWO_32 ? 1 : 0);
  }

  #mustBeWritable(): void {
    if (!this.#holdings.isOpen) throw this.#closed();
    if ((this.#holdings.mode & FMODE_WRITE) === 0) {
      throw new BpfError("bpf_map_update_elem", -EPERM, "the map's fd is not open for writing");
    }
  }

  #closed(): BpfError {
    return new BpfError("bpf_map_lookup_elem", -EBADF, "the map of the ref is closed");
  }
}

/** The lowest 32 bits of an integer, signed. */
function low32(amount: number | bigint): number {
  if (typeof amount === "bigint") return Number(BigInt.asIntN(32, amount));
  if (!Number.isSafeInteger(amount)) {
    throw new TypeError(`add: expected a safe integer or a bigint, got ${String(amount)}`);
  }
  return amount | 0;
}

function aligned(ptr: number, size: number): number {
  if (ptr % size !== 0) throw new TypeError("add: the field is not aligned (packed struct)");
  return ptr;
}

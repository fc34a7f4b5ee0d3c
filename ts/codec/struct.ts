// Structs and unions in C layout.
//
// Layout: every member at the next multiple of its alignment, the size rounded up to the largest
// alignment; packed: no gaps, alignment 1. Bit-fields follow the System V ABI (see `placeBits`).
//
// Speed: offsets, kinds and ranges of scalar fields are computed once and sit in one array of
// FieldPlan objects, so that a scalar field costs a switch and no call. Members are taken out of an
// object once, to be checked and stored (see Members). Decoded objects come from a constructor of
// the struct's own, which gives all of them one hidden class with the declared order of keys. Code
// is not generated: this works under a strict content-security policy.

import { BaseCodec, KIND, memberCodec, roundUp, shelterReads } from "./base.js";
import type { AnyCodec, CodecKind, Infer, InferInput, MemberCodec, MemoryViews } from "./base.js";
import { BitField, PlacedBits } from "./bits.js";
import { locate, Problem } from "./problem.js";
import { IntCodec, isScalar, putMembers, readScalar } from "./scalars.js";
import { readMember } from "./sequences.js";
import { viewClass } from "./struct-view.js";
import type { StructView } from "./struct-view.js";

/** Members of a struct: codecs, and bit-fields made by `bits`. */
export type StructMembers = Readonly<Record<string, AnyCodec | BitField<unknown>>>;

/** Members of a union. */
export type UnionMembers = Readonly<Record<string, AnyCodec>>;

/** What reading a member gives. */
export type MemberValue<M> = M extends BitField<infer T> ? T : Infer<M>;

/** What writing a member accepts. */
export type MemberInput<M> = M extends BitField<infer T> ? T : InferInput<M>;

/** The plain object a struct decodes to. */
export type StructValue<M> = { -readonly [Name in keyof M]: MemberValue<M[Name]> };

/** The object a struct encodes. */
export type StructInput<M> = { readonly [Name in keyof M]: MemberInput<M[Name]> };

/** The object a union decodes to: the same bytes as every member. */
export type UnionValue<M> = { -readonly [Name in keyof M]: Infer<M[Name]> };

/** The object a union encodes: exactly one member. */
export type UnionInput<M> = {
  [Name in keyof M]: { readonly [Only in Name]: InferInput<M[Only]> };
}[keyof M];

/** Options of `struct` and `union`. */
export interface LayoutOptions {
  /** `__attribute__((packed))`: no gaps between members, alignment 1. Default false. */
  readonly packed?: boolean | undefined;
}

/** Place of a member in a struct. */
export interface StructField {
  readonly name: string;
  /** Offset in bytes from the struct's start; of a bit-field, of the first byte it touches. */
  readonly offset: number;
  /** Bytes; of a bit-field, the bytes it touches. */
  readonly size: number;
  /** The member as it was given to `struct`. */
  readonly member: AnyCodec | BitField<unknown>;
  /** Bit-fields only: the first bit, counted from the lowest bit at `offset`, and the width. */
  readonly bits?: { readonly shift: number; readonly width: number };
}

/** What reading and writing need of a field. */
export interface FieldPlan {
  readonly name: string;
  readonly offset: number;
  readonly kind: CodecKind;
  readonly isScalar: boolean;
  /** Range of an integer that is a number; an empty one for other codecs. */
  readonly min: number;
  readonly max: number;
  readonly codec: MemberCodec;
}

type PlainObject = Record<string, unknown>;

/**
 * A constructor of plain objects that has its own hidden class: objects that get the same keys in
 * the same order share their shape, separately for every struct of the program.
 */
function plainObjectConstructor(): new () => PlainObject {
  // A new function at each call is the point.
  const construct = function (): void {};
  construct.prototype = Object.prototype;
  return construct as unknown as new () => PlainObject;
}

const ARRAY_INDEX = /^\d+$/;

function checkMembers(members: StructMembers, what: string): void {
  if (typeof members !== "object" || members === null) {
    throw Problem.type("an object of codecs", members).toError(what);
  }
  for (const name of Object.keys(members)) {
    // JavaScript would move such keys to the front, away from their place in the layout.
    if (ARRAY_INDEX.test(name) || name === "__proto__") {
      throw new TypeError(`${what}: ${JSON.stringify(name)} cannot be the name of a member`);
    }
  }
}

function planField(name: string, offset: number, codec: MemberCodec): FieldPlan {
  const isInt = codec instanceof IntCodec;
  const { kind } = codec;
  return {
    name,
    offset,
    kind,
    isScalar: isScalar(kind),
    min: isInt ? codec.min : Infinity,
    max: isInt ? codec.max : -Infinity,
    codec,
  };
}

/** The first bit of a bit-field that follows `position` bits of struct. */
function placeBits(field: BitField<unknown>, position: number, packed: boolean): number {
  const unit = field.base.size * 8;
  const crosses = Math.floor(position / unit) !== Math.floor((position + field.width - 1) / unit);
  return crosses && !packed ? roundUp(position, unit) : position;
}

interface Layout {
  readonly size: number;
  readonly align: number;
  readonly fields: StructField[];
  readonly plans: FieldPlan[];
}

function layOut(members: StructMembers, packed: boolean): Layout {
  const fields: StructField[] = [];
  const plans: FieldPlan[] = [];
  let position = 0; // bits
  let align = 1;
  for (const [name, member] of Object.entries(members)) {
    if (member instanceof BitField) {
      const start = placeBits(member, position, packed);
      const shift = start % 8;
      const codec = new PlacedBits(member, shift) as MemberCodec;
      const offset = (start - shift) / 8;
      const bits = { shift, width: member.width };
      fields.push({ name, offset, size: codec.size, member, bits });
      plans.push(planField(name, offset, codec));
      position = start + member.width;
      align = packed ? 1 : Math.max(align, member.base.align);
      continue;
    }
    const codec = memberCodec(member, `struct: ${name}`);
    const memberAlign = packed ? 1 : codec.align;
    const offset = roundUp(Math.ceil(position / 8), memberAlign);
    fields.push({ name, offset, size: codec.size, member });
    plans.push(planField(name, offset, codec));
    position = (offset + codec.size) * 8;
    align = Math.max(align, memberAlign);
  }
  return { size: roundUp(Math.ceil(position / 8), align), align, fields, plans };
}

/** Bytes that a writer clears first: gaps, and bytes that bit-fields share. Sorted. */
function clearedBytes(layout: Layout): number[] {
  const isWhole = Array.from({ length: layout.size }, () => false);
  for (const field of layout.fields) {
    if (field.bits === undefined) {
      isWhole.fill(true, field.offset, field.offset + field.size);
    }
  }
  return [...isWhole.keys()].filter((index) => !isWhole[index]);
}

/** Takes the members out of objects, in the order of the plans. */
class Members {
  private readonly names: readonly string[];
  /** An array to put them into. While it is lent out, by a getter that encodes as well, there is none. */
  private spare: unknown[] | undefined;

  constructor(plans: readonly FieldPlan[]) {
    this.names = plans.map(({ name }) => name);
  }

  /**
   * Objects with the members in the order of declaration and nothing else are walked by for-in: the engine then knows where
   * each member lies, while a look-up by a name that changes costs as much as the rest.
   */
  of(value: PlainObject): unknown[] {
    const { names } = this;
    const members = this.spare ?? names.map(() => undefined);
    this.spare = undefined;
    let count = 0;
    for (const name in value) {
      if (name !== names[count]) break;
      members[count++] = value[name];
    }
    for (let i = count; i < names.length; i++) members[i] = value[names[i] as string];
    return members;
  }

  giveBack(members: readonly unknown[]): void {
    this.spare = members as unknown[];
  }
}

/** A C struct; made by `struct`. */
export class StructCodec<M extends StructMembers> extends BaseCodec<
  StructValue<M>,
  StructInput<M>
> {
  /** Members in the order of their offsets. */
  readonly fields: readonly StructField[];
  readonly packed: boolean;
  /** @internal All members are scalars. */
  readonly isFlat: boolean;
  readonly #plans: readonly FieldPlan[];
  readonly #members: Members;
  readonly #cleared: readonly number[];
  readonly #construct = plainObjectConstructor();
  #View: (new () => StructView<M>) | undefined;

  constructor(members: M, options: LayoutOptions) {
    checkMembers(members, "struct");
    const packed = options.packed ?? false;
    const layout = layOut(members, packed);
    super(KIND.STRUCT, layout.size, layout.align);
    this.packed = packed;
    this.fields = layout.fields;
    this.#plans = layout.plans;
    this.isFlat = layout.plans.every(({ isScalar: isPlain }) => isPlain);
    this.#members = new Members(layout.plans);
    this.#cleared = clearedBytes(layout);
    this.#settleShape();
    shelterReads(
      this,
      layout.plans.map(({ codec }) => codec),
    );
  }

  /** Gives every key its most general representation, so that no later value changes the shape. */
  #settleShape(): void {
    const scratch = new this.#construct();
    for (const plan of this.#plans) {
      scratch[plan.name] = plan.codec instanceof IntCodec ? plan.max : undefined;
    }
  }

  /**
   * Offset of a member in bytes.
   * @throws {TypeError} no such member, or a bit-field (which has no offset of its own)
   */
  offsetof(name: keyof M & string): number {
    const field = this.fields.find((candidate) => candidate.name === name);
    if (field === undefined || field.bits !== undefined) {
      const what = field === undefined ? "no member" : "a bit-field, not a member with an offset";
      throw new TypeError(`offsetof: ${JSON.stringify(name)} is ${what} of this struct`);
    }
    return field.offset;
  }

  read(mem: MemoryViews, ptr: number): StructValue<M> {
    const out = new this.#construct();
    let name = "";
    try {
      for (const plan of this.#plans) {
        name = plan.name;
        out[name] = plan.isScalar
          ? readScalar(mem, ptr + plan.offset, plan.kind)
          : plan.codec.read(mem, ptr + plan.offset);
      }
    } catch (error) {
      throw locate(error, `.${name}`);
    }
    return out as StructValue<M>;
  }

  /**
   * Decodes into `out`, reusing it and its nested objects: nothing is allocated but bigints,
   * strings, and numbers that the engine boxes (fractions, and integers from 2^31).
   */
  readInto(mem: MemoryViews, ptr: number, out: StructValue<M>): StructValue<M> {
    const target = out as PlainObject;
    let name = "";
    try {
      for (const plan of this.#plans) {
        name = plan.name;
        target[name] = plan.isScalar
          ? readScalar(mem, ptr + plan.offset, plan.kind)
          : readMember(plan.codec, mem, ptr + plan.offset, target[name]);
      }
    } catch (error) {
      throw locate(error, `.${name}`);
    }
    return out;
  }

  check(value: unknown): Problem | undefined {
    if (typeof value !== "object" || value === null) return this.#noObject(value);
    const members = this.#members.of(value as PlainObject);
    const problem = this.#check(members);
    this.#members.giveBack(members);
    return problem;
  }

  #noObject(value: unknown): Problem {
    return Problem.type(`an object {${this.#plans.map((plan) => plan.name).join(", ")}}`, value);
  }

  #check(members: readonly unknown[]): Problem | undefined {
    const plans = this.#plans;
    for (let i = 0; i < plans.length; i++) {
      const { name, min, max, codec } = plans[i] as FieldPlan;
      const member = members[i];
      if (
        typeof member === "number" &&
        member >= min &&
        member <= max &&
        Number.isInteger(member)
      ) {
        continue;
      }
      const problem = codec.check(member);
      if (problem !== undefined) {
        return problem.within(`.${name}`);
      }
    }
    return undefined;
  }

  put(mem: MemoryViews, ptr: number, value: StructInput<M>): void {
    const members = this.#members.of(value);
    this.#put(mem, ptr, members);
    this.#members.giveBack(members);
  }

  #put(mem: MemoryViews, ptr: number, members: readonly unknown[]): void {
    const cleared = this.#cleared;
    for (let i = 0; i < cleared.length; i++) {
      mem.u8[ptr + (cleared[i] as number)] = 0;
    }
    putMembers(mem, ptr, this.#plans, members);
  }

  /** As that of the base, with one look at each member: what was checked is what is put. */
  override write(mem: MemoryViews, ptr: number, value: StructInput<M>, name = "value"): void {
    this.putTaken(mem, ptr, this.take(value, name));
  }

  /**
   * First half of `write`, in which getters of the caller's run: the members, for `putTaken`.
   * @internal
   */
  take(value: StructInput<M>, name: string): readonly unknown[] {
    if (typeof value !== "object" || value === null) throw this.#noObject(value).toError(name);
    const members = this.#members.of(value);
    const problem = this.#check(members);
    if (problem === undefined) return members;
    this.#members.giveBack(members);
    throw problem.toError(name);
  }

  /** @internal Second half of `write`: where the struct is flat, nobody's code runs any more. */
  putTaken(mem: MemoryViews, ptr: number, members: readonly unknown[]): void {
    this.#put(mem, ptr, members);
    this.#members.giveBack(members);
  }

  /**
   * A reusable object with an accessor for every member, to be aimed with `at(mem, ptr)`: reading
   * and writing members without decoding the whole struct. Members that are structs are views
   * themselves. Until it is aimed it shows a zeroed struct of its own.
   * @throws {TypeError} a member is called "at"
   */
  view(): StructView<M> {
    this.#View ??= viewClass<M>(this.#plans, this.size);
    return new this.#View();
  }
}

/**
 * A C struct as a plain object. Padding is written as zeros, so that equal keys are equal bytes.
 * @param members  codecs by name in the order of declaration; `bits(...)` for bit-fields
 * @param options  `packed`: without gaps
 * @example
 * ```ts
 * const Pair = struct({ packets: u32, bytes: u64 });
 * Pair.size; // 16
 * Pair.offsetof("bytes"); // 8
 * type Pair = Infer<typeof Pair>; // { packets: number; bytes: bigint }
 * ```
 * @throws {TypeError} a member is not a codec, or is called like an array index
 */
export function struct<const M extends StructMembers>(
  members: M,
  options: LayoutOptions = {},
): StructCodec<M> {
  return new StructCodec<M>(members, options);
}

/** A C union; made by `union`. */
export class UnionCodec<M extends UnionMembers> extends BaseCodec<UnionValue<M>, UnionInput<M>> {
  readonly #members: ReadonlyMap<string, MemberCodec>;
  readonly #construct = plainObjectConstructor();

  constructor(members: M, options: LayoutOptions) {
    checkMembers(members, "union");
    const codecs = new Map<string, MemberCodec>();
    let size = 0;
    let align = 1;
    for (const [name, member] of Object.entries(members)) {
      const codec = memberCodec(member, `union: ${name}`);
      codecs.set(name, codec);
      size = Math.max(size, codec.size);
      align = options.packed === true ? 1 : Math.max(align, codec.align);
    }
    super(KIND.OTHER, roundUp(size, align), align);
    this.#members = codecs;
    shelterReads(this, [...codecs.values()]);
  }

  read(mem: MemoryViews, ptr: number): UnionValue<M> {
    return this.readInto(mem, ptr, new this.#construct() as UnionValue<M>);
  }

  readInto(mem: MemoryViews, ptr: number, out: UnionValue<M>): UnionValue<M> {
    const target = out as PlainObject;
    for (const [name, codec] of this.#members) {
      try {
        target[name] = readMember(codec, mem, ptr, target[name]);
      } catch (error) {
        throw locate(error, `.${name}`);
      }
    }
    return out;
  }

  /** Names of the members that `value` sets. */
  #setMembers(value: object): string[] {
    return [...this.#members.keys()].filter((name) => (value as PlainObject)[name] !== undefined);
  }

  check(value: unknown): Problem | undefined {
    const expected = `an object with exactly one of ${[...this.#members.keys()].join(", ")}`;
    if (typeof value !== "object" || value === null) {
      return Problem.type(expected, value);
    }
    const [name, second] = this.#setMembers(value);
    if (name === undefined || second !== undefined) {
      return Problem.type(expected, value);
    }
    return this.#members
      .get(name)
      ?.check((value as PlainObject)[name])
      ?.within(`.${name}`);
  }

  put(mem: MemoryViews, ptr: number, value: UnionInput<M>): void {
    mem.u8.fill(0, ptr, ptr + this.size);
    for (const name of this.#setMembers(value)) {
      this.#members.get(name)?.put(mem, ptr, (value as PlainObject)[name]);
    }
  }
}

/**
 * A C union. Reading gives an object with the bytes decoded as every member; writing takes an
 * object with exactly one member and zeroes the bytes that it does not cover. Members should take any
 * bytes: `u64` rather than `u64.asNumber`, which refuses to read large numbers of other members.
 * @param members  codecs by name
 * @param options  `packed`: alignment 1
 */
export function union<const M extends UnionMembers>(
  members: M,
  options: LayoutOptions = {},
): UnionCodec<M> {
  return new UnionCodec<M>(members, options);
}

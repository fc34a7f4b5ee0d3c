// Views of structs: accessors over linear memory instead of decoded objects.
//
// One class per struct, with one getter and setter per member on its prototype. The accessors close
// over their field's offset and kind; the engine inlines them as constants where they are hot.

import { KIND, viewsOf } from "./base.js";
import type { MemoryViews } from "./base.js";
import { locate } from "./problem.js";
import { putScalar, readScalar } from "./scalars.js";
import type { FieldPlan, MemberValue, StructCodec, StructMembers } from "./struct.js";

/** The part of a view that all structs have in common. */
export interface Aimable {
  /**
   * Aims the view at the struct at byte address `ptr`. Aim again when the memory's views were
   * replaced or the address holds something else.
   * @returns the view itself
   */
  at(mem: MemoryViews, ptr: number): this;
}

/** What a view shows for a member: views of structs, and the values of all others. */
export type MemberView<M> = M extends StructCodec<infer Inner> ? StructView<Inner> : MemberValue<M>;

/** Accessors for the members of a struct; members that are structs cannot be assigned. */
export type StructView<M extends StructMembers> = Aimable & {
  -readonly [Name in keyof M as M[Name] extends StructCodec<infer _> ? never : Name]: MemberView<
    M[Name]
  >;
} & {
  readonly [Name in keyof M as M[Name] extends StructCodec<infer _> ? Name : never]: MemberView<
    M[Name]
  >;
};

type AccessorOf = (plan: FieldPlan) => PropertyDescriptor & ThisType<ViewBase>;

/** State of every view. Private names leave all other names to the struct's members. */
class ViewBase implements Aimable {
  #mem: MemoryViews;
  #ptr = 0;
  /** Views of the members that are structs, by name, made when first asked for. */
  #inner: Map<string, Aimable> | undefined;

  constructor(size: number) {
    this.#mem = viewsOf(new ArrayBuffer(size));
  }

  at(mem: MemoryViews, ptr: number): this {
    this.#mem = mem;
    this.#ptr = ptr;
    return this;
  }

  /** A member whose kind readScalar knows: neither getter nor setter allocates. */
  static readonly scalar: AccessorOf = ({ name, offset, kind, codec }) => ({
    get() {
      try {
        return readScalar(this.#mem, this.#ptr + offset, kind);
      } catch (error) {
        throw locate(error, `.${name}`);
      }
    },
    set(value: unknown) {
      const problem = codec.check(value);
      if (problem !== undefined) {
        throw problem.within(`.${name}`).toError("value");
      }
      putScalar(this.#mem, this.#ptr + offset, kind, value as number | bigint | boolean);
    },
  });

  /** A member that is decoded and encoded as a whole. */
  static readonly value: AccessorOf = ({ name, offset, codec }) => ({
    get() {
      try {
        return codec.read(this.#mem, this.#ptr + offset);
      } catch (error) {
        throw locate(error, `.${name}`);
      }
    },
    set(value: unknown) {
      codec.write(this.#mem, this.#ptr + offset, value, `value.${name}`);
    },
  });

  /** A member that is a struct: a view of its own, aimed whenever it is asked for. */
  static readonly struct: AccessorOf = ({ name, offset, codec }) => ({
    get() {
      this.#inner ??= new Map();
      let inner = this.#inner.get(name);
      if (inner === undefined) {
        inner = (codec as unknown as { view(): Aimable }).view();
        this.#inner.set(name, inner);
      }
      return inner.at(this.#mem, this.#ptr + offset);
    },
  });
}

function accessorOf(plan: FieldPlan): PropertyDescriptor {
  if (plan.kind === KIND.STRUCT) {
    return ViewBase.struct(plan);
  }
  return plan.isScalar ? ViewBase.scalar(plan) : ViewBase.value(plan);
}

/**
 * Makes the class of a struct's views.
 * @param size  of the struct, for the zeroed area that a view shows before it is aimed
 * @throws {TypeError} a member is called "at"
 */
export function viewClass<M extends StructMembers>(
  plans: readonly FieldPlan[],
  size: number,
): new () => StructView<M> {
  class View extends ViewBase {
    constructor() {
      super(size);
    }
  }
  for (const plan of plans) {
    if (plan.name === "at") {
      throw new TypeError('view: a member called "at" hides the method of the view');
    }
    Object.defineProperty(View.prototype, plan.name, {
      ...accessorOf(plan),
      enumerable: true,
      configurable: true,
    });
  }
  return View as unknown as new () => StructView<M>;
}

// Sets of kinds of BTF types: a bit for each; there are less than 32.

import {
  BTF_KIND_CONST,
  BTF_KIND_ENUM,
  BTF_KIND_ENUM64,
  BTF_KIND_RESTRICT,
  BTF_KIND_STRUCT,
  BTF_KIND_TYPEDEF,
  BTF_KIND_TYPE_TAG,
  BTF_KIND_UNION,
  BTF_KIND_VOLATILE,
} from "../ts/uapi";

export const RECORDS: u32 = (1 << BTF_KIND_STRUCT) | (1 << BTF_KIND_UNION);
export const ENUMS: u32 = (1 << BTF_KIND_ENUM) | (1 << BTF_KIND_ENUM64);
export const QUALIFIERS: u32 =
  (1 << BTF_KIND_VOLATILE) | (1 << BTF_KIND_CONST) | (1 << BTF_KIND_RESTRICT);
/** Types that stand for another. */
export const MODIFIERS: u32 = QUALIFIERS | (1 << BTF_KIND_TYPEDEF) | (1 << BTF_KIND_TYPE_TAG);

/** Is a kind in a set of kinds? */
export function isOneOf(kinds: u32, kind: u32): bool {
  return <bool>((kinds >> kind) & 1);
}

export function isModifier(kind: u32): bool {
  return isOneOf(MODIFIERS, kind);
}

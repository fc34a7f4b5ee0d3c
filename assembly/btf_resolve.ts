// What the types of a BTF blob say about each other: ids exist, sizes are known, members fit, nothing contains itself.
// Kernel: kernel/bpf/btf.c (every errno here was asked of 6.18).
//
// Types are resolved depth first, in the order of their ids. Which types a walk enters depends on where it began: behind a
// pointer only pointers and modifiers matter, inside a struct or array only structs, arrays and modifiers. So a struct may
// hold a pointer to itself; a variable's type is a beginning again. A walk that comes back to a type it is in is -EEXIST, one deeper than 32 is -E2BIG.

import {
  BTF_KIND_ARRAY,
  BTF_KIND_DATASEC,
  BTF_KIND_DECL_TAG,
  BTF_KIND_ENUM,
  BTF_KIND_ENUM64,
  BTF_KIND_FLOAT,
  BTF_KIND_FUNC,
  BTF_KIND_FUNC_PROTO,
  BTF_KIND_FWD,
  BTF_KIND_INT,
  BTF_KIND_PTR,
  BTF_KIND_STRUCT,
  BTF_KIND_TYPEDEF,
  BTF_KIND_TYPE_TAG,
  BTF_KIND_UNION,
  BTF_KIND_VAR,
  E2BIG,
  EEXIST,
  EINVAL,
  ENOMEM,
} from "../ts/uapi";
import {
  Btf,
  BtfType,
  NO_SIZE,
  btfType,
  hasKindFlag,
  isModifier,
  kindOf,
  sizeOf,
  skipModifiers,
  typeData,
  vlenOf,
} from "./btf";
import { isIdentifier } from "./btf_names";
import { allocZeroed, free } from "./kernel";

const MAX_DEPTH: u32 = 32;

const NOT_VISITED: u8 = 0;
const VISITED: u8 = 1;
const RESOLVED: u8 = 2;

const MODE_OPEN: u32 = 0;
const MODE_PTR: u32 = 1;
const MODE_AGGREGATE: u32 = 2;

/** A pass over all types. */
@unmanaged
class Walk {
  /** u8 per type: NOT_VISITED, VISITED, RESOLVED. */
  states: u32;
  depth: u32;
  mode: u32;
}

/** @returns 0 or -errno */
export function btfResolve(btf: Btf): i32 {
  const ptr = allocZeroed(offsetof<Walk>() + btf.nrTypes);
  if (ptr == 0) return -ENOMEM;
  const walk = changetype<Walk>(ptr);
  walk.states = <u32>ptr + offsetof<Walk>();
  let ret = 0;
  for (let id: u32 = 1; id < btf.nrTypes && ret == 0; id++) ret = resolveFrom(walk, btf, id);
  for (let id: u32 = 1; id < btf.nrTypes && ret == 0; id++) ret = checkTags(btf, id);
  free(ptr);
  return ret;
}

function stateOf(walk: Walk, id: u32): u8 {
  return load<u8>(walk.states + id);
}

/** One walk, then what functions need, which may begin further walks. */
function resolveFrom(walk: Walk, btf: Btf, id: u32): i32 {
  const kind = kindOf(btfType(btf, id));
  if (needsResolve(kind) && stateOf(walk, id) == NOT_VISITED) {
    const ret = startWalk(walk, btf, id);
    if (ret != 0) return ret;
  }
  return kind == BTF_KIND_FUNC_PROTO ? checkFuncProto(walk, btf, btfType(btf, id)) : 0;
}

function startWalk(walk: Walk, btf: Btf, id: u32): i32 {
  walk.depth = 0;
  walk.mode = MODE_OPEN;
  return enter(walk, btf, id);
}

function enter(walk: Walk, btf: Btf, id: u32): i32 {
  if (walk.depth == MAX_DEPTH) return -E2BIG;
  if (stateOf(walk, id) != NOT_VISITED) return -EEXIST;
  store<u8>(walk.states + id, VISITED);
  const type = btfType(btf, id);
  const kind = kindOf(type);
  if (walk.mode == MODE_OPEN) {
    if (kind == BTF_KIND_PTR) walk.mode = MODE_PTR;
    else if (isAggregate(kind)) walk.mode = MODE_AGGREGATE;
  }
  walk.depth++;
  const ret = resolveType(walk, btf, type, kind);
  walk.depth--;
  store<u8>(walk.states + id, RESOLVED);
  return ret;
}

/** Enters a type that another one needs, unless this walk ends there. */
function need(walk: Walk, btf: Btf, id: u32): i32 {
  if (id == 0 || stateOf(walk, id) == RESOLVED) return 0;
  return isSink(walk.mode, kindOf(btfType(btf, id))) ? 0 : enter(walk, btf, id);
}

function isSink(mode: u32, kind: u32): bool {
  if (mode == MODE_PTR) return !isModifier(kind) && kind != BTF_KIND_PTR;
  if (mode == MODE_AGGREGATE) return !isModifier(kind) && !isAggregate(kind);
  return !needsResolve(kind);
}

function isAggregate(kind: u32): bool {
  return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ARRAY;
}

function needsResolve(kind: u32): bool {
  if (isModifier(kind) || isAggregate(kind) || kind == BTF_KIND_PTR) return true;
  return kind == BTF_KIND_FUNC || isSourceOnly(kind);
}

/** Variables, sections and tags may be nobody's type. */
function isSourceOnly(kind: u32): bool {
  return kind == BTF_KIND_VAR || kind == BTF_KIND_DATASEC || kind == BTF_KIND_DECL_TAG;
}

function exists(btf: Btf, id: u32): bool {
  return id < btf.nrTypes;
}

/** May another type refer to this one? void may be referred to. */
function isTarget(btf: Btf, id: u32): bool {
  return exists(btf, id) && (id == 0 || !isSourceOnly(kindOf(btfType(btf, id))));
}

/** May a value have this type? Not void, a function, or only declared; modifiers are looked at later. */
function isValueTarget(btf: Btf, id: u32): bool {
  if (id == 0 || !isTarget(btf, id)) return false;
  const kind = kindOf(btfType(btf, id));
  return kind != BTF_KIND_FUNC && kind != BTF_KIND_FUNC_PROTO && kind != BTF_KIND_FWD;
}

function resolveType(walk: Walk, btf: Btf, type: BtfType, kind: u32): i32 {
  switch (kind) {
    case BTF_KIND_ARRAY:
      return resolveArray(walk, btf, type);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return resolveMembers(walk, btf, type);
    case BTF_KIND_VAR:
      return resolveVar(walk, btf, type);
    case BTF_KIND_DATASEC:
      return resolveDatasec(walk, btf, type);
    case BTF_KIND_DECL_TAG:
      return resolveDeclTag(walk, btf, type);
    case BTF_KIND_FUNC:
      return checkFunc(btf, type);
    default:
      return resolveReference(walk, btf, type);
  }
}

/**
 * Pointers and modifiers may end at void, a function or a forward declaration, which have no size. A function behind a
 * pointer must have been resolved before.
 */
function resolveReference(walk: Walk, btf: Btf, type: BtfType): i32 {
  const id = type.sizeOrType;
  if (!isTarget(btf, id)) return -EINVAL;
  const ret = need(walk, btf, id);
  if (ret != 0 || id == 0) return ret;
  if (kindOf(type) == BTF_KIND_PTR) return needPointer(walk, btf, id);
  if (stateOf(walk, id) == RESOLVED) return 0;
  return kindOf(btfType(btf, id)) == BTF_KIND_FUNC ? -EINVAL : 0;
}

/** Behind modifiers that a walk through a struct resolved may be a pointer, at which that walk ended. */
function needPointer(walk: Walk, btf: Btf, id: u32): i32 {
  const kind = kindOf(btfType(btf, id));
  if (!isModifier(kind)) {
    return kind == BTF_KIND_FUNC && stateOf(walk, id) != RESOLVED ? -EINVAL : 0;
  }
  const target = skipModifiers(btf, id);
  if (target == 0 || kindOf(btfType(btf, target)) != BTF_KIND_PTR) return 0;
  return need(walk, btf, target);
}

function resolveArray(walk: Walk, btf: Btf, type: BtfType): i32 {
  const array = typeData(type);
  const elem = load<u32>(array);
  const index = load<u32>(array, 4);
  if (!isValueTarget(btf, index)) return -EINVAL;
  let ret = need(walk, btf, index);
  if (ret != 0) return ret;
  if (!isRegularInt(btf, skipModifiers(btf, index))) return -EINVAL;
  if (!isValueTarget(btf, elem)) return -EINVAL;
  ret = need(walk, btf, elem);
  if (ret != 0) return ret;
  const elemId = skipModifiers(btf, elem);
  const size = sizeOf(btf, elemId);
  if (size == NO_SIZE) return -EINVAL;
  if (kindOf(btfType(btf, elemId)) == BTF_KIND_INT && !isRegularInt(btf, elemId)) return -EINVAL;
  return <u64>load<u32>(array, 8) * size > 0xffffffff ? -EINVAL : 0;
}

/** An int of 1, 2, 4, 8 or 16 whole bytes, whatever room it has. */
function isRegularInt(btf: Btf, id: u32): bool {
  return id != 0 && kindOf(btfType(btf, id)) == BTF_KIND_INT && isRegular(btfType(btf, id));
}

function isRegular(type: BtfType): bool {
  const data = load<u32>(typeData(type));
  const bits = data & 0xff;
  return ((data >> 16) & 0xff) == 0 && bits >= 8 && bits <= 128 && popcnt(bits) == 1;
}

function resolveVar(walk: Walk, btf: Btf, type: BtfType): i32 {
  if (!isTarget(btf, type.sizeOrType)) return -EINVAL;
  walk.mode = MODE_OPEN;
  let ret = need(walk, btf, type.sizeOrType);
  if (ret == 0) ret = needPointer(walk, btf, type.sizeOrType);
  if (ret != 0) return ret;
  return sizeOf(btf, type.sizeOrType) == NO_SIZE ? -EINVAL : 0;
}

/** The variables of a section are no larger than their room; those that come later than it are not asked. */
function resolveDatasec(walk: Walk, btf: Btf, type: BtfType): i32 {
  let at = typeData(type);
  for (let i: u32 = 0; i < vlenOf(type); i++) {
    const id = load<u32>(at);
    if (!exists(btf, id) || kindOf(btfType(btf, id)) != BTF_KIND_VAR) return -EINVAL;
    if (stateOf(walk, id) == RESOLVED) {
      if (sizeOf(btf, id) > load<u32>(at, 8)) return -EINVAL;
    } else {
      walk.mode = MODE_OPEN;
      const ret = need(walk, btf, id);
      if (ret != 0) return ret;
    }
    at += 12;
  }
  return 0;
}

/** A tag sits on a struct, union, function, variable or typedef (component -1), a member or an argument of it. */
function resolveDeclTag(walk: Walk, btf: Btf, type: BtfType): i32 {
  const id = type.sizeOrType;
  if (id == 0 || !exists(btf, id)) return -EINVAL;
  const target = btfType(btf, id);
  const kind = kindOf(target);
  const isRecord = kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
  const isFunc = kind == BTF_KIND_FUNC;
  if (!isRecord && !isFunc && kind != BTF_KIND_VAR && kind != BTF_KIND_TYPEDEF) return -EINVAL;
  const ret = need(walk, btf, id);
  if (ret != 0) return ret;
  const component = load<i32>(typeData(type));
  if (component == -1) return 0;
  if (isRecord) return <u32>component < vlenOf(target) ? 0 : -EINVAL;
  if (!isFunc || !isFuncProto(btf, target.sizeOrType)) return -EINVAL;
  return <u32>component < vlenOf(btfType(btf, target.sizeOrType)) ? 0 : -EINVAL;
}

// ---- members --------------------------------------------------------------------------------------------------------

function resolveMembers(walk: Walk, btf: Btf, type: BtfType): i32 {
  let at = typeData(type);
  for (let i: u32 = 0; i < vlenOf(type); i++) {
    const id = load<u32>(at, 4);
    if (!isValueTarget(btf, id)) return -EINVAL;
    const ret = need(walk, btf, id);
    if (ret != 0) return ret;
    const raw = load<u32>(at, 8);
    const isFlagged = hasKindFlag(type);
    const offset = isFlagged ? raw & 0xffffff : raw;
    const bits = isFlagged ? raw >> 24 : 0;
    if (!memberFits(btf, type.sizeOrType, skipModifiers(btf, id), offset, bits, isFlagged))
      return -EINVAL;
    at += 12;
  }
  return 0;
}

/**
 * @param offset    in bits
 * @param bits      size of the bit field; 0 when it is none
 * @param isFlagged the struct may have bit fields (kind_flag)
 */
function memberFits(
  btf: Btf,
  structSize: u32,
  id: u32,
  offset: u32,
  bits: u32,
  isFlagged: bool,
): bool {
  if (id == 0) return false;
  const type = btfType(btf, id);
  const kind = kindOf(type);
  if (kind == BTF_KIND_INT) return intFits(type, structSize, offset, bits, isFlagged);
  if (isFlagged && (kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)) {
    if (bits == 0 && offset & 7) return false;
    const taken = bits == 0 ? 32 : bits;
    return taken <= 32 && (<u64>offset + taken + 7) / 8 <= structSize;
  }
  if (bits != 0 || offset & 7) return false;
  const size = kind == BTF_KIND_PTR ? 8 : sizeOf(btf, id);
  if (size == NO_SIZE) return false;
  if (kind == BTF_KIND_FLOAT && (offset / 8) % min<u32>(8, <u32>size) != 0) return false;
  return <u64>(offset / 8) + size <= structSize;
}

function intFits(type: BtfType, structSize: u32, offset: u32, bits: u32, isFlagged: bool): bool {
  const data = load<u32>(typeData(type));
  let taken = data & 0xff;
  let from = <u64>offset;
  if (isFlagged) {
    if (!isRegular(type) || bits > taken) return false;
    if (bits == 0 && offset & 7) return false;
    if (bits != 0) taken = bits;
  } else {
    from += (data >> 16) & 0xff;
  }
  // The value with the bits in front of it in its first byte.
  const copied = taken + (<u32>from & 7);
  return copied <= 128 && from / 8 + (copied + 7) / 8 <= structSize;
}

// ---- functions and tags ---------------------------------------------------------------------------------------------

function isFuncProto(btf: Btf, id: u32): bool {
  return id != 0 && exists(btf, id) && kindOf(btfType(btf, id)) == BTF_KIND_FUNC_PROTO;
}

/** A function refers to a prototype whose arguments have names (but for the dots of a variadic one). */
function checkFunc(btf: Btf, type: BtfType): i32 {
  if (!isFuncProto(btf, type.sizeOrType)) return -EINVAL;
  const proto = btfType(btf, type.sizeOrType);
  let at = typeData(proto);
  for (let i: u32 = 0; i < vlenOf(proto); i++) {
    if (load<u32>(at) == 0 && load<u32>(at, 4) != 0) return -EINVAL;
    at += 8;
  }
  return 0;
}

/** Behind a prototype: its arguments {name, type}. The last may be void without a name: "...". */
function checkFuncProto(walk: Walk, btf: Btf, type: BtfType): i32 {
  let ret = type.sizeOrType == 0 ? 0 : checkSized(walk, btf, type.sizeOrType);
  if (ret != 0) return ret;
  let count = vlenOf(type);
  let at = typeData(type);
  const last = at + (count - 1) * 8;
  if (count != 0 && load<u32>(last, 4) == 0) {
    if (load<u32>(last) != 0) return -EINVAL;
    count--;
  }
  for (let i: u32 = 0; i < count; i++) {
    const name = load<u32>(at);
    const id = load<u32>(at, 4);
    if (id == 0 || (name != 0 && !isIdentifier(btf, name))) return -EINVAL;
    ret = checkSized(walk, btf, id);
    if (ret != 0) return ret;
    at += 8;
  }
  return 0;
}

function checkSized(walk: Walk, btf: Btf, id: u32): i32 {
  if (!isTarget(btf, id)) return -EINVAL;
  if (needsResolve(kindOf(btfType(btf, id))) && stateOf(walk, id) == NOT_VISITED) {
    const ret = startWalk(walk, btf, id);
    if (ret != 0) return ret;
  }
  return sizeOf(btf, id) == NO_SIZE ? -EINVAL : 0;
}

/** In a chain of modifiers the type tags come first. */
function checkTags(btf: Btf, id: u32): i32 {
  let inTags = true;
  while (id != 0 && isModifier(kindOf(btfType(btf, id)))) {
    const isTag = kindOf(btfType(btf, id)) == BTF_KIND_TYPE_TAG;
    if (isTag && !inTags) return -EINVAL;
    inTags = isTag;
    id = btfType(btf, id).sizeOrType;
  }
  return 0;
}

// What the types of a BTF blob say about each other: ids exist, sizes are known, members fit, nothing contains itself.
// Kernel: kernel/bpf/btf.c (every errno here was asked of 6.18).
//
// Types are resolved depth first, in the order of their ids. Which types a walk enters depends on where it began: behind a
// pointer only pointers and modifiers matter, inside a struct or array only structs, arrays and modifiers. So a struct may
// hold a pointer to itself. At a variable's type a walk begins anew. One that comes back to a type it is in is -EEXIST, one
// that is deeper than 32 types is -E2BIG.

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
  BTF_KIND_UNKN,
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
  kindAt,
  kindOf,
  memberBits,
  partsEnd,
  sizeOf,
  skipModifiers,
  typeData,
  vlenOf,
} from "./btf";
import { RECORDS, isModifier, isOneOf } from "./btf_kinds";
import { isOptionalIdentifier } from "./btf_names";
import { allocZeroed, free } from "./kernel";

const MAX_DEPTH: u32 = 32;

const NOT_VISITED: u8 = 0;
const VISITED: u8 = 1;
const RESOLVED: u8 = 2;

const AGGREGATES: u32 = RECORDS | (1 << BTF_KIND_ARRAY);
/** Variables, sections and tags may be nobody's type. */
const SOURCES: u32 = (1 << BTF_KIND_VAR) | (1 << BTF_KIND_DATASEC) | (1 << BTF_KIND_DECL_TAG);
/** What a walk enters, beside modifiers. */
const TO_RESOLVE: u32 = AGGREGATES | SOURCES | (1 << BTF_KIND_PTR) | (1 << BTF_KIND_FUNC);
/** What has no value. */
const VALUELESS: u32 =
  (1 << BTF_KIND_UNKN) | (1 << BTF_KIND_FUNC) | (1 << BTF_KIND_FUNC_PROTO) | (1 << BTF_KIND_FWD);
/** What a tag may sit on. */
const TAGGABLE: u32 =
  RECORDS | (1 << BTF_KIND_FUNC) | (1 << BTF_KIND_VAR) | (1 << BTF_KIND_TYPEDEF);

const MODE_OPEN: u32 = 0;
const MODE_PTR: u32 = 1;
const MODE_AGGREGATE: u32 = 2;

/** A pass over all types. */
@unmanaged
class Walk {
  depth: u32;
  mode: u32;
}
/** Behind the fields, u8 per type: NOT_VISITED, VISITED, RESOLVED. */
const STATES: u32 = offsetof<Walk>();

/** @returns 0 or -errno */
export function btfResolve(btf: Btf): i32 {
  const ptr = allocZeroed(STATES + btf.nrTypes);
  if (ptr == 0) return -ENOMEM;
  const walk = changetype<Walk>(ptr);
  let ret = 0;
  for (let id: u32 = 1; id < btf.nrTypes && ret == 0; id++) ret = resolveFrom(walk, btf, id);
  for (let id: u32 = 1; id < btf.nrTypes && ret == 0; id++) ret = checkTags(btf, id);
  free(ptr);
  return ret;
}

function stateOf(walk: Walk, id: u32): u8 {
  return load<u8>(changetype<usize>(walk) + id, STATES);
}

/** One walk, then what functions need, which may begin further walks. */
function resolveFrom(walk: Walk, btf: Btf, id: u32): i32 {
  const kind = kindAt(btf, id);
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
  store<u8>(changetype<usize>(walk) + id, VISITED, STATES);
  const type = btfType(btf, id);
  const kind = kindOf(type);
  if (walk.mode == MODE_OPEN) {
    if (kind == BTF_KIND_PTR) walk.mode = MODE_PTR;
    else if (isOneOf(AGGREGATES, kind)) walk.mode = MODE_AGGREGATE;
  }
  walk.depth++;
  const ret = resolveType(walk, btf, type, kind);
  walk.depth--;
  store<u8>(changetype<usize>(walk) + id, RESOLVED, STATES);
  return ret;
}

/** Enters a type that another one needs, unless this walk ends there. */
function need(walk: Walk, btf: Btf, id: u32): i32 {
  if (stateOf(walk, id) == RESOLVED) return 0;
  return isSink(walk.mode, kindAt(btf, id)) ? 0 : enter(walk, btf, id);
}

/** Enters the type of a value. */
function needValue(walk: Walk, btf: Btf, id: u32): i32 {
  return isValueTarget(btf, id) ? need(walk, btf, id) : -EINVAL;
}

/** Does a walk end at types of this kind? */
function isSink(mode: u32, kind: u32): bool {
  if (isModifier(kind)) return false;
  if (mode == MODE_PTR) return kind != BTF_KIND_PTR;
  return !isOneOf(mode == MODE_AGGREGATE ? AGGREGATES : TO_RESOLVE, kind);
}

function needsResolve(kind: u32): bool {
  return isModifier(kind) || isOneOf(TO_RESOLVE, kind);
}

function exists(btf: Btf, id: u32): bool {
  return id < btf.nrTypes;
}

/** May another type refer to this one? void may be referred to. */
function isTarget(btf: Btf, id: u32): bool {
  return exists(btf, id) && !isOneOf(SOURCES, kindAt(btf, id));
}

/** May a value have this type? Not void, a function, or only declared; modifiers are looked at later. */
function isValueTarget(btf: Btf, id: u32): bool {
  return isTarget(btf, id) && !isOneOf(VALUELESS, kindAt(btf, id));
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
  if (ret != 0) return ret;
  if (kindOf(type) == BTF_KIND_PTR) return needPointer(walk, btf, id);
  if (stateOf(walk, id) == RESOLVED) return 0;
  return kindAt(btf, id) == BTF_KIND_FUNC ? -EINVAL : 0;
}

/** Behind modifiers that a walk through a struct resolved may be a pointer, at which that walk ended. */
function needPointer(walk: Walk, btf: Btf, id: u32): i32 {
  const kind = kindAt(btf, id);
  if (!isModifier(kind)) {
    return kind == BTF_KIND_FUNC && stateOf(walk, id) != RESOLVED ? -EINVAL : 0;
  }
  const target = skipModifiers(btf, id);
  return kindAt(btf, target) == BTF_KIND_PTR ? need(walk, btf, target) : 0;
}

function resolveArray(walk: Walk, btf: Btf, type: BtfType): i32 {
  const array = typeData(type);
  const elem = load<u32>(array);
  const index = load<u32>(array, 4);
  let ret = needValue(walk, btf, index);
  if (ret != 0) return ret;
  if (!isRegularInt(btf, skipModifiers(btf, index))) return -EINVAL;
  ret = needValue(walk, btf, elem);
  if (ret != 0) return ret;
  const elemId = skipModifiers(btf, elem);
  const size = sizeOf(btf, elemId);
  if (size == NO_SIZE) return -EINVAL;
  if (kindAt(btf, elemId) == BTF_KIND_INT && !isRegularInt(btf, elemId)) return -EINVAL;
  return <u64>load<u32>(array, 8) * size > 0xffffffff ? -EINVAL : 0;
}

/** An int of 1, 2, 4, 8 or 16 whole bytes, whatever room it has. */
function isRegularInt(btf: Btf, id: u32): bool {
  return kindAt(btf, id) == BTF_KIND_INT && isRegular(btfType(btf, id));
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
  const end = partsEnd(type, 12);
  for (let at = typeData(type); at < end; at += 12) {
    const id = load<u32>(at);
    if (!exists(btf, id) || kindAt(btf, id) != BTF_KIND_VAR) return -EINVAL;
    if (stateOf(walk, id) == RESOLVED) {
      if (sizeOf(btf, id) > load<u32>(at, 8)) return -EINVAL;
    } else {
      walk.mode = MODE_OPEN;
      const ret = need(walk, btf, id);
      if (ret != 0) return ret;
    }
  }
  return 0;
}

/** A tag sits on a struct, union, function, variable or typedef (component -1), a member or an argument of it. */
function resolveDeclTag(walk: Walk, btf: Btf, type: BtfType): i32 {
  const id = type.sizeOrType;
  if (!exists(btf, id)) return -EINVAL;
  const target = btfType(btf, id);
  const kind = kindOf(target);
  if (!isOneOf(TAGGABLE, kind)) return -EINVAL;
  const ret = need(walk, btf, id);
  if (ret != 0) return ret;
  const component = load<i32>(typeData(type));
  if (component == -1) return 0;
  let parts = target;
  if (!isOneOf(RECORDS, kind)) {
    if (kind != BTF_KIND_FUNC || !isFuncProto(btf, target.sizeOrType)) return -EINVAL;
    parts = btfType(btf, target.sizeOrType);
  }
  return <u32>component < vlenOf(parts) ? 0 : -EINVAL;
}

// ---- members --------------------------------------------------------------------------------------------------------

function resolveMembers(walk: Walk, btf: Btf, type: BtfType): i32 {
  const isFlagged = hasKindFlag(type);
  const end = partsEnd(type, 12);
  for (let at = typeData(type); at < end; at += 12) {
    const id = load<u32>(at, 4);
    const ret = needValue(walk, btf, id);
    if (ret != 0) return ret;
    const offset = memberBits(type, at);
    const bits: u32 = isFlagged ? load<u8>(at, 11) : 0;
    if (!memberFits(btf, type.sizeOrType, skipModifiers(btf, id), offset, bits, isFlagged))
      return -EINVAL;
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
  const type = btfType(btf, id);
  const kind = kindOf(type);
  if (kind == BTF_KIND_INT) return intFits(type, structSize, offset, bits, isFlagged);
  if (isFlagged && (kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)) {
    if (bits == 0 && offset & 7) return false;
    const taken: u32 = bits == 0 ? 32 : bits;
    return taken <= 32 && (offset + taken + 7) / 8 <= structSize;
  }
  if (bits != 0 || offset & 7) return false;
  const size = sizeOf(btf, id);
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
  return exists(btf, id) && kindAt(btf, id) == BTF_KIND_FUNC_PROTO;
}

/** A function refers to a prototype whose arguments have names (but for the dots of a variadic one). */
function checkFunc(btf: Btf, type: BtfType): i32 {
  if (!isFuncProto(btf, type.sizeOrType)) return -EINVAL;
  const proto = btfType(btf, type.sizeOrType);
  const end = partsEnd(proto, 8);
  for (let at = typeData(proto); at < end; at += 8) {
    if (load<u32>(at) == 0 && load<u32>(at, 4) != 0) return -EINVAL;
  }
  return 0;
}

/** Behind a prototype: its arguments {name, type}. The last may be void without a name: "...". */
function checkFuncProto(walk: Walk, btf: Btf, type: BtfType): i32 {
  let ret = type.sizeOrType == 0 ? 0 : checkSized(walk, btf, type.sizeOrType);
  if (ret != 0) return ret;
  let end = partsEnd(type, 8);
  const last = end - 8;
  if (vlenOf(type) != 0 && load<u32>(last, 4) == 0) {
    if (load<u32>(last) != 0) return -EINVAL;
    end = last;
  }
  for (let at = typeData(type); at < end; at += 8) {
    if (!isOptionalIdentifier(btf, load<u32>(at))) return -EINVAL;
    ret = checkSized(walk, btf, load<u32>(at, 4));
    if (ret != 0) return ret;
  }
  return 0;
}

function checkSized(walk: Walk, btf: Btf, id: u32): i32 {
  if (!isTarget(btf, id)) return -EINVAL;
  if (needsResolve(kindAt(btf, id)) && stateOf(walk, id) == NOT_VISITED) {
    const ret = startWalk(walk, btf, id);
    if (ret != 0) return ret;
  }
  return sizeOf(btf, id) == NO_SIZE ? -EINVAL : 0;
}

/** In a chain of modifiers the type tags come first. */
function checkTags(btf: Btf, id: u32): i32 {
  let inTags = true;
  while (isModifier(kindAt(btf, id))) {
    const isTag = kindAt(btf, id) == BTF_KIND_TYPE_TAG;
    if (isTag && !inTags) return -EINVAL;
    inTags = isTag;
    id = btfType(btf, id).sizeOrType;
  }
  return 0;
}

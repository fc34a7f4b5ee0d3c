// Fields of a value that are more than bytes: locks, timers, lists, kernel pointers. They are recognised by the name of
// their struct, or by the type tag of a pointer. Kernel: kernel/bpf/btf.c (behaviour asked of 6.18).
//
// Fields are looked for in the members of a struct (or the variables of a section), in structs inside it, and in arrays. A
// member of the right name but with another size, or not aligned in the struct it is a member of, is no such field.
//
// The kernel looks into a struct anew wherever it comes upon it: 30 structs of one byte, each of them four times in the next
// one at the same offset, would keep it busy for years. Here a struct without fields is passed over the next time.

import {
  BTF_KIND_ARRAY,
  BTF_KIND_DATASEC,
  BTF_KIND_DECL_TAG,
  BTF_KIND_PTR,
  BTF_KIND_STRUCT,
  BTF_KIND_TYPE_TAG,
  E2BIG,
  EFAULT,
  EINVAL,
  ENOMEM,
} from "../ts/uapi";
import {
  Btf,
  BtfType,
  btfType,
  kindAt,
  kindOf,
  memberBits,
  partsEnd,
  sizeOf,
  skipModifiers,
  typeData,
  vlenOf,
} from "./btf";
import { SCRATCH_FIELDS, allocZeroed, free, scratchPtr } from "./kernel";

export const FIELD_SPIN_LOCK: u32 = 1;
const FIELD_RES_SPIN_LOCK: u32 = 2;
const FIELD_TIMER: u32 = 4;
const FIELD_WORKQUEUE: u32 = 8;
const FIELD_TASK_WORK: u32 = 16;
const FIELD_LIST_HEAD: u32 = 32;
const FIELD_LIST_NODE: u32 = 64;
const FIELD_RB_ROOT: u32 = 128;
const FIELD_RB_NODE: u32 = 256;
const FIELD_REFCOUNT: u32 = 512;
const FIELD_KPTR: u32 = 1024;
const FIELD_UPTR: u32 = 2048;

/** A struct has at most one field of each of these kinds among its own members. */
const FIELDS_UNIQUE: u32 =
  FIELD_SPIN_LOCK | FIELD_RES_SPIN_LOCK | FIELD_TIMER | FIELD_WORKQUEUE | FIELD_TASK_WORK;
const FIELDS_4_BYTES: u32 = FIELD_SPIN_LOCK | FIELD_RES_SPIN_LOCK | FIELD_REFCOUNT;
const FIELDS_8_BYTES: u32 = FIELD_TASK_WORK | FIELD_KPTR | FIELD_UPTR;
/** Fields of values of maps. */
export const FIELDS_OF_MAPS: u32 = ~(FIELD_LIST_NODE | FIELD_RB_NODE);
/** Structs that have one of these among their members are searched for FIELDS_OF_OBJECTS when the BTF is loaded. */
const FIELDS_CHECKED: u32 =
  FIELD_SPIN_LOCK |
  FIELD_LIST_HEAD |
  FIELD_LIST_NODE |
  FIELD_RB_ROOT |
  FIELD_RB_NODE |
  FIELD_REFCOUNT |
  FIELD_KPTR;
const FIELDS_OF_OBJECTS: u32 = FIELDS_CHECKED | FIELD_RES_SPIN_LOCK;
const FIELDS_MAX: u32 = 11;
/** Structs inside one another, and arrays of arrays. */
const NESTING_MAX: u32 = 32;

/** What findFields found. */
@unmanaged
export class Fields {
  /** FIELD_* bits. */
  kinds: u32;
  count: u32;
  /** Offset of the spin lock, bytes; -1 when there is none. */
  lockOffset: i32;
  /** During a search: the table of structs without fields (barrenMark), 0 as long as there is none. */
  barren: u32;
}

export function foundFields(): Fields {
  return changetype<Fields>(scratchPtr() + SCRATCH_FIELDS);
}

/**
 * Looks for the fields of a value type, which are in foundFields() then. A type that is no struct or section has none.
 * @param mask FIELD_* bits: others are plain bytes
 * @returns 0; -E2BIG too many, too deep, or two of a kind that may be there once; -EINVAL; -ENOMEM
 */
export function findFields(btf: Btf, id: u32, mask: u32): i32 {
  const fields = foundFields();
  fields.barren = 0;
  const ret = search(btf, id, mask, fields);
  free(fields.barren);
  return ret;
}

function search(btf: Btf, id: u32, mask: u32, fields: Fields): i32 {
  fields.kinds = 0;
  fields.count = 0;
  fields.lockOffset = -1;
  const kind = kindAt(btf, id);
  if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_DATASEC) return 0;
  const ret = findIn(btf, id, 0, mask, fields, 0);
  if (ret != 0) return ret;
  const both = FIELD_SPIN_LOCK | FIELD_RES_SPIN_LOCK;
  return (fields.kinds & both) == both ? -EINVAL : 0;
}

/** The check of a load: a struct that has special members has fields. */
export function checkStructMetas(btf: Btf): i32 {
  const fields = foundFields();
  fields.barren = 0;
  let ret = 0;
  for (let id: u32 = 1; id < btf.nrTypes && ret == 0; id++) {
    if (!isStruct(btf, id) || !hasSpecialMember(btf, btfType(btf, id))) continue;
    ret = search(btf, id, FIELDS_OF_OBJECTS, fields);
    if (ret == 0 && fields.count == 0) ret = -EFAULT;
  }
  free(fields.barren);
  return ret;
}

function hasSpecialMember(btf: Btf, type: BtfType): bool {
  const end = partsEnd(type, 12);
  for (let at = typeData(type); at < end; at += 12) {
    const id = load<u32>(at, 4);
    const kind = fieldKind(btf, id);
    if (kind == FIELD_KPTR ? isStruct(btf, pointee(btf, id)) : (kind & FIELDS_CHECKED) != 0)
      return true;
  }
  return false;
}

function findIn(btf: Btf, id: u32, base: u32, mask: u32, fields: Fields, level: u32): i32 {
  if (level == NESTING_MAX) return -E2BIG;
  const type = btfType(btf, id);
  const isSection = kindOf(type) == BTF_KIND_DATASEC;
  let seen: u32 = 0;
  let at = typeData(type);
  for (let index: u32 = 0; index < vlenOf(type); index++) {
    const member = memberType(btf, at, isSection);
    let elem = member;
    let count: u32 = 1;
    for (let depth: u32 = 1; kindAt(btf, elem) == BTF_KIND_ARRAY; depth++) {
      if (depth == NESTING_MAX) return -E2BIG;
      const array = typeData(btfType(btf, elem));
      elem = load<u32>(array);
      count *= load<u32>(array, 8);
    }
    // Bit-fields between bytes: the kernel looks at no more of a struct that has one.
    if (!isSection && memberBits(type, at) & 7) return -EINVAL;
    const offset = memberOffset(type, at, isSection);
    const room = isSection ? load<u32>(at, 8) : <u32>sizeOf(btf, member);
    at += 12;
    if (count == 0) continue;
    const kind = fieldKind(btf, elem) & mask;
    let ret = 0;
    if (kind == 0) {
      if (!isStruct(btf, elem)) continue;
      ret = findInside(btf, elem, base + offset, count, mask, fields, level);
    } else {
      if (kind & FIELDS_UNIQUE && (count > 1 || seen & kind)) return -E2BIG;
      seen |= kind;
      if (!isPlaced(btf, elem, kind, offset, count, room)) continue;
      ret = addField(btf, fields, kind, base + offset, count);
      const tagged = isSection ? load<u32>(at - 12) : id;
      const isHead = (kind & (FIELD_LIST_HEAD | FIELD_RB_ROOT)) != 0;
      if (ret == 0 && isHead && !saysContents(btf, tagged, isSection ? -1 : index)) ret = -EINVAL;
      if (ret == 0 && kind & (FIELD_KPTR | FIELD_UPTR) && !isStruct(btf, pointee(btf, elem)))
        ret = -EINVAL;
    }
    if (ret != 0) return ret;
  }
  return 0;
}

/** findIn for a struct in a struct, which is there count times. */
function findInside(
  btf: Btf,
  id: u32,
  offset: u32,
  count: u32,
  mask: u32,
  fields: Fields,
  level: u32,
): i32 {
  const mark = barrenMark(btf, fields, id);
  if (mark == 0) return -ENOMEM;
  if (load<u8>(mark) > <u8>level) return 0;
  const kinds = fields.kinds;
  const before = fields.count;
  fields.kinds = 0;
  let ret = findIn(btf, id, offset, mask, fields, level + 1);
  if (ret == 0 && fields.count == before) store<u8>(mark, <u8>(level + 1));
  if (ret == 0) ret = repeat(fields, before, count);
  fields.kinds |= kinds;
  return ret;
}

/**
 * A struct's byte in the table `barren`: the deepest level at which it was found to have no fields, plus 1; 0: not searched
 * yet. At a deeper level the search could end with too many levels instead.
 * @returns its address, 0 when out of memory
 */
function barrenMark(btf: Btf, fields: Fields, id: u32): usize {
  if (fields.barren == 0) fields.barren = <u32>allocZeroed(btf.nrTypes);
  return fields.barren == 0 ? 0 : fields.barren + id;
}

/** The fields of a struct that is the element of an array, count times. */
function repeat(fields: Fields, before: u32, count: u32): i32 {
  const found = fields.count - before;
  if (count > 1 && fields.kinds & FIELDS_UNIQUE) return -E2BIG;
  if (<u64>before + <u64>found * count > FIELDS_MAX) return -E2BIG;
  fields.count = before + found * count;
  return 0;
}

function addField(btf: Btf, fields: Fields, kind: u32, offset: u32, count: u32): i32 {
  if (<u64>fields.count + count > FIELDS_MAX) return -E2BIG;
  fields.count += count;
  fields.kinds |= kind;
  if (kind == FIELD_SPIN_LOCK) fields.lockOffset = offset;
  return 0;
}

/** Has the field its size, and is it aligned? */
function isPlaced(btf: Btf, elem: u32, kind: u32, offset: u32, count: u32, room: u32): bool {
  const size = fieldSize(kind);
  const align: u32 = kind & FIELDS_4_BYTES ? 4 : 8;
  return offset % align == 0 && sizeOf(btf, elem) == size && room == size * count;
}

function fieldSize(kind: u32): u32 {
  if (kind & FIELDS_4_BYTES) return 4;
  if (kind & FIELDS_8_BYTES) return 8;
  return kind == FIELD_LIST_NODE ? 24 : kind == FIELD_RB_NODE ? 32 : 16;
}

function memberType(btf: Btf, at: usize, isSection: bool): u32 {
  return isSection ? btfType(btf, load<u32>(at)).sizeOrType : load<u32>(at, 4);
}

/** Bytes from the start of the struct or section; a bit field is never special. */
function memberOffset(type: BtfType, at: usize, isSection: bool): u32 {
  return isSection ? load<u32>(at, 4) : memberBits(type, at) / 8;
}

function isStruct(btf: Btf, id: u32): bool {
  return kindAt(btf, id) == BTF_KIND_STRUCT;
}

/** What a tagged pointer points to. */
function pointee(btf: Btf, id: u32): u32 {
  return skipModifiers(btf, btfType(btf, id).sizeOrType);
}

/** Is the root of a list or tree tagged "contains:..."? */
function saysContents(btf: Btf, id: u32, component: i32): bool {
  for (let tag: u32 = 1; tag < btf.nrTypes; tag++) {
    const type = btfType(btf, tag);
    if (kindOf(type) != BTF_KIND_DECL_TAG || type.sizeOrType != id) continue;
    if (load<i32>(typeData(type)) != component) continue;
    const text = btf.strings + type.nameOff;
    // "contains:"
    if (load<u64>(text) == 0x736e6961746e6f63 && load<u8>(text, 8) == 0x3a) return true;
  }
  return false;
}

// ---- names ----------------------------------------------------------------------------------------------------------

/** FIELD_* of a type: a struct of a special name, or a pointer with a special tag; 0 for others. */
function fieldKind(btf: Btf, id: u32): u32 {
  const type = btfType(btf, id);
  if (kindOf(type) == BTF_KIND_STRUCT) return structKind(btf.strings + type.nameOff);
  if (kindOf(type) != BTF_KIND_PTR) return 0;
  const tag = btfType(btf, type.sizeOrType);
  if (kindOf(tag) != BTF_KIND_TYPE_TAG) return 0;
  // A second tag makes it none of these.
  if (kindAt(btf, tag.sizeOrType) == BTF_KIND_TYPE_TAG) return 0;
  return tagKind(btf.strings + tag.nameOff);
}

/** 8 bytes of a name, zeros behind its end. */
function nameWord(name: usize): u64 {
  let word: u64 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    const c = load<u8>(name + i);
    if (c == 0) break;
    word |= (<u64>c) << (i * 8);
  }
  return word;
}

/** The 8 bytes behind the head; a name that ends there has none. */
function tailWord(name: usize, head: u64): u64 {
  return head >> 56 == 0 ? 0 : nameWord(name + 8);
}

/** Names as little-endian words: constants of strings would need a data segment. */
function structKind(name: usize): u32 {
  // bpf_
  if (load<u32>(name) != 0x5f667062) return 0;
  const head = nameWord(name + 4);
  const tail = tailWord(name + 4, head);
  // spin_loc k
  if (head == 0x636f6c5f6e697073 && tail == 0x6b) return FIELD_SPIN_LOCK;
  // res_spin _lock
  if (head == 0x6e6970735f736572 && tail == 0x6b636f6c5f) return FIELD_RES_SPIN_LOCK;
  // timer
  if (head == 0x72656d6974) return FIELD_TIMER;
  // wq
  if (head == 0x7177) return FIELD_WORKQUEUE;
  // task_wor k
  if (head == 0x726f775f6b736174 && tail == 0x6b) return FIELD_TASK_WORK;
  // list_hea d
  if (head == 0x6165685f7473696c && tail == 0x64) return FIELD_LIST_HEAD;
  // list_nod e
  if (head == 0x646f6e5f7473696c && tail == 0x65) return FIELD_LIST_NODE;
  // rb_root
  if (head == 0x746f6f725f6272) return FIELD_RB_ROOT;
  // rb_node
  if (head == 0x65646f6e5f6272) return FIELD_RB_NODE;
  // refcount
  if (head == 0x746e756f63666572 && tail == 0) return FIELD_REFCOUNT;
  return 0;
}

function tagKind(name: usize): u32 {
  const head = nameWord(name);
  const tail = tailWord(name, head);
  // kptr
  if (head == 0x7274706b) return FIELD_KPTR;
  // kptr_unt rusted
  if (head == 0x746e755f7274706b && tail == 0x646574737572) return FIELD_KPTR;
  // percpu_k ptr
  if (head == 0x6b5f757063726570 && tail == 0x727470) return FIELD_KPTR;
  // uptr
  if (head == 0x72747075) return FIELD_UPTR;
  return 0;
}

// Is a BTF blob well-formed? Three passes: the header and its sections, every type by itself, and what types say about each
// other. Kernel: kernel/bpf/btf.c (every errno here was asked of 6.18); format: Documentation/bpf/btf.rst.
//
// Almost everything is -EINVAL. The others: -ENOTSUPP (version, flags, combined int encodings), -E2BIG (header longer than
// known, too many types, more than 32 types deep), -EEXIST (a type that contains itself).

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
  EINVAL,
  ENOTSUPP,
} from "../ts/uapi";
import { Btf, BtfType, hasKindFlag, kindOf, memberBits, partsEnd, typeData, vlenOf } from "./btf";
import { ENUMS, MODIFIERS, QUALIFIERS, RECORDS, isOneOf } from "./btf_kinds";
import { checkStructMetas } from "./btf_fields";
import { hasText, isIdentifier, isName, isOptionalIdentifier, isPrintable } from "./btf_names";
import { btfResolve } from "./btf_resolve";
import { SCRATCH_BTF_HEADER, scratchPtr } from "./kernel";
import { copyStruct } from "./uaccess";

const BTF_MAGIC: u32 = 0xeb9f;
const HEADER_SIZE: u32 = 24;
const TYPE_SIZE: u32 = 12;
/** Largest type id, largest offset into the strings. */
const BTF_MAX_TYPE: u32 = 0xfffff;
const BTF_MAX_NAME_OFFSET: u32 = 0xffffff;
/** info: vlen, kind, kind_flag; the other bits must be zero. */
const INFO_MASK: u32 = 0x9f00ffff;
const INT_MASK: u32 = 0x0fffffff;
const INT_BITS_MAX: u32 = 128;
/** None, signed, char, bool. */
const INT_ENCODINGS: u32 = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 4);
const FLOAT_SIZES: u32 = (1 << 2) | (1 << 4) | (1 << 8) | (1 << 12) | (1 << 16);

/** struct btf_header. Sections are relative to its end. */
@unmanaged
class BtfHeader {
  magic: u16;
  version: u8;
  flags: u8;
  hdrLen: u32;
  typeOff: u32;
  typeLen: u32;
  strOff: u32;
  strLen: u32;
}
if (offsetof<BtfHeader>("strLen") != 20) ERROR("BtfHeader mirrors struct btf_header");

/** Checks btf.data and fills in the tables. @returns 0 or -errno */
export function btfVerify(btf: Btf): i32 {
  let ret = checkHeader(btf);
  if (ret == 0) ret = collectTypes(btf);
  if (ret == 0) ret = btfResolve(btf);
  if (ret == 0) ret = checkStructMetas(btf);
  return ret;
}

function checkHeader(btf: Btf): i32 {
  if (btf.size < 8) return -EINVAL;
  const hdrLen = changetype<BtfHeader>(btf.data).hdrLen;
  if (hdrLen > btf.size) return -EINVAL;
  // A header that ends early is read as if zeros followed.
  const copy = scratchPtr() + SCRATCH_BTF_HEADER;
  if (!copyStruct(copy, HEADER_SIZE, btf.data, hdrLen)) return -E2BIG;
  const header = changetype<BtfHeader>(copy);
  if (header.magic != BTF_MAGIC) return -EINVAL;
  if (header.version != 1 || header.flags != 0) return -ENOTSUPP;
  if (hdrLen < HEADER_SIZE) return -EINVAL;
  // The types come first, then the strings, and nothing else.
  const total = btf.size - hdrLen;
  const typeLen = header.typeLen;
  if (header.typeOff != 0 || typeLen == 0 || typeLen & 3 || typeLen != header.strOff)
    return -EINVAL;
  const strLen = header.strLen;
  if (typeLen > total || strLen != total - typeLen) return -EINVAL;
  if (strLen == 0 || strLen - 1 > BTF_MAX_NAME_OFFSET) return -EINVAL;
  const strings = btf.data + hdrLen + typeLen;
  btf.strings = strings;
  btf.stringsLen = strLen;
  return load<u8>(strings) == 0 && load<u8>(strings + strLen - 1) == 0 ? 0 : -EINVAL;
}

/** Checks each type by itself and notes where it is. */
function collectTypes(btf: Btf): i32 {
  const types = btf.types;
  store<u32>(types, changetype<usize>(btf) + offsetof<Btf>("voidName"));
  let id: u32 = 1;
  let at = btf.data + changetype<BtfHeader>(btf.data).hdrLen;
  const end = btf.strings;
  while (at < end) {
    if (end - at < TYPE_SIZE) return -EINVAL;
    const type = changetype<BtfType>(at);
    if (type.info & ~INFO_MASK || !isName(btf, type.nameOff)) return -EINVAL;
    const extra = extraBytes(type);
    if (extra > end - at - TYPE_SIZE) return -EINVAL;
    const ret = checkType(btf, type);
    if (ret != 0) return ret;
    if (id > BTF_MAX_TYPE) return -E2BIG;
    store<u32>(types + id * 4, at);
    id++;
    at += TYPE_SIZE + extra;
  }
  btf.nrTypes = id;
  return 0;
}

const PARTS_OF_12: u32 = RECORDS | (1 << BTF_KIND_DATASEC) | (1 << BTF_KIND_ENUM64);
const PARTS_OF_8: u32 = (1 << BTF_KIND_ENUM) | (1 << BTF_KIND_FUNC_PROTO);
const WITH_WORD: u32 = (1 << BTF_KIND_INT) | (1 << BTF_KIND_VAR) | (1 << BTF_KIND_DECL_TAG);

/** Bytes behind a type of this kind. */
function extraBytes(type: BtfType): u32 {
  const kind = kindOf(type);
  if (isOneOf(PARTS_OF_12, kind)) return vlenOf(type) * 12;
  if (isOneOf(PARTS_OF_8, kind)) return vlenOf(type) * 8;
  if (kind == BTF_KIND_ARRAY) return 12;
  return isOneOf(WITH_WORD, kind) ? 4 : 0;
}

/** Of each kind: what its fields must be, whatever it means. */
const WITHOUT_VLEN: u32 =
  MODIFIERS |
  (1 << BTF_KIND_INT) |
  (1 << BTF_KIND_PTR) |
  (1 << BTF_KIND_ARRAY) |
  (1 << BTF_KIND_FWD) |
  (1 << BTF_KIND_VAR) |
  (1 << BTF_KIND_FLOAT) |
  (1 << BTF_KIND_DECL_TAG);
const WITH_FLAG: u32 =
  RECORDS | ENUMS | (1 << BTF_KIND_FWD) | (1 << BTF_KIND_TYPE_TAG) | (1 << BTF_KIND_DECL_TAG);
/** Their last field is the id of a type. */
const REFERENCES: u32 = MODIFIERS | (1 << BTF_KIND_PTR) | (1 << BTF_KIND_VAR);
const NAMELESS: u32 =
  QUALIFIERS | (1 << BTF_KIND_PTR) | (1 << BTF_KIND_ARRAY) | (1 << BTF_KIND_FUNC_PROTO);
const MAYBE_NAMED: u32 = RECORDS | ENUMS;
const NAMED: u32 =
  (1 << BTF_KIND_FWD) | (1 << BTF_KIND_TYPEDEF) | (1 << BTF_KIND_FUNC) | (1 << BTF_KIND_VAR);
const TAGS: u32 = (1 << BTF_KIND_TYPE_TAG) | (1 << BTF_KIND_DECL_TAG);

function checkType(btf: Btf, type: BtfType): i32 {
  if (!areFieldsLegal(btf, type)) return -EINVAL;
  if (kindOf(type) == BTF_KIND_INT) return checkInt(type);
  return isLegal(btf, type) ? 0 : -EINVAL;
}

function areFieldsLegal(btf: Btf, type: BtfType): bool {
  const kind = kindOf(type);
  const name = type.nameOff;
  if (kind == BTF_KIND_UNKN || kind > <u32>BTF_KIND_ENUM64) return false;
  if (vlenOf(type) != 0 && isOneOf(WITHOUT_VLEN, kind)) return false;
  if (hasKindFlag(type) && !isOneOf(WITH_FLAG, kind)) return false;
  if (isOneOf(REFERENCES, kind) && !isId(type.sizeOrType)) return false;
  if (isOneOf(NAMED, kind)) return isIdentifier(btf, name);
  if (isOneOf(MAYBE_NAMED, kind)) return isOptionalIdentifier(btf, name);
  if (isOneOf(TAGS, kind)) return hasText(btf, name);
  return name == 0 || !isOneOf(NAMELESS, kind);
}

/** What a kind has beside names, ids and flags; ints are left out. */
function isLegal(btf: Btf, type: BtfType): bool {
  const size = type.sizeOrType;
  switch (kindOf(type)) {
    case BTF_KIND_ARRAY:
      return size == 0 && isArrayMeta(type);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return areMembers(btf, type);
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
      return isEnum(btf, type);
    case BTF_KIND_FWD:
      return size == 0;
    case BTF_KIND_FUNC:
      return vlenOf(type) <= 1;
    case BTF_KIND_VAR:
      // Behind a variable: its linkage, static 0 or global 1.
      return size != 0 && load<u32>(typeData(type)) <= 1;
    case BTF_KIND_DATASEC:
      return isDatasec(btf, type);
    case BTF_KIND_FLOAT:
      return size <= 16 && isOneOf(FLOAT_SIZES, size);
    case BTF_KIND_DECL_TAG:
      return load<i32>(typeData(type)) >= -1;
    default:
      return true;
  }
}

/** Behind an int: encoding << 24 | bit offset << 16 | bits. */
function checkInt(type: BtfType): i32 {
  const data = load<u32>(typeData(type));
  if (data & ~INT_MASK) return -EINVAL;
  const bits = (data & 0xff) + ((data >> 16) & 0xff);
  if (bits > INT_BITS_MAX || (bits + 7) / 8 > type.sizeOrType) return -EINVAL;
  return isOneOf(INT_ENCODINGS, data >> 24) ? 0 : -ENOTSUPP;
}

function isArrayMeta(type: BtfType): bool {
  const array = typeData(type);
  const elem = load<u32>(array);
  const index = load<u32>(array, 4);
  return isNotVoid(elem) && isNotVoid(index);
}

/** Members: {name, type, offset in bits}; with kind_flag the offset's high byte is the size of a bit field. */
function areMembers(btf: Btf, type: BtfType): bool {
  const isUnion = kindOf(type) == BTF_KIND_UNION;
  const end = partsEnd(type, 12);
  let last: u32 = 0;
  for (let at = typeData(type); at < end; at += 12) {
    const id = load<u32>(at, 4);
    const offset = memberBits(type, at);
    if (!isOptionalIdentifier(btf, load<u32>(at)) || !isNotVoid(id)) return false;
    if ((isUnion && offset != 0) || offset < last || (offset + 7) / 8 > type.sizeOrType)
      return false;
    last = offset;
  }
  return true;
}

function isEnum(btf: Btf, type: BtfType): bool {
  const size = type.sizeOrType;
  if (size > 8 || popcnt(size) != 1) return false;
  const step: u32 = kindOf(type) == BTF_KIND_ENUM ? 8 : 12;
  const end = partsEnd(type, step);
  for (let at = typeData(type); at < end; at += step) {
    if (!isIdentifier(btf, load<u32>(at))) return false;
  }
  return true;
}

/** Behind a section: its variables {type, offset, size}, in order and apart. */
function isDatasec(btf: Btf, type: BtfType): bool {
  const size = type.sizeOrType;
  if (size == 0 || !isPrintable(btf, type.nameOff)) return false;
  const end = partsEnd(type, 12);
  let last: u32 = 0;
  for (let at = typeData(type); at < end; at += 12) {
    const id = load<u32>(at);
    const offset = load<u32>(at, 4);
    const bytes = load<u32>(at, 8);
    if (!isNotVoid(id) || offset < last || offset >= size) return false;
    if (bytes == 0 || bytes > size - offset) return false;
    last = offset + bytes;
  }
  return true;
}

function isNotVoid(id: u32): bool {
  return id != 0 && isId(id);
}

function isId(id: u32): bool {
  return id <= BTF_MAX_TYPE;
}

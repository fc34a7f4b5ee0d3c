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
  BTF_KIND_VAR,
  E2BIG,
  EINVAL,
  ENOMEM,
  ENOTSUPP,
} from "../ts/uapi";
import { Btf, BtfType, hasKindFlag, isModifier, kindOf, typeData, vlenOf } from "./btf";
import { checkStructMetas } from "./btf_fields";
import { hasText, isIdentifier, isName, isOptionalIdentifier, isPrintable } from "./btf_names";
import { btfResolve } from "./btf_resolve";
import { allocGrow, scratchPtr } from "./kernel";
import { copyStruct } from "./uaccess";

const BTF_MAGIC: u32 = 0xeb9f;
const HEADER_SIZE: u32 = 24;
const TYPE_SIZE: u32 = 12;
/** Where in the scratch area the header is copied to, behind the attr of the running command. */
const HEADER_COPY: u32 = 200;
/** Largest type id, largest offset into the strings. */
const BTF_MAX_TYPE: u32 = 0xfffff;
const BTF_MAX_NAME_OFFSET: u32 = 0xffffff;
/** info: vlen, kind, kind_flag; the other bits must be zero. */
const INFO_MASK: u32 = 0x9f00ffff;
const INT_MASK: u32 = 0x0fffffff;
const INT_BITS_MAX: u32 = 128;

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
  const copy = scratchPtr() + HEADER_COPY;
  if (!copyStruct(copy, HEADER_SIZE, btf.data, hdrLen)) return -E2BIG;
  const header = changetype<BtfHeader>(copy);
  if (header.magic != BTF_MAGIC) return -EINVAL;
  if (header.version != 1 || header.flags != 0) return -ENOTSUPP;
  if (hdrLen < HEADER_SIZE) return -EINVAL;
  // The types come first, then the strings, and nothing else.
  const total = btf.size - hdrLen;
  if (header.typeOff != 0 || header.typeLen == 0 || header.typeLen != header.strOff) return -EINVAL;
  if (header.typeLen & 3 || <u64>header.strOff + header.strLen != total) return -EINVAL;
  btf.strings = btf.data + hdrLen + header.strOff;
  btf.stringsLen = header.strLen;
  if (header.strLen == 0 || header.strLen - 1 > BTF_MAX_NAME_OFFSET) return -EINVAL;
  if (load<u8>(btf.strings) != 0 || load<u8>(btf.strings + header.strLen - 1) != 0) return -EINVAL;
  return 0;
}

/** Checks each type by itself and notes where it is. */
function collectTypes(btf: Btf): i32 {
  const header = changetype<BtfHeader>(btf.data);
  let at = btf.data + header.hdrLen;
  const end = at + header.typeLen;
  // Each type has TYPE_SIZE bytes at least.
  btf.types = <u32>allocGrow((<u64>header.typeLen / TYPE_SIZE + 2) * 4);
  if (btf.types == 0) return -ENOMEM;
  store<u32>(btf.types, changetype<usize>(btf) + offsetof<Btf>("voidName"));
  btf.nrTypes = 1;
  while (at < end) {
    if (end - at < TYPE_SIZE) return -EINVAL;
    const type = changetype<BtfType>(at);
    if (type.info & ~INFO_MASK || !isName(btf, type.nameOff)) return -EINVAL;
    const extra = extraBytes(type);
    if (extra > end - at - TYPE_SIZE) return -EINVAL;
    const ret = checkType(btf, type);
    if (ret != 0) return ret;
    if (btf.nrTypes > BTF_MAX_TYPE) return -E2BIG;
    store<u32>(btf.types + btf.nrTypes * 4, at);
    btf.nrTypes++;
    at += TYPE_SIZE + extra;
  }
  return 0;
}

/** Bytes behind a type of this kind. */
function extraBytes(type: BtfType): u32 {
  const vlen = vlenOf(type);
  switch (kindOf(type)) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
      return 4;
    case BTF_KIND_ARRAY:
      return 12;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_DATASEC:
    case BTF_KIND_ENUM64:
      return vlen * 12;
    case BTF_KIND_ENUM:
    case BTF_KIND_FUNC_PROTO:
      return vlen * 8;
    default:
      return 0;
  }
}

function checkType(btf: Btf, type: BtfType): i32 {
  const kind = kindOf(type);
  const vlen = vlenOf(type);
  const noFlag = !hasKindFlag(type);
  const plain = vlen == 0 && noFlag;
  switch (kind) {
    case BTF_KIND_INT:
      return plain ? checkInt(type) : -EINVAL;
    case BTF_KIND_ARRAY:
      return verdict(plain && type.nameOff == 0 && type.sizeOrType == 0 && isArrayMeta(type));
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return verdict(isOptionalIdentifier(btf, type.nameOff) && areMembers(btf, type));
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
      return verdict(isOptionalIdentifier(btf, type.nameOff) && isEnum(btf, type));
    case BTF_KIND_FWD:
      return verdict(vlen == 0 && type.sizeOrType == 0 && isIdentifier(btf, type.nameOff));
    case BTF_KIND_TYPEDEF:
      return verdict(plain && isId(type.sizeOrType) && isIdentifier(btf, type.nameOff));
    case BTF_KIND_TYPE_TAG:
      return verdict(vlen == 0 && isId(type.sizeOrType) && hasText(btf, type.nameOff));
    case BTF_KIND_FUNC:
      return verdict(noFlag && vlen <= 1 && isIdentifier(btf, type.nameOff));
    case BTF_KIND_FUNC_PROTO:
      return verdict(noFlag && type.nameOff == 0);
    case BTF_KIND_VAR:
      return verdict(plain && isVar(btf, type));
    case BTF_KIND_DATASEC:
      return verdict(noFlag && isDatasec(btf, type));
    case BTF_KIND_FLOAT:
      return verdict(plain && isFloatSize(type.sizeOrType));
    case BTF_KIND_DECL_TAG:
      return verdict(vlen == 0 && hasText(btf, type.nameOff) && load<i32>(typeData(type)) >= -1);
    default:
      if (kind != BTF_KIND_PTR && !isModifier(kind)) return -EINVAL;
      return verdict(plain && type.nameOff == 0 && isId(type.sizeOrType));
  }
}

function verdict(ok: bool): i32 {
  return ok ? 0 : -EINVAL;
}

/** Behind an int: encoding << 24 | bit offset << 16 | bits. At most one encoding: signed 1, char 2, bool 4. */
function checkInt(type: BtfType): i32 {
  const data = load<u32>(typeData(type));
  if (data & ~INT_MASK) return -EINVAL;
  const bits = (data & 0xff) + ((data >> 16) & 0xff);
  if (bits > INT_BITS_MAX || (bits + 7) / 8 > type.sizeOrType) return -EINVAL;
  const encoding = data >> 24;
  return encoding == 0 || encoding == 1 || encoding == 2 || encoding == 4 ? 0 : -ENOTSUPP;
}

function isArrayMeta(type: BtfType): bool {
  const array = typeData(type);
  const elem = load<u32>(array);
  const index = load<u32>(array, 4);
  return elem != 0 && isId(elem) && index != 0 && isId(index);
}

/** Members: {name, type, offset in bits}; with kind_flag the offset's high byte is the size of a bit field. */
function areMembers(btf: Btf, type: BtfType): bool {
  const isUnion = kindOf(type) == BTF_KIND_UNION;
  let last: u32 = 0;
  let at = typeData(type);
  for (let i: u32 = 0; i < vlenOf(type); i++) {
    const id = load<u32>(at, 4);
    const raw = load<u32>(at, 8);
    const offset = hasKindFlag(type) ? raw & 0xffffff : raw;
    if (!isOptionalIdentifier(btf, load<u32>(at)) || id == 0 || !isId(id)) return false;
    if ((isUnion && offset != 0) || offset < last || (offset + 7) / 8 > type.sizeOrType)
      return false;
    last = offset;
    at += 12;
  }
  return true;
}

function isEnum(btf: Btf, type: BtfType): bool {
  const size = type.sizeOrType;
  if (size > 8 || popcnt(size) != 1) return false;
  const step: u32 = kindOf(type) == BTF_KIND_ENUM ? 8 : 12;
  let at = typeData(type);
  for (let i: u32 = 0; i < vlenOf(type); i++) {
    if (!isIdentifier(btf, load<u32>(at))) return false;
    at += step;
  }
  return true;
}

/** Behind a variable: its linkage, static 0 or global 1. */
function isVar(btf: Btf, type: BtfType): bool {
  const id = type.sizeOrType;
  return isIdentifier(btf, type.nameOff) && id != 0 && isId(id) && load<u32>(typeData(type)) <= 1;
}

/** Behind a section: its variables {type, offset, size}, in order and apart. */
function isDatasec(btf: Btf, type: BtfType): bool {
  const size = type.sizeOrType;
  if (size == 0 || !isPrintable(btf, type.nameOff)) return false;
  let last: u64 = 0;
  let at = typeData(type);
  for (let i: u32 = 0; i < vlenOf(type); i++) {
    const id = load<u32>(at);
    const offset = load<u32>(at, 4);
    const bytes = load<u32>(at, 8);
    if (id == 0 || !isId(id) || offset < last || offset >= size || bytes == 0 || bytes > size)
      return false;
    last = <u64>offset + bytes;
    if (last > size) return false;
    at += 12;
  }
  return true;
}

function isFloatSize(size: u32): bool {
  return size == 2 || size == 4 || size == 8 || size == 12 || size == 16;
}

function isId(id: u32): bool {
  return id <= BTF_MAX_TYPE;
}

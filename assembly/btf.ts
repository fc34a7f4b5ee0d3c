// BTF objects: BPF_BTF_LOAD, ids, info. A blob is checked once (btf_verify.ts) and kept; maps refer to it for the types of
// keys and values (btf_map.ts). Kernel: kernel/bpf/btf.c (behaviour checked against 6.18); format:
// Documentation/bpf/btf.rst.
//
// Differs: the log (btf_log_buf) stays empty; its arguments are checked.

import {
  BPF_F_TOKEN_FD,
  BTF_KIND_ARRAY,
  BTF_KIND_DATASEC,
  BTF_KIND_FLOAT,
  BTF_KIND_INT,
  BTF_KIND_PTR,
  BTF_KIND_VAR,
  E2BIG,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
} from "../ts/uapi";
import { ENUMS, RECORDS, isModifier, isOneOf } from "./btf_kinds";
import { btfVerify } from "./btf_verify";
import { FD_BTF, FD_TOKEN, FMODE_READ, fdGet, fdInstall } from "./fd";
import { allocZeroed, free, kernel, kernelLockWord } from "./kernel";
import { copyBytes, isUserRange } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import { refcountDecAndTest, refcountIncNotZero } from "./lib/refcount";

/** No blob may be larger, bytes. */
const BTF_MAX_SIZE: u32 = 16 << 20;
/** Zeros behind a blob: names are read by the word. */
const BLOB_PAD: u32 = 32;
/** All bits of a log level. */
const LOG_LEVELS: u32 = 15;
/** sizeof(struct bpf_btf_info), bytes. */
export const BTF_INFO_SIZE: u32 = 32;
/** Size of a pointer of the machine that BTF describes: 64 bits, whatever addresses are here. */
const PTR_BYTES: u32 = 8;
/** sizeOf: the type has no size. */
export const NO_SIZE: u64 = u64.MAX_VALUE;

/** The attr of BTF_LOAD. */
@unmanaged
class BtfLoadAttr {
  btf: u64;
  logBuf: u64;
  size: u32;
  logSize: u32;
  logLevel: u32;
  logTrueSize: u32;
  flags: u32;
  tokenFd: i32;
}
if (offsetof<BtfLoadAttr>("tokenFd") != 36) ERROR("BtfLoadAttr mirrors union bpf_attr");

/** One type: struct btf_type. What follows it depends on the kind. */
@unmanaged
export class BtfType {
  nameOff: u32;
  /** vlen (16 bits), kind (5 bits at 24), kind_flag (bit 31). */
  info: u32;
  sizeOrType: u32;
}

//   Btf  | fields | types | blob |
@unmanaged
export class Btf {
  /** fds, maps. */
  refcnt: u32;
  id: u32;
  /** The list of BTF objects, in no order. */
  next: u32;
  /** The blob as it was given: `size` bytes. */
  data: u32;
  size: u32;
  /** u32 per type: its address; entry 0 is void. */
  types: u32;
  /** Including void. */
  nrTypes: u32;
  strings: u32;
  stringsLen: u32;
  /** Entry 0 of types: void, a type of kind 0. */
  voidName: u32;
  voidInfo: u32;
  voidSizeOrType: u32;
}

export function btfType(btf: Btf, id: u32): BtfType {
  return changetype<BtfType>(load<u32>(btf.types + id * 4));
}

export function kindOf(type: BtfType): u32 {
  return (type.info >> 24) & 0x1f;
}

export function vlenOf(type: BtfType): u32 {
  return type.info & 0xffff;
}

export function hasKindFlag(type: BtfType): bool {
  return type.info >> 31 != 0;
}

/** Address of what follows the type. */
export function typeData(type: BtfType): usize {
  return changetype<usize>(type) + offsetof<BtfType>();
}

/** End of what follows a type that consists of parts (members, values, variables, arguments) of `size` bytes. */
export function partsEnd(type: BtfType, size: u32): usize {
  return typeData(type) + vlenOf(type) * size;
}

/** Offset of a member, bits; with kind_flag the high byte is the size of a bit field. */
export function memberBits(type: BtfType, member: usize): u32 {
  const raw = load<u32>(member, 8);
  return hasKindFlag(type) ? raw & 0xffffff : raw;
}

/** The kind of a type by its id; void has BTF_KIND_UNKN. */
export function kindAt(btf: Btf, id: u32): u32 {
  return kindOf(btfType(btf, id));
}

/** Types whose size does not depend on another. */
const SIZED: u32 =
  RECORDS | ENUMS | (1 << BTF_KIND_INT) | (1 << BTF_KIND_FLOAT) | (1 << BTF_KIND_DATASEC);

/** The id behind all modifiers; the chain of a checked blob ends. */
export function skipModifiers(btf: Btf, id: u32): u32 {
  while (isModifier(kindAt(btf, id))) id = btfType(btf, id).sizeOrType;
  return id;
}

/** Size of a type in bytes; NO_SIZE for void, functions, forward declarations. */
export function sizeOf(btf: Btf, id: u32): u64 {
  let count: u64 = 1;
  while (true) {
    const type = btfType(btf, id);
    const kind = kindOf(type);
    if (kind == BTF_KIND_ARRAY) {
      const array = typeData(type);
      count *= load<u32>(array, 8);
      id = load<u32>(array);
    } else if (isModifier(kind) || kind == BTF_KIND_VAR) {
      id = type.sizeOrType;
    } else if (kind == BTF_KIND_PTR) {
      return PTR_BYTES * count;
    } else {
      return isOneOf(SIZED, kind) ? type.sizeOrType * count : NO_SIZE;
    }
  }
}

// ---- life -------------------------------------------------------------------------------------------------------------

/** Drops a reference; the last one frees the object. */
export function btfPut(btf: Btf): void {
  if (!refcountDecAndTest(changetype<usize>(btf) + offsetof<Btf>("refcnt"))) return;
  lock(kernelLockWord());
  const k = kernel();
  const self = <u32>changetype<usize>(btf);
  if (k.btfHead == self) {
    k.btfHead = btf.next;
  } else {
    let before: u32 = k.btfHead;
    while (changetype<Btf>(before).next != self) before = changetype<Btf>(before).next;
    changetype<Btf>(before).next = btf.next;
  }
  unlock(kernelLockWord());
  free(self);
}

/** Links a new object and gives it the next free id. Ids are handed out in a cycle. */
function publish(btf: Btf): void {
  lock(kernelLockWord());
  const k = kernel();
  do {
    btf.id = k.nextBtfId;
    k.nextBtfId = k.nextBtfId == 0x7fffffff ? 1 : k.nextBtfId + 1;
  } while (btfById(btf.id) != 0);
  btf.refcnt = 1;
  btf.next = k.btfHead;
  k.btfHead = <u32>changetype<usize>(btf);
  unlock(kernelLockWord());
}

function btfById(id: u32): usize {
  let btf: u32 = kernel().btfHead;
  while (btf != 0 && changetype<Btf>(btf).id != id) btf = changetype<Btf>(btf).next;
  return btf;
}

/** The object with an id, with a reference; 0 when there is none. */
function btfTakeById(id: u32): usize {
  lock(kernelLockWord());
  let btf = btfById(id);
  if (btf != 0 && !refcountIncNotZero(btf + offsetof<Btf>("refcnt"))) btf = 0;
  unlock(kernelLockWord());
  return btf;
}

// ---- BPF_BTF_LOAD -----------------------------------------------------------------------------------------------------

/**
 * Order of checks: flags, token, size, log, blob.
 * @param attrSize bytes the caller gave for the attr: log_true_size is written when it has room
 * @returns the fd or -errno
 */
export function btfLoad(copy: usize, userAttr: u32, attrSize: u32): i32 {
  const attr = changetype<BtfLoadAttr>(copy);
  if (attr.flags & ~(<u32>BPF_F_TOKEN_FD)) return -EINVAL;
  if (attr.flags != 0) return <i32>fdGet(attr.tokenFd, FD_TOKEN);
  if (attr.size > BTF_MAX_SIZE) return -E2BIG;
  const hasLog = attr.logBuf != 0;
  const logged = attr.logLevel != 0;
  if (hasLog != (attr.logSize != 0) || attr.logSize > 0x3fffffff) return -EINVAL;
  if ((hasLog && !logged) || attr.logLevel > LOG_LEVELS) return -EINVAL;
  let ret: i32 = -EFAULT;
  const isReadable = attr.size == 0 || isUserRange(attr.btf, attr.size);
  if (isReadable && (!hasLog || isUserRange(attr.logBuf, 1))) {
    ret = loadBlob(attr);
    if (hasLog) store<u8>(<usize>attr.logBuf, 0);
  }
  // The log's text is empty: its NUL is all there is. It is not begun before the blob is read.
  if (attrSize >= 32)
    store<u32>(userAttr, u32(isReadable && logged), offsetof<BtfLoadAttr>("logTrueSize"));
  return ret;
}

function loadBlob(attr: BtfLoadAttr): i32 {
  const tableBytes = (attr.size / offsetof<BtfType>() + 2) * 4;
  const ptr = allocZeroed(offsetof<Btf>() + tableBytes + attr.size + BLOB_PAD);
  if (ptr == 0) return -ENOMEM;
  const btf = changetype<Btf>(ptr);
  btf.size = attr.size;
  btf.types = <u32>ptr + offsetof<Btf>();
  btf.data = btf.types + tableBytes;
  // Not memory.copy: an empty blob may be anywhere.
  copyBytes(btf.data, <usize>attr.btf, attr.size);
  const ret = btfVerify(btf);
  if (ret != 0) {
    free(ptr);
    return ret;
  }
  publish(btf);
  return fdInstall(FD_BTF, FMODE_READ, ptr);
}

// ---- ids and info -----------------------------------------------------------------------------------------------------

/** The smallest id > start; 0 when there is none. */
export function btfIdAfter(start: u32): u32 {
  let found: u32 = 0;
  lock(kernelLockWord());
  let btf: u32 = kernel().btfHead;
  while (btf != 0) {
    const id = changetype<Btf>(btf).id;
    if (id > start && (found == 0 || id < found)) found = id;
    btf = changetype<Btf>(btf).next;
  }
  unlock(kernelLockWord());
  return found;
}

/** attr: btf_id 0, open_flags 8, token_fd 12. */
export function btfGetFdById(copy: usize): i32 {
  const flags = load<u32>(copy, 8);
  if (flags & ~(<u32>BPF_F_TOKEN_FD)) return -EINVAL;
  if (flags != 0) return <i32>fdGet(load<i32>(copy, 12), FD_TOKEN);
  const btf = btfTakeById(load<u32>(copy));
  return btf == 0 ? -ENOENT : fdInstall(FD_BTF, FMODE_READ, btf);
}

/**
 * OBJ_GET_INFO_BY_FD: struct bpf_btf_info { btf 0, btf_size 8, id 12, name 16, name_len 24, kernel_btf 28 }. The blob is
 * copied as far as btf_size allows; the name of a loaded BTF is empty.
 */
export function btfInfo(btf: Btf, info: usize): i32 {
  const copied = min<u32>(load<u32>(info, 8), btf.size);
  const blob = load<u64>(info);
  if (copied > 0 && !isUserRange(blob, copied)) return -EFAULT;
  copyBytes(<usize>blob, btf.data, copied);
  const name = load<u64>(info, 16);
  const nameLen = load<u32>(info, 24);
  if ((name == 0) != (nameLen == 0)) return -EINVAL;
  if (nameLen != 0) {
    if (!isUserRange(name, 1)) return -EFAULT;
    store<u8>(<usize>name, 0);
  }
  store<u32>(info, btf.size, 8);
  store<u32>(info, btf.id, 12);
  store<u64>(info, 0, 24);
  return 0;
}

// BPF_MAP_CREATE. The order of the checks is the kernel's: the first failure wins.

import {
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_TOKEN_FD,
  BPF_F_WRONLY,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_HASH,
  BPF_OBJ_NAME_LEN,
  EFAULT,
  EINVAL,
  ENOMEM,
  EOPNOTSUPP,
} from "../ts/uapi";
import { checkBtf } from "./btf_map";
import { FD_MAP, FD_TOKEN, FMODE_READ, FMODE_WRITE, fdGet, fdInstall } from "./fd";
import { BpfMap, MapCreateAttr, freeMap, publishMap, setAttributes } from "./map";
import { NO_TYPE, allocCheck, place } from "./map_types";
import { isNameByte, isUserRange } from "./lib/bytes";

/** @returns the new fd or -errno */
export function mapCreate(attr: MapCreateAttr): i32 {
  const withToken = (attr.mapFlags & BPF_F_TOKEN_FD) != 0;
  attr.mapFlags &= ~BPF_F_TOKEN_FD;
  let ret = checkAttr(attr);
  if (ret == 0) ret = allocCheck(attr);
  if (ret == NO_TYPE) ret = -EINVAL;
  if (ret == 0 && withToken) ret = <i32>fdGet(attr.mapTokenFd, FD_TOKEN);
  if (ret == 0 && attr.mapIfindex != 0) ret = offload(attr);
  if (ret != 0) return ret;
  const ptr = place(attr);
  if (ptr == 0) return -ENOMEM;
  const map = changetype<BpfMap>(ptr);
  setAttributes(map, attr);
  ret = map.init(attr);
  if (ret == 0) ret = setName(map, attr);
  if (ret == 0) ret = checkBtf(map, attr);
  if (ret == 0) ret = setExclusive(map, attr);
  if (ret == 0 && !publishMap(map)) ret = -ENOMEM;
  if (ret != 0) {
    freeMap(map);
    return ret;
  }
  return fdInstall(FD_MAP, openMode(attr.mapFlags), ptr);
}

/** FMODE_* bits for BPF_F_RDONLY and BPF_F_WRONLY; 0 for both, which is illegal. */
export function openMode(flags: u32): u32 {
  let mode = FMODE_READ | FMODE_WRITE;
  if (flags & BPF_F_RDONLY) mode &= ~FMODE_WRITE;
  if (flags & BPF_F_WRONLY) mode &= ~FMODE_READ;
  return mode;
}

/** Steps 3 to 6: what concerns every type. */
function checkAttr(attr: MapCreateAttr): i32 {
  // STRUCT_OPS has one, ARENA has a map_extra: no such types here.
  if (attr.btfVmlinuxValueTypeId != 0) return -EINVAL;
  if (attr.btfKeyTypeId != 0 && attr.btfValueTypeId == 0) return -EINVAL;
  if (attr.mapExtra != 0 && attr.mapType != BPF_MAP_TYPE_BLOOM_FILTER) return -EINVAL;
  if (openMode(attr.mapFlags) == 0) return -EINVAL;
  // One NUMA node, number 0; -1 is "any".
  if (attr.mapFlags & BPF_F_NUMA_NODE && attr.numaNode != 0 && attr.numaNode != 0xffffffff)
    return -EINVAL;
  return 0;
}

/** Only HASH and ARRAY can live on a device; interface 1 (lo) cannot hold maps, others do not exist. */
function offload(attr: MapCreateAttr): i32 {
  const canBe = attr.mapType == BPF_MAP_TYPE_HASH || attr.mapType == BPF_MAP_TYPE_ARRAY;
  return canBe && attr.mapIfindex == 1 ? -EOPNOTSUPP : -EINVAL;
}

/** Copies the name up to its NUL. Letters are Latin-1 letters: the kernel's isalnum knows those too. */
function setName(map: BpfMap, attr: MapCreateAttr): i32 {
  const from = changetype<usize>(attr) + offsetof<MapCreateAttr>("name0");
  const to = changetype<usize>(map) + offsetof<BpfMap>("name");
  for (let i: u32 = 0; i < <u32>BPF_OBJ_NAME_LEN; i++) {
    const c = load<u8>(from + i);
    if (c == 0) return 0;
    if (!isNameByte(c)) return -EINVAL;
    store<u8>(to + i, c);
  }
  return -EINVAL;
}

/** A map for the one program with this hash (which is not looked at here). */
function setExclusive(map: BpfMap, attr: MapCreateAttr): i32 {
  if (attr.exclProgHash == 0) return attr.exclProgHashSize == 0 ? 0 : -EINVAL;
  if (attr.exclProgHashSize != 32) return -EINVAL;
  map.isExclusive = true;
  return isUserRange(attr.exclProgHash, 32) ? 0 : -EFAULT;
}

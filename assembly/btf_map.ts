// The types of a map's keys and values (BTF): do they fit the map, and what is special about a value?
// Kernel: kernel/bpf/syscall.c map_check_btf and the types' map_check_btf (behaviour asked of 6.18).
//
// Differs: of the special fields only bpf_spin_lock exists here, at offsets that are multiples of 4; the others are
// -EOPNOTSUPP, also where the kernel takes them. A value whose fields the kernel cannot make sense of (two locks, ...) is
// plain bytes, as there.

import {
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY_PROG,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_CGROUP_ARRAY,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_CGRP_STORAGE,
  BPF_MAP_TYPE_CPUMAP,
  BPF_MAP_TYPE_DEVMAP,
  BPF_MAP_TYPE_DEVMAP_HASH,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  BPF_MAP_TYPE_INODE_STORAGE,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  BPF_MAP_TYPE_SK_STORAGE,
  BPF_MAP_TYPE_SOCKHASH,
  BPF_MAP_TYPE_SOCKMAP,
  BPF_MAP_TYPE_STACK_TRACE,
  BPF_MAP_TYPE_TASK_STORAGE,
  BPF_MAP_TYPE_XSKMAP,
  BTF_KIND_DATASEC,
  BTF_KIND_INT,
  BTF_KIND_STRUCT,
  BTF_KIND_VAR,
  EACCES,
  EINVAL,
  ENOMEM,
  ENOTSUPP,
  EOPNOTSUPP,
} from "../ts/uapi";
import { Btf, btfType, kindAt, kindOf, sizeOf, skipModifiers, typeData, vlenOf } from "./btf";
import { FIELDS_OF_MAPS, FIELD_SPIN_LOCK, findFields, foundFields } from "./btf_fields";
import { FD_BTF, fdTake } from "./fd";
import { BpfMap, MapCreateAttr, isErr, isOneOf } from "./map";

const LOCAL_STORAGES: u64 =
  (1 << BPF_MAP_TYPE_SK_STORAGE) |
  (1 << BPF_MAP_TYPE_INODE_STORAGE) |
  (1 << BPF_MAP_TYPE_TASK_STORAGE) |
  (1 << BPF_MAP_TYPE_CGRP_STORAGE);
/** These take no BTF. */
const WITHOUT_BTF: u64 =
  (1 << BPF_MAP_TYPE_CGROUP_ARRAY) |
  (1 << BPF_MAP_TYPE_CPUMAP) |
  (1 << BPF_MAP_TYPE_DEVMAP) |
  (1 << BPF_MAP_TYPE_DEVMAP_HASH) |
  (1 << BPF_MAP_TYPE_PERF_EVENT_ARRAY) |
  (1 << BPF_MAP_TYPE_SOCKHASH) |
  (1 << BPF_MAP_TYPE_SOCKMAP) |
  (1 << BPF_MAP_TYPE_STACK_TRACE) |
  (1 << BPF_MAP_TYPE_XSKMAP) |
  (1 << BPF_MAP_TYPE_ARRAY_OF_MAPS) |
  (1 << BPF_MAP_TYPE_HASH_OF_MAPS);
/** Types that look at their BTF themselves may be without a key type. */
const MAY_LACK_KEY: u64 =
  LOCAL_STORAGES |
  WITHOUT_BTF |
  (1 << BPF_MAP_TYPE_CGROUP_STORAGE) |
  (1 << BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE) |
  (1 << BPF_MAP_TYPE_ARRAY) |
  (1 << BPF_MAP_TYPE_PERCPU_ARRAY) |
  (1 << BPF_MAP_TYPE_LPM_TRIE) |
  (1 << BPF_MAP_TYPE_BLOOM_FILTER);
const MAY_HAVE_LOCK: u64 =
  LOCAL_STORAGES |
  (1 << BPF_MAP_TYPE_HASH) |
  (1 << BPF_MAP_TYPE_ARRAY) |
  (1 << BPF_MAP_TYPE_CGROUP_STORAGE);

/** Step 15 of a creation. The map holds the BTF from here on. @returns 0 or -errno */
export function checkBtf(map: BpfMap, attr: MapCreateAttr): i32 {
  if (attr.btfKeyTypeId == 0 && attr.btfValueTypeId == 0) return 0;
  const ptr = fdTake(attr.btfFd, FD_BTF);
  if (isErr(ptr)) return <i32>ptr;
  const btf = changetype<Btf>(ptr);
  map.btf = <u32>ptr;
  map.btfKeyTypeId = attr.btfKeyTypeId;
  map.btfValueTypeId = attr.btfValueTypeId;
  let ret = checkSizes(map, btf);
  if (ret == 0) ret = checkFields(map, btf);
  return ret == 0 ? checkTypes(map, btf) : ret;
}

function checkSizes(map: BpfMap, btf: Btf): i32 {
  const key = map.btfKeyTypeId;
  const isKey = key == 0 ? isOneOf(map, MAY_LACK_KEY) : hasSize(btf, key, map.keySize);
  return isKey && hasSize(btf, map.btfValueTypeId, map.valueSize) ? 0 : -EINVAL;
}

function hasSize(btf: Btf, id: u32, size: u32): bool {
  return id < btf.nrTypes && sizeOf(btf, id) == size;
}

/** The type of a key or value: behind modifiers, and behind a variable, which nothing else but a data section can name. */
function resolved(btf: Btf, id: u32): u32 {
  const type = kindAt(btf, id) == BTF_KIND_VAR ? btfType(btf, id).sizeOrType : id;
  return skipModifiers(btf, type);
}

/** Finds the lock of a value. */
function checkFields(map: BpfMap, btf: Btf): i32 {
  const fields = foundFields();
  const ret = findFields(btf, resolved(btf, map.btfValueTypeId), FIELDS_OF_MAPS);
  const kinds = fields.kinds;
  if (ret == -ENOMEM) return ret;
  if (ret != 0 || kinds == 0) return 0;
  if (map.mapFlags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) return -EACCES;
  if (kinds != FIELD_SPIN_LOCK || !isOneOf(map, MAY_HAVE_LOCK)) return -EOPNOTSUPP;
  // A struct with a lock may lie anywhere, but atomic accesses are aligned.
  if (fields.lockOffset & 3) return -EOPNOTSUPP;
  map.lockOffset = fields.lockOffset;
  return 0;
}

function checkTypes(map: BpfMap, btf: Btf): i32 {
  if (isOneOf(map, WITHOUT_BTF)) return -ENOTSUPP;
  return fitsType(map, btf) ? 0 : -EINVAL;
}

/** What the map's type asks of its key (and ARRAY of its value). */
function fitsType(map: BpfMap, btf: Btf): bool {
  const key = resolved(btf, map.btfKeyTypeId);
  if (isOneOf(map, LOCAL_STORAGES)) return isWholeInt(btf, key, 4);
  switch (map.mapType) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return key == 0 ? isGlobalData(map, btf) : isWholeInt(btf, key, 4);
    case BPF_MAP_TYPE_LPM_TRIE:
      return kindAt(btf, key) == BTF_KIND_STRUCT;
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return map.btfKeyTypeId == 0;
    case BPF_MAP_TYPE_CGROUP_STORAGE:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
      return isCgroupKey(map, btf, key);
    default:
      return true;
  }
}

/** The one element of a compiler's data section. */
function isGlobalData(map: BpfMap, btf: Btf): bool {
  const value = resolved(btf, map.btfValueTypeId);
  const isSection = kindAt(btf, value) == BTF_KIND_DATASEC;
  return map.mapType == BPF_MAP_TYPE_ARRAY && map.maxEntries == 1 && isSection;
}

/** An int of `bytes` bytes that uses all its bits. */
function isWholeInt(btf: Btf, id: u32, bytes: u32): bool {
  if (kindAt(btf, id) != BTF_KIND_INT) return false;
  const data = load<u32>(typeData(btfType(btf, id)));
  return btfType(btf, id).sizeOrType == bytes && (data & 0xff00ff) == bytes * 8;
}

/** u64, or struct { u64; u32 } as in struct bpf_cgroup_storage_key; signs do not matter. */
function isCgroupKey(map: BpfMap, btf: Btf, key: u32): bool {
  if (map.keySize == 8) return isWholeInt(btf, key, 8);
  const type = btfType(btf, key);
  if (kindOf(type) != BTF_KIND_STRUCT || vlenOf(type) != 2) return false;
  const members = typeData(type);
  const id = skipModifiers(btf, load<u32>(members, 4));
  const attachType = skipModifiers(btf, load<u32>(members, 16));
  if (load<u32>(members, 8) != 0 || load<u32>(members, 20) != 64) return false;
  return isWholeInt(btf, id, 8) && isWholeInt(btf, attachType, 4);
}

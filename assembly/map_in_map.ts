// ARRAY_OF_MAPS and HASH_OF_MAPS. Kernel: kernel/bpf/map_in_map.c, arraymap.c, hashtab.c (behaviour checked against 6.18).
//
// An outer map holds references to inner maps, which all look like the template given at its creation. bpf(2) puts in
// fds and reads ids; a program's lookup answers the inner map's handle.
//
//   ARRAY_OF_MAPS   slots:    | address of inner map 0, u32 | ... |            0: empty
//   HASH_OF_MAPS    element value: | address of the inner map, u32 |           BpfHtab with ownsValues
//
// Invariant: every address in an outer map is one reference (mapGet) to a live map. Where bpf(2) reads a value it gets
// the word at valueOf(), the inner map's id. No byte of an outer map may be touched by a program.
//
// Locks: dropping an inner map's last reference takes the kernel's lock inside the outer map's. That is safe, because
// nothing takes a map's lock inside the kernel's.

import {
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  E2BIG,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOTSUPP,
} from "../ts/uapi";
import { fdMap } from "./fd";
import { BpfHtab } from "./hashtab";
import { allocGrow, allocZeroed, free, scratchPtr } from "./kernel";
import { lock, unlock } from "./lib/lock";
import { BATCH_LOOKUP, BATCH_UPDATE, BpfMap, MapCreateAttr } from "./map";
import { attrLegal, copyOut, isErr, mapGet, mapPut } from "./map";

const ARRAY_OF_MAPS_FLAGS: u32 = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
/** Bytes of a value: an fd going in, an id coming out. */
const VALUE_SIZE: u32 = 4;
/** Offset in the scratch area of the word that passes an inner map's address to the hash table. */
const INNER_AT: u32 = 232;

// ---- the template ---------------------------------------------------------------------------------------------------

/** May a map be the template of an outer map? EINVAL: it is an outer map itself; ENOTSUPP: its type cannot be inner. */
function checkTemplate(map: BpfMap): i32 {
  if (map.mapType == BPF_MAP_TYPE_ARRAY_OF_MAPS || map.mapType == BPF_MAP_TYPE_HASH_OF_MAPS)
    return -EINVAL;
  return map.canBeInner() ? 0 : -ENOTSUPP;
}

/**
 * Copies the common attributes of the map behind an fd, so that it may be closed.
 * @returns the template's address (a BpfMap without a type of its own: data only), or -errno: EBADF, EINVAL no map or an
 *   outer one, ENOTSUPP, ENOMEM
 */
function makeTemplate(fd: i32): usize {
  const ptr = fdMap(fd);
  if (isErr(ptr)) return ptr;
  const ret = checkTemplate(changetype<BpfMap>(ptr));
  if (ret != 0) return <usize>ret;
  const meta = allocGrow(offsetof<BpfMap>());
  if (meta == 0) return <usize>-ENOMEM;
  memory.copy(meta, ptr, offsetof<BpfMap>());
  return meta;
}

function matches(inner: BpfMap, meta: BpfMap): bool {
  if (inner.mapType != meta.mapType || inner.mapFlags != meta.mapFlags) return false;
  if (inner.keySize != meta.keySize || inner.valueSize != meta.valueSize) return false;
  return inner.lockOffset == meta.lockOffset && inner.innerMapMatches(meta);
}

/** The map behind a user's fd with a reference taken; -EBADF, or -EINVAL: no map, or unlike the template. */
function innerFromFd(fd: i32, meta: u32): usize {
  const ptr = fdMap(fd);
  if (isErr(ptr)) return ptr;
  const inner = changetype<BpfMap>(ptr);
  if (!matches(inner, changetype<BpfMap>(meta))) return <usize>-EINVAL;
  mapGet(inner);
  return ptr;
}

/** What bpf(2) reads as the value: the address of the inner map's id. */
function valueOf(inner: u32): usize {
  assert(inner != 0);
  return inner + offsetof<BpfMap>("id");
}

/** getNextKey of arrays of references: every index is a key, whether there is something or not. */
export function indexAfter(maxEntries: u32, key: usize, next: u64): i32 {
  let index: u32 = 0;
  if (key != 0 && load<u32>(key) < maxEntries) {
    index = load<u32>(key) + 1;
    if (index == maxEntries) return -ENOENT;
  }
  store<u32>(scratchPtr() + INNER_AT, index);
  return copyOut(next, scratchPtr() + INNER_AT, 4);
}

// ---- ARRAY_OF_MAPS --------------------------------------------------------------------------------------------------

export class BpfArrayOfMaps extends BpfMap {
  meta: u32;
  slots: u32;

  /** Sizes and flags; the template comes after them. Spec: other-types.md 5. */
  static allocCheck(attr: MapCreateAttr): i32 {
    const isLegal = attr.valueSize == VALUE_SIZE && attrLegal(attr, 4, ARRAY_OF_MAPS_FLAGS);
    return isLegal ? 0 : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    const meta = makeTemplate(attr.innerMapFd);
    if (isErr(meta)) return <i32>meta;
    this.meta = <u32>meta;
    this.slots = <u32>allocZeroed(<u64>this.maxEntries * 4);
    return this.slots == 0 ? -ENOMEM : 0;
  }

  private slotAt(index: u32): usize {
    assert(index < this.maxEntries);
    return this.slots + index * 4;
  }

  /** Address of the inner map; 0: empty slot, or no such index. */
  private inner(key: usize): u32 {
    const index = load<u32>(key);
    return index < this.maxEntries ? load<u32>(this.slotAt(index)) : 0;
  }

  /** Puts an inner map (0: none) into a slot and drops the one before. @returns false when there was none */
  private exchange(index: u32, inner: usize): bool {
    const word = changetype<usize>(this) + offsetof<BpfArrayOfMaps>("lockWord");
    lock(word);
    const old = load<u32>(this.slotAt(index));
    store<u32>(this.slotAt(index), inner);
    unlock(word);
    if (old == 0) return false;
    mapPut(changetype<BpfMap>(old));
    return true;
  }

  /** The inner map's handle. */
  override lookupElem(key: usize): usize {
    const inner = this.inner(key);
    return inner == 0 ? 0 : changetype<BpfMap>(inner).handle;
  }

  override peekElem(key: usize): usize {
    const inner = this.inner(key);
    return inner == 0 ? 0 : valueOf(inner);
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    const inner = this.inner(key);
    return inner == 0 ? -ENOENT : copyOut(value, valueOf(inner), VALUE_SIZE);
  }

  /** bpf(2) only. Order of checks: flags, index, fd. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (!syscall || flags != 0) return -EINVAL;
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    const inner = innerFromFd(load<i32>(value), this.meta);
    if (isErr(inner)) return <i32>inner;
    this.exchange(index, inner);
    return 0;
  }

  override deleteElem(key: usize): i32 {
    const index = load<u32>(key);
    if (index >= this.maxEntries) return -E2BIG;
    return this.exchange(index, 0) ? 0 : -ENOENT;
  }

  override getNextKey(key: usize, next: u64): i32 {
    return indexAfter(this.maxEntries, key, next);
  }

  /** Steps over empty slots. */
  override iterNext(iter: usize, key: usize): usize {
    let index = load<u32>(iter);
    while (index < this.maxEntries) {
      const inner = load<u32>(this.slotAt(index));
      index++;
      if (inner == 0) continue;
      store<u32>(iter, index);
      store<u32>(key, index - 1);
      return valueOf(inner);
    }
    store<u32>(iter, index);
    return 0;
  }

  override batchOps(): u32 {
    return BATCH_LOOKUP | BATCH_UPDATE;
  }

  override hasElemHelpers(): bool {
    return false;
  }

  override canBeInner(): bool {
    return false;
  }

  override release(): void {
    if (this.slots != 0) {
      for (let index: u32 = 0; index < this.maxEntries; index++) this.exchange(index, 0);
    }
    free(this.slots);
    free(this.meta);
  }
}

// ---- HASH_OF_MAPS ---------------------------------------------------------------------------------------------------

export class BpfHashOfMaps extends BpfHtab {
  meta: u32;

  static override allocCheck(attr: MapCreateAttr): i32 {
    return attr.valueSize == VALUE_SIZE ? BpfHtab.allocCheck(attr) : -EINVAL;
  }

  override init(attr: MapCreateAttr): i32 {
    const meta = makeTemplate(attr.innerMapFd);
    if (isErr(meta)) return <i32>meta;
    this.meta = <u32>meta;
    this.ownsValues = true;
    return super.init(attr);
  }

  /** The inner map's handle. */
  override lookupElem(key: usize): usize {
    const value = super.peekElem(key);
    return value == 0 ? 0 : changetype<BpfMap>(load<u32>(value)).handle;
  }

  override peekElem(key: usize): usize {
    const value = super.peekElem(key);
    return value == 0 ? 0 : valueOf(load<u32>(value));
  }

  override iterNext(iter: usize, key: usize): usize {
    const value = super.iterNext(iter, key);
    return value == 0 ? 0 : valueOf(load<u32>(value));
  }

  override copyValueTo(to: u64, value: usize, flags: u64): i32 {
    return copyOut(to, valueOf(load<u32>(value)), VALUE_SIZE);
  }

  /** bpf(2) only. Order of checks: fd, then those of every hash table. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (!syscall) return -EINVAL;
    const inner = innerFromFd(load<i32>(value), this.meta);
    if (isErr(inner)) return <i32>inner;
    const word = scratchPtr() + INNER_AT;
    store<u32>(word, inner);
    const ret = super.updateElem(key, word, flags, true);
    if (ret != 0) mapPut(changetype<BpfMap>(inner));
    return ret;
  }

  override dropValue(value: usize): void {
    mapPut(changetype<BpfMap>(load<u32>(value)));
  }

  override lookupAndDeleteUser(key: usize, value: u64, flags: u64): i32 {
    return -ENOTSUPP;
  }

  override hasElemHelpers(): bool {
    return false;
  }

  override canBeInner(): bool {
    return false;
  }

  override isLive(lo: u32, addr: u32, len: u32): bool {
    return false;
  }

  override forEach(fn: u64, ctx: u64): i64 {
    return -EINVAL;
  }

  override release(): void {
    super.release();
    free(this.meta);
  }
}

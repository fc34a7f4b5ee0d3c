// Who owns an address: the sorted table of value regions behind bpf_valid_range.
//
// A region is a range of memory that holds elements of one owner (a map, or a host object): a preallocated map has one
// or two, a map that allocates as it goes has one per slab. The owner decides whether an address inside is live.

import { Kernel, alloc, allocGrow, free, kernel } from "../kernel";
import { lock, unlock } from "./lock";

/** No bpf_spin_lock in a value (RegionOwner#lockOffset). */
export const NO_LOCK: i32 = -1;
/** No live value (RegionOwner#liveOffset). */
export const DEAD: u32 = 0xffffffff;

/** Whoever owns regions: maps, host objects. */
export abstract class RegionOwner {
  /** Bytes of a value: what a program may touch of a live element. */
  valueSize: u32;
  /** Offset of the bpf_spin_lock in a value; NO_LOCK. */
  lockOffset: i32;

  /**
   * Where in a live value is addr, which is in a region of this owner that starts at lo? DEAD, or anything else beyond
   * valueSize: in none.
   */
  liveOffset(lo: u32, addr: u32): u32 {
    return DEAD;
  }

  /** May a program touch [addr, addr + len)? */
  isLive(lo: u32, addr: u32, len: u32): bool {
    const offset = this.liveOffset(lo, addr);
    return offset <= this.valueSize && len <= this.valueSize - offset;
  }

  /** Is addr the bpf_spin_lock of a live value? */
  isLockAt(lo: u32, addr: u32): bool {
    return this.lockOffset != NO_LOCK && this.liveOffset(lo, addr) == <u32>this.lockOffset;
  }
}

//   Region                     regions are sorted by lo and do not overlap; one that was removed has hi = lo, until
//                              another one takes its place
//   0      4      8
//   | lo   | hi   | owner |
const REGION_SIZE: u32 = 12;

/** The Region at an index below regionCount: lo, hi at 4, owner at 8. */
export function regionAt(index: u32): usize {
  return kernel().regions + index * REGION_SIZE;
}

/** Number of regions that start at or below addr. */
function countUpTo(addr: u32): u32 {
  let low: u32 = 0;
  let high = kernel().regionCount;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (load<u32>(regionAt(mid)) <= addr) low = mid + 1;
    else high = mid;
  }
  return low;
}

function regionsLock(): usize {
  return changetype<usize>(kernel()) + offsetof<Kernel>("regionsLock");
}

/**
 * @param creating may the table grow the memory?
 * @returns false when out of memory
 */
export function addRegion(lo: usize, hi: usize, owner: usize, creating: bool): bool {
  lock(regionsLock());
  const k = kernel();
  const ok = k.regionCount < k.regionCapacity || growRegions(creating);
  if (ok) {
    let at = countUpTo(<u32>lo);
    // What begins inside was removed; what is in front may have been.
    const end = countUpTo(<u32>hi - 1);
    if (at != 0 && load<u32>(regionAt(at - 1)) == load<u32>(regionAt(at - 1), 4)) at--;
    const ptr = regionAt(at++);
    if (at != end) {
      memory.copy(regionAt(at), regionAt(end), (k.regionCount - end) * REGION_SIZE);
      k.regionCount += at - end;
    }
    store<u32>(ptr, lo);
    store<u32>(ptr, hi, 4);
    store<u32>(ptr, owner, 8);
  }
  unlock(regionsLock());
  return ok;
}

function growRegions(creating: bool): bool {
  const k = kernel();
  const capacity = k.regionCapacity == 0 ? 16 : k.regionCapacity * 2;
  const bytes = <u64>capacity * REGION_SIZE;
  const table = creating ? allocGrow(bytes) : alloc(bytes);
  if (table == 0) return false;
  memory.copy(table, k.regions, k.regionCount * REGION_SIZE);
  free(k.regions);
  k.regions = <u32>table;
  k.regionCapacity = capacity;
  return true;
}

/**
 * Forgets the region that starts at lo, if there is one. Its place stays for the next one there: to close the gap takes too long
 * when there are many.
 */
export function removeRegion(lo: usize): void {
  lock(regionsLock());
  const at = countUpTo(<u32>lo);
  if (at != 0 && load<u32>(regionAt(at - 1)) == <u32>lo) store<u32>(regionAt(at - 1), lo, 4);
  unlock(regionsLock());
}

/** The region that holds addr, 0 when none does: its lo and its owner, which is all that others may know of it. */
export function findRegion(addr: u32): u64 {
  lock(regionsLock());
  const at = countUpTo(addr);
  let region: u64 = 0;
  if (at != 0) {
    const ptr = regionAt(at - 1);
    if (addr < load<u32>(ptr, 4)) region = ((<u64>load<u32>(ptr, 8)) << 32) | load<u32>(ptr);
  }
  unlock(regionsLock());
  return region;
}

export function regionLo(region: u64): u32 {
  return <u32>region;
}

export function regionOwner(region: u64): RegionOwner {
  return changetype<RegionOwner>(<usize>(region >> 32));
}

// Second entry of the debug build: walkers for the invariants, and allocations that fail on demand.

import { BpfHtab } from "./hashtab";
import { displacedElems } from "./htab_check";
import { BpfMap, mapAfterId, mapByHandle } from "./map";
import { SCRATCH_SUMS, heapStruct, kernel, scratchPtr } from "./kernel";
import { heapCheck } from "./lib/heap_check";
import { regionAt } from "./lib/region";

/** Walks a map. @returns 0, the number of the invariant that is broken, or -1: no such map */
export function check_map(handle: u32): i32 {
  const map = mapByHandle(handle);
  return map == 0 ? -1 : changetype<BpfMap>(map).check();
}

/** Hash types: the number of elements that are not in their home chunk. */
export function displaced_elems(handle: u32): u32 {
  return displacedElems(changetype<BpfHtab>(mapByHandle(handle)));
}

/** Walks the allocator. @returns 0, or the number of the invariant that is broken (lib/heap_check.ts) */
export function check_heap(): i32 {
  return heapCheck(heapStruct(), scratchPtr() + SCRATCH_SUMS);
}

/** Walks the maps and the table of regions. @returns 0, or the number of the invariant that is broken */
export function check_kernel(): i32 {
  const k = kernel();
  for (let map = mapAfterId(0); map != 0; map = mapAfterId(changetype<BpfMap>(map).id)) {
    const m = changetype<BpfMap>(map);
    if (mapByHandle(m.handle) != map || m.refcnt == 0) return 3;
  }
  for (let i: u32 = 0; i < k.regionCount; i++) {
    const lo = load<u32>(regionAt(i));
    if (lo > load<u32>(regionAt(i), 4)) return 5;
    if (i > 0 && (load<u32>(regionAt(i - 1), 4) > lo || load<u32>(regionAt(i - 1)) >= lo)) return 6;
  }
  return 0;
}

/** The next map gets this id: for what happens when all have been given out once. */
export function set_next_map_id(id: u32): void {
  kernel().nextMapId = id;
}

/** Lets `count` more allocations succeed and all later ones fail; -1: none fails. */
export function fail_after(count: i32): void {
  heapStruct().failAfter = count;
}

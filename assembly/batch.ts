// The *_BATCH commands that work for every type with single-element operations. Hash types bring their own lookups.
// Kernel: kernel/bpf/syscall.c generic_map_*_batch (behaviour checked against 6.18).

import { BPF_F_LOCK, EFAULT, EINVAL, ENOENT } from "../ts/uapi";
import { BatchAttr, BpfMap, NO_LOCK } from "./map";
import { isUserRange } from "./lib/bytes";

/** elem_flags of all batches: BPF_F_LOCK at most, and only with a lock to take. */
export function batchFlagsLegal(map: BpfMap, elemFlags: u64): bool {
  if ((elemFlags & ~(<u64>BPF_F_LOCK)) != 0) return false;
  return (elemFlags & BPF_F_LOCK) == 0 || map.lockOffset != NO_LOCK;
}

/** Element `index` of a user array; 0 when it is not readable. */
function userElem(array: u64, index: u32, size: u32): usize {
  const ptr = array + <u64>index * size;
  return ptr >= array && isUserRange(ptr, size) ? <usize>ptr : 0;
}

/** Updates in order until the first error; count is what was done. */
export function updateBatch(map: BpfMap, attr: BatchAttr, userCount: usize): i32 {
  if (!batchFlagsLegal(map, attr.elemFlags)) return -EINVAL;
  const max = attr.count;
  if (max == 0) return 0;
  let done: u32 = 0;
  let ret = 0;
  while (done < max && ret == 0) {
    const key = userElem(attr.keys, done, map.keySize);
    const value = userElem(attr.values, done, map.userValueSize());
    ret = key == 0 || value == 0 ? -EFAULT : map.updateElem(key, value, attr.elemFlags, true);
    if (ret == 0) done++;
  }
  store<u32>(userCount, done);
  return ret;
}

/** Deletes in order until the first error; count is what was done. */
export function deleteBatch(map: BpfMap, attr: BatchAttr, userCount: usize): i32 {
  if (!batchFlagsLegal(map, attr.elemFlags)) return -EINVAL;
  const max = attr.count;
  if (max == 0) return 0;
  let done: u32 = 0;
  let ret = 0;
  while (done < max && ret == 0) {
    const key = userElem(attr.keys, done, map.keySize);
    ret = key == 0 ? -EFAULT : map.deleteElem(key);
    if (ret == 0) done++;
  }
  store<u32>(userCount, done);
  return ret;
}

/**
 * Walks with getNextKey. The cursor is the last key returned; elements that are absent by now (or empty slots) are
 * skipped. The end of the map is -ENOENT with everything found so far; an exactly full batch is 0.
 */
export function genericLookupBatch(map: BpfMap, attr: BatchAttr, userCount: usize): i32 {
  if (!batchFlagsLegal(map, attr.elemFlags)) return -EINVAL;
  const max = attr.count;
  if (max == 0) return 0;
  store<u32>(userCount, 0);
  if (attr.inBatch != 0 && !isUserRange(attr.inBatch, map.keySize)) return -EFAULT;
  let last = <usize>attr.inBatch;
  let done: u32 = 0;
  let ret = 0;
  while (done < max) {
    const key = attr.keys + <u64>done * map.keySize;
    ret = map.getNextKey(last, key);
    if (ret != 0) break;
    ret = map.lookupUser(<usize>key, attr.values + <u64>done * map.userValueSize(), attr.elemFlags);
    last = <usize>key;
    if (ret == -ENOENT) {
      // The walk goes on from a key whose place in the user's array the next one takes.
      ret = skipAbsent(map, attr, done);
      if (ret != 0) break;
    }
    if (ret != 0) break;
    done++;
  }
  if (ret == -EFAULT) return ret;
  store<u32>(userCount, done);
  if (done == 0) return ret;
  const cursor = userElem(attr.keys, done - 1, map.keySize);
  if (!isUserRange(attr.outBatch, map.keySize)) return -EFAULT;
  memory.copy(<usize>attr.outBatch, cursor, map.keySize);
  return ret;
}

/** Steps over absent elements in place: key and next key share slot `done`. */
function skipAbsent(map: BpfMap, attr: BatchAttr, done: u32): i32 {
  const key = attr.keys + <u64>done * map.keySize;
  const value = attr.values + <u64>done * map.userValueSize();
  while (true) {
    let ret = map.getNextKey(<usize>key, key);
    if (ret != 0) return ret;
    ret = map.lookupUser(<usize>key, value, attr.elemFlags);
    if (ret != -ENOENT) return ret;
  }
}

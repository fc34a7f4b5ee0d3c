// The *_BATCH commands that work for every type with single-element operations. Hash types bring their own lookups.
// Kernel: kernel/bpf/syscall.c generic_map_*_batch (behaviour checked against 6.18).

import { BPF_F_LOCK, EFAULT, ENOENT } from "../ts/uapi";
import { BatchAttr, BpfMap, copyOut, lockMissing } from "./map";
import { BATCH_KEY_MAX, SCRATCH_BATCH, scratchPtr } from "./kernel";
import { copyBytes, isUserRange } from "./lib/bytes";

/** elem_flags of all batches: BPF_F_LOCK at most, and only with a lock to take. */
export function batchFlagsLegal(map: BpfMap, elemFlags: u64): bool {
  return (elemFlags & ~(<u64>BPF_F_LOCK)) == 0 && !lockMissing(map, elemFlags);
}

/** Updates or deletes in order until the first error; count is what was done. */
export function changeBatch(map: BpfMap, attr: BatchAttr, userCount: usize, isDelete: bool): i32 {
  const max = attr.count;
  if (max == 0) return 0;
  const keySize = map.keySize;
  const valueSize = map.userValueSize();
  let key = attr.keys;
  let value = attr.values;
  let done: u32 = 0;
  let ret = 0;
  while (done < max) {
    if (!isUserRange(key, keySize)) ret = -EFAULT;
    else if (isDelete) ret = map.deleteElem(<usize>key);
    else if (!isUserRange(value, valueSize)) ret = -EFAULT;
    else ret = map.updateElem(<usize>key, <usize>value, attr.elemFlags, true);
    if (ret != 0) break;
    done++;
    key += keySize;
    value += valueSize;
  }
  store<u32>(userCount, done);
  return ret;
}

/**
 * Walks with getNextKey. The cursor is the last key walked over; elements that are absent by now (or empty slots) are
 * skipped, and their keys not shown. The end of the map is -ENOENT with everything found so far; an exactly full batch is 0.
 */
export function genericLookupBatch(map: BpfMap, attr: BatchAttr, userCount: usize): i32 {
  const max = attr.count;
  if (max == 0) return 0;
  const keySize = map.keySize;
  const valueSize = map.userValueSize();
  store<u32>(userCount, 0);
  if (attr.inBatch != 0 && !isUserRange(attr.inBatch, keySize)) return -EFAULT;
  // Keys of our own: the user's arrays may overlap.
  const key = scratchPtr() + SCRATCH_BATCH;
  const next = key + BATCH_KEY_MAX;
  assert(keySize <= BATCH_KEY_MAX);
  copyBytes(key, <usize>attr.inBatch, keySize);
  let last = attr.inBatch == 0 ? 0 : key;
  let done: u32 = 0;
  let ret = 0;
  while (done < max) {
    ret = map.getNextKey(last, next);
    if (ret != 0) break;
    copyBytes(key, next, keySize);
    last = key;
    ret = map.lookupUser(key, attr.values + <u64>done * valueSize, attr.elemFlags);
    if (ret == -ENOENT) continue;
    if (ret == 0) ret = copyOut(attr.keys + <u64>done * keySize, key, keySize);
    if (ret != 0) break;
    done++;
  }
  if (ret == -EFAULT) return ret;
  store<u32>(userCount, done);
  return done == 0 || copyOut(attr.outBatch, key, keySize) == 0 ? ret : -EFAULT;
}

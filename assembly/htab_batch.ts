// LOOKUP_BATCH and LOOKUP_AND_DELETE_BATCH of the hash types. The cursor is a bucket index (u32); whole buckets only.
// Kernel: hashtab.c __htab_map_lookup_and_delete_batch (behaviour checked against 6.18).

import { EFAULT, EINVAL, ENOENT, ENOSPC } from "../ts/uapi";
import { BpfHtab, lockOf } from "./hashtab";
import { removeValue } from "./htab_update";
import { bucketOf, firstFrom, hashAt, keyAt, nextInBucket, valueAt } from "./htab_table";
import { BatchAttr, copyOut } from "./map";
import { isUserRange } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";

export function htabLookupBatch(
  h: BpfHtab,
  attr: BatchAttr,
  userCount: usize,
  andDelete: bool,
): i32 {
  if (attr.flags != 0) return -EINVAL;
  lock(lockOf(h));
  const ret = walkBuckets(h, attr, userCount, andDelete);
  unlock(lockOf(h));
  return ret;
}

/** The lock is held: all of a batch at once, where the kernel takes it bucket by bucket. */
function walkBuckets(h: BpfHtab, attr: BatchAttr, userCount: usize, andDelete: bool): i32 {
  const room = attr.count;
  if (room == 0) return 0;
  store<u32>(userCount, 0);
  let bucket: u32 = 0;
  if (attr.inBatch != 0) {
    if (!isUserRange(attr.inBatch, 4)) return -EFAULT;
    bucket = load<u32>(<usize>attr.inBatch);
  }
  if (bucket > h.bucketMask) return -ENOENT;
  let total: u32 = 0;
  let ret = -ENOENT;
  let end = h.bucketMask + 1;
  while (true) {
    const first = firstFrom(h, bucket);
    if (first == 0) break;
    bucket = bucketOf(h, hashAt(h, first));
    const size = bucketSize(h, first);
    if (size > room - total) {
      ret = total == 0 ? -ENOSPC : 0;
      end = bucket;
      break;
    }
    if (!copyBucket(h, attr, first, total, size, andDelete)) return -EFAULT;
    total += size;
    if (bucket == h.bucketMask) break;
    bucket++;
  }
  if (!isUserRange(attr.outBatch, 4)) return -EFAULT;
  store<u32>(<usize>attr.outBatch, end);
  store<u32>(userCount, total);
  return ret;
}

/** Number of elements in the bucket whose first one is at pos. */
function bucketSize(h: BpfHtab, pos: u32): u32 {
  let size: u32 = 0;
  while (pos != 0) {
    size++;
    pos = nextInBucket(h, pos);
  }
  return size;
}

/**
 * Copies (and unlinks) a bucket's elements to the user's arrays from index `at` on.
 * @returns false when an address is bad; what was to be deleted is gone all the same
 */
function copyBucket(
  h: BpfHtab,
  attr: BatchAttr,
  pos: u32,
  at: u32,
  size: u32,
  andDelete: bool,
): bool {
  let ok = true;
  for (let i: u32 = 0; i < size; i++) {
    const next = nextInBucket(h, pos);
    const key = attr.keys + <u64>(at + i) * h.keySize;
    const value = attr.values + <u64>(at + i) * h.userValueSize();
    if (ok)
      ok =
        copyOut(key, keyAt(h, pos), h.keySize) == 0 &&
        h.copyValueTo(value, valueAt(h, pos), attr.elemFlags) == 0;
    if (andDelete) removeValue(h, valueAt(h, pos), hashAt(h, pos));
    pos = next;
  }
  return ok;
}

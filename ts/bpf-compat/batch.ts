import { ENOENT, ENOSPC } from "../uapi.js";
import { checkU32 } from "./bytes.js";
import { checkStatus } from "./errors.js";
import type { MapRef } from "./map-ref.js";
import type { Batch, MapWindow } from "./window.js";

/**
 * Walks a map in batches, each of one call of the core; batches without entries are left out.
 *
 * A hash bucket that holds more than `batchSize` entries does not fit a batch (ENOSPC): the walk then asks for more,
 * and such a batch is larger than asked.
 *
 * @param cmd BPF_MAP_LOOKUP_BATCH or BPF_MAP_LOOKUP_AND_DELETE_BATCH
 */
export function* walkBatches(
  window: MapWindow,
  ref: MapRef,
  cmd: number,
  operation: string,
  batchSize: number,
  flags: number,
): Generator<Batch & { readonly count: number }, undefined> {
  if (checkU32("batchSize", batchSize) === 0) throw new Error("batchSize: must not be 0");
  // No map has more to give; a buffer for more would be wasted.
  const limit = Math.max(1, ref.maxEntries);
  let asked = Math.min(batchSize, limit);
  const cursor = window.cursor();
  while (true) {
    const batch = window.lookupBatch(cmd, operation, ref.fd, cursor, asked, flags);
    const { status, count } = batch;
    if (count !== undefined && count > 0) yield { ...batch, count };
    if (status === -ENOENT) return undefined;
    if (status === -ENOSPC && asked < limit) asked = Math.min(2 * asked, limit);
    else checkStatus(operation, status);
  }
}

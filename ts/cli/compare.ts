/** How fast the counting is, next to the same job on a JavaScript Map, on the capture's packets. */

import type { BpfRuntime } from "../index.js";
import { JsCounter, MapCounter, PacketBatch } from "./counter.js";
import type { CounterOptions } from "./counter.js";
import { flowTupleSize } from "./packet.js";

/** The first packets of a capture, at most `limit`. */
export interface KeptPackets {
  readonly chunks: { readonly tuples: Uint8Array; readonly lengths: Uint32Array }[];
  readonly limit: number;
  count: number;
}

/** Packets per second that each way counted, and over how many packets that was measured. */
export interface Comparison {
  readonly bpfmaps: number;
  readonly map: number;
  /** Packets in a round; each round starts with empty maps. */
  readonly packets: number;
  readonly rounds: number;
}

const warmUpMilliseconds = 150;
const measuredMilliseconds = 400;

/** Keeps a copy of the batch's packets unless there are enough. */
export function keepPackets(kept: KeptPackets, batch: PacketBatch): void {
  if (batch.count === 0 || kept.count + batch.count > kept.limit) return;
  kept.chunks.push({
    tuples: batch.tuples.slice(0, batch.count * flowTupleSize),
    lengths: batch.lengths.slice(0, batch.count),
  });
  kept.count += batch.count;
}

/**
 * Counts the kept packets both ways, batch by batch in turn, in rounds. Only the counting is timed:
 * not reading, decoding, nor the creation of maps. The first rounds warm both up and do not count.
 */
export function compareCounters(
  rt: BpfRuntime,
  options: CounterOptions,
  kept: KeptPackets,
): Comparison | undefined {
  if (kept.count === 0) return undefined;
  const capacity = kept.chunks.reduce((most, { lengths }) => Math.max(most, lengths.length), 0);
  const batch = new PacketBatch(rt, capacity);
  const started = performance.now();
  const total = { bpfmaps: 0, map: 0 };
  let rounds = 0;
  for (;;) {
    const now = performance.now() - started;
    if (rounds > 0 && now > warmUpMilliseconds + measuredMilliseconds) break;
    const isWarmUp = now < warmUpMilliseconds && rounds === 0;
    const round = timeRound(rt, options, kept, batch);
    // A capture so long that one round takes up the time is measured by that round.
    if (isWarmUp && performance.now() - started < warmUpMilliseconds) continue;
    total.bpfmaps += round.bpfmaps;
    total.map += round.map;
    rounds++;
  }
  rt.free(batch.address);
  const packets = rounds * kept.count * 1000;
  return {
    bpfmaps: packets / total.bpfmaps,
    map: packets / total.map,
    packets: kept.count,
    rounds,
  };
}

/** One pass over the packets with empty maps. The result is in milliseconds. */
function timeRound(
  rt: BpfRuntime,
  options: CounterOptions,
  kept: KeptPackets,
  batch: PacketBatch,
): { bpfmaps: number; map: number } {
  const ours = new MapCounter(rt, options);
  const theirs = new JsCounter(options);
  const total = { bpfmaps: 0, map: 0 };
  for (const [index, { tuples, lengths }] of kept.chunks.entries()) {
    batch.tuples.set(tuples);
    batch.lengths.set(lengths);
    batch.count = lengths.length;
    // Whoever comes second finds the packets in the CPU's cache: take turns.
    if (index % 2 === 0) total.bpfmaps += timeCount(ours, batch);
    total.map += timeCount(theirs, batch);
    if (index % 2 !== 0) total.bpfmaps += timeCount(ours, batch);
    rt.cpu = (rt.cpu + 1) % rt.cpus;
  }
  ours.close();
  return total;
}

function timeCount(counter: { count(batch: PacketBatch): void }, batch: PacketBatch): number {
  const started = performance.now();
  counter.count(batch);
  return performance.now() - started;
}

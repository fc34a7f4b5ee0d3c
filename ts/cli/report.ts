/** What `bpfmaps flows` prints at the end. */

import type { Comparison } from "./compare.js";
import type { Counted, CounterOptions } from "./counter.js";
import {
  formatAddress,
  formatCount,
  formatFlow,
  formatRate,
  formatShare,
  formatTable,
} from "./format.js";

/** What the command line asked for. */
export interface FlowsOptions extends CounterOptions {
  readonly key: "srcip" | "flow";
  readonly cpus: number;
  readonly top: number;
  readonly json: boolean;
  readonly compare: boolean;
  /** A path or "-"; undefined for the bundled sample. */
  readonly file: string | undefined;
}

/** Everything that the report says. Lengths are bytes on the wire. */
export interface FlowsReport {
  readonly file: string;
  readonly options: FlowsOptions;
  /** Packets by what became of them; `refused` ones were IP but found the map full. */
  readonly packets: {
    read: number;
    ip: number;
    notIp: number;
    tooShort: number;
    unknownLink: number;
    refused: number;
  };
  /** Bytes of the IP packets, and those of the refused ones among them. */
  readonly bytes: { ip: number; refused: number };
  readonly inserted: number;
  /** The map's entries, the one with most bytes first. */
  readonly entries: readonly Counted[];
  /** From the first to the last packet read, on the clock. */
  readonly seconds: number;
  readonly comparison: Comparison | undefined;
  /** Why the capture could not be read to its end. */
  readonly problem: string | undefined;
}

/** The report as a table with totals below it. */
export function renderReport(report: FlowsReport): string {
  return `${[renderTable(report), ...renderTotals(report)].join("\n")}\n`;
}

function renderTable({ bytes, entries, options }: FlowsReport): string {
  const what = options.key === "flow" ? "flow" : "source";
  const rows = entries
    .slice(0, options.top)
    .map((entry, index) => [
      String(index + 1),
      renderKey(options.key, entry.key),
      formatCount(entry.packets),
      formatCount(entry.bytes),
      formatShare(entry.bytes, bytes.ip),
    ]);
  const heading = ["#", what, "packets", "bytes", "share"];
  const table = formatTable(heading, rows, [true, false, true, true, true]);
  const more = entries.length - rows.length;
  return more > 0 ? `${table}\n(and ${formatCount(more)} more)\n` : `${table}\n`;
}

function renderTotals(report: FlowsReport): string[] {
  const { bytes, comparison, entries, options, packets, seconds } = report;
  const keys = options.key === "flow" ? "flows" : "addresses";
  const counted = packets.ip - packets.refused;
  const lines = [
    `${formatCount(packets.read)} packets read, ${formatCount(counted)} IP packets counted` +
      renderSkipped(packets),
    `${formatCount(entries.length)} ${keys} in the map ` +
      `(${options.type}, ${formatCount(options.maxEntries)} entries), ` +
      `${formatCount(evictions(report))} evictions`,
  ];
  if (packets.refused > 0) {
    lines.push(
      `The map was full: ${formatCount(packets.refused)} packets ` +
        `(${formatCount(bytes.refused)} bytes) of new ${keys} were not counted`,
    );
  }
  const perSecond = packets.read / seconds;
  lines.push(
    `${seconds.toFixed(2)} s from reading to counting, ${formatRate(perSecond)} packets/s`,
  );
  if (comparison !== undefined) {
    const ratio = (comparison.bpfmaps / comparison.map).toFixed(2);
    lines.push(
      `Counting alone: bpfmaps ${formatRate(comparison.bpfmaps)} packets/s, JavaScript Map ` +
        `${formatRate(comparison.map)} packets/s (${ratio} times the Map's speed; ` +
        `${formatCount(comparison.packets)} packets, ${comparison.rounds} rounds)`,
    );
  }
  return lines;
}

function renderSkipped(packets: FlowsReport["packets"]): string {
  const reasons: string[] = [];
  if (packets.notIp > 0) reasons.push(`${formatCount(packets.notIp)} not IP`);
  if (packets.tooShort > 0) reasons.push(`${formatCount(packets.tooShort)} without a whole header`);
  if (packets.unknownLink > 0) {
    reasons.push(`${formatCount(packets.unknownLink)} of an unknown link type`);
  }
  return reasons.length > 0 ? `, skipped: ${reasons.join(", ")}` : ", none skipped";
}

/** The report as one JSON object. */
export function renderReportJson(report: FlowsReport): string {
  const { bytes, comparison, entries, file, inserted, options, packets, problem, seconds } = report;
  const json = {
    file,
    complete: problem === undefined,
    problem: problem ?? null,
    key: options.key,
    type: options.type,
    maxEntries: options.maxEntries,
    cpus: options.cpus,
    packets,
    bytes,
    distinct: entries.length,
    inserted,
    evictions: evictions(report),
    seconds,
    packetsPerSecond: {
      overall: packets.read / seconds,
      bpfmaps: comparison?.bpfmaps ?? null,
      map: comparison?.map ?? null,
    },
    top: entries.slice(0, options.top).map((entry) => ({
      [options.key === "flow" ? "flow" : "source"]: renderKey(options.key, entry.key),
      packets: entry.packets,
      bytes: entry.bytes,
    })),
  };
  return `${JSON.stringify(json, undefined, 2)}\n`;
}

/** Entries that had to make room for others: in an LRU map every insertion either stays or went. */
function evictions(report: FlowsReport): number {
  return report.inserted - report.entries.length;
}

function renderKey(kind: "srcip" | "flow", key: Uint8Array): string {
  return kind === "flow" ? formatFlow(key) : formatAddress(key);
}

// The trace format: operations and the answers a real Linux kernel gave to them, as lines of text
// (test/golden/README.md). This file reads it; trace-machine.ts runs operations; replay.ts compares.

import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import * as uapi from "../../ts/uapi.js";

/** One operation with the answer recorded for it. */
export interface TraceStep {
  /** Line of the operation in the unpacked file, from 1. */
  readonly line: number;
  /** The operation's words; the first is its name. */
  readonly words: readonly string[];
  readonly expected: string;
}

export interface Trace {
  readonly name: string;
  /** The `# key: value` lines. */
  readonly header: ReadonlyMap<string, string>;
  /** Possible CPUs at the recording. */
  readonly cpus: number;
  readonly steps: readonly TraceStep[];
}

/** Reads the text of a trace. Throws when a line is not of the format. */
export function parseTrace(name: string, text: string): Trace {
  const header = new Map<string, string>();
  const steps: TraceStep[] = [];
  const lines = text.split("\n");
  let pending: { readonly line: number; readonly words: readonly string[] } | undefined;
  lines.forEach((content, index) => {
    const line = index + 1;
    if (content.startsWith("> ")) {
      if (pending !== undefined) throw new Error(`${name}:${line}: two operations in a row`);
      pending = { line, words: content.slice(2).split(" ") };
    } else if (content.startsWith("< ")) {
      if (pending === undefined) throw new Error(`${name}:${line}: an answer to nothing`);
      steps.push({ ...pending, expected: content.slice(2) });
      pending = undefined;
    } else if (content.startsWith("#")) {
      const colon = content.indexOf(": ");
      if (colon > 0) header.set(content.slice(2, colon), content.slice(colon + 2));
    } else if (content !== "") throw new Error(`${name}:${line}: not a line of a trace`);
  });
  if (pending !== undefined) throw new Error(`${name}: the last operation has no answer`);
  return { name, header, cpus: Number(header.get("cpus") ?? 1), steps };
}

/** The traces of test/golden, by name. */
export function goldenTraceNames(): string[] {
  return readdirSync(goldenFolder())
    .filter((file) => file.endsWith(".trace.gz"))
    .map((file) => file.slice(0, -".trace.gz".length))
    .toSorted();
}

export function readGoldenTrace(name: string): Trace {
  const file = new URL(`${name}.trace.gz`, goldenFolder());
  return parseTrace(name, gunzipSync(readFileSync(file)).toString("latin1"));
}

function goldenFolder(): URL {
  return new URL("../golden/", import.meta.url);
}

const TYPE_BY_NAME: ReadonlyMap<string, number> = new Map(
  Object.entries(uapi)
    .filter(([key]) => key.startsWith("BPF_MAP_TYPE_"))
    .map(([key, value]) => [key.slice("BPF_MAP_TYPE_".length).toLowerCase(), value]),
);

const NAME_BY_TYPE: ReadonlyMap<number, string> = new Map(
  [...TYPE_BY_NAME].map(([name, type]) => [type, name]),
);

const NAME_BY_ERRNO: ReadonlyMap<number, string> = new Map(
  Object.entries(uapi)
    .filter(([key]) => /^E[A-Z0-9]+$/.test(key))
    .map(([key, value]) => [value, key]),
);

/** Number of a map type by the word the traces use: `hash`, `lpm_trie`... */
export function mapTypeNumber(name: string): number {
  const type = TYPE_BY_NAME.get(name);
  if (type === undefined) throw new Error(`no map type is called ${name}`);
  return type;
}

export function mapTypeName(type: number): string {
  return NAME_BY_TYPE.get(type) ?? String(type);
}

/** Name of an errno, given as the syscall returns it (negative). */
export function errnoName(ret: number): string {
  return NAME_BY_ERRNO.get(-ret) ?? String(ret);
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, i) =>
  i.toString(16).padStart(2, "0"),
);

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += HEX[bytes[i] ?? 0] ?? "";
  return text;
}

/** Bytes of a lower-case hex word. */
export function fromHex(word: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/.test(word)) throw new Error(`not hex: ${word}`);
  const bytes = new Uint8Array(word.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(word.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Orders byte strings as memcmp does. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Sorted integers with ranges joined: `2-8,11`. */
export function joinRanges(sorted: readonly number[]): string {
  const ranges: string[] = [];
  let i = 0;
  while (i < sorted.length) {
    let j = i;
    while (j + 1 < sorted.length && sorted[j + 1] === (sorted[j] ?? 0) + 1) j++;
    ranges.push(i === j ? `${sorted[i]}` : `${sorted[i]}-${sorted[j]}`);
    i = j + 1;
  }
  return ranges.join(",");
}

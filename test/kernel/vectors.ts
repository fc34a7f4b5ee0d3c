// Sequences whose outcome is known by heart: which keys survive on Linux 6.18 with two possible CPUs.
// They say in a few lines what the random sessions find in millions: the eviction rules.

import { ATTR_END, CMD, F, TYPE } from "./abi.js";
import type { Side } from "./driver.js";
import { BUF, OpStream, PATCH, PROG } from "./wire.js";

/** What is done to a fresh map with u32 keys and 8-byte values. */
type Step =
  | readonly ["insert", from: number, to: number]
  | readonly ["exist", key: number]
  | readonly ["noexist", key: number]
  | readonly ["any", key: number]
  | readonly ["delete", key: number]
  | readonly ["lookup", key: number]
  | readonly ["use", key: number]
  | readonly ["cpu", cpu: number];

export interface Vector {
  readonly name: string;
  readonly type: number;
  readonly flags?: number;
  readonly maxEntries: number;
  readonly steps: readonly Step[];
  /** Keys that are present afterwards, as ranges. */
  readonly survivors: string;
}

const LRU = TYPE.LRU_HASH;
const LRU_PERCPU = TYPE.LRU_PERCPU_HASH;

export const VECTORS: readonly Vector[] = [
  row("a single entry makes room", LRU, 1, [["insert", 1, 2]], "2"),
  row("one entry at a time", LRU, 4, [["insert", 1, 5]], "2-5"),
  row("two at a time", LRU, 8, [["insert", 1, 9]], "3-9"),
  row("four at a time", LRU, 16, [["insert", 1, 17]], "5-17"),
  row("at most 128 at a time", LRU, 1024, [["insert", 1, 1025]], "129-1025"),
  row("the last refill evicts what is missing", LRU, 600, [["insert", 1, 601]], "41-601"),
  row(
    "replacing shrinks a full map",
    LRU,
    4,
    [
      ["insert", 1, 4],
      ["exist", 2],
    ],
    "2-4",
  ),
  row(
    "the oldest key evicts itself",
    LRU,
    4,
    [
      ["insert", 1, 4],
      ["exist", 1],
    ],
    "2-4",
  ),
  row(
    "and comes back as the newest",
    LRU,
    4,
    [
      ["insert", 1, 4],
      ["any", 1],
      ["insert", 5, 6],
    ],
    "1,4-6",
  ),
  row(
    "a refused update evicts once",
    LRU,
    4,
    [
      ["insert", 1, 4],
      ["noexist", 4],
      ["noexist", 4],
    ],
    "2-4",
  ),
  row(
    "so does one that finds nothing",
    LRU,
    16,
    [
      ["insert", 1, 16],
      ["exist", 99],
    ],
    "5-16",
  ),
  row(
    "per-CPU maps look first",
    LRU_PERCPU,
    4,
    [
      ["insert", 1, 4],
      ["exist", 1],
      ["exist", 9],
    ],
    "1-4",
  ),
  row(
    "a syscall lookup does not protect",
    LRU,
    4,
    [
      ["insert", 1, 4],
      ["lookup", 1],
      ["insert", 5, 5],
    ],
    "2-5",
  ),
  row(
    "a program's lookup does",
    LRU,
    4,
    [
      ["insert", 1, 4],
      ["use", 1],
      ["insert", 5, 5],
    ],
    "1,3-5",
  ),
  row(
    "deleted entries are not reused at once",
    LRU,
    16,
    [
      ["insert", 1, 16],
      ["delete", 16],
      ["insert", 17, 17],
    ],
    "1-15,17",
  ),
  row("an own list per CPU", LRU, 8, [["insert", 1, 5]], "5", F.NO_COMMON_LRU),
  row(
    "a CPU keeps to its own share",
    LRU,
    8,
    [
      ["insert", 1, 9],
      ["cpu", 1],
      ["insert", 101, 105],
    ],
    "9,105",
    F.NO_COMMON_LRU,
  ),
  row(
    "stealing from another CPU",
    LRU,
    1,
    [
      ["insert", 1, 1],
      ["cpu", 1],
      ["insert", 2, 2],
      ["cpu", 0],
      ["insert", 3, 3],
    ],
    "3",
  ),
];

function row(
  name: string,
  type: number,
  maxEntries: number,
  steps: readonly Step[],
  left: string,
  flags = 0,
): Vector {
  return { name, type, maxEntries, steps, survivors: left, flags };
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function element(ops: OpStream, cmd: number, key: number, valueSize: number, flags: bigint): void {
  ops.bpf(cmd, cmd === CMD.MAP_DELETE_ELEM ? ATTR_END.delete : ATTR_END.elem);
  if (cmd !== CMD.MAP_DELETE_ELEM) ops.attr64(24, flags);
  ops.buffer(8, BUF.IN, 4, u32(key));
  if (cmd === CMD.MAP_UPDATE_ELEM) ops.buffer(16, BUF.IN, valueSize);
  if (cmd === CMD.MAP_LOOKUP_ELEM) ops.buffer(16, BUF.OUT, valueSize);
  ops.patch(0, PATCH.FD, 0, 0);
  ops.endBpf();
}

function step(ops: OpStream, [what, first, last]: Step, valueSize: number): void {
  const to = last ?? first;
  if (what === "cpu") return ops.cpu(first);
  if (what === "use") return ops.prog(0, PROG.LOOKUP, u32(first), new Uint8Array(8), 0n);
  if (what === "delete") return element(ops, CMD.MAP_DELETE_ELEM, first, valueSize, 0n);
  if (what === "lookup") return element(ops, CMD.MAP_LOOKUP_ELEM, first, valueSize, 0n);
  const flags = { insert: 1n, noexist: 1n, exist: 2n, any: 0n }[what];
  for (let key = first; key <= to; key++) {
    element(ops, CMD.MAP_UPDATE_ELEM, key, valueSize, flags);
  }
}

/** Sorted numbers as "1,3-5". */
function ranges(keys: readonly number[]): string {
  const sorted = keys.toSorted((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length;) {
    let j = i;
    while (sorted[j + 1] === (sorted[j] ?? 0) + 1) j++;
    parts.push(i === j ? `${sorted[i]}` : `${sorted[i]}-${sorted[j]}`);
    i = j + 1;
  }
  return parts.join(",");
}

/** Keys that one side has left after a vector's steps. */
export async function survivors(side: Side, vector: Vector, cpus: number): Promise<string> {
  const ops = new OpStream();
  const valueSize = vector.type === LRU_PERCPU ? 8 * cpus : 8;
  ops.bpf(CMD.MAP_CREATE, ATTR_END.create);
  ops.attr32(0, vector.type);
  ops.attr32(4, 4);
  ops.attr32(8, 8);
  ops.attr32(12, vector.maxEntries);
  ops.attr32(16, vector.flags ?? 0);
  ops.result(0);
  ops.endBpf();
  for (const each of vector.steps) step(ops, each, valueSize);
  ops.walk(0, 4, vector.maxEntries + 1);
  const walk = ops.count - 1;
  ops.reset();
  const answers = await side.run(ops);
  const view = new DataView(answers.buffer, answers.byteOffset, answers.byteLength);
  let at = 0;
  for (let i = 0; i < walk; i++) at += 4 + view.getUint32(at, true);
  const count = view.getUint32(at + 8, true);
  return ranges(Array.from({ length: count }, (_, i) => view.getUint32(at + 12 + 4 * i, true)));
}

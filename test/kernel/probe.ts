// What a side can do at all: hosts differ in their cgroups, LSMs and what root may load.

import { CMD } from "./abi.js";
import type { Side } from "./driver.js";
import { makeMap } from "./make-map.js";
import { Random } from "./random.js";
import type { TypeRow } from "./types.js";
import { OP, OpStream, PATH, PROG } from "./wire.js";

/** Results of the records of `ops` on one side. */
async function results(side: Side, ops: OpStream): Promise<number[]> {
  ops.reset();
  const answers = await side.run(ops);
  const view = new DataView(answers.buffer, answers.byteOffset, answers.byteLength);
  const found: number[] = [];
  for (let at = 0; at < answers.length; at += 4 + view.getUint32(at, true)) {
    if (view.getUint32(at, true) >= 4) found.push(view.getInt32(at + 4, true));
  }
  return found;
}

function creation(row: TypeRow, cpus: number): OpStream {
  const ops = new OpStream();
  const random = new Random(1);
  makeMap(random, ops, row, row.shape(random, cpus));
  return ops;
}

/** Whether a map of this type, with the objects it needs, can be made. */
export async function canCreate(side: Side, row: TypeRow, cpus: number): Promise<boolean> {
  return (await results(side, creation(row, cpus))).every((result) => result >= 0);
}

/** Whether the BTF that a row's maps have is understood. */
export async function canLoadBtf(side: Side, row: TypeRow, cpus: number): Promise<boolean> {
  const all = creation(row, cpus);
  const ops = new OpStream();
  for (let i = 0; i < all.count; i++) {
    const record = all.record(i);
    if (record[4] === OP.BPF && record[8] === CMD.BTF_LOAD) ops.append(record);
  }
  return (await results(side, ops)).every((result) => result >= 0);
}

/** Whether a program that looks something up in a map (an array) can be loaded and run. */
export async function canRunPrograms(side: Side, array: TypeRow, cpus: number): Promise<boolean> {
  const ops = creation(array, cpus);
  ops.prog(0, PROG.DELETE, new Uint8Array(4), new Uint8Array(1), 0n);
  // Arrays have nothing to delete: the program's own EINVAL shows that it ran.
  return (await results(side, ops)).at(-1) === -22;
}

/** Whether there is a bpffs of its own to write to. */
export async function hasBpffs(side: Side): Promise<boolean> {
  const ops = new OpStream();
  ops.path(PATH.MKDIR, "/sys/fs/bpf/probe");
  return (await results(side, ops))[0] === 0;
}

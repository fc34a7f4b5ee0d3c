// bpf(2) with every field under the test's control, pointers included: for what the client of bpf.ts
// never does.

import type { Runtime } from "./builds.js";

/** A field of the attr: offset, value; bigint fields are 8 bytes, the others 4. */
export type Field = readonly [offset: number, value: number | bigint];

/** An attr of `size` bytes with these fields. */
export function rawAttr(size: number, ...fields: readonly Field[]): Uint8Array {
  const attr = new DataView(new ArrayBuffer(size));
  for (const [offset, value] of fields) {
    if (typeof value === "bigint") attr.setBigUint64(offset, BigInt.asUintN(64, value), true);
    else attr.setUint32(offset, value >>> 0, true);
  }
  return new Uint8Array(attr.buffer);
}

/** Operands of the commands on one element; pointers are addresses. */
export interface RawElem {
  readonly fd: number;
  readonly key?: number;
  readonly value?: number;
  readonly flags?: bigint | number;
}

/** A command on one element, with all 32 bytes of its attr. */
export function rawElem(rt: Runtime, cmd: number, elem: RawElem, size = 32): number {
  const { fd, key = 0, value = 0, flags = 0 } = elem;
  const fields: Field[] = [
    [0, fd],
    [8, BigInt(key)],
  ];
  if (size >= 24) fields.push([16, BigInt(value)]);
  if (size >= 32) fields.push([24, BigInt(flags)]);
  return rt.bpf(cmd, rawAttr(size, ...fields));
}

/** Operands of the batch commands; pointers are addresses. */
export interface RawBatch {
  readonly fd: number;
  readonly inBatch?: number;
  readonly outBatch?: number;
  readonly keys?: number;
  readonly values?: number;
  readonly count: number;
  readonly elemFlags?: bigint;
  readonly flags?: bigint;
}

/** A batch command: its answer, and the count it left. */
export function rawBatch(
  rt: Runtime,
  cmd: number,
  batch: RawBatch,
): { ret: number; count: number } {
  const attr = rawAttr(
    56,
    [0, BigInt(batch.inBatch ?? 0)],
    [8, BigInt(batch.outBatch ?? 0)],
    [16, BigInt(batch.keys ?? 0)],
    [24, BigInt(batch.values ?? 0)],
    [32, batch.count],
    [36, batch.fd],
    [40, batch.elemFlags ?? 0n],
    [48, batch.flags ?? 0n],
  );
  const ret = rt.bpf(cmd, attr);
  return { ret, count: new DataView(attr.buffer).getUint32(32, true) };
}

/** Copies bytes into fresh memory of the runtime; @returns the address */
export function place(rt: Runtime, bytes: Uint8Array): number {
  const ptr = rt.alloc(bytes.length);
  if (ptr === 0) throw new Error("out of memory");
  new Uint8Array(rt.memory.buffer).set(bytes, ptr);
  return ptr;
}

/** A copy of the runtime's memory. */
export function peek(rt: Runtime, ptr: number, length: number): Uint8Array {
  return new Uint8Array(rt.memory.buffer).slice(ptr, ptr + length);
}

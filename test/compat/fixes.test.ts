// Where npm `bpf` is at fault and this library is not.

import { getSystemErrorName } from "node:util";
import { describe, expect, test } from "vitest";
import * as bpf from "../../ts/bpf-compat.js";
import * as uapi from "../../ts/uapi.js";
import { attempt } from "./script.js";
import { describeCompat } from "./support.js";

const { MapType, MapFlags } = bpf;

function u64s(...values: bigint[]): Buffer {
  return Buffer.from(BigUint64Array.from(values).buffer);
}

describeCompat("values of per-CPU types have a slot for each CPU", { cpus: 3 }, () => {
  const types = [MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH];

  test.each(types)("RawMap takes and gives all slots: type %i", (type) => {
    const map = new bpf.RawMap(bpf.createMap({ type, keySize: 4, valueSize: 5, maxEntries: 4 }));
    const key = Buffer.from([1, 0, 0, 0]);
    const value = Buffer.from("cpu0_...cpu1_...cpu2_...");
    expect(map.valueBufferSize).toBe(24);
    expect(() => map.set(key, Buffer.alloc(5))).toThrow(Error);
    map.set(key, value);
    const read = map.get(key) as Buffer;
    expect(read).toHaveLength(24);
    for (const cpu of [0, 1, 2]) {
      const slot = read.subarray(8 * cpu, 8 * cpu + 5);
      expect(slot.toString()).toBe(`cpu${cpu}_`);
    }
    expect(() => map.get(key, 0, Buffer.alloc(5))).toThrow(Error);
    map.ref.close();
  });

  test("what programs see is one CPU's slot", () => {
    const ref = bpf.createMap({
      type: MapType.PERCPU_HASH,
      keySize: 4,
      valueSize: 8,
      maxEntries: 4,
    });
    new bpf.RawMap(ref).set(Buffer.alloc(4), u64s(10n, 20n, 30n));
    const { runtime } = bpf;
    const key = runtime.alloc(8);
    new Uint8Array(runtime.memory.buffer).fill(0, key, key + 8);
    runtime.cpu = 1;
    const handle = runtime.exports.bpf_map_by_fd(ref.fd);
    const value = runtime.exports.bpf_map_lookup_elem(handle, key) >>> 0;
    expect(new DataView(runtime.memory.buffer).getBigUint64(value, true)).toBe(20n);
  });

  test("batches carry all slots", () => {
    const ref = bpf.createMap({
      type: MapType.PERCPU_HASH,
      keySize: 4,
      valueSize: 8,
      maxEntries: 9,
    });
    const map = new bpf.RawMap(ref);
    const entries = [1, 2, 3].map((n): [Buffer, Buffer] => [
      Buffer.from([n, 0, 0, 0]),
      u64s(BigInt(n), BigInt(10 * n), BigInt(100 * n)),
    ]);
    map.setBatch(entries);
    const found = [...map.getBatch(9)].flat().toSorted(([a], [b]) => a.compare(b));
    expect(found).toEqual(entries);
  });

  test("perCpuType converts to one value a CPU", () => {
    const ref = bpf.createMap({
      type: MapType.PERCPU_HASH,
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
    });
    const map = new bpf.ConvMap(ref, bpf.u32type, bpf.perCpuType(bpf.u32type, 4));
    map.set(7, [1, 2, 3]);
    expect(map.get(7)).toEqual([1, 2, 3]);
    expect([...map]).toEqual([[7, [1, 2, 3]]]);
    expect(() => map.set(7, [1, 2])).toThrow("3 values");
  });
});

describeCompat("batches", {}, () => {
  test.each([1, 2, 3])("the cursor has room for a bucket's number: keys of %i bytes", (keySize) => {
    const def = { type: MapType.HASH, keySize, valueSize: 4, maxEntries: 200 };
    const map = new bpf.RawMap(bpf.createMap(def));
    for (let n = 0; n < 200; n++) map.set(Buffer.alloc(keySize, n), Buffer.alloc(4, n));
    const found = [...map.getBatch(60)].flat();
    expect(found).toHaveLength(200);
    for (const [key, value] of found) expect(key[0]).toBe(value[0]);
    expect(new Set(found.map(([key]) => key[0])).size).toBe(200);
  });

  test("a batch too small for a bucket grows, and what is handed out is not larger than asked", () => {
    const def = { type: MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 300 };
    const map = new bpf.ConvMap(bpf.createMap(def), bpf.u32type, bpf.u32type);
    map.setBatch(Array.from({ length: 300 }, (_, n) => [n, 2 * n]));
    for (const size of [1, 2, 7]) {
      const batches = [...map.getBatch(size)];
      expect(batches.every((batch) => batch.length >= 1 && batch.length <= size)).toBe(true);
      const found = batches.flat().toSorted(([a], [b]) => a - b);
      expect(found).toEqual(Array.from({ length: 300 }, (_, n) => [n, 2 * n]));
    }
  });

  test("a batch larger than the map takes no more memory than the map can fill", () => {
    const def = { type: MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 10 };
    const map = new bpf.ConvMap(bpf.createMap(def), bpf.u32type, bpf.u32type);
    map.set(1, 2);
    const before = bpf.runtime.exports.mem_used();
    expect([...map.getBatch(0xffffffff)]).toEqual([[[1, 2]]]);
    expect(bpf.runtime.exports.mem_used() - before).toBeLessThan(1000);
  });

  test("walks do not disturb each other, nor other calls", () => {
    const map = bpf.createArrayMap(10, 4, bpf.u32type);
    map.setAll([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const [first, second] = [map.getBatch(4), map.getBatch(3)];
    expect(first.next().value).toEqual([0, 1, 2, 3]);
    expect(second.next().value).toEqual([0, 1, 2]);
    map.set(4, 44);
    expect(map.get(9)).toBe(9);
    expect([...first].flat()).toEqual([44, 5, 6, 7, 8, 9]);
    expect([...second].flat()).toEqual([3, 44, 5, 6, 7, 8, 9]);
  });

  test("getDeleteBatch empties a map", () => {
    const def = { type: MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 100 };
    const map = new bpf.ConvMap(bpf.createMap(def), bpf.u32type, bpf.u32type);
    map.setBatch(Array.from({ length: 100 }, (_, n) => [n, n + 1]));
    const [first = []] = map.getDeleteBatch(30);
    expect(first.length).toBeGreaterThan(0);
    for (const [key] of first) expect(map.has(key)).toBe(false);
    const rest = [...map.getDeleteBatch(1)].flat();
    expect([...map]).toEqual([]);
    const all = [...first, ...rest].toSorted(([a], [b]) => a - b);
    expect(all).toEqual(Array.from({ length: 100 }, (_, n) => [n, n + 1]));
    expect([...map.getDeleteBatch(1)]).toEqual([]);
  });

  test("getDeleteBatch of a type without it is ENOTSUPP", () => {
    const ref = bpf.createMap({ type: MapType.ARRAY, keySize: 4, valueSize: 4, maxEntries: 4 });
    const answer = attempt(bpf, () => [...new bpf.RawMap(ref).getDeleteBatch(4)]);
    expect(answer).toBe("BPFError ENOTSUPP bpf_map_lookup_and_delete_batch 524 ENOTSUPP undefined");
  });
});

describe("the enums are those of Linux 6.18", () => {
  const constants = Object.entries(uapi as Record<string, number>);

  test("MapType", () => {
    const types = constants.filter(
      ([name, value]) => name.startsWith("BPF_MAP_TYPE_") && value > 0,
    );
    expect(types).toHaveLength(uapi.MAX_BPF_MAP_TYPE - 1);
    for (const [name, value] of types)
      expect(MapType[value]).toBe(name.slice("BPF_MAP_TYPE_".length));
  });

  test("MapFlags", () => {
    for (const [name, value] of constants) {
      const flag = name.slice("BPF_F_".length);
      if (name.startsWith("BPF_F_") && flag in MapFlags) expect(MapFlags[value]).toBe(flag);
    }
    expect(MapFlags.NO_USER_CONV).toBe(uapi.BPF_F_NO_USER_CONV);
  });

  test("ProgramType and AttachType end where the kernel's do", () => {
    expect(bpf.ProgramType.NETFILTER).toBe(32);
    expect(bpf.AttachType.TRACE_UPROBE_SESSION).toBe(57);
    expect(Object.keys(bpf.ProgramType)).toHaveLength(2 * 32);
    expect(Object.keys(bpf.AttachType)).toHaveLength(2 * 58);
  });
});

describe("u32type", () => {
  test.each([0, 1, 0x01020304, 0x80000000, 0xffffffff])("carries %i, little-endian", (value) => {
    const bytes = Buffer.alloc(4, 0xaa);
    bpf.u32type.format(bytes, value);
    expect(bytes.readUInt32LE()).toBe(value);
    expect(bpf.u32type.parse(bytes)).toBe(value);
  });

  test("does with numbers out of range what a Uint32Array does", () => {
    const bytes = Buffer.alloc(4);
    for (const value of [-1, 2 ** 32 + 5, 1.75, Number.NaN, -2.5, 2 ** 40 + 2 ** 31]) {
      bpf.u32type.format(bytes, value);
      expect(bpf.u32type.parse(bytes)).toBe(Uint32Array.of(value)[0]);
    }
  });

  test("needs four bytes", () => {
    expect(() => bpf.u32type.parse(Buffer.alloc(3))).toThrow(RangeError);
    expect(() => bpf.u32type.format(Buffer.alloc(3), 1)).toThrow(RangeError);
  });
});

describe("BPFError", () => {
  test("knows EBADFD, ENOTSUPP and libbpf's numbers, and says when it knows nothing", () => {
    expect(bpf.BPFError.getCode(uapi.EBADFD)).toBe("EBADFD");
    expect(bpf.BPFError.getCode(uapi.ENOTSUPP)).toBe("ENOTSUPP");
    // As Node calls it, and so npm `bpf`.
    expect(bpf.BPFError.getCode(uapi.EOPNOTSUPP)).toBe(getSystemErrorName(-uapi.EOPNOTSUPP));
    expect(bpf.BPFError.getCode(bpf.LibbpfErrno.ENDIAN)).toBe("ENDIAN");
    expect(bpf.BPFError.getCode(9999)).toBe("Unknown system error -9999");
    expect(new bpf.BPFError(bpf.LibbpfErrno.RELOC, "load").message).toBe("a relocation failed");
  });
});

describeCompat("a memory that grows", {}, () => {
  test("takes values whole wherever they lie", () => {
    for (let round = 0; round < 40; round++) {
      const spec = { type: MapType.ARRAY, keySize: 4, valueSize: 100_000, maxEntries: 1 };
      const ref = bpf.createMap(spec);
      const map = new bpf.RawMap(ref);
      const value = Buffer.alloc(spec.valueSize, round + 1);
      map.set(Buffer.alloc(4), value);
      expect(value.equals(map.get(Buffer.alloc(4)) as Buffer)).toBe(true);
    }
  });
});

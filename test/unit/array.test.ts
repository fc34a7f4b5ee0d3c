// ARRAY and PERCPU_ARRAY: elements, batches, the program's side. Answers of Linux 6.18.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import type { CreateSpec } from "../support/attr.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { u32At, u32s, u64s, wordsOf } from "../support/bytes.js";
import { expectSound } from "../support/debug.js";
import { peek, place, rawBatch } from "../support/raw.js";

const { E2BIG, EEXIST, EFAULT, EINVAL, ENOENT, ENOTSUPP, EPERM } = uapi;
const ARRAY = uapi.BPF_MAP_TYPE_ARRAY;
const PERCPU_ARRAY = uapi.BPF_MAP_TYPE_PERCPU_ARRAY;
const COMMANDS = {
  lookup: uapi.BPF_MAP_LOOKUP_BATCH,
  lookupAndDelete: uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH,
  update: uapi.BPF_MAP_UPDATE_BATCH,
  delete: uapi.BPF_MAP_DELETE_BATCH,
};

describeEachBuild("arrays", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2 });
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  function create(spec: Partial<CreateSpec> = {}): number {
    const fd = client.create({ type: ARRAY, keySize: 4, valueSize: 8, maxEntries: 6, ...spec });
    expect(fd).toBeGreaterThan(2);
    return fd;
  }

  const next = (fd: number, key: number | null): number => {
    const { ret, out } = client.nextKey(fd, key === null ? null : u32s(key), 4);
    return ret < 0 ? ret : u32At(out);
  };

  it("are zero at first, whatever was in the memory before", () => {
    for (const type of [ARRAY, PERCPU_ARRAY]) {
      for (let round = 0; round < 3; round++) {
        const fd = create({ type, valueSize: 13, maxEntries: 50 });
        const size = type === ARRAY ? 13 : 32;
        for (let key = 0; key < 50; key++) {
          expect(client.lookup(fd, u32s(key), size).out).toEqual(new Uint8Array(size));
          client.update(fd, u32s(key), new Uint8Array(size).fill(0xff));
        }
        expectSound(rt, fd);
        rt.close(fd);
      }
    }
  });

  it("walk their indices; whatever is no index starts anew", () => {
    for (const type of [ARRAY, PERCPU_ARRAY]) {
      const fd = create({ type });
      expect([null, 0, 4, 5, 6, 0x80000000, 0xffffffff].map((key) => next(fd, key))).toEqual([
        0,
        1,
        5,
        -ENOENT,
        0,
        0,
        0,
      ]);
    }
  });

  it("keep values apart that are no multiple of 8", () => {
    for (const valueSize of [1, 3, 5, 7, 9, 12, 300]) {
      const fd = create({ valueSize });
      const value = (key: number): Uint8Array => new Uint8Array(valueSize).fill(key + 1);
      for (const key of [3, 0, 5, 1, 2, 4]) client.update(fd, u32s(key), value(key));
      for (let key = 0; key < 6; key++)
        expect(client.lookup(fd, u32s(key), valueSize).out).toEqual(value(key));
    }
  });

  it("transfer every CPU's slot with its padding", () => {
    for (const valueSize of [1, 5, 9, 13]) {
      const fd = create({ type: PERCPU_ARRAY, valueSize });
      const size = Math.ceil(valueSize / 8) * 16;
      const value = new Uint8Array(size).map((_, i) => i + 1);
      for (let key = 0; key < 6; key++) expect(client.update(fd, u32s(key), value)).toBe(0);
      for (let key = 0; key < 6; key++)
        expect(client.lookup(fd, u32s(key), size).out).toEqual(value);
    }
  });

  it("give programs addresses that stay, of the current CPU", () => {
    const fd = create({ type: PERCPU_ARRAY, valueSize: 5 });
    const map = rt.exports.bpf_map_by_fd(fd);
    const key = place(rt, u32s(3));
    const value = place(rt, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    rt.cpu = 1;
    expect(rt.exports.bpf_map_update_elem(map, key, value, 0n)).toBe(0);
    const zeros = [0, 0, 0, 0, 0, 0, 0, 0];
    expect([...client.lookup(fd, u32s(3), 16).out]).toEqual([...zeros, 1, 2, 3, 4, 5, 0, 0, 0]);
    const slots = [0, 1].map((cpu) => rt.exports.bpf_map_lookup_percpu_elem(map, key, cpu) >>> 0);
    expect(rt.exports.bpf_map_lookup_elem(map, key) >>> 0).toBe(slots[1]);
    for (const slot of slots) {
      expect(rt.exports.bpf_valid_range(slot, 5)).toBe(1);
      expect(rt.exports.bpf_valid_range(slot, 6)).toBe(0);
      expect(rt.exports.bpf_valid_range(slot - 1, 1)).toBe(0);
    }
    for (const cpu of [2, 99, -1])
      expect(rt.exports.bpf_map_lookup_percpu_elem(map, key, cpu)).toBe(0);
    new Uint8Array(rt.memory.buffer).set(u32s(6), key);
    expect(rt.exports.bpf_map_lookup_elem(map, key)).toBe(0);
    expect(rt.exports.bpf_map_lookup_percpu_elem(map, key, 0)).toBe(0);
    const plain = rt.exports.bpf_map_by_fd(create());
    new Uint8Array(rt.memory.buffer).set(u32s(0), key);
    expect(rt.exports.bpf_map_lookup_percpu_elem(plain, key, 0)).toBe(0);
  });

  it("have the kernel's answers for programs", () => {
    for (const type of [ARRAY, PERCPU_ARRAY]) {
      const map = rt.exports.bpf_map_by_fd(create({ type }));
      const value = place(rt, u64s(1));
      const inside = place(rt, u32s(5));
      const outside = place(rt, u32s(6));
      const update = (key: number, flags: bigint): number =>
        rt.exports.bpf_map_update_elem(map, key, value, flags);
      expect(update(inside, 0n)).toBe(0);
      expect(update(inside, 1n)).toBe(-EEXIST);
      expect(update(inside, 2n)).toBe(0);
      expect(update(inside, 3n)).toBe(-EINVAL);
      expect(update(inside, 1n << 32n)).toBe(-EINVAL);
      expect(update(outside, 1n)).toBe(-E2BIG);
      expect(rt.exports.bpf_map_delete_elem(map, inside)).toBe(-EINVAL);
      expect(rt.exports.bpf_map_sum_elem_count(map)).toBe(BigInt(-EINVAL));
    }
  });

  it("BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG do not concern clients", () => {
    for (const flags of [uapi.BPF_F_RDONLY_PROG, uapi.BPF_F_WRONLY_PROG]) {
      const fd = create({ flags });
      expect(client.update(fd, u32s(1), u64s(5))).toBe(0);
      expect(client.lookup(fd, u32s(1), 8).out).toEqual(u64s(5));
    }
  });

  /** A lookup batch; cursor: the last key. */
  function lookupBatch(fd: number, count: number, cursor: number | null, slots = 1) {
    const token = cursor === null ? null : u32s(cursor);
    const batch = { fd, keySize: 4, valueSize: 8 * slots, tokenSize: 4, token, count };
    const result = client.lookupBatch(batch);
    const left = result.token === null ? null : u32At(result.token);
    return {
      ret: result.ret,
      count: result.count,
      next: left,
      keys: wordsOf(result.keys),
      values: result.values,
    };
  }

  it("batch by keys: the end is ENOENT, a batch that just fits is 0", () => {
    const fd = create();
    expect(lookupBatch(fd, 4, null)).toMatchObject({
      ret: 0,
      count: 4,
      next: 3,
      keys: [0, 1, 2, 3],
    });
    expect(lookupBatch(fd, 4, 3)).toMatchObject({ ret: -ENOENT, count: 2, next: 5, keys: [4, 5] });
    expect(lookupBatch(fd, 6, null)).toMatchObject({ ret: 0, count: 6, next: 5 });
    expect(lookupBatch(fd, 6, 5)).toMatchObject({ ret: -ENOENT, count: 0, next: null });
    expect(lookupBatch(fd, 7, null)).toMatchObject({ ret: -ENOENT, count: 6, next: 5 });
    expect(lookupBatch(fd, 2, 6)).toMatchObject({ ret: 0, count: 2, keys: [0, 1] });
    expect(lookupBatch(fd, 2, 0xffffffff)).toMatchObject({ ret: 0, count: 2, keys: [0, 1] });
  });

  it("batch all CPUs' slots", () => {
    const fd = create({ type: PERCPU_ARRAY });
    const values = u64s(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    const all = { fd, keys: u32s(0, 1, 2, 3, 4, 5), values, count: 6 };
    expect(client.updateBatch(all)).toMatchObject({ ret: 0, count: 6 });
    expect(lookupBatch(fd, 7, null, 2)).toMatchObject({ ret: -ENOENT, count: 6, values });
  });

  it("have no batches that delete", () => {
    for (const type of [ARRAY, PERCPU_ARRAY]) {
      const fd = create({ type });
      for (const cmd of [COMMANDS.lookupAndDelete, COMMANDS.delete]) {
        expect(rawBatch(rt, cmd, { fd, count: 7 })).toEqual({ ret: -ENOTSUPP, count: 7 });
        expect(rawBatch(rt, cmd, { fd, count: 7, elemFlags: 9n })).toEqual({
          ret: -ENOTSUPP,
          count: 7,
        });
      }
      client.freeze(fd);
      expect(rawBatch(rt, COMMANDS.delete, { fd, count: 7 })).toEqual({ ret: -EPERM, count: 7 });
    }
  });

  it("update batches stop at the first error; flags of the batch do not matter", () => {
    const fd = create();
    const values = u64s(11, 12, 13);
    expect(client.updateBatch({ fd, keys: u32s(1, 6, 2), values, count: 3 })).toMatchObject({
      ret: -E2BIG,
      count: 1,
    });
    expect(client.lookup(fd, u32s(1), 8).out).toEqual(u64s(11));
    expect(client.lookup(fd, u32s(2), 8).out).toEqual(u64s(0));
    const flagged = { fd, keys: u32s(1), values, count: 1, flags: 99 };
    expect(client.updateBatch(flagged)).toMatchObject({ ret: 0, count: 1 });
    for (const elemFlags of [1, 2, 4, 8]) {
      expect(client.updateBatch({ fd, keys: u32s(1), values, count: 1, elemFlags }).ret).toBe(
        -EINVAL,
      );
    }
    expect(rawBatch(rt, COMMANDS.lookup, { fd, count: 0, flags: 99n })).toEqual({
      ret: 0,
      count: 0,
    });
  });

  it("batches with bad pointers", () => {
    const fd = create();
    const room = place(rt, new Uint8Array(200));
    const cursor = place(rt, u32s(0xdbdb));
    const lookup = { fd, outBatch: cursor, keys: room, values: room + 100, count: 3 };
    // The count is stored before the cursor is.
    expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, outBatch: 0 })).toEqual({
      ret: -EFAULT,
      count: 3,
    });
    expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, values: 0 })).toEqual({
      ret: -EFAULT,
      count: 0,
    });
    expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, keys: 0 })).toEqual({
      ret: -EFAULT,
      count: 0,
    });
    const end = rt.memory.buffer.byteLength;
    // Nothing is said of the first element, which could be copied.
    expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, values: end - 12 })).toEqual({
      ret: -EFAULT,
      count: 0,
    });
    expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, inBatch: end - 3 })).toEqual({
      ret: -EFAULT,
      count: 0,
    });
    expect(peek(rt, cursor, 4)).toEqual(u32s(0xdbdb));
    expect(rawBatch(rt, COMMANDS.update, { fd, keys: 0, values: room, count: 3 })).toEqual({
      ret: -EFAULT,
      count: 0,
    });
    expect(rawBatch(rt, COMMANDS.update, { fd, keys: room, values: end - 20, count: 3 })).toEqual({
      ret: -EFAULT,
      count: 2,
    });
  });
});

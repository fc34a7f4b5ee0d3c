// The hash types: order, batches, per-CPU slots, the program's side. Answers of
// Linux 6.18.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import type { CreateSpec } from "../support/attr.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { range, u32At, u32s, u64s, wordsOf } from "../support/bytes.js";
import { expectSound } from "../support/debug.js";
import { peek, place, rawAttr, rawBatch } from "../support/raw.js";
import { walk } from "../support/walk.js";

const { E2BIG, EEXIST, EFAULT, EINVAL, ENOENT, ENOSPC, EPERM } = uapi;
const HASH = uapi.BPF_MAP_TYPE_HASH;
const PERCPU_HASH = uapi.BPF_MAP_TYPE_PERCPU_HASH;
const LRU = uapi.BPF_MAP_TYPE_LRU_HASH;
const LRU_PERCPU = uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH;
const HASHES = [HASH, PERCPU_HASH, LRU, LRU_PERCPU];

describeEachBuild("hash types", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2 });
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  function create(spec: Partial<CreateSpec> = {}): number {
    const fd = client.create({ type: HASH, keySize: 4, valueSize: 8, maxEntries: 16, ...spec });
    expect(fd).toBeGreaterThan(2);
    return fd;
  }

  const update = (fd: number, key: number, flags = 0): number =>
    client.update(fd, u32s(key), u64s(key, key), flags);

  describe("order", () => {
    it("is the kernel's under BPF_F_ZERO_SEED", () => {
      const fd = create({ maxEntries: 64, flags: uapi.BPF_F_ZERO_SEED });
      for (const key of range("0-9")) update(fd, key);
      expect(walk(client, fd)).toEqual([2, 8, 9, 3, 7, 1, 4, 5, 0, 6]);
    });

    it("a replaced element moves to the front of its bucket, a per-CPU one stays", () => {
      // One bucket of eight keys.
      const all = range("1-8");
      for (const type of [HASH, LRU, PERCPU_HASH, LRU_PERCPU]) {
        const fd = create({ type, maxEntries: 64, flags: uapi.BPF_F_ZERO_SEED });
        const chains = new Map<number, number[]>();
        for (let key = 0; ![...chains.values()].some((keys) => keys.length === 3); key++) {
          update(fd, key);
          const bucket = bucketOf(fd, 64);
          chains.set(bucket, [...(chains.get(bucket) ?? []), key]);
          client.delete(fd, u32s(key));
        }
        const chain = [...chains.values()].find((keys) => keys.length === 3) ?? all;
        for (const key of chain) update(fd, key);
        const [a = 0, b = 0, c = 0] = chain;
        expect(walk(client, fd)).toEqual([c, b, a]);
        update(fd, a);
        const isPercpu = type === PERCPU_HASH || type === LRU_PERCPU;
        expect(walk(client, fd), `type ${type}`).toEqual(isPercpu ? [c, b, a] : [a, c, b]);
      }
    });

    /** The bucket of a map's only element. */
    function bucketOf(fd: number, buckets: number): number {
      for (let bucket = 1; bucket <= buckets; bucket++) {
        const token = bucket === buckets ? null : u32s(bucket);
        if (token === null || lookupBatch(fd, 4, bucket).count === 0) return bucket - 1;
      }
      return 0;
    }

    it("fetching the next key before deleting visits each once; deleting first drains too", () => {
      const fd = create({ maxEntries: 200 });
      for (const key of range("1-200")) update(fd, key);
      let visits = 0;
      for (let next = client.nextKey(fd, null, 4); next.ret === 0; visits++) {
        const current = next.out;
        next = client.nextKey(fd, current, 4);
        expect(client.delete(fd, current)).toBe(0);
      }
      expect([visits, walk(client, fd).length]).toEqual([200, 0]);
      for (const key of range("1-200")) update(fd, key);
      for (let next = client.nextKey(fd, null, 4); next.ret === 0;) {
        expect(client.delete(fd, next.out)).toBe(0);
        next = client.nextKey(fd, next.out, 4);
      }
      expect(walk(client, fd)).toEqual([]);
    });
  });

  /** A batch of a hash with 4-byte keys and 8-byte values; cursor: a bucket. */
  function lookupBatch(fd: number, count: number, cursor: number | null, andDelete = false) {
    const token = cursor === null ? null : u32s(cursor);
    const batch = { fd, keySize: 4, valueSize: 8, tokenSize: 4, token, count };
    const result = andDelete ? client.lookupAndDeleteBatch(batch) : client.lookupBatch(batch);
    const next = result.token === null ? null : u32At(result.token);
    return { ret: result.ret, count: result.count, next, keys: wordsOf(result.keys) };
  }

  /** Batches of `count` until the end: "c2@8" is 2 elements, then bucket 8. */
  function batchSteps(fd: number, count: number): string[] {
    const steps: string[] = [];
    let cursor: number | null = null;
    while (steps.length < 20) {
      const { ret, count: got, next } = lookupBatch(fd, count, cursor);
      const errno =
        ret === 0 ? "" : ret === -ENOENT ? "ENOENT " : ret === -ENOSPC ? "ENOSPC " : `${ret} `;
      steps.push(`${errno}c${got}@${next}`);
      if (ret !== 0) break;
      cursor = next;
    }
    return steps;
  }

  describe("batches", () => {
    const ORDER = [4, 5, 0, 7, 2, 1, 8, 9, 6, 3];

    function filled(): number {
      const fd = create({ maxEntries: 10, flags: uapi.BPF_F_ZERO_SEED });
      for (const key of range("0-9")) update(fd, key);
      expect(walk(client, fd)).toEqual(ORDER);
      return fd;
    }

    it("stop before a bucket they have no room for", () => {
      const fd = filled();
      expect(batchSteps(fd, 2)).toEqual([
        "c2@8",
        "c1@10",
        "c2@11",
        "c2@13",
        "c2@15",
        "ENOENT c1@16",
      ]);
      expect(batchSteps(fd, 1)).toEqual(["c1@6", "c1@8", "c1@10", "ENOSPC c0@10"]);
      expect(batchSteps(fd, 4)).toEqual(["c3@10", "c4@13", "ENOENT c3@16"]);
      expect(batchSteps(fd, 10)).toEqual(["ENOENT c10@16"]);
      expect(lookupBatch(fd, 100, null).keys).toEqual(ORDER);
    });

    it("end with ENOENT, also of an empty map and behind the last bucket", () => {
      expect(lookupBatch(create(), 4, null)).toEqual({
        ret: -ENOENT,
        count: 0,
        next: 16,
        keys: [],
      });
      expect(lookupBatch(filled(), 4, 16)).toEqual({
        ret: -ENOENT,
        count: 0,
        next: null,
        keys: [],
      });
    });

    it("of all hash types do all four commands", () => {
      for (const type of HASHES) {
        const fd = create({ type });
        const slots = type === PERCPU_HASH || type === LRU_PERCPU ? 2 : 1;
        const values = u64s(...range("1-10").flatMap((key) => Array(slots).fill(key)));
        const keys = u32s(...range("1-10"));
        expect(client.updateBatch({ fd, keys, values, count: 10 })).toMatchObject({
          ret: 0,
          count: 10,
        });
        const batch = {
          fd,
          keySize: 4,
          valueSize: 8 * slots,
          tokenSize: 4,
          token: null,
          count: 10,
        };
        const seen = client.lookupBatch(batch);
        expect([seen.ret, seen.count]).toEqual([-ENOENT, 10]);
        wordsOf(seen.keys).forEach((key, i) => {
          const at = i * 8 * slots;
          expect(seen.values.slice(at, at + 8 * slots)).toEqual(u64s(...Array(slots).fill(key)));
        });
        expect(client.deleteBatch({ fd, keys: u32s(1, 2), values: null, count: 2 })).toMatchObject({
          ret: 0,
          count: 2,
        });
        const taken = client.lookupAndDeleteBatch(batch);
        expect([taken.ret, taken.count]).toEqual([-ENOENT, 8]);
        expect(walk(client, fd)).toEqual([]);
        expectSound(rt, fd);
      }
    });

    it("update and delete up to the first error", () => {
      const fd = create({ maxEntries: 10 });
      const keys = range("1-12");
      const full = client.updateBatch({
        fd,
        keys: u32s(...keys),
        values: u64s(...keys),
        count: 12,
      });
      expect([full.ret, full.count]).toEqual([-E2BIG, 10]);
      const del = (...what: number[]): unknown => {
        const { ret, count } = client.deleteBatch({
          fd,
          keys: u32s(...what),
          values: null,
          count: what.length,
        });
        return [ret, count];
      };
      expect(del(3, 99, 4)).toEqual([-ENOENT, 1]);
      expect(client.lookup(fd, u32s(4), 8).ret).toBe(0);
      expect(del(1, 2, 1)).toEqual([-ENOENT, 2]);
      // Twice the same key: the last value counts.
      const twice = { fd, keys: u32s(5, 5), values: u64s(50, 51), count: 2 };
      expect(client.updateBatch(twice)).toMatchObject({ ret: 0, count: 2 });
      expect(client.lookup(fd, u32s(5), 8).out).toEqual(u64s(51));
    });

    const COMMANDS = {
      lookup: uapi.BPF_MAP_LOOKUP_BATCH,
      lookupAndDelete: uapi.BPF_MAP_LOOKUP_AND_DELETE_BATCH,
      update: uapi.BPF_MAP_UPDATE_BATCH,
      delete: uapi.BPF_MAP_DELETE_BATCH,
    };

    it("leave the count alone when refused", () => {
      const fd = filled();
      for (const [name, cmd] of Object.entries(COMMANDS)) {
        for (const elemFlags of [1n, 2n, 3n, 4n, 8n, 1n << 32n]) {
          expect(rawBatch(rt, cmd, { fd, count: 7, elemFlags }), name).toEqual({
            ret: -EINVAL,
            count: 7,
          });
          expect(rawBatch(rt, cmd, { fd, count: 0, elemFlags }), name).toEqual({
            ret: -EINVAL,
            count: 0,
          });
        }
        expect(rawBatch(rt, cmd, { fd: 99, count: 7 }), name).toEqual({
          ret: -uapi.EBADF,
          count: 7,
        });
        expect(rawBatch(rt, cmd, { fd: 0, count: 7 }), name).toEqual({ ret: -EINVAL, count: 7 });
        const isLookup = name.startsWith("lookup");
        const withFlags = rawBatch(rt, cmd, { fd, count: 0, flags: 1n });
        expect(withFlags.ret, name).toBe(isLookup ? -EINVAL : 0);
        expect(rawBatch(rt, cmd, { fd, count: 0 }), name).toEqual({ ret: 0, count: 0 });
      }
      expect(walk(client, fd)).toEqual(ORDER);
    });

    it("need the fd's modes, and a map that is not frozen", () => {
      const fd = filled();
      const id = client.info(fd).info?.id ?? 0;
      const ro = client.getFdById(id, uapi.BPF_F_RDONLY);
      const wo = client.getFdById(id, uapi.BPF_F_WRONLY);
      const refused = (open: number): string[] =>
        Object.entries(COMMANDS)
          .filter(([, cmd]) => rawBatch(rt, cmd, { fd: open, count: 0 }).ret === -EPERM)
          .map(([name]) => name);
      expect(refused(fd)).toEqual([]);
      expect(refused(ro)).toEqual(["lookupAndDelete", "update", "delete"]);
      expect(refused(wo)).toEqual(["lookup", "lookupAndDelete"]);
      expect(client.freeze(fd)).toBe(0);
      expect(refused(fd)).toEqual(["lookupAndDelete", "update", "delete"]);
      expect(rawBatch(rt, COMMANDS.update, { fd, count: 7 })).toEqual({ ret: -EPERM, count: 7 });
    });

    it("with bad pointers: what was done before is done", () => {
      const fd = filled();
      // A page behind all that is the core's.
      rt.memory.grow(1);
      const end = rt.memory.buffer.byteLength;
      const room = place(rt, new Uint8Array(400));
      const memory = new Uint8Array(rt.memory.buffer);
      // Keys that end with the memory: three of five can be read.
      memory.set(u32s(20, 21, 22), end - 12);
      const small = create();
      expect(
        rawBatch(rt, COMMANDS.update, { fd: small, keys: end - 12, values: room, count: 5 }),
      ).toEqual({
        ret: -EFAULT,
        count: 3,
      });
      expect(walk(client, small).toSorted((a, b) => a - b)).toEqual([20, 21, 22]);
      expect(rawBatch(rt, COMMANDS.delete, { fd: small, keys: end - 8, count: 5 })).toEqual({
        ret: -EFAULT,
        count: 2,
      });
      const cursor = place(rt, u32s(0xdbdb));
      // No room for keys or values: nothing returned, the cursor is not written.
      const lookup = { fd, outBatch: cursor, keys: room, values: room + 100, count: 10 };
      for (const bad of [{ keys: 0 }, { values: end - 7 }]) {
        expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, ...bad })).toEqual({
          ret: -EFAULT,
          count: 0,
        });
      }
      expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, inBatch: end - 3 })).toEqual({
        ret: -EFAULT,
        count: 0,
      });
      expect(peek(rt, cursor, 4)).toEqual(u32s(0xdbdb));
      // No place for the cursor: the data is there, the count is not.
      expect(rawBatch(rt, COMMANDS.lookup, { ...lookup, outBatch: 0 })).toEqual({
        ret: -EFAULT,
        count: 0,
      });
      expect(u32At(peek(rt, room, 4))).toBe(ORDER[0]);
      expect(walk(client, fd)).toEqual(ORDER);
      // The elements of the bucket that could not be handed out are gone.
      const loses = { ...lookup, values: 0, count: 1 };
      expect(rawBatch(rt, COMMANDS.lookupAndDelete, loses)).toEqual({ ret: -EFAULT, count: 0 });
      expect(walk(client, fd)).toHaveLength(9);
      expectSound(rt, fd, small);
    });
  });

  it("a value may be looked up and deleted to where its key is", () => {
    const entries = 500;
    for (const keySize of [4, 8, 16]) {
      const fd = create({ keySize, valueSize: keySize, maxEntries: entries });
      const bytesOf = (i: number, n: number): Uint8Array => {
        const bytes = new Uint8Array(keySize).fill(n);
        new DataView(bytes.buffer).setUint32(0, i, true);
        return bytes;
      };
      for (let i = 0; i < entries; i++) client.update(fd, bytesOf(i, 0), bytesOf(i, 1), 0);
      const ptr = rt.alloc(keySize);
      for (let i = 0; i < entries; i += 2) {
        new Uint8Array(rt.memory.buffer).set(bytesOf(i, 0), ptr);
        const attr = rawAttr(32, [0, fd], [8, BigInt(ptr)], [16, BigInt(ptr)]);
        expect(rt.bpf(uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM, attr)).toBe(0);
        expect(peek(rt, ptr, keySize)).toEqual(bytesOf(i, 1));
      }
      const found = range(`0-${entries - 1}`).filter(
        (i) => client.lookup(fd, bytesOf(i, 0), keySize).ret === 0,
      );
      expect(found).toEqual(range(`0-${entries - 1}`).filter((i) => i % 2 === 1));
      expectSound(rt, fd);
    }
  });

  describe("per-CPU values", () => {
    it("transfer every CPU's slot with its padding", () => {
      for (const valueSize of [1, 5, 8, 9, 13]) {
        for (const type of [PERCPU_HASH, LRU_PERCPU]) {
          for (const flags of type === PERCPU_HASH ? [0, uapi.BPF_F_NO_PREALLOC] : [0]) {
            const fd = create({ type, valueSize, flags });
            const size = Math.ceil(valueSize / 8) * 16;
            for (let round = 1; round < 4; round++) {
              const value = new Uint8Array(size).map((_, i) => i + round * 50);
              expect(client.update(fd, u32s(1), value)).toBe(0);
              expect(client.lookup(fd, u32s(1), size).out).toEqual(value);
            }
          }
        }
      }
    });

    it("a program inserts its CPU's slot and zeroes the others; it updates its own only", () => {
      for (const type of [PERCPU_HASH, LRU_PERCPU]) {
        for (const flags of type === PERCPU_HASH ? [0, uapi.BPF_F_NO_PREALLOC] : [0]) {
          const fd = create({ type, valueSize: 5, flags, maxEntries: 2 });
          const map = rt.exports.bpf_map_by_fd(fd);
          const key = place(rt, u32s(1));
          const value = place(rt, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
          // A used element, so that its slots hold something.
          client.update(fd, u32s(1), new Uint8Array(16).fill(0xff));
          client.delete(fd, u32s(1));
          rt.cpu = 1;
          expect(rt.exports.bpf_map_update_elem(map, key, value, 0n)).toBe(0);
          const zeros = [0, 0, 0, 0, 0, 0, 0, 0];
          expect([...client.lookup(fd, u32s(1), 16).out]).toEqual([
            ...zeros,
            1,
            2,
            3,
            4,
            5,
            0,
            0,
            0,
          ]);
          rt.cpu = 0;
          new Uint8Array(rt.memory.buffer).fill(9, value, value + 8);
          expect(rt.exports.bpf_map_update_elem(map, key, value, 0n)).toBe(0);
          expect([...client.lookup(fd, u32s(1), 16).out]).toEqual([
            9, 9, 9, 9, 9, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0,
          ]);
          const slots = [0, 1].map(
            (cpu) => rt.exports.bpf_map_lookup_percpu_elem(map, key, cpu) >>> 0,
          );
          expect(slots.map((slot) => peek(rt, slot, 1)[0])).toEqual([9, 1]);
          expect(rt.exports.bpf_map_lookup_elem(map, key) >>> 0).toBe(slots[0]);
          for (const bad of [2, -1, 99])
            expect(rt.exports.bpf_map_lookup_percpu_elem(map, key, bad)).toBe(0);
          expect(slots.map((slot) => rt.exports.bpf_valid_range(slot, 5))).toEqual([1, 1]);
          expect(slots.map((slot) => rt.exports.bpf_valid_range(slot, 6))).toEqual([0, 0]);
        }
      }
    });
  });

  describe("the program's side", () => {
    const LAYOUTS: readonly Partial<CreateSpec>[] = [
      {},
      { valueSize: 40 },
      { flags: uapi.BPF_F_NO_PREALLOC },
      { type: LRU },
      { keySize: 16, valueSize: 3 },
    ];

    it("an address stays while its key is there, and is not valid afterwards", () => {
      for (const layout of LAYOUTS) {
        const spec = { keySize: 4, valueSize: 8, ...layout };
        const fd = create({ ...spec, maxEntries: 64 });
        const map = rt.exports.bpf_map_by_fd(fd);
        const keyOf = (key: number): Uint8Array => {
          const bytes = new Uint8Array(spec.keySize);
          bytes.set(u32s(key));
          return bytes;
        };
        const keyPtr = place(rt, keyOf(1));
        const value = (fill: number): Uint8Array => new Uint8Array(spec.valueSize).fill(fill);
        client.update(fd, keyOf(1), value(1));
        const found = rt.exports.bpf_map_lookup_elem(map, keyPtr) >>> 0;
        for (let key = 2; key < 40; key++) client.update(fd, keyOf(key), value(key));
        client.update(fd, keyOf(1), value(99));
        expect(rt.exports.bpf_map_lookup_elem(map, keyPtr) >>> 0).toBe(found);
        expect(peek(rt, found, spec.valueSize)).toEqual(value(99));
        const valid = (at: number, length: number): number =>
          rt.exports.bpf_valid_range(at, length);
        expect(valid(found, spec.valueSize)).toBe(1);
        expect(valid(found + spec.valueSize - 1, 1)).toBe(1);
        expect(valid(found, spec.valueSize + 1)).toBe(0);
        expect(valid(found - 1, 1)).toBe(0);
        expect(client.delete(fd, keyOf(1))).toBe(0);
        expect(valid(found, spec.valueSize)).toBe(0);
        expect(rt.exports.bpf_map_lookup_elem(map, keyPtr)).toBe(0);
        rt.close(fd);
        expect(valid(found, 1)).toBe(0);
      }
    });

    it("has the kernel's answers and numbers", () => {
      const fd = create({ maxEntries: 1 });
      const map = rt.exports.bpf_map_by_fd(fd);
      const key = place(rt, u32s(1));
      const other = place(rt, u32s(2));
      const value = place(rt, u64s(7));
      const call = (id: number, ...args: number[]): number => {
        const [r1 = 0n, r2 = 0n, r3 = 0n, r4 = 0n, r5 = 0n] = args.map(BigInt);
        return Number(rt.exports.bpf_helper_call(id, r1, r2, r3, r4, r5));
      };
      expect(call(uapi.BPF_FUNC_map_update_elem, map, key, value, uapi.BPF_EXIST)).toBe(-ENOENT);
      expect(call(uapi.BPF_FUNC_map_update_elem, map, key, value, 0)).toBe(0);
      expect(call(uapi.BPF_FUNC_map_update_elem, map, key, value, uapi.BPF_NOEXIST)).toBe(-EEXIST);
      expect(call(uapi.BPF_FUNC_map_update_elem, map, other, value, 0)).toBe(-E2BIG);
      expect(call(uapi.BPF_FUNC_map_update_elem, map, key, value, 3)).toBe(-EINVAL);
      expect(peek(rt, call(uapi.BPF_FUNC_map_lookup_elem, map, key), 8)).toEqual(u64s(7));
      expect(call(uapi.BPF_FUNC_map_lookup_elem, map, other)).toBe(0);
      expect(call(uapi.BPF_FUNC_map_lookup_percpu_elem, map, key, 0)).toBe(0);
      expect(rt.exports.bpf_map_sum_elem_count(map)).toBe(1n);
      expect(call(uapi.BPF_FUNC_map_delete_elem, map, key)).toBe(0);
      expect(call(uapi.BPF_FUNC_map_delete_elem, map, key)).toBe(-ENOENT);
      expect(call(99_999)).toBe(-EINVAL);
      const end = rt.memory.buffer.byteLength;
      for (const bad of [0, end - 3, end]) {
        expect(call(uapi.BPF_FUNC_map_lookup_elem, map, bad)).toBe(0);
        expect(call(uapi.BPF_FUNC_map_update_elem, map, bad, value, 0)).toBe(-EFAULT);
        expect(call(uapi.BPF_FUNC_map_update_elem, map, key, bad, 0)).toBe(-EFAULT);
        expect(call(uapi.BPF_FUNC_map_delete_elem, map, bad)).toBe(-EFAULT);
      }
      expect(call(uapi.BPF_FUNC_map_lookup_elem, map, 2 ** 32 + key)).toBe(0);
    });

    it("touch live values only, whatever was in the memory before", async () => {
      const pages = { initial: 8, maximum: 8, shared: build.name === "shared" };
      for (const type of HASHES) {
        for (const flags of type === HASH || type === PERCPU_HASH
          ? [0, uapi.BPF_F_NO_PREALLOC]
          : [0]) {
          for (const keySize of [4, 12]) {
            const memory = new WebAssembly.Memory(pages);
            new Uint8Array(memory.buffer).fill(0xff);
            const arena = { base: 4096, limit: 4096 + 6 * 65536 };
            using own = await build.createRuntime({ memory, arena });
            const spec = { type, keySize, valueSize: 8, maxEntries: 20, flags };
            const bpf = new BpfClient(own);
            const fd = bpf.create(spec);
            for (const n of [1, 2]) {
              expect(bpf.update(fd, u32s(n, 0, 0).subarray(0, keySize), u64s(n))).toBe(0);
            }
            let valid = 0;
            for (let at = 0; at < memory.buffer.byteLength; at++) {
              valid += own.exports.bpf_valid_range(at, 1);
            }
            expect(valid, JSON.stringify(spec)).toBe(16);
          }
        }
      }
    });
  });
});

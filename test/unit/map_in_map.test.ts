// ARRAY_OF_MAPS and HASH_OF_MAPS at bpf(2) and for programs.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { type CreateSpec, writeCreateAttr } from "../support/attr.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s, u32At } from "../support/machine.js";
import { walk } from "../support/walk.js";

const { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH } = uapi;
const { BPF_MAP_TYPE_HASH_OF_MAPS, BPF_MAP_TYPE_BLOOM_FILTER, BPF_MAP_TYPE_QUEUE } = uapi;
const { E2BIG, EBADF, EEXIST, EINVAL, ENOENT, ENOTSUPP, EPERM } = uapi;

const ARRAY: CreateSpec = { type: BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: 8, maxEntries: 2 };
const HASH: CreateSpec = { type: BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 4, maxEntries: 8 };
const OUTER_TYPES = [BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS];

const outerSpec = (type: number, innerMapFd: number, maxEntries = 4, flags = 0): CreateSpec => ({
  type,
  keySize: 4,
  valueSize: 4,
  maxEntries,
  innerMapFd,
  flags,
});
const key = (n: number): Uint8Array => u32s(n);

describeEachBuild("maps of maps", (build) => {
  let m: Machine;

  beforeEach(async () => {
    m = await Machine.start(build);
  });
  afterEach(() => m.dispose());

  const put = (outer: number, n: number, fd: number, flags = 0): number =>
    m.client.update(outer, key(n), u32s(fd), flags);
  const idOf = (fd: number): number => m.client.info(fd).info?.id ?? -1;
  const get = (outer: number, n: number): number => {
    const { ret, out } = m.client.lookup(outer, key(n), 4);
    return ret < 0 ? ret : u32At(out);
  };
  /** The id still names a map. */
  const lives = (id: number): boolean => {
    const fd = m.client.getFdById(id);
    if (fd >= 0) m.client.close(fd);
    return fd >= 0;
  };

  describe("creation", () => {
    it("checks its own attributes first, then the template", () => {
      for (const type of OUTER_TYPES) {
        const good = outerSpec(type, m.create(ARRAY));
        expect(m.client.create({ ...good, valueSize: 8, innerMapFd: -1 })).toBe(-EINVAL);
        expect(m.client.create({ ...good, maxEntries: 0, innerMapFd: -1 })).toBe(-EINVAL);
        expect(m.client.create({ ...good, innerMapFd: -1 })).toBe(-EBADF);
        expect(m.client.create({ ...good, innerMapFd: 999 })).toBe(-EBADF);
        expect(m.client.create({ ...good, innerMapFd: 1 })).toBe(-EINVAL);
        const outer = m.create(good);
        expect(m.client.create({ ...good, innerMapFd: outer })).toBe(-EINVAL);
      }
    });

    it("an exclusive map is no template, and no inner map, whatever else is wrong", () => {
      const exclusive = (spec: CreateSpec): number => {
        const attr = new DataView(new ArrayBuffer(92));
        writeCreateAttr(attr, spec);
        attr.setBigUint64(80, BigInt(m.area(32)), true);
        attr.setUint32(88, 32, true);
        return m.runtime.bpf(uapi.BPF_MAP_CREATE, new Uint8Array(attr.buffer));
      };
      const array = exclusive(ARRAY);
      const hash = exclusive(HASH);
      expect(Math.min(array, hash)).toBeGreaterThan(0);
      for (const type of OUTER_TYPES) {
        expect(m.client.create({ ...outerSpec(type, array), name: "-" })).toBe(-ENOTSUPP);
        const outer = exclusive(outerSpec(type, m.create(ARRAY)));
        expect(m.client.create(outerSpec(type, outer))).toBe(-EINVAL);
        expect(put(outer, 0, array)).toBe(-ENOTSUPP);
        expect(put(outer, 0, hash)).toBe(-ENOTSUPP);
        expect(put(outer, 0, m.create(ARRAY))).toBe(0);
      }
      expect(put(m.create(outerSpec(BPF_MAP_TYPE_ARRAY_OF_MAPS, m.create(ARRAY))), 9, array)).toBe(
        -E2BIG,
      );
    });

    it("takes the flags of the type only", () => {
      const inner = m.create(ARRAY);
      const legal: Record<number, number[]> = {
        [BPF_MAP_TYPE_ARRAY_OF_MAPS]: [2, 3, 4],
        [BPF_MAP_TYPE_HASH_OF_MAPS]: [0, 2, 3, 4, 6, 7, 8],
      };
      for (const type of OUTER_TYPES) {
        for (let bit = 0; bit < 20; bit++) {
          if (1 << bit === uapi.BPF_F_TOKEN_FD) continue;
          const fd = m.client.create(outerSpec(type, inner, 4, 1 << bit));
          expect(fd < 0 ? fd : 0, `type ${type} bit ${bit}`).toBe(
            legal[type]?.includes(bit) ? 0 : -EINVAL,
          );
          if (fd >= 0) m.client.close(fd);
        }
      }
    });

    it("an array of maps has 4-byte keys, a hash of maps any", () => {
      const inner = m.create(ARRAY);
      const array = outerSpec(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner);
      expect(m.client.create({ ...array, keySize: 8 })).toBe(-EINVAL);
      const hash = outerSpec(BPF_MAP_TYPE_HASH_OF_MAPS, inner);
      for (const keySize of [1, 3, 8, 16, 33]) {
        const outer = m.create({ ...hash, keySize });
        const longKey = new Uint8Array(keySize).fill(7);
        expect(m.client.update(outer, longKey, u32s(inner))).toBe(0);
        expect(u32At(m.client.lookup(outer, longKey, 4).out)).toBe(idOf(inner));
      }
    });

    it("the template may be closed at once", () => {
      for (const type of OUTER_TYPES) {
        const template = m.create(ARRAY);
        const outer = m.create(outerSpec(type, template));
        m.client.close(template);
        const inner = m.create(ARRAY);
        expect(put(outer, 1, inner)).toBe(0);
        expect(get(outer, 1)).toBe(idOf(inner));
      }
    });
  });

  /** Creates an outer map with the template and puts another map in. */
  const accepts = (type: number, template: CreateSpec, other: CreateSpec): number => {
    const fd = m.create(template);
    const outer = m.create(outerSpec(type, fd));
    const inner = m.create(other);
    const ret = put(outer, 0, inner);
    for (const open of [fd, outer, inner]) m.client.close(open);
    return ret;
  };

  describe("compatibility", () => {
    it("type, sizes and stored flags are equal", () => {
      for (const type of OUTER_TYPES) {
        expect(accepts(type, HASH, HASH)).toBe(0);
        expect(accepts(type, HASH, ARRAY)).toBe(-EINVAL);
        expect(accepts(type, HASH, { ...HASH, keySize: 8 })).toBe(-EINVAL);
        expect(accepts(type, HASH, { ...HASH, valueSize: 8 })).toBe(-EINVAL);
        for (const flags of [
          uapi.BPF_F_NO_PREALLOC,
          uapi.BPF_F_ZERO_SEED,
          uapi.BPF_F_RDONLY_PROG,
        ]) {
          expect(accepts(type, HASH, { ...HASH, flags })).toBe(-EINVAL);
          expect(accepts(type, { ...HASH, flags }, { ...HASH, flags })).toBe(0);
        }
        // BPF_F_RDONLY and BPF_F_WRONLY belong to the fd.
        expect(accepts(type, HASH, { ...HASH, flags: uapi.BPF_F_RDONLY })).toBe(0);
        expect(accepts(type, { ...HASH, flags: uapi.BPF_F_WRONLY }, HASH)).toBe(0);
      }
    });

    it("max_entries counts for arrays without BPF_F_INNER_MAP only", () => {
      const type = BPF_MAP_TYPE_ARRAY_OF_MAPS;
      const flags = uapi.BPF_F_INNER_MAP;
      expect(accepts(type, ARRAY, { ...ARRAY, maxEntries: 3 })).toBe(-EINVAL);
      expect(accepts(type, { ...ARRAY, flags }, { ...ARRAY, flags, maxEntries: 3 })).toBe(0);
      expect(accepts(type, { ...ARRAY, flags }, ARRAY)).toBe(-EINVAL);
      expect(accepts(type, HASH, { ...HASH, maxEntries: 9 })).toBe(0);
      const bloom = { type: BPF_MAP_TYPE_BLOOM_FILTER, keySize: 0, valueSize: 4, maxEntries: 9 };
      expect(accepts(type, bloom, { ...bloom, maxEntries: 5, mapExtra: 3n })).toBe(0);
      const queue = { type: BPF_MAP_TYPE_QUEUE, keySize: 0, valueSize: 4, maxEntries: 9 };
      expect(accepts(type, queue, { ...queue, maxEntries: 8 })).toBe(0);
    });
  });

  it("an array's update looks at flags, index, then the fd", () => {
    const inner = m.create(ARRAY);
    const outer = m.create(outerSpec(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner));
    expect(put(outer, 9, -1, 1)).toBe(-EINVAL);
    expect(put(outer, 9, -1, 2)).toBe(-EINVAL);
    expect(put(outer, 9, -1)).toBe(-E2BIG);
    expect(put(outer, 1, -1)).toBe(-EBADF);
    expect(put(outer, 1, 2)).toBe(-EINVAL);
    expect([get(outer, 1), get(outer, 9)]).toEqual([-ENOENT, -ENOENT]);
    expect(m.client.delete(outer, key(1))).toBe(-ENOENT);
    expect(m.client.delete(outer, key(4))).toBe(-E2BIG);
    expect(put(outer, 1, inner)).toBe(0);
    expect(get(outer, 1)).toBe(idOf(inner));
    expect(m.client.delete(outer, key(1))).toBe(0);
    expect(get(outer, 1)).toBe(-ENOENT);
    expect(m.client.lookupAndDelete(outer, key(1), 4).ret).toBe(-ENOTSUPP);
  });

  it("a hash's update looks at the fd first", () => {
    const inner = m.create(ARRAY);
    const outer = m.create(outerSpec(BPF_MAP_TYPE_HASH_OF_MAPS, inner, 2));
    expect(put(outer, 1, -1, 3)).toBe(-EBADF);
    expect(put(outer, 1, inner, 3)).toBe(-EINVAL);
    expect(put(outer, 1, inner, 2)).toBe(-ENOENT);
    expect(put(outer, 1, inner, 1)).toBe(0);
    expect(put(outer, 1, inner, 1)).toBe(-EEXIST);
    expect(put(outer, 2, inner)).toBe(0);
    expect(put(outer, 3, inner)).toBe(-E2BIG);
    const other = m.create(ARRAY);
    expect(put(outer, 2, other)).toBe(0);
    expect([get(outer, 1), get(outer, 2)]).toEqual([idOf(inner), idOf(other)]);
    expect(m.client.lookupAndDelete(outer, key(1), 4).ret).toBe(-ENOTSUPP);
    expect([m.client.delete(outer, key(1)), m.client.delete(outer, key(1))]).toEqual([0, -ENOENT]);
  });

  it("replacing an inner map does not change the order of a hash of maps", () => {
    const inner = m.create(ARRAY);
    const flags = uapi.BPF_F_ZERO_SEED;
    const outer = m.create(outerSpec(BPF_MAP_TYPE_HASH_OF_MAPS, inner, 64, flags));
    for (let n = 0; n < 64; n++) put(outer, n, inner);
    const before = walk(m.client, outer);
    expect(before.length).toBe(64);
    for (let n = 0; n < 64; n += 3) expect(put(outer, n, inner)).toBe(0);
    expect(walk(m.client, outer)).toEqual(before);
  });

  it("an outer map keeps its inner maps alive, and lets go of what is deleted or replaced", () => {
    for (const type of OUTER_TYPES) {
      const template = m.create(ARRAY);
      const outer = m.create(outerSpec(type, template));
      const fds = [m.create(ARRAY), m.create(ARRAY), m.create(ARRAY)];
      const [a, b, c] = fds.map(idOf) as [number, number, number];
      expect([put(outer, 0, fds[0] as number), put(outer, 1, fds[1] as number)]).toEqual([0, 0]);
      expect(put(outer, 2, fds[1] as number)).toBe(0);
      for (const fd of fds) m.client.close(fd);
      expect([lives(a), lives(b), lives(c)]).toEqual([true, true, false]);
      const again = m.client.getFdById(a);
      expect(put(outer, 1, again)).toBe(0);
      expect(lives(b)).toBe(true);
      expect(m.client.delete(outer, key(2))).toBe(0);
      expect(lives(b)).toBe(false);
      m.client.close(again);
      expect(lives(a)).toBe(true);
      m.client.close(outer);
      expect(lives(a)).toBe(false);
      m.client.close(template);
    }
  });

  it("nothing is left of a map of maps when it goes", () => {
    m.client.close(m.create(ARRAY));
    const before = m.usedBytes();
    for (const type of OUTER_TYPES) {
      for (const flags of type === BPF_MAP_TYPE_HASH_OF_MAPS ? [0, uapi.BPF_F_NO_PREALLOC] : [0]) {
        const inner = m.create(ARRAY);
        const outer = m.create(outerSpec(type, inner, 4, flags));
        for (let n = 0; n < 4; n++) put(outer, n, inner);
        expect(put(outer, 0, inner, 1)).toBeLessThan(0);
        m.client.close(inner);
        m.client.close(outer);
        expect(m.usedBytes()).toBe(before);
      }
    }
  });

  it("a program finds the inner map's handle and goes on from there", () => {
    const core = m.runtime.exports;
    for (const type of OUTER_TYPES) {
      const inner = m.create(ARRAY);
      const outer = m.create(outerSpec(type, inner));
      put(outer, 3, inner);
      m.client.update(inner, key(1), u32s(5, 6));
      const keyPtr = m.put(m.area(4), key(3));
      const map = m.handle(outer);
      const handle = core.bpf_map_lookup_elem(map, keyPtr) >>> 0;
      expect(handle).toBe(m.handle(inner));
      m.put(keyPtr, key(1));
      const value = core.bpf_map_lookup_elem(handle, keyPtr);
      expect(m.u32(value)).toBe(5);
      expect(core.bpf_map_lookup_elem(map, keyPtr)).toBe(0);
      m.put(keyPtr, key(77));
      expect(core.bpf_map_lookup_elem(map, keyPtr)).toBe(0);
      expect(core.bpf_map_lookup_percpu_elem(map, keyPtr, 0)).toBe(0);
      m.put(keyPtr, key(3));
      expect(core.bpf_map_update_elem(map, keyPtr, keyPtr, 0n)).toBe(-EINVAL);
      expect(core.bpf_map_delete_elem(map, keyPtr)).toBe(-EINVAL);
      // A handle that was read stays a number: after the map's end it is stale.
      m.client.close(inner);
      m.client.close(outer);
      expect(core.bpf_map_lookup_elem(handle, keyPtr)).toBe(0);
    }
  });

  it("no byte of an outer map may be touched", () => {
    const inner = m.create({ ...HASH });
    for (const type of OUTER_TYPES) {
      const outer = m.create(outerSpec(type, inner));
      put(outer, 0, inner);
    }
    for (let addr = 64; addr < 65536; addr += 4) {
      if (m.runtime.exports.bpf_valid_range(addr, 1) !== 0) throw new Error(`${addr} is valid`);
    }
  });

  it("freezing the outer map stops updates; freezing the inner one does not", () => {
    for (const type of OUTER_TYPES) {
      const inner = m.create(ARRAY);
      const outer = m.create(outerSpec(type, inner));
      expect(m.client.freeze(inner)).toBe(0);
      expect(put(outer, 0, inner)).toBe(0);
      expect(m.client.freeze(outer)).toBe(0);
      expect([put(outer, 0, inner), m.client.delete(outer, key(0))]).toEqual([-EPERM, -EPERM]);
      expect(get(outer, 0)).toBe(idOf(inner));
    }
  });

  it("array batches skip empty slots", () => {
    const inner = m.create(ARRAY);
    const outer = m.create(outerSpec(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner, 6));
    const fds = u32s(inner, inner, inner);
    const keys = u32s(1, 2, 5);
    expect(m.client.updateBatch({ fd: outer, keys, values: fds, count: 3 }).ret).toBe(0);
    const batch = { fd: outer, keySize: 4, valueSize: 4, tokenSize: 4, token: null };
    const first = m.client.lookupBatch({ ...batch, count: 2 });
    expect([first.ret, first.count, ...first.keys]).toEqual([0, 2, ...u32s(1, 2)]);
    expect([...first.values]).toEqual([...u32s(idOf(inner), idOf(inner))]);
    const rest = m.client.lookupBatch({ ...batch, token: first.token, count: 9 });
    expect([rest.ret, rest.count, ...rest.keys]).toEqual([-ENOENT, 1, ...u32s(5)]);
    expect(m.client.lookupAndDeleteBatch({ ...batch, count: 1 }).ret).toBe(-ENOTSUPP);
    expect(m.client.deleteBatch({ fd: outer, keys, values: null, count: 3 }).ret).toBe(-ENOTSUPP);
    // The cursor is what was walked over, shown or not.
    expect([...(rest.token ?? [])]).toEqual([...u32s(5)]);
    expect(m.client.delete(outer, key(5))).toBe(0);
    const all = m.client.lookupBatch({ ...batch, count: 4 });
    expect([all.ret, all.count, ...(all.token ?? [])]).toEqual([-ENOENT, 2, ...u32s(5)]);
    const bad = m.client.updateBatch({ fd: outer, keys, values: u32s(inner, 1), count: 2 });
    expect([bad.ret, bad.count]).toEqual([-EINVAL, 1]);
  });

  it("hash batches: all four, and draining lets the inner maps go", () => {
    const template = m.create(ARRAY);
    const outer = m.create(outerSpec(BPF_MAP_TYPE_HASH_OF_MAPS, template, 8));
    const fds = Array.from({ length: 8 }, () => m.create(ARRAY));
    const ids = fds.map(idOf);
    const keys = u32s(...ids);
    const values = u32s(...fds);
    expect(m.client.updateBatch({ fd: outer, keys, values, count: 8 }).ret).toBe(0);
    for (const fd of fds) m.client.close(fd);
    const batch = { fd: outer, keySize: 4, valueSize: 4, tokenSize: 4, token: null, count: 8 };
    const all = m.client.lookupBatch(batch);
    expect([all.ret, all.count]).toEqual([-ENOENT, 8]);
    // Keys are the ids, so keys and values read the same.
    expect(all.values).toEqual(all.keys);
    const gone = u32s(ids[0] as number);
    expect(m.client.deleteBatch({ fd: outer, keys: gone, values: null, count: 1 }).ret).toBe(0);
    expect(ids.map(lives)).toEqual([false, ...ids.slice(1).map(() => true)]);
    const drained = m.client.lookupAndDeleteBatch(batch);
    expect([drained.ret, drained.count]).toEqual([-ENOENT, 7]);
    expect(drained.values).toEqual(drained.keys);
    expect(ids.map(lives)).toEqual(ids.map(() => false));
  });
});

// The commands on maps as objects: ids, fds by id, info, freeze. Answers of Linux 6.18.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import type { CreateSpec } from "../support/attr.js";
import { plainBtf } from "../support/btf.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { debugExports, expectSound } from "../support/debug.js";
import { Random } from "../support/random.js";
import { u32At, u32s } from "../support/bytes.js";
import { peek, place, rawAttr } from "../support/raw.js";

const { E2BIG, EBADF, EBADFD, EFAULT, EINVAL, ENOENT, EPERM } = uapi;
const INT_MAX = 0x7fffffff;

describeEachBuild("map objects", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2 });
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  function create(spec: Partial<CreateSpec> = {}): number {
    const type = uapi.BPF_MAP_TYPE_HASH;
    return client.create({ type, keySize: 4, valueSize: 4, maxEntries: 4, ...spec });
  }

  const idOf = (fd: number): number => client.info(fd).info?.id ?? 0;

  it("ids count up from 1 and are not used again", () => {
    const fds = [create(), create(), create()];
    expect(fds.map(idOf)).toEqual([1, 2, 3]);
    rt.close(fds[1] ?? -1);
    expect(idOf(create())).toBe(4);
  });

  it("MAP_GET_NEXT_ID walks the live ids", () => {
    expect(client.getNextId(0).ret).toBe(-ENOENT);
    const fds = [create(), create(), create(), create()];
    rt.close(fds[1] ?? -1);
    const ids: number[] = [];
    for (let next = client.getNextId(0); next.ret === 0; next = client.getNextId(next.id))
      ids.push(next.id);
    expect(ids).toEqual([1, 3, 4]);
    expect(client.getNextId(1)).toEqual({ ret: 0, id: 3 });
    expect(client.getNextId(4)).toEqual({ ret: -ENOENT, id: 0 });
    expect(client.getNextId(INT_MAX - 1).ret).toBe(-ENOENT);
    expect(client.getNextId(INT_MAX).ret).toBe(-EINVAL);
    expect(client.getNextId(0xffffffff).ret).toBe(-EINVAL);
  });

  it("ids find their maps, whatever was made and closed before", () => {
    const random = new Random(61);
    const live = new Map<number, number>();
    let newest = 0;
    for (let step = 0; step < 3000; step++) {
      // Towards 300 maps and back to a few: the tables grow twice.
      const closes = live.size > 0 && random.below(300) < (step < 1500 ? 100 : 190);
      if (closes) {
        const [id, fd] = random.pick([...live]);
        live.delete(id);
        expect(rt.close(fd)).toBe(0);
      } else live.set(++newest, create({ type: uapi.BPF_MAP_TYPE_ARRAY, maxEntries: 1 }));
      const asked = random.below(newest + 2);
      const behind = [...live.keys()].filter((id) => id > asked);
      const next =
        behind.length === 0 ? { ret: -ENOENT, id: 0 } : { ret: 0, id: Math.min(...behind) };
      expect(client.getNextId(asked)).toEqual(next);
      const fd = client.getFdById(asked);
      expect(fd > 0 ? idOf(fd) : fd).toBe(live.has(asked) ? asked : -ENOENT);
      if (fd > 0) rt.close(fd);
    }
    for (const [id, fd] of live) expect(idOf(fd)).toBe(id);
    expectSound(rt);
  });

  it("values are found where they are, whatever was there before", () => {
    const random = new Random(5);
    const type = uapi.BPF_MAP_TYPE_ARRAY;
    const live: { fd: number; value: number; bytes: number }[] = [];
    const gone = new Set<number>();
    for (let step = 0; step < 600; step++) {
      if (live.length > 0 && random.below(60) < live.length) {
        const [map] = live.splice(random.below(live.length), 1);
        if (map === undefined) continue;
        gone.add(map.value);
        rt.close(map.fd);
      } else {
        const bytes = 8 * (1 + random.below(random.pick([4, 400])));
        const fd = create({ type, valueSize: bytes, maxEntries: 1 });
        live.push({ fd, value: rt.mapValueAddr(fd, 0), bytes });
      }
      const inside = (at: number): boolean =>
        live.some(({ value, bytes }) => at >= value && at < value + bytes);
      for (const { value, bytes } of live) {
        expect([rt.valueRange(value, bytes), rt.valueRange(value + bytes - 1, 1)]).toEqual([
          true,
          true,
        ]);
        expect(rt.valueRange(value + bytes, 1)).toBe(inside(value + bytes));
      }
      for (const at of gone) expect(rt.valueRange(at, 1)).toBe(inside(at));
      expectSound(rt);
    }
  });

  it("when all ids were given out, those of live maps are passed over", () => {
    const debug = debugExports(rt);
    if (debug === undefined) return;
    const fds = [create(), create(), create()];
    rt.close(fds[1] ?? -1);
    debug.set_next_map_id(INT_MAX - 1);
    expect([create(), create(), create(), create()].map(idOf)).toEqual([
      INT_MAX - 1,
      INT_MAX,
      2,
      4,
    ]);
    const ids: number[] = [];
    for (let next = client.getNextId(0); next.ret === 0; next = client.getNextId(next.id))
      ids.push(next.id);
    expect(ids).toEqual([1, 2, 3, 4, INT_MAX - 1, INT_MAX]);
    expectSound(rt);
  });

  it("MAP_GET_NEXT_ID leaves next_id alone when there is none", () => {
    create();
    const attr = rawAttr(8, [0, 1], [4, 77]);
    expect(rt.bpf(uapi.BPF_MAP_GET_NEXT_ID, attr)).toBe(-ENOENT);
    expect(u32At(attr, 4)).toBe(77);
    expect(rt.bpf(uapi.BPF_MAP_GET_NEXT_ID, rawAttr(12, [8, 1]))).toBe(-EINVAL);
  });

  it("MAP_GET_FD_BY_ID opens with a mode of its own", () => {
    const fd = create({ flags: uapi.BPF_F_WRONLY });
    expect(client.lookup(fd, u32s(1), 4).ret).toBe(-EPERM);
    client.update(fd, u32s(1), u32s(5));
    const id = idOf(fd);
    const all = client.getFdById(id);
    expect(u32At(client.lookup(all, u32s(1), 4).out)).toBe(5);
    const ro = client.getFdById(id, uapi.BPF_F_RDONLY);
    expect(client.update(ro, u32s(1), u32s(6))).toBe(-EPERM);
    const wo = client.getFdById(id, uapi.BPF_F_WRONLY);
    expect(client.lookup(wo, u32s(1), 4).ret).toBe(-EPERM);
    expect(client.getFdById(id, uapi.BPF_F_RDONLY | uapi.BPF_F_WRONLY)).toBe(-EINVAL);
    expect(client.getFdById(id, 1)).toBe(-EINVAL);
    expect(client.getFdById(99, 1)).toBe(-EINVAL);
    for (const absent of [0, 99, INT_MAX, 0xffffffff])
      expect(client.getFdById(absent)).toBe(-ENOENT);
    for (const open of [fd, all, ro, wo]) expect(rt.close(open)).toBe(0);
    expect(client.getFdById(id)).toBe(-ENOENT);
  });

  it("reports a map", () => {
    const fd = create({
      type: uapi.BPF_MAP_TYPE_LRU_HASH,
      keySize: 6,
      valueSize: 9,
      maxEntries: 7,
      flags: uapi.BPF_F_NO_COMMON_LRU | uapi.BPF_F_WRONLY | uapi.BPF_F_ZERO_SEED,
      name: "a.name_1",
    });
    expect(client.freeze(fd)).toBe(0);
    expect(client.info(fd).info).toEqual({
      type: uapi.BPF_MAP_TYPE_LRU_HASH,
      id: 1,
      keySize: 6,
      valueSize: 9,
      maxEntries: 8,
      mapFlags: uapi.BPF_F_NO_COMMON_LRU | uapi.BPF_F_ZERO_SEED,
      name: "a.name_1",
      btfId: 0,
      btfKeyTypeId: 0,
      btfValueTypeId: 0,
      mapExtra: 0n,
    });
  });

  /** OBJ_GET_INFO_BY_FD with a buffer of 4096 bytes of `fill` from byte `from` on; what came back. */
  function info(
    fd: number,
    length: number,
    from = 4096,
    fill = 0,
  ): { ret: number; length: number; bytes: Uint8Array } {
    const buffer = place(rt, new Uint8Array(4096).fill(fill, from));
    const attr = rawAttr(16, [0, fd], [4, length], [8, BigInt(buffer)]);
    const ret = rt.bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr);
    return { ret, length: u32At(attr, 4), bytes: peek(rt, buffer, 4096) };
  }

  it("copies as much of the info as there is room for", () => {
    const fd = create();
    for (const [length, copied] of [
      [0, 0],
      [1, 1],
      [8, 8],
      [103, 103],
      [104, 104],
      [105, 104],
      [4096, 104],
    ] as const) {
      const { ret, length: left, bytes } = info(fd, length);
      expect([ret, left], `${length}`).toEqual([0, copied]);
      const expected = new Uint8Array(4096);
      expected.set(u32s(1, 1, 4, 4, 4).subarray(0, copied));
      expect(bytes, `${length}`).toEqual(expected);
    }
    expect(info(fd, 4097).ret).toBe(-E2BIG);
    expect(info(fd, 0xffffffff).ret).toBe(-E2BIG);
  });

  it("reads the buffer: a hash it cannot give, bytes it does not know", () => {
    const fd = create();
    expect(info(fd, 104, 100, 1).ret).toBe(-E2BIG);
    expect(info(fd, 102, 100, 1).ret).toBe(-E2BIG);
    expect(info(fd, 101, 100, 1).ret).toBe(-E2BIG);
    expect(info(fd, 100, 100, 1).ret).toBe(0);
    expect(info(fd, 4096, 4095, 1).ret).toBe(-E2BIG);
    expect(info(fd, 100, 96, 1).ret).toBe(-EINVAL);
    expect(info(fd, 96, 88, 1).ret).toBe(-EINVAL);
  });

  it("leaves the caller's bytes where it has nothing to say: device, and BTF of a map without", () => {
    const { ret, bytes } = info(create(), 88, 0, 0xee);
    const expected = new Uint8Array(4096).fill(0xee);
    expected.set(u32s(1, 1, 4, 4, 4, 0, 0, 0, 0, 0)); // ..., name
    expected.fill(0, 44, 48); // btf_vmlinux_value_type_id
    expected.fill(0, 80, 88); // map_extra
    expect([ret, bytes]).toEqual([0, expected]);
    const btf = plainBtf(4, 4);
    const btfFd = client.btfLoad(btf.blob);
    const { keyTypeId: btfKeyTypeId, valueTypeId: btfValueTypeId } = btf;
    const withBtf = info(create({ btfFd, btfKeyTypeId, btfValueTypeId }), 88, 0, 0xee).bytes;
    expected.set(u32s(1, 2));
    expected.set(u32s(1, btfKeyTypeId, btfValueTypeId), 64);
    expect(withBtf).toEqual(expected);
  });

  it("a hash can be asked of a frozen array, and has the size of a SHA-256", () => {
    const ask = (fd: number, hash: bigint, size: number): number => {
      const ptr = place(rt, new Uint8Array(104));
      const view = new DataView(rt.memory.buffer, ptr, 104);
      view.setBigUint64(88, hash, true);
      view.setUint32(96, size, true);
      const attr = rawAttr(16, [0, fd], [4, 104], [8, BigInt(ptr)]);
      return rt.bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr);
    };
    const array = create({ type: uapi.BPF_MAP_TYPE_ARRAY });
    expect([ask(array, 0n, 32), ask(array, 8n, 31), ask(array, 8n, 32)]).toEqual([
      -EINVAL,
      -EINVAL,
      -EPERM,
    ]);
    expect(ask(create({ type: uapi.BPF_MAP_TYPE_PERCPU_ARRAY }), 8n, 32)).toBe(-EINVAL);
  });

  it("needs an object and a buffer", () => {
    const fd = create();
    expect(info(99, 104).ret).toBe(-EBADFD);
    expect(info(-1, 104).ret).toBe(-EBADFD);
    expect(info(0, 104).ret).toBe(-EINVAL);
    const attr = (ptr: number): Uint8Array => rawAttr(16, [0, fd], [4, 104], [8, BigInt(ptr)]);
    expect(rt.bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr(0))).toBe(-EFAULT);
    expect(rt.bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr(rt.memory.buffer.byteLength - 103))).toBe(
      -EFAULT,
    );
    expect(rt.bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, rawAttr(16, [0, fd]))).toBe(0);
  });

  it("MAP_FREEZE needs a writable fd, once", () => {
    expect(client.freeze(99)).toBe(-EBADF);
    expect(client.freeze(0)).toBe(-EINVAL);
    const fd = create();
    const ro = client.getFdById(idOf(fd), uapi.BPF_F_RDONLY);
    expect(client.freeze(ro)).toBe(-EPERM);
    expect(client.freeze(fd)).toBe(0);
    expect(client.freeze(fd)).toBe(-EPERM);
    expect(client.freeze(create({ flags: uapi.BPF_F_WRONLY }))).toBe(0);
    expect(client.freeze(create({ flags: uapi.BPF_F_RDONLY }))).toBe(-EPERM);
  });
});

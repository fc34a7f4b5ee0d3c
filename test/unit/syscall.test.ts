// The envelope of bpf(2) and the commands on one element: what is checked, and in which order. Answers
// of Linux 6.18.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { ATTR_END } from "../support/attr.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { u32At, u32s, u64s } from "../support/bytes.js";
import { peek, place, rawAttr, rawElem } from "../support/raw.js";

const { E2BIG, EBADF, EEXIST, EFAULT, EINVAL, ENOENT, ENOTSUPP, EPERM } = uapi;
const LOOKUP = uapi.BPF_MAP_LOOKUP_ELEM;
const UPDATE = uapi.BPF_MAP_UPDATE_ELEM;
const DELETE = uapi.BPF_MAP_DELETE_ELEM;
const NEXT = uapi.BPF_MAP_GET_NEXT_KEY;
const LOOKUP_AND_DELETE = uapi.BPF_MAP_LOOKUP_AND_DELETE_ELEM;
/** The commands on one element and the size of their attr. */
const ELEM_COMMANDS = [LOOKUP, UPDATE, DELETE, NEXT, LOOKUP_AND_DELETE] as const;
const HASHES = [
  uapi.BPF_MAP_TYPE_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
];
const ARRAYS = [uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_MAP_TYPE_PERCPU_ARRAY];

describeEachBuild("bpf(2)", (build) => {
  let rt: Runtime;
  let client: BpfClient;
  /** A key (1) and room for a value, in the runtime's memory. */
  let key: number;
  let value: number;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2 });
    client = new BpfClient(rt);
    key = place(rt, u32s(1));
    value = place(rt, u64s(11, 12));
  });
  afterEach(() => rt.dispose());

  function create(type: number = uapi.BPF_MAP_TYPE_HASH, flags = 0): number {
    return client.create({ type, keySize: 4, valueSize: 8, maxEntries: 4, flags });
  }

  const badAddress = (): number => rt.memory.buffer.byteLength - 3;
  const elemSize = (cmd: number): number => ATTR_END[cmd] ?? 32;

  describe("the envelope", () => {
    it("takes attrs of any size up to a page", () => {
      for (const size of [92, 120, 168, 169, 1000, 4096]) {
        const attr = rawAttr(size, [0, 1], [4, 4], [8, 8], [12, 4]);
        expect(rt.bpf(uapi.BPF_MAP_CREATE, attr), `${size}`).toBeGreaterThan(2);
      }
      for (const size of [4097, 100_000]) {
        expect(rt.bpf(uapi.BPF_MAP_CREATE, new Uint8Array(size)), `${size}`).toBe(-E2BIG);
        expect(rt.bpf(9999, new Uint8Array(size)), `${size}`).toBe(-E2BIG);
      }
      expect(rt.bpf(uapi.BPF_MAP_CREATE, place(rt, new Uint8Array(8)), 0xffffffff)).toBe(-E2BIG);
    });

    it("reads a short attr as if zeros followed", () => {
      expect(rt.bpf(uapi.BPF_MAP_CREATE, rawAttr(16, [0, 1], [4, 4], [8, 8], [12, 4]))).toBe(3);
      expect(rt.bpf(uapi.BPF_MAP_CREATE, rawAttr(15, [0, 1], [4, 4], [8, 8]))).toBe(-EINVAL);
      expect(rt.bpf(uapi.BPF_MAP_CREATE, new Uint8Array(0))).toBe(-EINVAL);
      expect(rt.bpf(uapi.BPF_MAP_CREATE, 0, 0)).toBe(-EINVAL);
      // All zeros: the map behind fd 0, which is none.
      expect(rt.bpf(LOOKUP, 0, 0)).toBe(-EINVAL);
    });

    it("refuses what it cannot read, before it looks at the command", () => {
      for (const cmd of [uapi.BPF_MAP_CREATE, 9999]) {
        expect(rt.bpf(cmd, 0, 16)).toBe(-EFAULT);
        expect(rt.bpf(cmd, rt.memory.buffer.byteLength - 8, 16)).toBe(-EFAULT);
        expect(rt.bpf(cmd, 0xfffffff8, 16)).toBe(-EFAULT);
      }
    });

    it("answers a batch whose count it cannot write back EFAULT, however short the attr", async () => {
      const memory = new WebAssembly.Memory({
        initial: 64,
        maximum: 64,
        shared: build.name === "shared",
      });
      const last = memory.buffer.byteLength - 65536;
      using own = await build.createRuntime({ memory, arena: { base: 65536, limit: last } });
      // Only fd 0 needs no bytes behind the count.
      expect(own.close(0)).toBe(0);
      const spec = { keySize: 4, valueSize: 8, maxEntries: 4 };
      for (const type of [uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_ARRAY]) {
        expect(new BpfClient(own).create({ type, ...spec })).toBe(0);
        const attr = memory.buffer.byteLength - 33;
        new Uint8Array(memory.buffer)[attr + 32] = 3;
        for (const cmd of [uapi.BPF_MAP_LOOKUP_BATCH, uapi.BPF_MAP_UPDATE_BATCH]) {
          expect(own.bpf(cmd, attr, 33)).toBe(-EFAULT);
        }
        expect(own.close(0)).toBe(0);
      }
    });

    it("refuses unknown bytes: within the union EINVAL, behind it E2BIG", () => {
      for (const [cmd, end] of Object.entries(ATTR_END)) {
        const inside = rawAttr(168);
        inside[end] = 1;
        expect(rt.bpf(Number(cmd), inside), `command ${cmd}`).toBe(-EINVAL);
        const behind = rawAttr(176);
        behind[168] = 1;
        expect(rt.bpf(Number(cmd), behind), `command ${cmd}`).toBe(-E2BIG);
      }
      const behind = rawAttr(4096);
      behind[4095] = 1;
      expect(rt.bpf(9999, behind)).toBe(-E2BIG);
    });

    it("does not look at padding", () => {
      const fd = create();
      client.update(fd, u32s(1), u64s(5));
      const attr = rawAttr(32, [0, fd], [4, 0xffffffff], [8, BigInt(key)], [16, BigInt(value)]);
      expect(rt.bpf(LOOKUP, attr)).toBe(0);
    });

    it("refuses commands it does not have", () => {
      for (const cmd of [-1, 37, 99, 0x7fffffff]) {
        expect(rt.bpf(cmd, rawAttr(32)), `${cmd}`).toBe(-EINVAL);
      }
    });

    it("answers arguments of a wrong type with an errno", () => {
      const bad: unknown[] = [undefined, null, "x", {}, 1.5, Number.NaN, [], -1];
      for (const one of bad) {
        const bpf = rt.bpf.bind(rt) as (...args: unknown[]) => number;
        for (const ret of [
          bpf(one, rawAttr(32)),
          bpf(LOOKUP, one),
          bpf(LOOKUP, one, 32),
          bpf(LOOKUP, 8, one),
        ]) {
          expect(Number.isInteger(ret) && ret < 0, String(one)).toBe(true);
        }
      }
    });
  });

  describe("commands on one element", () => {
    it("need an fd of a map", () => {
      for (const cmd of ELEM_COMMANDS) {
        for (const fd of [99, -1, 0x7fffffff]) {
          expect(rawElem(rt, cmd, { fd, key, value }, elemSize(cmd)), `${cmd}`).toBe(-EBADF);
        }
        expect(rawElem(rt, cmd, { fd: 0, key, value }, elemSize(cmd)), `${cmd}`).toBe(-EINVAL);
      }
    });

    it("need an fd of the right mode", () => {
      const ro = create(undefined, uapi.BPF_F_RDONLY);
      const wo = create(undefined, uapi.BPF_F_WRONLY);
      const answers = (fd: number): number[] =>
        ELEM_COMMANDS.map((cmd) => rawElem(rt, cmd, { fd, key, value }, elemSize(cmd)));
      expect(answers(ro)).toEqual([-ENOENT, -EPERM, -EPERM, -ENOENT, -EPERM]);
      expect(answers(wo)).toEqual([-EPERM, 0, 0, -EPERM, -EPERM]);
      // The mode comes before pointers and flags.
      expect(rawElem(rt, UPDATE, { fd: ro, flags: 99 })).toBe(-EPERM);
      expect(rawElem(rt, LOOKUP, { fd: wo })).toBe(-EPERM);
    });

    it("lookups check flags before the fd, updates after it", () => {
      for (const flags of [1, 2, 3, 8, 1n << 32n, 1n << 63n]) {
        expect(rawElem(rt, LOOKUP, { fd: 99, flags })).toBe(-EINVAL);
        expect(rawElem(rt, LOOKUP_AND_DELETE, { fd: 99, flags })).toBe(-EINVAL);
        expect(rawElem(rt, UPDATE, { fd: 99, flags })).toBe(-EBADF);
      }
      expect(rawElem(rt, LOOKUP, { fd: 99, flags: 4 })).toBe(-EBADF);
    });

    it("refuse BPF_F_LOCK for values without a lock, before the key is read", () => {
      for (const type of [...HASHES, ...ARRAYS]) {
        const fd = create(type);
        for (const cmd of [LOOKUP, LOOKUP_AND_DELETE, UPDATE]) {
          expect(rawElem(rt, cmd, { fd, flags: 4 }), `type ${type}`).toBe(-EINVAL);
        }
        expect(rawElem(rt, UPDATE, { fd, flags: 5 }), `type ${type}`).toBe(-EINVAL);
      }
    });

    it("need a key they can read", () => {
      const fd = create();
      for (const bad of [0, badAddress(), 2 ** 32, 2 ** 53]) {
        for (const cmd of ELEM_COMMANDS) {
          if (cmd === NEXT && bad === 0) continue;
          expect(rawElem(rt, cmd, { fd, key: bad, value }, elemSize(cmd)), `${cmd}`).toBe(-EFAULT);
        }
      }
      // The last four bytes of the memory are as good as any.
      expect(rawElem(rt, LOOKUP, { fd, key: rt.memory.buffer.byteLength - 4, value })).toBe(
        -ENOENT,
      );
    });

    it("an update reads its value before it looks at the flags", () => {
      const fd = create();
      expect(rawElem(rt, UPDATE, { fd, key, value: badAddress(), flags: 8 })).toBe(-EFAULT);
      expect(rawElem(rt, UPDATE, { fd, key, value, flags: 8 })).toBe(-EINVAL);
    });

    it("a lookup finds before it writes", () => {
      const fd = create();
      expect(rawElem(rt, LOOKUP, { fd, key, value: 0 })).toBe(-ENOENT);
      client.update(fd, u32s(1), u64s(5));
      expect(rawElem(rt, LOOKUP, { fd, key, value: 0 })).toBe(-EFAULT);
      expect(rawElem(rt, LOOKUP, { fd, key, value: rt.memory.buffer.byteLength - 7 })).toBe(
        -EFAULT,
      );
      expect(rawElem(rt, LOOKUP, { fd, key, value })).toBe(0);
      expect(peek(rt, value, 8)).toEqual(u64s(5));
    });

    it("transfer values of exactly their size", () => {
      for (const valueSize of [1, 3, 7, 9, 300]) {
        const fd = client.create({ type: 1, keySize: 4, valueSize, maxEntries: 4 });
        const from = new Uint8Array(valueSize).map((_, i) => i + 1);
        expect(client.update(fd, u32s(1), from)).toBe(0);
        const room = place(rt, new Uint8Array(valueSize + 1).fill(0xee));
        expect(rawElem(rt, LOOKUP, { fd, key, value: room })).toBe(0);
        expect(peek(rt, room, valueSize + 1)).toEqual(Uint8Array.of(...from, 0xee));
      }
    });

    it("delete and next-key know no value and no flags", () => {
      const fd = create();
      expect(rawElem(rt, DELETE, { fd, key, value: 1 }, 24)).toBe(-EINVAL);
      expect(rawElem(rt, DELETE, { fd, key, flags: 1 })).toBe(-EINVAL);
      expect(rawElem(rt, NEXT, { fd, key, value, flags: 1 })).toBe(-EINVAL);
    });

    it("next-key takes NULL for the start, may write over its key, and writes nothing on errors", () => {
      const fd = create(undefined, uapi.BPF_F_ZERO_SEED);
      expect(rawElem(rt, NEXT, { fd, value }, 24)).toBe(-ENOENT);
      expect(peek(rt, value, 8)).toEqual(u64s(11));
      for (const one of [1, 2, 3]) client.update(fd, u32s(one), u64s(one));
      expect(rawElem(rt, NEXT, { fd, value: badAddress() }, 24)).toBe(-EFAULT);
      const walk = [];
      expect(rawElem(rt, NEXT, { fd, value: key }, 24)).toBe(0);
      do walk.push(u32At(peek(rt, key, 4)));
      while (rawElem(rt, NEXT, { fd, key, value: key }, 24) === 0);
      expect(walk.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
      // An absent key starts anew.
      new Uint8Array(rt.memory.buffer).set(u32s(99), key);
      expect(rawElem(rt, NEXT, { fd, key, value }, 24)).toBe(0);
      expect(u32At(peek(rt, value, 4))).toBe(walk[0]);
    });
  });

  describe("update flags", () => {
    it("mean the same for all hashes", () => {
      for (const type of HASHES) {
        const fd = create(type);
        const update = (one: number, flags: number | bigint): number =>
          client.update(fd, u32s(one), u64s(1, 2), flags);
        for (const flags of [3, 8, 16, 24, 1n << 32n, (1n << 32n) | 1n, 1n << 63n]) {
          expect(update(1, flags), `type ${type}, flags ${flags}`).toBe(-EINVAL);
        }
        expect(update(1, uapi.BPF_EXIST)).toBe(-ENOENT);
        expect(update(1, uapi.BPF_NOEXIST)).toBe(0);
        expect(update(1, uapi.BPF_NOEXIST)).toBe(-EEXIST);
        expect(update(1, uapi.BPF_EXIST)).toBe(0);
        expect(update(1, uapi.BPF_ANY)).toBe(0);
      }
    });

    it("come before the room in a full map", () => {
      for (const flags of [0, uapi.BPF_F_NO_PREALLOC]) {
        for (const type of [uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_PERCPU_HASH]) {
          const fd = create(type, flags);
          for (const one of [1, 2, 3, 4]) expect(client.update(fd, u32s(one), u64s(1, 1))).toBe(0);
          const update = (one: number, how: number): number =>
            client.update(fd, u32s(one), u64s(2, 2), how);
          expect(update(5, 3)).toBe(-EINVAL);
          expect(update(5, uapi.BPF_EXIST)).toBe(-ENOENT);
          expect(update(1, uapi.BPF_NOEXIST)).toBe(-EEXIST);
          expect(update(5, uapi.BPF_ANY)).toBe(-E2BIG);
          expect(update(5, uapi.BPF_NOEXIST)).toBe(-E2BIG);
          expect(update(1, uapi.BPF_ANY)).toBe(0);
          expect(client.delete(fd, u32s(2))).toBe(0);
          expect(update(5, uapi.BPF_ANY)).toBe(0);
          expect(update(6, uapi.BPF_ANY)).toBe(-E2BIG);
        }
      }
    });

    it("of arrays: flags, then the index, then that it exists", () => {
      for (const type of ARRAYS) {
        const fd = create(type);
        const update = (one: number, flags: number | bigint): number =>
          client.update(fd, u32s(one), u64s(1, 2), flags);
        expect(update(99, 3)).toBe(-EINVAL);
        expect(update(99, 1n << 40n)).toBe(-EINVAL);
        expect(update(4, uapi.BPF_NOEXIST)).toBe(-E2BIG);
        expect(update(4, uapi.BPF_EXIST)).toBe(-E2BIG);
        expect(update(3, uapi.BPF_NOEXIST)).toBe(-EEXIST);
        expect(update(3, uapi.BPF_EXIST)).toBe(0);
        expect(client.delete(fd, u32s(3))).toBe(-EINVAL);
        expect(client.delete(fd, u32s(99))).toBe(-EINVAL);
        expect(client.lookup(fd, u32s(4), 16).ret).toBe(-ENOENT);
        expect(client.lookupAndDelete(fd, u32s(99), 16).ret).toBe(-ENOTSUPP);
      }
    });
  });

  it("LOOKUP_AND_DELETE loses the element when it cannot hand it out", () => {
    for (const type of HASHES) {
      const fd = create(type);
      client.update(fd, u32s(1), u64s(5, 6));
      expect(rawElem(rt, LOOKUP_AND_DELETE, { fd, key, value: badAddress() })).toBe(-EFAULT);
      expect(client.lookup(fd, u32s(1), 16).ret).toBe(-ENOENT);
      client.update(fd, u32s(1), u64s(5, 6));
      expect(rawElem(rt, LOOKUP_AND_DELETE, { fd, key, value })).toBe(0);
      expect(u32At(peek(rt, value, 4))).toBe(5);
      expect(rawElem(rt, LOOKUP_AND_DELETE, { fd, key, value: 0 })).toBe(-ENOENT);
    }
  });

  it("frozen maps refuse writes of any fd before anything else, and stay readable", () => {
    for (const type of [...HASHES, ...ARRAYS]) {
      const fd = create(type);
      client.update(fd, u32s(1), u64s(5, 6));
      const again = client.getFdById(client.info(fd).info?.id ?? 0);
      expect(client.freeze(fd)).toBe(0);
      for (const open of [fd, again]) {
        expect(rawElem(rt, UPDATE, { fd: open, flags: 99 })).toBe(-EPERM);
        expect(rawElem(rt, DELETE, { fd: open }, 16)).toBe(-EPERM);
        expect(rawElem(rt, LOOKUP_AND_DELETE, { fd: open })).toBe(-EPERM);
        expect(client.freeze(open)).toBe(-EPERM);
        expect(client.lookup(open, u32s(1), 16).ret).toBe(0);
      }
      // Programs still write.
      const map = rt.exports.bpf_map_by_fd(fd);
      expect(rt.exports.bpf_map_update_elem(map, key, value, 0n)).toBe(0);
    }
  });
});

// BPF_MAP_CREATE of the hash and array types: every flag, the limits of sizes, names, and which check
// comes first. Answers of Linux 6.18.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { type CreateSpec, writeCreateAttr } from "../support/attr.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";

const { E2BIG, EBADF, EFAULT, EINVAL, ENOMEM, ENOTSUPP, EOPNOTSUPP } = uapi;
const HASH = uapi.BPF_MAP_TYPE_HASH;
const PERCPU_HASH = uapi.BPF_MAP_TYPE_PERCPU_HASH;
const LRU_HASH = uapi.BPF_MAP_TYPE_LRU_HASH;
const LRU_PERCPU_HASH = uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH;
const ARRAY = uapi.BPF_MAP_TYPE_ARRAY;
const PERCPU_ARRAY = uapi.BPF_MAP_TYPE_PERCPU_ARRAY;
const HASHES = [HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH];
const ARRAYS = [ARRAY, PERCPU_ARRAY];
const TYPES = [...HASHES, ...ARRAYS];

/** Flags that every type takes. */
const COMMON_FLAGS =
  uapi.BPF_F_RDONLY | uapi.BPF_F_WRONLY | uapi.BPF_F_RDONLY_PROG | uapi.BPF_F_WRONLY_PROG;

/** Further flags by type. The NUMA node of the test is 0. */
const FLAGS: Readonly<Record<number, number>> = {
  [HASH]: uapi.BPF_F_NO_PREALLOC | uapi.BPF_F_NUMA_NODE | uapi.BPF_F_ZERO_SEED,
  [PERCPU_HASH]: uapi.BPF_F_NO_PREALLOC | uapi.BPF_F_ZERO_SEED,
  [LRU_HASH]: uapi.BPF_F_NO_COMMON_LRU | uapi.BPF_F_NUMA_NODE | uapi.BPF_F_ZERO_SEED,
  [LRU_PERCPU_HASH]: uapi.BPF_F_NO_COMMON_LRU | uapi.BPF_F_ZERO_SEED,
  [ARRAY]: uapi.BPF_F_NUMA_NODE | uapi.BPF_F_MMAPABLE | uapi.BPF_F_INNER_MAP,
  [PERCPU_ARRAY]: 0,
};

type Row = readonly [string, Partial<CreateSpec>, number];

const FLAG_PAIRS: readonly Row[] = [
  ["both fd modes", { type: ARRAY, flags: 0x18 }, EINVAL],
  ["both program modes", { type: ARRAY, flags: 0x180 }, EINVAL],
  ["both program modes", { type: HASH, flags: 0x180 }, EINVAL],
  ["read-only for both", { type: HASH, flags: 0x88 }, 0],
  ["mmapable inner", { type: ARRAY, flags: 0x1400 }, 0],
  ["mmapable, read-only for programs", { type: ARRAY, flags: 0x480 }, 0],
  ["mmapable, write-only for programs", { type: ARRAY, flags: 0x500 }, 0],
  ["node -1 on per-CPU values", { type: PERCPU_HASH, flags: 4, numaNode: -1 }, 0],
  ["node -1 on per-CPU values", { type: PERCPU_ARRAY, flags: 4, numaNode: -1 }, 0],
  ["node -1 with lists per CPU", { type: LRU_HASH, flags: 6, numaNode: -1 }, 0],
  ["node 0 with lists per CPU", { type: LRU_HASH, flags: 6 }, EINVAL],
  ["a node that does not exist", { type: HASH, flags: 4, numaNode: 1 }, EINVAL],
  ["a node without the flag", { type: HASH, numaNode: 7 }, 0],
  ["LRU without preallocation", { type: LRU_HASH, flags: 1 }, ENOTSUPP],
  ["LRU without preallocation", { type: LRU_PERCPU_HASH, flags: 3 }, ENOTSUPP],
];

const SIZES: readonly Row[] = [
  ...HASHES.flatMap((type): Row[] => [
    ["no key", { type, keySize: 0 }, EINVAL],
    ["no value", { type, valueSize: 0 }, EINVAL],
    ["no entries", { type, maxEntries: 0 }, EINVAL],
    ["a key of 513", { type, keySize: 513 }, 0],
    ["a key of 4096", { type, keySize: 4096 }, 0],
    ["more than 2^31 entries", { type, maxEntries: 0x80000001 }, E2BIG],
    ["2^28 entries", { type, maxEntries: 2 ** 28 }, E2BIG],
  ]),
  ...ARRAYS.flatMap((type): Row[] => [
    ["a key of 3", { type, keySize: 3 }, EINVAL],
    ["a key of 8", { type, keySize: 8 }, EINVAL],
    ["no value", { type, valueSize: 0 }, EINVAL],
    ["no entries", { type, maxEntries: 0 }, EINVAL],
  ]),
  ["the largest element", { type: HASH, valueSize: 4194251, maxEntries: 1 }, 0],
  ["an element too large", { type: HASH, valueSize: 4194252, maxEntries: 1 }, E2BIG],
  ["an element too large", { type: LRU_HASH, valueSize: 4194252, maxEntries: 1 }, E2BIG],
  ["key and value that wrap", { type: HASH, keySize: 8, valueSize: 0xfffffffc }, E2BIG],
  ["the largest per-CPU value", { type: PERCPU_HASH, valueSize: 32768, maxEntries: 1 }, 0],
  ["a per-CPU value too large", { type: PERCPU_HASH, valueSize: 32769 }, E2BIG],
  ["a per-CPU value too large", { type: LRU_PERCPU_HASH, valueSize: 32769 }, E2BIG],
  ["the largest per-CPU value", { type: PERCPU_ARRAY, valueSize: 32768, maxEntries: 1 }, 0],
  ["a per-CPU value too large", { type: PERCPU_ARRAY, valueSize: 32769 }, E2BIG],
  ["a value of 2 GiB", { type: ARRAY, valueSize: 0x80000000 }, E2BIG],
  ["a value of 2 GiB less one", { type: ARRAY, valueSize: 0x7fffffff }, ENOMEM],
  ["an array of 32 GiB", { type: ARRAY, maxEntries: 0xffffffff }, ENOMEM],
  ["a per-CPU array of 64 GiB", { type: PERCPU_ARRAY, maxEntries: 0xffffffff }, ENOMEM],
];

/** Two mistakes at once: the errno says which one counts. */
const PRECEDENCE: readonly Row[] = [
  ["unknown flags before sizes", { type: HASH, flags: 0x400, valueSize: 0x7fffffff }, EINVAL],
  ["no preallocation of LRU before sizes", { type: LRU_HASH, flags: 1, keySize: 0 }, ENOTSUPP],
  ["unknown flags before that", { type: LRU_HASH, flags: 0x401 }, EINVAL],
  ["zero sizes before limits", { type: HASH, valueSize: 0x7fffffff, maxEntries: 0 }, EINVAL],
  [
    "element size before the number",
    { type: HASH, valueSize: 1 << 23, maxEntries: 2 ** 31 },
    E2BIG,
  ],
  ["map_extra before the type", { type: 99, mapExtra: 1n }, EINVAL],
  ["sizes before the device", { type: HASH, keySize: 0, ifindex: 1 }, EINVAL],
  ["the device before the allocation", { type: HASH, ifindex: 1, maxEntries: 2 ** 31 }, EOPNOTSUPP],
  ["the allocation before the name", { type: ARRAY, maxEntries: 0xffffffff, name: "-" }, ENOMEM],
  ["the name before BTF", { type: HASH, name: "-", btfFd: 99, btfValueTypeId: 1 }, EINVAL],
];

const OTHERS: readonly Row[] = [
  ["map_extra", { type: HASH, mapExtra: 1n }, EINVAL],
  ["map_extra in the high word", { type: ARRAY, mapExtra: 1n << 40n }, EINVAL],
  ["a value type of the kernel", { type: HASH, btfVmlinuxValueTypeId: 1 }, EINVAL],
  ["a key type without a value type", { type: HASH, btfKeyTypeId: 1 }, EINVAL],
  ["the same before the fd", { type: HASH, btfFd: 99, btfKeyTypeId: 1 }, EINVAL],
  ["type ids without BTF", { type: HASH, btfFd: 99, btfKeyTypeId: 1, btfValueTypeId: 1 }, EBADF],
  ["type ids of a file", { type: HASH, btfFd: 0, btfKeyTypeId: 1, btfValueTypeId: 1 }, EINVAL],
  ["BTF without type ids", { type: HASH, btfFd: 99 }, 0],
  ["an inner map", { type: HASH, innerMapFd: 99 }, 0],
  ["the loopback device", { type: ARRAY, ifindex: 1 }, EOPNOTSUPP],
  ["no device", { type: ARRAY, ifindex: 99 }, EINVAL],
  ["a device for a type that has none", { type: LRU_HASH, ifindex: 1 }, EINVAL],
  ["type 0", { type: 0 }, EINVAL],
  ["type 34", { type: 34 }, EINVAL],
  ["type -1", { type: 0xffffffff }, EINVAL],
];

const NAMES: readonly (readonly [string, readonly number[], number])[] = [
  ["empty", [], 0],
  ["letters, digits, _ and .", [0x61, 0x5a, 0x5f, 0x2e, 0x39], 0],
  ["15 bytes", Array(15).fill(0x61), 0],
  ["16 bytes", Array(16).fill(0x61), EINVAL],
  ["a digit first", [0x31], 0],
  ["a space", [0x20], EINVAL],
  ["a minus", [0x2d], EINVAL],
  ["a slash", [0x61, 0x2f], EINVAL],
  ["DEL", [0x7f], EINVAL],
  ["rubbish behind the end", [0x61, 0, 0x2d, 0xff], 0],
  ["Latin-1 letters", [0xc0, 0xd6, 0xd8, 0xf6, 0xf8, 0xff], 0],
  ["the multiplication sign", [0xd7], EINVAL],
  ["the division sign", [0xf7], EINVAL],
  ["0x80", [0x80], EINVAL],
  ["0xbf", [0xbf], EINVAL],
];

describeEachBuild("BPF_MAP_CREATE", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2, maxBytes: 64 << 20 });
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  function create(spec: Partial<CreateSpec>): number {
    return client.create({ type: HASH, keySize: 4, valueSize: 8, maxEntries: 16, ...spec });
  }

  /** Creates and closes again; 0 or -errno. */
  function attempt(spec: Partial<CreateSpec>): number {
    const fd = create(spec);
    if (fd >= 0) expect(rt.close(fd)).toBe(0);
    return Math.min(fd, 0);
  }

  function expectRows(rows: readonly Row[]): void {
    for (const [name, spec, errno] of rows) {
      expect(attempt(spec), `type ${spec.type}, ${name}`).toBe(errno === 0 ? 0 : -errno);
    }
  }

  it("knows the flags of each type", () => {
    for (const type of TYPES) {
      for (let bit = 0; bit < 32; bit++) {
        const flags = (1 << bit) >>> 0;
        // BPF_F_TOKEN_FD is about an fd: 0 is open and no token.
        const known = (COMMON_FLAGS | (FLAGS[type] ?? 0)) & flags;
        const isLruPrealloc =
          flags === uapi.BPF_F_NO_PREALLOC && FLAGS[type]! & uapi.BPF_F_NO_COMMON_LRU;
        const errno = known !== 0 ? 0 : isLruPrealloc ? ENOTSUPP : EINVAL;
        expect(attempt({ type, flags }), `type ${type}, flag 0x${flags.toString(16)}`).toBe(
          errno === 0 ? 0 : -errno,
        );
      }
    }
  });

  it("knows which flags go together", () => expectRows(FLAG_PAIRS));
  it("limits sizes", () => expectRows(SIZES));
  it("checks in the kernel's order", () => expectRows(PRECEDENCE));
  it("checks the other fields", () => expectRows(OTHERS));

  it("checks names", () => {
    for (const [label, bytes, errno] of NAMES) {
      const name = new Uint8Array(16);
      name.set(bytes);
      expect(attempt({ name }), label).toBe(errno === 0 ? 0 : -errno);
    }
  });

  it("reports the name up to its end, and flags without the fd's mode", () => {
    const name = Uint8Array.of(0x61, 0x62, 0, 0x63, 0x2d);
    const fd = create({ name, flags: uapi.BPF_F_RDONLY | uapi.BPF_F_RDONLY_PROG });
    const { info } = client.info(fd);
    expect(info?.name).toBe("ab");
    expect(info?.mapFlags).toBe(uapi.BPF_F_RDONLY_PROG);
  });

  it("rounds entries of lists per CPU up to the CPUs", () => {
    const rounded = [1, 2, 3, 5, 6].map((maxEntries) => {
      const flags = uapi.BPF_F_NO_COMMON_LRU;
      return client.info(create({ type: LRU_HASH, flags, maxEntries })).info?.maxEntries;
    });
    expect(rounded).toEqual([2, 2, 4, 6, 6]);
    expect(client.info(create({ type: LRU_HASH, maxEntries: 5 })).info?.maxEntries).toBe(5);
    expect(client.info(create({ type: ARRAY, maxEntries: 5 })).info?.maxEntries).toBe(5);
  });

  it("checks tokens and hashes of programs", () => {
    const spec = { type: HASH, keySize: 4, valueSize: 8, maxEntries: 16 };
    const call = (set: (attr: DataView) => void, flags = 0): number => {
      const attr = new DataView(new ArrayBuffer(92));
      writeCreateAttr(attr, { ...spec, flags });
      set(attr);
      return Math.min(0, rt.bpf(uapi.BPF_MAP_CREATE, new Uint8Array(attr.buffer)));
    };
    const hash = rt.alloc(32);
    expect(call((attr) => attr.setInt32(76, 99, true))).toBe(0);
    expect(call((attr) => attr.setInt32(76, 99, true), uapi.BPF_F_TOKEN_FD)).toBe(-EBADF);
    expect(call((attr) => attr.setInt32(76, 0, true), uapi.BPF_F_TOKEN_FD)).toBe(-EINVAL);
    expect(call((attr) => attr.setUint32(80, hash, true))).toBe(-EINVAL);
    expect(call((attr) => attr.setUint32(88, 32, true))).toBe(-EINVAL);
    const withHash = (ptr: number, size: number) => (attr: DataView) => {
      attr.setBigUint64(80, BigInt(ptr), true);
      attr.setUint32(88, size, true);
    };
    expect(call(withHash(hash, 31))).toBe(-EINVAL);
    expect(call(withHash(rt.memory.buffer.byteLength - 31, 32))).toBe(-EFAULT);
    expect(call(withHash(hash, 32))).toBe(0);
  });

  it("looks at the token before the device, and before what types look at late", () => {
    const flags = uapi.BPF_F_TOKEN_FD;
    const call = (spec: Partial<CreateSpec>): number => {
      const attr = new DataView(new ArrayBuffer(92));
      writeCreateAttr(attr, {
        type: HASH,
        keySize: 4,
        valueSize: 8,
        maxEntries: 16,
        flags,
        ...spec,
      });
      attr.setInt32(76, 99, true);
      return rt.bpf(uapi.BPF_MAP_CREATE, new Uint8Array(attr.buffer));
    };
    expect(call({ ifindex: 1 })).toBe(-EBADF);
    expect(call({ type: ARRAY, ifindex: 99 })).toBe(-EBADF);
    const late = [
      uapi.BPF_MAP_TYPE_STACK_TRACE,
      uapi.BPF_MAP_TYPE_RINGBUF,
      uapi.BPF_MAP_TYPE_USER_RINGBUF,
      uapi.BPF_MAP_TYPE_BLOOM_FILTER,
      uapi.BPF_MAP_TYPE_CGROUP_STORAGE,
      uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
      uapi.BPF_MAP_TYPE_LPM_TRIE,
      uapi.BPF_MAP_TYPE_CPUMAP,
      uapi.BPF_MAP_TYPE_XSKMAP,
      uapi.BPF_MAP_TYPE_SOCKMAP,
      uapi.BPF_MAP_TYPE_SOCKHASH,
    ];
    for (const type of late) expect(call({ type, valueSize: 0 }), `type ${type}`).toBe(-EBADF);
    const early = [
      HASH,
      ARRAY,
      uapi.BPF_MAP_TYPE_QUEUE,
      uapi.BPF_MAP_TYPE_PROG_ARRAY,
      uapi.BPF_MAP_TYPE_CGROUP_ARRAY,
      uapi.BPF_MAP_TYPE_DEVMAP,
      uapi.BPF_MAP_TYPE_DEVMAP_HASH,
      uapi.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
    ];
    for (const type of early) expect(call({ type, valueSize: 0 }), `type ${type}`).toBe(-EINVAL);
  });

  it("leaves nothing behind when it refuses", () => {
    attempt({});
    const used = rt.exports.mem_used();
    for (const [, spec, errno] of [...FLAG_PAIRS, ...SIZES, ...PRECEDENCE, ...OTHERS]) {
      if (errno !== 0) attempt(spec);
    }
    expect(rt.exports.mem_used()).toBe(used);
    expect(create({})).toBe(3);
  });
});

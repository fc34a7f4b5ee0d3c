// rt.mmap: windows over arrays, and the kernel's refusals (answers of Linux 6.18).

import { afterEach, beforeEach, expect, it } from "vitest";
import { BpfError, type MmapOptions } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";
import { plainBtf } from "../support/btf.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { u32At, u32s } from "../support/bytes.js";

const { BPF_MAP_TYPE_ARRAY: ARRAY, BPF_MAP_TYPE_HASH: HASH } = uapi;
const { BPF_MAP_TYPE_PERCPU_ARRAY: PERCPU_ARRAY, BPF_F_MMAPABLE: MMAPABLE } = uapi;
const { BPF_F_RDONLY: RDONLY, BPF_F_WRONLY: WRONLY } = uapi;
const { BPF_F_RDONLY_PROG: RDONLY_PROG, BPF_F_WRONLY_PROG: WRONLY_PROG } = uapi;
const { EACCES, EBADF, EBUSY, EINVAL, ENODEV, ENOTSUPP, EPERM } = uapi;

/** What is asked of maps with ten values of 4 bytes: type, flags, frozen, writable -> errno. */
const REFUSALS: readonly (readonly [string, number, number, boolean, boolean, number])[] = [
  ["an array", ARRAY, MMAPABLE, false, true, 0],
  ["an array through a read-only fd", ARRAY, MMAPABLE | RDONLY, false, false, EINVAL],
  ["an array through a read-only fd", ARRAY, MMAPABLE | RDONLY, false, true, EACCES],
  ["an array through a write-only fd", ARRAY, MMAPABLE | WRONLY, false, false, EACCES],
  ["an array through a write-only fd", ARRAY, MMAPABLE | WRONLY, false, true, EACCES],
  ["an array that programs only read", ARRAY, MMAPABLE | RDONLY_PROG, false, false, 0],
  ["an array that programs only read", ARRAY, MMAPABLE | RDONLY_PROG, false, true, EACCES],
  ["an array that programs only write", ARRAY, MMAPABLE | WRONLY_PROG, false, true, 0],
  ["a frozen array", ARRAY, MMAPABLE, true, false, 0],
  ["a frozen array", ARRAY, MMAPABLE, true, true, EPERM],
  ["an array without BPF_F_MMAPABLE", ARRAY, 0, false, false, EINVAL],
  ["a frozen array without BPF_F_MMAPABLE", ARRAY, 0, true, true, EPERM],
  ["an unmappable array that programs only read", ARRAY, RDONLY_PROG, false, true, EACCES],
  ["a per-CPU array", PERCPU_ARRAY, 0, false, false, ENOTSUPP],
  ["a hash", HASH, 0, false, false, ENOTSUPP],
  ["a frozen hash", HASH, 0, true, true, ENOTSUPP],
  ["a hash that programs only read", HASH, RDONLY_PROG, false, true, ENOTSUPP],
  ["a hash through a read-only fd", HASH, RDONLY, false, false, ENOTSUPP],
  ["a hash through a read-only fd", HASH, RDONLY, false, true, EACCES],
  ["a hash through a write-only fd", HASH, WRONLY, false, false, EACCES],
];

/** offset, length -> errno for an array of 24000 bytes, 24576 in pages. */
const RANGES: readonly (readonly [number, number, number])[] = [
  [0, 24000, 0],
  [0, 24576, 0],
  [0, 24577, EINVAL],
  [20480, 4096, 0],
  [20480, 1, 0],
  [20480, 4097, EINVAL],
  [24576, 1, EINVAL],
  [100, 1, EINVAL],
  [0, 0, EINVAL],
  [2 ** 40, 1, EINVAL],
  [0, 2 ** 46, EINVAL],
];

describeEachBuild("rt.mmap", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2 });
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  function create(type: number, flags: number, maxEntries = 10): number {
    return client.create({ type, keySize: 4, valueSize: 4, maxEntries, flags });
  }

  function errnoOf(fd: number, options: MmapOptions = {}): number {
    try {
      rt.mmap(fd, options).close();
      return 0;
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      return -error.errno;
    }
  }

  for (const [name, type, flags, frozen, writable, errno] of REFUSALS) {
    const answer = errno === 0 ? "maps" : `refuses (${errno})`;
    it(`${answer} ${name}, ${writable ? "writable" : "read-only"}`, () => {
      const fd = create(type, flags);
      if (frozen) expect(client.freeze(fd)).toBe(0);
      expect(errnoOf(fd, { readonly: !writable })).toBe(errno);
      expect(errnoOf(fd, { readonly: !writable, length: 4096 })).toBe(errno);
    });
  }

  it("maps whole pages within the array", () => {
    const fd = create(ARRAY, MMAPABLE, 3000);
    for (const [offset, length, errno] of RANGES) {
      expect(errnoOf(fd, { offset, length }), `${offset}, ${length}`).toBe(errno);
    }
  });

  it("checks the offset, the fd, the length", () => {
    expect(errnoOf(99, { offset: 100 })).toBe(EINVAL);
    expect(errnoOf(99, { length: 0 })).toBe(EBADF);
    expect(errnoOf(99)).toBe(EBADF);
    expect(errnoOf(0)).toBe(ENODEV);
    expect(errnoOf(0, { length: 0 })).toBe(EINVAL);
    // BTF can be read, but its file is not open for writing; nor is a directory.
    for (const fd of [client.btfLoad(plainBtf(4, 4).blob), rt.bpffs.open("/sys/fs/bpf")]) {
      expect(errnoOf(fd)).toBe(EACCES);
      expect(errnoOf(fd, { readonly: true })).toBe(ENODEV);
    }
    expect(errnoOf(create(HASH, 0), { length: 0 })).toBe(EINVAL);
    expect(() => rt.mmap(3, { offset: -1 })).toThrow(RangeError);
    expect(() => rt.mmap(3, { length: 1.5 })).toThrow(RangeError);
    expect(() => rt.mmap(3, { length: "1" as never })).toThrow(TypeError);
    expect(() => rt.mmap(3, { offset: null as never })).toThrow(TypeError);
    expect(() => rt.mmap(3, { readonly: 1 as never })).toThrow(TypeError);
  });

  it("shows the values themselves, 8 bytes apart", () => {
    const fd = create(ARRAY, MMAPABLE);
    client.update(fd, u32s(3), u32s(33));
    const window = rt.mmap(fd);
    expect(window.bytes.length).toBe(80);
    expect(u32At(window.bytes, 24)).toBe(33);
    window.bytes[16] = 5;
    expect(u32At(client.lookup(fd, u32s(2), 4).out)).toBe(5);
    const map = rt.exports.bpf_map_by_fd(fd);
    const key = rt.alloc(4);
    new Uint8Array(rt.memory.buffer).set(u32s(2), key);
    expect(rt.exports.bpf_map_lookup_elem(map, key) >>> 0).toBe(window.ptr + 16);
    expect(rt.exports.bpf_valid_range(window.ptr + 16, 4)).toBe(1);
  });

  it("starts at the offset and is page-aligned", () => {
    const fd = create(ARRAY, MMAPABLE, 3000);
    client.update(fd, u32s(512), u32s(77));
    const window = rt.mmap(fd, { offset: 4096, readonly: true });
    expect(window.ptr % 4096).toBe(0);
    expect(window.length).toBe(24000 - 4096);
    expect(u32At(window.bytes)).toBe(77);
  });

  it("gives fresh bytes after the memory grew", () => {
    const fd = create(ARRAY, MMAPABLE);
    const window = rt.mmap(fd);
    window.bytes[0] = 9;
    rt.alloc(4 << 20);
    expect(window.bytes[0]).toBe(9);
    expect(window.bytes).toBe(window.bytes);
  });

  it("keeps the map from being frozen while a writable window is open", () => {
    const fd = create(ARRAY, MMAPABLE);
    const writable = rt.mmap(fd);
    const another = rt.mmap(fd);
    const readable = rt.mmap(fd, { readonly: true });
    expect(client.freeze(fd)).toBe(-EBUSY);
    writable.close();
    writable.close();
    expect(client.freeze(fd)).toBe(-EBUSY);
    another[Symbol.dispose]();
    expect(client.freeze(fd)).toBe(0);
    expect(readable.bytes.length).toBe(80);
    expect(() => writable.bytes).toThrow("closed");
  });

  it("keeps the map alive until it is closed", () => {
    // The tables that the first map brings along stay.
    rt.close(create(ARRAY, MMAPABLE));
    const before = rt.exports.mem_used();
    const fd = create(ARRAY, MMAPABLE);
    const id = client.info(fd).info?.id ?? 0;
    const window = rt.mmap(fd);
    rt.close(fd);
    const again = client.getFdById(id);
    expect(again).toBe(fd);
    rt.close(again);
    window.close();
    expect(client.getFdById(id)).toBe(-uapi.ENOENT);
    client.release();
    expect(rt.exports.mem_used()).toBe(before);
  });
});

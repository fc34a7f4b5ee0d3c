// fds and handles: which numbers are used, what ends when.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { expectSound } from "../support/debug.js";
import { place } from "../support/raw.js";

describeEachBuild("fds", (build) => {
  let rt: Runtime;
  let client: BpfClient;

  beforeEach(async () => {
    rt = await build.createRuntime();
    client = new BpfClient(rt);
  });
  afterEach(() => rt.dispose());

  const create = (): number =>
    client.create({ type: uapi.BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: 4, maxEntries: 1 });

  it("takes the lowest free number, from 3 on", () => {
    expect([create(), create(), create(), create()]).toEqual([3, 4, 5, 6]);
    rt.close(5);
    rt.close(3);
    rt.close(6);
    expect([create(), create(), create(), create()]).toEqual([3, 5, 6, 7]);
  });

  it("closes what is open, once", () => {
    const fd = create();
    expect(rt.close(fd)).toBe(0);
    expect(rt.close(fd)).toBe(-uapi.EBADF);
    for (const bad of [-1, 99, 2 ** 31, 1.5, Number.NaN]) expect(rt.close(bad)).toBe(-uapi.EBADF);
  });

  it("has 0, 1 and 2 open from the start: files", () => {
    for (const fd of [0, 1, 2]) {
      expect(client.lookup(fd, u32s(0), 4).ret).toBe(-uapi.EINVAL);
      expect(rt.exports.bpf_map_by_fd(fd)).toBe(0);
    }
    expect(rt.close(0)).toBe(0);
    expect(create()).toBe(0);
    expect(client.lookup(0, u32s(0), 4).ret).toBe(0);
  });

  it("holds thousands of fds and maps", () => {
    const fds = Array.from({ length: 3000 }, create);
    expect(fds).toEqual(fds.map((_, i) => i + 3));
    expectSound(rt);
    for (const fd of fds.toReversed()) rt.close(fd);
    expectSound(rt);
    expect(client.getNextId(0).ret).toBe(-uapi.ENOENT);
    expect(create()).toBe(3);
  });

  it("ends a map with its last fd; a handle of it is stale from then on", () => {
    const key = place(rt, u32s(0));
    const fd = create();
    const again = client.getFdById(client.info(fd).info?.id ?? 0);
    const map = rt.exports.bpf_map_by_fd(fd);
    expect(rt.exports.bpf_map_by_fd(again)).toBe(map);
    const value = rt.exports.bpf_map_lookup_elem(map, key);
    rt.close(fd);
    expect(rt.exports.bpf_map_lookup_elem(map, key)).toBe(value);
    expect(rt.exports.bpf_valid_range(value, 4)).toBe(1);
    rt.close(again);
    expect(rt.exports.bpf_map_lookup_elem(map, key)).toBe(0);
    expect(rt.exports.bpf_valid_range(value, 4)).toBe(0);
    expect(rt.exports.bpf_map_update_elem(map, key, key, 0n)).toBe(-uapi.EINVAL);
    expect(rt.exports.bpf_map_delete_elem(map, key)).toBe(-uapi.EINVAL);
    // A handle is not used again soon.
    const handles = new Set([map]);
    for (let i = 0; i < 5000; i++) {
      const next = create();
      const handle = rt.exports.bpf_map_by_fd(next);
      expect(handles.has(handle)).toBe(false);
      handles.add(handle);
      rt.close(next);
    }
  });

  it("takes no number for a handle that is none", () => {
    create();
    const key = place(rt, u32s(0));
    for (const bad of [0, 1, 2, 0x100000, 0x7fffffff, 0xffffffff]) {
      expect(rt.exports.bpf_map_lookup_elem(bad, key), `${bad}`).toBe(0);
      expect(rt.exports.bpf_map_sum_elem_count(bad)).toBe(BigInt(-uapi.EINVAL));
    }
  });
});

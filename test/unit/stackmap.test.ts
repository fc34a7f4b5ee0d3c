// STACK_TRACE: stacks that the host hands in, their ids, and the commands on them.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { jhash } from "../support/jhash.js";
import { Machine, u32s, u32At } from "../support/machine.js";
import { walk } from "../support/walk.js";

const { BPF_F_FAST_STACK_CMP, BPF_F_REUSE_STACKID, BPF_F_STACK_BUILD_ID } = uapi;
const { BPF_MAP_TYPE_STACK_TRACE, E2BIG, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM } = uapi;

/** Addresses as the u32 words of their u64s. */
function ipBytes(...ips: number[]): Uint8Array {
  return u32s(...ips.flatMap((ip) => [ip, 0]));
}

describeEachBuild("stack trace map", (build) => {
  let m: Machine;
  let chain: number;

  beforeEach(async () => {
    m = await Machine.start(build);
    chain = m.area(8 + 200 * 8);
  });
  afterEach(() => m.dispose());

  const create = (maxEntries = 5, valueSize = 64, flags = 0): number => {
    const type = BPF_MAP_TYPE_STACK_TRACE;
    return m.client.create({ type, keySize: 4, valueSize, maxEntries, flags });
  };
  const idOf = (fd: number, ips: number[], flags = 0): number => {
    m.put(chain, u32s(ips.length, 0));
    m.put(chain + 8, ipBytes(...ips));
    return Number(m.runtime.exports.bpf_get_stackid(chain, m.handle(fd), BigInt(flags)));
  };
  /** Two stacks with the same id. */
  const clash = (nBuckets: number): [number[], number[]] => {
    const first = [1];
    const id = jhash(ipBytes(1), 0) & (nBuckets - 1);
    for (let ip = 2; ; ip++) {
      const hash = jhash(ipBytes(ip), 0);
      if ((hash & (nBuckets - 1)) === id) return [first, [ip]];
    }
  };

  it("checks sizes and flags", () => {
    expect(create(5, 8)).toBeGreaterThan(0);
    expect(create(5, 127 * 8)).toBeGreaterThan(0);
    for (const valueSize of [0, 4, 12, 128 * 8]) expect(create(5, valueSize)).toBe(-EINVAL);
    expect(create(5, 127 * 32, BPF_F_STACK_BUILD_ID)).toBeGreaterThan(0);
    for (const size of [8, 40, 128 * 32])
      expect(create(5, size, BPF_F_STACK_BUILD_ID)).toBe(-EINVAL);
    expect(create(0)).toBe(-EINVAL);
    expect(create(0x80000001)).toBe(-E2BIG);
    for (const flags of [1, 2, 0x40, 0x80, 0x100, 0x400])
      expect(create(5, 64, flags)).toBe(-EINVAL);
  });

  it("the same stack has the same id, its hash's bucket", () => {
    const fd = create(4);
    const ips = [10, 20, 30];
    const id = idOf(fd, ips);
    expect(id).toBe(jhash(ipBytes(...ips), 0) & 3);
    expect(idOf(fd, ips)).toBe(id);
    const { ret, out } = m.client.lookup(fd, u32s(id), 64);
    expect([ret, out]).toEqual([0, new Uint8Array([...ipBytes(...ips), ...new Uint8Array(40)])]);
    expect(idOf(fd, [99, 98, ...ips], 2)).toBe(id);
  });

  it("two stacks with one id: refused, taken for the same, or replaced", () => {
    const fd = create(4);
    const [a, b] = clash(4);
    const id = idOf(fd, a);
    expect(idOf(fd, b)).toBe(-EEXIST);
    expect(idOf(fd, b, BPF_F_FAST_STACK_CMP)).toBe(-EEXIST);
    expect(idOf(fd, b, BPF_F_REUSE_STACKID)).toBe(id);
    expect(u32At(m.client.lookup(fd, u32s(id), 64).out)).toBe(b[0]);
    expect(idOf(fd, a)).toBe(-EEXIST);
  });

  it("holds max_entries stacks, though ids go further", () => {
    const fd = create(5);
    let stored = 0;
    let refused = 0;
    for (let ip = 1; ip < 200; ip++) {
      const id = idOf(fd, [ip]);
      if (id >= 0) stored++;
      else if (id === -ENOMEM) refused++;
      else expect(id).toBe(-EEXIST);
    }
    expect(stored).toBe(5);
    expect(refused).toBeGreaterThan(0);
    expect(m.client.delete(fd, u32s(8))).toBe(-E2BIG);
    const first = m.client.nextKey(fd, null, 4).out;
    expect(m.client.delete(fd, first)).toBe(0);
    expect(m.client.delete(fd, first)).toBe(-ENOENT);
  });

  it("with build ids, a full map is full for stacks that are there, too", () => {
    const fd = create(2, 64, BPF_F_STACK_BUILD_ID);
    const id = idOf(fd, [1]);
    for (let ip = 2; idOf(fd, [ip]) < 0; ip++);
    expect([idOf(fd, [1]), idOf(fd, [1], BPF_F_FAST_STACK_CMP)]).toEqual([-ENOMEM, id]);
    const plain = create(2);
    expect(idOf(plain, [1])).toBe(id);
    for (let ip = 2; idOf(plain, [ip]) < 0; ip++);
    expect(idOf(plain, [1])).toBe(id);
  });

  it("walks the ids in use, and starts anew from any other", () => {
    const fd = create(8);
    expect(m.client.nextKey(fd, null, 4).ret).toBe(-ENOENT);
    const ids = new Set<number>();
    for (let ip = 1; ip < 5; ip++) {
      const id = idOf(fd, [ip]);
      if (id >= 0) ids.add(id);
    }
    const walked = walk(m.client, fd);
    expect(walked).toEqual([...ids].toSorted((a, b) => a - b));
    expect(u32At(m.client.nextKey(fd, u32s(1000), 4).out)).toBe(walked[0]);
  });

  it("lookup and delete takes a stack out; updates are refused", () => {
    const fd = create(4);
    const key = u32s(idOf(fd, [7]));
    for (const flags of [0, 1, 2])
      expect(m.client.update(fd, key, ipBytes(1, 2, 3, 4, 5, 6, 7, 8), flags)).toBe(-EINVAL);
    expect(m.client.lookupAndDelete(fd, key, 64, 4).ret).toBe(-EINVAL);
    expect(u32At(m.client.lookupAndDelete(fd, key, 64).out)).toBe(7);
    expect(m.client.lookup(fd, key, 64).ret).toBe(-ENOENT);
    expect(m.client.lookup(fd, u32s(4), 64).ret).toBe(-ENOENT);
  });

  it("deep stacks are cut, skipped frames left out, empty ones refused", () => {
    const fd = create(4, 16);
    const id = idOf(fd, [1, 2, 3, 4]);
    expect(m.client.lookup(fd, u32s(id), 16).out).toEqual(ipBytes(1, 2));
    const skipped = idOf(fd, [1, 2, 3, 4], 2 | BPF_F_REUSE_STACKID);
    expect(m.client.lookup(fd, u32s(skipped), 16).out).toEqual(ipBytes(3, 4));
    expect(idOf(fd, [1, 2], 2)).toBe(-EFAULT);
    expect(idOf(fd, [])).toBe(-EFAULT);
    expect(idOf(fd, [1], 0x800)).toBe(-EINVAL);
    const { bpf_get_stackid: getStackId } = m.runtime.exports;
    expect(getStackId(0, m.handle(fd), 0n)).toBe(BigInt(-EFAULT));
    expect(getStackId(chain, 0, 0n)).toBe(BigInt(-EINVAL));
  });

  it("with build ids, entries carry the address alone", () => {
    const fd = create(4, 64, BPF_F_STACK_BUILD_ID);
    const id = idOf(fd, [0x1234]);
    expect(idOf(fd, [0x1234])).toBe(id);
    const { out } = m.client.lookup(fd, u32s(id), 64);
    expect([u32At(out), u32At(out, 24), out.length]).toEqual([2, 0x1234, 64]);
  });

  it("bpf_helper_call knows 27, and no other helper takes the map", () => {
    const fd = create(4);
    idOf(fd, [3]);
    const core = m.runtime.exports;
    const map = m.handle(fd);
    const id = core.bpf_helper_call(27, BigInt(chain), BigInt(map), 0n, 0n, 0n);
    expect(Number(id)).toBe(jhash(ipBytes(3), 0) & 3);
    const key = m.put(m.area(4), u32s(Number(id)));
    expect(core.bpf_map_lookup_elem(map, key)).toBe(0);
    expect(core.bpf_map_delete_elem(map, key)).toBe(-EINVAL);
  });
});

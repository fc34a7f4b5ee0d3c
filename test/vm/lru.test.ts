// LRU maps whose entries are looked up by programs: such a lookup marks an entry as referenced, one of
// the system call side does not.
import { expect, test } from "vitest";
import {
  BPF_F_NO_COMMON_LRU,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
} from "../../ts/uapi.js";
import { loadText, SETUPS, type Setup } from "../support/vm/machines.js";
import { SyscallMap } from "../support/vm/maps.js";

/** Looks up the keys first to last (context: u32 each) and gives how many were there. */
const TOUCH = `
  r6 = *(u32 *)(r1 + 0); r7 = *(u32 *)(r1 + 4); r8 = 0
next:
  if r6 > r7 goto done
  *(u32 *)(r10 - 4) = r6
  r2 = r10; r2 += -4
  r1 = map[cache] ll
  call bpf_map_lookup_elem
  r6 += 1
  if r0 == 0 goto next
  r8 += 1
  goto next
done:
  r0 = r8
  exit`;

/** 64 entries on one CPU: an eviction makes room for 32. */
const LRU_CASES = [
  { name: "LRU_HASH", type: BPF_MAP_TYPE_LRU_HASH },
  { name: "LRU_PERCPU_HASH", type: BPF_MAP_TYPE_LRU_PERCPU_HASH },
] as const;

test.for(SETUPS)("%s: a program's lookups protect LRU entries", async ([, create]) => {
  for (const { name, type } of LRU_CASES) {
    const setup = await create();
    const { rt, machine } = setup;
    const attributes = { type, keySize: 4, valueSize: 8, maxEntries: 64 };
    const map = new SyscallMap(rt, attributes);
    loadText(setup, TOUCH, { cache: map.fd });
    const ctx = rt.alloc(8);
    const touch = (first: number, last: number): bigint => {
      new DataView(rt.memory.buffer).setUint32(ctx, first, true);
      new DataView(rt.memory.buffer).setUint32(ctx + 4, last, true);
      return machine.exec(ctx, 8);
    };
    for (let key = 1; key <= 64; key++) expect(map.update(key, BigInt(key))).toBe(0);
    // The system call side leaves no mark.
    for (let key = 17; key <= 32; key++) expect(map.lookup(key)).toBeDefined();
    expect([name, touch(1, 16)]).toEqual([name, 16n]);
    for (let key = 65; key <= 80; key++) expect(map.update(key, 0n)).toBe(0);
    const left = map.keys();
    const kept = (first: number, last: number) =>
      left.filter((key) => key >= first && key <= last).length;
    // The oldest went although they were read, the touched ones stayed although they were older.
    expect([name, kept(1, 16)]).toEqual([name, 16]);
    expect([name, kept(17, 32)]).toEqual([name, 0]);
    expect([name, kept(65, 80)]).toEqual([name, 16]);
    expect(touch(1, 16)).toBe(16n);
  }
});

/** Context: key, and what to do with it: 0 lookup (r0 = found), 1 update. */
const OPERATE = `
  r6 = *(u32 *)(r1 + 0); r7 = *(u32 *)(r1 + 4)
  *(u32 *)(r10 - 4) = r6
  r2 = r10; r2 += -4
  r1 = map[cache] ll
  if r7 != 0 goto update
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r0 = 1
out:
  exit
update:
  *(u64 *)(r10 - 16) = 7
  r3 = r10; r3 += -16; r4 = 0
  call bpf_map_update_elem
  exit`;

/** What Linux 6.18 with two possible CPUs answered and kept, pinned to CPU 0: see `operate`. */
const KERNEL_CASES = [
  {
    name: "LRU_HASH",
    type: BPF_MAP_TYPE_LRU_HASH,
    flags: 0,
    digest: 3329621683,
    keys:
      "1 2 3 4 5 6 7 10 11 12 13 15 16 17 18 19 27 28 31 33 34 36 38 39 42 44 45 48 50 51 52 55 57 " +
      "60 64 65 66 67 68 69 71 74 80 81 84 87 88 89 92 94 96 97 100",
  },
  {
    name: "LRU_HASH, NO_COMMON_LRU",
    type: BPF_MAP_TYPE_LRU_HASH,
    flags: BPF_F_NO_COMMON_LRU,
    digest: 1667523718,
    keys: "3 4 6 7 10 11 15 19 33 34 38 39 42 44 48 50 55 57 60 64 68 69 71 80 81 87 88 89 96 100",
  },
  {
    name: "LRU_PERCPU_HASH",
    type: BPF_MAP_TYPE_LRU_PERCPU_HASH,
    flags: 0,
    digest: 4281631260,
    keys:
      "1 2 3 4 5 6 7 9 10 13 15 16 17 18 19 24 25 27 29 30 31 32 33 34 38 42 44 47 48 49 50 55 57 60 " +
      "62 63 64 65 71 74 75 80 81 84 86 87 89 96 97 99",
  },
  {
    name: "LRU_PERCPU_HASH, NO_COMMON_LRU",
    type: BPF_MAP_TYPE_LRU_PERCPU_HASH,
    flags: BPF_F_NO_COMMON_LRU,
    digest: 3541849846,
    keys: "3 4 6 7 10 11 15 16 17 19 33 34 38 39 42 44 48 57 60 64 68 69 71 74 80 81 87 88 89 94 96 100",
  },
] as const;

/**
 * 3000 operations on 100 keys: half of them lookups by a program, the others one eighth each: lookup
 * and update by system call, update by a program, delete by system call.
 * @returns FNV-1a over the low bytes of all results
 */
function operate({ rt, machine }: Setup, map: SyscallMap): number {
  const ctx = rt.alloc(8);
  const byProgram = (key: number, action: number): number => {
    new DataView(rt.memory.buffer).setUint32(ctx, key, true);
    new DataView(rt.memory.buffer).setUint32(ctx + 4, action, true);
    return Number(BigInt.asIntN(32, machine.exec(ctx, 8)));
  };
  let random = 12345;
  let digest = 2166136261;
  for (let index = 0; index < 3000; index++) {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    const key = 1 + ((random >>> 8) % 100);
    const action = (random >>> 24) % 8;
    let result: number;
    if (action < 4) result = byProgram(key, 0);
    else if (action === 4) result = map.lookup(key) === undefined ? -2 : 0;
    else if (action === 5) result = map.update(key, 1n);
    else if (action === 6) result = byProgram(key, 1);
    else result = map.delete(key);
    digest = Math.imul(digest ^ (result & 255), 16777619);
  }
  return digest >>> 0;
}

test.for(SETUPS)("%s: evictions are the kernel's", async ([, create]) => {
  for (const { name, type, flags, digest, keys } of KERNEL_CASES) {
    const setup = await create({ cpus: 2 });
    const map = new SyscallMap(setup.rt, { type, flags, keySize: 4, valueSize: 8, maxEntries: 64 });
    loadText(setup, OPERATE, { cache: map.fd });
    expect([name, operate(setup, map)]).toEqual([name, digest]);
    expect(
      map
        .keys()
        .toSorted((a, b) => a - b)
        .join(" "),
    ).toBe(keys);
  }
});

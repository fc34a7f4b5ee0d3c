// eBPF programs on the maps of a runtime: both machines, all kinds of memory.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_SK_STORAGE,
} from "../../ts/uapi.js";
import { lockBtf } from "../support/btf.js";
import { RigMaker } from "../support/helpers.js";
import { StorageRig } from "../support/storage.js";
import { ElfObject } from "../support/vm/elf.js";
import { loadText, SETUPS, type Setup } from "../support/vm/machines.js";
import { resolverOf, SyscallMap } from "../support/vm/maps.js";
import { samplePackets, type Packet } from "../support/vm/packets.js";
import { relocate } from "../support/vm/relocate.js";
import { VmError } from "../support/vm/vm.js";
import type { WasmVm } from "../support/vm/wasm-vm.js";

const TC_ACT_OK = 0n;
const XDP_PASS = 2n;
/** What the seed 42 begins with in bpf_get_prandom_u32. */
const RANDOM_OF_42 = [3_184_996_902n, 686_809_907n, 1_196_582_743n];
const packets = samplePackets();

/** Packets and bytes by source address, as a program counts them. */
type Stats = Map<number, { packets: bigint; bytes: bigint }>;

function expectedStats(times: number): { stats: Stats; others: bigint } {
  const stats: Stats = new Map();
  let others = 0n;
  for (const { data, length } of packets) {
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    if (data.length < 34 || view.getUint16(12) !== 0x0800) {
      others += BigInt(times);
      continue;
    }
    const source = view.getUint32(26, true);
    const entry = stats.get(source) ?? { packets: 0n, bytes: 0n };
    entry.packets += BigInt(times);
    entry.bytes += BigInt(length * times);
    stats.set(source, entry);
  }
  return { stats, others };
}

function readStats(map: SyscallMap): Stats {
  return new Map(
    map.keys().map((key) => {
      const value = map.lookup(key);
      const [count = 0n, bytes = 0n] = [value?.getBigUint64(0, true), value?.getBigUint64(8, true)];
      return [key, { packets: count, bytes }] as const;
    }),
  );
}

/** The packets alone. */
function packetsOf(stats: Stats): Map<number, bigint> {
  return new Map([...stats].map(([key, value]) => [key, value.packets]));
}

/** The packets' bytes in the runtime's memory, and a context. */
class PacketBuffer {
  readonly #setup: Setup;
  readonly #starts: number[] = [];
  readonly ctx: number;

  constructor(setup: Setup, list: readonly Packet[]) {
    this.#setup = setup;
    const total = list.reduce((sum, { data }) => sum + data.length, 0);
    const start = setup.rt.alloc(total);
    this.ctx = setup.rt.alloc(SK_BUFF_SIZE);
    setup.allow(start, total);
    const memory = new Uint8Array(setup.rt.memory.buffer);
    let at = start;
    for (const { data } of list) {
      memory.set(data, at);
      this.#starts.push(at);
      at += data.length;
    }
  }

  /** Runs the program on each packet; the context is written by `fill`. */
  run(
    fill: (ctx: DataView, start: number, packet: Packet) => void,
    ctxLength: number,
  ): Set<bigint> {
    const view = new DataView(this.#setup.rt.memory.buffer, this.ctx, ctxLength);
    const results = new Set<bigint>();
    for (const [index, packet] of packets.entries()) {
      fill(view, this.#starts[index] ?? 0, packet);
      results.add(this.#setup.machine.exec(this.ctx, ctxLength));
    }
    return results;
  }
}

/** struct __sk_buff up to data_end, the fields that are used. */
const SK_BUFF_SIZE = 84;
const skBuff = (ctx: DataView, start: number, { data, length }: Packet): void => {
  ctx.setUint32(0, length, true);
  ctx.setUint32(76, start, true);
  ctx.setUint32(80, start + data.length, true);
};

const xdpMd = (ctx: DataView, start: number, { data }: Packet): void => {
  ctx.setUint32(0, start, true);
  ctx.setUint32(4, start + data.length, true);
};

/** Counts packets and bytes by source: the example of the kernel's documentation of hash maps. */
const UPDATE_STATS = `
  r6 = *(u32 *)(r1 + 76)              // data
  r8 = *(u32 *)(r1 + 80)              // data_end
  r7 = *(u32 *)(r1 + 0)               // len
  r2 = r6; r2 += 34
  if r2 > r8 goto out
  r2 = *(u16 *)(r6 + 12)
  if r2 != 0x0008 goto out            // ETH_P_IP
  r2 = *(u32 *)(r6 + 26)              // saddr
  *(u32 *)(r10 - 4) = r2
  r2 = r10; r2 += -4
  r1 = map[packet_stats] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto first
  r1 = 1
  lock *(u64 *)(r0 + 0) += r1
  lock *(u64 *)(r0 + 8) += r7
  goto out
first:
  *(u64 *)(r10 - 24) = 1
  *(u64 *)(r10 - 16) = r7
  r1 = map[packet_stats] ll
  r2 = r10; r2 += -4
  r3 = r10; r3 += -24
  r4 = 1                              // BPF_NOEXIST
  call bpf_map_update_elem
out:
  r0 = 0
  exit`;

test.for(SETUPS)("%s: update_stats counts a capture's packets by source", async ([, create]) => {
  for (const type of [BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH]) {
    const setup = await create();
    const map = new SyscallMap(setup.rt, { type, keySize: 4, valueSize: 16, maxEntries: 65536 });
    loadText(setup, UPDATE_STATS, { packet_stats: map.fd });
    const results = new PacketBuffer(setup, packets).run(skBuff, SK_BUFF_SIZE);
    expect(results).toEqual(new Set([TC_ACT_OK]));
    expect(readStats(map)).toEqual(expectedStats(1).stats);
    setup.rt.dispose();
  }
});

test("update_stats over a million packets", async () => {
  const wasm = SETUPS.find(([name]) => name === "Wasm machine")?.[1];
  const setup = await wasm?.();
  if (setup === undefined) throw new Error("no Wasm machine");
  const attributes = { type: BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 16, maxEntries: 65536 };
  const map = new SyscallMap(setup.rt, attributes);
  loadText(setup, UPDATE_STATS, { packet_stats: map.fd });
  const buffer = new PacketBuffer(setup, packets);
  const times = Math.ceil(1_000_000 / packets.length);
  for (let index = 0; index < times; index++) buffer.run(skBuff, SK_BUFF_SIZE);
  expect(readStats(map)).toEqual(expectedStats(times).stats);
});

test.for(SETUPS)("%s: the example as compiled by clang", async ([, create]) => {
  const setup = await create();
  const object = new ElfObject(readFileSync(new URL("fixtures/update-stats.o", import.meta.url)));
  const { rt } = setup;
  const stats = new SyscallMap(rt, {
    type: BPF_MAP_TYPE_LRU_HASH,
    keySize: 4,
    valueSize: 16,
    maxEntries: 65536,
  });
  const others = new SyscallMap(rt, {
    type: BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize: 8,
    maxEntries: 1,
  });
  const insns = object.link("xdp", { packet_stats: stats.fd, other_packets: others.fd });
  setup.machine.load(relocate(insns, resolverOf(rt)));
  expect(new PacketBuffer(setup, packets).run(xdpMd, 8)).toEqual(new Set([XDP_PASS]));
  const expected = expectedStats(1);
  // The program sees the captured bytes, so only the packets are those of the wire.
  expect(packetsOf(readStats(stats))).toEqual(packetsOf(expected.stats));
  expect(others.lookup(0)?.getBigUint64(0, true)).toBe(expected.others);
});

test.for(SETUPS)("%s: values of an array by address", async ([, create]) => {
  const setup = await create();
  const map = new SyscallMap(setup.rt, {
    type: BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize: 16,
    maxEntries: 1,
  });
  const text = `r1 = map_value[data] + 8 ll; r2 = 5; lock *(u64 *)(r1 + 0) += r2
    r0 = *(u64 *)(r1 + 0); exit`;
  loadText(setup, text, { data: map.fd });
  expect(setup.machine.exec(0, 0)).toBe(5n);
  expect(setup.machine.exec(0, 0)).toBe(10n);
  expect(map.lookup(0)?.getBigUint64(8, true)).toBe(10n);
});

/** Adds the packet's number to this CPU's slot of two maps; r0 is the CPU. */
const PER_CPU = `
  r6 = *(u64 *)(r1 + 0)
  *(u32 *)(r10 - 4) = 0
  r2 = r10; r2 += -4
  r1 = map[counters] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto bad
  r1 = *(u64 *)(r0 + 0); r1 += r6; *(u64 *)(r0 + 0) = r1
  *(u32 *)(r10 - 4) = 7
  r2 = r10; r2 += -4
  r1 = map[table] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto insert
  lock *(u64 *)(r0 + 0) += r6
  goto out
insert:
  *(u64 *)(r10 - 16) = r6
  r1 = map[table] ll
  r2 = r10; r2 += -4
  r3 = r10; r3 += -16
  r4 = 1
  call bpf_map_update_elem
out:
  call bpf_get_smp_processor_id
  exit
bad:
  r0 = -1
  exit`;

test.for(SETUPS)("%s: per-CPU counters", async ([, create]) => {
  const cpus = 5;
  const setup = await create({ cpus });
  const { rt, machine } = setup;
  const shape = { keySize: 4, valueSize: 8, maxEntries: 16 };
  const counters = new SyscallMap(rt, { ...shape, type: BPF_MAP_TYPE_PERCPU_ARRAY });
  const table = new SyscallMap(rt, { ...shape, type: BPF_MAP_TYPE_PERCPU_HASH });
  loadText(setup, PER_CPU, { counters: counters.fd, table: table.fd });
  const ctx = rt.alloc(8);
  const expected = Array.from({ length: cpus }, () => 0n);
  for (let index = 0; index < 1000; index++) {
    const cpu = (index * index) % cpus;
    new DataView(rt.memory.buffer).setBigUint64(ctx, BigInt(index), true);
    rt.cpu = cpu;
    expect(machine.exec(ctx, 8)).toBe(BigInt(cpu));
    expected[cpu] = (expected[cpu] ?? 0n) + BigInt(index);
  }
  const slots = (map: SyscallMap, key: number) => {
    const value = map.lookup(key);
    return expected.map((_, cpu) => value?.getBigUint64(cpu * 8, true));
  };
  expect(slots(counters, 0)).toEqual(expected);
  expect(slots(table, 7)).toEqual(expected);
});

test.for(SETUPS)("%s: all slots of a per-CPU entry by lookup_percpu_elem", async ([, create]) => {
  const cpus = 3;
  const setup = await create({ cpus });
  const map = new SyscallMap(setup.rt, {
    type: BPF_MAP_TYPE_PERCPU_HASH,
    keySize: 4,
    valueSize: 8,
    maxEntries: 4,
  });
  const text = `r6 = 0; r7 = 0; *(u32 *)(r10 - 4) = 9
    next: r1 = map[table] ll; r2 = r10; r2 += -4; r3 = r6; call bpf_map_lookup_percpu_elem
    if r0 == 0 goto done; r1 = *(u64 *)(r0 + 0); r7 += r1; r6 += 1; goto next
    done: r0 = r7; r0 *= 10; r0 += r6; exit`;
  loadText(setup, text, { table: map.fd });
  expect(setup.machine.exec(0, 0)).toBe(0n);
  expect(map.update(9, 14n)).toBe(0);
  // The loop ends at the first CPU that does not exist.
  expect(setup.machine.exec(0, 0)).toBe(423n);
});

/** Sums the values of all elements up to a key of 100, which ends the walk; r0: 1000 * elements + sum. */
const SUM_ELEMENTS = `
  *(u64 *)(r10 - 8) = 0
  r6 = 77
  r1 = map[table] ll
  r2 = &add ll
  r3 = r10; r3 += -8
  r4 = 0
  call bpf_for_each_map_elem
  if r6 != 77 goto bad                // a callback's frame is its own
  r0 *= 1000
  r1 = *(u64 *)(r10 - 8)
  r0 += r1
  exit
bad:
  r0 = -1
  exit
add:                                  // (map, key, value, ctx)
  r6 = *(u32 *)(r2 + 0)
  r1 = *(u64 *)(r3 + 0)
  lock *(u64 *)(r4 + 0) += r1
  r0 = 0
  if r6 != 100 goto next
  r0 = 1
next:
  exit`;

test.for(SETUPS)("%s: bpf_for_each_map_elem calls the program's function", async ([, create]) => {
  const setup = await create();
  for (const type of [BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH]) {
    const map = new SyscallMap(setup.rt, { type, keySize: 4, valueSize: 8, maxEntries: 64 });
    loadText(setup, SUM_ELEMENTS, { table: map.fd });
    expect(setup.machine.exec(0, 0)).toBe(0n);
    for (let key = 1; key <= 10; key++) expect(map.update(key, BigInt(key))).toBe(0);
    expect(setup.machine.exec(0, 0)).toBe(10_055n);
    expect(map.update(100, 0n)).toBe(0);
    const seen = map.keys().slice(0, map.keys().indexOf(100) + 1);
    const sum = seen.reduce((total, key) => total + (key === 100 ? 0 : key), 0);
    expect(setup.machine.exec(0, 0)).toBe(BigInt(seen.length * 1000 + sum));
  }
});

test("no JavaScript stands between a walk and its callback in the Wasm machine", async () => {
  const setup = await SETUPS.find(([name]) => name === "Wasm machine")?.[1]();
  if (setup === undefined) throw new Error("no Wasm machine");
  const map = new SyscallMap(setup.rt, {
    type: BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize: 8,
    maxEntries: 3,
  });
  const dispatcher = (setup.machine as WasmVm).dispatcher;
  const { table } = setup.rt.exports;
  expect(Array.from({ length: table.length }, (_, slot) => table.get(slot))).toContain(dispatcher);
  loadText(setup, SUM_ELEMENTS, { table: map.fd });
  expect(setup.machine.exec(0, 0)).toBe(3000n);
});

/** Counts the calls for the socket in r1's context in its storage; r0: the count. */
const COUNT_BY_SOCKET = `
  r2 = *(u64 *)(r1 + 0)
  r1 = map[per_socket] ll
  r3 = 0
  r4 = 1                              // BPF_SK_STORAGE_GET_F_CREATE
  call bpf_sk_storage_get
  if r0 == 0 goto out
  r1 = 1
  r1 = atomic_fetch_add((u64 *)(r0 + 0), r1)
  r0 = *(u64 *)(r0 + 0)
out:
  exit`;

test.for(SETUPS)("%s: values attached to sockets", async ([, create]) => {
  const setup = await create();
  const { rt, machine } = setup;
  const { fd } = new RigMaker(rt).make(BPF_MAP_TYPE_SK_STORAGE);
  loadText(setup, COUNT_BY_SOCKET, { per_socket: fd });
  const [first, second] = [rt.socket(), rt.socket()];
  const ctx = rt.alloc(8);
  const run = (socket: number): bigint => {
    new DataView(rt.memory.buffer).setBigUint64(ctx, BigInt(socket), true);
    return machine.exec(ctx, 8);
  };
  const counts = [first, first, second, first].map(({ ptr }) => run(ptr));
  expect(counts).toEqual([1n, 2n, 1n, 3n]);
  expect([run(0), run(ctx)]).toEqual([0n, 0n]);
  first.close();
  expect(run(second.ptr)).toBe(2n);
});

/** Locks the value of key 0, counts in it, and unlocks it. */
const COUNT_LOCKED = `
  *(u32 *)(r10 - 4) = 0
  r2 = r10; r2 += -4
  r1 = map[locked] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r6 = r0
  r1 = r6
  call bpf_spin_lock
  r7 = *(u64 *)(r6 + 8); r7 += 1; *(u64 *)(r6 + 8) = r7
  r1 = r6
  call bpf_spin_unlock
  r0 = r7
out:
  exit`;

test.for(SETUPS)("%s: a value's bpf_spin_lock", async ([, create]) => {
  const setup = await create();
  const rig = new StorageRig(setup.rt);
  const shape = { type: BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: 16, maxEntries: 1 };
  const fd = rig.createWith(lockBtf(4, 16, 0), shape);
  loadText(setup, COUNT_LOCKED, { locked: fd });
  expect([1, 2, 3].map(() => setup.machine.exec(0, 0))).toEqual([1n, 2n, 3n]);
});

test.for(SETUPS)("%s: time and random numbers are the host's", async ([, create]) => {
  const setup = await create({ seed: 42 });
  loadText(setup, "call bpf_ktime_get_ns; r6 = r0; call bpf_ktime_get_ns; r0 -= r6; exit", {});
  expect(setup.machine.exec(0, 0)).toBe(1n);
  loadText(setup, "call bpf_ktime_get_ns; exit", {});
  setup.rt.ktime = 1_000_000n;
  expect(setup.machine.exec(0, 0)).toBe(1_000_001n);
  loadText(setup, "call bpf_get_prandom_u32; exit", {});
  const numbers = [1, 2, 3].map(() => setup.machine.exec(0, 0));
  expect(numbers).toEqual(RANDOM_OF_42);
});

test.for(SETUPS)("%s: helpers answer bad arguments, and do not trap", async ([, create]) => {
  const setup = await create();
  const map = new SyscallMap(setup.rt, {
    type: BPF_MAP_TYPE_HASH,
    keySize: 4,
    valueSize: 8,
    maxEntries: 4,
  });
  const call = (text: string): bigint => {
    loadText(setup, `${text}; exit`, { m: map.fd });
    return BigInt.asIntN(64, setup.machine.exec(0, 0));
  };
  const beyond = "r2 = 0xfffffffe ll; r3 = 0xfffffffe ll; r4 = 0";
  expect(call(`r1 = map[m] ll; ${beyond}; call bpf_map_lookup_elem`)).toBe(0n);
  expect(call(`r1 = map[m] ll; ${beyond}; call bpf_map_update_elem`)).toBe(-14n);
  expect(call(`r1 = map[m] ll; ${beyond}; call bpf_map_delete_elem`)).toBe(-14n);
  expect(call(`r1 = 12345; ${beyond}; call bpf_map_lookup_elem`)).toBe(0n);
  expect(call(`r1 = 0; ${beyond}; call bpf_map_update_elem`)).toBe(-22n);
  expect(call(`r1 = 0; ${beyond}; call bpf_map_delete_elem`)).toBe(-22n);
  expect(call("call 9999")).toBe(-22n);
});

test.for(SETUPS.filter(([name]) => name !== "Wasm machine" && !name.includes("shared")))(
  "%s: a program reaches exactly the values",
  async ([, create]) => {
    const setup = await create();
    const map = new SyscallMap(setup.rt, {
      type: BPF_MAP_TYPE_HASH,
      keySize: 4,
      valueSize: 12,
      maxEntries: 4,
    });
    expect(map.update(1, 5n)).toBe(0);
    const access = (end: string): bigint => {
      const text = `*(u32 *)(r10 - 4) = 1; r2 = r10; r2 += -4; r1 = map[m] ll
        call bpf_map_lookup_elem; if r0 == 0 goto out; r6 = r0; ${end}; out: exit`;
      loadText(setup, text, { m: map.fd });
      return setup.machine.exec(0, 0);
    };
    expect(access("r0 = *(u64 *)(r6 + 0)")).toBe(5n);
    expect(access("r0 = *(u32 *)(r6 + 8)")).toBe(0n);
    expect(() => access("r0 = *(u64 *)(r6 + 8)")).toThrow(VmError);
    expect(() => access("r0 = *(u8 *)(r6 - 1)")).toThrow(VmError);
    expect(() => access("*(u8 *)(r6 + 12) = 1")).toThrow(VmError);
    const remove = "r1 = map[m] ll; r2 = r10; r2 += -4; call bpf_map_delete_elem";
    expect(() => access(`${remove}; r0 = *(u32 *)(r6 + 0)`)).toThrow(VmError);
  },
);

// The helpers of maps as a table: numbers, names, kinds of result, the map types that each is for (as the kernel's
// verifier has it), and one map of every type with the operands that fit it.

import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "./bpf.js";
import { plainBtf } from "./btf.js";
import type { Runtime } from "./builds.js";
import { u32s, u64s } from "./bytes.js";

export type HelperName = `bpf_${string}`;

/** What r0 is: an address or NULL, 0 or -errno (or a count), nothing, or a number that is no error. */
export type ResultKind = "pointer" | "errno" | "void" | "number";

export interface Helper {
  readonly id: number;
  readonly name: HelperName;
  readonly result: ResultKind;
  /** Types of the map in r1; undefined: r1 is no map. */
  readonly types?: readonly number[];
}

const HASHES = [
  uapi.BPF_MAP_TYPE_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LRU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
];
const ARRAYS = [uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_MAP_TYPE_PERCPU_ARRAY];
const MAPS_OF_MAPS = [uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS, uapi.BPF_MAP_TYPE_HASH_OF_MAPS];
const PERCPU = [
  uapi.BPF_MAP_TYPE_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
];
const ELEMENTS = [...HASHES, ...ARRAYS, uapi.BPF_MAP_TYPE_LPM_TRIE];
const QUEUES = [uapi.BPF_MAP_TYPE_QUEUE, uapi.BPF_MAP_TYPE_STACK];
const CGROUP_STORAGES = [uapi.BPF_MAP_TYPE_CGROUP_STORAGE, uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE];
const BLOOM = [uapi.BPF_MAP_TYPE_BLOOM_FILTER];
const RINGBUF = [uapi.BPF_MAP_TYPE_RINGBUF];
/** Types that are not in this library: the helper answers as an unknown one. */
const NONE: readonly number[] = [];

function helper(
  name: HelperName,
  id: number,
  result: ResultKind,
  types?: readonly number[],
): Helper {
  return types === undefined ? { id, name, result } : { id, name, result, types };
}

/** The helpers of storages by owner. */
function storage(owner: string, type: number, get: number, remove: number): Helper[] {
  return [
    helper(`bpf_${owner}_storage_get`, get, "pointer", [type]),
    helper(`bpf_${owner}_storage_delete`, remove, "errno", [type]),
  ];
}

export const HELPERS: readonly Helper[] = [
  helper("bpf_map_lookup_elem", 1, "pointer", [...ELEMENTS, ...MAPS_OF_MAPS]),
  helper("bpf_map_update_elem", 2, "errno", ELEMENTS),
  helper("bpf_map_delete_elem", 3, "errno", ELEMENTS),
  helper("bpf_ktime_get_ns", 5, "number"),
  helper("bpf_get_prandom_u32", 7, "number"),
  helper("bpf_get_smp_processor_id", 8, "number"),
  helper("bpf_perf_event_output", 25, "errno"),
  helper("bpf_get_stackid", 27, "errno"),
  helper("bpf_redirect_map", 51, "errno", NONE),
  helper("bpf_get_local_storage", 81, "pointer", CGROUP_STORAGES),
  helper("bpf_map_push_elem", 87, "errno", [...QUEUES, ...BLOOM]),
  helper("bpf_map_pop_elem", 88, "errno", QUEUES),
  helper("bpf_map_peek_elem", 89, "errno", [...QUEUES, ...BLOOM]),
  helper("bpf_spin_lock", 93, "errno"),
  helper("bpf_spin_unlock", 94, "errno"),
  ...storage("sk", uapi.BPF_MAP_TYPE_SK_STORAGE, 107, 108),
  helper("bpf_ringbuf_output", 130, "errno", RINGBUF),
  helper("bpf_ringbuf_reserve", 131, "pointer", RINGBUF),
  helper("bpf_ringbuf_submit", 132, "void"),
  helper("bpf_ringbuf_discard", 133, "void"),
  helper("bpf_ringbuf_query", 134, "number", RINGBUF),
  ...storage("inode", uapi.BPF_MAP_TYPE_INODE_STORAGE, 145, 146),
  ...storage("task", uapi.BPF_MAP_TYPE_TASK_STORAGE, 156, 157),
  helper("bpf_for_each_map_elem", 164, "errno", [...HASHES, ...ARRAYS]),
  helper("bpf_map_lookup_percpu_elem", 195, "pointer", PERCPU),
  helper("bpf_dynptr_from_mem", 197, "errno"),
  helper("bpf_ringbuf_reserve_dynptr", 198, "errno", RINGBUF),
  helper("bpf_ringbuf_submit_dynptr", 199, "void"),
  helper("bpf_ringbuf_discard_dynptr", 200, "void"),
  helper("bpf_dynptr_read", 201, "errno"),
  helper("bpf_dynptr_write", 202, "errno"),
  helper("bpf_dynptr_data", 203, "pointer"),
  helper("bpf_user_ringbuf_drain", 209, "errno", [uapi.BPF_MAP_TYPE_USER_RINGBUF]),
  ...storage("cgrp", uapi.BPF_MAP_TYPE_CGRP_STORAGE, 210, 211),
];

// ---- one map of each type -------------------------------------------------------------------------------------------

/** A map and operands that a program may use with it. */
export interface Rig {
  readonly type: number;
  readonly typeName: string;
  readonly fd: number;
  readonly handle: bigint;
  /** r2 to r5 of each helper that the type has. */
  readonly operands: (name: HelperName) => readonly bigint[];
  /** Calls a helper as a program that may use the map. */
  readonly run: (call: () => bigint) => bigint;
}

const TYPE_NAMES = new Map(
  Object.entries(uapi)
    .filter(([name]) => name.startsWith("BPF_MAP_TYPE_"))
    .map(([name, type]) => [type, name.slice("BPF_MAP_TYPE_".length)]),
);

const STORAGE_OWNERS = new Map<number, "socket" | "cgroup" | "task" | "inode">([
  [uapi.BPF_MAP_TYPE_SK_STORAGE, "socket"],
  [uapi.BPF_MAP_TYPE_CGRP_STORAGE, "cgroup"],
  [uapi.BPF_MAP_TYPE_TASK_STORAGE, "task"],
  [uapi.BPF_MAP_TYPE_INODE_STORAGE, "inode"],
]);

/** The storage types of a build. */
export function isStorage(type: number): boolean {
  return STORAGE_OWNERS.has(type);
}

/** Makes maps with u32 keys (an LPM prefix of 32 bits) and u64 values, each with an element where it can have one. */
export class RigMaker {
  readonly rt: Runtime;
  readonly client: BpfClient;
  /** Key of the element, a value, and room for results and dynptrs, 64 bytes apart. */
  readonly key: number;
  readonly value: number;
  readonly room: number;

  constructor(rt: Runtime) {
    this.rt = rt;
    this.client = new BpfClient(rt);
    this.key = rt.alloc(256);
    this.value = this.key + 64;
    this.room = this.key + 128;
    new Uint8Array(rt.memory.buffer).fill(0, this.key, this.key + 256);
    this.resetOperands();
  }

  /** Key 0 (LPM: 8 bits of prefix, address 0), value 7. */
  resetOperands(): void {
    new Uint8Array(this.rt.memory.buffer).set(u64s(0, 7), this.key);
    new Uint8Array(this.rt.memory.buffer).set(u64s(7), this.value);
  }

  /** Every type that the core has. */
  types(): number[] {
    return [...TYPE_NAMES.keys()].filter(
      (type) => this.rt.exports.map_type_supported(type) === 1 && type !== 0,
    );
  }

  make(type: number): Rig {
    const fd = this.#create(type);
    if (fd < 0) throw new Error(`no map of type ${TYPE_NAMES.get(type)}: ${fd}`);
    const handle = BigInt(this.rt.mapHandle(fd));
    const owner = this.#owner(type);
    const run = this.#runner(type, fd);
    const [key, value, room] = [BigInt(this.key), BigInt(this.value), BigInt(this.room)];
    const operands = (name: HelperName): readonly bigint[] => {
      switch (name) {
        case "bpf_map_push_elem":
        case "bpf_map_pop_elem":
        case "bpf_map_peek_elem":
          return [value, 0n];
        case "bpf_for_each_map_elem":
        case "bpf_user_ringbuf_drain":
          return [1n, 0n, 0n];
        case "bpf_get_local_storage":
          return [0n];
        case "bpf_map_lookup_percpu_elem":
          return [key, 0n];
        case "bpf_ringbuf_output":
          return [value, 8n, 0n];
        case "bpf_ringbuf_reserve":
          return [8n, 0n];
        case "bpf_ringbuf_reserve_dynptr":
          return [8n, 0n, room];
        case "bpf_ringbuf_query":
          return [BigInt(uapi.BPF_RB_RING_SIZE)];
        default:
          if (name.endsWith("_storage_get")) return [BigInt(owner), value, 1n];
          if (name.endsWith("_storage_delete")) return [BigInt(owner)];
          return name === "bpf_map_update_elem" ? [key, value, 0n] : [key];
      }
    };
    return { type, typeName: TYPE_NAMES.get(type) ?? "", fd, handle, operands, run };
  }

  #create(type: number): number {
    const { client } = this;
    const base = { type, keySize: 4, valueSize: 8, maxEntries: 4 };
    if (isStorage(type)) {
      const btf = plainBtf(4, 8);
      const btfFd = client.btfLoad(btf.blob);
      return client.create({
        ...base,
        maxEntries: 0,
        flags: uapi.BPF_F_NO_PREALLOC,
        btfFd,
        btfKeyTypeId: btf.keyTypeId,
        btfValueTypeId: btf.valueTypeId,
      });
    }
    switch (type) {
      case uapi.BPF_MAP_TYPE_CGROUP_STORAGE:
      case uapi.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
        return client.create({ ...base, keySize: 8, maxEntries: 0 });
      case uapi.BPF_MAP_TYPE_LPM_TRIE:
        return client.create({ ...base, keySize: 8, flags: uapi.BPF_F_NO_PREALLOC });
      case uapi.BPF_MAP_TYPE_PROG_ARRAY:
      case uapi.BPF_MAP_TYPE_CGROUP_ARRAY:
      case uapi.BPF_MAP_TYPE_XSKMAP:
      case uapi.BPF_MAP_TYPE_PERF_EVENT_ARRAY:
        return client.create({ ...base, valueSize: 4 });
      case uapi.BPF_MAP_TYPE_QUEUE:
      case uapi.BPF_MAP_TYPE_STACK:
      case uapi.BPF_MAP_TYPE_BLOOM_FILTER:
        return client.create({ ...base, keySize: 0 });
      case uapi.BPF_MAP_TYPE_RINGBUF:
      case uapi.BPF_MAP_TYPE_USER_RINGBUF:
        return client.create({ type, keySize: 0, valueSize: 0, maxEntries: 4096 });
      case uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS:
      case uapi.BPF_MAP_TYPE_HASH_OF_MAPS:
        return this.#createOuter(type);
      default:
        return client.create(base);
    }
  }

  #createOuter(type: number): number {
    const { client } = this;
    const innerMapFd = client.create({
      type: uapi.BPF_MAP_TYPE_ARRAY,
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
    });
    const fd = client.create({ type, keySize: 4, valueSize: 4, maxEntries: 4, innerMapFd });
    if (fd >= 0 && client.update(fd, u32s(0), u32s(innerMapFd)) !== 0) return -1;
    return fd;
  }

  /** Address of a new object that values of the type are attached to; 0 for other types. */
  #owner(type: number): number {
    const kind = STORAGE_OWNERS.get(type);
    return kind === undefined ? 0 : this.rt[kind]().ptr;
  }

  /** Values of CGROUP_STORAGE are those of the cgroup that the running program is attached to. */
  #runner(type: number, map: number): Rig["run"] {
    if (!CGROUP_STORAGES.includes(type)) return (call) => call();
    const attachment = this.rt.attachCgroupStorage({ map, cgroup: this.rt.cgroup() });
    return (call) => attachment.run(call);
  }
}

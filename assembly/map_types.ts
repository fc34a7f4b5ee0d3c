// The table of map types: number -> class, one row a type. Kernel: include/linux/bpf_types.h.
//
// A map is created in three steps, with the checks for all types in between (map_create.ts). A row has the first two:
// allocCheck looks at the attributes, placeObject makes the empty map. The third is BpfMap#init. Types with 0 in the place
// of allocCheck look at their attributes in init, as the kernel does: that decides which of several errors is reported.

import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_CGROUP_ARRAY,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_CGRP_STORAGE,
  BPF_MAP_TYPE_CPUMAP,
  BPF_MAP_TYPE_DEVMAP,
  BPF_MAP_TYPE_DEVMAP_HASH,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  BPF_MAP_TYPE_INODE_STORAGE,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  BPF_MAP_TYPE_PROG_ARRAY,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_SK_STORAGE,
  BPF_MAP_TYPE_SOCKHASH,
  BPF_MAP_TYPE_SOCKMAP,
  BPF_MAP_TYPE_STACK,
  BPF_MAP_TYPE_STACK_TRACE,
  BPF_MAP_TYPE_TASK_STORAGE,
  BPF_MAP_TYPE_USER_RINGBUF,
  BPF_MAP_TYPE_XSKMAP,
} from "../ts/uapi";
import { BpfArray } from "./arraymap";
import { CgrpStorage } from "./bpf_cgrp_storage";
import { InodeStorage } from "./bpf_inode_storage";
import { storageAllocCheck } from "./bpf_local_storage";
import { SkStorage } from "./bpf_sk_storage";
import { TaskStorage } from "./bpf_task_storage";
import { BpfBloomFilter } from "./bloom_filter";
import { BpfHtab } from "./hashtab";
import { BpfLpmTrie } from "./lpm_trie";
import { CgroupStorage } from "./local_storage";
import { MapCreateAttr, placeObject } from "./map";
import { BpfArrayOfMaps, BpfHashOfMaps } from "./map_in_map";
import { BpfObjectMap, objectCheck } from "./object_maps";
import { BpfPerfEventArray } from "./perf_event";
import { BpfQueueStack } from "./queue_stack_maps";
import { BpfRingbuf } from "./ringbuf";
import { BpfStackMap } from "./stackmap";

/** allocCheck: there is no such type. */
export const NO_TYPE: i32 = 1;

/** Are the attributes what the type asks for? 0, -errno, or NO_TYPE. */
export function allocCheck(attr: MapCreateAttr): i32 {
  return <i32>mapType(attr, true);
}

/** An empty map of the type; 0 when out of memory. */
export function place(attr: MapCreateAttr): usize {
  return mapType(attr, false);
}

function mapType(attr: MapCreateAttr, isCheck: bool): usize {
  switch (attr.mapType) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return isCheck ? BpfHtab.allocCheck(attr) : placeObject<BpfHtab>();
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return isCheck ? BpfArray.allocCheck(attr) : placeObject<BpfArray>();
    case BPF_MAP_TYPE_LPM_TRIE:
      return isCheck ? 0 : placeObject<BpfLpmTrie>();
    case BPF_MAP_TYPE_CGROUP_STORAGE:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
      return isCheck ? 0 : placeObject<CgroupStorage>();
    case BPF_MAP_TYPE_SK_STORAGE:
      return isCheck ? storageAllocCheck(attr) : placeObject<SkStorage>();
    case BPF_MAP_TYPE_CGRP_STORAGE:
      return isCheck ? storageAllocCheck(attr) : placeObject<CgrpStorage>();
    case BPF_MAP_TYPE_TASK_STORAGE:
      return isCheck ? storageAllocCheck(attr) : placeObject<TaskStorage>();
    case BPF_MAP_TYPE_INODE_STORAGE:
      return isCheck ? storageAllocCheck(attr) : placeObject<InodeStorage>();
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return isCheck ? BpfQueueStack.allocCheck(attr) : placeObject<BpfQueueStack>();
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return isCheck ? BpfBloomFilter.allocCheck(attr) : placeObject<BpfBloomFilter>();
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
      return isCheck ? BpfArrayOfMaps.allocCheck(attr) : placeObject<BpfArrayOfMaps>();
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return isCheck ? BpfHashOfMaps.allocCheck(attr) : placeObject<BpfHashOfMaps>();
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
      return isCheck ? 0 : placeObject<BpfRingbuf>();
    case BPF_MAP_TYPE_STACK_TRACE:
      return isCheck ? 0 : placeObject<BpfStackMap>();
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
      return isCheck ? BpfPerfEventArray.allocCheck(attr) : placeObject<BpfPerfEventArray>();
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_CGROUP_ARRAY:
    case BPF_MAP_TYPE_DEVMAP:
    case BPF_MAP_TYPE_DEVMAP_HASH:
    case BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
      return isCheck ? objectCheck(attr) : placeObject<BpfObjectMap>();
    case BPF_MAP_TYPE_CPUMAP:
    case BPF_MAP_TYPE_XSKMAP:
    case BPF_MAP_TYPE_SOCKMAP:
    case BPF_MAP_TYPE_SOCKHASH:
      return isCheck ? 0 : placeObject<BpfObjectMap>();
    default:
      return NO_TYPE;
  }
}

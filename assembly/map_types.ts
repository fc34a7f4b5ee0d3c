// The table of map types: number -> class, one row a type. Kernel: include/linux/bpf_types.h.
//
// A row does both steps of a creation, because other checks come between them: CHECK looks at the attributes only and
// answers 0 or -errno; ALLOC answers the address of the new map, or -errno as an address.

import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_CGRP_STORAGE,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_INODE_STORAGE,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_SK_STORAGE,
  BPF_MAP_TYPE_STACK,
  BPF_MAP_TYPE_STACK_TRACE,
  BPF_MAP_TYPE_TASK_STORAGE,
  BPF_MAP_TYPE_USER_RINGBUF,
  EINVAL,
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
import { MapCreateAttr } from "./map";
import { BpfArrayOfMaps, BpfHashOfMaps } from "./map_in_map";
import { BpfPerfEventArray } from "./perf_event";
import { BpfQueueStack } from "./queue_stack_maps";
import { BpfRingbuf } from "./ringbuf";
import { BpfStackMap } from "./stackmap";

export const CHECK: u32 = 0;
export const ALLOC: u32 = 1;
/** Does the type exist here? 0 or -EINVAL; touches nothing. */
export const PROBE: u32 = 2;

export function mapType(type: u32, step: u32, attr: MapCreateAttr): usize {
  switch (type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return step == CHECK ? BpfHtab.allocCheck(attr) : step == ALLOC ? BpfHtab.alloc(attr) : 0;
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return step == CHECK ? BpfArray.allocCheck(attr) : step == ALLOC ? BpfArray.alloc(attr) : 0;
    case BPF_MAP_TYPE_LPM_TRIE:
      return step == ALLOC ? BpfLpmTrie.alloc(attr) : 0;
    case BPF_MAP_TYPE_CGROUP_STORAGE:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
      return step == CHECK
        ? CgroupStorage.allocCheck(attr)
        : step == ALLOC
          ? CgroupStorage.alloc(attr)
          : 0;
    case BPF_MAP_TYPE_SK_STORAGE:
      return step == CHECK ? storageAllocCheck(attr) : step == ALLOC ? SkStorage.alloc(attr) : 0;
    case BPF_MAP_TYPE_CGRP_STORAGE:
      return step == CHECK ? storageAllocCheck(attr) : step == ALLOC ? CgrpStorage.alloc(attr) : 0;
    case BPF_MAP_TYPE_TASK_STORAGE:
      return step == CHECK ? storageAllocCheck(attr) : step == ALLOC ? TaskStorage.alloc(attr) : 0;
    case BPF_MAP_TYPE_INODE_STORAGE:
      return step == CHECK ? storageAllocCheck(attr) : step == ALLOC ? InodeStorage.alloc(attr) : 0;
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      if (step == CHECK) return BpfQueueStack.allocCheck(attr);
      return step == ALLOC ? BpfQueueStack.alloc(attr) : 0;
    case BPF_MAP_TYPE_BLOOM_FILTER:
      if (step == CHECK) return BpfBloomFilter.allocCheck(attr);
      return step == ALLOC ? BpfBloomFilter.alloc(attr) : 0;
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
      if (step == CHECK) return BpfArrayOfMaps.allocCheck(attr);
      return step == ALLOC ? BpfArrayOfMaps.alloc(attr) : 0;
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      if (step == CHECK) return BpfHashOfMaps.allocCheck(attr);
      return step == ALLOC ? BpfHashOfMaps.alloc(attr) : 0;
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
      if (step == CHECK) return BpfRingbuf.allocCheck(attr);
      return step == ALLOC ? BpfRingbuf.alloc(attr) : 0;
    case BPF_MAP_TYPE_STACK_TRACE:
      if (step == CHECK) return BpfStackMap.allocCheck(attr);
      return step == ALLOC ? BpfStackMap.alloc(attr) : 0;
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
      if (step == CHECK) return BpfPerfEventArray.allocCheck(attr);
      return step == ALLOC ? BpfPerfEventArray.alloc(attr) : 0;
    default:
      return <usize>-EINVAL;
  }
}

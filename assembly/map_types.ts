// The table of map types: number -> class, one row a type. Kernel: include/linux/bpf_types.h.
//
// A row does both steps of a creation, because other checks come between them: CHECK looks at the attributes only and
// answers 0 or -errno; ALLOC answers the address of the new map, or -errno as an address.

import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_STACK,
  BPF_MAP_TYPE_USER_RINGBUF,
  EINVAL,
} from "../ts/uapi";
import { BpfArray } from "./arraymap";
import { BpfBloomFilter } from "./bloom_filter";
import { BpfHtab } from "./hashtab";
import { BpfLpmTrie } from "./lpm_trie";
import { MapCreateAttr } from "./map";
import { BpfArrayOfMaps, BpfHashOfMaps } from "./map_in_map";
import { BpfQueueStack } from "./queue_stack_maps";
import { BpfRingbuf } from "./ringbuf";

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
      return step == CHECK
        ? BpfLpmTrie.allocCheck(attr)
        : step == ALLOC
          ? BpfLpmTrie.alloc(attr)
      return step == CHECK ? BpfLpmTrie.allocCheck(attr) : step == ALLOC ? BpfLpmTrie.alloc(attr) : 0;
          : 0;
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return step == CHECK
        ? BpfQueueStack.allocCheck(attr)
        : step == ALLOC
          ? BpfQueueStack.alloc(attr)
          : 0;
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return step == CHECK
        ? BpfBloomFilter.allocCheck(attr)
        : step == ALLOC
          ? BpfBloomFilter.alloc(attr)
          : 0;
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
      return step == CHECK
        ? BpfArrayOfMaps.allocCheck(attr)
        : step == ALLOC
          ? BpfArrayOfMaps.alloc(attr)
          : 0;
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return step == CHECK
        ? BpfHashOfMaps.allocCheck(attr)
        : step == ALLOC
          ? BpfHashOfMaps.alloc(attr)
          : 0;
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
      return step == CHECK
        ? BpfRingbuf.allocCheck(attr)
        : step == ALLOC
          ? BpfRingbuf.alloc(attr)
          : 0;
    default:
      return <usize>-EINVAL;
  }
}

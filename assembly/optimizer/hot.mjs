// The functions that run for every element: lookups, updates, evictions, matches, records. Everything else is cold:
// creation, checks of arguments, user space's rarer commands, BTF, bpffs.
//
// Patterns of names as the compiler gives them: path in assembly/, function. Only what both ends of a call match is
// inlined beyond the limits for the whole module (transform.mjs).

export const HOT = [
  // the table and what is in front of it
  "fast/(?!map_(count|is_inline|iter_many|iter_next|get_next_key|lookup_and_delete|peek|lookup_copy|set_many|delete_many|by_handle)$|getMany$|value_add64)",
  "fast_number/",
  "hashtab/(lockOf|markUsed|htabUse|valueOn|isHtab|BpfHtab#(get:|set:))",
  "htab_table/(keyLow|keyHigh|hashKey|jhashKey|keyEquals|storeKey|homeIndex|chunkAt|chunkAfter|elemAt|find|findKey|findSeparate|takeSlot|publishSlot|removeElem|homeOf|elemBehind|slotFrom)$",
  "htab_chunk/(?!chunkCount)",
  "htab_inline/(?!inline(Layout|Init|Fits|Steps|Lookup|Behind|Take|Publish))",
  "htab_update/(?!dropAllValues|writePercpu)",
  "bpf_lru_list/(?!lruInit|lruRelease|steal)",
  "lib/(hash|lock|atomic)/",
  "lib/bytes/(isUserRange|memoryBytes)$",
  // helpers
  "helpers/(bpf_map_lookup_elem|lookupAny|bpf_valid_range)$",
  "map/(isErr|mapByHandle)$",
  "map/BpfMap#(get:|set:|(lookup|update|delete|peek|push)Elem@override|lookupUser@override)",
  "lib/region/(countUpTo|findRegion|region|RegionOwner#get:)",
  // the other types
  "arraymap/BpfArray#(get:|valueAt|lookupUser|updateElem|lookupElem)",
  "queue_stack_maps/BpfQueueStack#(get:|set:|slotAt|after|before|take|takeValue|pushElem)",
  "lpm_match/(?!map_lpm_match_many|map_lpm_match$)",
  "lpm_node/(nodeAt|dataOf|runOf|entryAt|prefixlenOf|parentOf|nextRun|runsBefore|runCount|commonBits)$",
  "lpm_trie/BpfLpmTrie#(lookupElem|lookupUser)$",
  "ringbuf/(?!BpfRingbuf#(init|mmap|release|isLive)|ringbuf_|bpf_ringbuf_query|startMirror)",
  "bpf_(local|sk|task|inode|cgrp)_storage/(findElem|storageGet|elemValue|cacheWord|bpf_[a-z]+_storage_get)$",
].map((name) => new RegExp(`^(assembly/${name}|~lib/)`));

/** Called by hot functions, but seldom: the call is cheaper than what it would take in each of them. */
export const RARE = [
  "lib/region/findRegion",
  "helpers/lookupAny",
  "bpf_lru_list/enterFree",
  "bpf_lru_list/leave",
  "htab_table/chunkAfter",
  "lib/bytes/isUserRange",
  "fast_number/putOther",
  "fast_number/putBehind",
  "fast_number/removeBehind",
].map((name) => `assembly/${name}`);

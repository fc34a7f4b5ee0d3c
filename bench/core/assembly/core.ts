// What the loops import: the core's exports, from the module "core" (this file's name).

export declare function map_get4(map: u32, handle: u32, key: u32): u32;

export declare function map_get4_any(map: u32, handle: u32, key: u32): u32;

export declare function bpf_map_lookup_elem(handle: u32, key: u32): u32;

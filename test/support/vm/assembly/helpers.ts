// What the machine imports: helpers under the kernel's names, from the module "helpers" (this file's
// name). The host passes the exports of the core as they are.

export declare function bpf_helper_call(id: i32, r1: i64, r2: i64, r3: i64, r4: i64, r5: i64): i64;

export declare function bpf_map_lookup_elem(map: i32, key: i32): i32;

export declare function bpf_map_update_elem(map: i32, key: i32, value: i32, flags: i64): i32;

export declare function bpf_map_delete_elem(map: i32, key: i32): i32;

export declare function bpf_valid_range(address: i32, length: i32): i32;

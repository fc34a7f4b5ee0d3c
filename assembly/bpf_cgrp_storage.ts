// CGRP_STORAGE: values on cgroups. Kernel: kernel/bpf/bpf_cgrp_storage.c (behaviour checked against 6.18).

import { BPF_MAP_TYPE_CGRP_STORAGE } from "../ts/uapi";
import { LocalStorage, storageDelete, storageGet, storageInit } from "./bpf_local_storage";
import { FD_CGROUP } from "./fd";
import { MapCreateAttr } from "./map";

export class CgrpStorage extends LocalStorage {
  override init(attr: MapCreateAttr): i32 {
    return storageInit(this, FD_CGROUP);
  }
}

/** As the kernel's helper: see storageGet. */
export function bpf_cgrp_storage_get(handle: u32, cgroup: u32, value: u32, flags: u64): usize {
  return storageGet(BPF_MAP_TYPE_CGRP_STORAGE, handle, cgroup, value, flags);
}

/** As the kernel's helper: see storageDelete. */
export function bpf_cgrp_storage_delete(handle: u32, cgroup: u32): i32 {
  return storageDelete(BPF_MAP_TYPE_CGRP_STORAGE, handle, cgroup);
}

// CGRP_STORAGE: values on cgroups. Kernel: kernel/bpf/bpf_cgrp_storage.c (behaviour checked against 6.18; spec
// other-types.md 8).

import { BPF_MAP_TYPE_CGRP_STORAGE, EBADF, ENOENT } from "../ts/uapi";
import { LocalStorage, storageDelete, storageGet, storageInit } from "./bpf_local_storage";
import { FD_CGROUP, fdObjectOf } from "./fd";
import { Cgroup, HostObject, OWNER_CGRP } from "./host";
import { MapCreateAttr } from "./map";

export class CgrpStorage extends LocalStorage {
  override init(attr: MapCreateAttr): i32 {
    return storageInit(this, OWNER_CGRP);
  }

  /** A removed cgroup cannot be had through an fd any more. */
  override ownerByFd(fd: i32, create: bool): usize {
    const cgroup = fdObjectOf(fd, FD_CGROUP);
    if (cgroup == 0) return <usize>-EBADF;
    return changetype<Cgroup>(cgroup).dying ? <usize>-ENOENT : cgroup;
  }

  override mayCreate(owner: HostObject): bool {
    return !changetype<Cgroup>(changetype<usize>(owner)).dying;
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

// TASK_STORAGE: values on tasks. Kernel: kernel/bpf/bpf_task_storage.c (behaviour checked against 6.18).

import { BPF_MAP_TYPE_TASK_STORAGE } from "../ts/uapi";
import { LocalStorage, storageDelete, storageGet, storageInit } from "./bpf_local_storage";
import { FD_TASK } from "./fd";
import { MapCreateAttr } from "./map";

/** A zombie still has its storage; a pidfd may outlive the task. */
export class TaskStorage extends LocalStorage {
  override init(attr: MapCreateAttr): i32 {
    return storageInit(this, FD_TASK);
  }
}

/** As the kernel's helper: see storageGet. */
export function bpf_task_storage_get(handle: u32, task: u32, value: u32, flags: u64): usize {
  return storageGet(BPF_MAP_TYPE_TASK_STORAGE, handle, task, value, flags);
}

/** As the kernel's helper: see storageDelete. */
export function bpf_task_storage_delete(handle: u32, task: u32): i32 {
  return storageDelete(BPF_MAP_TYPE_TASK_STORAGE, handle, task);
}

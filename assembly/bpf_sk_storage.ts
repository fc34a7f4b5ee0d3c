// SK_STORAGE: values on sockets. Kernel: net/core/bpf_sk_storage.c (behaviour checked against 6.18).
//
// Every byte is charged to the socket, with the sizes the kernel's structures have: optmem_max is a limit users see.

import { BPF_MAP_TYPE_SK_STORAGE, EBADF, ENOTSOCK } from "../ts/uapi";
import { LocalStorage, storageDelete, storageGet, storageInit } from "./bpf_local_storage";
import { FD_FREE, FD_SOCKET, fdKind, fdObjectOf } from "./fd";
import { HostObject, Socket } from "./host";
import { MapCreateAttr } from "./map";

export class SkStorage extends LocalStorage {
  override init(attr: MapCreateAttr): i32 {
    return storageInit(this, FD_SOCKET);
  }

  override ownerByFd(fd: i32, create: bool): usize {
    const socket = fdObjectOf(fd, FD_SOCKET);
    if (socket != 0) return socket;
    return <usize>(fdKind(fd) == FD_FREE ? -EBADF : -ENOTSOCK);
  }

  /** The sum stays below the limit, not at it. */
  override charge(owner: HostObject, bytes: u32): bool {
    const socket = changetype<Socket>(changetype<usize>(owner));
    const sum = <u64>socket.omemAlloc + bytes;
    if (sum >= socket.optmemMax) return false;
    socket.omemAlloc = <u32>sum;
    return true;
  }

  override uncharge(owner: HostObject, bytes: u32): void {
    const socket = changetype<Socket>(changetype<usize>(owner));
    assert(socket.omemAlloc >= bytes);
    socket.omemAlloc -= bytes;
  }
}

/** As the kernel's helper: see storageGet. */
export function bpf_sk_storage_get(handle: u32, sk: u32, value: u32, flags: u64): usize {
  return storageGet(BPF_MAP_TYPE_SK_STORAGE, handle, sk, value, flags);
}

/** As the kernel's helper: see storageDelete. */
export function bpf_sk_storage_delete(handle: u32, sk: u32): i32 {
  return storageDelete(BPF_MAP_TYPE_SK_STORAGE, handle, sk);
}

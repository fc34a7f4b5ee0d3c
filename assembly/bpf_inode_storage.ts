// INODE_STORAGE: values on inodes. Kernel: kernel/bpf/bpf_inode_storage.c (behaviour checked against 6.18).
//
// Every open fd has an inode: a file its own, a socket, cgroup or task one of its own, maps and BTF objects the one that all
// anonymous files share. Inodes other than files' are made when something is stored on them, and go with it.

import { BPF_MAP_TYPE_INODE_STORAGE, EBADF, ENOENT, ENOMEM } from "../ts/uapi";
import { LocalStorage, storageDelete, storageGet, storageInit } from "./bpf_local_storage";
import { FD_BTF, FD_FREE, FD_INODE, FD_MAP, fdKind, fdObjectOf } from "./fd";
import { HostObject, HostState, Inode, hostState, isHostKind, makeInode } from "./host";
import { MapCreateAttr } from "./map";

export class InodeStorage extends LocalStorage {
  override init(attr: MapCreateAttr): i32 {
    return storageInit(this, FD_INODE);
  }

  override ownerByFd(fd: i32, create: bool): usize {
    const kind = fdKind(fd);
    if (kind == FD_FREE) return <usize>-EBADF;
    const object = fdObjectOf(fd, kind);
    if (kind == FD_INODE) return object == 0 ? <usize>-EBADF : object;
    const home = inodeHome(kind, object);
    if (home == 0) return <usize>-EBADF;
    if (load<u32>(home) != 0) return load<u32>(home);
    if (!create) return <usize>-ENOENT;
    const inode = makeInode(home, false);
    if (inode == 0) return <usize>-ENOMEM;
    changetype<Inode>(inode).refcnt = 0;
    return inode;
  }
}

/** The word that refers to the inode of an fd that is no file made here; 0: the fd was closed just now. */
function inodeHome(kind: u32, object: usize): usize {
  if (kind == FD_MAP || kind == FD_BTF) return anonInodeHome();
  if (isHostKind(kind)) return object == 0 ? 0 : object + offsetof<HostObject>("inode");
  // 0, 1 and 2, as if they were one terminal; directories of the bpffs are taken for the same.
  return changetype<usize>(hostState()) + offsetof<HostState>("fileInode");
}

/** The word that refers to the one inode of anonymous files. */
export function anonInodeHome(): usize {
  return changetype<usize>(hostState()) + offsetof<HostState>("anonInode");
}

/** As the kernel's helper: see storageGet. */
export function bpf_inode_storage_get(handle: u32, inode: u32, value: u32, flags: u64): usize {
  return storageGet(BPF_MAP_TYPE_INODE_STORAGE, handle, inode, value, flags);
}

/** As the kernel's helper: see storageDelete. */
export function bpf_inode_storage_delete(handle: u32, inode: u32): i32 {
  return storageDelete(BPF_MAP_TYPE_INODE_STORAGE, handle, inode);
}

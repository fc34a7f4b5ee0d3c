// INODE_STORAGE: values on inodes. Kernel: kernel/bpf/bpf_inode_storage.c (behaviour checked against 6.18; spec
// other-types.md 10).
//
// Every open fd has an inode: a file its own, a socket, cgroup or task one of its own, maps and BTF objects the one that all
// anonymous files share. Inodes other than files' are made when something is stored on them, and go with it.

import { BPF_MAP_TYPE_INODE_STORAGE, EBADF, ENOENT, ENOMEM } from "../ts/uapi";
import { LocalStorage, storageDelete, storageGet, storageInit } from "./bpf_local_storage";
import {
  FD_BTF,
  FD_CGROUP,
  FD_FREE,
  FD_INODE,
  FD_MAP,
  FD_SOCKET,
  FD_TASK,
  fdKind,
  fdObjectOf,
} from "./fd";
import { HostObject, HostState, Inode, OWNER_INODE, hostAlloc, hostFree, hostState } from "./host";
import { MapCreateAttr } from "./map";

export class InodeStorage extends LocalStorage {
  override init(attr: MapCreateAttr): i32 {
    return storageInit(this, OWNER_INODE);
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

  /** Nobody would notice: an inode without an fd and without values is gone. */
  override ownerEmptied(owner: HostObject): void {
    if (owner.refcnt == 0) freeInode(changetype<Inode>(changetype<usize>(owner)));
  }
}

/** The word that refers to the inode of an fd that is no file made here; 0: the fd was closed just now. */
function inodeHome(kind: u32, object: usize): usize {
  if (kind == FD_MAP || kind == FD_BTF) return anonInodeHome();
  if (kind == FD_SOCKET || kind == FD_CGROUP || kind == FD_TASK) {
    return object == 0 ? 0 : object + offsetof<HostObject>("inode");
  }
  // 0, 1 and 2, as if they were one terminal; directories of the bpffs are taken for the same.
  return changetype<usize>(hostState()) + offsetof<HostState>("fileInode");
}

/** The word that refers to the one inode of anonymous files. */
export function anonInodeHome(): usize {
  return changetype<usize>(hostState()) + offsetof<HostState>("anonInode");
}

/**
 * A new inode with one reference.
 * @param home address of the word that refers to it; 0 for none
 * @returns 0 when out of memory
 */
export function makeInode(home: usize, creating: bool): usize {
  const ptr = hostAlloc(OWNER_INODE, creating);
  if (ptr == 0) return 0;
  changetype<Inode>(ptr).home = <u32>home;
  if (home != 0) store<u32>(home, ptr);
  return ptr;
}

/** Frees an inode without elements. */
export function freeInode(inode: Inode): void {
  if (inode.home != 0) store<u32>(inode.home, 0);
  hostFree(OWNER_INODE, inode);
}

/** As the kernel's helper: see storageGet. */
export function bpf_inode_storage_get(handle: u32, inode: u32, value: u32, flags: u64): usize {
  return storageGet(BPF_MAP_TYPE_INODE_STORAGE, handle, inode, value, flags);
}

/** As the kernel's helper: see storageDelete. */
export function bpf_inode_storage_delete(handle: u32, inode: u32): i32 {
  return storageDelete(BPF_MAP_TYPE_INODE_STORAGE, handle, inode);
}

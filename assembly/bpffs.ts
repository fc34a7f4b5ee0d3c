// BPF_OBJ_PIN and BPF_OBJ_GET, and the file system they work on: a tree of names in linear memory, mounted at
// /sys/fs/bpf. Kernel: kernel/bpf/inode.c and the path walk of fs/namei.c (every errno checked against 6.18).
//
// Differs: there is no other file system. Around the mount stand the directories that every Linux has (/ /dev /proc /run
// /sys /sys/fs /tmp, and the file /dev/null); nothing else exists, nothing can be made there, and / is the current
// directory. Nor are there links, owners or permissions: whoever calls is root. A new bpffs is empty (no maps.debug).

import {
  BPF_F_PATH_FD,
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  EACCES,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  EISDIR,
  ENAMETOOLONG,
  ENOENT,
  ENOMEM,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
} from "../ts/uapi";
import { FD_DIRECTORY, FD_MAP, FMODE_READ, fdGet, fdInstall, fdTake } from "./fd";
import { SCRATCH_LAST, allocZeroed, free, kernel, kernelLockWord, scratchPtr } from "./kernel";
import { copyBytes, equalBytes, memoryBytes } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import { BpfMap, isErr, mapGet, mapPut } from "./map";
import { openMode } from "./map_create";

const PATH_MAX: u32 = 4096;
const NAME_MAX: u32 = 255;
const AT_FDCWD: i32 = -100;

const DIRECTORY: u32 = 1;
const FILE: u32 = 2;

//   Node                                  a directory's children, newest first: firstChild -> nextSibling -> ...
//   0                            28
//   | fields                     | name, nameLength bytes |
@unmanaged
class Node {
  kind: u32;
  /** Its name in the parent, open fds, children. */
  refcnt: u32;
  /** A reference, also after the name is gone: ".." leads there. */
  parent: u32;
  firstChild: u32;
  nextSibling: u32;
  /** FILE: the pinned map, a reference; 0 for a file that is not of this file system. */
  map: u32;
  /** Inside the mount? */
  isBpffs: bool;
  /** Unlinked; lives on for its fds. */
  isDead: bool;
  nameLength: u16;
}
const NODE_NAME: u32 = 28;
if (offsetof<Node>("nameLength") != 26) ERROR("a Node's name starts at NODE_NAME");

/** What is left of a path when all but its last name is resolved. */
@unmanaged
class Last {
  dir: u32;
  name: u32;
  length: u32;
  /** What the name leads to, or -errno as an address. */
  found: u32;
  /** The path ended in a slash. */
  isDirectory: bool;
}

function nodeAt(ptr: usize): Node {
  return changetype<Node>(ptr);
}

function last(): Last {
  return changetype<Last>(scratchPtr() + SCRATCH_LAST);
}

// ---- nodes ----------------------------------------------------------------------------------------------------------

/** A new node in `dir` (0: the root); 0 when out of memory. */
function addNode(dir: usize, name: usize, length: u32, kind: u32, isBpffs: bool): usize {
  const ptr = allocZeroed(NODE_NAME + length);
  if (ptr == 0) return 0;
  const node = nodeAt(ptr);
  node.kind = kind;
  node.refcnt = 1;
  node.parent = <u32>dir;
  node.isBpffs = isBpffs;
  node.nameLength = <u16>length;
  copyBytes(ptr + NODE_NAME, name, length);
  if (dir != 0) {
    node.nextSibling = nodeAt(dir).firstChild;
    nodeAt(dir).firstChild = <u32>ptr;
    nodeAt(dir).refcnt++;
  }
  return ptr;
}

/** A node outside the mount, whose name is the bytes of a u32; 0 when out of memory, or when `dir` is 0. */
function addOutside(dir: usize, name: u32, kind: u32): usize {
  if (dir == 0) return 0;
  const at = scratchPtr() + SCRATCH_LAST;
  store<u32>(at, name);
  return addNode(dir, at, 4 - (clz(name) >>> 3), kind, false);
}

/** Drops a reference. The last one of a file ends the pin; the caller holds no lock. */
function nodePut(ptr: usize): void {
  while (ptr != 0) {
    const node = nodeAt(ptr);
    lock(kernelLockWord());
    const left = --node.refcnt;
    unlock(kernelLockWord());
    if (left != 0) return;
    if (node.map != 0) mapPut(changetype<BpfMap>(<usize>node.map));
    const parent = node.parent;
    free(ptr);
    ptr = parent;
  }
}

/** Takes a node's name away; the reference that the name was is the caller's. */
function unlinkNode(ptr: usize): void {
  const dir = nodeAt(nodeAt(ptr).parent);
  if (dir.firstChild == <u32>ptr) {
    dir.firstChild = nodeAt(ptr).nextSibling;
  } else {
    let before = dir.firstChild;
    while (nodeAt(before).nextSibling != <u32>ptr) before = nodeAt(before).nextSibling;
    nodeAt(before).nextSibling = nodeAt(ptr).nextSibling;
  }
  nodeAt(ptr).isDead = true;
}

/** The root directory, made with what is around the mount at its first use; -ENOMEM as an address when out of memory. */
function rootDir(): usize {
  const k = kernel();
  if (k.bpffsRoot != 0) return k.bpffsRoot;
  const root = addNode(0, 0, 0, DIRECTORY, false);
  let ok = addOutside(addOutside(root, 0x766564, DIRECTORY), 0x6c6c756e, FILE) != 0; // dev, null
  ok = addOutside(root, 0x636f7270, DIRECTORY) != 0 && ok; // proc
  ok = addOutside(root, 0x6e7572, DIRECTORY) != 0 && ok; // run
  ok = addOutside(root, 0x706d74, DIRECTORY) != 0 && ok; // tmp
  const sys = addOutside(root, 0x737973, DIRECTORY);
  const mount = addOutside(addOutside(sys, 0x7366, DIRECTORY), 0x667062, DIRECTORY); // fs, bpf
  if (mount == 0 || !ok) {
    freeTree(root);
    return <usize>-ENOMEM;
  }
  nodeAt(mount).isBpffs = true;
  k.bpffsRoot = <u32>root;
  return root;
}

/** Frees nodes that nobody refers to yet. */
function freeTree(ptr: usize): void {
  if (ptr == 0) return;
  let child = nodeAt(ptr).firstChild;
  while (child != 0) {
    const next = nodeAt(child).nextSibling;
    freeTree(child);
    child = next;
  }
  free(ptr);
}

/** The root of the mount: in bpffs, in a directory that is not. */
function isMount(node: Node): bool {
  return node.isBpffs && !nodeAt(node.parent).isBpffs;
}

// ---- paths ----------------------------------------------------------------------------------------------------------

/** Length of a path; -EFAULT: unreadable; -ENAMETOOLONG: 4096 bytes or more; -ENOENT: empty. */
function pathLength(path: u64): i32 {
  const size = memoryBytes();
  if (path == 0 || path >= size) return -EFAULT;
  const readable = <u32>min<u64>(size - path, PATH_MAX);
  let length: u32 = 0;
  while (length < readable && load<u8>(<usize>path + length) != 0) length++;
  if (length == PATH_MAX) return -ENAMETOOLONG;
  if (length == readable) return -EFAULT;
  return length == 0 ? -ENOENT : length;
}

/** 1 for ".", 2 for "..", 0 for other names. */
function dotsOf(name: usize, length: u32): u32 {
  if (length == 0 || length > 2) return 0;
  return load<u8>(name) == 0x2e && load<u8>(name + length - 1) == 0x2e ? length : 0;
}

/** The node that `name` leads to from `dir`, or -errno as an address. */
function step(dir: Node, name: usize, length: u32): usize {
  if (dir.kind != DIRECTORY) return <usize>-ENOTDIR;
  const dots = dotsOf(name, length);
  if (dots == 2 && dir.parent != 0) return dir.parent;
  if (dots != 0 || length == 0) return changetype<usize>(dir);
  if (dir.isDead) return <usize>-ENOENT;
  let child = dir.firstChild;
  while (child != 0) {
    const node = nodeAt(child);
    if (node.nameLength == <u16>length && equalBytes(child + NODE_NAME, name, length)) return child;
    child = node.nextSibling;
  }
  // Dots are for files the file system itself might offer one day (maps.debug).
  if (dir.isBpffs && hasDot(name, length)) return <usize>-EPERM;
  return <usize>(length > NAME_MAX ? -ENAMETOOLONG : -ENOENT);
}

function hasDot(name: usize, length: u32): bool {
  for (let i: u32 = 0; i < length; i++) {
    if (load<u8>(name + i) == 0x2e) return true;
  }
  return false;
}

/** Resolves all of a path but its last name, which is empty for "/". Fills last(). @returns 0 or -errno */
function walk(start: usize, path: u64): i32 {
  const length = pathLength(path);
  if (length < 0) return length;
  let at = <usize>path;
  const end = at + length;
  let dir = load<u8>(at) == 0x2f ? rootDir() : start;
  const result = last();
  while (!isErr(dir)) {
    const name = pathRun(at, end, true);
    const nameEnd = pathRun(name, end, false);
    const nameLength = <u32>(nameEnd - name);
    at = pathRun(nameEnd, end, true);
    const found = step(nodeAt(dir), name, nameLength);
    if (at == end && nodeAt(dir).kind == DIRECTORY) {
      result.dir = <u32>dir;
      result.name = <u32>name;
      result.length = nameLength;
      result.found = <u32>found;
      result.isDirectory = at != nameEnd;
      return 0;
    }
    dir = found;
  }
  return <i32>dir;
}

/** End of a run of slashes, or of other bytes. */
function pathRun(at: usize, end: usize, slashes: bool): usize {
  while (at < end && (load<u8>(at) == 0x2f) == slashes) at++;
  return at;
}

/** Where a relative path starts: the root, or with BPF_F_PATH_FD the directory behind an fd. */
function startOf(flags: u32, pathFd: i32): usize {
  if ((flags & BPF_F_PATH_FD) == 0 || pathFd == AT_FDCWD) return rootDir();
  const dir = fdGet(pathFd, FD_DIRECTORY);
  return <i32>dir == -EINVAL ? <usize>-ENOTDIR : dir;
}

/** The node of a whole path, which may have to be a directory, or -errno as an address. */
function resolve(start: usize, path: u64, isDirectory: bool): usize {
  const ret = walk(start, path);
  if (ret != 0) return <usize>ret;
  const found: usize = last().found;
  if (isErr(found) || nodeAt(found).kind == DIRECTORY) return found;
  return isDirectory || last().isDirectory ? <usize>-ENOTDIR : found;
}

/** Makes a node where no name is yet. @returns the node, or -errno as an address */
function createNode(start: usize, path: u64, kind: u32): usize {
  let ret = walk(start, path);
  if (ret != 0) return <usize>ret;
  const part = last();
  const found: usize = part.found;
  if (!isErr(found)) return <usize>-EEXIST;
  if (<i32>found != -ENOENT || nodeAt(part.dir).isDead) return found;
  if (kind == FILE && part.isDirectory) return <usize>-ENOENT;
  if (!nodeAt(part.dir).isBpffs) return <usize>-EPERM;
  const node = addNode(part.dir, part.name, part.length, kind, true);
  return node == 0 ? <usize>-ENOMEM : node;
}

// ---- BPF_OBJ_PIN, BPF_OBJ_GET -----------------------------------------------------------------------------------------
// attr: pathname u64 0, bpf_fd 8, file_flags 12, path_fd 16.

function flagsLegal(copy: usize, allowed: u32): bool {
  const flags = load<u32>(copy, 12);
  if ((flags & ~allowed) != 0) return false;
  return (flags & BPF_F_PATH_FD) != 0 || load<i32>(copy, 16) == 0;
}

export function objPin(copy: usize): i32 {
  const flags = load<u32>(copy, 12);
  const fd = load<i32>(copy, 8);
  if (!flagsLegal(copy, BPF_F_PATH_FD)) return -EINVAL;
  const map = fdTake(fd, FD_MAP);
  if (isErr(map)) return -EINVAL;
  lock(kernelLockWord());
  const ptr = createNode(startOf(flags, load<i32>(copy, 16)), load<u64>(copy), FILE);
  if (!isErr(ptr)) nodeAt(ptr).map = <u32>map;
  unlock(kernelLockWord());
  if (!isErr(ptr)) return 0;
  mapPut(changetype<BpfMap>(map));
  return <i32>ptr;
}

export function objGet(copy: usize): i32 {
  const flags = load<u32>(copy, 12);
  const mode = openMode(flags);
  if (load<u32>(copy, 8) != 0 || mode == 0) return -EINVAL;
  if (!flagsLegal(copy, BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_PATH_FD)) return -EINVAL;
  lock(kernelLockWord());
  let ptr = resolve(startOf(flags, load<i32>(copy, 16)), load<u64>(copy), false);
  if (!isErr(ptr)) {
    ptr = nodeAt(ptr).map == 0 ? <usize>-EACCES : nodeAt(ptr).map;
    if (!isErr(ptr)) mapGet(changetype<BpfMap>(ptr));
  }
  unlock(kernelLockWord());
  return isErr(ptr) ? <i32>ptr : fdInstall(FD_MAP, mode, ptr);
}

// ---- for the host: what a process does to a file system by other system calls -----------------------------------------

/** mkdir(2). */
export function bpffsMkdir(path: u32): i32 {
  lock(kernelLockWord());
  const ptr = createNode(rootDir(), path, DIRECTORY);
  unlock(kernelLockWord());
  return isErr(ptr) ? <i32>ptr : 0;
}

/** unlink(2). */
export function bpffsUnlink(path: u32): i32 {
  return remove(path, FILE);
}

/** rmdir(2). */
export function bpffsRmdir(path: u32): i32 {
  return remove(path, DIRECTORY);
}

function remove(path: u32, kind: u32): i32 {
  lock(kernelLockWord());
  const ptr = findRemovable(path, kind);
  if (!isErr(ptr)) unlinkNode(ptr);
  unlock(kernelLockWord());
  if (isErr(ptr)) return <i32>ptr;
  nodePut(ptr);
  return 0;
}

function findRemovable(path: u32, kind: u32): usize {
  const ret = walk(rootDir(), path);
  if (ret != 0) return <usize>ret;
  const part = last();
  if (kind == DIRECTORY) {
    if (part.length == 0) return <usize>-EBUSY;
    const dots = dotsOf(part.name, part.length);
    if (dots != 0) return <usize>(dots == 1 ? -EINVAL : -ENOTEMPTY);
  }
  const ptr: usize = part.found;
  if (isErr(ptr)) return ptr;
  const node = nodeAt(ptr);
  if (node.kind != kind) return <usize>(kind == DIRECTORY ? -ENOTDIR : -EISDIR);
  if (kind == FILE && part.isDirectory) return <usize>-ENOTDIR;
  if (!node.isBpffs) return <usize>-EPERM;
  if (isMount(node)) return <usize>-EBUSY;
  return node.firstChild == 0 ? ptr : <usize>-ENOTEMPTY;
}

/** open(2) with O_DIRECTORY: an fd for path_fd, or -errno. */
export function bpffsOpen(path: u32): i32 {
  lock(kernelLockWord());
  const ptr = resolve(rootDir(), path, true);
  if (!isErr(ptr)) nodeAt(ptr).refcnt++;
  unlock(kernelLockWord());
  return isErr(ptr) ? <i32>ptr : fdInstall(FD_DIRECTORY, FMODE_READ, ptr);
}

/** Drops the reference of a directory's fd. */
export function directoryPut(directory: usize): void {
  nodePut(directory);
}

/**
 * Lists a directory, newest name first, into `buffer` of `size` bytes: per name a byte (1 directory, 2 file), the name, NUL.
 * @returns the bytes of the whole list, also when they do not fit; or -errno
 */
export function bpffsReaddir(path: u32, buffer: usize, size: u32): i32 {
  lock(kernelLockWord());
  const ptr = resolve(rootDir(), path, true);
  let ret: i32 = isErr(ptr) ? <i32>ptr : 0;
  let child = ret == 0 ? nodeAt(ptr).firstChild : 0;
  while (child != 0) {
    const node = nodeAt(child);
    const length: u32 = node.nameLength;
    const to = buffer + ret;
    ret += length + 2;
    if (<u32>ret <= size) {
      store<u8>(to, node.kind);
      copyBytes(to + 1, child + NODE_NAME, length);
      store<u8>(to + 1 + length, 0);
    }
    child = node.nextSibling;
  }
  unlock(kernelLockWord());
  return ret;
}

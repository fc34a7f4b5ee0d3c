// How host objects come and go: sockets, cgroups, tasks, inodes. ts/host.ts gives them their face.
//
// An object lives as long as something refers to it: an fd; a directory (cgroup not removed); a process table (task not
// reaped); a parent's children. Exports take fds, or an address with the serial number that was there: an address alone
// could mean a later object.

import { EAGAIN, EBADF, EBUSY, EINVAL, ENOENT, ENOMEM } from "../ts/uapi";
import { anonInodeHome, freeInode, makeInode } from "./bpf_inode_storage";
import { cloneStorage, destroyStorage, reserveStorage } from "./bpf_local_storage";
import {
  FD_CGROUP,
  FD_INODE,
  FD_SOCKET,
  FD_TASK,
  FMODE_READ,
  FMODE_WRITE,
  fdInstall,
  fdKind,
  fdObject,
  fdObjectOf,
} from "./fd";
import {
  Cgroup,
  HostObject,
  Inode,
  OWNER_CGRP,
  OWNER_INODE,
  OWNER_SK,
  OWNER_TASK,
  Socket,
  TASK_REAPED,
  TASK_RUNNING,
  TASK_ZOMBIE,
  Task,
  hostAlloc,
  hostByPtr,
  hostFree,
  hostLockWord,
  hostPtr,
  hostState,
  taskBucket,
} from "./host";
import { lock, unlock } from "./lib/lock";
import { detachAll } from "./local_storage";

// ---- all kinds --------------------------------------------------------------------------------------------------------

function ownerKind(kind: u32): u32 {
  switch (kind) {
    case FD_SOCKET:
      return OWNER_SK;
    case FD_CGROUP:
      return OWNER_CGRP;
    case FD_TASK:
      return OWNER_TASK;
    default:
      return OWNER_INODE;
  }
}

function isHostKind(kind: u32): bool {
  return kind == FD_SOCKET || kind == FD_CGROUP || kind == FD_TASK || kind == FD_INODE;
}

/** Gives an object's reference to a new fd; without one the reference is dropped. */
function install(kind: u32, object: usize): i32 {
  return fdInstall(kind, FMODE_READ | FMODE_WRITE, object);
}

/** A new object with one reference; owners may need room for their storages from now on. */
function create(owner: u32): usize {
  lock(hostLockWord());
  const object = hostAlloc(owner, true);
  if (object != 0) reserveStorage();
  unlock(hostLockWord());
  return object;
}

/** Takes a reference to the object behind an fd; 0 when it is not of this kind (any more). */
function hold(fd: i32, kind: u32): usize {
  lock(hostLockWord());
  const object = fdObjectOf(fd, kind);
  if (object != 0) changetype<HostObject>(object).refcnt++;
  unlock(hostLockWord());
  return object;
}

/** Drops a reference; the last one ends the object and everything stored on it. */
export function hostPut(object: HostObject): void {
  lock(hostLockWord());
  const ends = --object.refcnt == 0 && !staysWithValues(object);
  // From now on nobody finds it.
  if (ends) object.gone = 1;
  unlock(hostLockWord());
  if (ends) end(object);
}

/** The inode of all anonymous files is there as long as something is stored on it (InodeStorage#ownerEmptied). */
function staysWithValues(object: HostObject): bool {
  if (object.kind != FD_INODE || object.elems == 0) return false;
  return changetype<Inode>(changetype<usize>(object)).home != 0;
}

function end(object: HostObject): void {
  const ptr = changetype<usize>(object);
  const kind = object.kind;
  destroyStorage(object);
  if (object.inode != 0) destroyStorage(changetype<HostObject>(object.inode));
  if (kind == FD_SOCKET) endSocket(changetype<Socket>(ptr));
  const parent: u32 = kind == FD_CGROUP ? changetype<Cgroup>(ptr).parent : 0;
  lock(hostLockWord());
  if (object.inode != 0) freeInode(changetype<Inode>(object.inode));
  if (kind == FD_INODE) freeInode(changetype<Inode>(ptr));
  else hostFree(ownerKind(kind), object);
  reserveStorage();
  unlock(hostLockWord());
  if (parent != 0) hostPut(changetype<HostObject>(parent));
}

/** dup(2), or another open of the same thing. @returns the new fd, or -errno */
export function host_dup(fd: i32): i32 {
  const kind = fdKind(fd);
  const object = isHostKind(kind) ? hold(fd, kind) : 0;
  return object == 0 ? -EBADF : install(kind, object);
}

/** Where programs see the object behind an fd; 0 when there is none. */
export function host_ptr(fd: i32): u32 {
  const kind = fdKind(fd);
  return isHostKind(kind) ? hostPtr(ownerKind(kind), fdObject(fd)) : 0;
}

/** The number of the object behind an fd, which no other object of this kernel has; 0 when there is none. */
export function host_serial(fd: i32): u32 {
  return isHostKind(fdKind(fd)) ? changetype<HostObject>(fdObject(fd)).serial : 0;
}

function byPtr(owner: u32, ptr: u32, serial: u32): usize {
  const object = hostByPtr(owner, ptr);
  return object != 0 && changetype<HostObject>(object).serial == serial ? object : 0;
}

// ---- sockets ----------------------------------------------------------------------------------------------------------

function makeSocket(family: u32, type: u32, optmemMax: u32): usize {
  const ptr = create(OWNER_SK);
  if (ptr == 0) return 0;
  const socket = changetype<Socket>(ptr);
  socket.family = family;
  socket.type = type;
  socket.optmemMax = optmemMax;
  socket.cookie = socket.serial;
  // What programs see begins like struct bpf_sock: bound_dev_if, family, type, protocol.
  const seen = hostPtr(OWNER_SK, ptr);
  store<u32>(seen, family, 4);
  store<u32>(seen, type, 8);
  return ptr;
}

/** @param optmemMax limit of what storages may charge, bytes */
export function socket_create(family: u32, type: u32, optmemMax: u32): i32 {
  const socket = makeSocket(family, type, optmemMax);
  return socket == 0 ? -ENOMEM : install(FD_SOCKET, socket);
}

/**
 * A handshake with the listener behind `fd` is over: its child comes into being, with copies of the values of BPF_F_CLONE
 * maps, and waits for accept.
 * @returns 0; -ENOMEM: no room for the copies, there is no child
 */
export function socket_handshake(fd: i32): i32 {
  const held = hold(fd, FD_SOCKET);
  if (held == 0) return -EBADF;
  const listener = changetype<Socket>(held);
  const ret = addChild(listener);
  hostPut(listener);
  return ret;
}

function addChild(listener: Socket): i32 {
  const ptr = makeSocket(listener.family, listener.type, listener.optmemMax);
  if (ptr == 0) return -ENOMEM;
  const child = changetype<Socket>(ptr);
  const ret = cloneStorage(listener, child);
  if (ret != 0) {
    hostPut(child);
    return ret;
  }
  lock(hostLockWord());
  let last: u32 = 0;
  for (let at = listener.firstChild; at != 0; at = changetype<Socket>(at).nextChild) last = at;
  if (last == 0) listener.firstChild = <u32>ptr;
  else changetype<Socket>(last).nextChild = <u32>ptr;
  unlock(hostLockWord());
  return 0;
}

/** accept(2). @returns the fd of the oldest child that waits, or -EAGAIN */
export function socket_accept(fd: i32): i32 {
  lock(hostLockWord());
  const held = fdObjectOf(fd, FD_SOCKET);
  if (held == 0) {
    unlock(hostLockWord());
    return -EBADF;
  }
  const listener = changetype<Socket>(held);
  const child = listener.firstChild;
  if (child != 0) {
    listener.firstChild = changetype<Socket>(child).nextChild;
    changetype<Socket>(child).nextChild = 0;
  }
  unlock(hostLockWord());
  return child == 0 ? -EAGAIN : install(FD_SOCKET, child);
}

/** Bytes that storages have charged to the socket; -EINVAL when there is none. */
export function socket_omem(ptr: u32): i32 {
  const socket = hostByPtr(OWNER_SK, ptr);
  return socket == 0 ? -EINVAL : changetype<Socket>(socket).omemAlloc;
}

/** Children nobody accepted go with their listener. */
function endSocket(socket: Socket): void {
  assert(socket.omemAlloc == 0);
  while (socket.firstChild != 0) {
    const child = changetype<Socket>(socket.firstChild);
    socket.firstChild = child.nextChild;
    hostPut(child);
  }
}

// ---- cgroups ----------------------------------------------------------------------------------------------------------

/**
 * mkdir(2) and open(2).
 * @param parent where programs see it, 0 for a child of the root
 * @param serial the parent's
 * @returns the fd; -ENOENT: the parent is gone
 */
export function cgroup_create(parent: u32, serial: u32, version: u32): i32 {
  const ptr = create(OWNER_CGRP);
  if (ptr == 0) return -ENOMEM;
  const cgroup = changetype<Cgroup>(ptr);
  lock(hostLockWord());
  const isThere = parent == 0 || enterParent(cgroup, byPtr(OWNER_CGRP, parent, serial));
  cgroup.version = version;
  cgroup.id = hostState().nextCgroupId++;
  store<u64>(hostPtr(OWNER_CGRP, ptr), cgroup.id);
  // The directory holds it, and the fd.
  if (isThere) cgroup.refcnt++;
  unlock(hostLockWord());
  if (!isThere) {
    hostPut(cgroup);
    return -ENOENT;
  }
  const fd = install(FD_CGROUP, ptr);
  if (fd < 0) cgroup_rmdir(hostPtr(OWNER_CGRP, ptr), cgroup.serial);
  return fd;
}

function enterParent(cgroup: Cgroup, object: usize): bool {
  if (object == 0 || changetype<Cgroup>(object).dying) return false;
  changetype<Cgroup>(object).refcnt++;
  changetype<Cgroup>(object).children++;
  cgroup.parent = <u32>object;
  return true;
}

/** The number that is the key of CGROUP_STORAGE and the answer of bpf_get_current_cgroup_id; 0 when there is none. */
export function cgroup_id(ptr: u32): u64 {
  const cgroup = hostByPtr(OWNER_CGRP, ptr);
  return cgroup == 0 ? 0 : changetype<Cgroup>(cgroup).id;
}

/** rmdir(2): 0; -ENOENT: removed already; -EBUSY: it has children, or tasks that run. */
export function cgroup_rmdir(ptr: u32, serial: u32): i32 {
  lock(hostLockWord());
  const found = byPtr(OWNER_CGRP, ptr, serial);
  const ret = found == 0 ? -ENOENT : remove(changetype<Cgroup>(found));
  unlock(hostLockWord());
  if (ret != 0) return ret;
  detachAll(changetype<Cgroup>(found));
  hostPut(changetype<HostObject>(found));
  return 0;
}

function remove(cgroup: Cgroup): i32 {
  if (cgroup.dying) return -ENOENT;
  if (cgroup.children != 0 || cgroup.tasks != 0) return -EBUSY;
  cgroup.dying = 1;
  if (cgroup.parent != 0) changetype<Cgroup>(cgroup.parent).children--;
  return 0;
}

// ---- tasks ------------------------------------------------------------------------------------------------------------

function taskByPid(pid: u32): usize {
  let task = load<u32>(taskBucket(pid));
  while (task != 0 && changetype<Task>(task).pid != pid) task = changetype<Task>(task).next;
  return task;
}

/** The next number no task has. */
function freePid(): u32 {
  const state = hostState();
  while (taskByPid(state.nextPid) != 0) state.nextPid++;
  return state.nextPid++;
}

/**
 * fork(2) and pidfd_open(2): another pidfd when there is a task of this number already.
 * @param pid    0 for the next free one
 * @param cgroup where programs see it, 0 for the root
 * @returns the pidfd; -ENOENT: the cgroup is gone
 */
export function task_create(pid: u32, cgroup: u32, serial: u32): i32 {
  lock(hostLockWord());
  const known = pid == 0 ? 0 : taskByPid(pid);
  if (known != 0) changetype<HostObject>(known).refcnt++;
  unlock(hostLockWord());
  if (known != 0) return install(FD_TASK, known);
  const ptr = create(OWNER_TASK);
  if (ptr == 0) return -ENOMEM;
  const task = changetype<Task>(ptr);
  lock(hostLockWord());
  const isThere = cgroup == 0 || enterCgroup(task, byPtr(OWNER_CGRP, cgroup, serial));
  if (isThere) startTask(task, pid);
  unlock(hostLockWord());
  if (!isThere) {
    hostPut(task);
    return -ENOENT;
  }
  const fd = install(FD_TASK, ptr);
  if (fd < 0) task_reap(hostPtr(OWNER_TASK, ptr), task.serial);
  return fd;
}

function enterCgroup(task: Task, object: usize): bool {
  if (object == 0 || changetype<Cgroup>(object).dying) return false;
  changetype<Cgroup>(object).refcnt++;
  changetype<Cgroup>(object).tasks++;
  task.cgroup = <u32>object;
  return true;
}

/** Gives the task its number and its place in the process table, which holds it. */
function startTask(task: Task, pid: u32): void {
  const self = changetype<usize>(task);
  task.refcnt++;
  task.pid = pid == 0 ? freePid() : pid;
  const seen = hostPtr(OWNER_TASK, self);
  store<u32>(seen, task.pid);
  store<u32>(seen, task.pid, 4);
  task.next = load<u32>(taskBucket(task.pid));
  store<u32>(taskBucket(task.pid), self);
}

/** 0 when there is none. */
export function task_pid(ptr: u32): u32 {
  const task = hostByPtr(OWNER_TASK, ptr);
  return task == 0 ? 0 : changetype<Task>(task).pid;
}

/** exit(2): the task is a zombie, with its storage. @returns 0; -ENOENT: it does not run */
export function task_exit(ptr: u32, serial: u32): i32 {
  lock(hostLockWord());
  const task = byPtr(OWNER_TASK, ptr, serial);
  const runs = task != 0 && changetype<Task>(task).state == TASK_RUNNING;
  if (runs) exitTask(changetype<Task>(task));
  unlock(hostLockWord());
  return runs ? 0 : -ENOENT;
}

/** wait(2); a task that runs exits first. @returns 0; -ENOENT: reaped already */
export function task_reap(ptr: u32, serial: u32): i32 {
  lock(hostLockWord());
  const found = byPtr(OWNER_TASK, ptr, serial);
  if (found != 0) reapTask(changetype<Task>(found));
  unlock(hostLockWord());
  if (found == 0) return -ENOENT;
  // What is left is what pidfds refer to.
  const task = changetype<Task>(found);
  const cgroup = task.cgroup;
  task.cgroup = 0;
  destroyStorage(task);
  if (cgroup != 0) hostPut(changetype<HostObject>(cgroup));
  hostPut(task);
  return 0;
}

function exitTask(task: Task): void {
  task.state = TASK_ZOMBIE;
  if (task.cgroup != 0) changetype<Cgroup>(task.cgroup).tasks--;
}

/** The number is free again, and programs do not find the task any more. */
function reapTask(task: Task): void {
  if (task.state == TASK_RUNNING) exitTask(task);
  const self = <u32>changetype<usize>(task);
  task.state = TASK_REAPED;
  task.gone = 1;
  const bucket = taskBucket(task.pid);
  if (load<u32>(bucket) == self) {
    store<u32>(bucket, task.next);
    return;
  }
  let before = load<u32>(bucket);
  while (changetype<Task>(before).next != self) before = changetype<Task>(before).next;
  changetype<Task>(before).next = task.next;
}

// ---- inodes -----------------------------------------------------------------------------------------------------------

/** open(2) of a new file; with `anonymous` of one that shares the inode of all anonymous files. */
export function inode_create(anonymous: u32): i32 {
  if (anonymous == 0) {
    const own = create(OWNER_INODE);
    return own == 0 ? -ENOMEM : install(FD_INODE, own);
  }
  lock(hostLockWord());
  const home = anonInodeHome();
  let inode = <usize>load<u32>(home);
  if (inode != 0) changetype<HostObject>(inode).refcnt++;
  else inode = makeInode(home, true);
  unlock(hostLockWord());
  return inode == 0 ? -ENOMEM : install(FD_INODE, inode);
}

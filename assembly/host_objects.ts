// How host objects come and go: sockets, cgroups, tasks, inodes. ts/host.ts gives them their face.
//
// An object lives as long as something refers to it: an fd; a directory (cgroup not removed); a process table (task not
// reaped); a parent's children. Exports take fds, or an address with the serial number that was there: an address alone
// could mean a later object.

import { EAGAIN, EBADF, EBUSY, EINVAL, ENOENT, ENOMEM } from "../ts/uapi";
import { anonInodeHome } from "./bpf_inode_storage";
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
  entryKind,
  entryObject,
  entryOf,
  fdObjectOf,
} from "./fd";
import {
  Cgroup,
  HostObject,
  Inode,
  Socket,
  TASK_RUNNING,
  TASK_ZOMBIE,
  Task,
  freeInode,
  hostAlloc,
  hostByPtr,
  hostBySerial,
  hostFree,
  hostLockWord,
  hostPtr,
  hostState,
  isHostKind,
  leaveHome,
  makeInode,
  taskBucket,
} from "./host";
import { slistDel } from "./lib/hlist";
import { lock, unlock } from "./lib/lock";
import { detachAll } from "./local_storage";
import { isErr } from "./map";

// ---- all kinds --------------------------------------------------------------------------------------------------------

/** Gives an object's reference to a new fd; without one the reference is dropped. */
function install(object: HostObject): i32 {
  return fdInstall(object.kind, FMODE_READ | FMODE_WRITE, changetype<usize>(object));
}

/** install for an object that may be missing because memory was short. */
function installNew(object: usize): i32 {
  return object == 0 ? -ENOMEM : install(changetype<HostObject>(object));
}

/** A new object with one reference; owners may need room for their storages from now on. */
function create(kind: u32): usize {
  lock(hostLockWord());
  const object = hostAlloc(kind, true);
  if (object != 0) reserveStorage();
  unlock(hostLockWord());
  return object;
}

/**
 * A new cgroup or task with two references, the caller's and that of the directory or the process table.
 * @param cgroup where programs see the one it is in, with its serial number; 0 for the root
 * @returns the object, or -errno as an address; -ENOENT: the cgroup is gone
 */
function createIn(kind: u32, cgroup: u32, serial: u32): usize {
  const ptr = create(kind);
  if (ptr == 0) return <usize>-ENOMEM;
  const object = changetype<HostObject>(ptr);
  lock(hostLockWord());
  const isThere = cgroup == 0 || enter(object, hostBySerial(FD_CGROUP, cgroup, serial));
  if (isThere) object.refcnt++;
  unlock(hostLockWord());
  if (isThere) return ptr;
  hostPut(object);
  return <usize>-ENOENT;
}

/** The lock is held. */
function enter(object: HostObject, ptr: usize): bool {
  if (ptr == 0 || changetype<HostObject>(ptr).dying) return false;
  const cgroup = changetype<Cgroup>(ptr);
  cgroup.refcnt++;
  cgroup.members++;
  object.parent = <u32>ptr;
  return true;
}

/** The object is no longer a member of its cgroup, but still holds a reference to it. The lock is held. */
function leave(object: HostObject): void {
  if (object.parent != 0) changetype<Cgroup>(object.parent).members--;
}

function putParent(object: HostObject): void {
  const parent = object.parent;
  object.parent = 0;
  if (parent != 0) hostPut(changetype<HostObject>(parent));
}

/** Takes a reference to the object behind an fd; 0 when it is not of this kind (any more). */
export function hold(fd: i32, kind: u32): usize {
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
  if (ends) hide(object);
  unlock(hostLockWord());
  if (ends) end(object);
}

/** From now on nobody finds an object that ends. The lock is held. */
function hide(object: HostObject): void {
  object.gone = 1;
  if (object.kind == FD_INODE) leaveHome(changetype<Inode>(changetype<usize>(object)));
}

/** The inode of all anonymous files is there as long as something is stored on it (freeIfIdle). */
function staysWithValues(object: HostObject): bool {
  if (object.kind != FD_INODE || object.elems == 0) return false;
  return changetype<Inode>(changetype<usize>(object)).home != 0;
}

function end(object: HostObject): void {
  const ptr = changetype<usize>(object);
  lock(hostLockWord());
  destroyStorage(object);
  endInode(object.inode);
  unlock(hostLockWord());
  if (object.kind == FD_SOCKET) endSocket(changetype<Socket>(ptr));
  putParent(object);
  lock(hostLockWord());
  if (object.kind == FD_INODE) freeInode(changetype<Inode>(ptr));
  else hostFree(object);
  reserveStorage();
  unlock(hostLockWord());
}

/** The inode behind an object's fds (0: none, or it went with what was stored on it) ends with it. The lock is held. */
function endInode(ptr: usize): void {
  if (ptr == 0) return;
  const inode = changetype<Inode>(ptr);
  destroyStorage(inode);
  freeInode(inode);
}

/** dup(2), or another open of the same thing. @returns the new fd, or -errno */
export function host_dup(fd: i32): i32 {
  const kind = fdKind(fd);
  const object = isHostKind(kind) ? hold(fd, kind) : 0;
  return object == 0 ? -EBADF : install(changetype<HostObject>(object));
}

/** The object behind an fd, of whatever kind; 0 when there is none. The lock is held. */
function hostByFd(fd: i32): usize {
  const entry = entryOf(fd);
  return isHostKind(entryKind(entry)) ? entryObject(entry) : 0;
}

/** Where programs see the object behind an fd; 0 when there is none. */
export function host_ptr(fd: i32): u32 {
  lock(hostLockWord());
  const object = hostByFd(fd);
  const ptr = object == 0 ? 0 : hostPtr(changetype<HostObject>(object));
  unlock(hostLockWord());
  return ptr;
}

/** The number of the object behind an fd, which no other object of this kernel has; 0 when there is none. */
export function host_serial(fd: i32): u32 {
  lock(hostLockWord());
  const object = hostByFd(fd);
  const serial = object == 0 ? 0 : changetype<HostObject>(object).serial;
  unlock(hostLockWord());
  return serial;
}

// ---- sockets ----------------------------------------------------------------------------------------------------------

function makeSocket(family: u32, type: u32, optmemMax: u32): usize {
  const ptr = create(FD_SOCKET);
  if (ptr == 0) return 0;
  const socket = changetype<Socket>(ptr);
  socket.family = family;
  socket.type = type;
  socket.optmemMax = optmemMax;
  socket.cookie = socket.serial;
  // What programs see begins like struct bpf_sock: bound_dev_if, family, type, protocol.
  const seen = hostPtr(socket);
  store<u32>(seen, family, 4);
  store<u32>(seen, type, 8);
  return ptr;
}

/** @param optmemMax limit of what storages may charge, bytes */
export function socket_create(family: u32, type: u32, optmemMax: u32): i32 {
  return installNew(makeSocket(family, type, optmemMax));
}

/**
 * A handshake with the listener behind `fd` is over: its child comes into being, with copies of the values of BPF_F_CLONE
 * maps, and waits for accept.
 * @returns 0; -ENOMEM: no room for the copies, there is no child
 */
export function socket_handshake(fd: i32): i32 {
  const held = hold(fd, FD_SOCKET);
  if (held == 0) return -EBADF;
  const ret = addChild(held);
  hostPut(changetype<HostObject>(held));
  return ret;
}

function addChild(held: usize): i32 {
  const listener = changetype<Socket>(held);
  const ptr = makeSocket(listener.family, listener.type, listener.optmemMax);
  if (ptr == 0) return -ENOMEM;
  const child = changetype<Socket>(ptr);
  const ret = cloneStorage(listener, child);
  if (ret != 0) {
    hostPut(child);
    return ret;
  }
  lock(hostLockWord());
  const last = listener.lastChild == 0 ? child : changetype<Socket>(listener.lastChild);
  child.nextChild = last.nextChild;
  last.nextChild = <u32>ptr;
  listener.lastChild = <u32>ptr;
  unlock(hostLockWord());
  return 0;
}

/** Takes the oldest child that waits; 0 when there is none. The lock is held, or nobody else knows the listener any more. */
function takeChild(listener: Socket): usize {
  if (listener.lastChild == 0) return 0;
  const last = changetype<Socket>(listener.lastChild);
  const oldest = last.nextChild;
  last.nextChild = changetype<Socket>(oldest).nextChild;
  if (oldest == listener.lastChild) listener.lastChild = 0;
  return oldest;
}

/** accept(2). @returns the fd of the oldest child that waits, or -EAGAIN */
export function socket_accept(fd: i32): i32 {
  lock(hostLockWord());
  const held = fdObjectOf(fd, FD_SOCKET);
  if (held == 0) {
    unlock(hostLockWord());
    return -EBADF;
  }
  const child = takeChild(changetype<Socket>(held));
  unlock(hostLockWord());
  return child == 0 ? -EAGAIN : install(changetype<HostObject>(child));
}

/** Bytes that storages have charged to the socket; -EINVAL when there is none. */
export function socket_omem(ptr: u32): i32 {
  const socket = hostByPtr(FD_SOCKET, ptr);
  return socket == 0 ? -EINVAL : changetype<Socket>(socket).omemAlloc;
}

/** Children nobody accepted go with their listener. */
function endSocket(socket: Socket): void {
  assert(socket.omemAlloc == 0);
  for (let child = takeChild(socket); child != 0; child = takeChild(socket)) {
    hostPut(changetype<HostObject>(child));
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
  const ptr = createIn(FD_CGROUP, parent, serial);
  if (isErr(ptr)) return <i32>ptr;
  const cgroup = changetype<Cgroup>(ptr);
  cgroup.version = version;
  lock(hostLockWord());
  cgroup.id = hostState().nextCgroupId++;
  unlock(hostLockWord());
  store<u64>(hostPtr(cgroup), cgroup.id);
  const fd = install(cgroup);
  if (fd < 0) cgroup_rmdir(hostPtr(cgroup), cgroup.serial);
  return fd;
}

/** The number that is the key of CGROUP_STORAGE and the answer of bpf_get_current_cgroup_id; 0 when there is none. */
export function cgroup_id(ptr: u32): u64 {
  const cgroup = hostByPtr(FD_CGROUP, ptr);
  return cgroup == 0 ? 0 : changetype<Cgroup>(cgroup).id;
}

/** rmdir(2): 0; -ENOENT: removed already; -EBUSY: it has children, or tasks that run. */
export function cgroup_rmdir(ptr: u32, serial: u32): i32 {
  lock(hostLockWord());
  const found = hostBySerial(FD_CGROUP, ptr, serial);
  const ret = found == 0 ? -ENOENT : remove(changetype<Cgroup>(found));
  unlock(hostLockWord());
  if (ret != 0) return ret;
  detachAll(changetype<Cgroup>(found));
  hostPut(changetype<HostObject>(found));
  return 0;
}

function remove(cgroup: Cgroup): i32 {
  if (cgroup.dying) return -ENOENT;
  if (cgroup.members != 0) return -EBUSY;
  cgroup.dying = 1;
  leave(cgroup);
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
  const known = taskByPid(pid);
  if (known != 0) changetype<HostObject>(known).refcnt++;
  unlock(hostLockWord());
  if (known != 0) return install(changetype<HostObject>(known));
  const ptr = createIn(FD_TASK, cgroup, serial);
  if (isErr(ptr)) return <i32>ptr;
  const task = changetype<Task>(ptr);
  lock(hostLockWord());
  const other = pid == 0 ? 0 : taskByPid(pid);
  if (other == 0) startTask(task, pid == 0 ? freePid() : pid);
  else takePlace(changetype<HostObject>(other), task);
  unlock(hostLockWord());
  if (other != 0) {
    hostPut(task);
    return install(changetype<HostObject>(other));
  }
  const fd = install(task);
  if (fd < 0) task_reap(hostPtr(task), task.serial);
  return fd;
}

/** Another thread has made a task of this number meanwhile: takes a reference to that one, gives up one of ours. */
function takePlace(other: HostObject, task: HostObject): void {
  other.refcnt++;
  leave(task);
  task.refcnt--;
}

/** Gives the task its number and its place in the process table. */
function startTask(task: Task, pid: u32): void {
  const seen = hostPtr(task);
  const bucket = taskBucket(pid);
  task.pid = pid;
  store<u32>(seen, pid);
  store<u32>(seen, pid, 4);
  task.next = load<u32>(bucket);
  store<u32>(bucket, changetype<usize>(task));
}

/** 0 when there is none. */
export function task_pid(ptr: u32): u32 {
  const task = hostByPtr(FD_TASK, ptr);
  return task == 0 ? 0 : changetype<Task>(task).pid;
}

/** exit(2): the task is a zombie, with its storage. @returns 0; -ENOENT: it does not run */
export function task_exit(ptr: u32, serial: u32): i32 {
  lock(hostLockWord());
  const task = hostBySerial(FD_TASK, ptr, serial);
  const runs = task != 0 && changetype<Task>(task).state == TASK_RUNNING;
  if (runs) exitTask(changetype<Task>(task));
  unlock(hostLockWord());
  return runs ? 0 : -ENOENT;
}

/** wait(2); a task that runs exits first. @returns 0; -ENOENT: reaped already */
export function task_reap(ptr: u32, serial: u32): i32 {
  lock(hostLockWord());
  const found = hostBySerial(FD_TASK, ptr, serial);
  if (found != 0) reapTask(changetype<Task>(found));
  unlock(hostLockWord());
  if (found == 0) return -ENOENT;
  // What is left is what pidfds refer to.
  const task = changetype<Task>(found);
  putParent(task);
  hostPut(task);
  return 0;
}

function exitTask(task: Task): void {
  task.state = TASK_ZOMBIE;
  leave(task);
}

/** The number is free again, and programs do not find the task any more. */
function reapTask(task: Task): void {
  if (task.state == TASK_RUNNING) exitTask(task);
  task.gone = 1;
  task.dying = 1;
  slistDel(taskBucket(task.pid), <u32>changetype<usize>(task), offsetof<HostObject>("next"));
  destroyStorage(task);
}

// ---- inodes -----------------------------------------------------------------------------------------------------------

/** open(2) of a new file; with `anonymous` of one that shares the inode of all anonymous files. */
export function inode_create(anonymous: u32): i32 {
  return installNew(anonymous == 0 ? create(FD_INODE) : holdAnonInode());
}

function holdAnonInode(): usize {
  lock(hostLockWord());
  const home = anonInodeHome();
  let inode = <usize>load<u32>(home);
  if (inode != 0) changetype<HostObject>(inode).refcnt++;
  else inode = makeInode(home, true);
  unlock(hostLockWord());
  return inode;
}

// Host objects: what storages are attached to. The objects live in the core (assembly/host_objects.ts); these are handles.

import { BpfError, check } from "./errors.js";
import { integer } from "./numbers.js";
import type { BpfRuntime } from "./runtime.js";
import { INSPECT, show } from "./show.js";
import type { Inspect } from "./show.js";
import { EBADF, ENOENT } from "./uapi.js";

/** Address families by name; any number is a family too. */
const FAMILIES: Readonly<Record<SocketFamily, number>> = {
  unspec: 0,
  unix: 1,
  inet: 2,
  inet6: 10,
  netlink: 16,
  packet: 17,
  vsock: 40,
  xdp: 44,
};

/** Socket types by name; any number is a type too. */
const TYPES: Readonly<Record<SocketType, number>> = {
  stream: 1,
  dgram: 2,
  raw: 3,
  rdm: 4,
  seqpacket: 5,
};

/** net.core.optmem_max of Linux 6.18. */
const OPTMEM_MAX = 131072;
const PID_MAX = 4194304;

/** Names of address families, AF_*. */
export type SocketFamily =
  | "unspec"
  | "unix"
  | "inet"
  | "inet6"
  | "netlink"
  | "packet"
  | "vsock"
  | "xdp";

/** Names of socket types, SOCK_*. */
export type SocketType = "stream" | "dgram" | "raw" | "rdm" | "seqpacket";

/** Options of {@link BpfRuntime.socket}. */
export interface SocketOptions {
  /** AF_*: a name or the number; default `"inet"`. */
  readonly family?: SocketFamily | number | undefined;
  /** SOCK_*: a name or the number; default `"stream"`. */
  readonly type?: SocketType | number | undefined;
  /** net.core.optmem_max of the socket: what storages may charge to it stays below, bytes; default 131072. */
  readonly optmemMax?: number | undefined;
}

/** Options of {@link BpfRuntime.cgroup}. */
export interface CgroupOptions {
  /** Default: a child of the root. */
  readonly parent?: Cgroup | undefined;
  /** The hierarchy it is in; default the parent's, else 2. */
  readonly version?: 1 | 2 | undefined;
}

/** Options of {@link BpfRuntime.task}. */
export interface TaskOptions {
  /** Default: the next number that is free. One that is taken: another pidfd of that task. */
  readonly pid?: number | undefined;
  /** Default: the root. */
  readonly cgroup?: Cgroup | undefined;
}

/** Options of {@link BpfRuntime.inode}. */
export interface InodeOptions {
  /** The one inode that all anonymous files (eventfd, timerfd, maps) share; default false. */
  readonly anonymous?: boolean | undefined;
}

/** An fd of a host object. */
export abstract class HostObject {
  /** The number in the fd table. */
  readonly fd: number;
  /** The object's address for helpers (`bpf_sk_storage_get(map, sk, ...)`); good as long as the object lives. */
  readonly ptr: number;
  /** @internal */
  readonly runtime: BpfRuntime;
  /** @internal Tells the object from a later one at its address. */
  readonly serial: number;

  /** @internal */
  constructor(runtime: BpfRuntime, fd: number) {
    const { exports } = runtime;
    this.runtime = runtime;
    this.fd = fd;
    this.ptr = exports.host_ptr(fd) >>> 0;
    this.serial = exports.host_serial(fd);
  }

  /**
   * close(2): the fd only; the object lives as long as something refers to it.
   * @returns 0, or -EBADF when the fd is not this object's any more
   */
  close(): number {
    return this.ownsFd ? this.runtime.exports.fd_close(this.fd) : -EBADF;
  }

  /** The same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal What JSON.stringify and console.log show. */
  toJSON(): object {
    const { fd, ptr } = this;
    return { fd, ptr };
  }

  /** @internal */
  [INSPECT](_depth: number, options: object, inspect: Inspect): string {
    return show(this, options, inspect);
  }

  /** @internal Is the fd (still) one of this object? */
  protected get ownsFd(): boolean {
    const { runtime } = this;
    return !runtime.disposed && runtime.exports.host_serial(this.fd) === this.serial;
  }

  /**
   * The fd, which is (still) one of this object.
   * @internal
   * @throws {BpfError} EBADF
   */
  openFd(syscall: string): number {
    if (!this.ownsFd) throw new BpfError(syscall, -EBADF);
    return this.fd;
  }

  /** @internal */
  protected dupFd(): number {
    const fd = this.openFd("dup");
    return check(this.runtime.exports.host_dup(fd), "dup");
  }
}

/** A socket: the owner of SK_STORAGE values. */
export class Socket extends HostObject {
  /**
   * dup(2): another fd of this socket.
   * @throws {BpfError} EBADF closed; EMFILE no number free
   */
  dup(): Socket {
    return new Socket(this.runtime, this.dupFd());
  }

  /**
   * A handshake with this listener is over: its child comes into being and waits for {@link accept}. Values of maps with
   * BPF_F_CLONE are copied to the child now.
   * @throws {BpfError} ENOMEM no room for the copies (there is no child then); EBADF closed
   */
  handshake(): void {
    const fd = this.openFd("connect");
    check(this.runtime.exports.socket_handshake(fd), "connect");
  }

  /**
   * accept(2): the oldest child that waits; without one a handshake happens first.
   * @throws {BpfError} ENOMEM no room for the copies of BPF_F_CLONE values; EBADF closed
   */
  accept(): Socket {
    const fd = this.openFd("accept");
    const { exports } = this.runtime;
    let child = exports.socket_accept(fd);
    if (child < 0) {
      this.handshake();
      child = exports.socket_accept(fd);
    }
    return new Socket(this.runtime, check(child, "accept"));
  }

  /**
   * Bytes that storages have charged to the socket (sk_omem_alloc).
   * @throws {BpfError} EBADF: the runtime has ended
   */
  get omemAlloc(): number {
    this.runtime.mustLive("getsockopt");
    return Math.max(0, this.runtime.exports.socket_omem(this.ptr));
  }
}

/** A cgroup directory: the owner of CGRP_STORAGE values. */
export class Cgroup extends HostObject {
  /** The number of the cgroup (its inode's): the key of CGROUP_STORAGE. */
  readonly id: bigint;
  /** 1 or 2. */
  readonly version: 1 | 2;

  /** @internal */
  constructor(runtime: BpfRuntime, fd: number, version: 1 | 2) {
    super(runtime, fd);
    this.id = runtime.exports.cgroup_id(this.ptr);
    this.version = version;
  }

  /**
   * dup(2): another fd of this cgroup.
   * @throws {BpfError} EBADF closed; EMFILE no number free
   */
  dup(): Cgroup {
    return new Cgroup(this.runtime, this.dupFd(), this.version);
  }

  /**
   * rmdir(2), also after close. Through fds that are still open nothing is found any more.
   * @returns 0; -EBADF the runtime has ended; -ENOENT removed already; -EBUSY it has children, or tasks that run
   */
  rmdir(): number {
    if (this.runtime.disposed) return -EBADF;
    return this.runtime.exports.cgroup_rmdir(this.ptr, this.serial);
  }
}

/** A pidfd of a task: the owner of TASK_STORAGE values. */
export class Task extends HostObject {
  readonly pid: number;

  /** @internal */
  constructor(runtime: BpfRuntime, fd: number) {
    super(runtime, fd);
    this.pid = runtime.exports.task_pid(this.ptr);
  }

  /**
   * dup(2): another fd of this task.
   * @throws {BpfError} EBADF closed; EMFILE no number free; ENOENT the task has been reaped
   */
  dup(): Task {
    this.runtime.mustLive("dup");
    if (this.runtime.exports.task_pid(this.ptr) !== this.pid) throw new BpfError("dup", -ENOENT);
    return new Task(this.runtime, this.dupFd());
  }

  /**
   * exit(2): the task becomes a zombie, which keeps its values. Also after close.
   * @returns 0; -ENOENT when it does not run; -EBADF the runtime has ended
   */
  exit(): number {
    if (this.runtime.disposed) return -EBADF;
    return this.runtime.exports.task_exit(this.ptr, this.serial);
  }

  /**
   * wait(2): the task is gone with its values. One that runs exits first. Also after close.
   * @returns 0; -ENOENT when it has been reaped; -EBADF the runtime has ended
   */
  reap(): number {
    if (this.runtime.disposed) return -EBADF;
    return this.runtime.exports.task_reap(this.ptr, this.serial);
  }
}

/** An open file: the owner of INODE_STORAGE values. */
export class Inode extends HostObject {
  /**
   * dup(2): another fd of this file.
   * @throws {BpfError} EBADF closed; EMFILE no number free
   */
  dup(): Inode {
    return new Inode(this.runtime, this.dupFd());
  }
}

// ---- making them --------------------------------------------------------------------------------------------------------

/** @internal */
export function createSocket(runtime: BpfRuntime, options: SocketOptions = {}): Socket {
  checkObject("socket", options);
  const { family = "inet", type = "stream", optmemMax = OPTMEM_MAX } = options;
  const familyNumber = nameOrNumber("family", family, FAMILIES);
  const typeNumber = nameOrNumber("type", type, TYPES);
  integer("optmemMax", optmemMax, 0, 0x7fffffff);
  // Getters of the options are the caller's code.
  runtime.mustLive("socket");
  const fd = runtime.exports.socket_create(familyNumber, typeNumber, optmemMax);
  return new Socket(runtime, check(fd, "socket"));
}

/** @internal */
export function createCgroup(runtime: BpfRuntime, options: CgroupOptions = {}): Cgroup {
  checkObject("cgroup", options);
  const parent = checkCgroup("parent", options.parent, runtime);
  const { version = parent?.version ?? 2 } = options;
  integer("version", version, 1, 2);
  if (parent !== undefined && parent.version !== version) {
    throw new RangeError(`version: the parent is in the hierarchy of version ${parent.version}`);
  }
  // Getters of the options are the caller's code.
  runtime.mustLive("mkdir");
  const fd = runtime.exports.cgroup_create(parent?.ptr ?? 0, parent?.serial ?? 0, version);
  return new Cgroup(runtime, check(fd, "mkdir"), version);
}

/** @internal */
export function createTask(runtime: BpfRuntime, options: TaskOptions = {}): Task {
  checkObject("task", options);
  const pid = options.pid === undefined ? 0 : integer("pid", options.pid, 1, PID_MAX);
  const cgroup = checkCgroup("cgroup", options.cgroup, runtime);
  // Getters of the options are the caller's code.
  runtime.mustLive("pidfd_open");
  const fd = runtime.exports.task_create(pid, cgroup?.ptr ?? 0, cgroup?.serial ?? 0);
  return new Task(runtime, check(fd, "pidfd_open"));
}

/** @internal */
export function createInode(runtime: BpfRuntime, options: InodeOptions = {}): Inode {
  checkObject("inode", options);
  const { anonymous = false } = options;
  if (typeof anonymous !== "boolean") {
    throw new TypeError(`anonymous: expected a boolean, got ${typeof anonymous}`);
  }
  runtime.mustLive("open");
  return new Inode(runtime, check(runtime.exports.inode_create(anonymous ? 1 : 0), "open"));
}

function checkObject(name: string, options: unknown): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${name}: expected an object of options`);
  }
}

function checkCgroup(
  name: string,
  value: Cgroup | undefined,
  runtime: BpfRuntime,
): Cgroup | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof Cgroup) || value.runtime !== runtime) {
    throw new TypeError(`${name}: expected a cgroup of this runtime`);
  }
  return value;
}

function nameOrNumber(
  name: string,
  value: unknown,
  names: Readonly<Record<string, number>>,
): number {
  if (typeof value === "number") return integer(name, value, 0, 0xffff);
  if (typeof value !== "string") {
    throw new TypeError(`${name}: expected a name or a number, got ${typeof value}`);
  }
  const number = Object.hasOwn(names, value) ? names[value] : undefined;
  if (number === undefined) {
    throw new RangeError(
      `${name}: expected ${Object.keys(names).join(", ")} or a number, got "${value}"`,
    );
  }
  return number;
}

// SK_STORAGE, CGRP_STORAGE, TASK_STORAGE and INODE_STORAGE as typed maps: keyed by the host object itself. By fd, as bpf(2)
// has it, they are reached with the raw commands.

import type { Codec } from "../codec.js";
import { FMODE_READ, FMODE_WRITE } from "../holdings.js";
import type { Cgroup, HostObject, Inode, Socket, Task } from "../host.js";
import { TypedMap } from "../map.js";
import type { MapIdentity } from "../map.js";
import { isFlags, NO_FLAGS, round8 } from "../numbers.js";
import { ValueRef } from "../ref.js";
import type { BpfRuntime } from "../runtime.js";
import { Staging } from "../staging.js";
import * as uapi from "../uapi.js";

/** Tells the kinds of owners apart when the program runs. */
type OwnerClass = abstract new (...args: never[]) => HostObject;

/**
 * Values attached to host objects. A value goes with its owner, or with the map. There is no iteration: the kernel has none
 * either.
 */
export abstract class LocalStorage<O extends HostObject, V, VI = V> extends TypedMap {
  readonly #value: Codec<V, VI>;
  readonly #staging: Staging<VI>;
  readonly #ownerClass: OwnerClass;

  /** @internal */
  constructor(
    runtime: BpfRuntime,
    identity: MapIdentity,
    value: Codec<V, VI>,
    ownerClass: OwnerClass,
  ) {
    super(runtime, identity, round8(value.size));
    this.#value = value;
    this.#staging = new Staging(value);
    this.#ownerClass = ownerClass;
  }

  /**
   * The value of an owner; undefined when it has none.
   * @throws {TypeError} not an owner of this map's kind, or of another runtime
   */
  get(owner: O): V | undefined {
    const ptr = this.#find(owner);
    return ptr === 0 ? undefined : this.#value.read(this.runtime.views, ptr);
  }

  /** Decodes the value into `out` (a struct's object, a Uint8Array) and returns it; undefined when there is none. */
  getInto(owner: O, out: V): V | undefined {
    const ptr = this.#find(owner);
    if (ptr === 0) return undefined;
    const codec = this.#value;
    const { views } = this.runtime;
    return codec.readInto === undefined ? codec.read(views, ptr) : codec.readInto(views, ptr, out);
  }

  /** Has the owner a value? */
  has(owner: O): boolean {
    return this.#find(owner) !== 0;
  }

  /**
   * Attaches a value to the owner, or replaces it: refs of an old value are stale then.
   * @throws {BpfError} ENOMEM: no room (of a socket: optmem_max is used up); ENOENT: the owner is gone; EPERM: frozen
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  set(owner: O, value: VI): this {
    this.update(owner, value, uapi.BPF_ANY);
    return this;
  }

  /**
   * As BPF_MAP_UPDATE_ELEM.
   * @param flags BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK
   * @throws {BpfError} EEXIST, ENOENT, ENOMEM, EINVAL, EPERM
   * @throws {TypeError | RangeError} the value does not fit its codec; flags that are no number
   */
  update(owner: O, value: VI, flags = 0): void {
    const ret = this.#put(owner, value, flags);
    if (ret !== 0) throw this.failed("bpf_map_update_elem", ret);
  }

  /**
   * Takes the value away; false when there was none.
   * @throws {BpfError} EPERM: frozen
   */
  delete(owner: O): boolean {
    this.#check(owner, "bpf_map_delete_elem", FMODE_WRITE);
    const { handle, runtime } = this.holdings;
    const ret = runtime.exports.storage_delete(handle, owner.ptr, owner.serial);
    if (ret === 0) return true;
    if (ret === -uapi.ENOENT) return false;
    throw this.failed("bpf_map_delete_elem", ret);
  }

  /**
   * The value of an owner, attached now when it had none: what a program does with BPF_LOCAL_STORAGE_GET_F_CREATE.
   * @param init the value when there was none; default: all bytes zero
   * @throws {BpfError} ENOMEM: no room (of a socket: optmem_max is used up); ENOENT: the owner is gone; EPERM: frozen
   * @throws {TypeError | RangeError} the value does not fit its codec
   */
  getOrCreate(owner: O, init?: VI): V {
    return this.#value.read(this.runtime.views, this.#findOrCreate(owner, init));
  }

  /**
   * A live view of the value, good until it is replaced or deleted; undefined when there is none. `into` takes a ref of this
   * map, for no allocation at all.
   */
  ref(owner: O, into?: ValueRef<V, VI>): ValueRef<V, VI> | undefined {
    const ptr = this.#find(owner);
    return ptr === 0 ? undefined : (into ?? this.#newRef()).at(ptr);
  }

  /** As `getOrCreate`, but a live view. */
  refOrCreate(owner: O, init?: VI, into?: ValueRef<V, VI>): ValueRef<V, VI> {
    return (into ?? this.#newRef()).at(this.#findOrCreate(owner, init));
  }

  #newRef(): ValueRef<V, VI> {
    return new ValueRef(this.holdings, this.runtime.views, this.#value);
  }

  #check(owner: O, syscall: string, mode: number): void {
    if (!(owner instanceof this.#ownerClass) || owner.runtime !== this.runtime) {
      throw new TypeError(`owner: expected a ${this.#ownerClass.name} of this runtime`);
    }
    this.mustAllow(syscall, mode);
  }

  /** Address of the value, 0 when there is none. */
  #find(owner: O): number {
    this.#check(owner, "bpf_map_lookup_elem", FMODE_READ);
    const { handle, runtime } = this.holdings;
    const ptr = runtime.exports.storage_find(handle, owner.ptr, owner.serial) >>> 0;
    if (ptr === 0) this.mustBeOpen("bpf_map_lookup_elem");
    else runtime.views.reach(ptr, this.#value.size);
    return ptr;
  }

  #findOrCreate(owner: O, init: VI | undefined): number {
    let found = this.#find(owner);
    // Another thread, or a getter of the value, may be first, and may take the value away.
    while (found === 0) {
      const ret = this.#put(owner, init, uapi.BPF_NOEXIST);
      if (ret !== 0 && ret !== -uapi.EEXIST) throw this.failed("bpf_map_update_elem", ret);
      found = this.#find(owner);
    }
    return found;
  }

  /**
   * @param value undefined: all bytes zero
   * @returns 0 or -errno
   */
  #put(owner: O, value: VI | undefined, flags: number): number {
    const syscall = "bpf_map_update_elem";
    this.#check(owner, syscall, FMODE_WRITE);
    const { handle, runtime } = this.holdings;
    const at = value === undefined ? 0 : this.window;
    if (value !== undefined) this.placeInWindow(this.#staging, value, syscall, FMODE_WRITE);
    const { storage_update } = runtime.exports;
    return storage_update(handle, owner.ptr, owner.serial, at, isFlags(flags) ? flags : NO_FLAGS);
  }

  /** @internal */
  protected override explain(ret: number, syscall: string): string | undefined {
    return ret === -uapi.ENOENT
      ? "no such value, or its owner is gone"
      : super.explain(ret, syscall);
  }
}

/**
 * BPF_MAP_TYPE_SK_STORAGE: values on sockets. Each is charged to its socket, whose `optmemMax` they must stay below. With
 * `mapFlags: BPF_F_CLONE` the children of a listener start with copies of its values.
 *
 * @example
 * ```ts
 * const stats = rt.createMap({ type: "sk_storage", value: struct({ packets: u64, bytes: u64 }) });
 * const socket = rt.socket();
 * stats.refOrCreate(socket).add("packets", 1);
 * stats.get(socket); // { packets: 1n, bytes: 0n }
 * ```
 */
export class SkStorage<V, VI = V> extends LocalStorage<Socket, V, VI> {
  /** @internal */
  protected override explain(ret: number, syscall: string): string | undefined {
    return ret === -uapi.ENOMEM
      ? "out of memory, or optmem_max of the socket is used up"
      : super.explain(ret, syscall);
  }
}

/**
 * BPF_MAP_TYPE_CGRP_STORAGE: values on cgroups.
 *
 * @example
 * ```ts
 * const counters = rt.createMap({ type: "cgrp_storage", value: u32 });
 * counters.set(rt.cgroup(), 1);
 * ```
 */
export class CgrpStorage<V, VI = V> extends LocalStorage<Cgroup, V, VI> {}

/**
 * BPF_MAP_TYPE_TASK_STORAGE: values on tasks.
 *
 * @example
 * ```ts
 * const started = rt.createMap({ type: "task_storage", value: u64 });
 * const task = rt.task();
 * started.set(task, 1n);
 * task.reap();
 * started.get(task); // undefined
 * ```
 */
export class TaskStorage<V, VI = V> extends LocalStorage<Task, V, VI> {}

/**
 * BPF_MAP_TYPE_INODE_STORAGE: values on inodes of files.
 *
 * @example
 * ```ts
 * const labels = rt.createMap({ type: "inode_storage", value: u32 });
 * const file = rt.inode();
 * labels.set(file, 7);
 * labels.get(file.dup()); // 7
 * ```
 */
export class InodeStorage<V, VI = V> extends LocalStorage<Inode, V, VI> {}

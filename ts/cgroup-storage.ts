// Attachments of programs to cgroups, as far as CGROUP_STORAGE maps notice them.

import { BpfError, check } from "./errors.js";
import { Cgroup } from "./host.js";
import { integer, isFd } from "./numbers.js";
import type { BpfRuntime } from "./runtime.js";
import { EBADF } from "./uapi.js";

/** Options of {@link BpfRuntime.attachCgroupStorage}. */
export interface CgroupAttachmentOptions {
  /** A CGROUP_STORAGE or PERCPU_CGROUP_STORAGE map, or its fd. */
  readonly map: { readonly fd: number } | number;
  readonly cgroup: Cgroup;
  /** The program's attach type (enum bpf_attach_type); default 0. Maps with 8-byte keys share values among types. */
  readonly attachType?: number | undefined;
}

/** The part of the runtime that knows for which attachment a program runs. */
export interface AttachmentContext {
  readonly runtime: BpfRuntime;
  /** The attachment whose program runs; undefined when none does. */
  current: CgroupAttachment | undefined;
}

/**
 * "A program that uses this map is attached to this cgroup." The first such attachment makes the value, the last detach (or
 * the cgroup's end) takes it away. The map lives on as long as it is attached.
 *
 * @example
 * ```ts no-run
 * const attached = rt.attachCgroupStorage({ map: fd, cgroup });
 * attached.run(() => rt.exports.bpf_get_local_storage(handle, 0n)); // the value of this cgroup
 * attached.detach();
 * ```
 */
export class CgroupAttachment {
  readonly cgroup: Cgroup;
  readonly attachType: number;
  readonly #context: AttachmentContext;
  readonly #handle: number;
  #attached = true;

  /** @internal */
  constructor(context: AttachmentContext, options: CgroupAttachmentOptions) {
    const { runtime } = context;
    runtime.mustLive("bpf_prog_attach");
    const { exports } = runtime;
    const { map, cgroup, attachType = 0 } = options;
    const fd = typeof map === "object" && map !== null ? map.fd : map;
    if (!Number.isInteger(fd)) throw new TypeError("map: expected a map or its fd");
    if (!isFd(fd)) throw new BpfError("bpf_prog_attach", -EBADF);
    if (!(cgroup instanceof Cgroup) || cgroup.runtime !== runtime) {
      throw new TypeError("cgroup: expected a cgroup of this runtime");
    }
    integer("attachType", attachType, 0, 0xffffffff);
    this.#context = context;
    this.cgroup = cgroup;
    this.attachType = attachType;
    const cgroupFd = cgroup.openFd("bpf_prog_attach");
    check(exports.cgroup_storage_attach(fd, cgroupFd, attachType), "bpf_prog_attach");
    this.#handle = exports.bpf_map_by_fd(fd);
  }

  /**
   * Runs `program` for this attachment: bpf_get_local_storage gives the value of its cgroup. Calls may be nested.
   * @returns what `program` returns
   * @throws {BpfError} EBADF: the runtime has ended
   */
  run<T>(program: () => T): T {
    this.#context.runtime.mustLive("bpf_prog_run");
    const before = this.#context.current;
    this.#enter();
    try {
      return program();
    } finally {
      if (before === undefined) this.#leave();
      else before.#enter();
    }
  }

  /**
   * The program is detached.
   * @returns 0; -ENOENT when it was already, or its cgroup is gone; -EBADF the runtime has ended
   */
  detach(): number {
    const { runtime } = this.#context;
    if (runtime.disposed) return -EBADF;
    const { ptr, serial } = this.cgroup;
    // Twice is -ENOENT, whoever else is attached.
    const handle = this.#attached ? this.#handle : 0;
    this.#attached = false;
    return runtime.exports.cgroup_storage_detach(handle, ptr, serial, this.attachType);
  }

  /** The same as `detach()`. */
  [Symbol.dispose](): void {
    this.detach();
  }

  #enter(): void {
    this.#context.current = this;
    const { ptr, serial } = this.cgroup;
    this.#tellCore(ptr, serial, this.attachType);
  }

  #leave(): void {
    this.#context.current = undefined;
    this.#tellCore(0, 0, 0);
  }

  /** The program may have ended the runtime. */
  #tellCore(cgroup: number, serial: number, attachType: number): void {
    const { disposed, exports } = this.#context.runtime;
    if (!disposed) exports.cgroup_storage_enter(cgroup, serial, attachType);
  }
}

// Attachments of programs to cgroups, as far as CGROUP_STORAGE maps notice them.

import type { CoreExports } from "./core.js";
import { check } from "./errors.js";
import { Cgroup } from "./host.js";

/** Options of {@link BpfRuntime.attachCgroupStorage}. */
export interface CgroupAttachmentOptions {
  /** A CGROUP_STORAGE or PERCPU_CGROUP_STORAGE map, or its fd. */
  readonly map: { readonly fd: number } | number;
  readonly cgroup: Cgroup;
  /** The program's attach type (enum bpf_attach_type); default 0. Maps with 8-byte keys share values among types. */
  readonly attachType?: number;
}

/** The part of the runtime that knows for which attachment a program runs. */
export interface AttachmentContext {
  readonly exports: CoreExports;
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
    const { exports } = context;
    const { map, cgroup, attachType = 0 } = options;
    const fd = typeof map === "object" && map !== null ? map.fd : map;
    if (!Number.isInteger(fd)) throw new TypeError("map: expected a map or its fd");
    if (!(cgroup instanceof Cgroup) || cgroup.exports !== exports) {
      throw new TypeError("cgroup: expected a cgroup of this runtime");
    }
    if (typeof attachType !== "number") {
      throw new TypeError(`attachType: expected a number, got ${typeof attachType}`);
    }
    if (!Number.isInteger(attachType) || attachType < 0 || attachType > 0xffffffff) {
      throw new RangeError(`attachType: expected an integer in 0..4294967295, got ${attachType}`);
    }
    this.#context = context;
    this.cgroup = cgroup;
    this.attachType = attachType;
    check(exports.cgroup_storage_attach(fd, cgroup.fd, attachType), "bpf_prog_attach");
    this.#handle = exports.bpf_map_by_fd(fd);
  }

  /**
   * Runs `program` for this attachment: bpf_get_local_storage gives the value of its cgroup. Calls may be nested.
   * @returns what `program` returns
   */
  run<T>(program: () => T): T {
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
   * @returns 0, or -ENOENT when it was already, or its cgroup is gone
   */
  detach(): number {
    const { exports } = this.#context;
    const { ptr, serial } = this.cgroup;
    // Twice is -ENOENT, whoever else is attached.
    const handle = this.#attached ? this.#handle : 0;
    this.#attached = false;
    return exports.cgroup_storage_detach(handle, ptr, serial, this.attachType);
  }

  [Symbol.dispose](): void {
    this.detach();
  }

  #enter(): void {
    this.#context.current = this;
    const { ptr, serial } = this.cgroup;
    this.#context.exports.cgroup_storage_enter(ptr, serial, this.attachType);
  }

  #leave(): void {
    this.#context.current = undefined;
    this.#context.exports.cgroup_storage_enter(0, 0, 0);
  }
}

// Maps by bpf(2) alone: what a loader does before it loads a program, with the byte layout of
// union bpf_attr. Errors become exceptions, so that a test sees them at once.
import type { BpfRuntime } from "../../../ts/api.js";
import * as uapi from "../../../ts/uapi.js";
import type { MapResolver } from "./relocate.js";

/** Attributes of a map; sizes in bytes. */
export interface MapAttributes {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags?: number;
}

/** A map and how to read it from the system call side. Keys are u32, values byte views. */
export class SyscallMap {
  readonly fd: number;
  readonly #rt: BpfRuntime;
  readonly #buffer: number;
  readonly #valueOffset: number;
  readonly #valueBytes: number;

  constructor(rt: BpfRuntime, attributes: MapAttributes) {
    const { type, keySize, valueSize, maxEntries, flags = 0 } = attributes;
    const attr = new Uint8Array(72);
    new Uint32Array(attr.buffer).set([type, keySize, valueSize, maxEntries, flags]);
    this.#rt = rt;
    this.fd = check("MAP_CREATE", rt.bpf(uapi.BPF_MAP_CREATE, attr));
    const isPercpu =
      type === uapi.BPF_MAP_TYPE_PERCPU_HASH ||
      type === uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH ||
      type === uapi.BPF_MAP_TYPE_PERCPU_ARRAY;
    this.#valueBytes = isPercpu ? Math.ceil(valueSize / 8) * 8 * rt.cpus : valueSize;
    this.#valueOffset = Math.ceil(keySize / 8) * 8;
    this.#buffer = rt.alloc(this.#valueOffset + this.#valueBytes);
  }

  /** A copy of the value (of all CPUs' slots), or undefined. */
  lookup(key: number): DataView | undefined {
    const ret = this.#element(uapi.BPF_MAP_LOOKUP_ELEM, key);
    if (ret === -uapi.ENOENT) return undefined;
    check("MAP_LOOKUP_ELEM", ret);
    const at = this.#buffer + this.#valueOffset;
    return new DataView(this.#rt.memory.buffer.slice(at, at + this.#valueBytes));
  }

  /** @returns 0 or -errno */
  update(key: number, value: bigint, flags = 0n): number {
    const at = this.#buffer + this.#valueOffset;
    const view = new DataView(this.#rt.memory.buffer, at, this.#valueBytes);
    new Uint8Array(this.#rt.memory.buffer, at, this.#valueBytes).fill(0);
    for (let slot = 0; slot + 8 <= this.#valueBytes; slot += 8)
      view.setBigUint64(slot, value, true);
    return this.#element(uapi.BPF_MAP_UPDATE_ELEM, key, flags);
  }

  /** @returns 0 or -errno */
  delete(key: number): number {
    return this.#element(uapi.BPF_MAP_DELETE_ELEM, key);
  }

  /** All keys, in the order of GET_NEXT_KEY. */
  keys(): number[] {
    const keys: number[] = [];
    const next = this.#buffer + this.#valueOffset;
    const attr = this.#attr(0n);
    const view = new DataView(attr.buffer);
    view.setBigUint64(8, 0n, true);
    view.setBigUint64(16, BigInt(next), true);
    for (;;) {
      const ret = this.#rt.bpf(uapi.BPF_MAP_GET_NEXT_KEY, attr);
      if (ret === -uapi.ENOENT) return keys;
      check("MAP_GET_NEXT_KEY", ret);
      const memory = new DataView(this.#rt.memory.buffer);
      const key = memory.getUint32(next, true);
      keys.push(key);
      memory.setUint32(this.#buffer, key, true);
      view.setBigUint64(8, BigInt(this.#buffer), true);
    }
  }

  #attr(flags: bigint): Uint8Array<ArrayBuffer> {
    const attr = new Uint8Array(32);
    const view = new DataView(attr.buffer);
    view.setUint32(0, this.fd, true);
    view.setBigUint64(8, BigInt(this.#buffer), true);
    view.setBigUint64(16, BigInt(this.#buffer + this.#valueOffset), true);
    view.setBigUint64(24, flags, true);
    return attr;
  }

  #element(cmd: number, key: number, flags = 0n): number {
    new DataView(this.#rt.memory.buffer).setUint32(this.#buffer, key, true);
    return this.#rt.bpf(cmd, this.#attr(flags));
  }
}

/** What relocate() asks, answered by a runtime. */
export function resolverOf(rt: BpfRuntime): MapResolver {
  return {
    mapHandle: (fd) => rt.mapHandle(fd),
    mapValueAddr: (fd, off) => rt.mapValueAddr(fd, off),
  };
}

function check(command: string, ret: number): number {
  if (ret < 0) throw new Error(`${command}: ${ret}`);
  return ret;
}

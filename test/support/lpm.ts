// LPM tries as the tests see them: a map by its fd with keys taken apart, and a model of what it should answer, which is a
// plain list of prefixes.

import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "./bpf.js";
import type { Runtime } from "./builds.js";
import { debugExports } from "./debug.js";
import { toHex } from "./trace.js";

export interface Prefix {
  readonly length: number;
  /** All bytes, those behind the prefix included. */
  readonly data: Uint8Array;
}

export interface Entry extends Prefix {
  readonly value: number;
}

export function bitOf(data: Uint8Array, index: number): number {
  return ((data[index >> 3] ?? 0) >> (7 - (index & 7))) & 1;
}

/** The number of equal leading bits, `limit` at most. */
function commonBits(a: Uint8Array, b: Uint8Array, limit: number): number {
  let i = 0;
  while (i + 8 <= limit && a[i >> 3] === b[i >> 3]) i += 8;
  while (i < limit && bitOf(a, i) === bitOf(b, i)) i++;
  return i;
}

/** Postorder: 0 before 1, and of two that cover each other the longer one first. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  const limit = Math.min(a.length, b.length);
  const common = commonBits(a.data, b.data, limit);
  return common < limit ? bitOf(a.data, common) - bitOf(b.data, common) : b.length - a.length;
}

/** "10.1.2.3/24" or "0a010203/24" (hex, any size). */
export function prefix(text: string): Prefix {
  const [address = "", length] = text.split("/");
  const data = address.includes(".")
    ? Uint8Array.from(address.split("."), Number)
    : Uint8Array.from(address.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  return { length: Number(length), data };
}

export function prefixText({ length, data }: Prefix): string {
  return `${data.length === 4 ? data.join(".") : toHex(data)}/${length}`;
}

export function keyOf({ length, data }: Prefix): Uint8Array {
  const key = new Uint8Array(4 + data.length);
  new DataView(key.buffer).setUint32(0, length, true);
  key.set(data, 4);
  return key;
}

export function prefixOf(key: Uint8Array): Prefix {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return { length: view.getUint32(0, true), data: key.slice(4) };
}

/** What an LPM trie does, without any structure. */
export class LpmModel {
  /** In the order of a walk. */
  readonly entries: Entry[] = [];
  readonly #maxEntries: number;

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  #indexOf(key: Prefix): number {
    return this.entries.findIndex((entry) => comparePrefixes(entry, key) === 0);
  }

  update(key: Prefix, value: number, flags: number): number {
    if (flags > uapi.BPF_EXIST || key.length > key.data.length * 8) return -uapi.EINVAL;
    const index = this.#indexOf(key);
    const entry = { ...key, value };
    if (index >= 0) {
      if (flags === uapi.BPF_NOEXIST) return -uapi.EEXIST;
      this.entries[index] = entry;
      return 0;
    }
    if (flags === uapi.BPF_EXIST) return -uapi.ENOENT;
    if (this.entries.length === this.#maxEntries) return -uapi.ENOSPC;
    const at = this.entries.findIndex((other) => comparePrefixes(entry, other) < 0);
    this.entries.splice(at < 0 ? this.entries.length : at, 0, entry);
    return 0;
  }

  delete(key: Prefix): number {
    if (key.length > key.data.length * 8) return -uapi.EINVAL;
    const index = this.#indexOf(key);
    if (index < 0) return -uapi.ENOENT;
    this.entries.splice(index, 1);
    return 0;
  }

  lookup(key: Prefix): Entry | undefined {
    if (key.length > key.data.length * 8) return undefined;
    return this.entries
      .filter((e) => e.length <= key.length && commonBits(e.data, key.data, e.length) === e.length)
      .toSorted((a, b) => b.length - a.length)[0];
  }

  next(key: Prefix | null): Entry | undefined {
    return this.entries[key === null ? 0 : this.#indexOf(key) + 1];
  }
}

/** An LPM_TRIE with u32 values. */
export class LpmMap {
  readonly fd: number;
  readonly handle: number;
  readonly keySize: number;
  readonly client: BpfClient;
  readonly #runtime: Runtime;

  constructor(runtime: Runtime, dataSize: number, maxEntries: number) {
    this.#runtime = runtime;
    this.client = new BpfClient(runtime);
    this.keySize = 4 + dataSize;
    this.fd = this.client.create({
      type: uapi.BPF_MAP_TYPE_LPM_TRIE,
      keySize: this.keySize,
      valueSize: 4,
      maxEntries,
      flags: uapi.BPF_F_NO_PREALLOC,
    });
    this.handle = runtime.exports.bpf_map_by_fd(this.fd);
  }

  update(key: Prefix, value: number, flags = 0): number {
    return this.client.update(
      this.fd,
      keyOf(key),
      new Uint8Array(Uint32Array.of(value).buffer),
      flags,
    );
  }

  delete(key: Prefix): number {
    return this.client.delete(this.fd, keyOf(key));
  }

  /** The value, or -errno. */
  lookup(key: Prefix): number {
    const { ret, out } = this.client.lookup(this.fd, keyOf(key), 4);
    return ret < 0 ? ret : new DataView(out.buffer, out.byteOffset).getUint32(0, true);
  }

  /** The prefix behind `key`; undefined at the end. */
  next(key: Prefix | null): Prefix | undefined {
    const { ret, out } = this.client.nextKey(this.fd, key && keyOf(key), this.keySize);
    if (ret !== 0 && ret !== -uapi.ENOENT) throw new Error(`BPF_MAP_GET_NEXT_KEY: ${ret}`);
    return ret === 0 ? prefixOf(out) : undefined;
  }

  /** All prefixes in the order of a walk. */
  keys(): Prefix[] {
    const found: Prefix[] = [];
    for (let key = this.next(null); key !== undefined; key = this.next(key)) found.push(key);
    return found;
  }

  /** 0 when the invariants hold, or nobody can look: the walkers are the debug build's. */
  check(): number {
    return debugExports(this.#runtime)?.check_map(this.handle) ?? 0;
  }

  close(): void {
    this.client.release();
    this.client.close(this.fd);
  }
}

// References to maps: how they are made, described, opened and closed.

import {
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  BPF_MAP_CREATE,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_FD_BY_ID,
  BPF_MAP_LOOKUP_ELEM,
  BPF_OBJ_GET,
  EBADF,
  EBADFD,
  EPERM,
} from "../uapi.js";
import { host } from "./backend.js";
import type { Backend, Releasable } from "./backend.js";
import { checkU32 } from "./bytes.js";
import { MapFlags, OBJ_NAME_LEN } from "./constants.js";
import type { MapType } from "./constants.js";
import { BPFError, checkStatus } from "./errors.js";
import { MapWindow } from "./window.js";

/** What may be chosen for every map. */
export interface MapDefOptional {
  /** {@link MapFlags} or'ed together; default 0. */
  flags?: number | undefined;
  /** Letters, digits, `_` and `.`; cut to 15 bytes. */
  name?: string | undefined;
  /** NUMA node of the map's memory; this library has node 0. */
  numaNode?: number | undefined;
  /** Maps of maps: what inner maps look like, as parameters or as a map (also by its fd). */
  innerMap?: MapDef | MapRef | number | undefined;
  /** Network device to offload the map to; this library has none. */
  ifindex?: number | undefined;
}

/** Parameters of {@link createMap}. */
export interface MapDef extends MapDefOptional {
  type: MapType;
  /** Bytes. */
  keySize: number;
  /** Bytes; on per-CPU types of one CPU's value. */
  valueSize: number;
  /** What it bounds depends on the type: entries, array length, bytes of a ring buffer. */
  maxEntries: number;
}

/** What is known about a map, struct bpf_map_info; the map may have rounded what it was created with. */
export interface MapInfo {
  type: MapType;
  id?: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  name?: string;
  ifindex?: number;
  netnsDev?: bigint;
  netnsIno?: bigint;
}

/** A map's fd with what is known about the map. Programs may implement it for fds that they own themselves. */
export interface MapRef extends MapInfo {
  /**
   * The fd; to be asked for each time.
   *
   * @throws {Error} the reference was closed
   */
  readonly fd: number;
  /** Closes the fd; again does nothing. A reference owns its fd, as in npm `bpf`: one that nobody has any more closes it. */
  close(): void;
  toString(): string;
}

/** An fd that is closed once. */
class OwnedFd implements Releasable {
  readonly backend: Backend;
  #fd: number;

  constructor(backend: Backend, fd: number) {
    this.backend = backend;
    this.#fd = fd;
  }

  get number(): number {
    if (this.#fd < 0) throw new Error("FD was closed");
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  release(): void {
    const { runtime } = this.backend;
    if (this.isOpen && !runtime.disposed) runtime.close(this.#fd);
    this.#fd = -1;
  }
}

/** The references of this entry. Their enumerable properties are the map's info and nothing else. */
class FDRef implements MapRef {
  readonly type: MapType;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
  readonly ifindex: number;
  readonly netnsDev: bigint;
  readonly netnsIno: bigint;
  readonly #owned: OwnedFd;
  readonly #window: MapWindow;

  /** @param info struct bpf_map_info */
  constructor(backend: Backend, fd: number, info: DataView) {
    // The core's numbers are those of the enum.
    this.type = info.getUint32(0, true);
    this.id = info.getUint32(4, true);
    this.keySize = info.getUint32(8, true);
    this.valueSize = info.getUint32(12, true);
    this.maxEntries = info.getUint32(16, true);
    this.flags = info.getUint32(20, true);
    this.name = readName(info, 24);
    this.ifindex = info.getUint32(40, true);
    this.netnsDev = info.getBigUint64(48, true);
    this.netnsIno = info.getBigUint64(56, true);
    this.#owned = new OwnedFd(backend, fd);
    this.#window = new MapWindow(backend, this);
    backend.catch(this, new Both(this.#owned, this.#window));
    Object.freeze(this);
  }

  get fd(): number {
    return this.#owned.number;
  }

  close(): void {
    if (!this.#owned.isOpen) return;
    this.#owned.backend.forget(this);
    this.#owned.release();
    this.#window.release();
  }

  toString(): string {
    return `<FDRef: ${this.#owned.isOpen ? this.#owned.number : "closed"}>`;
  }

  static windowOf(ref: FDRef): MapWindow {
    return ref.#window;
  }
}

class Both implements Releasable {
  readonly #first: Releasable;
  readonly #second: Releasable;

  constructor(first: Releasable, second: Releasable) {
    this.#first = first;
    this.#second = second;
  }

  release(): void {
    this.#first.release();
    this.#second.release();
  }
}

/** The window of a map: one a reference of this entry, one a wrapper of a reference that a program implemented. */
export function windowOf(ref: MapRef, wrapper: object): MapWindow {
  if (ref instanceof FDRef) return FDRef.windowOf(ref);
  const window = new MapWindow(host.backend, ref);
  host.backend.catch(wrapper, window);
  return window;
}

/**
 * Creates a map.
 *
 * @throws {BPFError} what BPF_MAP_CREATE answered, operation `bpf_create_map_xattr`
 * @throws {RangeError} a size that is no u32
 */
export function createMap(desc: MapDef): MapRef {
  checkU32("keySize", desc.keySize);
  checkU32("valueSize", desc.valueSize);
  checkU32("maxEntries", desc.maxEntries);
  const { backend } = host;
  const { innerMap } = desc;
  let fd: number;
  if (innerMap === undefined) {
    fd = createFd(backend, desc, 0);
  } else {
    const innerFd = typeof innerMap === "number" ? innerMap : fdOf(innerMap);
    const isNew = innerFd === undefined && typeof innerMap !== "number";
    const made = isNew ? createMap(innerMap) : undefined;
    try {
      fd = createFd(backend, desc, innerFd ?? made?.fd ?? 0);
    } finally {
      // The new map keeps the parameters, not the map.
      made?.close();
    }
  }
  return refOf(backend, fd);
}

/**
 * A reference to the map behind an fd.
 *
 * @param fd              stays the caller's, unless
 * @param options.transfer true: the reference takes the fd itself; otherwise it opens one more
 * @param options.parameters not needed: the map itself is asked. Here for the shape.
 * @throws {BPFError} EBADF: not open; EINVAL: not a map. The fd stays the caller's then.
 */
export function createMapRef(
  fd: number,
  options?: { parameters?: MapDef | undefined; transfer?: boolean | undefined },
): MapRef {
  const { backend } = host;
  const info = backend.mapInfo(fd);
  if (typeof info === "number") {
    // Information about no fd at all is EBADFD, but it was to be duplicated first.
    if (info === -EBADFD && options?.transfer !== true) throw new BPFError(EBADF, "dup");
    throw new BPFError(-info, "bpf_obj_get_info_by_fd");
  }
  if (options?.transfer === true) return new FDRef(backend, fd, info);
  return new FDRef(backend, duplicate(backend, fd, info.getUint32(4, true)), info);
}

/**
 * A reference to the map with an id.
 *
 * @throws {BPFError} ENOENT: there is none
 */
export function openMap(id: number): MapRef {
  const { backend } = host;
  const status = fdById(backend, id, 0);
  checkStatus("bpf_map_get_fd_by_id", status);
  return refOf(backend, status);
}

/**
 * Opens a pinned object.
 *
 * @returns its fd, which is the caller's: {@link createMapRef} with `transfer` takes it over
 * @throws {BPFError} what BPF_OBJ_GET answered, operation `bpf_obj_get`
 */
export function objGet(path: string): number {
  if (typeof path !== "string") throw new TypeError("path: expected a string");
  const { backend } = host;
  const bytes = new TextEncoder().encode(`${path}\0`);
  const ptr = backend.alloc(bytes.length, "bpf_obj_get");
  backend.put(ptr, bytes);
  const attr = new DataView(new ArrayBuffer(16));
  attr.setUint32(0, ptr, true);
  const status = backend.runtime.bpf(BPF_OBJ_GET, new Uint8Array(attr.buffer));
  backend.free(ptr);
  checkStatus("bpf_obj_get", status);
  return status;
}

function refOf(backend: Backend, fd: number): MapRef {
  const info = backend.mapInfo(fd);
  if (typeof info !== "number") return new FDRef(backend, fd, info);
  backend.runtime.close(fd);
  throw new BPFError(-info, "bpf_obj_get_info_by_fd");
}

/** BPF_MAP_CREATE. */
function createFd(backend: Backend, desc: MapDef, innerFd: number): number {
  const attr = new DataView(new ArrayBuffer(48));
  const numa = desc.numaNode === undefined ? 0 : MapFlags.NUMA_NODE;
  attr.setUint32(0, desc.type, true);
  attr.setUint32(4, desc.keySize, true);
  attr.setUint32(8, desc.valueSize, true);
  attr.setUint32(12, desc.maxEntries, true);
  attr.setUint32(16, (desc.flags ?? 0) | numa, true);
  attr.setUint32(20, innerFd, true);
  attr.setUint32(24, desc.numaNode ?? 0, true);
  attr.setUint32(44, desc.ifindex ?? 0, true);
  const bytes = new Uint8Array(attr.buffer);
  if (desc.name !== undefined) bytes.set(nameBytes(desc.name), 28);
  const status = backend.runtime.bpf(BPF_MAP_CREATE, bytes);
  checkStatus("bpf_create_map_xattr", status);
  return status;
}

/** Up to the first NUL, at most what leaves room for one. */
function nameBytes(name: string): Uint8Array {
  if (typeof name !== "string") throw new TypeError("name: expected a string");
  const [head = ""] = name.split("\0");
  return new TextEncoder().encode(head).subarray(0, OBJ_NAME_LEN - 1);
}

function readName(info: DataView, offset: number): string {
  const bytes = new Uint8Array(info.buffer, info.byteOffset + offset, OBJ_NAME_LEN);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}

/** The fd of a reference; undefined for parameters, and for a closed reference, which then serves as parameters. */
function fdOf(innerMap: MapDef | MapRef): number | undefined {
  if (!("fd" in innerMap)) return undefined;
  try {
    return innerMap.fd;
  } catch {
    return undefined;
  }
}

function fdById(backend: Backend, id: number, openFlags: number): number {
  const attr = new DataView(new ArrayBuffer(12));
  attr.setUint32(0, id, true);
  attr.setUint32(8, openFlags, true);
  return backend.runtime.bpf(BPF_MAP_GET_FD_BY_ID, new Uint8Array(attr.buffer));
}

/**
 * One more fd of a map, with the access that `fd` has. The core has no dup(2): the map is opened by its id. Which access
 * an fd has shows in commands with a NULL key, which get EPERM before the key is looked at and do nothing otherwise.
 */
function duplicate(backend: Backend, fd: number, id: number): number {
  const reads = backend.elem(BPF_MAP_LOOKUP_ELEM, fd, 0, 0, 0) !== -EPERM;
  const writes = backend.elem(BPF_MAP_DELETE_ELEM, fd, 0, 0, 0) !== -EPERM;
  // A frozen map lets nobody write: such an fd may be opened as one for reading without a difference.
  const openFlags = (writes ? 0 : BPF_F_RDONLY) | (reads ? 0 : BPF_F_WRONLY);
  const both = BPF_F_RDONLY | BPF_F_WRONLY;
  const status = fdById(backend, id, openFlags === both ? BPF_F_WRONLY : openFlags);
  checkStatus("dup", status);
  return status;
}

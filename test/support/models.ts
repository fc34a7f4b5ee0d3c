// Small models of the map types, one per family, written from the specification alone: what the
// property tests compare the core with. Keys and values are numbers (which bytes a key number stands
// for is the test's business: EncodeKey); results are 0 or -errno.

import * as uapi from "../../ts/uapi.js";
import { jhash } from "./jhash.js";

const { BPF_EXIST, BPF_NOEXIST, E2BIG, EEXIST, EINVAL, ENOENT } = uapi;

/** The bytes of a key. */
export type EncodeKey = (key: number) => Uint8Array;

/** A map as bpf(2) shows it; the per-CPU slots of a value are one number here. */
export interface Model {
  /** Runs on CPU `cpu`. */
  update(key: number, value: number, flags: number, cpu: number): number;
  delete(key: number): number;
  lookup(key: number): number | undefined;
  /** A program's lookup: LRU types remember it. */
  use(key: number): number | undefined;
  lookupAndDelete(key: number): number | undefined | "unsupported";
  /** All keys in iteration order. */
  keys(): number[];
}

// ---- arrays ---------------------------------------------------------------------------------------------------------

/** ARRAY and PERCPU_ARRAY. */
export class ArrayModel implements Model {
  readonly #values: number[];

  constructor(maxEntries: number) {
    this.#values = Array.from({ length: maxEntries }, () => 0);
  }

  update(key: number, value: number, flags: number): number {
    if (flags > BPF_EXIST) return -EINVAL;
    if (key >= this.#values.length) return -E2BIG;
    if (flags === BPF_NOEXIST) return -EEXIST;
    this.#values[key] = value;
    return 0;
  }

  delete(): number {
    return -EINVAL;
  }

  lookup(key: number): number | undefined {
    return this.#values[key];
  }

  use(key: number): number | undefined {
    return this.#values[key];
  }

  lookupAndDelete(): "unsupported" {
    return "unsupported";
  }

  keys(): number[] {
    return this.#values.map((_, i) => i);
  }
}

// ---- hashes ---------------------------------------------------------------------------------------------------------

/** Buckets under BPF_F_ZERO_SEED: newest first, walked in the order of their index. */
class Buckets {
  readonly #buckets: number[][];
  readonly #encode: EncodeKey;

  constructor(maxEntries: number, encode: EncodeKey) {
    this.#encode = encode;
    const count = 2 ** Math.ceil(Math.log2(maxEntries));
    this.#buckets = Array.from({ length: count }, () => []);
  }

  #of(key: number): number[] {
    const bucket = this.#buckets[jhash(this.#encode(key), 0) % this.#buckets.length];
    if (bucket === undefined) throw new Error("no such bucket");
    return bucket;
  }

  insert(key: number): void {
    this.#of(key).unshift(key);
  }

  remove(key: number): void {
    const bucket = this.#of(key);
    bucket.splice(bucket.indexOf(key), 1);
  }

  keys(): number[] {
    return this.#buckets.flat();
  }
}

/** HASH and PERCPU_HASH. */
export class HashModel implements Model {
  readonly #values = new Map<number, number>();
  readonly #buckets: Buckets;
  readonly #maxEntries: number;
  /** A replaced element is its bucket's newest; per-CPU values are written in place. */
  readonly #movesOnReplace: boolean;

  constructor(maxEntries: number, encode: EncodeKey, isPercpu: boolean) {
    this.#maxEntries = maxEntries;
    this.#buckets = new Buckets(maxEntries, encode);
    this.#movesOnReplace = !isPercpu;
  }

  update(key: number, value: number, flags: number): number {
    if (flags > BPF_EXIST) return -EINVAL;
    const isPresent = this.#values.has(key);
    if (isPresent && flags === BPF_NOEXIST) return -EEXIST;
    if (!isPresent && flags === BPF_EXIST) return -ENOENT;
    if (!isPresent && this.#values.size >= this.#maxEntries) return -E2BIG;
    if (isPresent && this.#movesOnReplace) this.#buckets.remove(key);
    if (!isPresent || this.#movesOnReplace) this.#buckets.insert(key);
    this.#values.set(key, value);
    return 0;
  }

  delete(key: number): number {
    if (!this.#values.delete(key)) return -ENOENT;
    this.#buckets.remove(key);
    return 0;
  }

  lookup(key: number): number | undefined {
    return this.#values.get(key);
  }

  use(key: number): number | undefined {
    return this.#values.get(key);
  }

  lookupAndDelete(key: number): number | undefined {
    const value = this.#values.get(key);
    this.delete(key);
    return value;
  }

  keys(): number[] {
    return this.#buckets.keys();
  }
}

// ---- LRU ------------------------------------------------------------------------------------------------------------

interface Node {
  key: number | undefined;
  value: number;
  ref: boolean;
  cpu: number;
  /** The list it is on. */
  list: Node[];
}

/** ACTIVE, INACTIVE and FREE; index 0 is the head, the newest end. */
class ListSet {
  readonly active: Node[] = [];
  readonly inactive: Node[] = [];
  readonly free: Node[] = [];
  /** The roving cursor: a node of INACTIVE, or undefined for the list's sentinel. */
  rot: Node | undefined;

  owns(list: Node[]): boolean {
    return list === this.active || list === this.inactive || list === this.free;
  }
}

interface Local {
  readonly free: Node[];
  readonly pending: Node[];
  nextSteal: number;
}

function unlink(node: Node): void {
  node.list.splice(node.list.indexOf(node), 1);
}

function addHead(node: Node, list: Node[]): void {
  node.list = list;
  node.ref = false;
  list.unshift(node);
}

/** LRU_HASH and LRU_PERCPU_HASH, as section 6 of the specification has them. */
export class LruModel implements Model {
  readonly #nodes = new Map<number, Node>();
  readonly #buckets: Buckets;
  readonly #sets: ListSet[];
  readonly #locals: Local[];
  readonly #isCommon: boolean;
  readonly #isPercpu: boolean;
  readonly #scans: number;
  readonly #target: number;

  constructor(
    maxEntries: number,
    encode: EncodeKey,
    isPercpu: boolean,
    isCommon: boolean,
    cpus: number,
  ) {
    const entries = isCommon ? maxEntries : Math.ceil(maxEntries / cpus) * cpus;
    this.#buckets = new Buckets(entries, encode);
    this.#isCommon = isCommon;
    this.#isPercpu = isPercpu;
    this.#isCommon = isCommon;
    this.#isPercpu = isPercpu;
    this.#scans = isCommon ? 128 : 4;
    this.#target = isCommon
      ? Math.min(128, Math.max(1, Math.floor(Math.floor(maxEntries / cpus) / 2)))
      : 4;
    this.#sets = Array.from({ length: isCommon ? 1 : cpus }, () => new ListSet());
    this.#locals = Array.from({ length: cpus }, (_, i) => ({
      free: [],
      pending: [],
      nextSteal: i,
    }));
    this.#sets.forEach((set, i) => {
      for (let n = 0; n < entries / this.#sets.length; n++) {
        set.free.push({ key: undefined, value: 0, ref: false, cpu: i, list: set.free });
      }
    });
  }

  #set(cpu: number): ListSet {
    return this.#sets[this.#isCommon ? 0 : cpu] as ListSet;
  }

  #local(cpu: number): Local {
    return this.#locals[cpu] as Local;
  }

  /** Moves a node of the set to the head of one of its lists, or out of it. */
  #move(set: ListSet, node: Node, to: Node[]): void {
    if (set.rot === node) set.rot = set.inactive[set.inactive.indexOf(node) - 1];
    unlink(node);
    addHead(node, to);
  }

  #evict(node: Node): boolean {
    if (node.key === undefined) return false;
    this.#nodes.delete(node.key);
    this.#buckets.remove(node.key);
    node.key = undefined;
    return true;
  }

  #rotate(set: ListSet): void {
    if (set.inactive.length < set.active.length) {
      const first = set.active[0];
      for (const node of [...set.active].toReversed().slice(0, this.#scans)) {
        this.#move(set, node, node.ref ? set.active : set.inactive);
        if (node === first) break;
      }
    }
    this.#rotateInactive(set);
  }

  #rotateInactive(set: ListSet): void {
    const list = set.inactive;
    if (list.length === 0) return;
    // Places in the ring of nodes and the sentinel, which is place -1.
    const start = set.rot === undefined ? -1 : list.indexOf(set.rot);
    const last = start + 1 < list.length && start >= 0 ? list[start + 1] : list[0];
    const ring: (Node | undefined)[] = [...list.slice(0, start + 1).toReversed(), undefined];
    ring.push(...list.slice(start + 1).toReversed());
    let scans = this.#scans;
    for (let i = 0; scans > 0; i = (i + 1) % ring.length) {
      const node = ring[i];
      if (node === undefined) continue;
      const headward = list[list.indexOf(node) - 1];
      if (node.ref) this.#move(set, node, set.active);
      set.rot = headward;
      if (node === last) return;
      scans--;
    }
  }

  #shrink(set: ListSet, want: number, to: Node[]): void {
    let freed = 0;
    for (const node of set.inactive.toReversed().slice(0, this.#scans)) {
      if (node.ref) {
        this.#move(set, node, set.active);
      } else if (this.#evict(node)) {
        this.#move(set, node, to);
        if (++freed === want) return;
      }
    }
    if (freed > 0) return;
    const list = set.inactive.length > 0 ? set.inactive : set.active;
    const oldest = list.toReversed().find((node) => this.#evict(node));
    if (oldest !== undefined) this.#move(set, oldest, to);
  }

  #refill(set: ListSet, local: Local): void {
    for (const node of [...local.pending].toReversed()) {
      const to = node.ref ? set.active : set.inactive;
      unlink(node);
      addHead(node, to);
    }
    this.#rotate(set);
    const taken = set.free.slice(0, this.#target);
    for (const node of taken) this.#move(set, node, local.free);
    if (taken.length < this.#target) this.#shrink(set, this.#target - taken.length, local.free);
  }

  #steal(local: Local): Node | undefined {
    for (let i = 0; i < this.#locals.length; i++) {
      const victim = this.#local(local.nextSteal);
      local.nextSteal = (local.nextSteal + 1) % this.#locals.length;
      const oldestFirst = victim.pending.toReversed();
      const node =
        victim.free[0] ??
        oldestFirst.find((one) => !one.ref && this.#evict(one)) ??
        oldestFirst.find((one) => this.#evict(one));
      if (node !== undefined) return node;
    }
    return undefined;
  }

  #take(cpu: number): Node {
    const set = this.#set(cpu);
    if (!this.#isCommon) {
      this.#rotate(set);
      if (set.free.length === 0) this.#shrink(set, this.#target, set.free);
      const node = set.free[0];
      if (node === undefined) throw new Error("no node");
      this.#move(set, node, set.inactive);
      return node;
    }
    const local = this.#local(cpu);
    if (local.free.length === 0) this.#refill(set, local);
    const node = local.free[0] ?? this.#steal(local);
    if (node === undefined) throw new Error("no node");
    unlink(node);
    addHead(node, local.pending);
    node.cpu = cpu;
    return node;
  }

  #giveBack(node: Node): void {
    const local = this.#local(node.cpu);
    if (node.list === local.pending) {
      unlink(node);
      addHead(node, local.free);
    } else {
      this.#move(this.#set(node.cpu), node, this.#set(node.cpu).free);
    }
  }

  #insert(node: Node, key: number, value: number): void {
    node.key = key;
    node.value = value;
    this.#nodes.set(key, node);
    this.#buckets.insert(key);
  }

  update(key: number, value: number, flags: number, cpu: number): number {
    if (flags > BPF_EXIST) return -EINVAL;
    const node = this.#isPercpu && flags === BPF_EXIST ? undefined : this.#take(cpu);
    const old = this.#nodes.get(key);
    if (old === undefined && flags !== BPF_EXIST && node !== undefined) {
      this.#insert(node, key, value);
      return 0;
    }
    if (old !== undefined && flags !== BPF_NOEXIST) {
      this.#replace(old, node, key, value);
      return 0;
    }
    if (node !== undefined) this.#giveBack(node);
    return old === undefined ? -ENOENT : -EEXIST;
  }

  #replace(old: Node, node: Node | undefined, key: number, value: number): void {
    if (this.#isPercpu) {
      old.value = value;
      old.ref = true;
      if (node !== undefined) this.#giveBack(node);
    } else if (node !== undefined) {
      this.#evict(old);
      this.#insert(node, key, value);
      node.ref = true;
      this.#giveBack(old);
    }
  }

  delete(key: number): number {
    const node = this.#nodes.get(key);
    if (node === undefined) return -ENOENT;
    this.#evict(node);
    this.#giveBack(node);
    return 0;
  }

  lookup(key: number): number | undefined {
    return this.#nodes.get(key)?.value;
  }

  use(key: number): number | undefined {
    const node = this.#nodes.get(key);
    if (node !== undefined) node.ref = true;
    return node?.value;
  }

  lookupAndDelete(key: number): number | undefined {
    const value = this.lookup(key);
    this.delete(key);
    return value;
  }

  keys(): number[] {
    return this.#buckets.keys();
  }
}

/** What a model needs to know of a map; the hash types have BPF_F_ZERO_SEED. */
export interface ModelSpec {
  readonly type: number;
  readonly flags: number;
  readonly maxEntries: number;
  readonly cpus: number;
  readonly encode: EncodeKey;
}

export function modelOf({ type, flags, maxEntries, cpus, encode }: ModelSpec): Model {
  const isCommon = (flags & uapi.BPF_F_NO_COMMON_LRU) === 0;
  switch (type) {
    case uapi.BPF_MAP_TYPE_ARRAY:
    case uapi.BPF_MAP_TYPE_PERCPU_ARRAY:
      return new ArrayModel(maxEntries);
    case uapi.BPF_MAP_TYPE_HASH:
      return new HashModel(maxEntries, encode, false);
    case uapi.BPF_MAP_TYPE_PERCPU_HASH:
      return new HashModel(maxEntries, encode, true);
    case uapi.BPF_MAP_TYPE_LRU_HASH:
      return new LruModel(maxEntries, encode, false, isCommon, cpus);
    case uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return new LruModel(maxEntries, encode, true, isCommon, cpus);
    default:
      throw new Error(`no model of type ${type}`);
  }
}

// A typed map and its twin: the same map in another runtime with the same seed, on which the same is done by bpf(2), or with
// a program's lookup where that is what the typed verb does. Both must give the same answers and stay the same, order
// included: so the typed verbs have exactly the side effects they should.

import { expect } from "vitest";
import { BpfError, decode, encode, perCpu } from "../../ts/index.js";
import type { BatchCursor, Codec, MapBatch, NumericArray } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";
import { tokenSize, userValueSize } from "./attr.js";
import { BpfClient, type BatchLookup, type BatchResult } from "./bpf.js";
import type { Runtime } from "./builds.js";
import type { Random } from "./random.js";

/** A codec and how to choose a value for it. */
export interface Dress {
  readonly codec: Codec<unknown>;
  readonly of: (random: Random) => unknown;
}

/** The verbs of all typed classes with keys, for keys and values of any kind. */
interface AnyMap {
  readonly fd: number;
  readonly size: number;
  readonly maxEntries: number;
  get(key: unknown): unknown;
  getInto(key: unknown, out: unknown): unknown;
  peek(key: unknown): unknown;
  has(key: unknown): boolean;
  lookup(key: unknown, flags?: number): unknown;
  lookupInto(key: unknown, out: unknown, flags?: number): unknown;
  lookupAndDelete(key: unknown): unknown;
  nextKey(key?: unknown): unknown;
  set(key: unknown, value: unknown): unknown;
  update(key: unknown, value: unknown, flags: number): void;
  delete(key: unknown): boolean;
  clear(): void;
  freeze(): void;
  close(): void;
  ref(key: unknown): { value: unknown } | undefined;
  refOn(key: unknown, cpu: number): { value: unknown } | undefined;
  getOn(key: unknown, cpu: number): unknown;
  keys(): Iterator<unknown>;
  entries(): Iterator<[unknown, unknown]>;
  forEach(callback: (value: unknown, key: unknown) => void): void;
  getMany(keys: NumericArray, out: NumericArray, found?: Uint8Array): number;
  setMany(keys: NumericArray, values: NumericArray): void;
  deleteMany(keys: NumericArray): number;
  batchCursor(): BatchCursor;
  lookupBatch(cursor: BatchCursor, count: number): unknown;
  lookupAndDeleteBatch(cursor: BatchCursor, count: number): unknown;
  batches(count: number): Iterable<MapBatch<unknown, unknown>>;
  updateBatch(entries: readonly unknown[]): void;
  deleteBatch(keys: readonly unknown[]): void;
}

export interface TwinSpec {
  readonly type: string;
  readonly mapFlags: number;
  readonly maxEntries: number;
  readonly key: Dress;
  readonly value: Dress;
}

/** What fds may be opened for. */
const MODES = [0, uapi.BPF_F_RDONLY, uapi.BPF_F_WRONLY] as const;
const FLAGS = [0, 1, 2, 3, 4, 8, 2 ** 31, 2 ** 32 + 1] as const;
const NOTHING = undefined;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const codeOfRet = (ret: number): string => new BpfError("", ret).code;

/** What `run` gives, or the code of its BpfError. */
function outcome(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    if (error instanceof BpfError) return error.code;
    throw error;
  }
}

function join(parts: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(parts.length * size);
  for (const [i, part] of parts.entries()) all.set(part, i * size);
  return all;
}

/** An fd of each twin, opened for the same. */
interface Pair {
  readonly map: AnyMap;
  readonly fd: number;
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
}

/** An iteration under way. */
interface Walk {
  readonly of: Iterator<unknown>;
  /** Keys that must still be shown, and those that must not be shown again; undefined before the first step. */
  due: Set<string> | undefined;
  readonly shown: Set<string>;
}

export class Twins {
  readonly #rt: Runtime;
  readonly #other: Runtime;
  readonly #spec: TwinSpec;
  readonly #random: Random;
  readonly #grow: () => void;
  readonly #own: BpfClient;
  readonly #client: BpfClient;
  readonly #all: Codec<unknown>;
  readonly #type: number;
  readonly #isLru: boolean;
  readonly #isArray: boolean;
  readonly #isPerCpu: boolean;
  readonly #isHash: boolean;
  readonly #keySize: number;
  /** Bytes of a value as bpf(2) has it. */
  readonly #valueSize: number;
  readonly #keys: readonly unknown[];
  readonly #pairs: Pair[] = [];
  readonly #walks: Walk[] = [];
  readonly #main: Pair;
  #isFrozen = false;
  #cursor: { of: BatchCursor; token: Uint8Array | null; done: boolean } | undefined;

  /** @param grow what makes the memory of `rt` grow */
  constructor(rt: Runtime, other: Runtime, spec: TwinSpec, random: Random, grow: () => void) {
    const { type, key, value, mapFlags, maxEntries } = spec;
    this.#rt = rt;
    this.#other = other;
    this.#spec = spec;
    this.#random = random;
    this.#grow = grow;
    this.#own = new BpfClient(rt);
    this.#client = new BpfClient(other);
    this.#isLru = type.startsWith("lru");
    this.#isArray = type.endsWith("array");
    this.#isPerCpu = type.includes("percpu");
    this.#isHash = type.endsWith("hash");
    this.#all = this.#isPerCpu ? (perCpu(value.codec, rt.cpus) as Codec<unknown>) : value.codec;
    const typed = rt.createMap({
      type,
      key: key.codec,
      value: value.codec,
      maxEntries,
      mapFlags,
    } as never);
    const { info } = this.#own.info((typed as unknown as AnyMap).fd);
    if (info === undefined) throw new Error("no info");
    this.#type = info.type;
    this.#keySize = info.keySize;
    this.#valueSize = userValueSize(info.type, info.valueSize, rt.cpus);
    const fd = this.#client.create({ ...info, flags: info.mapFlags });
    expect(fd).toBeGreaterThan(0);
    this.#keys = Array.from({ length: maxEntries + 4 }, (_, i) =>
      this.#isArray ? i : key.of(random),
    );
    this.#main = { map: typed as unknown as AnyMap, fd, mayRead: true, mayWrite: true };
    this.#pairs.push(this.#main);
  }

  [Symbol.dispose](): void {
    for (const { map, fd } of this.#pairs) {
      map.close();
      this.#other.close(fd);
    }
    this.#own.release();
    this.#client.release();
  }

  /** Does something random with both, and compares them. */
  step(): void {
    const random = this.#random;
    const pair = random.pick(this.#pairs);
    const verb = random.pick(VERBS);
    this[verb](pair);
    const elements = this.#elements(this.#client, this.#main.fd);
    expect(this.#elements(this.#own, this.#main.map.fd), `after ${verb}`).toEqual(elements);
    const present = new Set(elements.map(([key]) => key));
    // LRU: an update may evict the very element, or one that a later update puts back. In the kernel's order a new value
    // makes an element the newest of its bucket.
    const isOrdered = (this.#spec.mapFlags & uapi.BPF_F_ZERO_SEED) !== 0;
    const mayReturn = (this.#isLru || isOrdered) && UPDATES.has(verb);
    for (const { due, shown } of this.#walks) {
      if (mayReturn) {
        due?.clear();
        shown.clear();
      }
      for (const key of due ?? []) if (!present.has(key)) due?.delete(key);
      for (const key of shown) if (!present.has(key)) shown.delete(key);
    }
  }

  // ---- the twin ----

  /** All elements in the order of the map. */
  #elements(client: BpfClient, fd: number): [string, string][] {
    const elements: [string, string][] = [];
    let { ret, out } = client.nextKey(fd, null, this.#keySize);
    while (ret === 0) {
      elements.push([hex(out), hex(client.lookup(fd, out, this.#valueSize).out)]);
      ({ ret, out } = client.nextKey(fd, out, this.#keySize));
    }
    return elements;
  }

  #decodedElements(): unknown[] {
    return this.#elements(this.#client, this.#main.fd).map(([key, value]) => [
      decode(this.#spec.key.codec, Buffer.from(key, "hex")),
      decode(this.#all, Buffer.from(value, "hex")),
    ]);
  }

  #decoded(ret: number, out: Uint8Array): unknown {
    if (ret === 0) return decode(this.#all, out);
    return ret === -uapi.ENOENT ? NOTHING : codeOfRet(ret);
  }

  #lookup({ fd }: Pair, key: Uint8Array, flags = 0): unknown {
    const { ret, out } = this.#client.lookup(fd, key, this.#valueSize, flags);
    return this.#decoded(ret, out);
  }

  /** A program's lookup. @returns an address */
  #use(key: Uint8Array, cpu?: number): number {
    const { exports, views } = this.#other;
    const ptr = this.#other.alloc(key.length);
    views.reach(ptr, key.length);
    views.u8.set(key, ptr);
    const map = this.#other.mapHandle(this.#main.fd);
    const address =
      cpu === undefined
        ? exports.bpf_map_lookup_elem(map, ptr)
        : exports.bpf_map_lookup_percpu_elem(map, ptr, cpu);
    this.#other.free(ptr);
    return address >>> 0;
  }

  // ---- what is chosen ----

  #key(): [key: unknown, bytes: Uint8Array] {
    const key = this.#random.pick(this.#keys);
    return [key, encode(this.#spec.key.codec, key)];
  }

  #value(): [value: unknown, bytes: Uint8Array] {
    const { value: one } = this.#spec;
    const random = this.#random;
    const value = this.#isPerCpu
      ? Array.from({ length: this.#rt.cpus }, () => one.of(random))
      : one.of(random);
    return [value, encode(this.#all, value)];
  }

  #some<T>(choose: () => T): T[] {
    return Array.from({ length: this.#random.below(6) }, choose);
  }

  /** Bytes as an array of the caller's, or in the runtime's memory. */
  #lend(bytes: Uint8Array): { array: Uint8Array; now: () => Uint8Array; end: () => void } {
    if (!this.#random.oneIn(3)) return { array: bytes, now: () => bytes, end: () => {} };
    const ptr = this.#rt.alloc(Math.max(8, bytes.length));
    const now = (): Uint8Array => new Uint8Array(this.#rt.memory.buffer, ptr, bytes.length);
    now().set(bytes);
    return { array: now(), now, end: () => this.#rt.free(ptr) };
  }

  // ---- the verbs ----

  get(pair: Pair): void {
    const [key, bytes] = this.#key();
    const [out] = this.#value();
    const isInto = this.#random.oneIn(2);
    const got = outcome(() => (isInto ? pair.map.getInto(key, out) : pair.map.get(key)));
    if (this.#isLru && pair.mayRead) this.#use(bytes);
    expect(got).toEqual(this.#lookup(pair, bytes));
    if (isInto && typeof got === "object" && this.#all.readInto !== undefined)
      expect(got).toBe(out);
  }

  peek(pair: Pair): void {
    const [key, bytes] = this.#key();
    const expected = this.#lookup(pair, bytes);
    expect(outcome(() => pair.map.peek(key))).toEqual(expected);
    expect(outcome(() => pair.map.has(key))).toBe(pair.mayRead ? expected !== NOTHING : "EPERM");
  }

  lookup(pair: Pair): void {
    const [key, bytes] = this.#key();
    const [out] = this.#value();
    const flags = this.#random.oneIn(4) ? this.#random.pick(FLAGS) : 0;
    const expected = this.#lookup(pair, bytes, flags);
    expect(outcome(() => pair.map.lookup(key, flags))).toEqual(expected);
    expect(outcome(() => pair.map.lookupInto(key, out, flags))).toEqual(expected);
  }

  update({ map, fd }: Pair): void {
    const [key, keyBytes] = this.#key();
    const [value, bytes] = this.#value();
    const flags = this.#random.oneIn(2) ? this.#random.pick(FLAGS) : 0;
    const ret = this.#client.update(fd, keyBytes, bytes, flags);
    const run = (): unknown => (flags === 0 ? map.set(key, value) : map.update(key, value, flags));
    expect(outcome(() => void run())).toBe(ret === 0 ? NOTHING : codeOfRet(ret));
  }

  delete({ map, fd }: Pair): void {
    const [key, bytes] = this.#key();
    const ret = this.#client.delete(fd, bytes);
    const expected = ret === 0 || ret === -uapi.ENOENT ? ret === 0 : codeOfRet(ret);
    expect(outcome(() => map.delete(key))).toBe(this.#isArray ? "EINVAL" : expected);
  }

  lookupAndDelete({ map, fd }: Pair): void {
    if (!this.#isHash) return;
    const [key, bytes] = this.#key();
    const { ret, out } = this.#client.lookupAndDelete(fd, bytes, this.#valueSize);
    expect(outcome(() => map.lookupAndDelete(key))).toEqual(this.#decoded(ret, out));
  }

  nextKey({ map, fd }: Pair): void {
    const [key, bytes] = this.#random.oneIn(4) ? [NOTHING, null] : this.#key();
    const { ret, out } = this.#client.nextKey(fd, bytes, this.#keySize);
    const expected = ret === 0 ? decode(this.#spec.key.codec, out) : NOTHING;
    const isKey = ret === 0 || ret === -uapi.ENOENT;
    expect(outcome(() => map.nextKey(key))).toEqual(isKey ? expected : codeOfRet(ret));
  }

  clear(pair: Pair): void {
    const elements = this.#elements(this.#client, this.#main.fd);
    expect(pair.map.size).toBe(elements.length);
    if (this.#isArray || !this.#random.oneIn(4)) return;
    const mayClear = pair.mayRead && pair.mayWrite && (!this.#isFrozen || elements.length === 0);
    expect(outcome(() => pair.map.clear())).toBe(mayClear ? NOTHING : "EPERM");
    if (!mayClear) return;
    for (const [key] of elements) this.#client.delete(pair.fd, Buffer.from(key, "hex"));
  }

  ref({ map, mayRead, mayWrite }: Pair): void {
    const [key, bytes] = this.#key();
    const { codec, of } = this.#spec.value;
    const cpu = this.#isPerCpu ? this.#random.below(this.#rt.cpus) : undefined;
    const run = (): unknown => (cpu === undefined ? map.ref(key) : map.refOn(key, cpu));
    const ref = outcome(run) as ReturnType<AnyMap["ref"]>;
    if (!mayRead) return expect(ref).toBe("EPERM");
    const address = this.#use(bytes, cpu);
    expect(ref !== undefined).toBe(address !== 0);
    if (ref === undefined) return;
    const { buffer } = this.#other.memory;
    const there = new Uint8Array(buffer, address, codec.size);
    if (this.#random.oneIn(3)) this.#grow();
    expect(ref.value).toEqual(decode(codec, there.slice()));
    const value = of(this.#random);
    const written = outcome(() => void (ref.value = value));
    expect(written).toBe(mayWrite ? NOTHING : "EPERM");
    if (mayWrite) there.set(encode(codec, value));
  }

  getMany({ map, fd, mayRead }: Pair): void {
    const keys = this.#some(() => this.#key()[1]);
    const lent = this.#lend(join(keys, this.#keySize));
    const out = this.#lend(new Uint8Array(keys.length * this.#valueSize).fill(9));
    const found = new Uint8Array(keys.length).fill(9);
    const got = outcome(() => map.getMany(lent.now(), out.now(), found));
    if (!mayRead) expect(got).toBe("EPERM");
    else {
      const results = keys.map((key) => {
        if (this.#isLru) this.#use(key);
        return this.#client.lookup(fd, key, this.#valueSize);
      });
      const values = results.map(({ ret, out: value }) =>
        ret === 0 ? value : new Uint8Array(this.#valueSize),
      );
      expect(hex(out.now())).toBe(hex(join(values, this.#valueSize)));
      expect([...found]).toEqual(results.map(({ ret }) => (ret === 0 ? 1 : 0)));
      expect(got).toBe(results.filter(({ ret }) => ret === 0).length);
    }
    lent.end();
    out.end();
  }

  setMany({ map, fd, mayWrite }: Pair): void {
    const keys = this.#some(() => this.#key()[1]);
    const values = keys.map(() => this.#value()[1]);
    const lentKeys = this.#lend(join(keys, this.#keySize));
    const lentValues = this.#lend(join(values, this.#valueSize));
    const got = outcome(() => map.setMany(lentKeys.now(), lentValues.now()));
    const rets = mayWrite ? [] : [-uapi.EPERM];
    for (let i = 0; i < keys.length && (rets.at(-1) ?? 0) === 0; i++) {
      rets.push(this.#client.update(fd, keys[i] as Uint8Array, values[i] as Uint8Array));
    }
    const ret = rets.at(-1) ?? 0;
    expect(got).toBe(ret === 0 ? NOTHING : codeOfRet(ret));
    lentKeys.end();
    lentValues.end();
  }

  deleteMany({ map, fd, mayWrite }: Pair): void {
    if (this.#isArray) return;
    const keys = this.#some(() => this.#key()[1]);
    const got = outcome(() => map.deleteMany(join(keys, this.#keySize)));
    const mayDelete = mayWrite && (!this.#isFrozen || keys.length === 0);
    const deleted = keys.filter((key) => mayDelete && this.#client.delete(fd, key) === 0);
    expect(got).toBe(mayDelete ? deleted.length : "EPERM");
  }

  updateBatch({ map, fd }: Pair): void {
    const entries = this.#some(() => [this.#key(), this.#value()] as const);
    const keys = join(
      entries.map(([[, key]]) => key),
      this.#keySize,
    );
    const values = join(
      entries.map(([, [, value]]) => value),
      this.#valueSize,
    );
    const { ret } = this.#client.updateBatch({ fd, keys, values, count: entries.length });
    const got = outcome(() => map.updateBatch(entries.map(([[key], [value]]) => [key, value])));
    expect(got).toBe(ret === 0 ? NOTHING : codeOfRet(ret));
  }

  deleteBatch({ map, fd }: Pair): void {
    if (this.#isArray) return;
    const keys = this.#some(() => this.#key());
    const bytes = join(
      keys.map(([, key]) => key),
      this.#keySize,
    );
    const { ret } = this.#client.deleteBatch({ fd, keys: bytes, values: null, count: keys.length });
    const got = outcome(() => map.deleteBatch(keys.map(([key]) => key)));
    expect(got).toBe(ret === 0 ? NOTHING : codeOfRet(ret));
  }

  /** Goes on with a walk in batches, whatever happened to the map meanwhile. */
  lookupBatch({ map, fd, mayRead, mayWrite }: Pair): void {
    if (!mayRead || !mayWrite || map !== this.#main.map) return;
    const cursor = (this.#cursor ??= { of: map.batchCursor(), token: null, done: false });
    const isTaking = this.#isHash && this.#random.oneIn(3);
    const count = 1 + this.#random.below(5);
    const { ret, ...result } = this.#batch(
      fd,
      cursor.token,
      Math.min(count, map.maxEntries),
      isTaking,
    );
    const got = outcome(() =>
      isTaking ? map.lookupAndDeleteBatch(cursor.of, count) : map.lookupBatch(cursor.of, count),
    );
    if (ret === 0 || ret === -uapi.ENOENT) expect(got).toEqual(this.#entries(result));
    else expect(got).toBe(codeOfRet(ret));
    cursor.token = result.token ?? cursor.token;
    if (ret !== 0) this.#cursor = undefined;
  }

  /** With more room where a bucket needs it, as the typed verbs do. */
  #batch(fd: number, token: Uint8Array | null, room: number, isTaking: boolean): BatchResult {
    const batch: BatchLookup = {
      fd,
      keySize: this.#keySize,
      valueSize: this.#valueSize,
      tokenSize: tokenSize(this.#type, this.#keySize),
      token,
      count: room,
    };
    const client = this.#client;
    const result = isTaking ? client.lookupAndDeleteBatch(batch) : client.lookupBatch(batch);
    return result.ret === -uapi.ENOSPC ? this.#batch(fd, token, room * 2, isTaking) : result;
  }

  #entries({ count, keys, values }: Omit<BatchResult, "ret">): unknown[] {
    return Array.from({ length: count }, (_, i) => [
      decode(this.#spec.key.codec, keys.slice(i * this.#keySize)),
      decode(this.#all, values.slice(i * this.#valueSize)),
    ]);
  }

  forEach({ map, mayRead }: Pair): void {
    const got: unknown[] = [];
    const growAt = this.#random.below(10);
    const run = (): void =>
      map.forEach((value, key) => {
        got.push([key, value]);
        if (got.length === growAt) this.#grow();
      });
    expect(outcome(run)).toBe(mayRead ? NOTHING : "EPERM");
    if (!mayRead) return;
    expect(got).toEqual(this.#decodedElements());
  }

  batches({ map, mayRead }: Pair): void {
    const got: unknown[] = [];
    const run = (): void => {
      for (const { keys, values } of map.batches(1 + this.#random.below(5))) {
        got.push(...keys.map((key, i) => [key, values[i]]));
      }
    };
    expect(outcome(run)).toBe(mayRead ? NOTHING : "EPERM");
    if (!mayRead) return;
    // Batches go by buckets, and walks by slots.
    const expected = this.#decodedElements();
    expect(got).toHaveLength(expected.length);
    expect(got).toEqual(expect.arrayContaining(expected));
  }

  /** Begins an iteration, or goes on with one. */
  walk({ map, mayRead }: Pair): void {
    if (!mayRead) return;
    if (this.#walks.length < 3) {
      const of = this.#random.oneIn(2) ? map.keys() : map.entries();
      this.#walks.push({ of, due: undefined, shown: new Set() });
    }
    const walk = this.#random.pick(this.#walks);
    const elements = new Map(this.#elements(this.#client, this.#main.fd));
    walk.due ??= new Set(elements.keys());
    for (let steps = this.#random.pick([1, 2, 100]); steps > 0; steps--) {
      const { done, value } = walk.of.next();
      if (done) {
        expect([...walk.due], `${this.#spec.type}: not shown`).toEqual([]);
        this.#walks.splice(this.#walks.indexOf(walk), 1);
        return;
      }
      this.#shown(walk, elements, value);
    }
  }

  #shown({ due, shown }: Walk, elements: ReadonlyMap<string, string>, shownNow: unknown): void {
    const isEntry = Array.isArray(shownNow);
    const key = hex(encode(this.#spec.key.codec, isEntry ? shownNow[0] : shownNow));
    const bytes = elements.get(key);
    expect(bytes, "an absent key").toBeDefined();
    if (isEntry) expect(shownNow[1]).toEqual(decode(this.#all, Buffer.from(bytes ?? "", "hex")));
    expect(shown.has(key), `${this.#spec.type}: shown twice`).toBe(false);
    shown.add(key);
    due?.delete(key);
  }

  /** A program, or another process. */
  raw(): void {
    const [, key] = this.#key();
    const [, value] = this.#value();
    const flags = this.#random.below(3);
    const isUpdate = this.#random.oneIn(2);
    const [got, expected] = [
      [this.#own, this.#main.map.fd] as const,
      [this.#client, this.#main.fd] as const,
    ].map(([client, fd]) =>
      isUpdate ? client.update(fd, key, value, flags) : client.delete(fd, key),
    );
    expect(got).toBe(expected);
  }

  /** Another fd. */
  reopen(): void {
    if (this.#pairs.length > 3) return;
    const mode = this.#random.pick(MODES);
    const idOf = (client: BpfClient, fd: number): number => client.info(fd).info?.id ?? 0;
    const own = this.#own.getFdById(idOf(this.#own, this.#main.map.fd), mode);
    const fd = this.#client.getFdById(idOf(this.#client, this.#main.fd), mode);
    const { type, key, value } = this.#spec;
    const map = this.#rt.mapFromFd(own, { type, key: key.codec, value: value.codec } as never);
    this.#pairs.push({
      map: map as unknown as AnyMap,
      fd,
      mayRead: mode !== uapi.BPF_F_WRONLY,
      mayWrite: mode !== uapi.BPF_F_RDONLY,
    });
  }

  rare({ map, fd }: Pair): void {
    const { random, cpu } = { random: this.#random, cpu: this.#random.below(this.#rt.cpus) };
    this.#rt.cpu = cpu;
    this.#other.cpu = cpu;
    if (random.oneIn(4)) this.#grow();
    if (!random.oneIn(30)) return;
    const ret = this.#client.freeze(fd);
    expect(outcome(() => map.freeze())).toBe(ret === 0 ? NOTHING : codeOfRet(ret));
    this.#isFrozen ||= ret === 0;
  }
}

const UPDATES: ReadonlySet<string> = new Set(["update", "setMany", "updateBatch", "raw"]);
const VERBS = [
  "get",
  "peek",
  "lookup",
  "update",
  "update",
  "update",
  "delete",
  "lookupAndDelete",
  "nextKey",
  "clear",
  "ref",
  "getMany",
  "setMany",
  "deleteMany",
  "updateBatch",
  "deleteBatch",
  "lookupBatch",
  "forEach",
  "batches",
  "walk",
  "walk",
  "raw",
  "reopen",
  "rare",
] as const;

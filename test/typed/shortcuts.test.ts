// What takes the place of the methods in maps with small keys and values (ts/shortcuts.ts) does the same as they do.

import { describe, expect, it } from "vitest";
import {
  BpfError,
  HashMap,
  KIND,
  KeyedMap,
  bool,
  bytes,
  f32,
  f64,
  i16,
  i32,
  i64,
  i8,
  struct,
  u16,
  u32,
  u32be,
  u64,
  u8,
} from "../../ts/index.js";
import type { BpfRuntime, Codec } from "../../ts/index.js";
import { BPF_F_RDONLY, BPF_F_WRONLY } from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";

interface Kind {
  readonly name: string;
  make(rt: BpfRuntime, maxEntries: number, flags?: number): Shortened;
  /** The key of an entry, in an array used for all of them; another value for each number. */
  key(i: number): unknown;
  value(i: number): unknown;
}

interface Shortened {
  readonly fd: number;
  get(key: unknown): unknown;
  getInto(key: unknown, out: unknown): unknown;
  has(key: unknown): boolean;
  set(key: unknown, value: unknown): unknown;
  delete(key: unknown): boolean;
  freeze(): void;
  close(): void;
}

const keyBytes = new Uint8Array(16);
const valueBytes = new Uint8Array(16);

/** @returns the array itself, filled with numbers made of i */
function filled(array: Uint8Array, i: number): Uint8Array {
  const words = new Uint32Array(array.buffer);
  words.forEach((_, at) => (words[at] = Math.imul(i + at, 0x9e3779b1)));
  return array;
}

/** As Node's Buffer is one. */
class Wider extends Uint8Array {}

type AnyCodec = Codec<unknown, unknown>;

function kindOf(
  type: "hash" | "lru_hash",
  [keyName, key, keyOf]: [string, unknown, Kind["key"]],
  [valueName, value, valueOf]: [string, unknown, Kind["value"]],
): Kind {
  const codecs = { type, key: key as AnyCodec, value: value as AnyCodec };
  return {
    name: `${type} ${keyName} -> ${valueName}`,
    make: (rt, maxEntries, flags = 0) => rt.createMap({ ...codecs, maxEntries, flags }),
    key: keyOf,
    value: valueOf,
  };
}

const U32: [string, unknown, Kind["key"]] = ["u32", u32, (i) => Math.imul(i, 0x9e3779b1) >>> 0];
const U64: [string, unknown, Kind["key"]] = [
  "u64",
  u64,
  (i) => BigInt.asUintN(64, BigInt(i) * 0x9e3779b97f4a7c15n),
];
const NUMBER: [string, unknown, Kind["value"]] = ["u64 as number", u64.asNumber, (i) => i * 3e6];
const I32: [string, unknown, Kind["key"]] = ["i32", i32, (i) => Math.imul(i, 0x9e3779b1)];
const U53: [string, unknown, Kind["key"]] = [
  "u64 as number",
  u64.asNumber,
  (i) => i * 0x1_0000_0001,
];
const BYTES16: [string, unknown, Kind["key"]] = ["16 bytes", bytes(16), (i) => filled(keyBytes, i)];
const BIG: [string, unknown, Kind["value"]] = ["u64", u64, (i) => BigInt(i) << 50n];
const KINDS: Kind[] = [
  kindOf("hash", U32, BIG),
  kindOf("lru_hash", U32, ["f64", f64, (i) => i / 3]),
  kindOf("hash", I32, ["i32", i32, (i) => 7 - i]),
  kindOf("hash", U53, ["u16", u16, (i) => i]),
  kindOf("hash", U64, ["i64", i64, (i) => BigInt(-i)]),
  kindOf("hash", BYTES16, BIG),
  kindOf("lru_hash", BYTES16, ["16 bytes", bytes(16), (i) => filled(valueBytes, i)]),
  kindOf(
    "hash",
    ["struct", struct({ a: u32, b: u32 }), (i) => ({ a: i, b: -i >>> 0 })],
    ["u8", u8, (i) => i & 255],
  ),
  kindOf("hash", U32, ["u32", u32, (i) => i]),
  kindOf("hash", U32, NUMBER),
  kindOf("lru_hash", U32, NUMBER),
  kindOf("hash", U64, NUMBER),
  kindOf("lru_hash", U64, NUMBER),
  kindOf("hash", BYTES16, ["16 bytes", bytes(16), (i) => filled(valueBytes, i)]),
];

// Values of every kind, at the bounds of those that fit, and some that fit nowhere.
const SMALL = [0, -0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 65535, 65536];
const LARGE = [2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53];
const BROKEN = [1.5, 3.5e38, 1e300, 1 - 2 ** 53, NaN, Infinity, -Infinity];
const BIGINTS = [0n, 1n, -1n, 2n ** 63n - 1n, 2n ** 63n, -(2n ** 63n), 2n ** 64n - 1n, 2n ** 64n];
const OTHERS: readonly unknown[] = [
  true,
  false,
  "1",
  "",
  null,
  undefined,
  [],
  [1],
  {},
  { valueOf: () => 1 },
];
const ANYTHING: readonly unknown[] = [...SMALL, ...LARGE, ...BROKEN, ...BIGINTS, ...OTHERS];

/** What a function returns, or how its error is called and what it says. */
function outcome(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error instanceof Error ? [error.name, error.message.replace(/fd \d+/g, "fd")] : error;
  }
}

/** What the methods of the class say. */
const methods = KeyedMap.prototype as unknown as Shortened;

/** As `get`: bytes into an array used for all of them, and copied out of it. */
const out = new Uint8Array(16);
function read(map: Shortened, key: unknown, from = map): unknown {
  if (!(key instanceof Uint8Array)) return from.get.call(map, key);
  const value = from.getInto.call(map, key, out);
  return value === out ? out.slice() : value;
}

/** A copy of a value that may be an array used again. */
function kept(value: unknown): unknown {
  return value instanceof Uint8Array ? value.slice() : value;
}

describeEachBuild("shortcuts", (build) => {
  describe.each(KINDS)("$name", (kind) => {
    it("read what the methods wrote, and the other way round, in full tables", async () => {
      using rt = await build.createRuntime();
      const entries = 300;
      // LRU_HASH evicts a little before it is full.
      const map = kind.make(rt, kind.name.startsWith("lru") ? 2 * entries : entries);
      for (let i = 0; i < entries; i++) {
        const writer = i % 2 === 0 ? map : methods;
        expect(writer.set.call(map, kind.key(i), kind.value(i))).toBe(map);
      }
      for (let i = 0; i < 2 * entries; i++) {
        const expected = i < entries ? kept(kind.value(i)) : undefined;
        expect(read(map, kind.key(i))).toEqual(expected);
        expect(read(map, kind.key(i), methods)).toEqual(expected);
      }
      for (let i = 0; i < entries; i += 3) {
        const remover = i % 2 === 0 ? map : (HashMap.prototype as unknown as Shortened);
        expect(remover.delete.call(map, kind.key(i))).toBe(true);
        expect(map.delete(kind.key(i))).toBe(false);
      }
      for (let i = 0; i < entries; i++) {
        const expected = i % 3 === 0 ? undefined : kept(kind.value(i));
        expect(read(map, kind.key(i))).toEqual(expected);
      }
    });

    it("a full table, a frozen map, and fds that may not", async () => {
      using rt = await build.createRuntime();
      const map = kind.make(rt, 2);
      for (let i = 0; i < 4; i++) map.set(kind.key(0), kind.value(0));
      if (!kind.name.startsWith("lru")) {
        map.set(kind.key(1), kind.value(1));
        expect(() => map.set(kind.key(2), kind.value(2))).toThrow("is full (maxEntries 2)");
      }
      map.freeze();
      expect(() => map.set(kind.key(0), kind.value(1))).toThrow("is frozen");
      expect(() => map.delete(kind.key(0))).toThrow("is frozen");
      expect(read(map, kind.key(0))).toEqual(kept(kind.value(0)));
      const readOnly = kind.make(rt, 2, BPF_F_RDONLY);
      const writeOnly = kind.make(rt, 2, BPF_F_WRONLY);
      for (let i = 0; i < 4; i++) {
        expect(() => readOnly.set(kind.key(0), kind.value(0))).toThrow(BpfError);
        expect(() => readOnly.delete(kind.key(0))).toThrow(BpfError);
        expect(read(readOnly, kind.key(0))).toBeUndefined();
        writeOnly.set(kind.key(0), kind.value(0));
        expect(() => read(writeOnly, kind.key(0))).toThrow(BpfError);
      }
    });

    it("a closed map, and one whose fd was closed behind its back", async () => {
      using rt = await build.createRuntime();
      const [closed, cut, orphan] = [kind.make(rt, 8), kind.make(rt, 8), kind.make(rt, 8)];
      const { get, getInto, set } = closed;
      for (const map of [closed, cut, orphan]) {
        for (let i = 0; i < 8; i++) map.set(kind.key(i), kind.value(i));
        for (let i = 0; i < 8; i++) read(map, kind.key(i));
      }
      closed.close();
      rt.close(cut.fd);
      rt.exports.fd_close(orphan.fd);
      // What takes their memory must not be seen as theirs.
      const others = Array.from({ length: 4 }, () => kind.make(rt, 8));
      for (const other of others) for (let i = 0; i < 8; i++) other.set(kind.key(i), kind.value(i));
      for (const map of [closed, cut]) expect(() => read(map, kind.key(1))).toThrow(BpfError);
      expect(read(orphan, kind.key(1))).toBeUndefined();
      for (const map of [closed, cut, orphan]) {
        expect(() => map.set(kind.key(1), kind.value(1))).toThrow(BpfError);
        expect(() => map.delete(kind.key(1))).toThrow(BpfError);
      }
      // The functions taken out of a map before.
      expect(() => set.call(closed, kind.key(1), kind.value(1))).toThrow(BpfError);
      expect(() => read(closed, kind.key(1), { ...closed, get, getInto })).toThrow(BpfError);
    });

    it("memory that grew in between", async () => {
      using rt = await build.createRuntime();
      const map = kind.make(rt, 64);
      for (let i = 0; i < 64; i++) map.set(kind.key(i), kind.value(i));
      const last = kind.name.startsWith("lru") ? 63 : 10;
      for (let i = 0; i < 4; i++) expect(read(map, kind.key(last))).toEqual(kept(kind.value(last)));
      rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 100_000 });
      expect(read(map, kind.key(last))).toEqual(kept(kind.value(last)));
      map.set(kind.key(last), kind.value(1));
      expect(read(map, kind.key(last))).toEqual(kept(kind.value(1)));
    });
  });

  const scalars = { bool, f32, f64, i16, i32, i64, i8, u16, u32, u32be, u64, u8 };
  const numbers = { "u64.asNumber": u64.asNumber, "i64.asNumber": i64.asNumber };

  describe.each(Object.entries({ ...scalars, ...numbers }))("%s", (_, codec) => {
    const any = codec as AnyCodec;

    it("as a value: takes what the method takes, and says what the method says", async () => {
      using rt = await build.createRuntime();
      const types = ["hash", "lru_hash", "array"] as const;
      for (const type of types) {
        const [map, other] = [0, 1].map(() =>
          type === "array"
            ? rt.createMap({ type, value: any, maxEntries: 4 })
            : rt.createMap({ type, key: u32 as AnyCodec, value: any, maxEntries: 4 }),
        ) as unknown as [Shortened, Shortened];
        for (const value of ANYTHING) {
          const said = outcome(() => map.set(1, value) === map);
          expect(said, String(value)).toEqual(
            outcome(() => methods.set.call(other, 1, value) === other),
          );
          expect(map.get(1), String(value)).toEqual(methods.get.call(other, 1));
        }
      }
    });

    it("as a key: takes what the method takes, and says what the method says", async () => {
      using rt = await build.createRuntime();
      const [map, other] = [0, 1].map(() =>
        rt.createMap({ type: "hash", key: any, value: u32, maxEntries: 64 }),
      ) as unknown as [Shortened, Shortened];
      for (const key of ANYTHING) {
        for (const verb of [
          "get",
          "set",
          "has",
          "get",
          "delete",
          "set",
          "delete",
          "has",
        ] as const) {
          const said = outcome(() => map[verb](key, 7));
          const from = verb === "delete" ? HashMap.prototype : methods;
          const expected = outcome(() => (from as unknown as Shortened)[verb].call(other, key, 7));
          expect(said === map, `${verb} ${String(key)}`).toBe(expected === other);
          if (said !== map) expect(said, `${verb} ${String(key)}`).toEqual(expected);
        }
      }
    });
  });

  it("a caller's own codec reads and writes itself, whatever kind it says it is", async () => {
    using rt = await build.createRuntime();
    for (const kind of [KIND.U16, KIND.U32, KIND.I32, KIND.U64_NUMBER, KIND.F64]) {
      const tenths: Codec<number> = {
        kind,
        size: 4,
        align: 4,
        read: (mem, ptr) => mem.dv.getUint32(ptr, true) / 10,
        write: (mem, ptr, value) => mem.dv.setUint32(ptr, value * 10, true),
      };
      const map = rt.createMap({ type: "hash", key: tenths, value: tenths, maxEntries: 4 });
      const raw = rt.mapFromFd(map.fd, { key: u32, value: u32 });
      for (const number of [2, 0.5, 2]) {
        map.set(number, number);
        expect([...raw.keys()], `kind ${kind}`).toEqual([number * 10]);
        expect([map.get(number), raw.get(number * 10)]).toEqual([number, number * 10]);
        expect([map.has(number), map.delete(number), raw.has(number * 10)]).toEqual([
          true,
          true,
          false,
        ]);
      }
    }
  });

  it("indices of arrays", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "array", value: u64, maxEntries: 4 });
    for (let i = 0; i < 4; i++) expect(map.set(i, BigInt(i) << 40n)).toBe(map);
    for (let i = 0; i < 4; i++) expect([map.get(i), map.has(i)]).toEqual([BigInt(i) << 40n, true]);
    for (const beyond of [4, 0xffff_ffff]) {
      expect([map.get(beyond), map.has(beyond)]).toEqual([undefined, false]);
      expect(() => map.set(beyond, 1n)).toThrow("index outside");
    }
    for (const wrong of [-1, 0x1_0000_0000, 0.5, NaN]) {
      for (const verb of ["get", "has", "set"] as const)
        expect(() => map[verb](wrong, 1n)).toThrow(RangeError);
    }
    expect(() => (map as unknown as Shortened).delete(1)).toThrow("cannot be deleted");
    map.freeze();
    expect(() => map.set(1, 1n)).toThrow("is frozen");
    map.close();
    for (const verb of ["get", "has", "set"] as const)
      expect(() => map[verb](1, 1n)).toThrow("is closed");
  });

  it("a class's own methods are left alone", async () => {
    using rt = await build.createRuntime();
    const perCpu = rt.createMap({ type: "percpu_hash", key: u32, value: u64, maxEntries: 4 });
    perCpu.set(1, rt.cpus === 1 ? [5n] : Array.from({ length: rt.cpus }, () => 5n));
    expect(perCpu.get(1)?.[0]).toBe(5n);
    expect([perCpu.has(1), perCpu.delete(1), perCpu.has(1)]).toEqual([true, true, false]);
  });

  it("a key beyond 64 bits, or no bigint, is not the key it would be cut or turned to", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: u64, value: u32, maxEntries: 8 });
    map.set(5n, 1);
    for (let i = 0; i < 4; i++) {
      for (const key of [(1n << 64n) + 5n, 5n - (1n << 64n), (1n << 128n) + 5n]) {
        expect(() => map.get(key)).toThrow(RangeError);
        expect(() => map.set(key, 2)).toThrow(RangeError);
      }
      for (const key of [5, "5", true, undefined, null, {}, Symbol("5"), [5n]] as never[]) {
        expect(() => map.get(key)).toThrow(TypeError);
        expect(() => map.set(key, 2)).toThrow(TypeError);
        expect(() => map.delete(key)).toThrow(TypeError);
      }
      expect(map.get(5n)).toBe(1);
    }
  });

  it("arrays whose memory went elsewhere after they were seen", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 8 });
    const arrays = () => [new Uint8Array(16), new Uint8Array(16)] as const;
    for (const gone of [0, 1] as const) {
      const pair = arrays();
      for (let i = 0; i < 20; i++) {
        map.set(pair[0], pair[1]);
        map.getInto(pair[0], pair[1]);
      }
      structuredClone(pair[gone].buffer, { transfer: [pair[gone].buffer] });
      expect(() => map.getInto(pair[0], pair[1])).toThrow();
      expect(() => map.set(pair[0], pair[1])).toThrow();
    }
    expect(map.get(new Uint8Array(16))).toEqual(new Uint8Array(16));
  });

  it("16 bytes in any array: one for all, a new one each, at any offset, a Buffer's", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 80 });
    for (let i = 0; i < 64; i++) map.set(filled(keyBytes, i), filled(valueBytes, i + 100));
    const room = new Uint8Array(40);
    const part = (offset: number) => room.subarray(offset, offset + 16);
    const aligned = part(8);
    const odd = part(19);
    const ways: readonly (() => Uint8Array)[] = [
      () => keyBytes,
      () => new Uint8Array(16),
      () => aligned,
      () => odd,
      () => part(4),
      () => part(7),
      () => new Wider(16),
    ];
    const copy = new Uint8Array(16);
    // Each way for a while, so that the door meets its array again; then all of them in turn.
    for (let round = 0; round < 40 * ways.length; round++) {
      const way = ways[round < 30 * ways.length ? Math.floor(round / 30) : round % ways.length];
      const key = (way as () => Uint8Array)();
      const i = round % 70;
      key.set(filled(copy, i));
      const expected = i < 64 ? filled(new Uint8Array(16), i + 100) : undefined;
      expect(map.get(key)).toEqual(expected);
      expect(map.getInto(key, out)).toEqual(expected);
      expect(map.getInto(key, new Uint8Array(16))).toEqual(expected);
      if (round % 3 === 0) {
        map.set(key, filled(copy, i + 100));
        expect(map.delete(key)).toBe(true);
        expect(map.get(key)).toBeUndefined();
        if (i < 64) map.set(key, filled(copy, i + 100));
      }
    }
  });

  it("what is no array of 16 bytes is no key, however often it comes", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 8 });
    map.set(new Uint8Array(16), new Uint8Array(16));
    const types = [new Int8Array(16), new Uint8ClampedArray(16), new Array(16).fill(0), "0", null];
    for (let i = 0; i < 20; i++) {
      for (const key of types as never[]) {
        expect(() => map.get(key)).toThrow(TypeError);
        expect(() => map.getInto(key, out)).toThrow(TypeError);
        expect(() => map.set(key, out)).toThrow(TypeError);
      }
      for (const key of [new Uint8Array(15), new Uint8Array(17), new Uint8Array(0)]) {
        expect(() => map.get(key)).toThrow(RangeError);
        expect(() => map.getInto(key, out)).toThrow(RangeError);
      }
      expect(map.get(new Uint8Array(16))).toEqual(new Uint8Array(16));
    }
  });

  it("one array for the key and the value", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 8 });
    map.set(new Uint8Array(16).fill(1), new Uint8Array(16).fill(2));
    const both = new Uint8Array(16);
    for (let i = 0; i < 4; i++) {
      expect(map.getInto(both.fill(1), both)).toBe(both);
      expect(both).toEqual(new Uint8Array(16).fill(2));
    }
    for (let i = 0; i < 4; i++) map.set(both.fill(3), both);
    expect(map.get(both)).toEqual(both);
  });
});

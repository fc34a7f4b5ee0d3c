// Structs, bit-fields, unions and views: C layout, refusals and reuse.

import { describe, expect, test } from "vitest";
import {
  array,
  bits,
  bool,
  bytes,
  decode,
  encode,
  f32,
  f64,
  i64,
  i8,
  ipv4,
  KIND,
  struct,
  u16,
  u16be,
  u32,
  u64,
  u8,
  union,
  viewsOf,
} from "../../ts/codec.js";
import { hex, refuses, unhex } from "../support/codec.js";

describe("struct", () => {
  const Sample = struct({ a: u8, b: u32, c: u16, d: u64, e: u8 });

  test("aligns members and its size as C does", () => {
    expect([Sample.size, Sample.align, Sample.kind]).toEqual([32, 8, KIND.STRUCT]);
    expect(Sample.fields.map((field) => [field.name, field.offset, field.size])).toEqual([
      ["a", 0, 1],
      ["b", 4, 4],
      ["c", 8, 2],
      ["d", 16, 8],
      ["e", 24, 1],
    ]);
    expect(Sample.offsetof("d")).toBe(16);
    const Nested = struct({ a: u8, inner: Sample, tail: array(u16, 3) });
    expect([Nested.size, Nested.align, Nested.offsetof("inner")]).toEqual([48, 8, 8]);
    expect([struct({}).size, struct({}).align]).toEqual([0, 1]);
  });

  test("packed leaves no gaps, and keeps the layout of structs inside", () => {
    const Inner = struct({ x: u8, y: u32 });
    const Packed = struct({ a: u8, b: u32, inner: Inner, c: u64, f: f64 }, { packed: true });
    expect([Packed.size, Packed.align, Packed.packed]).toEqual([29, 1, true]);
    expect(Packed.fields.map((field) => field.offset)).toEqual([0, 1, 5, 13, 21]);
    const value = { a: 1, b: 2, inner: { x: 3, y: 4 }, c: 5n, f: 1 };
    const data = encode(Packed, value);
    expect(hex(data)).toBe("010200000003000000040000000500000000000000000000000000f03f");
    expect(decode(Packed, data)).toEqual(value);
  });

  test("writes padding as zeros, so that equal keys are equal bytes", () => {
    const mem = viewsOf(new ArrayBuffer(48));
    mem.u8.fill(0xff);
    Sample.write(mem, 8, { a: 1, b: 2, c: 3, d: 4n, e: 5 });
    expect(hex(mem.u8)).toBe(
      "ff".repeat(8) +
        "0100000002000000" +
        "0300000000000000" +
        "0400000000000000" +
        "0500000000000000" +
        "ff".repeat(8),
    );
  });

  test("decodes to plain objects with the keys in order", () => {
    const value = decode(Sample, new Uint8Array(32));
    expect(value).toStrictEqual({ a: 0, b: 0, c: 0, d: 0n, e: 0 });
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)).toEqual(["a", "b", "c", "d", "e"]);
    expect(decode(Sample, new Uint8Array(32))).not.toBe(value);
  });

  test("names the field that is wrong and writes nothing", () => {
    const Outer = struct({ first: u32, inner: struct({ list: array(u8, 2), hits: u32 }) });
    const mem = viewsOf(new ArrayBuffer(16));
    mem.u8.fill(0xee);
    expect(() =>
      Outer.write(mem, 0, { first: 1, inner: { list: [1, 2], hits: -1 } }, "key"),
    ).toThrow(new RangeError("key.inner.hits: expected an integer in 0..4294967295, got -1"));
    expect(hex(mem.u8)).toBe("ee".repeat(16));
    const list = "value.inner.list[1]: expected an integer in 0..255, got 1n";
    refuses(Outer, { first: 1, inner: { list: [1, 1n], hits: 1 } }, TypeError, list);
    const missing = "value.first: expected an integer in 0..4294967295, got undefined";
    refuses(Outer, { inner: { list: [1, 2], hits: 1 } }, TypeError, missing);
    const inner = "value.inner: expected an object {list, hits}, got";
    refuses(Outer, { first: 1, inner: null }, TypeError, `${inner} null`);
    refuses(Outer, { first: 1, inner: 5 }, TypeError, `${inner} 5`);
  });

  test("readInto reuses the object and its nested objects", () => {
    const codec = struct({ n: u32, mac: bytes(2), inner: struct({ x: u8 }), list: array(u8, 2) });
    const mem = viewsOf(unhex("01000000aabb050708000000").buffer);
    const out = { n: 0, mac: new Uint8Array(2), inner: { x: 0 }, list: [0, 0] };
    const { mac, inner, list } = out;
    expect(codec.readInto(mem, 0, out)).toBe(out);
    expect(out).toStrictEqual({ n: 1, mac: unhex("aabb"), inner: { x: 5 }, list: [7, 8] });
    expect(out.mac).toBe(mac);
    expect(out.inner).toBe(inner);
    expect(out.list).toBe(list);
    const fresh = codec.readInto(mem, 0, {} as typeof out);
    expect(fresh).toStrictEqual(out);
  });

  test("refuses members without an offset of their own, and names it cannot keep in order", () => {
    const codec = struct({ flags: bits(u8, 3), n: u8 });
    const offsetof = (name: string): number => codec.offsetof(name as "n");
    expect(offsetof("n")).toBe(1);
    expect(() => offsetof("flags")).toThrow(
      new TypeError('offsetof: "flags" is a bit-field, not a member with an offset of this struct'),
    );
    expect(() => offsetof("x")).toThrow(new TypeError('offsetof: "x" is no member of this struct'));
    expect(() => struct({ b: u8, 1: u8 })).toThrow(
      new TypeError('struct: "1" cannot be the name of a member'),
    );
    expect(() => struct(JSON.parse('{"__proto__": 1}') as Record<string, typeof u8>)).toThrow(
      'struct: "__proto__" cannot be the name of a member',
    );
    expect(() => struct({ a: Number as unknown as typeof u8 })).toThrow(
      new TypeError("struct: a: expected a codec, got a function"),
    );
    expect(() => struct(undefined as unknown as Record<string, never>)).toThrow(
      new TypeError("struct: expected an object of codecs, got undefined"),
    );
  });

  test("members may be called like properties of every object", () => {
    const codec = struct({ constructor: u8, toString: u8, hasOwnProperty: u8 });
    const value = { constructor: 1, toString: 2, hasOwnProperty: 3 };
    expect(hex(encode(codec, value))).toBe("010203");
    expect(decode(codec, unhex("010203"))).toEqual(value);
    const message = "value.constructor: expected an integer in 0..255, got a function";
    refuses(codec, {}, TypeError, message);
    expect(codec.view().at(viewsOf(unhex("010203").buffer), 0).toString).toBe(2);
  });
});

describe("bit-fields", () => {
  test("share the storage unit of their type, from the lowest bit", () => {
    // struct iphdr: __u8 ihl:4, version:4
    const Ip = struct({ ihl: bits(u8, 4), version: bits(u8, 4), tos: u8 });
    expect(Ip.size).toBe(2);
    expect(hex(encode(Ip, { ihl: 5, version: 4, tos: 0 }))).toBe("4500");
    expect(decode(Ip, unhex("4500"))).toEqual({ ihl: 5, version: 4, tos: 0 });
    expect(Ip.fields[1]).toMatchObject({ offset: 0, size: 1, bits: { shift: 4, width: 4 } });
  });

  test("start at the next unit instead of crossing its boundary, unless packed", () => {
    const members = { a: bits(u32, 30), b: bits(u32, 3), c: bits(u32, 29) };
    expect(struct(members).size).toBe(8);
    expect(struct(members).fields[1]).toMatchObject({ offset: 4, bits: { shift: 0 } });
    expect(struct(members, { packed: true }).size).toBe(8);
    expect(struct(members, { packed: true }).fields[1]).toMatchObject({
      offset: 3,
      size: 2,
      bits: { shift: 6, width: 3 },
    });
    // The declared type gives the struct its alignment; a following member takes the next byte.
    const Mixed = struct({ a: u8, b: bits(u32, 4), c: u8 });
    expect([Mixed.size, Mixed.align, Mixed.offsetof("c")]).toEqual([4, 4, 2]);
  });

  test("are signed, wide and bool as declared", () => {
    const codec = struct({
      s: bits(i8, 3),
      w: bits(u64, 40),
      sw: bits(i64, 64),
      n: bits(u64.asNumber, 60),
      f: bits(bool, 1),
      t: bits(u64, 5),
    });
    const value = { s: -4, w: 2n ** 40n - 1n, sw: -(2n ** 63n), n: 2 ** 53 - 1, f: true, t: 17n };
    expect(decode(codec, encode(codec, value))).toEqual(value);
    const path = "value.s: expected an integer in -4..3, got";
    refuses(codec, { ...value, s: 4 }, RangeError, `${path} 4`);
    refuses(codec, { ...value, s: 1.5 }, RangeError, `${path} 1.5`);
    refuses(codec, { ...value, s: 1n }, TypeError, `${path} 1n`);
    const wide = "value.w: expected a bigint in 0..1099511627775, got";
    refuses(codec, { ...value, w: 2n ** 40n }, RangeError, `${wide} 1099511627776n`);
    refuses(codec, { ...value, w: 5 }, TypeError, `${wide} 5`);
    const safe = "value.n: expected an integer in 0..9007199254740991, got 9007199254740992";
    refuses(codec, { ...value, n: 2 ** 53 }, RangeError, safe);
    refuses(codec, { ...value, f: 1 }, TypeError, "value.f: expected a boolean, got 1");
    const full = struct({ n: bits(u64.asNumber, 60) });
    expect(() => decode(full, unhex("ff".repeat(8)))).toThrow(
      "value.n: 1152921504606846975 does not fit a number exactly",
    );
  });

  test("unused bits are written as zero", () => {
    const mem = viewsOf(new ArrayBuffer(8));
    mem.u8.fill(0xff);
    struct({ a: bits(u32, 3) }).write(mem, 0, { a: 5 });
    expect(hex(mem.u8)).toBe("05000000ffffffff");
  });

  test("exist in host order and within their type only", () => {
    expect(() => bits(u8, 9)).toThrow(
      new RangeError("bits: width: expected an integer in 1..8, got 9"),
    );
    expect(() => bits(bool, 2)).toThrow(
      new RangeError("bits: width: expected an integer in 1..1, got 2"),
    );
    expect(() => bits(u8, 0)).toThrow(
      new RangeError("bits: width: expected an integer of at least 1, got 0"),
    );
    for (const base of [u16be, f32, bytes(4), undefined]) {
      expect(() => bits(base as typeof u8, 1)).toThrow(
        new TypeError("bits: base: expected an integer codec in host order, or bool"),
      );
    }
  });
});

describe("union", () => {
  const Either = union({ word: u32, parts: array(u8, 6), half: u16 });

  test("is as large and aligned as its largest members", () => {
    expect([Either.size, Either.align]).toEqual([8, 4]);
    const packed = union({ word: u32, parts: array(u8, 6) }, { packed: true });
    expect([packed.size, packed.align]).toEqual([6, 1]);
  });

  test("writes one member and zeros, reads all", () => {
    const mem = viewsOf(new ArrayBuffer(16));
    mem.u8.fill(0xff);
    Either.write(mem, 4, { half: 0x0102 });
    expect(hex(mem.u8)).toBe("ffffffff0201000000000000ffffffff");
    const value = { word: 0x0102, parts: [2, 1, 0, 0, 0, 0], half: 0x0102 };
    expect(Either.read(mem, 4)).toStrictEqual(value);
    const out = { word: 0, parts: [], half: 0 };
    expect(Either.readInto(mem, 4, out)).toBe(out);
    expect(out).toEqual(value);
  });

  test("refuses none and several members", () => {
    const expected = "value: expected an object with exactly one of word, parts, half, got";
    refuses(Either, {}, TypeError, `${expected} an object {}`);
    refuses(Either, { word: 1, half: 2 }, TypeError, `${expected} an object {word, half}`);
    refuses(Either, 5, TypeError, `${expected} 5`);
    const message = "value.half: expected an integer in 0..65535, got -1";
    refuses(Either, { half: -1, word: undefined }, RangeError, message);
  });
});

describe("views", () => {
  const Flow = struct({
    packets: u64.asNumber,
    bytes: u64,
    proto: bits(u8, 4),
    flags: bits(u8, 4),
    src: ipv4,
    inner: struct({ x: u16, deep: struct({ y: bool }) }),
  });

  test("read and write members in place", () => {
    const mem = viewsOf(new ArrayBuffer(64));
    const view = Flow.view();
    expect(view.at(mem, 8)).toBe(view);
    view.packets += 2;
    view.bytes = 5n;
    view.proto = 3;
    view.flags = 9;
    view.src = "10.0.0.1";
    view.inner.x = 7;
    view.inner.deep.y = true;
    expect(Flow.read(mem, 8)).toEqual({
      packets: 2,
      bytes: 5n,
      proto: 3,
      flags: 9,
      src: "10.0.0.1",
      inner: { x: 7, deep: { y: true } },
    });
    expect([view.packets, view.bytes, view.src, view.inner.x]).toEqual([2, 5n, "10.0.0.1", 7]);
    expect(view.at(mem, 16).packets).toBe(5);
    expect(hex(mem.u8.subarray(0, 8))).toBe("00".repeat(8));
  });

  test("are aimed independently of each other", () => {
    const mem = viewsOf(new ArrayBuffer(64));
    const [one, two] = [Flow.view().at(mem, 0), Flow.view().at(mem, 32)];
    one.inner.x = 1;
    two.inner.x = 2;
    expect([one.inner.x, two.inner.x]).toEqual([1, 2]);
    expect(one.inner).not.toBe(two.inner);
    expect(Flow.view().packets).toBe(0);
  });

  test("refuse wrong values under the member's name", () => {
    const view = Flow.view();
    expect(() => (view.packets = -1)).toThrow(
      new RangeError("value.packets: expected an integer in 0..9007199254740991, got -1"),
    );
    expect(() => (view.src = "x")).toThrow(
      new RangeError('value.src: expected an IPv4 address such as "10.0.0.1", got "x"'),
    );
    expect(() => (view.proto = 16)).toThrow(
      new RangeError("value.proto: expected an integer in 0..15, got 16"),
    );
    expect(() => Object.assign(view, { inner: { x: 1 } })).toThrow(TypeError);
    expect(() => struct({ at: u8 }).view()).toThrow(
      new TypeError('view: a member called "at" hides the method of the view'),
    );
  });

  test("name the member that a number cannot hold", () => {
    const mem = viewsOf(new ArrayBuffer(16));
    mem.u8.fill(0xff);
    const codec = struct({ hits: u64.asNumber, list: array(u64.asNumber, 1) });
    const view = codec.view().at(mem, 0);
    const text = "18446744073709551615 does not fit a number exactly (beyond 2^53-1)";
    expect(() => view.hits).toThrow(`value.hits: ${text}`);
    expect(() => view.list).toThrow(`value.list[0]: ${text}`);
  });

  test("read unaligned members of packed structs", () => {
    const Packed = struct({ a: u8, b: u32, c: u64 }, { packed: true });
    const view = Packed.view().at(viewsOf(new ArrayBuffer(16)), 1);
    view.b = 0xfffffffe;
    view.c = 2n ** 64n - 1n;
    expect([view.a, view.b, view.c]).toEqual([0, 0xfffffffe, 2n ** 64n - 1n]);
  });
});

describe("where members come from", () => {
  const Pair = struct({ a: u32, b: u16 });
  const bytesOf = (value: object) => encode(Pair, value as { a: number; b: number });
  const expected = bytesOf({ a: 1, b: 2 });

  test("objects of any shape", () => {
    class Accessors {
      get a(): number {
        return 1;
      }
      get b(): number {
        return 2;
      }
    }
    const shapes: object[] = [
      { b: 2, a: 1 },
      { a: 1, b: 2, c: 3 },
      { c: 3, a: 1, b: 2 },
      Object.create({ a: 1, b: 2 }) as object,
      Object.assign(Object.create({ a: 9 }) as object, { b: 2, a: 1 }),
      Object.assign(Object.create(null) as object, { a: 1, b: 2 }),
      new Accessors(),
      new Proxy({ a: 1, b: 2 }, {}),
      Object.defineProperty({ a: 1 }, "b", { value: 2, enumerable: false }),
      Object.freeze({ a: 1, b: 2 }),
      Object.assign([], { a: 1, b: 2 }),
    ];
    for (const shape of shapes) expect(bytesOf(shape)).toEqual(expected);
    expect(() => bytesOf({ a: 1 })).toThrow("value.b");
    expect(() => bytesOf({ b: 2 })).toThrow("value.a");
    expect(() => bytesOf([1, 2])).toThrow("value.a");
  });

  test("a member is looked at once: what was checked is what is stored", () => {
    let looks = 0;
    const shifty = {
      a: 1,
      get b(): number {
        looks++;
        return looks === 1 ? 2 : 1e9;
      },
    };
    expect(bytesOf(shifty)).toEqual(expected);
    expect(looks).toBe(1);
  });

  test("a getter that encodes with the same codec, or throws, disturbs nobody", () => {
    const nested = {
      a: 1,
      get b(): number {
        expect(bytesOf({ a: 7, b: 8 })).toEqual(encode(struct({ a: u32, b: u16 }), { a: 7, b: 8 }));
        return 2;
      },
    };
    const broken = {
      a: 5,
      get b(): number {
        throw new Error("no");
      },
    };
    for (let i = 0; i < 3; i++) {
      expect(bytesOf(nested)).toEqual(expected);
      expect(() => bytesOf(broken)).toThrow("no");
    }
  });
});

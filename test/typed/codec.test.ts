// Codecs: layouts byte by byte, what is refused, and how the refusal is worded.

import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import {
  array,
  bool,
  bytes,
  cstring,
  decode,
  encode,
  f32,
  f64,
  i16,
  i16be,
  i32,
  i32be,
  i64,
  i64be,
  i8,
  KIND,
  lpmKey,
  perCpu,
  struct,
  u16,
  u16be,
  u32,
  u32be,
  u64,
  u64be,
  u8,
  union,
  viewsOf,
} from "../../ts/codec.js";
import type { AnyCodec, Codec } from "../../ts/codec.js";
import { encodeAny, hex, refuses, unhex } from "../support/codec.js";

describe("scalars", () => {
  test.each([
    ["u8", u8, KIND.U8, 1, 0x12, "12"],
    ["i8", i8, KIND.I8, 1, -2, "fe"],
    ["u16", u16, KIND.U16, 2, 0x1234, "3412"],
    ["i16", i16, KIND.I16, 2, -2, "feff"],
    ["u32", u32, KIND.U32, 4, 0x12345678, "78563412"],
    ["i32", i32, KIND.I32, 4, -2, "feffffff"],
    ["u64", u64, KIND.U64, 8, 0x1122334455667788n, "8877665544332211"],
    ["i64", i64, KIND.I64, 8, -2n, "feffffffffffffff"],
    ["u64.asNumber", u64.asNumber, KIND.U64_NUMBER, 8, 2 ** 53 - 1, "ffffffffffff1f00"],
    ["i64.asNumber", i64.asNumber, KIND.I64_NUMBER, 8, -(2 ** 53) + 1, "010000000000e0ff"],
    ["f32", f32, KIND.F32, 4, 1.5, "0000c03f"],
    ["f64", f64, KIND.F64, 8, -2.5, "00000000000004c0"],
    ["bool", bool, KIND.BOOL, 1, true, "01"],
    ["u16be", u16be, KIND.U16BE, 2, 0x1234, "1234"],
    ["i16be", i16be, KIND.I16BE, 2, -2, "fffe"],
    ["u32be", u32be, KIND.U32BE, 4, 0x12345678, "12345678"],
    ["i32be", i32be, KIND.I32BE, 4, -2, "fffffffe"],
    ["u64be", u64be, KIND.U64BE, 8, 0x1122334455667788n, "1122334455667788"],
    ["i64be", i64be, KIND.I64BE, 8, -2n, "fffffffffffffffe"],
  ] as [string, AnyCodec, number, number, unknown, string][])(
    "%s has its C type's size, alignment and bytes",
    (_name, codec, kind, size, value, expected) => {
      expect([codec.kind, codec.size, codec.align]).toEqual([kind, size, size]);
      expect(hex(encodeAny(codec, value))).toBe(expected);
      expect(decode(codec, unhex(expected))).toBe(value);
    },
  );

  test.each([
    ["u8", u8, 0, 0xff],
    ["i8", i8, -0x80, 0x7f],
    ["u16", u16, 0, 0xffff],
    ["i16", i16, -0x8000, 0x7fff],
    ["u32", u32, 0, 0xffffffff],
    ["i32", i32, -0x80000000, 0x7fffffff],
    ["u64.asNumber", u64.asNumber, 0, Number.MAX_SAFE_INTEGER],
    ["i64.asNumber", i64.asNumber, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ["u16be", u16be, 0, 0xffff],
    ["i16be", i16be, -0x8000, 0x7fff],
    ["u32be", u32be, 0, 0xffffffff],
    ["i32be", i32be, -0x80000000, 0x7fffffff],
  ] as [string, Codec<number>, number, number][])(
    "%s takes its whole range and nothing else",
    (_name, codec, min, max) => {
      const expected = `value: expected an integer in ${min}..${max}, got`;
      for (const value of [min, max]) {
        expect(decode(codec, encode(codec, value))).toBe(value);
      }
      for (const value of [min - 1, max + 1, 1.5, NaN, Infinity, -Infinity]) {
        refuses(codec, value, RangeError, `${expected} ${value}`);
      }
      refuses(codec, 1n, TypeError, `${expected} 1n`);
      refuses(codec, "1", TypeError, `${expected} "1"`);
      refuses(codec, undefined, TypeError, `${expected} undefined`);
      refuses(codec, null, TypeError, `${expected} null`);
      refuses(codec, true, TypeError, `${expected} true`);
    },
  );

  test.each([
    ["u64", u64, 0n, 2n ** 64n - 1n],
    ["i64", i64, -(2n ** 63n), 2n ** 63n - 1n],
    ["u64be", u64be, 0n, 2n ** 64n - 1n],
    ["i64be", i64be, -(2n ** 63n), 2n ** 63n - 1n],
  ] as [string, Codec<bigint>, bigint, bigint][])(
    "%s takes its whole range of bigints and no numbers",
    (_name, codec, min, max) => {
      const expected = `value: expected a bigint in ${min}..${max}, got`;
      for (const value of [min, max]) {
        expect(decode(codec, encode(codec, value))).toBe(value);
      }
      refuses(codec, min - 1n, RangeError, `${expected} ${min - 1n}n`);
      refuses(codec, max + 1n, RangeError, `${expected} ${max + 1n}n`);
      refuses(codec, 1, TypeError, `${expected} 1`);
    },
  );

  test("asNumber refuses to read what a number cannot hold", () => {
    const text = "does not fit a number exactly (beyond 2^53-1): read it as bigint";
    expect(() => decode(u64.asNumber, encode(u64, 2n ** 53n))).toThrow(
      new RangeError(`value: 9007199254740992 ${text}`),
    );
    expect(() => decode(u64.asNumber, encode(u64, 2n ** 64n - 1n))).toThrow(
      new RangeError(`value: 18446744073709551615 ${text}`),
    );
    expect(() => decode(i64.asNumber, encode(i64, -(2n ** 53n)))).toThrow(
      new RangeError(`value: -9007199254740992 ${text}`),
    );
    expect(() => decode(i64.asNumber, encode(i64, -(2n ** 63n)))).toThrow(RangeError);
    const nested = struct({ list: array(struct({ total: u64.asNumber }), 2) });
    const twin = struct({ list: array(struct({ total: u64 }), 2) });
    const data = encode(twin, { list: [{ total: 1n }, { total: 2n ** 60n }] });
    const message = `value.list[1].total: 1152921504606846976 ${text}`;
    expect(() => decode(nested, data)).toThrow(new RangeError(message));
    const out = { list: [{ total: 0 }, { total: 0 }] };
    const mem = viewsOf(data.buffer);
    expect(() => nested.readInto(mem, 0, out)).toThrow(new RangeError(message));
    expect(() => decode(union({ a: u64.asNumber }), encode(u64, 2n ** 53n))).toThrow("value.a: ");
    const key = unhex(`20000000${"ff".repeat(8)}`);
    expect(() => decode(lpmKey(struct({ a: u64.asNumber }, { packed: true })), key)).toThrow(
      "value.data.a: ",
    );
  });

  test("floats keep NaN, infinities and the sign of zero", () => {
    for (const codec of [f32, f64]) {
      for (const value of [NaN, Infinity, -Infinity, 0, -0, 0.5]) {
        expect(decode(codec, encode(codec, value))).toBe(value);
      }
      refuses(codec, "1", TypeError, 'value: expected a number, got "1"');
      refuses(codec, 1n, TypeError, "value: expected a number, got 1n");
    }
    expect(decode(f32, encode(f32, 0.1))).toBe(Math.fround(0.1));
    const expected = "value: expected a number in the range of a 32-bit float, got 1e+300";
    refuses(f32, 1e300, RangeError, expected);
  });

  test("minus zero is the integer zero", () => {
    for (const codec of [u8, i32, u64.asNumber, i64.asNumber, u16be]) {
      expect(hex(encode(codec, -0))).toBe("00".repeat(codec.size));
    }
  });

  test("bool reads any byte but zero as true and writes booleans only", () => {
    expect([0, 1, 2, 255].map((byte) => decode(bool, Uint8Array.of(byte)))).toEqual([
      false,
      true,
      true,
      true,
    ]);
    expect(hex(encode(bool, false))).toBe("00");
    refuses(bool, 1, TypeError, "value: expected a boolean, got 1");
  });
});

describe("bytes", () => {
  test("takes exactly its size, also from a Buffer and from another realm", () => {
    expect(hex(encode(bytes(3), Uint8Array.of(1, 2, 3)))).toBe("010203");
    expect(hex(encode(bytes(3), Buffer.from([1, 2, 3])))).toBe("010203");
    expect(hex(encode(bytes(0), new Uint8Array()))).toBe("");
    const expected = "value: expected a Uint8Array of 3 bytes, got";
    refuses(bytes(3), new Uint8Array(4), RangeError, `${expected} Uint8Array of 4 bytes`);
    refuses(bytes(3), [1, 2, 3], TypeError, `${expected} an array of 3`);
    refuses(bytes(3), new Int8Array(3), TypeError, `${expected} Int8Array of 3 bytes`);
    refuses(bytes(3), "abc", TypeError, `${expected} "abc"`);
    const foreign = runInNewContext("Uint8Array.of(7, 8, 9)") as Uint8Array;
    expect(foreign).not.toBeInstanceOf(Uint8Array);
    expect(hex(encode(bytes(3), foreign))).toBe("070809");
    expect(decode(bytes(3), foreign)).toEqual(Uint8Array.of(7, 8, 9));
  });

  test.each([5, 100])("reading %i bytes gives a copy that is not shared", (size) => {
    for (const buffer of [new ArrayBuffer(128), new SharedArrayBuffer(128)]) {
      const mem = viewsOf(buffer);
      mem.u8.fill(7);
      const value = bytes(size).read(mem, 3);
      mem.u8.fill(1);
      expect(value).toEqual(new Uint8Array(size).fill(7));
      expect(value.buffer).toBeInstanceOf(ArrayBuffer);
      expect(value.buffer.byteLength).toBe(size);
    }
  });

  test("readInto fills and returns the array given", () => {
    const mem = viewsOf(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8).buffer);
    const out = new Uint8Array(2);
    expect(bytes(2).readInto(mem, 3, out)).toBe(out);
    expect([...out]).toEqual([4, 5]);
    expect(() => bytes(2).readInto(mem, 3, new Uint8Array(3))).toThrow(
      new TypeError("out: expected a Uint8Array of 2 bytes, got Uint8Array of 3 bytes"),
    );
  });

  test.each([8, 64])("a value may overlap its target of %i bytes", (size) => {
    const mem = viewsOf(Uint8Array.from({ length: 128 }, (_, index) => index).buffer);
    bytes(size).write(mem, 2, mem.u8.subarray(0, size));
    expect([...mem.u8.subarray(2, 2 + size)]).toEqual([...Array(size).keys()]);
  });
});

describe("cstring", () => {
  const codec = cstring(8);

  test("ends in NUL and fills the rest with zeros", () => {
    const mem = viewsOf(new ArrayBuffer(16));
    mem.u8.fill(0xff);
    codec.write(mem, 4, "eth0");
    expect(hex(mem.u8)).toBe("ffffffff6574683000000000ffffffff");
    expect(codec.read(mem, 4)).toBe("eth0");
    expect(decode(codec, encode(codec, ""))).toBe("");
    expect(decode(codec, encode(codec, "1234567"))).toBe("1234567");
  });

  test("counts UTF-8 bytes", () => {
    expect(hex(encode(codec, "\u00e4\u20ac"))).toBe("c3a4e282ac000000");
    expect(hex(encode(codec, "\u{1f41d}abc"))).toBe("f09f909d61626300");
    for (const text of ["\u00e4\u20ac", "\u{1f41d}abc", "\ufeffx", "a\u07ff\u0800", "\ufffd"]) {
      expect(decode(codec, encode(codec, text))).toBe(text);
    }
    const message = "value: expected at most 7 UTF-8 bytes and the NUL, got 8 bytes";
    for (const text of ["12345678", "\u{1f41d}\u{1f41d}", "\u20ac\u20ac\u00e4"]) {
      refuses(codec, text, RangeError, message);
    }
  });

  test("refuses what would not read back", () => {
    refuses(codec, "a\0b", RangeError, 'value: expected a string without NUL, got "a\\u0000b"');
    refuses(
      codec,
      "a\ud800",
      RangeError,
      'value: expected a string without lone surrogates, got "a\\ud800"',
    );
    refuses(codec, 5, TypeError, "value: expected a string of at most 7 UTF-8 bytes, got 5");
  });

  test("reads a full field without NUL, bad UTF-8 and shared memory", () => {
    expect(decode(codec, unhex("3132333435363738"))).toBe("12345678");
    expect(decode(codec, unhex("c3a4c3a4c3a4c3a4"))).toBe("\u00e4\u00e4\u00e4\u00e4");
    expect(decode(codec, unhex("61ff620000000000"))).toBe("a\ufffdb");
    const mem = viewsOf(new SharedArrayBuffer(8));
    codec.write(mem, 0, "\u00e4b");
    expect(codec.read(mem, 0)).toBe("\u00e4b");
  });
});

describe("array and perCpu", () => {
  test("array lays elements out at their size", () => {
    const codec = array(u16, 3);
    expect([codec.size, codec.align]).toEqual([6, 2]);
    expect(hex(encode(codec, [1, 2, 3]))).toBe("010002000300");
    expect(decode(codec, unhex("010002000300"))).toEqual([1, 2, 3]);
    expect(encode(array(u32, 0), [])).toHaveLength(0);
  });

  test("array names the element that is wrong", () => {
    const codec = array(array(u8, 2), 2);
    refuses(
      codec,
      [
        [1, 2],
        [3, 256],
      ],
      RangeError,
      "value[1][1]: expected an integer in 0..255, got 256",
    );
    refuses(codec, [[1, 2]], RangeError, "value: expected an array of 2, got 1");
    refuses(codec, [[1, 2], 5], TypeError, "value[1]: expected an array of 2, got 5");
    const message = "value: expected an array of 2, got Uint8Array of 2 bytes";
    refuses(codec, new Uint8Array(2), TypeError, message);
    const hole = [1];
    hole.length = 2;
    const expected = "value[1]: expected an integer in 0..255, got undefined";
    refuses(array(u8, 2), hole, TypeError, expected);
  });

  test("array reads into an array, reusing its elements", () => {
    const codec = array(struct({ a: u8 }), 2);
    const mem = viewsOf(Uint8Array.of(1, 2).buffer);
    const first = { a: 0 };
    const out = [first, { a: 0 }, { a: 9 }];
    expect(codec.readInto(mem, 0, out)).toBe(out);
    expect(out).toEqual([{ a: 1 }, { a: 2 }]);
    expect(out[0]).toBe(first);
  });

  test("perCpu puts one value per CPU into slots of 8 bytes, padded with zeros", () => {
    const codec = perCpu(struct({ a: u32, b: u32, c: u8 }), 2);
    expect([codec.size, codec.align]).toEqual([32, 8]);
    expect(perCpu(u32, 3).size).toBe(24);
    const mem = viewsOf(new ArrayBuffer(40));
    mem.u8.fill(0xff);
    const value = [
      { a: 1, b: 2, c: 3 },
      { a: 4, b: 5, c: 6 },
    ];
    codec.write(mem, 0, value);
    expect(hex(mem.u8)).toBe(
      "0100000002000000030000000000000004000000050000000600000000000000ffffffffffffffff",
    );
    expect(codec.read(mem, 0)).toEqual(value);
  });

  test("perCpu says how many values it wants", () => {
    const expected = "value: expected an array of 2 values, one per possible CPU, got";
    refuses(perCpu(u32, 2), [1], RangeError, `${expected} 1`);
    refuses(perCpu(u32, 2), 1, TypeError, `${expected} 1`);
    const message = "value[1]: expected an integer in 0..4294967295, got -1";
    refuses(perCpu(u32, 2), [0, -1], RangeError, message);
  });
});

describe("codecs of the user's own", () => {
  /** Hundredths of a degree as a float. */
  const celsius: Codec<number> = {
    kind: KIND.OTHER,
    size: 2,
    align: 2,
    read: (mem, ptr) => (mem.i16[ptr >> 1] as number) / 100,
    write: (mem, ptr, value) => {
      if (value > 300) {
        throw new RangeError("too hot");
      }
      if (typeof value !== "number") {
        throw new TypeError("not a temperature");
      }
      mem.i16[ptr >> 1] = Math.round(value * 100);
    },
  };

  test("work as members, and are checked before anything is written", () => {
    const codec = struct({ n: u8, list: array(celsius, 2) });
    expect(codec.size).toBe(6);
    const value = { n: 1, list: [21.5, -3.25] };
    expect(decode(codec, encode(codec, value))).toEqual(value);
    const mem = viewsOf(new ArrayBuffer(8));
    mem.u8.fill(0xee);
    let caught: Error | undefined;
    try {
      codec.write(mem, 0, { n: 1, list: [1, 301] });
    } catch (error) {
      caught = error as Error;
    }
    expect(caught).toBeInstanceOf(RangeError);
    expect(caught?.message).toBe("value.list[1]: too hot");
    expect(caught?.cause).toEqual(new RangeError("too hot"));
    expect(hex(mem.u8)).toBe("ee".repeat(8));
    refuses(codec, { n: 1, list: [1, "x"] }, TypeError, "value.list[1]: not a temperature");
  });

  test("may throw anything, and have a readInto", () => {
    const odd: Codec<{ a: number }> = {
      kind: KIND.OTHER,
      size: 1,
      align: 1,
      read: (mem, ptr) => ({ a: mem.u8[ptr] as number }),
      write: () => {
        // A foreign codec may throw anything.
        throw "a string";
      },
      readInto: (mem, ptr, out) => {
        out.a = mem.u8[ptr] as number;
        return out;
      },
    };
    const codec = struct({ odd });
    refuses(codec, { odd: { a: 1 } }, TypeError, "value.odd: a string");
    const out = { odd: { a: 0 } };
    const { odd: kept } = out;
    codec.readInto(viewsOf(Uint8Array.of(5).buffer), 0, out);
    expect(out).toEqual({ odd: { a: 5 } });
    expect(out.odd).toBe(kept);
    const broken: Codec<number> = {
      ...celsius,
      read: () => {
        throw new Error("its own");
      },
    };
    expect(() => decode(struct({ broken }), new Uint8Array(2))).toThrow(new Error("its own"));
  });

  test.each([
    [{ ...celsius, size: -1 }],
    [{ ...celsius, align: 3 }],
    [{ ...celsius, align: 0 }],
    [{ ...celsius, read: 1 }],
    [{ ...celsius, write: undefined }],
    [null],
    ["u32"],
  ])("are refused when they are none: %o", (codec) => {
    expect(() => array(codec as unknown as Codec<number>, 2)).toThrow(
      /^array: codec: expected a codec, got /,
    );
  });
});

describe("helpers", () => {
  test("viewsOf covers a memory whose length is no multiple of 8", () => {
    const views = viewsOf(new ArrayBuffer(13));
    expect([views.u8, views.u16, views.u32, views.u64].map((view) => view.length)).toEqual([
      13, 6, 3, 1,
    ]);
    expect([views.i8, views.i16, views.i32, views.i64].map((view) => view.length)).toEqual([
      13, 6, 3, 1,
    ]);
    expect([views.f32.length, views.f64.length, views.dv.byteLength]).toEqual([3, 1, 13]);
  });

  test("encode gives fresh bytes, decode takes bytes at any place", () => {
    expect(encode(u32, 1)).not.toBe(encode(u32, 1));
    const whole = Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(decode(u32, whole.subarray(1))).toBe(0x04030201);
    expect(decode(u32be, whole.subarray(4))).toBe(0x04050607);
    expect(decode(u8, whole.subarray(8))).toBe(8);
    expect(() => decode(u32, whole.subarray(6))).toThrow(
      new RangeError("bytes: expected at least 4 bytes, got Uint8Array of 3 bytes"),
    );
  });

  test("sizes and counts are checked", () => {
    const message = "expected an integer of at least";
    expect(() => bytes(-1)).toThrow(new RangeError(`bytes: size: ${message} 0, got -1`));
    expect(() => bytes("4" as unknown as number)).toThrow(
      new TypeError('bytes: size: expected a number, got "4"'),
    );
    expect(() => cstring(0)).toThrow(new RangeError(`cstring: size: ${message} 1, got 0`));
    expect(() => array(u8, 1.5)).toThrow(new RangeError(`array: count: ${message} 0, got 1.5`));
    expect(() => perCpu(u8, 0)).toThrow(new RangeError(`perCpu: cpus: ${message} 1, got 0`));
  });

  test("error messages show values shortly", () => {
    const expected = "value: expected a boolean, got";
    refuses(bool, "x".repeat(60), TypeError, `${expected} "${"x".repeat(48)}\u2026"`);
    const many = { a: 1, b: 2, c: 3, d: 4, e: 5 };
    refuses(bool, many, TypeError, `${expected} an object {a, b, c, d, \u2026}`);
    refuses(bool, () => 1, TypeError, `${expected} a function`);
    refuses(bool, Symbol("s"), TypeError, `${expected} Symbol(s)`);
  });
});

// Properties of all codecs: round trips, byte order, alignment, padding, all-or-nothing writes.

import { isIPv4, isIPv6 } from "node:net";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  array,
  decode,
  encode,
  i16,
  i16be,
  i32,
  i32be,
  i64,
  i64be,
  ipv4,
  ipv6,
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
import type { Codec, MemoryViews, StructCodec, StructMembers } from "../../ts/codec.js";
import { anySample, intSample, structSample } from "../support/codec-arbitraries.js";

/** A memory filled with one byte, with room for a value at `ptr` and 8 bytes behind it. */
function filledMemory(size: number, fill: number, shared: boolean): MemoryViews {
  const length = size + 8;
  const mem = viewsOf(shared ? new SharedArrayBuffer(length) : new ArrayBuffer(length));
  mem.u8.fill(fill);
  return mem;
}

function accepts(codec: Codec<string>, text: string): boolean {
  try {
    encode(codec, text);
    return true;
  } catch {
    return false;
  }
}

describe("every codec", () => {
  test("reads back what it wrote, at any address, in shared memory too", () => {
    fc.assert(
      fc.property(anySample, fc.nat(9), fc.boolean(), ({ codec, value }, ptr, shared) => {
        const mem = filledMemory(ptr + codec.size, 0xff, shared);
        codec.write(mem, ptr, value);
        expect(codec.read(mem, ptr)).toStrictEqual(value);
      }),
    );
  });

  test("writes the same bytes over any old content, and only its own", () => {
    fc.assert(
      fc.property(anySample, fc.nat(9), ({ codec, value }, ptr) => {
        const [zeros, ones] = [0, 0xff].map((fill) => {
          const mem = filledMemory(ptr + codec.size, fill, false);
          codec.write(mem, ptr, value);
          const { u8: all } = mem;
          expect([...all.subarray(0, ptr), ...all.subarray(ptr + codec.size)]).toEqual(
            Array.from({ length: ptr + 8 }, () => fill),
          );
          return [...all.subarray(ptr, ptr + codec.size)];
        });
        expect(zeros).toEqual(ones);
      }),
    );
  });

  test("reads into an old value what it reads afresh", () => {
    fc.assert(
      fc.property(anySample, ({ codec, value }) => {
        const mem = viewsOf(encode(codec, value).buffer);
        const old = codec.read(viewsOf(new ArrayBuffer(codec.size)), 0);
        expect(codec.readInto?.(mem, 0, old) ?? codec.read(mem, 0)).toStrictEqual(value);
      }),
    );
  });

  test("has a size that is a multiple of its alignment", () => {
    fc.assert(
      fc.property(structSample(anySample), ({ codec }) => {
        expect(Number.isInteger(Math.log2(codec.align))).toBe(true);
        expect(codec.size % codec.align).toBe(0);
        const { fields, packed } = codec as unknown as StructCodec<StructMembers>;
        for (const { member, offset, bits } of fields) {
          if (bits === undefined && !packed) {
            const { align } = member as Codec<unknown>;
            expect([offset % align, codec.align >= align]).toEqual([0, true]);
          }
        }
      }),
    );
  });

  test("leaves the memory alone when any part of the value is wrong", () => {
    fc.assert(
      fc.property(structSample(anySample), fc.constantFrom(null, {}, -0.5), (inner, wrong) => {
        const codec = struct({ first: inner.codec, bad: u8, last: inner.codec });
        const outer = array(codec, 2) as Codec<unknown>;
        const good = { first: inner.value, bad: 1, last: inner.value };
        const mem = filledMemory(outer.size, 0xa5, false);
        expect(() => outer.write(mem, 0, [good, { ...good, bad: wrong }], "key")).toThrow(
          "key[1].bad: expected an integer in 0..255, got ",
        );
        expect(mem.u8.every((byte) => byte === 0xa5)).toBe(true);
      }),
    );
  });
});

describe("structs", () => {
  test("views show and change the members that reading gives", () => {
    fc.assert(
      fc.property(structSample(intSample), fc.nat(9), ({ codec, value }, ptr) => {
        const typed = codec as unknown as StructCodec<StructMembers>;
        const mem = filledMemory(ptr + codec.size, 0, false);
        const view = typed.view().at(mem, ptr) as Record<string, unknown>;
        Object.assign(view, value);
        expect(codec.read(mem, ptr)).toStrictEqual(value);
        expect([...mem.u8.subarray(ptr, ptr + codec.size)]).toEqual([...encode(codec, value)]);
        for (const [name, member] of Object.entries(value as object)) {
          expect(view[name]).toBe(member);
        }
      }),
    );
  });

  test("a union's members are its bytes read by each codec", () => {
    fc.assert(
      fc.property(anySample, ({ codec: inner, value }) => {
        const codec = union({ one: inner, raw: array(u8, inner.size), byte: u8 });
        const data = encode(inner, value);
        const written = encode(codec, { one: value });
        expect(written.subarray(0, inner.size)).toEqual(data);
        expect(written.subarray(inner.size).every((byte) => byte === 0)).toBe(true);
        expect(encode(codec, { raw: [...data] })).toEqual(written);
        const all = { one: value, raw: [...data], byte: data[0] ?? 0 };
        expect(decode(codec, written)).toStrictEqual(all);
      }),
    );
  });
});

describe("byte order", () => {
  test.each([
    ["u16", u16, u16be],
    ["i16", i16, i16be],
    ["u32", u32, u32be],
    ["i32", i32, i32be],
  ])("%s in network order is the reverse of host order", (_name, host, network) => {
    fc.assert(
      fc.property(fc.integer(host), (value) => {
        expect([...encode(network, value)]).toEqual([...encode(host, value)].toReversed());
      }),
    );
  });

  test.each([
    ["u64", u64, u64be],
    ["i64", i64, i64be],
  ])("%s in network order is the reverse of host order", (_name, host, network) => {
    fc.assert(
      fc.property(fc.bigInt(host), (value) => {
        expect([...encode(network, value)]).toEqual([...encode(host, value)].toReversed());
      }),
    );
  });

  test("asNumber has the bytes of the bigint", () => {
    for (const codec of [u64, i64]) {
      fc.assert(
        fc.property(fc.integer(codec.asNumber), (value) => {
          const data = encode(codec.asNumber, value);
          expect([...data]).toEqual([...encode(codec, BigInt(value))]);
          expect(decode(codec.asNumber, data)).toBe(value);
        }),
      );
    }
  });

  test("a 64-bit integer reads as a number exactly when it is a safe one", () => {
    for (const codec of [u64, i64]) {
      fc.assert(
        fc.property(fc.bigInt(codec), (value) => {
          const data = encode(codec, value);
          if (Number.isSafeInteger(Number(value))) {
            expect(decode(codec.asNumber, data)).toBe(Number(value));
          } else {
            expect(() => decode(codec.asNumber, data)).toThrow(RangeError);
          }
        }),
      );
    }
  });
});

describe("addresses", () => {
  const piece = fc.constantFrom("0", "1", "255", "256", "ffff", "1.2.3.4", ".", ":", "::", "g");
  const nearAddress = fc.array(piece, { maxLength: 16 }).map((pieces) => pieces.join(""));

  test("any four bytes are an IPv4 address and come back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (data) => {
        const text = decode(ipv4, data);
        expect(isIPv4(text)).toBe(true);
        expect(encode(ipv4, text)).toEqual(data);
      }),
    );
  });

  test("any sixteen bytes are an IPv6 address in the form that URLs have", () => {
    const group = fc.oneof(
      fc.constant(0),
      fc.constant(0xffff),
      fc.integer({ min: 0, max: 0xffff }),
    );
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const data = encode(array(u16be, 8), groups);
        const text = decode(ipv6, data);
        expect(encode(ipv6, text)).toEqual(data);
        if (!text.includes(".")) {
          expect(new URL(`http://[${text}]/`).hostname).toBe(`[${text}]`);
        }
      }),
    );
  });

  test("texts are accepted exactly when the system's parser accepts them", () => {
    fc.assert(
      fc.property(fc.oneof(nearAddress, fc.ipV4Extended(), fc.ipV6()), (text) => {
        expect(accepts(ipv4, text)).toBe(isIPv4(text));
        expect(accepts(ipv6, text)).toBe(isIPv6(text));
      }),
      { numRuns: 1000 },
    );
  });
});

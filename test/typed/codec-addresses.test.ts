// IP addresses and LPM keys: notations, bytes and refusals.

import { describe, expect, test } from "vitest";
import {
  bytes,
  decode,
  encode,
  ipv4,
  ipv6,
  lpmKey,
  struct,
  u16be,
  u64,
  viewsOf,
} from "../../ts/codec.js";
import { hex, refuses, unhex } from "../support/codec.js";

describe("addresses", () => {
  test("ipv4 is four bytes in network order", () => {
    expect([ipv4.size, ipv4.align, ipv4.bits]).toEqual([4, 1, 32]);
    expect(hex(encode(ipv4, "192.168.0.255"))).toBe("c0a800ff");
    expect(decode(ipv4, unhex("c0a800ff"))).toBe("192.168.0.255");
    expect(hex(encode(ipv4, "255.255.255.255"))).toBe("ffffffff");
  });

  test.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.",
    ".1.2.3",
    "1..2.3",
    "256.0.0.1",
    "01.2.3.4",
    "1.2.3.4 ",
    "1.2.3.-4",
    "0x1.2.3.4",
    "1.2.3.00",
    "::1",
  ])("ipv4 refuses %j", (text) => {
    const message = `value: expected an IPv4 address such as "10.0.0.1", got ${JSON.stringify(text)}`;
    refuses(ipv4, text, RangeError, message);
  });

  test.each([
    // RFC 5952, sections 1 and 4, and RFC 4291, section 2.2.
    ["2001:db8::1", "20010db8000000000000000000000001", "2001:0db8:0:0:0:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "20010db8000000010001000100010001", "2001:DB8::1:1:1:1:1"],
    ["2001:db8::1:0:0:1", "20010db8000000000001000000000001", "2001:db8:0:0:1::1"],
    ["2001:0:0:1::1", "20010000000000010000000000000001", "2001::1:0:0:0:1"],
    ["::", "0".repeat(32), "0:0:0:0:0:0:0:0"],
    ["::1", `${"0".repeat(31)}1`, "::0.0.0.1"],
    ["1::", `0001${"0".repeat(28)}`, "1:0::"],
    ["::ffff:192.0.2.1", "00000000000000000000ffffc0000201", "::ffff:c000:201"],
    ["fe80::a:b:c:d", "fe80000000000000000a000b000c000d", "FE80:0::a:b:c:d"],
    ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008", "1:2:3:4:5:6:0.7.0.8"],
    ["0:2:3:4:5:6:7:8", "00000002000300040005000600070008", "::2:3:4:5:6:7:8"],
  ])("ipv6 reads %s in its one form and writes all forms", (text, data, other) => {
    expect([ipv6.size, ipv6.align, ipv6.bits]).toEqual([16, 1, 128]);
    expect(decode(ipv6, unhex(data))).toBe(text);
    expect(hex(encode(ipv6, text))).toBe(data);
    expect(hex(encode(ipv6, other))).toBe(data);
  });

  test.each([
    "",
    ":",
    ":::",
    "1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "1::2::3",
    ":1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "::1.2.3",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "10.0.0.1",
    " ::1",
  ])("ipv6 refuses %j", (text) => {
    const expected = 'value: expected an IPv6 address such as "2001:db8::1", got';
    refuses(ipv6, text, RangeError, `${expected} ${JSON.stringify(text)}`);
  });

  test("addresses are strings", () => {
    const message = 'value: expected an IPv4 address such as "10.0.0.1", got 167772161';
    refuses(ipv4, 0x0a000001, TypeError, message);
    const got = "Uint8Array of 16 bytes";
    const expected = `value: expected an IPv6 address such as "2001:db8::1", got ${got}`;
    refuses(ipv6, new Uint8Array(16), TypeError, expected);
  });
});

describe("lpmKey", () => {
  const key4 = lpmKey(ipv4);

  test("is prefixlen in host order and the data", () => {
    expect([key4.size, key4.align]).toEqual([8, 4]);
    expect([lpmKey(ipv6).size, lpmKey(bytes(5)).size]).toEqual([20, 9]);
    expect(hex(encode(key4, { prefixlen: 24, data: "10.1.2.0" }))).toBe("180000000a010200");
    expect(decode(key4, unhex("180000000a010200"))).toEqual({ prefixlen: 24, data: "10.1.2.0" });
    expect(hex(encode(lpmKey(bytes(2)), { prefixlen: 9, data: Uint8Array.of(1, 128) }))).toBe(
      "090000000180",
    );
  });

  test("takes prefixes as text and keeps the bits beyond the prefix", () => {
    expect(hex(encode(key4, "10.0.0.0/8"))).toBe("080000000a000000");
    expect(hex(encode(key4, "10.1.2.3/8"))).toBe("080000000a010203");
    expect(hex(encode(key4, "0.0.0.0/0"))).toBe("0000000000000000");
    expect(hex(encode(key4, "10.1.2.3"))).toBe("200000000a010203");
    expect(hex(encode(lpmKey(ipv6), "2001:db8::/32"))).toBe(
      "2000000020010db8000000000000000000000000",
    );
    expect(decode(lpmKey(ipv6), encode(lpmKey(ipv6), "::1"))).toEqual({
      prefixlen: 128,
      data: "::1",
    });
  });

  test("refuses prefixes that are longer than the data", () => {
    const message = "value.prefixlen: expected an integer in 0..32, got";
    refuses(key4, { prefixlen: 33, data: "10.0.0.0" }, RangeError, `${message} 33`);
    refuses(key4, { prefixlen: -1, data: "10.0.0.0" }, RangeError, `${message} -1`);
    refuses(key4, { prefixlen: 1.5, data: "10.0.0.0" }, RangeError, `${message} 1.5`);
    refuses(key4, { prefixlen: "8", data: "10.0.0.0" }, TypeError, `${message} "8"`);
    refuses(key4, { data: "10.0.0.0" }, TypeError, `${message} undefined`);
    const expected = 'value: expected {prefixlen, data} or a prefix such as "10.0.0.0/8", got';
    for (const text of ["10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "10.0.0.0/08", "10.0.0.0/8/8"]) {
      refuses(key4, text, RangeError, `${expected} "${text}"`);
    }
    refuses(key4, 8, TypeError, `${expected} 8`);
  });

  test("names the data, and takes text with addresses only", () => {
    refuses(
      key4,
      { prefixlen: 8, data: "10.0.0" },
      RangeError,
      'value.data: expected an IPv4 address such as "10.0.0.1", got "10.0.0"',
    );
    const expected = 'value: expected {prefixlen, data}, got "10.0.0.0/8"';
    refuses(lpmKey(bytes(4)), "10.0.0.0/8", TypeError, expected);
  });

  test("reads into an object and its data", () => {
    const codec = lpmKey(bytes(4));
    const out = { prefixlen: 0, data: new Uint8Array(4) };
    const { data } = out;
    const mem = viewsOf(unhex("080000000a000001").buffer);
    expect(codec.readInto?.(mem, 0, out)).toBe(out);
    expect(out).toEqual({ prefixlen: 8, data: Uint8Array.of(10, 0, 0, 1) });
    expect(out.data).toBe(data);
  });

  test("takes any data that may sit at offset 4", () => {
    const codec = lpmKey(struct({ port: u16be, addr: ipv4 }));
    expect(hex(encode(codec, { prefixlen: 48, data: { port: 80, addr: "1.2.3.4" } }))).toBe(
      "30000000005001020304",
    );
    expect(() => lpmKey(u64)).toThrow(
      new TypeError("lpmKey: data: expected an alignment of at most 4, got 8"),
    );
  });
});

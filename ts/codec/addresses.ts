// IP addresses as text, in network order, and the keys of LPM tries.

import { BaseCodec, KIND, memberCodec, shelterReads } from "./base.js";
import type { AnyCodec, Codec, Infer, InferInput, MemberCodec, MemoryViews } from "./base.js";
import { locate, Problem } from "./problem.js";
import { readMember } from "./sequences.js";

/** An address codec: text on one side, `bits` bits in network order on the other. */
export abstract class AddressCodec extends BaseCodec<string> {
  /** Bits of an address: 32 or 128. */
  get bits(): number {
    return this.size * 8;
  }

  /** What the codec accepts, for error messages. */
  protected abstract readonly expected: string;

  protected abstract isAddress(text: string): boolean;

  check(value: unknown): Problem | undefined {
    if (typeof value !== "string") {
      return Problem.type(this.expected, value);
    }
    return this.isAddress(value) ? undefined : Problem.range(this.expected, value);
  }
}

const DOT = 0x2e;
const DIGIT_0 = 0x30;

/**
 * Parses a dotted address into 32 bits (host order, 0..2^32-1); -1 when it is not one.
 * Leading zeros are refused, because some parsers take them for octal.
 */
function parseIpv4(text: string): number {
  let address = 0;
  let part = 0;
  let digits = 0;
  let dots = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit === DOT) {
      if (digits === 0 || ++dots > 3) {
        return -1;
      }
      address = address * 256 + part;
      part = 0;
      digits = 0;
      continue;
    }
    const digit = unit - DIGIT_0;
    if (digit < 0 || digit > 9 || (digits > 0 && part === 0)) {
      return -1;
    }
    part = part * 10 + digit;
    digits++;
    if (part > 255) {
      return -1;
    }
  }
  return dots === 3 && digits > 0 ? address * 256 + part : -1;
}

class Ipv4Codec extends AddressCodec {
  protected readonly expected = 'an IPv4 address such as "10.0.0.1"';

  constructor() {
    super(KIND.OTHER, 4, 1);
  }

  protected isAddress(text: string): boolean {
    return parseIpv4(text) >= 0;
  }

  read(mem: MemoryViews, ptr: number): string {
    const { u8 } = mem;
    return `${u8[ptr]}.${u8[ptr + 1]}.${u8[ptr + 2]}.${u8[ptr + 3]}`;
  }

  put(mem: MemoryViews, ptr: number, value: string): void {
    mem.dv.setUint32(ptr, parseIpv4(value), false);
  }
}

/** Sixteen-bit groups of an IPv6 address. */
const GROUPS = 8;
const GROUP = /^[0-9a-f]{1,4}$/i;

/** Parses the groups of one side of "::"; an IPv4 tail counts as two. Undefined when malformed. */
function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  const groups: number[] = [];
  if (text === "") {
    return groups;
  }
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const tail = mayEndInIpv4 && index === parts.length - 1 ? parseIpv4(part) : -1;
    if (tail < 0) {
      return undefined;
    }
    groups.push(tail >>> 16, tail & 0xffff);
  }
  return groups;
}

/** Parses any RFC 4291 notation into eight groups; undefined when it is none (zones are not). */
function parseIpv6(text: string): number[] | undefined {
  const gap = text.indexOf("::");
  if (gap < 0) {
    const groups = parseGroups(text, true);
    return groups?.length === GROUPS ? groups : undefined;
  }
  const head = parseGroups(text.slice(0, gap), false);
  const tail = parseGroups(text.slice(gap + 2), true);
  if (head === undefined || tail === undefined || head.length + tail.length >= GROUPS) {
    return undefined;
  }
  const zeros = Array.from({ length: GROUPS - head.length - tail.length }, () => 0);
  return [...head, ...zeros, ...tail];
}

function joinGroups(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(":");
}

/** Formats eight groups as RFC 5952 recommends. */
function formatIpv6(groups: readonly number[]): string {
  const [g0, g1, g2, g3, g4, g5, g6 = 0, g7 = 0] = groups;
  if (g0 === 0 && g1 === 0 && g2 === 0 && g3 === 0 && g4 === 0 && g5 === 0xffff) {
    return `::ffff:${g6 >> 8}.${g6 & 0xff}.${g7 >> 8}.${g7 & 0xff}`;
  }
  // The longest run of at least two zero groups is shortened, the first of equals.
  let start = -1;
  let length = 1;
  let run = 0;
  for (let index = 0; index < GROUPS; index++) {
    run = groups[index] === 0 ? run + 1 : 0;
    if (run > length) {
      length = run;
      start = index - run + 1;
    }
  }
  return start < 0
    ? joinGroups(groups)
    : `${joinGroups(groups.slice(0, start))}::${joinGroups(groups.slice(start + length))}`;
}

class Ipv6Codec extends AddressCodec {
  protected readonly expected = 'an IPv6 address such as "2001:db8::1"';

  constructor() {
    super(KIND.OTHER, 16, 1);
  }

  protected isAddress(text: string): boolean {
    return parseIpv6(text) !== undefined;
  }

  read(mem: MemoryViews, ptr: number): string {
    const groups: number[] = [];
    for (let index = 0; index < GROUPS; index++) {
      groups.push(mem.dv.getUint16(ptr + 2 * index, false));
    }
    return formatIpv6(groups);
  }

  put(mem: MemoryViews, ptr: number, value: string): void {
    for (const [index, group] of (parseIpv6(value) ?? []).entries()) {
      mem.dv.setUint16(ptr + 2 * index, group, false);
    }
  }
}

/** Four bytes in network order as dotted text, `"10.0.0.1"` (alignment 1). */
export const ipv4: AddressCodec = /* @__PURE__ */ new Ipv4Codec();

/**
 * Sixteen bytes in network order as text (alignment 1). Reads in the RFC 5952 form
 * (`"2001:db8::1"`, `"::ffff:192.0.2.1"`); writes any RFC 4291 notation, without a zone.
 */
export const ipv6: AddressCodec = /* @__PURE__ */ new Ipv6Codec();

/** Key of an LPM trie: the first `prefixlen` bits of `data` count. */
export interface LpmKey<T> {
  /** Bits, 0..8 * size of the data. */
  prefixlen: number;
  data: T;
}

/** Bytes before the data: `__u32 prefixlen`. */
const PREFIXLEN_SIZE = 4;
const PREFIX_DIGITS = /^(?:0|[1-9]\d{0,2})$/;

class LpmKeyCodec extends BaseCodec<LpmKey<unknown>, LpmKey<unknown> | string> {
  readonly #data: MemberCodec;
  readonly #maxPrefixlen: number;
  readonly #isAddress: boolean;
  readonly #expected: string;

  constructor(data: MemberCodec) {
    super(KIND.OTHER, PREFIXLEN_SIZE + data.size, PREFIXLEN_SIZE);
    this.#data = data;
    this.#maxPrefixlen = data.size * 8;
    this.#isAddress = data instanceof AddressCodec;
    const example = data.size === 4 ? "10.0.0.0/8" : "2001:db8::/32";
    this.#expected = this.#isAddress
      ? `{prefixlen, data} or a prefix such as "${example}"`
      : "{prefixlen, data}";
    shelterReads(this, [data]);
  }

  read(mem: MemoryViews, ptr: number): LpmKey<unknown> {
    return this.readInto(mem, ptr, { prefixlen: 0, data: undefined });
  }

  readInto(mem: MemoryViews, ptr: number, out: LpmKey<unknown>): LpmKey<unknown> {
    out.prefixlen = mem.dv.getUint32(ptr, true);
    try {
      out.data = readMember(this.#data, mem, ptr + PREFIXLEN_SIZE, out.data);
    } catch (error) {
      throw locate(error, ".data");
    }
    return out;
  }

  check(value: unknown): Problem | undefined {
    if (typeof value === "string" && this.#isAddress) {
      return this.#parse(value) === undefined ? Problem.range(this.#expected, value) : undefined;
    }
    if (typeof value !== "object" || value === null) {
      return Problem.type(this.#expected, value);
    }
    const { prefixlen, data } = value as Partial<LpmKey<unknown>>;
    const expected = `an integer in 0..${this.#maxPrefixlen}`;
    if (typeof prefixlen !== "number") {
      return Problem.type(expected, prefixlen).within(".prefixlen");
    }
    if (!Number.isInteger(prefixlen) || prefixlen < 0 || prefixlen > this.#maxPrefixlen) {
      return Problem.range(expected, prefixlen).within(".prefixlen");
    }
    return this.#data.check(data)?.within(".data");
  }

  put(mem: MemoryViews, ptr: number, value: LpmKey<unknown> | string): void {
    const key = typeof value === "string" ? this.#parse(value) : value;
    if (key !== undefined) {
      mem.dv.setUint32(ptr, key.prefixlen, true);
      this.#data.put(mem, ptr + PREFIXLEN_SIZE, key.data);
    }
  }

  /** Parses "address/prefixlen", or an address alone as the prefix of all its bits. */
  #parse(text: string): LpmKey<unknown> | undefined {
    const slash = text.indexOf("/");
    const data = slash < 0 ? text : text.slice(0, slash);
    const digits = slash < 0 ? String(this.#maxPrefixlen) : text.slice(slash + 1);
    const prefixlen = PREFIX_DIGITS.test(digits) ? Number(digits) : Infinity;
    return prefixlen <= this.#maxPrefixlen && this.#data.check(data) === undefined
      ? { prefixlen, data }
      : undefined;
  }
}

/**
 * `struct bpf_lpm_trie_key`: `__u32 prefixlen` (in bits) and the data, without padding after it.
 *
 * With `ipv4` or `ipv6` data, writing also accepts text: `"10.0.0.0/8"`, or a bare address for
 * all its bits, as lookups want it. Bits beyond the prefix are stored as given, as the kernel does.
 * @param data  codec of the data; its alignment is at most 4 (`bytes`, `ipv4`, `ipv6`, a struct)
 * @example
 * ```ts
 * const key = lpmKey(ipv4);
 * encode(key, "10.0.0.0/8"); // the same bytes as { prefixlen: 8, data: "10.0.0.0" }
 * ```
 */
export function lpmKey(data: AddressCodec): Codec<LpmKey<string>, LpmKey<string> | string>;
export function lpmKey<C extends AnyCodec>(data: C): Codec<LpmKey<Infer<C>>, LpmKey<InferInput<C>>>;
export function lpmKey(data: AnyCodec): AnyCodec {
  const member = memberCodec(data, "lpmKey: data");
  if (member.align > PREFIXLEN_SIZE) {
    throw new TypeError(`lpmKey: data: expected an alignment of at most 4, got ${member.align}`);
  }
  return new LpmKeyCodec(member);
}

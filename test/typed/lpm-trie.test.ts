// LpmTrie, the typed LPM_TRIE: keys, longest matches of one and of many addresses, batches.

import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import {
  BPF_F_WRONLY,
  BPF_MAP_LOOKUP_AND_DELETE_BATCH,
  ENOTSUPP,
  bytes,
  encode,
  ipv4,
  ipv6,
  lpmKey,
  u32,
  u64,
} from "../../ts/api.js";
import type { LpmKey } from "../../ts/api.js";
import { describeEachBuild } from "../support/builds.js";

const one = Uint32Array.of(1);

/** What `run` throws. */
function catching(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

describeEachBuild("LpmTrie", (build) => {
  it("matches the longest prefix of an address", async () => {
    const rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 8 });
    routes.set("10.0.0.0/8", 1).set("10.1.0.0/16", 2).set("10.1.2.3/32", 3);
    expect(routes.match("10.1.2.3")).toBe(3);
    expect(routes.match("10.1.2.4")).toBe(2);
    expect(routes.match("10.9.9.9")).toBe(1);
    expect(routes.match("11.0.0.0")).toBeUndefined();
    expect([0x0a010203, 0x0a010204, 0x0a090909, 0x0b000000].map((a) => routes.matchU32(a))).toEqual(
      [3, 2, 1, undefined],
    );
    // 200.0.0.1 as an unsigned number and as a signed one.
    routes.set("200.0.0.0/8", 4);
    for (const address of [0xc8000001, 0xc8000001 | 0]) expect(routes.matchU32(address)).toBe(4);
    for (const address of [2 ** 32, -(2 ** 31) - 1, 0.5, NaN, Infinity])
      expect(() => routes.matchU32(address)).toThrow(RangeError);
    for (const address of ["10.1.2.3", 1n, undefined, null] as never[])
      expect(() => routes.matchU32(address)).toThrow(TypeError);
    // The length of a looked-up prefix caps the match.
    expect(routes.get("10.1.2.3/16")).toBe(2);
    expect(routes.get("10.1.2.3/15")).toBe(1);
    rt.dispose();
  });

  it("walks in the kernel's order, counts, deletes, clears", async () => {
    const rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 8 });
    for (const [i, prefix] of ["0.0.0.0/0", "192.168.0.0/16", "192.168.1.0/24"].entries()) {
      routes.set(prefix, i);
    }
    expect([...routes.keys()].map(({ prefixlen }) => prefixlen)).toEqual([24, 16, 0]);
    expect(routes.size).toBe(3);
    expect(routes.delete("192.168.0.0/16")).toBe(true);
    expect(routes.delete("192.168.0.0/16")).toBe(false);
    routes.clear();
    expect(routes.size).toBe(0);
    rt.dispose();
  });

  it("takes IPv6, and refuses numbers there", async () => {
    const rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv6), value: u32, maxEntries: 8 });
    routes.set("2001:db8::/32", 7);
    expect(routes.match("2001:db8::1")).toBe(7);
    expect(() => routes.matchU32(1)).toThrow(TypeError);
    routes.close();
    expect(() => routes.match("2001:db8::1")).toThrow(/closed/);
    rt.dispose();
  });

  it("says when it is full, as the kernel does with ENOSPC", async () => {
    const rt = await build.createRuntime();
    const routes = rt.createMap({
      type: "lpm_trie",
      key: lpmKey(ipv4),
      value: u32,
      maxEntries: 1,
      name: "routes",
    });
    routes.set("1.1.1.1/32", 1);
    const isFull = "ENOSPC: map 'routes' is full (maxEntries 1)";
    expect(() => routes.set("1.1.1.2/32", 1)).toThrow(isFull);
    expect(() => routes.update("1.1.1.2/32", 1)).toThrow(isFull);
    expect(() => routes.updateBatch([["1.1.1.2/32", 1]])).toThrow(isFull);
    expect(() => routes.setMany(Uint8Array.of(32, 0, 0, 0, 1, 1, 1, 2), one)).toThrow(isFull);
    rt.dispose();
  });

  it("has the batches that the kernel gives it", async () => {
    using rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 9 });
    const prefixes = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.168.0.0/16"];
    routes.updateBatch(prefixes.map((prefix, i) => [prefix, i + 1] as const));
    for (const count of [1, 3, 4, 100]) {
      const cursor = routes.batchCursor();
      const entries: [LpmKey<string>, number][] = [];
      while (!cursor.done) entries.push(...routes.lookupBatch(cursor, count));
      expect(entries).toEqual([...routes]);
    }
    const error = catching(() => routes.deleteBatch(["10.0.0.0/8", "11.0.0.0/8", "10.1.0.0/16"]));
    expect(error).toMatchObject({ code: "ENOENT", count: 1 });
    expect(routes.size).toBe(3);
    const batch = { cmd: BPF_MAP_LOOKUP_AND_DELETE_BATCH, attr: new Uint8Array(56) };
    new DataView(batch.attr.buffer).setInt32(36, routes.fd, true);
    expect(rt.bpf(batch.cmd, batch.attr)).toBe(-ENOTSUPP);
    expect("lookupAndDeleteBatch" in routes).toBe(false);
  });

  it("moves prefixes as typed arrays; a lookup matches as get does", async () => {
    using rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 9 });
    const keys = Uint8Array.of(8, 0, 0, 0, 10, 0, 0, 0, 16, 0, 0, 0, 10, 1, 0, 0);
    routes.setMany(keys, Uint32Array.of(1, 2));
    expect([routes.get("10.0.0.0/8"), routes.get("10.1.0.0/16")]).toEqual([1, 2]);
    const out = new Uint32Array(4);
    const found = new Uint8Array(4);
    const asked = ["10.1.2.3/32", "10.1.2.3/15", "10.1.2.3/7", "10.1.0.0/16"];
    const keysAsked = Uint8Array.from(asked.flatMap((key) => [...encode(lpmKey(ipv4), key)]));
    expect(routes.getMany(keysAsked, out, found)).toBe(3);
    expect([[...out], [...found]]).toEqual([
      [2, 1, 0, 2],
      [1, 1, 0, 1],
    ]);
    expect(routes.deleteMany(keysAsked)).toBe(1);
    expect([routes.size, routes.deleteMany(keys), routes.size]).toEqual([1, 1, 0]);
  });

  it("batches goes on where it was when prefixes are deleted on the way", async () => {
    using rt = await build.createRuntime();
    const routes = rt.createMap({
      type: "lpm_trie",
      key: lpmKey(ipv4),
      value: u32,
      maxEntries: 100,
    });
    for (let i = 0; i < 100; i++) routes.set(`10.${i}.0.0/16`, i);
    const seen: number[] = [];
    const sizes: number[] = [];
    for (const { keys, values, count } of routes.batches(16)) {
      seen.push(...values);
      sizes.push(count, keys.length, values.length);
      if (seen.length % 32 === 0) routes.deleteBatch(keys);
      else routes.delete(keys.at(-1)!);
    }
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(sizes).toEqual([...Array.from({ length: 18 }, () => 16), 4, 4, 4]);
    expect(() => routes.batches(0).next()).toThrow(RangeError);
    for (const _ of routes.batches(4)) break;
    const before = rt.exports.mem_used();
    for (const _ of routes.batches(4)) break;
    expect(rt.exports.mem_used()).toBe(before);
  });

  it("matches many addresses at once, as bytes and as numbers", async () => {
    using rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 9 });
    routes.set("10.0.0.0/8", 1).set("10.1.0.0/16", 2).set("200.0.0.0/8", 3);
    const numbers = Uint32Array.of(0x0a010203, 0x0b000000, 0x0a020000, 0xc8000001);
    const out = new Uint32Array(5).fill(9);
    const found = new Uint8Array(4);
    const expected = [
      [2, 0, 1, 3, 9],
      [1, 0, 1, 1],
    ];
    const inBytes = Uint8Array.of(10, 1, 2, 3, 11, 0, 0, 0, 10, 2, 0, 0, 200, 0, 0, 1);
    for (const match of [
      () => routes.matchManyU32(numbers, out, found),
      () => routes.matchManyU32(Int32Array.from(numbers), out, found),
      () => routes.matchMany(inBytes, out, found),
      () => routes.matchMany(Buffer.from(inBytes), out, found),
    ]) {
      out.fill(9);
      found.fill(9);
      expect(match()).toBe(3);
      expect([[...out], [...found]]).toEqual(expected);
    }
    expect(routes.matchManyU32(new Uint32Array(0), out)).toBe(0);
    // Arrays of another realm.
    const foreignBytes = runInNewContext("Uint8Array.of(10, 0, 0, 1)") as Uint8Array;
    const foreignWords = runInNewContext("Uint32Array.of(0x0a000001)") as Uint32Array;
    const isFound = runInNewContext("new Uint8Array(1)") as Uint8Array;
    expect(routes.matchMany(foreignBytes, out, isFound)).toBe(1);
    expect(routes.matchManyU32(foreignWords, out, isFound)).toBe(1);
    expect([...isFound]).toEqual([1]);

    const six = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv6), value: u64, maxEntries: 9 });
    six.set("2001:db8::/32", 7n);
    const words = new BigUint64Array(2).fill(9n);
    const addresses = ["2001:db8::1", "2002::1"].flatMap((text) => [...encode(ipv6, text)]);
    expect(six.matchMany(Uint8Array.from(addresses), words)).toBe(1);
    expect([...words]).toEqual([7n, 0n]);
  });

  it("matches addresses that lie in the runtime's memory, which may grow meanwhile", async () => {
    using rt = await build.createRuntime();
    const key = lpmKey(ipv4);
    const routes = rt.createMap({ type: "lpm_trie", key, value: u32, maxEntries: 256 });
    for (let i = 0; i < 256; i++) routes.set(`10.${i}.0.0/16`, i + 1);
    const wide = rt.createMap({ type: "lpm_trie", key, value: bytes(128), maxEntries: 1 });
    wide.set("10.0.0.0/8", new Uint8Array(128).fill(5));
    const count = 9000;
    const at = rt.alloc(count * 8);
    const addresses = new Uint32Array(rt.memory.buffer, at, count);
    for (let i = 0; i < count; i++) addresses[i] = 0x0a000000 + ((i & 255) << 16) + 1;
    const expected = Uint32Array.from({ length: count }, (_, i) => (i & 255) + 1);
    // The room for the values makes the memory grow: views of it are detached, and what they showed is read.
    const { byteLength } = rt.memory.buffer;
    const long = new Uint8Array(count * 128);
    expect(wide.matchManyU32(addresses, long)).toBe(count);
    expect(long.every((byte) => byte === 5)).toBe(true);
    expect(rt.memory.buffer.byteLength).toBeGreaterThan(byteLength);
    const own = (): Uint32Array => new Uint32Array(rt.memory.buffer, at + count * 4, count);
    expect(routes.matchManyU32(new Uint32Array(rt.memory.buffer, at, count), own())).toBe(count);
    expect(own()).toEqual(expected);
    // The caller's numbers stay as they are.
    expect(new Uint32Array(rt.memory.buffer, at, 1)[0]).toBe(0x0a000001);
    const data = new Uint8Array(rt.memory.buffer, at, 4);
    data.set([10, 7, 0, 0]);
    expect([routes.matchMany(data, own()), own()[0]]).toEqual([1, 8]);
  });

  it("refuses arrays that cannot be", async () => {
    using rt = await build.createRuntime();
    const routes = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 9 });
    const six = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv6), value: u32, maxEntries: 9 });
    expect(() => six.matchManyU32(one, one)).toThrow("matchManyU32: the keys' data is not 4 bytes");
    expect(() => six.matchMany(new Uint8Array(15), one)).toThrow(
      "addresses: expected a multiple of 16 bytes, got 15",
    );
    for (const wrong of [undefined, null, [1], one, new DataView(new ArrayBuffer(4))]) {
      expect(() => routes.matchMany(wrong as never, one)).toThrow(TypeError);
    }
    for (const wrong of [undefined, [1], new Uint8Array(4), new Float32Array(1)]) {
      expect(() => routes.matchManyU32(wrong as never, one)).toThrow(TypeError);
    }
    expect(() => routes.matchManyU32(Uint32Array.of(1, 2), one)).toThrow(
      "out: expected 8 bytes for 2 addresses, got 4",
    );
    expect(() => routes.matchManyU32(one, one, new Uint8Array(0))).toThrow(RangeError);
    const blind = rt.createMap({
      type: "lpm_trie",
      key: lpmKey(ipv4),
      value: u32,
      maxEntries: 9,
      mapFlags: BPF_F_WRONLY,
    });
    expect(() => blind.matchMany(new Uint8Array(4), one)).toThrow("not open for reading");
    expect(() => blind.matchManyU32(one, one)).toThrow("not open for reading");
  });
});

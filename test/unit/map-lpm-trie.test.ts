import { expect, it } from "vitest";
import { ipv4, ipv6, lpmKey, u32 } from "../../ts/api.js";
import { describeEachBuild } from "../support/builds.js";

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
    expect(() => routes.set("1.1.1.2/32", 1)).toThrow(
      "ENOSPC: map 'routes' is full (maxEntries 1)",
    );
    rt.dispose();
  });
});

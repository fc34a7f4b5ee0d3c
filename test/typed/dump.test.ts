// bpftoolDump and bpftoolShow against what bpftool 7.1.0 printed for the same maps on Linux 6.18.

import { expect, test } from "vitest";
import {
  BPF_F_WRONLY,
  bpftoolDump,
  bpftoolShow,
  bytes,
  cstring,
  f64,
  ipv4,
  lpmKey,
  struct,
  u16,
  u32,
  u64,
  u8,
} from "../../ts/index.js";
import type { BpftoolElement, TypedMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

/** What bpftool says where it has no BTF. */
function withoutFormatted(map: TypedMap): unknown {
  return bpftoolDump(map).map((element) => ({ ...element, formatted: undefined }));
}

/** As in a file of JSON: with nothing that JSON does not have. */
function inJson(elements: BpftoolElement[]): unknown {
  return JSON.parse(JSON.stringify(elements));
}

describeEachBuild("bpftool's JSON", (build) => {
  test("a hash table", async () => {
    using rt = await build.createRuntime();
    const options = { type: "hash", key: u32, maxEntries: 4, name: "flows", mapFlags: 1 } as const;
    const map = rt.createMap({ ...options, value: bytes(5) });
    expect(bpftoolDump(map)).toEqual([]);
    map.set(7, Uint8Array.of(1, 2, 3, 4, 5));
    expect(JSON.stringify(withoutFormatted(map))).toBe(
      '[{"key":["0x07","0x00","0x00","0x00"],"value":["0x01","0x02","0x03","0x04","0x05"]}]',
    );
    expect(bpftoolDump(map)[0]?.formatted).toEqual({ key: 7, value: [1, 2, 3, 4, 5] });
    // Without bytes_memlock.
    expect(JSON.stringify(bpftoolShow(map))).toBe(
      '{"id":1,"type":"hash","name":"flows","flags":1,"bytes_key":4,"bytes_value":5,"max_entries":4,"frozen":0}',
    );
  });

  test("a per-CPU array", async () => {
    using rt = await build.createRuntime({ cpus: 2 });
    const map = rt.createMap({ type: "percpu_array", value: bytes(5), maxEntries: 2, name: "pc" });
    const zeros = '["0x00","0x00","0x00","0x00","0x00"]';
    const values = `[{"cpu":0,"value":${zeros}},{"cpu":1,"value":${zeros}}]`;
    expect(JSON.stringify(withoutFormatted(map))).toBe(
      `[{"key":["0x00","0x00","0x00","0x00"],"values":${values}},{"key":["0x01","0x00","0x00","0x00"],"values":${values}}]`,
    );
    const small = rt.createMap({ type: "percpu_hash", key: u32, value: u8, maxEntries: 1 });
    small.set(7, [10, 11]);
    expect(bpftoolDump(small)).toEqual([
      {
        key: ["0x07", "0x00", "0x00", "0x00"],
        values: [
          { cpu: 0, value: ["0x0a"] },
          { cpu: 1, value: ["0x0b"] },
        ],
        formatted: {
          key: 7,
          values: [
            { cpu: 0, value: 10 },
            { cpu: 1, value: 11 },
          ],
        },
      },
    ]);
  });

  test("maps of maps: the places with a map, and its id", async () => {
    using rt = await build.createRuntime();
    const inner = rt.createMap({ type: "hash", key: u32, value: bytes(5), maxEntries: 4 });
    const options = { inner, maxEntries: 3, name: "outer" };
    for (const outer of [
      rt.createMap({ type: "array_of_maps", ...options }).set(1, inner),
      rt.createMap({ type: "hash_of_maps", key: u32, ...options }).set(1, inner),
    ]) {
      expect(bpftoolDump(outer)).toEqual([
        {
          key: ["0x01", "0x00", "0x00", "0x00"],
          value: ["0x01", "0x00", "0x00", "0x00"],
          inner_map_id: 1,
          formatted: { key: 1, value: 1 },
        },
      ]);
      const [key, value] = [4, 4];
      const type = "length" in outer ? "array_of_maps" : "hash_of_maps";
      const sizes = { bytes_key: key, bytes_value: value, max_entries: 3 };
      expect(bpftoolShow(outer)).toMatchObject({ type, name: "outer", flags: 0, ...sizes });
    }
  });

  test("an LPM trie, before and after it was frozen", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value: u32, maxEntries: 4 });
    map.set("10.0.0.0/8", 1);
    expect(JSON.stringify(withoutFormatted(map))).toBe(
      '[{"key":["0x08","0x00","0x00","0x00","0x0a","0x00","0x00","0x00"],"value":["0x01","0x00","0x00","0x00"]}]',
    );
    const key = { prefixlen: 8, data: "10.0.0.0" };
    expect(bpftoolDump(map)[0]?.formatted).toEqual({ key, value: 1 });
    const used = rt.exports.mem_used();
    expect(bpftoolShow(map)).toEqual({
      id: 1,
      type: "lpm_trie",
      flags: 1,
      bytes_key: 8,
      bytes_value: 4,
      max_entries: 4,
      frozen: 0,
    });
    map.freeze();
    expect([bpftoolShow(map).frozen, map.size]).toEqual([1, 1]);
    expect(rt.exports.mem_used()).toBe(used);
  });

  test("types that bpftool dumps as []", async () => {
    using rt = await build.createRuntime();
    const maxEntries = 4;
    const maps: [TypedMap, string][] = [
      [rt.createMap({ type: "queue", value: u32, maxEntries }).push(1), "queue"],
      [rt.createMap({ type: "stack", value: u32, maxEntries }).push(1), "stack"],
      [rt.createMap({ type: "bloom_filter", value: u32, maxEntries }), "bloom_filter"],
      [rt.createMap({ type: "ringbuf", maxEntries: 4096 }), "ringbuf"],
      [rt.createMap({ type: "user_ringbuf", maxEntries: 4096 }), "user_ringbuf"],
      [rt.createMap({ type: "sk_storage", value: u32 }), "sk_storage"],
      [rt.createMap({ type: "cgrp_storage", value: u32 }), "cgrp_storage"],
      [rt.createMap({ type: "perf_event_array", maxEntries }), "perf_event_array"],
    ];
    for (const [map, type] of maps) {
      const { btf_id } = bpftoolShow(map);
      expect([bpftoolDump(map), bpftoolShow(map).type]).toEqual([[], type]);
      // Storages have BTF.
      expect([type, btf_id !== undefined]).toEqual([type, type.endsWith("storage")]);
    }
  });

  test("formatted is strict JSON: structs are objects, and what is no exact number is a string", async () => {
    using rt = await build.createRuntime();
    const value = struct({ name: cstring(8), at: ipv4, port: u16, sum: u64, mean: f64 });
    const map = rt.createMap({ type: "array", value, maxEntries: 2 });
    map.set(0, { name: "a", at: "10.0.0.1", port: 80, sum: 2n ** 53n - 1n, mean: 0.5 });
    map.set(1, { name: "b", at: "10.0.0.2", port: 81, sum: 2n ** 53n, mean: NaN });
    const elements = bpftoolDump(map);
    expect(elements.map(({ formatted }) => formatted)).toEqual([
      {
        key: 0,
        value: { name: "a", at: "10.0.0.1", port: 80, sum: 9007199254740991, mean: 0.5 },
      },
      {
        key: 1,
        value: { name: "b", at: "10.0.0.2", port: 81, sum: "9007199254740992", mean: "NaN" },
      },
    ]);
    expect(inJson(elements)).toEqual(elements);
  });

  test("bytes that the codec refuses are shown without formatted", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "array", value: u64.asNumber, maxEntries: 2 });
    map.setMany(Uint32Array.of(0, 1), BigUint64Array.of(5n, 1n << 60n));
    const [first, second] = bpftoolDump(map);
    expect(first?.formatted).toEqual({ key: 0, value: 5 });
    expect(second?.value?.at(-1)).toBe("0x10");
    expect(second).not.toHaveProperty("formatted");
  });

  test("closed maps and fds that do not read are refused", async () => {
    using rt = await build.createRuntime();
    const options = { type: "hash", key: u32, value: u32, maxEntries: 4 } as const;
    const blind = rt.createMap({ ...options, mapFlags: BPF_F_WRONLY });
    expect(codeOf(() => bpftoolDump(blind))).toBe("EPERM");
    const queue = rt.createMap({ type: "queue", value: u32, maxEntries: 4 });
    for (const map of [blind, queue]) {
      map.close();
      expect(codeOf(() => bpftoolDump(map))).toBe("EBADF");
      expect(codeOf(() => bpftoolShow(map))).toBe("EBADF");
    }
  });
});

// LPM_TRIE: the answers recorded from Linux 6.18, every errno, addresses, running out of memory, large tries.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { type Build, describeEachBuild, type Runtime } from "../support/builds.js";
import { HostHeap } from "../support/host-heap.js";
import { LpmMap, LpmModel, keyOf, prefix, prefixText } from "../support/lpm.js";
import { Random } from "../support/random.js";

const { BPF_ANY, BPF_EXIST, BPF_NOEXIST, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSPC } = uapi;
const LPM = { type: uapi.BPF_MAP_TYPE_LPM_TRIE, flags: uapi.BPF_F_NO_PREALLOC };
const IPV4 = { ...LPM, keySize: 8, valueSize: 4, maxEntries: 10 };

const EXAMPLE =
  "0.0.0.0/0 10.0.0.0/8 10.1.0.0/16 10.1.2.0/24 10.1.2.3/32 10.128.0.0/9 172.16.0.0/12 192.168.0.0/16";
const SECOND =
  "192.168.0.0/16 192.168.0.0/24 192.168.128.0/24 192.168.1.0/24 0.0.0.0/0 10.0.0.0/8 10.1.2.3/32 " +
  "10.1.2.0/24 128.0.0.0/1 255.255.255.255/32 0.0.0.0/32";

/** An IPv4 trie with the prefixes of `text`; a prefix's value is its place in it. */
function trieOf(runtime: Runtime, text: string, maxEntries = 100): LpmMap {
  const map = new LpmMap(runtime, 4, maxEntries);
  text.split(" ").forEach((item, i) => expect(map.update(prefix(item), i), item).toBe(0));
  return map;
}

function walk(map: LpmMap): string {
  return map.keys().map(prefixText).join(" ");
}

function word(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
}

function randomBytes(random: Random, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, () => random.below(256));
}

/** A prefix of one of the lengths that routing tables have. */
function randomPrefix(random: Random, dataSize = 4): { length: number; data: Uint8Array } {
  const data = randomBytes(random, dataSize);
  const length = random.oneIn(4) ? random.below(dataSize * 8 + 1) : dataSize * 6 + random.below(3);
  for (let i = length; i < dataSize * 8; i++)
    data[i >> 3] = (data[i >> 3] ?? 0) & ~(128 >> (i & 7));
  return { length, data };
}

describeEachBuild("LPM_TRIE", (build: Build) => {
  it("finds the longest prefix that is no longer than the key", async () => {
    const runtime = await build.createRuntime();
    const map = trieOf(runtime, EXAMPLE);
    const expected: Record<string, number> = {
      "10.1.2.3/32": 4,
      "10.1.2.4/32": 3,
      "10.1.9.9/32": 2,
      "10.200.0.1/32": 5,
      "10.3.0.1/32": 1,
      "11.0.0.0/32": 0,
      "172.31.255.255/32": 6,
      "172.32.0.0/32": 0,
      "10.1.2.3/16": 2,
      "10.1.2.3/15": 1,
      "10.1.2.3/24": 3,
      "10.1.2.3/31": 3,
      "1.2.3.4/0": 0,
      "10.1.2.3/33": -ENOENT,
    };
    for (const [key, value] of Object.entries(expected)) {
      expect(map.lookup(prefix(key)), key).toBe(value);
    }
    expect(map.delete(prefix("0.0.0.0/0"))).toBe(0);
    expect(map.lookup(prefix("10.0.0.0/7"))).toBe(-ENOENT);
    expect(map.lookup(prefix("10.0.0.0/8"))).toBe(1);
    expect(map.lookup(prefix("11.0.0.0/32"))).toBe(-ENOENT);
    expect(map.check()).toBe(0);
    runtime.dispose();
  });

  it("walks in postorder", async () => {
    const runtime = await build.createRuntime();
    expect(walk(trieOf(runtime, EXAMPLE))).toBe(
      "10.1.2.3/32 10.1.2.0/24 10.1.0.0/16 10.128.0.0/9 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 0.0.0.0/0",
    );
    const second = trieOf(runtime, SECOND);
    expect(walk(second)).toBe(
      "0.0.0.0/32 10.1.2.3/32 10.1.2.0/24 10.0.0.0/8 192.168.0.0/24 192.168.1.0/24 192.168.128.0/24 " +
        "192.168.0.0/16 255.255.255.255/32 128.0.0.0/1 0.0.0.0/0",
    );
    // An absent key, an inner node of the kernel's trie, a length beyond the data: from the start.
    for (const absent of ["10.1.2.3/31", "192.168.0.0/17", "1.2.3.4/33"]) {
      const next = second.next(prefix(absent));
      expect(next && prefixText(next)).toBe("0.0.0.0/32");
    }
    expect(second.next(prefix("0.0.0.0/0"))).toBeUndefined();
    expect(new LpmMap(runtime, 4, 1).next(null)).toBeUndefined();
    runtime.dispose();
  });

  it("walks texts in the order of strcmp", async () => {
    const runtime = await build.createRuntime();
    const map = new LpmMap(runtime, 8, 6);
    const texts = ["ab", "abO", "abc", "abo", "abS", "abcd"];
    const keys = texts.map((text) => {
      const data = new Uint8Array(8);
      new TextEncoder().encodeInto(text, data);
      return { length: (text.length + 1) * 8, data };
    });
    keys.forEach((key, i) => expect(map.update(key, i)).toBe(0));
    expect(
      map.keys().map((key) => new TextDecoder().decode(key.data).replaceAll("\0", "")),
    ).toEqual(texts.toSorted());
    expect(map.update({ length: 8, data: new Uint8Array(8) }, 0)).toBe(-ENOSPC);
    runtime.dispose();
  });

  it("counts what is full by prefixes", async () => {
    const runtime = await build.createRuntime();
    const map = trieOf(runtime, "1.1.1.1/32 1.1.1.2/32", 2);
    expect(map.update(prefix("1.1.1.1/32"), 7)).toBe(0);
    expect(map.update(prefix("1.1.1.2/32"), 7, BPF_EXIST)).toBe(0);
    expect(map.update(prefix("1.1.1.2/32"), 7, BPF_NOEXIST)).toBe(-EEXIST);
    expect(map.update(prefix("1.1.1.3/32"), 7)).toBe(-ENOSPC);
    expect(map.update(prefix("1.1.1.3/32"), 7, BPF_EXIST)).toBe(-ENOENT);
    for (const flags of [BPF_ANY, BPF_NOEXIST]) {
      expect(map.update(prefix("1.1.1.0/30"), 7, flags)).toBe(-ENOSPC);
    }
    expect(map.update(prefix("1.1.1.0/30"), 7, BPF_EXIST)).toBe(-ENOENT);
    expect(map.delete(prefix("1.1.1.1/32"))).toBe(0);
    expect(map.update(prefix("1.1.1.0/30"), 8)).toBe(0);
    expect(walk(map)).toBe("1.1.1.2/32 1.1.1.0/30");
    expect(runtime.exports.bpf_map_sum_elem_count(map.handle)).toBe(2n);
    runtime.dispose();
  });

  it("keeps the bits behind a prefix as they were given last", async () => {
    const runtime = await build.createRuntime();
    const map = trieOf(runtime, "10.1.2.3/8");
    expect(map.update(prefix("10.9.9.9/8"), 1, BPF_NOEXIST)).toBe(-EEXIST);
    expect(walk(map)).toBe("10.1.2.3/8");
    expect(map.update(prefix("10.9.9.9/8"), 1, BPF_EXIST)).toBe(0);
    expect(walk(map)).toBe("10.9.9.9/8");
    expect(map.next(prefix("10.200.0.0/8"))).toBeUndefined();
    expect(map.delete(prefix("10.77.0.0/8"))).toBe(0);
    expect(walk(map)).toBe("");
    runtime.dispose();
  });

  it("refuses what the kernel refuses", async () => {
    const runtime = await build.createRuntime();
    const map = trieOf(runtime, "10.0.0.0/8");
    const key = prefix("11.0.0.0/8");
    for (const flags of [3, 4, 5, 2 ** 32])
      expect(map.update(key, 0, flags), `${flags}`).toBe(-EINVAL);
    expect(map.update(prefix("11.0.0.0/33"), 0)).toBe(-EINVAL);
    expect(map.update(prefix("11.0.0.0/33"), 0, BPF_EXIST)).toBe(-EINVAL);
    expect(map.update(key, 0, BPF_EXIST)).toBe(-ENOENT);
    expect(map.delete(prefix("11.0.0.0/33"))).toBe(-EINVAL);
    expect(map.delete(key)).toBe(-ENOENT);
    expect(map.delete(prefix("10.0.0.0/7"))).toBe(-ENOENT);
    expect(map.delete(prefix("10.0.0.0/9"))).toBe(-ENOENT);
    expect(map.lookup(key)).toBe(-ENOENT);
    expect(map.client.lookupAndDelete(map.fd, keyOf(key), 4).ret).toBe(-uapi.ENOTSUPP);
    expect(map.client.lookup(map.fd, keyOf(key), 4, 4).ret).toBe(-EINVAL);
    expect(map.client.update(map.fd, null, new Uint8Array(4))).toBe(-EFAULT);
    expect(map.client.update(map.fd, keyOf(key), null)).toBe(-EFAULT);
    expect(walk(map)).toBe("10.0.0.0/8");
    runtime.dispose();
  });

  it("checks attributes at creation", async () => {
    const runtime = await build.createRuntime();
    const client = new BpfClient(runtime);
    const wrong = [
      { flags: 0 },
      { flags: 1 | uapi.BPF_F_MMAPABLE },
      { flags: 1 | uapi.BPF_F_ZERO_SEED },
      { flags: 1 | uapi.BPF_F_RDONLY_PROG | uapi.BPF_F_WRONLY_PROG },
      { maxEntries: 0 },
      { keySize: 0 },
      { keySize: 4 },
      { keySize: 261 },
      { valueSize: 0 },
      { valueSize: 4194025 },
      { mapExtra: 1n },
    ];
    for (const part of wrong)
      expect(client.create({ ...IPV4, ...part }), String(Object.entries(part))).toBe(-EINVAL);
    const right = [
      { keySize: 5 },
      { keySize: 260 },
      { valueSize: 1 },
      { valueSize: 4194024 },
      { maxEntries: 0xffffffff },
      { flags: 1 | uapi.BPF_F_NUMA_NODE | uapi.BPF_F_RDONLY_PROG },
      { flags: 1 | uapi.BPF_F_WRONLY_PROG | uapi.BPF_F_RDONLY },
    ];
    for (const part of right) {
      const fd = client.create({ ...IPV4, ...part });
      expect(fd, String(Object.entries(part))).toBeGreaterThan(0);
      client.close(fd);
    }
    runtime.dispose();
  });

  it("has the generic batches", async () => {
    const runtime = await build.createRuntime();
    const map = trieOf(runtime, "192.168.0.7/32 192.168.0.0/24 192.168.128.0/24 0.0.0.0/0");
    const batch = { fd: map.fd, keySize: 8, valueSize: 4, tokenSize: 8, token: null };
    const all = map.client.lookupBatch({ ...batch, count: 8 });
    expect([all.ret, all.count]).toEqual([-ENOENT, 4]);
    const first = map.client.lookupBatch({ ...batch, count: 2 });
    expect([first.ret, first.count]).toEqual([0, 2]);
    expect(first.token).toEqual(keyOf(prefix("192.168.0.0/24")));
    const second = map.client.lookupBatch({ ...batch, token: first.token, count: 2 });
    expect([second.ret, second.count]).toEqual([0, 2]);
    const none = map.client.lookupBatch({ ...batch, token: second.token, count: 2 });
    expect([none.ret, none.count]).toEqual([-ENOENT, 0]);
    expect(map.client.lookupAndDeleteBatch({ ...batch, count: 2 }).ret).toBe(-uapi.ENOTSUPP);
    const keys = Uint8Array.from(
      [prefix("10.0.0.0/8"), prefix("10.0.0.0/40")].flatMap((key) => [...keyOf(key)]),
    );
    const write = { fd: map.fd, keys, values: new Uint8Array(8), count: 2 };
    const updated = map.client.updateBatch(write);
    expect([updated.ret, updated.count]).toEqual([-EINVAL, 1]);
    expect(map.client.updateBatch({ ...write, elemFlags: BPF_NOEXIST }).ret).toBe(-EINVAL);
    const deleted = map.client.deleteBatch({ ...write, values: null });
    expect([deleted.ret, deleted.count]).toEqual([-EINVAL, 1]);
    runtime.dispose();
  });

  it("keeps a value where it is while its prefix is there, and only so long lets programs at it", async () => {
    const runtime = await build.createRuntime();
    const { exports } = runtime;
    const map = trieOf(runtime, "10.0.0.0/8");
    const key = runtime.alloc(8);
    new Uint8Array(runtime.memory.buffer).set(keyOf(prefix("10.1.2.3/32")), key);
    const value = exports.bpf_map_lookup_elem(map.handle, key);
    expect(value).not.toBe(0);
    const random = new Random(3);
    for (let i = 0; i < 90; i++) map.update({ length: 32, data: randomBytes(random, 4) }, 0);
    expect(map.update(prefix("10.0.0.0/8"), 77)).toBe(0);
    expect(exports.bpf_map_lookup_elem(map.handle, key)).toBe(value);
    expect(new DataView(runtime.memory.buffer).getUint32(value >>> 0, true)).toBe(77);
    expect(exports.bpf_valid_range(value, 4)).toBe(1);
    expect(exports.bpf_valid_range(value, 5)).toBe(0);
    expect(exports.bpf_valid_range(value + 4, 1)).toBe(0);
    expect(map.delete(prefix("10.0.0.0/8"))).toBe(0);
    expect(exports.bpf_valid_range(value, 4)).toBe(0);
    expect(exports.bpf_map_lookup_elem(map.handle, key)).toBe(0);
    runtime.dispose();
  });

  it("gives the same answers through the doors for addresses", async () => {
    const runtime = await build.createRuntime();
    const { exports } = runtime;
    const n = 2000;
    for (const [count, size] of [
      [200, 4],
      [20_000, 4],
      [3000, 16],
    ] as const) {
      const random = new Random(count);
      const map = new LpmMap(runtime, size, count);
      const address = exports.map_by_handle(map.handle);
      for (let i = 0; i < count; i++) map.update(randomPrefix(random, size), i);
      const values = runtime.alloc(n * (5 + size));
      const found = values + n * 4;
      const area = found + n;
      const data = randomBytes(random, n * size);
      new Uint8Array(runtime.memory.buffer).set(data, area);
      const view = new DataView(runtime.memory.buffer);
      const addressAt = (i: number): Uint8Array => data.subarray(i * size, (i + 1) * size);
      const expected = Array.from({ length: n }, (_, i) =>
        map.lookup({ length: size * 8, data: addressAt(i) }),
      );
      const hits = expected.filter((value) => value >= 0).length;
      expect(hits).toBeGreaterThan(10);
      const many = exports.map_lpm_match_many;
      expect(many(map.handle, area, n, values, 0x80000000, found)).toBe(hits);
      expected.forEach((value, i) => {
        const ptr = exports.map_lpm_match(map.handle, area + i * size) >>> 0;
        expect(ptr === 0 ? -ENOENT : view.getUint32(ptr, true)).toBe(value);
        if (size === 4) {
          expect(exports.map_lpm_match4(address, map.handle, word(addressAt(i))) >>> 0).toBe(ptr);
        }
        expect(view.getUint32(values + i * 4, true)).toBe(value < 0 ? 0x80000000 : value);
        expect(view.getUint8(found + i)).toBe(value < 0 ? 0 : 1);
      });
      expect(many(map.handle, area, n, 0xfffffff0, 0, 0)).toBe(-EFAULT);
      expect(many(map.handle, 0xfffffff0, n, values, 0, 0)).toBe(-EFAULT);
      expect(many(map.handle, area, n, values, 0, 0xfffffff0)).toBe(-EFAULT);
      runtime.free(values);
      map.close();
      expect(exports.map_lpm_match4(address, 0x7fffffff, 0)).toBe(0);
    }
    expect(exports.map_lpm_match(0, 64)).toBe(0);
    expect(exports.map_lpm_match_many(0, 64, 1, 64, 0, 0)).toBe(-EINVAL);
    runtime.dispose();
  });

  it("is right when it is large, grows and shrinks", async () => {
    const runtime = await build.createRuntime();
    const random = new Random(11);
    const map = new LpmMap(runtime, 4, 40_000);
    const byText = new Map<string, { length: number; data: Uint8Array }>();
    /** The longest of the present prefixes, by the texts of all candidates. */
    const longest = (data: Uint8Array): string | undefined => {
      for (let length = 32; length >= 0; length--) {
        const cut = data.slice();
        for (let i = length; i < 32; i++) cut[i >> 3] = (cut[i >> 3] ?? 0) & ~(128 >> (i & 7));
        const text = prefixText({ length, data: cut });
        if (byText.has(text)) return text;
      }
      return undefined;
    };
    const values: string[] = [];
    const wrong: string[] = [];
    for (let round = 0; round < 2; round++) {
      while (byText.size < 18_000) {
        const key = randomPrefix(random);
        const text = prefixText(key);
        byText.set(text, key);
        if (map.update(key, values.push(text) - 1) !== 0) wrong.push(text);
      }
      expect(map.check()).toBe(0);
      for (let i = 0; i < 3000; i++) {
        const data = randomBytes(random, 4);
        const found = map.lookup({ length: 32, data });
        if (values[found] !== longest(data)) wrong.push(`lookup ${data.join(".")}`);
      }
      for (const [text, key] of byText) {
        if (byText.size < 3000 - round) break;
        if (map.delete(key) !== 0) wrong.push(`delete ${text}`);
        byText.delete(text);
        if (byText.size % 4001 === 0) expect(map.check()).toBe(0);
      }
      for (const { data } of byText.values()) {
        if (values[map.lookup({ length: 32, data })] !== longest(data))
          wrong.push(`find ${data.join(".")}`);
      }
      expect(wrong).toEqual([]);
    }
    runtime.dispose();
  });

  it("answers -ENOMEM when the arena is full, loses nothing, and gives everything back", async () => {
    const pages = 16;
    const memory = new WebAssembly.Memory({
      initial: pages,
      maximum: pages,
      shared: build.name === "shared",
    });
    const arena = { base: 4096, limit: 300_000 };
    const runtime = await build.createRuntime({ memory, arena });
    const map = new LpmMap(runtime, 4, 1 << 20);
    const rounds: number[] = [];
    for (let round = 0; round < 3; round++) {
      const random = new Random(round);
      const present = new Map<string, { length: number; data: Uint8Array }>();
      let ret = 0;
      while (ret === 0) {
        const key = randomPrefix(random);
        ret = map.update(key, present.size);
        if (ret === 0) present.set(prefixText(key), key);
      }
      expect(ret).toBe(-ENOMEM);
      expect(present.size).toBeGreaterThan(2000);
      expect(map.check()).toBe(0);
      expect(new Set(map.keys().map(prefixText))).toEqual(new Set(present.keys()));
      for (const key of present.values()) expect(map.delete(key)).toBe(0);
      expect(map.check()).toBe(0);
      rounds.push(runtime.exports.mem_used());
    }
    // The kernel's own tables may have grown in the first round.
    expect(rounds[2]).toBe(rounds[0]);
    runtime.dispose();
  });

  it("fills what the memory has room for, whatever max_entries promises", async () => {
    const runtime = await build.createRuntime({ maxBytes: 8 << 20 });
    const map = new LpmMap(runtime, 4, 0xffffffff);
    const random = new Random(5);
    let count = 0;
    while (count < 60_000 && map.update(randomPrefix(random), count) === 0) count++;
    expect(count).toBe(60_000);
    runtime.dispose();
  });

  it("is unharmed by the failure of any allocation", async () => {
    for (const dataSize of [2, 4, 16]) {
      const heap = new HostHeap(64, build.name === "shared");
      const runtime = await build.createRuntime(heap.options());
      const map = new LpmMap(runtime, dataSize, 400);
      const model = new LpmModel(400);
      const random = new Random(dataSize);
      // The client's own buffers are there before anything fails.
      const first = randomPrefix(random, dataSize);
      expect([map.update(first, 0), map.delete(first)]).toEqual([0, 0]);
      let failures = 0;
      for (let i = 0; i < 300; i++) {
        const key = randomPrefix(random, dataSize);
        for (let allowed = 0; ; allowed++) {
          heap.failAfter(allowed);
          const ret = map.update(key, i);
          heap.failAfter(Infinity);
          if (ret === 0) break;
          failures++;
          expect(ret).toBe(-ENOMEM);
          expect(map.check()).toBe(0);
          if (i % 8 === 0) expect(walk(map)).toBe(model.entries.map(prefixText).join(" "));
        }
        expect(model.update(key, i, BPF_ANY)).toBe(0);
      }
      expect(failures).toBeGreaterThan(100);
      // Deleting needs no memory.
      heap.failAfter(0);
      for (const key of model.entries) expect(map.delete(key)).toBe(0);
      heap.failAfter(Infinity);
      expect(walk(map)).toBe("");
      map.close();
      runtime.dispose();
      expect(heap.liveBlocks).toBe(0);
    }
  });
});

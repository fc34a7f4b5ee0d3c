// Making typed maps, and wrapping those that exist.

import { expect, test } from "vitest";
import { HashMap, LruHashMap, PerCpuArrayMap, bytes, u32, u64, u8 } from "../../ts/index.js";
import type { UntypedCodecs } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";

describeEachBuild("typed maps: making and opening", (build) => {
  const spec = { type: "hash", key: u32, value: u64, maxEntries: 8, name: "flows" } as const;

  test("a map says what it was made of", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, mapFlags: 1 });
    const { fd, name, keySize, valueSize, maxEntries, mapFlags, mapType } = map;
    expect({ name, keySize, valueSize, maxEntries, mapFlags, mapType }).toEqual({
      name: "flows",
      keySize: 4,
      valueSize: 8,
      maxEntries: 8,
      mapFlags: 1,
      mapType: 1,
    });
    expect(fd).toBe(3);
    expect(map.info()).toMatchObject({ type: 1, keySize: 4, valueSize: 8, name: "flows" });
    expect(map).toBeInstanceOf(HashMap);
  });

  test("options that cannot be are refused before a map is made", async () => {
    using rt = await build.createRuntime();
    const wrong: [unknown, string][] = [
      [undefined, "createMap: expected an object"],
      [{ ...spec, type: "treehash" }, "type: expected one of"],
      [{ ...spec, type: "toString" }, "type: expected one of"],
      [{ ...spec, type: "devmap" }, "hash_of_maps, sk_storage, cgrp_storage, task_storage"],
      [{ ...spec, key: undefined }, "key: expected a codec"],
      [{ ...spec, value: 8 }, "value: expected a codec"],
      [{ ...spec, maxEntries: "8" }, "maxEntries: expected a number"],
      [{ ...spec, maxEntries: -1 }, "maxEntries: expected an integer"],
      [{ ...spec, maxEntries: 1.5 }, "maxEntries: expected an integer"],
      [{ ...spec, mapFlags: NaN }, "mapFlags: expected an integer"],
      [{ ...spec, flags: -1 }, "flags: expected an integer"],
      [{ ...spec, flags: 1, mapFlags: -1 }, "mapFlags: expected an integer"],
      [{ ...spec, flags: 1, mapFlags: 64 }, "flags, mapFlags: they are the same option"],
      [{ ...spec, name: "sixteen_letters_" }, "name: expected at most 15"],
      [{ ...spec, name: "a b" }, "name: expected letters"],
      [{ ...spec, name: 5 }, "name: expected a string"],
    ];
    for (const [options, message] of wrong) {
      expect(() => rt.createMap(options as typeof spec)).toThrow(message);
    }
    expect(codeOf(() => rt.createMap({ ...spec, maxEntries: 0 }))).toBe("EINVAL");
    expect(codeOf(() => rt.createMap({ ...spec, mapFlags: 1 << 30 }))).toBe("EINVAL");
    expect([...rt.mapIds()]).toEqual([]);
  });

  test("a search by name that fails leaves no fd open", async () => {
    using rt = await build.createRuntime({ maxBytes: 4 * 65536 });
    const { name, fd } = rt.createMap(spec);
    const blocks: number[] = [];
    for (let size = 65536; size >= 8; size /= 2) {
      for (let ptr = rt.alloc(size); ptr !== 0; ptr = rt.alloc(size)) blocks.push(ptr);
    }
    expect(codeOf(() => rt.mapFromName(name, { key: u32, value: u64 }))).toBe("ENOMEM");
    for (const ptr of blocks) rt.free(ptr);
    expect(rt.mapFromName(name, { key: u32, value: u64 }).fd).toBe(fd + 1);
  });

  test("an fd becomes the map it is, and type says which", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ ...spec, type: "lru_hash" }).set(1, 5n);
    const same = rt.mapFromFd(map.fd, { type: "lru_hash", key: u32, value: u64 });
    expect(same).toBeInstanceOf(LruHashMap);
    expect(same.get(1)).toBe(5n);
    same.close();
    expect(map.closed).toBe(true);
    const drops = rt.createMap({ type: "percpu_array", value: u64, maxEntries: 2 });
    expect(rt.mapFromFd(drops.fd, { value: u64 })).toBeInstanceOf(PerCpuArrayMap);
  });

  test("codecs of key and value alone give the verbs of all maps with keys", async () => {
    using rt = await build.createRuntime();
    for (const type of ["hash", "lru_hash", "array"] as const) {
      const { fd } = rt.createMap({ ...spec, type });
      const map = rt.mapFromFd(fd, { key: u32, value: u64 }).set(1, 5n);
      expect([map.get(1), map.has(1), map.peek(1), map.lookup(1)]).toEqual([5n, true, 5n, 5n]);
      expect([...map.keys()]).toContain(1);
      if (type === "array") expect(codeOf(() => map.delete(1))).toBe("EINVAL");
      else expect([map.delete(1), map.delete(1)]).toEqual([true, false]);
      map.close();
    }
  });

  test("wrong codecs, types and fds are refused, and the fd stays the caller's", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 5n);
    const wrong: [UntypedCodecs, string][] = [
      [{ key: u64, value: u64 }, "key: the map's keys have 4 bytes, the codec has 8"],
      [{ key: u32, value: bytes(9) }, "value: the map's values have 8 bytes, the codec has 9"],
      [{ value: u64 }, "key: expected a codec"],
      [undefined as never, "mapFromFd: expected an object of codecs"],
    ];
    for (const [codecs, message] of wrong) {
      expect(() => rt.mapFromFd(map.fd, codecs)).toThrow(message);
    }
    expect(() => rt.mapFromFd(map.fd, { type: "array", value: u64 })).toThrow(
      "type: the map is of type hash, not array",
    );
    for (const fd of [99, -1, 3.5, NaN, "3" as never]) {
      expect(codeOf(() => rt.mapFromFd(fd, { value: u64 }))).toBe("EBADFD");
    }
    expect(codeOf(() => rt.mapFromFd(1, { value: u64 }))).toBe("EINVAL");
    expect(map.get(1)).toBe(5n);
  });

  test("a map of any kind is wrapped as the type that is named, or refused", async () => {
    using rt = await build.createRuntime();
    const hash = rt.createMap(spec);
    const value = u64;
    const maps = {
      hash,
      queue: rt.createMap({ type: "queue", value, maxEntries: 8 }),
      ringbuf: rt.createMap({ type: "ringbuf", maxEntries: 4096 }),
      perf_event_array: rt.createMap({ type: "perf_event_array", maxEntries: 2 }),
      array_of_maps: rt.createMap({ type: "array_of_maps", inner: hash, maxEntries: 2 }),
      sk_storage: rt.createMap({ type: "sk_storage", value }),
      task_storage: rt.createMap({ type: "task_storage", value }),
    };
    const { fd } = maps.queue;
    expect(rt.mapFromFd(fd, { type: "queue", value }).push(7n).pop()).toBe(7n);
    for (const [type, map] of Object.entries(maps)) {
      for (const other of Object.keys(maps)) {
        const codecs = { type: other, key: u32, value, inner: hash } as never;
        if (other === type) expect(rt.mapFromFd(map.fd, codecs)).toBeInstanceOf(map.constructor);
        else {
          const message = `type: the map is of type ${type}, not ${other}`;
          expect(() => rt.mapFromFd(map.fd, codecs)).toThrow(message);
        }
      }
    }
  });

  test("ids and names lead to maps", async () => {
    using rt = await build.createRuntime();
    const first = rt.createMap(spec).set(1, 1n);
    const second = rt.createMap({ ...spec, name: "other" }).set(1, 2n);
    expect([...rt.mapIds()]).toEqual([first.info().id, second.info().id]);
    const byId = rt.mapFromId(second.info().id, { type: "hash", key: u32, value: u64 });
    const byName = rt.mapFromName("flows", { type: "hash", key: u32, value: u64 });
    expect([byId.get(1), byName.get(1)]).toEqual([2n, 1n]);
    expect(byName.fd).not.toBe(first.fd);
    first.close();
    expect(byName.get(1)).toBe(1n);
    expect(codeOf(() => rt.mapFromName("none", { value: u64 }))).toBe("ENOENT");
    for (const id of [0, 99, -1, 0.5]) {
      expect(codeOf(() => rt.mapFromId(id, { value: u64 }))).toBe("ENOENT");
    }
  });

  test("a pinned map is opened by its path and outlives its fds", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec).set(1, 5n);
    map.pin("/sys/fs/bpf/flows");
    expect(codeOf(() => map.pin("/sys/fs/bpf/flows"))).toBe("EEXIST");
    map.close();
    const again = rt.open("/sys/fs/bpf/flows", { type: "hash", key: u32, value: u64 });
    expect(again.get(1)).toBe(5n);
    expect(codeOf(() => rt.open("/sys/fs/bpf/none", { value: u64 }))).toBe("ENOENT");
    const { fd } = again;
    expect(() => rt.open("/sys/fs/bpf/flows", { key: u8, value: u64 })).toThrow(RangeError);
    expect(rt.createMap(spec).fd).toBe(fd + 1);
  });

  test("opening with wrong codecs leaves no fd behind", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap(spec);
    const codecs = { key: u8, value: u64 };
    expect(() => rt.mapFromId(map.info().id, codecs)).toThrow(RangeError);
    expect(() => rt.mapFromName("flows", codecs)).toThrow(RangeError);
    expect(rt.createMap(spec).fd).toBe(map.fd + 1);
  });
});

// Messages of the errors that users make first: each says what was wrong, and what would be right.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  BPF_F_MMAPABLE,
  bytes,
  createRuntime,
  decode,
  ipv4,
  lpmKey,
  u32,
  u64,
} from "../../ts/index.js";
import type { BpfRuntime } from "../../ts/index.js";

let rt: BpfRuntime;

beforeEach(async () => {
  rt = await createRuntime();
});
afterEach(() => rt.dispose());

const plain = { key: u32, value: u32, maxEntries: 4 };

describe("createMap", () => {
  const ring = "EINVAL: maxEntries: a ring has a power of two of bytes, at least 4096, got ";
  const index = "EINVAL: key: an index has 4 bytes, the codec has 8";
  const lpm = "EINVAL: key: expected a codec made by lpmKey, with data of at least 1 byte";
  const none = "no map of this type can have keys of 4 and values of ";
  it.each([
    [{ ...plain, type: "hash", maxEntries: 0 }, "EINVAL: maxEntries: expected at least 1"],
    [{ type: "queue", value: u32, maxEntries: 0 }, "EINVAL: maxEntries: expected at least 1"],
    [{ type: "ringbuf", maxEntries: 0 }, `${ring}0`],
    [{ type: "ringbuf", maxEntries: 1000 }, `${ring}1000`],
    [{ type: "user_ringbuf", maxEntries: 12288 }, `${ring}12288`],
    [{ ...plain, type: "lpm_trie" }, lpm],
    [{ ...plain, type: "lpm_trie", key: ipv4 }, lpm],
    [{ ...plain, type: "array", key: u64 }, index],
    [{ ...plain, type: "percpu_array", key: u64 }, index],
    [
      { ...plain, type: "hash", flags: BPF_F_MMAPABLE },
      `EINVAL: ${none}4 bytes, maxEntries 4, flags 0x400, mapExtra 0, bpf_map_create`,
    ],
    [
      { ...plain, type: "hash", maxEntries: 4e9 },
      `E2BIG: ${none}4 bytes, maxEntries 4000000000, bpf_map_create`,
    ],
    [
      { ...plain, type: "percpu_array", value: bytes(40_000) },
      `E2BIG: ${none}40000 bytes, maxEntries 4, bpf_map_create`,
    ],
    [
      { type: "sk_storage", value: u32, flags: BPF_F_MMAPABLE },
      `EINVAL: ${none}4 bytes, maxEntries 0, flags 0x401, mapExtra 0, bpf_map_create`,
    ],
    [{ ...plain, type: "hash", key: "u32" }, 'key: expected a codec such as u32, got "u32"'],
    [{ ...plain, type: "hash", value: 4 }, "value: expected a codec such as u32, got 4"],
    [{ type: "queue", maxEntries: 1 }, "value: expected a codec such as u32, got undefined"],
    [{ type: "sk_storage" }, "value: expected a codec such as u32, got undefined"],
  ])("says what is wrong, %#", (spec, message) => {
    expect(() => rt.createMap(spec as never)).toThrow(message);
  });

  it("takes what the messages ask for", () => {
    expect(rt.createMap({ type: "ringbuf", maxEntries: 4096 }).maxEntries).toBe(4096);
    const routes = { type: "lpm_trie", key: lpmKey(bytes(1)), value: u32, maxEntries: 1 } as const;
    expect(rt.createMap(routes).keySize).toBe(5);
  });
});

it("maps without a name go by their fd", () => {
  const map = rt.createMap({ ...plain, type: "array" });
  const named = rt.createMap({ ...plain, type: "array", name: "counts" });
  expect(() => map.set(4, 1)).toThrow(
    `E2BIG: index outside the map of fd ${map.fd} (maxEntries 4)`,
  );
  expect(() => named.set(4, 1)).toThrow("E2BIG: index outside map 'counts' (maxEntries 4)");
  map.close();
  named.close();
  expect(() => map.get(1)).toThrow(`EBADF: the map of fd ${map.fd} is closed`);
  expect(() => named.get(1)).toThrow("EBADF: map 'counts' is closed");
});

it("an array tells that nothing can be deleted", () => {
  const map = rt.createMap({ ...plain, type: "array" });
  expect(() => map.delete(0 as never)).toThrow(
    "EINVAL: the elements of an array cannot be deleted",
  );
});

it("fds and paths that lead nowhere are named", () => {
  const map = rt.createMap({ ...plain, type: "hash" });
  expect(() => rt.mapFromFd(0, plain)).toThrow("EINVAL: fd 0 is no map");
  expect(() => rt.mapFromFd(99, plain)).toThrow("EBADFD: fd 99 is not open");
  expect(() => rt.mapFromFd(map as never, plain)).toThrow("EBADFD: no fd: ");
  expect(() => rt.open("/sys/fs/bpf/none", plain)).toThrow(
    "ENOENT: cannot open /sys/fs/bpf/none, bpf_obj_get",
  );
  for (const path of ["/tmp/map", "/sys/fs/bpf/a.b"]) {
    expect(() => map.pin(path)).toThrow(
      `EPERM: cannot pin at ${path}: pins are below /sys/fs/bpf, their names have no dots`,
    );
  }
  expect(() => map.pin("/sys/fs/bpf/none/map")).toThrow(
    "ENOENT: cannot pin at /sys/fs/bpf/none/map, bpf_obj_pin",
  );
});

it("decode takes bytes only", () => {
  expect(() => decode(u32, "abcd" as never)).toThrow('bytes: expected a Uint8Array, got "abcd"');
  // Of other arrays a part would be cut out by elements, and their values be taken for bytes.
  const { buffer } = Uint8Array.from({ length: 32 }, (_, i) => i);
  for (const other of [new Uint32Array(buffer, 4, 4), new DataView(buffer, 4)]) {
    expect(() => decode(u64, other as never)).toThrow("bytes: expected a Uint8Array, got ");
  }
  expect(decode(u64, new Uint8Array(buffer, 4, 8))).toBe(0x0b0a090807060504n);
});

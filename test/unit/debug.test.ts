// The walkers of the debug build notice damage: what they say of sound structures is worth something.

import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { BUILDS, type Runtime } from "../support/builds.js";
import { u32s, u64s } from "../support/bytes.js";
import { type DebugExports, debugExports } from "../support/debug.js";

async function boot(): Promise<{ rt: Runtime; debug: DebugExports; client: BpfClient }> {
  const rt = await BUILDS.find(({ name }) => name === "debug")?.createRuntime();
  const debug = rt === undefined ? undefined : debugExports(rt);
  if (rt === undefined || debug === undefined)
    throw new Error("no debug build: npm run build:core");
  return { rt, debug, client: new BpfClient(rt) };
}

it("check_heap sees a damaged block header", async () => {
  const { rt, debug } = await boot();
  const ptr = rt.alloc(100);
  expect(debug.check_heap()).toBe(0);
  for (const at of [ptr - 8, ptr - 4]) {
    const bytes = new Uint8Array(rt.memory.buffer);
    const old = bytes[at] ?? 0;
    bytes[at] = old ^ 0x10;
    expect(debug.check_heap(), `byte ${at - ptr}`).not.toBe(0);
    bytes[at] = old;
  }
  expect(debug.check_heap()).toBe(0);
});

const MAPS = [
  ["small HASH", uapi.BPF_MAP_TYPE_HASH, 0, 8],
  ["separate HASH", uapi.BPF_MAP_TYPE_HASH, 0, 80],
  ["HASH without preallocation", uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_NO_PREALLOC, 8],
  ["LRU_HASH", uapi.BPF_MAP_TYPE_LRU_HASH, 0, 8],
  ["LRU_HASH with lists per CPU", uapi.BPF_MAP_TYPE_LRU_HASH, uapi.BPF_F_NO_COMMON_LRU, 8],
] as const;

for (const [name, type, flags, valueSize] of MAPS) {
  it(`check_map sees damage in front of a value of an ${name}`, async () => {
    const { rt, debug, client } = await boot();
    const fd = client.create({ type, keySize: 4, valueSize, maxEntries: 8, flags });
    for (let key = 0; key < 6; key++) client.update(fd, u32s(key), u64s(...Array(10).fill(key)));
    const map = rt.exports.bpf_map_by_fd(fd);
    const keyPtr = rt.alloc(4);
    new Uint8Array(rt.memory.buffer).set(u32s(3), keyPtr);
    const value = rt.exports.bpf_map_lookup_elem(map, keyPtr) >>> 0;
    const bytes = new Uint8Array(rt.memory.buffer);
    expect(debug.check_map(map)).toBe(0);
    // Small: the marks of overflow and use of the chunk. Separate: the key, and everything of the header but stamp and reference.
    const isSmall = name.startsWith("small");
    const chunk = value & ~63;
    const elem = value - (name.startsWith("LRU") ? 24 : 16);
    const places = isSmall
      ? [chunk + 20, chunk + 22]
      : [elem, elem + 6, elem + (value - elem > 16 ? 20 : 8)];
    if (name.startsWith("LRU")) places.push(elem + 8, elem + 12, elem + 18);
    for (const at of places) {
      const old = bytes[at] ?? 0;
      bytes[at] = old === 0 ? 0x81 : 0;
      expect(debug.check_map(map), `byte ${at - value}`).not.toBe(0);
      bytes[at] = old;
    }
    expect(debug.check_map(map)).toBe(0);
  });
}

it("check_map says -1 of what is no map", async () => {
  const { debug } = await boot();
  expect(debug.check_map(0)).toBe(-1);
  expect(debug.check_map(12345)).toBe(-1);
});

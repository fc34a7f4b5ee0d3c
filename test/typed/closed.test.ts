// No typed map of any type touches memory or traps once it is closed, or its runtime ended.

import { expect, test } from "vitest";
import { BpfError, ipv4, lpmKey, struct, u32, u64 } from "../../ts/index.js";
import type { BpfRuntime, TypedMap } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";

/** Not verbs: what ends a map, and what it is. */
const OTHERS = ["constructor", "close", "mustBeOpen", "mustAllow", "failed", "explain", "toJSON"];
const INNER = ["position", "setPosition", "addressOf", "load32", "store32"];
/** Verbs and accessors that have an answer all the same. */
const ANSWERS = ["closed", "length", "size"];

/** All methods and accessors of an object's classes. */
function membersOf(object: object): [string, PropertyDescriptor][] {
  const members = new Map<string, PropertyDescriptor>();
  let prototype = Object.getPrototypeOf(object) as object;
  while (prototype !== Object.prototype) {
    for (const [name, member] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (![...OTHERS, ...INNER].includes(name) && !members.has(name)) members.set(name, member);
    }
    prototype = Object.getPrototypeOf(prototype) as object;
  }
  return [...members];
}

function everyType(rt: BpfRuntime): [map: TypedMap, args: unknown[]][] {
  const key = u32;
  const value = struct({ count: u64 });
  const maxEntries = 4;
  const inner = rt.createMap({ type: "array", value: u32, maxEntries: 1 });
  const one = { count: 1n };
  const socket = rt.socket();
  const maps: [TypedMap, unknown[]][] = [
    [rt.createMap({ type: "array", value, maxEntries }), [1, one]],
    [rt.createMap({ type: "percpu_array", value, maxEntries }), [1, 0, one]],
    [rt.createMap({ type: "lpm_trie", key: lpmKey(ipv4), value, maxEntries }), ["10.0.0.0/8", one]],
    [rt.createMap({ type: "queue", value, maxEntries }), [one]],
    [rt.createMap({ type: "stack", value, maxEntries }), [one]],
    [rt.createMap({ type: "bloom_filter", value, maxEntries }), [one]],
    [rt.createMap({ type: "array_of_maps", inner, maxEntries }), [1, inner]],
    [rt.createMap({ type: "hash_of_maps", key, inner, maxEntries }), [1, inner]],
    [rt.createMap({ type: "ringbuf", maxEntries: 4096 }), [new Uint8Array(8)]],
    [rt.createMap({ type: "user_ringbuf", maxEntries: 4096 }), [8]],
    [rt.createMap({ type: "sk_storage", value }), [socket, one]],
  ];
  for (const type of ["hash", "lru_hash", "percpu_hash", "lru_percpu_hash"] as const) {
    const map = rt.createMap({ type, key: struct({ src: ipv4, port: u32 }), value, maxEntries });
    maps.push([map, [{ src: "10.0.0.1", port: 1 }, type.includes("percpu") ? 0 : one]]);
  }
  return maps;
}

/** Calls the member and goes through what it gives; the error, if there is one. */
async function use(map: TypedMap, member: PropertyDescriptor, args: unknown[]): Promise<unknown> {
  try {
    const run = member.value as ((...args: unknown[]) => unknown) | undefined;
    const result: unknown = run === undefined ? member.get?.call(map) : run.apply(map, args);
    if (typeof result === "object" && result !== null && "next" in result) {
      await (result as AsyncIterator<unknown>).next();
    } else await result;
    return undefined;
  } catch (error) {
    return error;
  }
}

describeEachBuild("typed maps of all types, closed", (build) => {
  for (const how of ["close", "rt.close", "dispose"] as const) {
    test(`${how}: every verb throws, and nothing is written`, async () => {
      const rt = await build.createRuntime({ cpus: 2 });
      const maps = everyType(rt);
      // Blocks that were freed are found by the next allocations; what is written there afterwards shows.
      for (const [map] of maps) {
        if (how === "close") map.close();
        if (how === "rt.close") rt.close(map.fd);
      }
      if (how === "dispose") rt.dispose();
      const memory = new Uint8Array(rt.memory.buffer);
      if (how === "dispose") memory.fill(0xa5);
      const before = memory.slice();
      for (const [map, args] of maps) {
        expect(map.closed).toBe(true);
        for (const [name, member] of membersOf(map)) {
          if (ANSWERS.includes(name)) continue;
          const error = await use(map, member, args);
          const isExpected =
            error instanceof BpfError || error instanceof TypeError || error instanceof RangeError;
          const where = `${map.constructor.name}.${name}: ${String(error)}`;
          expect([where, isExpected || name.startsWith("wait")]).toEqual([where, true]);
        }
      }
      expect(Buffer.compare(memory, before)).toBe(0);
      rt.dispose();
    });
  }
});

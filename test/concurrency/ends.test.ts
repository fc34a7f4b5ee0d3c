// Threads that use what others end, replace or take out meanwhile: nothing traps, nothing is found that was never there, and
// nothing is written where nothing is any more.

import { describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { ipv4, lpmKey, u32 } from "../../ts/index.js";
import { BpfClient } from "../support/bpf.js";
import type { Runtime } from "../support/builds.js";
import { canThread, sharedRuntime, together } from "../support/threads.js";

const ROUNDS = 1_000_000;
const SWAPS = 20_000;
const WALKS = 2000;
/** Of a chunk's keys, so many stand in the chunk itself, and so many more somewhere behind. */
const AT_HOME = 5;
const BEHIND = 8;

const isBuilt = canThread("ends between threads");

const runtime = (seed = 1n): Promise<Runtime> =>
  sharedRuntime({ cpus: 4, maxBytes: 1 << 26, seed });

describe.skipIf(!isBuilt)("threads", () => {
  it("write to no perf event that another one has ended", async () => {
    const rt = await runtime();
    const { fd } = rt.createMap({ type: "perf_event_array", maxEntries: 4 });
    await together(rt, [
      { action: "output", rounds: ROUNDS, fd },
      { action: "swapEvent", rounds: SWAPS, fd },
    ]);
    rt.dispose();
  });

  it("share the inode of anonymous files that comes and goes", async () => {
    const rt = await runtime();
    const part = { action: "anonymous", rounds: ROUNDS / 2 };
    await together(rt, [part, part]);
    rt.dispose();
  });

  it("walk over the storages of cgroups that come and go", async () => {
    const rt = await runtime();
    const type = uapi.BPF_MAP_TYPE_CGROUP_STORAGE;
    const fd = new BpfClient(rt).create({ type, keySize: 8, valueSize: 8, maxEntries: 0 });
    await together(rt, [
      { action: "attach", rounds: 3 * SWAPS, fd },
      { action: "walkStorages", rounds: WALKS, fd },
      { action: "attach", rounds: 3 * SWAPS, fd },
    ]);
    rt.dispose();
  });

  it("match no prefix with the value of another", async () => {
    const rt = await runtime();
    const key = lpmKey(ipv4);
    const { fd } = rt.createMap({ type: "lpm_trie", key, value: u32, maxEntries: 256 });
    await together(rt, [
      { action: "routes", rounds: 2 * ROUNDS, fd },
      { action: "matches", rounds: ROUNDS / 2, fd },
    ]);
    rt.dispose();
  });

  it.each(["lookUpInner", "openInner"])("replace inner maps beside %s", async (action) => {
    const rt = await runtime();
    const inner = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 2 });
    const outer = rt.createMap({ type: "array_of_maps", inner, maxEntries: 1 });
    inner.set(1, 1);
    outer.set(0, inner);
    const shared = { fd: outer.fd, fds: [inner.fd] };
    await together(rt, [
      { action: "swapInner", rounds: SWAPS, ...shared },
      { action, rounds: action === "openInner" ? SWAPS / 4 : ROUNDS, ...shared },
    ]);
    rt.dispose();
  });

  // The keys of empty slots are 0; where an element may have gone on from the home of 0, slots are looked at that others empty.
  it.each([1n, 2n, 4n])("find no key that nobody put in, seed %i", async (seed) => {
    const rt = await runtime(seed);
    const map = rt.createMap({ type: "hash", key: u32, value: u32, maxEntries: 64 });
    const { exports } = rt;
    const handle = rt.mapHandle(map.fd);
    const chunkOf = (key: number): number => {
      map.set(key, key);
      const at = exports.map_lookup4(exports.map_by_handle(handle), handle, key) >>> 6;
      map.delete(key);
      return at;
    };
    const keys: number[] = [];
    for (let key = 1; keys.length < AT_HOME + BEHIND + 4; key++) {
      if (chunkOf(key) === chunkOf(0)) keys.push(key);
    }
    for (const key of keys.splice(0, AT_HOME + BEHIND)) map.set(key, key);
    expect(map.get(0)).toBeUndefined();
    await together(rt, [
      { action: "churnKeys", rounds: 3 * ROUNDS, fd: map.fd, keys },
      { action: "absent", rounds: 5 * ROUNDS, fd: map.fd },
    ]);
    rt.dispose();
  });
});

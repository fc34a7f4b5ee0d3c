// Typed maps whose values have a bpf_spin_lock: BPF_F_LOCK.

import { expect, test } from "vitest";
import { BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, struct, u32 } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";
import { lockBtf } from "../support/btf.js";
import { describeEachBuild } from "../support/builds.js";
import { codeOf } from "../support/errors.js";
import { StorageRig } from "../support/storage.js";

const Locked = struct({ lock: u32, count: u32 });

describeEachBuild("typed maps: values with a lock", (build) => {
  for (const type of ["hash", "array"] as const) {
    test(`are read and written under it, and the lock reads as zero: ${type}`, async () => {
      const rig = new StorageRig(await build.createRuntime());
      using rt = rig.rt;
      const mapType = type === "hash" ? uapi.BPF_MAP_TYPE_HASH : uapi.BPF_MAP_TYPE_ARRAY;
      const spec = { type: mapType, keySize: 4, valueSize: 8, maxEntries: 4 };
      const fd = rig.createWith(lockBtf(4, 8, 0), spec);
      const map = rt.mapFromFd(fd, { type, key: u32, value: Locked });
      map.set(1, { lock: 9, count: 1 });
      expect(map.lookup(1, BPF_F_LOCK)).toEqual({ lock: 0, count: 1 });
      map.update(1, { lock: 9, count: 2 }, BPF_F_LOCK | BPF_EXIST);
      expect(map.lookup(1)).toEqual({ lock: 0, count: 2 });
      const update = (): void => map.update(1, { lock: 0, count: 3 }, BPF_F_LOCK | BPF_NOEXIST);
      expect(codeOf(update)).toBe("EEXIST");
      expect(codeOf(() => map.lookup(1, BPF_F_LOCK | BPF_EXIST))).toBe("EINVAL");
      map.ref(1)?.add("count", 5);
      const ref = map.ref(1);
      rt.exports.bpf_spin_lock(ref?.ptr ?? 0);
      const out = new Uint32Array(2);
      expect([map.getMany(Uint32Array.of(1), out), ...out]).toEqual([1, 0, 7]);
      rt.exports.bpf_spin_unlock(ref?.ptr ?? 0);
      if (!("lookupAndDelete" in map)) return;
      expect(map.lookupAndDelete(1, BPF_F_LOCK)).toEqual({ lock: 0, count: 7 });
      expect(map.size).toBe(0);
    });
  }
});

// A bit of everything that writes to memory: for tests of where the core may write.

import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "./bpf.js";
import type { Runtime } from "./builds.js";
import { u32s } from "./bytes.js";
import type { Random } from "./random.js";

const MAPS: readonly (readonly [type: number, flags: number])[] = [
  [uapi.BPF_MAP_TYPE_HASH, 0],
  [uapi.BPF_MAP_TYPE_HASH, uapi.BPF_F_NO_PREALLOC],
  [uapi.BPF_MAP_TYPE_PERCPU_HASH, uapi.BPF_F_NO_PREALLOC],
  [uapi.BPF_MAP_TYPE_LRU_HASH, 0],
  [uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH, uapi.BPF_F_NO_COMMON_LRU],
  [uapi.BPF_MAP_TYPE_ARRAY, uapi.BPF_F_MMAPABLE],
  [uapi.BPF_MAP_TYPE_PERCPU_ARRAY, 0],
];

/**
 * Creates maps, pins them, fills them, deletes from them, closes some; answers of every kind are fine.
 * @returns the fds that are open at the end
 */
export function work(rt: Runtime, random: Random, rounds: number): number[] {
  const client = new BpfClient(rt);
  const open: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const [type, flags] = random.pick(MAPS);
    const valueSize = 1 + random.below(100);
    const maxEntries = 1 + random.below(200);
    const fd = client.create({ type, keySize: 4, valueSize, maxEntries, flags });
    if (fd < 0) {
      for (const old of open.splice(0)) rt.close(old);
      continue;
    }
    open.push(fd);
    const value = new Uint8Array(Math.ceil(valueSize / 8) * 8 * rt.cpus);
    for (let i = 0; i < 100; i++) {
      rt.cpu = random.below(rt.cpus);
      const key = u32s(random.below(300));
      const what = random.below(4);
      value[0] = what + i;
      if (what === 0) client.delete(fd, key);
      else if (what === 1) client.lookup(fd, key, value.length);
      else client.update(fd, key, value);
    }
    const name = `/sys/fs/bpf/map${random.below(20)}`;
    if (client.pin(fd, name) < 0) rt.exports.bpffs_unlink(0);
    if (open.length > 8) rt.close(open.splice(random.below(open.length), 1)[0] ?? -1);
  }
  client.release();
  return open;
}

// Walks with BPF_MAP_GET_NEXT_KEY.

import type { BpfClient } from "./bpf.js";
import { u32At } from "./bytes.js";

/** All keys of a map with 4-byte keys, in the order of a client's walk. */
export function walk(client: BpfClient, fd: number): number[] {
  const keys: number[] = [];
  let next = client.nextKey(fd, null, 4);
  while (next.ret === 0) {
    keys.push(u32At(next.out));
    next = client.nextKey(fd, next.out, 4);
  }
  return keys;
}

// node --expose-gc heap-child.mjs PEER ENTRIES: prints how many bytes an entry of Map or of an LRU peer takes.

import { filled } from "./contenders.mjs";
import { LRU_PEERS, Peers } from "./peers.mjs";

const [peer = "", count = "0"] = process.argv.slice(2);
const entries = Number(count);

function used() {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const row = LRU_PEERS.find(({ name }) => name === peer);
const module = row === undefined ? undefined : await new Peers().load(peer);
const before = used();
const map = row === undefined ? new Map() : row.make(module, entries);
filled(map, entries);
console.log((used() - before) / entries);
// The map must live until here.
if (map.get(-1) !== undefined) process.exitCode = 1;

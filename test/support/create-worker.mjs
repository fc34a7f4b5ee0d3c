// A thread that closes fds that others close, too, or makes maps, uses them and closes them, over and over, beside others that
// do the same. Posts how many it closed, or what went wrong: nothing, if all is well.

import { parentPort, workerData } from "node:worker_threads";
import { bytes, createRuntime, u32 } from "../../dist/index.js";

const { kernel, cpu, rounds, fds } = workerData;
const rt = await createRuntime({ attach: kernel, cpu });
const { exports: core } = rt;
const KINDS = [
  { type: "hash", key: u32, value: u32, maxEntries: 20 },
  { type: "hash", key: bytes(12), value: bytes(40), maxEntries: 20, flags: 1 },
  { type: "array", value: u32, maxEntries: 20 },
  { type: "lru_hash", key: u32, value: u32, maxEntries: 20 },
];
/** @type {string[]} */
const wrong = [];
/** @type {{ map: any, key: any, address: number }[]} */
const open = [];
const keyPtr = rt.alloc(16);
const words = () => new Uint32Array(rt.memory.buffer, keyPtr, 4);

for (let round = 0; round < rounds && wrong.length < 5; round++) {
  const kind = KINDS[round % KINDS.length];
  const map = rt.createMap(/** @type {any} */ (kind));
  const key = kind.key === u32 || kind.type === "array" ? 7 : new Uint8Array(12).fill(7);
  map.set(key, kind.value === u32 ? round : new Uint8Array(40).fill(round));
  words().fill(typeof key === "number" ? 7 : 0x07070707);
  const address = core.bpf_map_lookup_elem(core.bpf_map_by_fd(map.fd), keyPtr) >>> 0;
  if (address === 0) wrong.push(`round ${round}: ${kind.type}: the key is not there`);
  open.push({ map, key, address });
  // The values of all maps that are open are valid, whatever the others make and close meanwhile.
  for (const other of open)
    if (core.bpf_valid_range(other.address, 4) !== 1)
      wrong.push(`round ${round}: ${other.address}`);
  if (open.length > 8) {
    const [old] = open.splice(round % open.length, 1);
    old.map.close();
  }
}
for (const { map } of open) map.close();
const closed = fds?.filter((/** @type {number} */ fd) => rt.close(fd) === 0).length;
// oxlint-disable-next-line unicorn/require-post-message-target-origin
parentPort.postMessage({ wrong, closed });

// A thread that works on the same sockets and storages as others, on sockets of its own, and counts under a bpf_spin_lock.

import { parentPort, workerData } from "node:worker_threads";
import { BPF_LOCAL_STORAGE_GET_F_CREATE, BPF_MAP_LOOKUP_ELEM } from "../../dist/index.js";
import { BPF_MAP_DELETE_ELEM, BPF_MAP_UPDATE_ELEM, createRuntime } from "../../dist/index.js";

const { kernel, cpu, sockets, maps, counter, rounds } = workerData;
const rt = await createRuntime({ attach: kernel, cpu });
const { exports } = rt;
const create = BigInt(BPF_LOCAL_STORAGE_GET_F_CREATE);
const keyPtr = rt.alloc(8);
const valuePtr = rt.alloc(2048);
const attr = new DataView(new ArrayBuffer(32));
const attrBytes = new Uint8Array(attr.buffer);
const words = new Int32Array(rt.memory.buffer);
let state = cpu + 1;

function below(bound) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * bound);
}

function call(cmd, map, fd) {
  words[keyPtr >> 2] = fd;
  attr.setInt32(0, map, true);
  attr.setUint32(8, keyPtr, true);
  attr.setUint32(16, cmd === BPF_MAP_DELETE_ELEM ? 0 : valuePtr, true);
  return rt.bpf(cmd, cmd === BPF_MAP_DELETE_ELEM ? attrBytes.subarray(0, 16) : attrBytes);
}

const answers = new Set();
const commands = [BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM, BPF_MAP_DELETE_ELEM];
const counterHandle = exports.bpf_map_by_fd(counter);
const counterPtr = exports.bpf_sk_storage_get(counterHandle, sockets[0].ptr, 0, create) >>> 0;
for (let round = 0; round < rounds; round++) {
  const { fd, ptr } = sockets[below(sockets.length)];
  const map = maps[below(maps.length)];
  answers.add(call(commands[below(3)], map, fd));
  const handle = exports.bpf_map_by_fd(map);
  if (below(2) === 0) exports.bpf_sk_storage_get(handle, ptr, 0, create);
  else exports.bpf_sk_storage_delete(handle, ptr);
  if (round % 8 === 0) {
    const own = rt.socket();
    answers.add(call(BPF_MAP_UPDATE_ELEM, map, own.fd));
    own.close();
  }
  if (exports.bpf_spin_lock(counterPtr) !== 0) throw new Error("no lock");
  words[(counterPtr >> 2) + 1] += 1;
  exports.bpf_spin_unlock(counterPtr);
}
rt.free(keyPtr);
rt.free(valuePtr);
// oxlint-disable-next-line unicorn/require-post-message-target-origin
parentPort.postMessage([...answers]);

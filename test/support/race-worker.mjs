// A thread that does one thing over and over, beside others that do other things with the same maps. Posts what went wrong:
// nothing, if all is well.

import { parentPort, workerData } from "node:worker_threads";
import * as bpfmaps from "../../dist/index.js";

const { kernel, cpu, action, fd, fds, rounds, isInStep, threads, gate } = workerData;
const { u32 } = bpfmaps;
const rt = await bpfmaps.createRuntime({ attach: kernel, cpu });
const core = rt.exports;
const KEYS = 64;
const INFO_BYTES = 104;
const FIRST_PID = 1000;
const room = rt.alloc(8192);
const words = new Uint32Array(rt.memory.buffer, room, 2048);
const attr = new DataView(new ArrayBuffer(56));
/** @type {Set<string>} */
const wrong = new Set();
/** What a thread has done, by its rounds. @type {number[]} */
const done = [];
const tasks = [];
let state = cpu;

/** @param {number} bound */
function below(bound) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * bound);
}

/** @param {number} cmd @param {number} bytes of the attr */
const bpf = (cmd, bytes) => rt.bpf(cmd, new Uint8Array(attr.buffer, 0, bytes));

/** @param {boolean} ok @param {string} what */
function expect(ok, what) {
  if (!ok) wrong.add(what);
}

/** @param {number} cmd */
function batch(cmd) {
  attr.setBigUint64(0, 0n, true);
  attr.setBigUint64(8, BigInt(room + 16), true);
  attr.setBigUint64(16, BigInt(room + 1024), true);
  attr.setBigUint64(24, BigInt(room + 4096), true);
  attr.setUint32(32, 2 * KEYS, true);
  attr.setInt32(36, fd, true);
  attr.setBigUint64(40, 0n, true);
  attr.setBigUint64(48, 0n, true);
  const ret = bpf(cmd, 56);
  expect(ret === -bpfmaps.ENOENT, `batch: ${ret}`);
}

/** The last map of a few by their ids: the one that others are about to close. */
function lastId() {
  let id = 0;
  for (let i = 0; i < 6; i++) {
    attr.setUint32(0, id, true);
    if (bpf(bpfmaps.BPF_MAP_GET_NEXT_ID, 8) !== 0) break;
    id = attr.getUint32(4, true);
  }
  return id;
}

/** @param {number} id */
function openById(id) {
  attr.setUint32(0, id, true);
  attr.setBigUint64(4, 0n, true);
  return bpf(bpfmaps.BPF_MAP_GET_FD_BY_ID, 12);
}

/** @param {number} inner fd of the template */
function createOuter(inner) {
  attr.setUint32(0, bpfmaps.BPF_MAP_TYPE_ARRAY_OF_MAPS, true);
  attr.setUint32(4, 4, true);
  attr.setUint32(8, 4, true);
  attr.setUint32(12, 1, true);
  attr.setUint32(16, 0, true);
  attr.setInt32(20, inner, true);
  return bpf(bpfmaps.BPF_MAP_CREATE, 24);
}

/** @param {number} opened */
function infoOf(opened) {
  words.fill(0, 0, INFO_BYTES / 4);
  attr.setInt32(0, opened, true);
  attr.setUint32(4, INFO_BYTES, true);
  attr.setBigUint64(8, BigInt(room), true);
  return bpf(bpfmaps.BPF_OBJ_GET_INFO_BY_FD, 16);
}

/** Waits until all threads have come here as often as this one. */
let meetings = 0;
function meet() {
  meetings++;
  Atomics.add(gate, 0, 1);
  while (Atomics.load(gate, 0) < threads * meetings);
}

const handle = fd === undefined ? 0 : core.bpf_map_by_fd(fd);
/** The map of `fd`, for those that walk. */
const whole = fd === undefined ? undefined : rt.mapFromFd(fd, { key: u32, value: u32 });
const SPECS = [
  { type: "hash", key: u32, value: u32, maxEntries: 5 },
  { type: "array", value: u32, maxEntries: 5 },
  { type: "lpm_trie", key: bpfmaps.lpmKey(bpfmaps.ipv4), value: u32, maxEntries: 200 },
  { type: "queue", value: u32, maxEntries: 5 },
];

/** @type {Record<string, (round: number) => void>} */
const ACTIONS = {
  /** A program's lookup, without a lock: `churn` puts even values in. */
  lookup() {
    const value = whole.get(below(KEYS));
    expect(value === undefined || (value % 2 === 0 && value < rounds), `a value: ${value}`);
  },
  /** Puts keys in and takes them out. */
  churn(round) {
    words[0] = below(KEYS);
    words[1] = round;
    if (round % 2 === 0) core.bpf_map_update_elem(handle, room, room + 4, 0n);
    else core.bpf_map_delete_elem(handle, room);
  },
  next() {
    words[0] = below(KEYS);
    const ret = core.map_get_next_key(handle, room, room + 4);
    expect(ret !== 0 || words[1] < KEYS, `next key: ${words[1]}`);
  },
  /** A cursor, and the values behind it, whether or not they are there any more. */
  walk() {
    let steps = 0;
    for (const { key } of whole.cursor()) {
      expect(key < KEYS, `a cursor's key: ${key}`);
      steps++;
    }
    // What is put back behind the cursor may be met again.
    expect(steps <= 4 * KEYS, `a cursor of ${steps} steps`);
  },
  drain: () => batch(bpfmaps.BPF_MAP_LOOKUP_AND_DELETE_BATCH),
  dump: () => batch(bpfmaps.BPF_MAP_LOOKUP_BATCH),
  make(round) {
    rt.createMap(/** @type {any} */ (SPECS[round % SPECS.length])).close();
  },
  byId() {
    const id = lastId();
    const opened = openById(id);
    if (opened < 0) return;
    expect(infoOf(opened) === 0, "no info");
    expect(words[1] === id, `info of another map than ${id}: ${words[1]}`);
    expect(core.bpf_map_by_fd(opened) !== 0, "an fd without a map");
    expect(core.map_mmap_bytes(opened) >= 0, "no size");
    rt.close(opened);
  },
  /** Makes maps of maps of what others close. */
  inner() {
    const inner = openById(lastId());
    if (inner < 0) return;
    const outer = createOuter(inner);
    words[0] = 0;
    words[1] = inner;
    const outerHandle = core.bpf_map_by_fd(outer);
    expect(core.map_update(outerHandle, room, room + 4, 0) === 0, "the template is not alike");
    rt.close(inner);
    const found = core.bpf_map_lookup_elem(outerHandle, room);
    expect(core.map_by_handle(found) !== 0, "the inner map ended");
    rt.close(outer);
  },
  freeze(round) {
    attr.setInt32(0, fds[round], true);
    if (bpf(bpfmaps.BPF_MAP_FREEZE, 4) === 0) done.push(round);
  },
  window(round) {
    if (core.map_mmap(fds[round], 0, 4096, 1) !== -bpfmaps.EPERM) done.push(round);
  },
  task(round) {
    const task = rt.task({ pid: FIRST_PID + round });
    done.push(task.pid === FIRST_PID + round ? rt.exports.host_serial(task.fd) : 0);
    tasks.push(task);
  },
};

try {
  const act = ACTIONS[action];
  meet();
  for (let round = 0; round < rounds && wrong.size < 5; round++) {
    if (isInStep) meet();
    act(round);
  }
} catch (error) {
  wrong.add(`${action}: ${error.stack}`);
}
// oxlint-disable-next-line unicorn/require-post-message-target-origin
parentPort.postMessage({ wrong: [...wrong], done });

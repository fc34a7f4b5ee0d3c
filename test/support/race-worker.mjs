// A thread that does one thing over and over, beside others that do other things with the same maps. Posts what went wrong:
// nothing, if all is well.

import { parentPort, workerData } from "node:worker_threads";
import * as bpfmaps from "../../dist/index.js";

const { kernel, cpu, action, fd, fds, keys, rounds, isInStep, threads, gate } = workerData;
const { u32 } = bpfmaps;
const rt = await bpfmaps.createRuntime({ attach: kernel, cpu });
const core = rt.exports;
const KEYS = 64;
/** Keys begin here, so that others are known for strangers. */
const FIRST_KEY = 1000;
/** More than the memory grows by. */
const GROWTH_BYTES = 1_100_000;
const EVENT_BYTES = 4096;
const CURRENT_CPU = BigInt(bpfmaps.BPF_F_CURRENT_CPU);
const ATTACHED = 200;
/** More maps are not made. */
const IDS = 100_000;
const INFO_BYTES = 104;
const FIRST_PID = 1000;
const room = rt.alloc(8192);
const words = new Uint32Array(rt.memory.buffer, room, 2048);
/** As it was at the beginning. */
const memory = new Uint32Array(rt.memory.buffer);
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

const someKey = () => FIRST_KEY + below(KEYS);
/** @param {number} key */
const isKey = (key) => key >= FIRST_KEY && key < FIRST_KEY + KEYS;

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

/** @type {{ cgroup: bpfmaps.Cgroup; attachment: bpfmaps.CgroupAttachment }[]} */
const attached = [];
let lastInner = 0;
const isTrie = action === "routes" || action === "matches";
const ROUTES = { type: "lpm_trie", key: bpfmaps.lpmKey(bpfmaps.ipv4), value: u32 };
/** @type {bpfmaps.LpmTrie} */
const trie = isTrie ? rt.mapFromFd(fd, /** @type {any} */ (ROUTES)) : undefined;

const handle = fd === undefined ? 0 : core.bpf_map_by_fd(fd);
/** @type {{ type: "hash"; key: bpfmaps.NumberCodec; value: bpfmaps.NumberCodec }} */
const NUMBERS = { type: "hash", key: u32, value: u32 };
/** The map of `fd`, for those that ask for it. */
const TYPED = ["lookup", "walk", "absent", "churnKeys"];
const whole = TYPED.includes(action) ? rt.mapFromFd(fd, { key: u32, value: u32 }) : undefined;
const OUTER = { type: "array_of_maps" };
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
    const value = whole.get(someKey());
    expect(value === undefined || (value % 2 === 0 && value < rounds), `a value: ${value}`);
  },
  /** Puts keys in and takes them out. */
  churn(round) {
    words[0] = someKey();
    words[1] = round;
    if (round % 2 === 0) core.bpf_map_update_elem(handle, room, room + 4, 0n);
    else core.bpf_map_delete_elem(handle, room);
  },
  next() {
    words[0] = someKey();
    const ret = core.map_get_next_key(handle, room, room + 4);
    expect(ret !== 0 || isKey(words[1]), `next key: ${words[1]}`);
  },
  /** A cursor, and the values behind it, whether or not they are there any more. */
  walk() {
    let steps = 0;
    for (const { key } of whole.cursor()) {
      expect(isKey(key), `a cursor's key: ${key}`);
      steps++;
    }
    // What is put back behind the cursor may be met again.
    expect(steps <= 4 * KEYS, `a cursor of ${steps} steps`);
  },
  /** A program's walk. */
  each() {
    rt.setCallback((_fn, _map, key) => {
      expect(isKey(memory[Number(key) / 4]), `a walk's key: ${memory[Number(key) / 4]}`);
      return 0n;
    });
    core.bpf_for_each_map_elem(handle, 0n, 0n, 0n);
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
  /** Opens what `swapInner` puts in the place of another. */
  openInner() {
    const inner = rt.mapFromFd(fds[0], NUMBERS);
    const outer = rt.mapFromFd(fd, { ...OUTER, inner });
    const found = outer.get(0);
    expect(found?.get(1) === 1, "another inner map");
    found?.close();
    for (const { value } of outer.cursor()) expect(value > 0 && value <= IDS, "no id");
    for (const [, each] of outer) each.close();
  },
  /** As bpf(2). */
  lookUpInner() {
    words[0] = 0;
    const ret = core.map_lookup_copy(handle, room, room + 4, 0);
    expect(ret === 0, `an inner map's lookup: ${ret}`);
    expect(words[1] >= lastInner, `an inner map's id: ${words[1]}`);
    lastInner = words[1];
  },
  swapInner() {
    const inner = rt.createMap({ ...NUMBERS, maxEntries: 2 });
    inner.set(1, 1);
    words[0] = 0;
    words[1] = inner.fd;
    expect(core.map_update(handle, room, room + 4, 0) === 0, "the template is not alike");
    inner.close();
  },
  grow() {
    expect(rt.alloc(GROWTH_BYTES) !== 0, "no memory");
  },
  /** Looks for what nobody puts in beside `churnKeys`. */
  absent() {
    expect(whole.get(0) === undefined, "a number for a key that is not there");
    words[0] = 0;
    expect(core.bpf_map_lookup_elem(handle, room) === 0, "a value of a key that is not there");
  },
  churnKeys(round) {
    const key = keys[round % keys.length];
    whole.set(key, key);
    whole.delete(key);
  },
  /** Prefixes that stand for themselves come and go. */
  routes(round) {
    const host = below(256);
    if (round % 2 === 0) trie.set(`10.0.0.${host}`, host);
    else trie.delete(`10.0.0.${host}`);
  },
  matches() {
    const host = below(256);
    for (const found of [
      trie.matchU32(0x0a000000 + host),
      trie.match(`10.0.0.${host}`),
      trie.get(`10.0.0.${host}`),
    ])
      expect(found === undefined || found === host, "the value of another prefix");
  },
  output() {
    const ret = core.bpf_perf_event_output(0, handle, CURRENT_CPU, room, 64);
    expect(ret === 0 || ret === -bpfmaps.ENOENT || ret === -bpfmaps.ENOSPC, `output: ${ret}`);
  },
  /** Makes and ends the event of the thread of `output`; what was its memory is somebody else's. */
  swapEvent() {
    const event = core.perf_event_create(1, EVENT_BYTES);
    words[0] = 1;
    words[1] = event;
    expect(core.map_update(handle, room, room + 4, 0) === 0, "no place for the event");
    rt.close(event);
    core.map_delete(handle, room);
    const ptr = rt.alloc(2 * EVENT_BYTES);
    const mine = new Uint8Array(rt.memory.buffer, ptr, 2 * EVENT_BYTES).fill(0x55);
    expect(!mine.some((byte) => byte !== 0x55), "written where nothing is any more");
    rt.free(ptr);
  },
  /** The inode of all anonymous files comes and goes. */
  anonymous() {
    const file = core.inode_create(1);
    expect(core.bpf_valid_range(core.host_ptr(file), 8) === 1, "a file without an inode");
    rt.close(file);
  },
  /** Takes the storage of cgroups away again; what was its memory is somebody else's. */
  attach() {
    const cgroup = rt.cgroup();
    attached.push({ cgroup, attachment: rt.attachCgroupStorage({ map: fd, cgroup }) });
    if (attached.length < ATTACHED) return;
    const [old] = attached.splice(below(ATTACHED), 1);
    old.attachment.detach();
    const ptr = rt.alloc(40);
    new Uint8Array(rt.memory.buffer, ptr, 40).fill(0xff);
    old.cgroup.rmdir();
    old.cgroup.close();
    rt.free(ptr);
  },
  walkStorages() {
    let key = 0;
    while (core.map_get_next_key(handle, key, room + 8) === 0) {
      expect(words[2] !== 0 && words[3] === 0, `a cgroup's id: ${words[3]} ${words[2]}`);
      words[0] = words[2];
      words[1] = words[3];
      key = room;
    }
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

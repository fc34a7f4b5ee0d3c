// Routing tables for the LPM scripts: `prefix/len` lines, gzipped, and a trie filled with them.

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const BPF_MAP_CREATE = 0;
const BPF_MAP_TYPE_LPM_TRIE = 11;
const BPF_F_NO_PREALLOC = 1;

/**
 * @typedef {object} Routes
 * @property {number} count
 * @property {number} dataSize    bytes of an address: 4 or 16
 * @property {Uint8Array} lengths prefix lengths
 * @property {Uint8Array} data    the addresses, one behind the other
 */

/** @param {string} text @param {Uint8Array} out */
function parseIpv6(text, out) {
  const [head = "", tail] = text.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = Array.from({ length: 8 }, () => 0);
  before.forEach((group, i) => (groups[i] = Number.parseInt(group, 16)));
  after.forEach((group, i) => (groups[8 - after.length + i] = Number.parseInt(group, 16)));
  groups.forEach((group, i) => {
    out[i * 2] = group >> 8;
    out[i * 2 + 1] = group & 255;
  });
}

/** @param {string} text @param {Uint8Array} out */
function parseAddress(text, out) {
  if (text.includes(":")) parseIpv6(text, out);
  else text.split(".").forEach((byte, i) => (out[i] = Number(byte)));
}

/**
 * Reads a table; a line's first word is its prefix.
 * @param {string} file @returns {Routes}
 */
export function readRoutes(file) {
  const lines = gunzipSync(readFileSync(file))
    .toString()
    .split("\n")
    .filter((line) => line !== "");
  const dataSize = lines[0].includes(":") ? 16 : 4;
  const data = new Uint8Array(lines.length * dataSize);
  const lengths = new Uint8Array(lines.length);
  lines.forEach((line, i) => {
    const [address, length] = line.split(/\s/, 1)[0].split("/");
    parseAddress(address, data.subarray(i * dataSize, (i + 1) * dataSize));
    lengths[i] = Number(length);
  });
  return { count: lines.length, dataSize, lengths, data };
}

/**
 * Makes an LPM_TRIE whose values are u32 line numbers.
 * @param {any} runtime @param {Routes} routes
 * @returns {{ fd: number, handle: number, failed: number, used: number }} used: bytes the elements took
 */
export function fillTrie(runtime, routes) {
  const attr = new Uint8Array(92);
  const view = new DataView(attr.buffer);
  const { count, dataSize, lengths, data } = routes;
  [BPF_MAP_TYPE_LPM_TRIE, 4 + dataSize, 4, count, BPF_F_NO_PREALLOC].forEach((word, i) =>
    view.setUint32(i * 4, word, true),
  );
  const fd = runtime.bpf(BPF_MAP_CREATE, attr);
  if (fd < 0) throw new Error(`BPF_MAP_CREATE: ${fd}`);
  const { exports } = runtime;
  const handle = exports.bpf_map_by_fd(fd);
  const key = runtime.alloc(4 + dataSize + 4);
  const value = key + 4 + dataSize;
  const words = new Uint32Array(runtime.memory.buffer);
  const bytes = new Uint8Array(runtime.memory.buffer);
  const before = exports.mem_used();
  let failed = 0;
  for (let i = 0; i < count; i++) {
    words[key >> 2] = lengths[i];
    bytes.set(data.subarray(i * dataSize, (i + 1) * dataSize), key + 4);
    words[value >> 2] = i;
    if (exports.map_update(handle, key, value, 0) !== 0) failed++;
  }
  const used = exports.mem_used() - before;
  runtime.free(key);
  return { fd, handle, failed, used };
}

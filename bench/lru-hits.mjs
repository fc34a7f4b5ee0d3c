// Replays cache traces through LRU_HASH and compares the hits with those of Linux 6.18, to the last one:
// `node bench/lru-hits.mjs DIR`. DIR holds *.u32.gz or traces/*.u32.gz; kernel-lru-hits.jsonl lies in it or above.
//
// Recorded with 2 possible CPUs, everything on CPU 0, u64 keys, values of 8 bytes. Variants:
//   A  BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM after a miss
//   B  BPF_MAP_LOOKUP_ELEM, then BPF_MAP_UPDATE_ELEM in any case
//   C  a program's lookup (marks the entry as referenced), update after a miss
//   D  A with BPF_F_NO_COMMON_LRU

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { folderArgument } from "./support/command-line.mjs";
import { loadLibrary } from "./support/ours.mjs";
import { readTrace, traceFiles } from "./support/traces.mjs";

/** @typedef {{ trace: string, variant: "A" | "B" | "C" | "D", size: number, hits: number }} Cell */

const EXPECTED = "kernel-lru-hits.jsonl";
const ATTR_BYTES = 32;

const library = await loadLibrary();
const { BPF_F_NO_COMMON_LRU, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, createRuntime, u64 } =
  library;

/** @param {Uint32Array} keys @param {Cell} cell */
async function countHits(keys, { variant, size }) {
  const rt = await createRuntime({ cpus: 2 });
  const mapFlags = variant === "D" ? BPF_F_NO_COMMON_LRU : 0;
  const map = rt.createMap({ type: "lru_hash", key: u64, value: u64, maxEntries: size, mapFlags });
  const attr = rt.alloc(ATTR_BYTES + 16);
  const key = attr + ATTR_BYTES;
  const words = new Uint32Array(rt.memory.buffer);
  words.fill(0, attr >> 2, (key + 16) >> 2);
  words[attr >> 2] = map.fd;
  words[(attr + 8) >> 2] = key;
  words[(attr + 16) >> 2] = key + 8;
  const handle = rt.exports.bpf_map_by_fd(map.fd);
  const lookup =
    variant === "C"
      ? () => rt.exports.bpf_map_lookup_elem(handle, key) !== 0
      : () => rt.bpf(BPF_MAP_LOOKUP_ELEM, attr, ATTR_BYTES) === 0;
  let hits = 0;
  for (const k of keys) {
    words[key >> 2] = k;
    const isHit = lookup();
    if (isHit) hits++;
    if (isHit && variant !== "B") continue;
    const ret = rt.bpf(BPF_MAP_UPDATE_ELEM, attr, ATTR_BYTES);
    if (ret !== 0) throw new Error(`BPF_MAP_UPDATE_ELEM: ${ret}`);
  }
  rt.dispose();
  return hits;
}

/** @param {string} folder @returns {Cell[]} */
function readCells(folder) {
  const file = [join(folder, EXPECTED), join(folder, "..", EXPECTED)].find((path) =>
    existsSync(path),
  );
  if (file === undefined) throw new Error(`no ${EXPECTED} in ${folder} or above`);
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const folder = folderArgument(
  `usage: node bench/lru-hits.mjs DIR; DIR holds *.u32.gz, ${EXPECTED}`,
);
const cells = readCells(folder);
let exact = 0;
for (const file of traceFiles(folder)) {
  const { name, keys } = readTrace(file);
  for (const cell of cells.filter(({ trace }) => trace === `${name}.u32`)) {
    const hits = await countHits(keys, cell);
    if (hits === cell.hits) exact++;
    const verdict = hits === cell.hits ? "exact" : `DIFFERS by ${hits - cell.hits}`;
    console.log(`${name} ${cell.variant} ${cell.size}: ${hits} hits of ${keys.length}, ${verdict}`);
  }
}
console.log(`${exact} of ${cells.length} cells exact`);
process.exitCode = exact === cells.length && exact > 0 ? 0 : 1;

// Full routing tables against the digests recorded from Linux 6.18: `node bench/lpm-digests.mjs DIR`.
// DIR holds kernel-lpm-digests.jsonl and routes/*.txt.gz.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createRuntime } from "../dist/index.js";
import { folderArgument } from "./support/command-line.mjs";
import { fillTrie, readRoutes } from "./support/routes.mjs";

const EXPECTED = "kernel-lpm-digests.jsonl";
const FNV_START = 1469598103934665603n;
/** FNV prime 2^40 + 0x1b3. */
const PRIME_LOW = 0x1b3;
const MISS = 0xffffffff;

/** FNV-1a with 64 bits in two u32 halves. */
class Fnv64 {
  low = Number(FNV_START & 0xffffffffn);
  high = Number(FNV_START >> 32n);

  /** @param {number} word the four bytes of a u32, lowest first */
  add(word) {
    for (let shift = 0; shift < 32; shift += 8) {
      const low = (this.low ^ ((word >>> shift) & 255)) >>> 0;
      const product = low * PRIME_LOW;
      const carry = Math.floor(product / 2 ** 32);
      this.high = (Math.imul(this.high, PRIME_LOW) + carry + (low << 8)) >>> 0;
      this.low = product % 2 ** 32;
    }
  }

  toString() {
    return [this.high, this.low].map((half) => half.toString(16).padStart(8, "0")).join("");
  }
}

/** Two lookups a line: the network address and the last address of the prefix. @param {string} file */
async function digest(file) {
  const routes = readRoutes(file);
  const runtime = await createRuntime();
  const { handle, failed, used } = fillTrie(runtime, routes);
  const { dataSize } = routes;
  const { exports } = runtime;
  const key = runtime.alloc(4 + dataSize);
  const bytes = new Uint8Array(runtime.memory.buffer, key, 4 + dataSize);
  const words = new Uint32Array(runtime.memory.buffer);
  words[key >> 2] = dataSize * 8;
  const fnv = new Fnv64();
  let miss = 0;
  let self = 0;
  for (let i = 0; i < routes.count; i++) {
    const address = routes.data.subarray(i * dataSize, (i + 1) * dataSize);
    for (let last = 0; last < 2; last++) {
      for (let b = 0; b < dataSize; b++) {
        const host = 255 >> Math.min(8, Math.max(0, routes.lengths[i] - b * 8));
        bytes[4 + b] = last ? address[b] | host : address[b];
      }
      const value = exports.bpf_map_lookup_elem(handle, key) >>> 0;
      const result = value === 0 ? MISS : words[value >> 2];
      if (value === 0) miss++;
      if (result === i) self++;
      fnv.add(result);
    }
  }
  runtime.dispose();
  return {
    prefixes: routes.count,
    update_fails: failed,
    miss,
    self,
    fnv1a64: fnv.toString(),
    used,
  };
}

const folder = folderArgument(
  `usage: node bench/lpm-digests.mjs DIR; DIR holds routes/*.txt.gz, ${EXPECTED}`,
);
const lines = readFileSync(join(folder, EXPECTED), "utf8").trim().split("\n");
let exact = 0;
for (const line of lines) {
  const { table, lookups: _, ...expected } = JSON.parse(line);
  const { used, ...counted } = await digest(join(folder, "routes", table));
  /** @type {Record<string, number | string>} */
  const actual = counted;
  const same = Object.entries(expected).every(([name, value]) => actual[name] === value);
  if (same) exact++;
  const perPrefix = (used / counted.prefixes).toFixed(1);
  console.log(
    `${table}: ${same ? "exact" : "DIFFERS"}, ${perPrefix} bytes a prefix`,
    JSON.stringify(actual),
  );
}
console.log(`${exact} of ${lines.length} tables exact`);
process.exitCode = exact === lines.length ? 0 : 1;

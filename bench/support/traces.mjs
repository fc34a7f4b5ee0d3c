// Cache traces: gzipped little-endian u32 keys, one an access.

import { readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";

const SUFFIX = ".u32.gz";

/**
 * @typedef {object} Trace
 * @property {string} name
 * @property {Uint32Array} keys
 */

/** @param {string} file @returns {Trace} */
export function readTrace(file) {
  const bytes = gunzipSync(readFileSync(file));
  const keys = new Uint32Array(bytes.byteLength >> 2);
  new Uint8Array(keys.buffer).set(bytes.subarray(0, keys.byteLength));
  return { name: basename(file, SUFFIX), keys };
}

/**
 * The trace files of a folder, or of its folder `traces`.
 * @param {string} folder
 */
export function traceFiles(folder) {
  for (const place of [folder, join(folder, "traces")]) {
    try {
      const names = readdirSync(place).filter((name) => name.endsWith(SUFFIX));
      if (names.length > 0) return names.toSorted().map((name) => join(place, name));
    } catch {
      // No such folder: the other one.
    }
  }
  return [];
}

// What differs from Linux is marked `Differs:` where it does, and has a row in the README.

import { readFileSync, readdirSync } from "node:fs";
import { expect, it } from "vitest";

const ROOT = new URL("../../", import.meta.url);

/** The rows of the README, and the files of assembly/ with their marks. */
const MARKS: Readonly<Record<string, readonly string[]>> = {
  "HASH, LRU_HASH, LPM_TRIE, storages": [
    "bpf_local_storage.ts",
    "hashtab.ts",
    "local_storage.ts",
    "lpm_trie.ts",
  ],
  "hash types without BPF_F_ZERO_SEED": ["htab_table.ts"],
  "per-CPU insert by a program": ["htab_update.ts"],
  "bpf_for_each_map_elem, hash types": ["hashtab.ts"],
  "QUEUE, STACK": ["queue_stack_maps.ts"],
  "info of an ARRAY": ["map_obj.ts"],
  "freezing between threads": ["map_obj.ts"],
  "RINGBUF, USER_RINGBUF": ["ringbuf.ts"],
  BTF: ["btf.ts", "btf_map.ts"],
  bpffs: ["bpffs.ts"],
  bpf_ktime_get_ns: ["kernel.ts"],
  "PERF_EVENT_ARRAY, STACK_TRACE": ["perf_event.ts", "stackmap.ts"],
  "maps of programs, devices, sockets": ["object_maps.ts"],
  "maps without references": ["map.ts"],
  memory: ["lib/heap.ts"],
};

it("each row of the README has its marks, each mark its row", () => {
  const readme = readFileSync(new URL("README.md", ROOT), "utf8");
  const table = readme.slice(readme.indexOf("## Where it differs"), readme.indexOf("## Licence"));
  const rows = [...table.matchAll(/^\| (?<where>.*?) +\|/gm)].map((row) => row.groups?.["where"]);
  expect(new Set(rows.slice(2))).toEqual(new Set(Object.keys(MARKS)));
  const sources = readdirSync(new URL("assembly/", ROOT), { recursive: true, encoding: "utf8" });
  const marked = sources.filter(
    (file) =>
      file.endsWith(".ts") &&
      readFileSync(new URL(`assembly/${file}`, ROOT), "utf8").includes("Differs:"),
  );
  expect(new Set(marked)).toEqual(new Set(Object.values(MARKS).flat()));
});

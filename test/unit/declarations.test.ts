// The declarations of the package, for programs whose compiler is set otherwise than ours, and checks them too.

import { execFile } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";

const ROOT = new URL("../../", import.meta.url);
/** Within the package, which so is found under its own name. */
const FOLDER = new URL("build/declarations/", ROOT);

const PROGRAM = `
import { createRuntime, u32 } from "bpfmaps";
import { createRuntime as inBrowser } from "bpfmaps/browser";
import { createMap, MapType } from "bpfmaps/bpf-compat";

const rt = await createRuntime({ cpus: undefined, core: new Uint8Array(8) });
new Uint8Array(rt.memory.buffer)[rt.alloc(8)] = 1;
rt.memory.grow(1);
const map = rt.mapFromFd(3, { key: u32, value: u32 });
const value: number | undefined = map.set(1, 2).get(1);
map[Symbol.dispose]();
(await inBrowser()).dispose();
createMap({ type: MapType.HASH, keySize: 4, valueSize: value ?? 4, maxEntries: 1 }).close();
`;

beforeAll(() => {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(new URL("program.ts", FOLDER), PROGRAM);
});

afterAll(() => {
  rmSync(FOLDER, { recursive: true });
});

const SETTINGS: readonly (readonly [string, object])[] = [
  ["no libraries named", {}],
  ["no library dom", { lib: ["es2022"] }],
  ["no library dom, but Node", { lib: ["es2022"], types: ["node"] }],
  ["all libraries", { lib: ["esnext", "dom"], types: ["node"] }],
  ["exact optional properties", { exactOptionalPropertyTypes: true }],
  ["a bundler", { module: "esnext", moduleResolution: "bundler" }],
];

it.each(SETTINGS)("compile with %s", async (name, setting) => {
  const compilerOptions = {
    noEmit: true,
    strict: true,
    target: "es2022",
    module: "nodenext",
    types: [],
    ...setting,
  };
  const config = new URL(`${name.replaceAll(/\W+/g, "-")}.json`, FOLDER);
  writeFileSync(config, JSON.stringify({ compilerOptions, files: ["program.ts"] }));
  const tsc = fileURLToPath(new URL("node_modules/typescript/lib/tsc.js", ROOT));
  const run = promisify(execFile)(process.execPath, [tsc, "-p", fileURLToPath(config)]);
  const output = await run.then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout,
  );
  expect(output).toBe("");
});

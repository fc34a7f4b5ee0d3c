// Programs written for npm `bpf` print the same on this library. What they print was recorded from the package and Linux
// 6.18; where both are at hand, they are asked again. BPFMAPS_RECORD=1 writes the recordings anew.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import * as compat from "../../ts/bpf-compat.js";
import { loadNpmBpf } from "./npm-bpf.js";
import { PROGRAM } from "./program.js";
import { formatGolden, missingTypes, parseGolden, runScript, type Script } from "./script.js";
import { SESSIONS } from "./session.js";
import { describeCompat } from "./support.js";

const npmBpf = loadNpmBpf();
if (typeof npmBpf === "string") console.log(`comparison with npm bpf skipped: ${npmBpf}`);

function readGolden(file: URL): Map<string, string[]> {
  if (!existsSync(file)) return new Map();
  const bytes = readFileSync(file);
  return parseGolden((file.pathname.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString());
}

function record(file: URL, scripts: readonly Script[], bpf: typeof compat): void {
  const sections = new Map(scripts.map((script) => [script.title, runScript(script, bpf)]));
  const text = Buffer.from(formatGolden(sections));
  writeFileSync(file, file.pathname.endsWith(".gz") ? gzipSync(text, { level: 9 }) : text);
}

function describeScripts(name: string, scripts: readonly Script[], file: URL): void {
  if (process.env["BPFMAPS_RECORD"] === "1" && typeof npmBpf !== "string")
    record(file, scripts, npmBpf);
  const golden = readGolden(file);
  describeCompat(`${name} on this library`, {}, () => {
    for (const script of scripts) {
      test(script.title, () => {
        expect(missingTypes(script, compat.runtime)).toEqual([]);
        expect(runScript(script, compat)).toEqual(golden.get(script.title));
      });
    }
  });
  describe.runIf(typeof npmBpf !== "string")(`${name} on npm bpf and this kernel`, () => {
    for (const script of scripts) {
      test(script.title, () => {
        expect(runScript(script, npmBpf as typeof compat)).toEqual(golden.get(script.title));
      });
    }
  });
}

describeScripts("program", PROGRAM, new URL("program.golden.txt", import.meta.url));
describeScripts("session", SESSIONS, new URL("session.golden.txt.gz", import.meta.url));

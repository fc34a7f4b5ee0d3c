// The examples of the documents are programs: each ```ts block is a module that is type-checked against the built
// package, run, and compared with its `// prints: ` comments. Blocks marked ```ts no-run are for reading only; ```ts x.ts
// is a module that other examples of the document import.
// Examples in the sources' doc comments are parts of programs: what they use is imported for them, `rt` is a runtime, and
// the values in comments behind their lines are compared.

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Inside the package, so that "bpfmaps" is the package itself. */
const WORK = `${ROOT}build/docs`;
const DOCUMENTS = [
  "README.md",
  "ARCHITECTURE.md",
  "CONTRIBUTING.md",
  "docs/guide.md",
  "docs/simulators.md",
];
const BLOCK = /^```ts(?: (?<module>[\w-]+)\.ts)?\n(?<code>[^]*?)^```$/gm;
const PRINTS = /\/\/ prints: (?<text>.*)$/gm;

const run = promisify(execFile);

interface Example {
  readonly name: string;
  /** File name without its ending. */
  readonly file: string;
  readonly code: string;
  /** Unknown: of an example in a source. */
  readonly prints: string | undefined;
  /** Imported by others, not run. */
  readonly isModule: boolean;
}

function examplesOf(document: string): Example[] {
  const text = readFileSync(`${ROOT}${document}`, "utf8");
  return [...text.matchAll(BLOCK)].map((match) => {
    const code = match.groups?.["code"] ?? "";
    const line = text.slice(0, match.index).split("\n").length;
    return {
      name: `${document}, line ${line}`,
      file: match.groups?.["module"] ?? `${document.replace(/\W/g, "-")}-${line}`,
      code,
      isModule: match.groups?.["module"] !== undefined,
      prints: [...code.matchAll(PRINTS)].map((print) => `${print.groups?.["text"]}\n`).join(""),
    };
  });
}

/** Types that the examples of the sources use; values are imported by what the package exports. */
const TYPES = ["Infer"];
const SOURCE_BLOCK = /@example\n *\* ```ts\n(?<code>[^]*?)\n *\* ```/g;

/** `expression; // value`, or `statement; // name: value` about a variable. */
const VALUE = "-?\\d+n?|true|false|undefined|\\{.*\\}|(?:Uint8Array )?\\[.*\\]";
const CLAIM = new RegExp(`^(?<line>(?!type ).*); // (?:(?<name>\\w+): )?(?<value>${VALUE})$`, "gm");

/** Turns the comments behind lines into assertions. */
function withClaims(code: string): string {
  return code.replaceAll(CLAIM, (...match) => {
    const { line, name, value } = match.at(-1) as { line: string; name?: string; value: string };
    const expected = value.replace(/^Uint8Array (.*)$/, "new Uint8Array($1)");
    return name === undefined
      ? `assert.deepEqual(${line}, ${expected});`
      : `${line};\nassert.deepEqual(${name}, ${expected});`;
  });
}

function sourceExamples(names: readonly string[]): Example[] {
  const files = readdirSync(`${ROOT}ts`, { recursive: true, encoding: "utf8" });
  const sources = files.filter((file) => file.endsWith(".ts") && !file.startsWith("bpf-compat"));
  return sources.flatMap((source) => {
    const text = readFileSync(`${ROOT}ts/${source}`, "utf8");
    return [...text.matchAll(SOURCE_BLOCK)].map((match) => {
      const line = text.slice(0, match.index).split("\n").length;
      const body = withClaims((match.groups?.["code"] ?? "").replaceAll(/^ *\* ?/gm, ""));
      const used = names.filter((name) => new RegExp(`\\b${name}\\b`).test(body));
      const types = TYPES.filter((name) => body.includes(name)).map((name) => `type ${name}`);
      const imports = ["createRuntime", ...used, ...types].join(", ");
      return {
        name: `ts/${source}, line ${line}`,
        file: `${source.replace(/\W/g, "-")}-${line}`,
        code: `import assert from "node:assert/strict";
import { ${imports} } from "bpfmaps";
const rt = await createRuntime({ cpus: 2 });
${body}
rt.dispose();
`,
        isModule: false,
        prints: undefined,
      };
    });
  });
}

const TSCONFIG = {
  compilerOptions: {
    target: "es2022",
    lib: ["es2023", "esnext.disposable", "dom"],
    module: "nodenext",
    strict: true,
    types: ["node"],
    skipLibCheck: true,
    rootDir: ".",
    outDir: "out",
  },
  include: ["*.ts"],
};

/** Checks and compiles all examples at once. */
async function compile(examples: readonly Example[]): Promise<void> {
  rmSync(WORK, { recursive: true, force: true });
  mkdirSync(WORK, { recursive: true });
  writeFileSync(`${WORK}/tsconfig.json`, JSON.stringify(TSCONFIG));
  for (const { file, code } of examples) writeFileSync(`${WORK}/${file}.ts`, code);
  const tsc = `${ROOT}node_modules/typescript/bin/tsc`;
  await run(process.execPath, [tsc, "-p", WORK]).catch((error: { stdout: string }) => {
    throw new Error(error.stdout);
  });
}

describe("the examples of the documents", async () => {
  const api = (await import(`${ROOT}dist/index.js`)) as object;
  const names = Object.keys(api).filter((name) => name !== "createRuntime");
  const examples = [...DOCUMENTS.flatMap(examplesOf), ...sourceExamples(names)];
  const compiled = compile(examples);
  // A failure shows in every test, not as an unhandled rejection.
  await compiled.catch(() => {});

  test("there are some, and the kernel's LRU example takes less than 25 lines", () => {
    expect(examples.length).toBeGreaterThan(3);
    const lru = examples.find(({ code }) => code.includes("updateStats"))?.code ?? "";
    const lines = lru.split("\n").filter((line) => line !== "" && !line.startsWith("//"));
    expect(lines.length).toBeGreaterThan(10);
    expect(lines.length).toBeLessThan(25);
  });

  for (const { name, file, prints } of examples.filter(({ isModule }) => !isModule)) {
    test(name, async () => {
      await compiled;
      const { stdout } = await run(process.execPath, [`${WORK}/out/${file}.js`]);
      if (prints !== undefined) expect(stdout).toBe(prints);
    });
  }
});

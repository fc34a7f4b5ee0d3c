// The borders that ARCHITECTURE.md draws.

import { readFileSync, readdirSync } from "node:fs";
import { expect, it } from "vitest";

const DATA_SECTION = 11;

/** The sources of a folder, each with what it imports. */
function importsOf(folder: string): { file: string; imports: string[] }[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".ts"))
    .map((name) => {
      const text = readFileSync(`${folder}/${name}`, "utf8");
      return { file: name, imports: [...text.matchAll(/ from "([^"]+)"/g)].map((m) => m[1] ?? "") };
    });
}

/** Ids of a module's sections. */
function sectionsOf(file: string): number[] {
  const bytes = readFileSync(file);
  const ids: number[] = [];
  for (let at = 8; at < bytes.length;) {
    ids.push(bytes[at++] as number);
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      const byte = bytes[at++] as number;
      size |= (byte & 0x7f) << shift;
      more = byte >= 0x80;
    }
    at += size;
  }
  return ids;
}

it("the core shares nothing but the numbers with TypeScript, and nothing imports debug.ts", () => {
  for (const { file, imports } of [...importsOf("assembly"), ...importsOf("assembly/lib")]) {
    const outside = imports.filter((name) => name.includes("/ts/"));
    expect(
      outside.filter((name) => !/^(\.\.\/)+ts\/(uapi|abi)$/.test(name)),
      file,
    ).toEqual([]);
    expect(imports, file).not.toContain("./debug");
  }
});

it("the numbers import nothing, and codecs know no runtime", () => {
  for (const name of ["uapi.ts", "abi.ts"]) {
    expect(importsOf("ts").find(({ file }) => file === name)?.imports, name).toEqual([]);
  }
  for (const { file, imports } of importsOf("ts/codec")) {
    expect(
      imports.filter((name) => !name.startsWith("./")),
      file,
    ).toEqual([]);
  }
});

it("bundlers are told which modules do something when they are imported", () => {
  const sources = readdirSync("ts", { recursive: true, encoding: "utf8" });
  const active = sources.filter((name) => {
    // A statement that calls, at the top level.
    return (
      name.endsWith(".ts") &&
      /^(?:await )?\w+(?:\.\w+)*\(/m.test(readFileSync(`ts/${name}`, "utf8"))
    );
  });
  const { sideEffects } = JSON.parse(readFileSync("package.json", "utf8")) as {
    sideEffects: string[];
  };
  const files = active.map(
    (name) => `./dist/${name.replaceAll("\\", "/").replace(/\.ts$/, ".js")}`,
  );
  expect(sideEffects.toSorted()).toEqual(files.toSorted());
});

it.each(["core", "core.shared", "core.debug"])("%s has no data and few imports", (name) => {
  const file = `build/${name}.wasm`;
  expect(sectionsOf(file)).not.toContain(DATA_SECTION);
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(file)));
  const known = ["callback", "free", "malloc", "memory", "wakeup"];
  expect(imports.filter((i) => i.module !== "env" || !known.includes(i.name))).toEqual([]);
});

it("all map types fit into a core of 64 kB", () => {
  expect(readFileSync("build/core.wasm").length).toBeLessThanOrEqual(64_000);
});

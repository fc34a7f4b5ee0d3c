// What errors say.

import { readFileSync, readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { BpfError } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";

it("every errno that the core answers has a text", () => {
  const sources = readdirSync("assembly").filter((name) => name.endsWith(".ts"));
  const text = sources.map((name) => readFileSync(`assembly/${name}`, "utf8")).join("\n");
  const answered = Object.entries(uapi).filter(([name]) => text.includes(`-${name};`));
  expect(answered.length).toBeGreaterThan(15);
  const silent = answered.filter(([name, errno]) => {
    const { code, message } = new BpfError("bpf", -errno);
    return code !== name || message.includes(": error,");
  });
  expect(silent).toEqual([]);
});

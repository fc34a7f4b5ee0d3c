// Programs on the API of npm `bpf`: they take the module as a parameter and print lines, so that the same program runs on
// the package (the kernel's maps) and on this library.

import type * as compat from "../../ts/bpf-compat.js";
import type { Runtime } from "../support/builds.js";

export type Bpf = typeof compat;

/** A program. */
export interface Script {
  readonly title: string;
  /** Map types it uses. */
  readonly needs: readonly number[];
  run(bpf: Bpf, print: (line: string) => void): void;
}

/** The lines a program prints. */
export function runScript(script: Script, bpf: Bpf): string[] {
  const lines: string[] = [];
  script.run(bpf, (line) => lines.push(line));
  return lines;
}

/** Map types a program needs and the core does not have. */
export function missingTypes(script: Script, runtime: Runtime): number[] {
  return script.needs.filter((type) => runtime.exports.map_type_supported(type) === 0);
}

/** A result in one line: bytes as hex. */
export function show(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (typeof value === "bigint") return `${value}n`;
  return JSON.stringify(value) ?? "undefined";
}

/** Items in an order that does not depend on the map. */
export function sorted<T>(items: Iterable<T>): T[] {
  return [...items].toSorted((a, b) => (show(a) < show(b) ? -1 : 1));
}

/** What a call gives or throws. The wording of errors is a module's own, but for BPFError's. */
export function attempt(bpf: Bpf, call: () => unknown): string {
  try {
    return show(call());
  } catch (error) {
    if (error instanceof bpf.BPFError) {
      const { name, message, operation, errno, code, count } = error;
      return `${name} ${message} ${operation} ${errno} ${code} ${count}`;
    }
    if (error instanceof Error) return error.constructor.name;
    throw error;
  }
}

/** Golden text: each program's lines under its title. */
export function formatGolden(sections: ReadonlyMap<string, readonly string[]>): string {
  return [...sections].map(([title, lines]) => [`# ${title}`, ...lines, ""].join("\n")).join("\n");
}

/** The reverse of {@link formatGolden}. */
export function parseGolden(text: string): Map<string, string[]> {
  const sections = new Map<string, string[]>();
  for (const part of text.split(/^# /m).slice(1)) {
    const [title = "", ...lines] = part.split("\n");
    sections.set(
      title,
      lines.filter((line) => line !== ""),
    );
  }
  return sections;
}

// Chromium, when there is one: the system's, driven by playwright-core.

import { accessSync, constants } from "node:fs";
import { delimiter } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The part of playwright-core's API that is used here. */
export interface Page {
  on(event: "console", listener: (message: { text(): string }) => void): void;
  on(event: "pageerror", listener: (error: Error) => void): void;
  goto(url: string): Promise<unknown>;
  evaluate<T>(run: () => T): Promise<Awaited<T>>;
  close(): Promise<void>;
}

export interface Browser {
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

interface Playwright {
  readonly chromium: {
    launch(options: {
      executablePath: string;
      headless: boolean;
      args: readonly string[];
    }): Promise<Browser>;
  };
}

/** The browser's program: the variable CHROMIUM, or what the path has. */
export function findChromium(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const candidates = folders.flatMap((folder) => NAMES.map((name) => `${folder}/${name}`));
  const given = process.env["CHROMIUM"];
  return (given === undefined ? candidates : [given]).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** playwright-core; the variable PLAYWRIGHT_CORE names another place than node_modules. */
export async function findPlaywright(): Promise<Playwright | undefined> {
  const place: string = process.env["PLAYWRIGHT_CORE"] ?? "playwright-core";
  try {
    const found = (await import(place)) as Playwright & { default?: Playwright };
    return found.default ?? found;
  } catch {
    return undefined;
  }
}

export async function launch(playwright: Playwright, executablePath: string): Promise<Browser> {
  // The sandbox needs rights that containers do not give; the pages are our own.
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
  return playwright.chromium.launch({ executablePath, headless: true, args });
}

// The package in headless Chromium: dist/browser.js as it is, in a window and in a worker, and bundled by Vite.

import { cpSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import type { Server } from "node:http";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import type { Plugin } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findChromium, findPlaywright, launch } from "./support/chromium.js";
import type { Browser } from "./support/chromium.js";
import { addressOf, serve } from "./support/server.js";
import type { Results } from "./support/vitest.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const HERE = fileURLToPath(new URL("./", import.meta.url));
const WORK = `${ROOT}build/browser`;

const chromium = findChromium();
const playwright = await findPlaywright();
const missing =
  chromium === undefined ? "no Chromium" : playwright === undefined ? "no playwright-core" : "";
if (missing !== "") console.log(`skipped, the tests in a browser: ${missing} is installed`);

/** package.json says that modules have no side effects, which is true of the package; tests are nothing else. */
const keepTests: Plugin = {
  name: "keep-tests",
  transform: (code, id) =>
    id.endsWith(".test.ts") ? { code, map: null, moduleSideEffects: true } : null,
};

/** The suite as one module next to the package, whose files stay as they are. */
async function buildSuite(): Promise<void> {
  const vitestRequire = createRequire(createRequire(import.meta.url).resolve("vitest"));
  const expectRequire = createRequire(vitestRequire.resolve("@vitest/expect"));
  await build({
    configFile: false,
    root: ROOT,
    logLevel: "error",
    plugins: [keepTests],
    resolve: {
      alias: [
        { find: /^.*\/ts\/(index|browser)\.js$/, replacement: "/dist/browser.js" },
        { find: /^.*\/support\/builds\.js$/, replacement: `${HERE}support/builds.ts` },
        { find: /^vitest$/, replacement: `${HERE}support/vitest.ts` },
        { find: /^@vitest\/expect$/, replacement: vitestRequire.resolve("@vitest/expect") },
        { find: /^chai$/, replacement: expectRequire.resolve("chai") },
      ],
    },
    build: {
      outDir: `${WORK}/suite`,
      target: "esnext",
      minify: false,
      lib: { entry: `${HERE}suite.ts`, formats: ["es"], fileName: "suite" },
      rolldownOptions: { external: ["/dist/browser.js"] },
    },
  });
}

/** A user's application, with the package in its node_modules. */
async function buildApp(): Promise<void> {
  cpSync(`${HERE}app`, `${WORK}/app`, { recursive: true });
  mkdirSync(`${WORK}/app/node_modules`);
  symlinkSync(ROOT, `${WORK}/app/node_modules/bpfmaps`);
  await build({
    configFile: false,
    root: `${WORK}/app`,
    base: "/app/",
    logLevel: "error",
    worker: { format: "es" },
  });
}

describe.skipIf(missing !== "")("the package in Chromium", () => {
  let server: Server;
  let browser: Browser;

  beforeAll(async () => {
    rmSync(WORK, { recursive: true, force: true });
    mkdirSync(WORK, { recursive: true });
    await buildSuite();
    await buildApp();
    server = await serve({
      dist: `${ROOT}dist`,
      build: `${ROOT}build`,
      pages: `${HERE}pages`,
      suite: `${WORK}/suite`,
      app: `${WORK}/app/dist`,
    });
    browser = await launch(playwright as NonNullable<typeof playwright>, chromium as string);
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  /** What a page leaves in globalThis.results; fails when it complains. */
  async function visit(path: string): Promise<unknown> {
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(`${addressOf(server)}${path}`);
    const results = await page.evaluate(() => (globalThis as { results?: unknown }).results);
    await page.close();
    expect(complaints).toEqual([]);
    return results;
  }

  test("pages are isolated, and generating code is refused", async () => {
    expect(await visit("/pages/policy.html")).toEqual({ isolated: true, generatedCode: "refused" });
  });

  for (const place of ["window", "worker"]) {
    test(`the typed maps behave in a ${place} as they do in Node`, async () => {
      const { passed, failed } = (await visit(`/pages/${place}.html`)) as Results;
      expect(failed).toEqual([]);
      expect(passed).toBeGreaterThan(80);
    });
  }

  test("a window and a worker share one kernel", async () => {
    expect(await visit("/pages/threads.html")).toEqual({ sum: 200_000, expected: 200_000 });
  });

  test("an application built by Vite works in the page and in a worker", async () => {
    expect(await visit("/app/index.html")).toEqual({ page: [1225, 1225], worker: 7 });
  });
});

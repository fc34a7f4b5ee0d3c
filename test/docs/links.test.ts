// Links between the documents lead to files and headings that there are.

import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const ROOT = new URL("../../", import.meta.url);
const DOCUMENTS = [
  "README.md",
  "ARCHITECTURE.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "bench/README.md",
  "docs/guide.md",
  "docs/simulators.md",
  "test/golden/README.md",
];
const LINK = /\]\((?<target>[^)#\s]*)(?:#(?<heading>[^)\s]+))?\)/g;
const CODE = /^```[^]*?^```$/gm;

/** The anchors of a document's headings, as code hosts make them. */
function anchorsOf(document: URL): string[] {
  const text = readFileSync(document, "utf8").replaceAll(CODE, "");
  return [...text.matchAll(/^#+ (?<title>.*)$/gm)].map(({ groups }) =>
    (groups?.["title"] ?? "")
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, "")
      .replaceAll(" ", "-"),
  );
}

it.for(DOCUMENTS)("%s", (name) => {
  const document = new URL(name, ROOT);
  const text = readFileSync(document, "utf8").replaceAll(CODE, "");
  const broken = [...text.matchAll(LINK)]
    .filter(({ groups }) => !/^[a-z]+:/.test(groups?.["target"] ?? ""))
    .filter(({ groups }) => {
      const target = groups?.["target"] ?? "";
      const file = target === "" ? document : new URL(target, document);
      if (!existsSync(file)) return true;
      const heading = groups?.["heading"];
      return heading !== undefined && !anchorsOf(file).includes(heading);
    })
    .map(([link]) => link);
  expect(broken).toEqual([]);
});

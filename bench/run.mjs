// `npm run bench`: every goal against its peer. Each file of goals/ is a goal or a few; see README.md.

import { readdirSync, writeFileSync } from "node:fs";
import { readArgs } from "./support/args.mjs";
import { describeMachine, load } from "./support/machine.mjs";
import { publish, toJson } from "./support/publish.mjs";
import { busyWarning, conditions, summary, textTable } from "./support/report.mjs";
import { Suite } from "./support/suite.mjs";

/** @typedef {{ goals: readonly string[], optional?: boolean, run(suite: Suite): Promise<void> }} Goal */

/** @returns {Promise<Goal[]>} in the order of their names */
async function loadGoals() {
  const folder = new URL("./goals/", import.meta.url);
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".mjs"))
    .toSorted();
  const modules = await Promise.all(files.map((name) => import(new URL(name, folder).href)));
  return modules.map((module) => module.default);
}

const options = readArgs();
const all = await loadGoals();
const names = all.flatMap(({ goals }) => goals);
for (const goal of options.goals ?? []) {
  if (names.includes(goal)) continue;
  console.error(`no goal ${goal}: there are ${names.join(", ")}`);
  process.exit(2);
}
const machine = describeMachine();
const startLoad = load();
const suite = await Suite.create(options);
for (const goal of all) {
  // The curves take long: only in a complete run, or when asked for.
  const isLeftOut =
    goal.optional === true && options.goals === undefined && options.mode === "quick";
  if (isLeftOut || !goal.goals.some((name) => suite.wants(name))) continue;
  try {
    await goal.run(suite);
  } catch (error) {
    // The others' results are kept.
    suite.skip(goal.goals.join(", "), "the rest", String(error));
    process.exitCode = 1;
  }
}
const report = {
  mode: options.mode,
  machine,
  load: { start: startLoad, end: load() },
  results: suite.results,
  skipped: suite.skipped,
};
console.log(`\n${conditions(report)}\n`);
console.log(textTable(report));
console.log(`\n${summary(report)}`);
const warning = busyWarning(report);
if (warning !== undefined) console.log(warning);
if (options.json !== undefined) writeFileSync(options.json, toJson(report));
if (options.update) publish(report);
suite.rt.dispose();

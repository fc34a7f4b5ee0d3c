// Command line of `npm run bench`.

import { exitWithUsage, parseCommandLine } from "./command-line.mjs";
import { PLANS } from "./suite.mjs";

const USAGE = `usage: npm run bench -- [options]
  --quick        fewer rounds: under two minutes
  --smoke        small maps, hardly any rounds: does everything work?
  --goal 1,3     only these goals (also: api; scaling, other: no goals, but charts)
  --patience S   seconds for turns that are taken again because others disturbed them on the same core
  --full         16M entries in the scaling curves too
  --data DIR     real data: routes/*.txt.gz
  --json FILE    write the results there
  --update       write bench/results and the tables of the READMEs (a complete run without --quick and --smoke does)`;

const OPTIONS = /** @type {const} */ ({
  quick: { type: "boolean", default: false },
  smoke: { type: "boolean", default: false },
  full: { type: "boolean", default: false },
  update: { type: "boolean", default: false },
  goal: { type: "string" },
  patience: { type: "string" },
  data: { type: "string" },
  json: { type: "string" },
});

export function readArgs() {
  const { values } = parseCommandLine({ options: OPTIONS }, USAGE);
  const mode = values.smoke ? "smoke" : values.quick ? "quick" : "normal";
  const goals = values.goal?.split(",").map((goal) => goal.trim());
  const { data, json, full: large } = values;
  const update = values.update || (mode === "normal" && goals === undefined);
  const patience = Number(values.patience ?? PLANS[mode].patience / 1000) * 1000;
  if (!(patience >= 0)) {
    exitWithUsage(USAGE, `--patience ${values.patience}: not a number of seconds`);
  }
  const plan = { ...PLANS[mode], patience };
  return { mode, plan, goals, data, json, large, update };
}

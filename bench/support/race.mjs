// Contenders against each other: in one process, taking turns round by round, each with queries of its own.

import { Bench } from "tinybench";

/**
 * @typedef {object} Contender
 * @property {string} name
 * @property {"ours" | "peer" | "detail"} role   "ours" is judged against the first "peer"; a "detail" is shown only
 * @property {number} ops                        operations of one round (1 when `run` answers per operation)
 * @property {(round: number) => void} [before]  prepares a round, not timed
 * @property {() => void} [swap]                 takes the other queries that `before` prepared: quick, and touches nothing
 * @property {() => number | Promise<number | undefined>} run  one round, timed; or answers its own figure (`answers`)
 * @property {boolean} [answers]                 `run` gives the nanoseconds (bytes, ...) an operation itself
 */

/** @typedef {Map<string, number[]>} Samples ns an operation, a number for each counted round */

const MS_TO_NS = 1e6;

/**
 * What a contender does with queries of its own, drawn for the pass that is timed and for the one before.
 * @template {{ refill(): void }} Q
 * @param {() => Q} make @param {number} ops @param {(queries: Q) => number} use one pass
 */
export function takingTurns(make, ops, use) {
  let [now, next] = [make(), make()];
  return {
    ops,
    before: () => {
      now.refill();
      next.refill();
    },
    swap: () => {
      [now, next] = [next, now];
    },
    run: () => use(now),
  };
}

let copies = 0;

/**
 * A copy of a function with type feedback of its own: what one contender's keys teach the compiler must not slow another
 * contender down. The function may use nothing but its parameters. The text differs from copy to copy, because V8 would
 * share code and feedback of equal texts.
 * @template {(...args: never[]) => unknown} F
 * @param {F} loop
 * @returns {F}
 */
export function fresh(loop) {
  // oxlint-disable-next-line typescript/no-implied-eval
  return new Function(`/* ${++copies} */ return ${loop.toString()}`)();
}

/** @param {Bench} bench @param {Contender} contender */
function addTask(bench, contender) {
  const { name, run, answers } = contender;
  const task = async () => ({
    overriddenDuration: (Number(await run()) * contender.ops) / MS_TO_NS,
  });
  bench.add(name, answers ? task : run, { async: answers === true });
}

/**
 * Runs all contenders for some rounds; who begins changes from round to round. Warm-up rounds are not counted.
 * @param {readonly Contender[]} contenders
 * @param {{ rounds: number, warmup: number, warm?: boolean }} plan warm: each turn begins with a pass that is not timed, with
 * other queries: the caches are as in a program that is at work with this structure, not as the last contender left them
 * @returns {Promise<Samples>}
 */
export async function race(contenders, { rounds, warmup, warm = false }) {
  const bench = new Bench({
    time: 0,
    iterations: 1,
    warmup: false,
    retainSamples: true,
    throws: true,
  });
  for (const contender of contenders) addTask(bench, contender);
  /** @type {Samples} */
  const samples = new Map(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < warmup + rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const contender = contenders[(turn + round) % contenders.length];
      contender.before?.(round);
      if (warm && !contender.answers) await warmUp(contender, round);
      const ms = await runOnce(bench, contender);
      if (round >= warmup) samples.get(contender.name)?.push((ms * MS_TO_NS) / contender.ops);
    }
  }
  return samples;
}

/** A pass that is not timed. @param {Contender} contender @param {number} round */
async function warmUp({ run, swap, before }, round) {
  await run();
  if (swap === undefined) before?.(round);
  else swap();
}

/** @param {Bench} bench @param {Contender} contender milliseconds */
async function runOnce(bench, { name, answers }) {
  const task = bench.getTask(name);
  if (task === undefined) throw new Error(`two contenders are called ${name}`);
  task.reset();
  if (answers) await task.run();
  else task.runSync();
  if (task.result.state !== "completed") throw new Error(`${name}: ${task.result.state}`);
  return task.result.latency.samples?.[0] ?? NaN;
}

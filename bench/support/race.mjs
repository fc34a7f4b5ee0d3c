// Contenders against each other: in one process, taking turns round by round, each with queries of its own.

import { Bench } from "tinybench";

/**
 * @typedef {object} Contender
 * @property {string} name
 * @property {"ours" | "peer" | "detail"} role   "ours" is judged against the first "peer"; a "detail" is shown only
 * @property {number} ops                        operations of one round (1 when `run` answers per operation)
 * @property {(round: number) => void} [before]  prepares a round, not timed
 * @property {() => void} [next]                 takes other queries that `before` prepared: quick, and touches nothing
 * @property {number} [spare]                    how often it can
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
  let [now, other] = [make(), make()];
  return {
    ops,
    before: () => {
      now.refill();
      other.refill();
    },
    next: () => {
      [now, other] = [other, now];
    },
    spare: 1,
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

/** How often a turn is taken until nobody disturbs it. */
const TRIES = 5;
/** Turns of so many milliseconds are always disturbed by somebody. */
const LONG = 300;

/**
 * Runs all contenders for some rounds; who begins changes from round to round. Warm-up rounds are not counted. A turn during
 * which the core was not ours alone is taken again, as long as there is patience.
 * @param {readonly Contender[]} contenders
 * @param {{ rounds: number, warmup: number, warm?: number }} plan warm: each turn begins with so many passes that are not timed,
 * with other queries: the caches are as in a program that is at work with this structure, not as the last contender left them
 * @param {import("./machine.mjs").CoreProbe} core
 * @returns {Promise<{ samples: Samples, disturbed: number }>} disturbed: share of the turns that were
 */
export async function race(contenders, { rounds, warmup, warm = 0 }, core) {
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
  let disturbed = 0;
  for (let round = 0; round < warmup + rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const contender = contenders[(turn + round) % contenders.length];
      const isCounted = round >= warmup;
      const { ns, isCalm } = await takeTurn(
        bench,
        contender,
        round,
        warm,
        isCounted ? core : undefined,
      );
      if (!isCounted) continue;
      samples.get(contender.name)?.push(ns);
      if (!isCalm) disturbed++;
    }
  }
  return { samples, disturbed: disturbed / (rounds * contenders.length) };
}

/**
 * @param {Bench} bench @param {Contender} contender @param {number} round @param {number} warm
 * @param {import("./machine.mjs").CoreProbe} [core] none: the turn does not count
 */
async function takeTurn(bench, contender, round, warm, core) {
  for (let left = TRIES; ; left--) {
    const start = performance.now();
    contender.before?.(round);
    if (warm > 0 && !contender.answers) await warmUp(contender, round, warm);
    const wasCalm = core === undefined || core.isCalm();
    const ms = await runOnce(bench, contender);
    const isCalm = wasCalm && (core === undefined || core.isCalm());
    const ns = (ms * MS_TO_NS) / contender.ops;
    const took = performance.now() - start;
    if (isCalm || left === 0 || core === undefined || took > Math.min(LONG, core.patience))
      return { ns, isCalm };
    core.patience -= took;
  }
}

/**
 * Passes that are not timed. Where queries have to be prepared in between there is one: that takes longer than the pass.
 * @param {Contender} contender @param {number} round @param {number} passes
 */
async function warmUp({ run, next, spare = 0, before }, round, passes) {
  for (let i = 0; i < Math.min(passes, Math.max(1, spare)); i++) {
    await run();
    if (next === undefined) before?.(round);
    else next();
  }
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

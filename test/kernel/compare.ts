// Runs sessions on two sides, compares every answer, and makes a difference small.

import type { Side } from "./driver.js";
import { describeAnswer, describeRecord } from "./describe.js";
import { OP, OpStream } from "./wire.js";

/** Where sessions come from. */
export interface Sessions {
  /** Replaces the contents of `ops` by session number `seed`; returns the type it is about. */
  session(seed: number, ops: OpStream): string;
}

/** Records shown before the one that differs. */
const HISTORY = 60;

export interface Difference {
  readonly seed: number;
  /** Sessions that differ in the same operation with the same results. */
  sessions: number;
  /** The report: what was asked, what either side answered, and what led to it. */
  readonly text: string;
}

/** A chunk's answers, record by record. */
function splitAnswers(answers: Uint8Array): Uint8Array[] {
  const view = new DataView(answers.buffer, answers.byteOffset, answers.byteLength);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < answers.length;) {
    const length = view.getUint32(at, true);
    parts.push(answers.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return parts;
}

/** Number of the first record that two sides answer differently, or -1. */
function firstDifference(left: readonly Uint8Array[], right: readonly Uint8Array[]): number {
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const a = left[i];
    const b = right[i];
    if (!a || !b || Buffer.compare(a, b) !== 0) return i;
  }
  return -1;
}

/** Offset of the first byte in which two answers differ. */
function differsAt(left: Uint8Array, right: Uint8Array): number {
  const at = left.findIndex((byte, i) => byte !== right[i]);
  return at < 0 ? left.length : at;
}

/** Records that are operations whose answer is compared. */
function countCompared(ops: OpStream): number {
  let count = 0;
  for (const start of ops.starts) {
    const op = ops.bytes[start + 4];
    if (op !== OP.RESET && op !== OP.CPU) count++;
  }
  return count;
}

export class Comparison {
  readonly #left: Side;
  readonly #right: Side;
  readonly #generator: Sessions;
  readonly #ops = new OpStream();
  /** Operations compared so far, and how many of them for each type. */
  compared = 0;
  readonly comparedByType = new Map<string, number>();
  /** By type, operation and results, so that one cause is reported once. */
  readonly differences = new Map<string, Difference>();

  constructor(left: Side, right: Side, generator: Sessions) {
    this.#left = left;
    this.#right = right;
    this.#generator = generator;
  }

  /** Runs sessions from `seed` on until `count` operations are compared or too much differs. */
  async run(seed: number, count: number, differencesMax = 8): Promise<void> {
    for (let at = seed; this.compared < count && this.differences.size < differencesMax; at++) {
      await this.session(at);
    }
  }

  /** Runs one session. */
  async session(seed: number): Promise<void> {
    const type = this.#generator.session(seed, this.#ops);
    const [left, right] = await this.#both(this.#ops);
    const count = countCompared(this.#ops);
    this.compared += count;
    this.comparedByType.set(type, (this.comparedByType.get(type) ?? 0) + count);
    if (Buffer.compare(left, right) === 0) return;
    const signature = `${type}: ${this.#signature(splitAnswers(left), splitAnswers(right))}`;
    const known = this.differences.get(signature);
    if (known) known.sessions++;
    else {
      const text = `${signature}\n${await this.#report(seed, type)}`;
      this.differences.set(signature, { seed, sessions: 1, text });
    }
  }

  /** What was asked and the two results, without the bytes. */
  #signature(left: readonly Uint8Array[], right: readonly Uint8Array[]): string {
    const at = firstDifference(left, right);
    const words = describeRecord(this.#ops.record(at)).split(" ");
    const asked = words.slice(0, words[0] === "PROGRAM" ? 2 : 1).join(" ");
    const results = [left, right].map((side) => {
      const answer = side[at] ?? new Uint8Array(0);
      return describeAnswer(this.#ops.record(at), answer).split(" ", 1)[0];
    });
    return `${asked} ${results.join(" / ")}`;
  }

  async #both(ops: OpStream): Promise<[Uint8Array, Uint8Array]> {
    // The first side may be a process: it works while this one does.
    const pending = this.#left.run(ops);
    const right = await this.#right.run(ops);
    return [await pending, right];
  }

  /** Answers to the records `kept` of the session, on both sides; where they differ first. */
  async #replay(records: readonly Uint8Array[]): Promise<{
    at: number;
    left: Uint8Array[];
    right: Uint8Array[];
  }> {
    const ops = new OpStream();
    for (const record of records) ops.append(record);
    ops.reset();
    const [left, right] = await this.#both(ops);
    const parts = [splitAnswers(left), splitAnswers(right).map((part) => part.slice())] as const;
    return { at: firstDifference(...parts), left: parts[0], right: parts[1] };
  }

  async #report(seed: number, type: string): Promise<string> {
    const all = this.#ops.starts.map((_start, i) => this.#ops.record(i).slice());
    const whole = await this.#replay(all);
    const head = `seed ${seed}, ${type}, ${all.length} records`;
    if (whole.at < 0) return `${head}: the difference did not show again when replayed`;
    const records = await this.#minimise(all.slice(0, whole.at + 1));
    const { at, left, right } = await this.#replay(records);
    const asked = records[at] ?? new Uint8Array(5);
    const lines = records.slice(0, at).map((record) => `  ${describeRecord(record)}`);
    const hidden = Math.max(0, lines.length - HISTORY);
    return [
      `${head}, first difference at ${whole.at}, reduced to ${records.length}:`,
      ...lines.slice(0, 3),
      ...(hidden > 3 ? [`  ... ${hidden - 3} records ...`] : []),
      ...lines.slice(Math.max(3, hidden)),
      `> ${describeRecord(asked)}`,
      `  ${this.#left.name}: ${describeAnswer(asked, left[at] ?? new Uint8Array(0))}`,
      `  ${this.#right.name}: ${describeAnswer(asked, right[at] ?? new Uint8Array(0))}`,
      `  from byte ${differsAt(left[at] ?? new Uint8Array(0), right[at] ?? new Uint8Array(0))} of the answer on`,
    ].join("\n");
  }

  /** Leaves out records as long as something still differs: halves first, then single ones. */
  async #minimise(
    records: readonly Uint8Array[],
    replaysMax = 400,
  ): Promise<readonly Uint8Array[]> {
    const asked = records.at(-1);
    let kept = [...records];
    let replays = 0;
    for (let size = Math.ceil(kept.length / 2); size >= 1; size = Math.floor(size / 2)) {
      for (
        let from = kept.length - 1 - size;
        from >= 1 - size && replays < replaysMax;
        from -= size
      ) {
        const start = Math.max(0, from);
        const tried = [...kept.slice(0, start), ...kept.slice(from + size)];
        replays++;
        const { at } = await this.#replay(tried);
        // The same question must differ: an answer about nothing at all is another difference.
        if (at >= 0 && tried[at] === asked) kept = tried.slice(0, at + 1);
        if (from > kept.length - size) from = kept.length - 1;
      }
    }
    return kept;
  }
}

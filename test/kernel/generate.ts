// Which sessions a seed stands for.

import { AttrSession } from "./attrs.js";
import { createSession } from "./create.js";
import { Random } from "./random.js";
import { Session, type SessionOptions } from "./session.js";
import type { TypeRow } from "./types.js";
import type { OpStream } from "./wire.js";

/** Sessions that are about attrs. */
const ATTR_SHARE = 0.12;

export class Generator {
  readonly #options: SessionOptions;
  readonly #rows: readonly TypeRow[];

  /** @param rows what both sides have */
  constructor(options: SessionOptions, rows: readonly TypeRow[]) {
    this.#options = options;
    this.#rows = rows;
  }

  /** Replaces the contents of `ops` by session number `seed`; returns the type it is about. */
  session(seed: number, ops: OpStream): string {
    const random = new Random(seed);
    ops.clear();
    if (random.chance(ATTR_SHARE)) return this.#attrs(random, ops);
    const row = this.#pickRow(random);
    if (random.chance(0.08)) createSession(random, ops, row, this.#options.cpus, 60);
    else new Session(random, ops, row, this.#options).run();
    return row.name;
  }

  #attrs(random: Random, ops: OpStream): string {
    const { paths } = this.#options;
    const row = random.pick(this.#rows);
    // A file system that was written to is mounted anew after the session, which takes its time.
    const options = { ...this.#options, rows: this.#rows, paths: paths && random.chance(0.3) };
    new AttrSession(random, ops, row, options).run();
    return "attrs";
  }

  #pickRow(random: Random): TypeRow {
    const total = this.#rows.reduce((sum, row) => sum + row.weight, 0);
    let at = (random.u32() / 0x1_0000_0000) * total;
    for (const row of this.#rows) {
      at -= row.weight;
      if (at < 0) return row;
    }
    return random.pick(this.#rows);
  }
}

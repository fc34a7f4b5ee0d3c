// Which sessions a seed stands for.

import { createSession } from "./create.js";
import { Random } from "./random.js";
import { Session, type SessionOptions } from "./session.js";
import type { TypeRow } from "./types.js";
import type { OpStream } from "./wire.js";

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
    const row = this.#pickRow(random);
    ops.clear();
    if (random.chance(0.08)) createSession(random, ops, row, this.#options.cpus, 60);
    else new Session(random, ops, row, this.#options).run();
    return row.name;
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

// What typed maps with one value a CPU share.

/** Sums numbers or bigints. */
export function sumOf<V>(values: readonly V[]): V {
  const first = values[0];
  if (typeof first === "bigint") return (values as readonly bigint[]).reduce((a, b) => a + b) as V;
  if (typeof first === "number") return (values as readonly number[]).reduce((a, b) => a + b) as V;
  throw new TypeError("sum: the value is no number (use reduce)");
}

/** @throws {RangeError} not a CPU of the runtime */
export function checkCpu(cpu: number, cpus: number): void {
  if (!Number.isInteger(cpu) || cpu < 0 || cpu >= cpus) {
    throw new RangeError(`cpu: expected an integer in 0..${cpus - 1}, got ${cpu}`);
  }
}

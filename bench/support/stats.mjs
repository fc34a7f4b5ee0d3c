// The few statistics the reports use.

/**
 * A quantile, by linear interpolation.
 * @param {readonly number[]} sorted ascending @param {number} q 0..1
 */
function quantile(sorted, q) {
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? NaN;
  const high = sorted[Math.ceil(at)] ?? NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** @typedef {{ median: number, p25: number, p75: number }} Spread */

/** @param {readonly number[]} samples @returns {Spread} */
export function spread(samples) {
  const sorted = [...samples].toSorted((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    p25: quantile(sorted, 0.25),
    p75: quantile(sorted, 0.75),
  };
}

/** Ratios round by round: what disturbs a round disturbs both. @param {number[]} ours @param {number[]} peer */
export function ratios(ours, peer) {
  return spread(ours.map((ns, round) => ns / (peer[round] ?? NaN)));
}

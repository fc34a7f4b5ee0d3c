// Seeded randomness: keys, orders, distributions. The same seed gives the same run.

/** Keys have 30 bits: small integers for every engine, and non-negative as u32 and as i32. */
const KEY_MASK = 0x3fffffff;

/** mulberry32. */
export class Random {
  #state;

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed | 0;
  }

  /** 32 bits. */
  word() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** An integer 0 <= x < n. @param {number} n */
  below(n) {
    return Math.floor((this.word() / 2 ** 32) * n);
  }

  /** 0 <= x < 1. */
  unit() {
    return this.word() / 2 ** 32;
  }
}

/** The key of entry i: a bijection of 30 bits that leaves no order in it. @param {number} i */
export function keyOf(i) {
  let x = Math.imul(i, 0x2c1b3c6d) & KEY_MASK;
  x ^= x >>> 15;
  x = Math.imul(x, 0x297a2d39) & KEY_MASK;
  return x ^ (x >>> 13);
}

/** A u64 key of entry i: both halves matter. @param {number} i */
export function wideKeyOf(i) {
  return (BigInt(keyOf(i)) << 33n) | BigInt(keyOf(i + 0x1000000));
}

/** @param {number} a @param {number} b @returns {number} */
function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

/** Spreads ranks over entries, so that the hottest entries are not neighbours. @param {number} n */
function scatter(n) {
  let factor = Math.floor(n * 0.6180339887) | 1;
  while (gcd(factor, n) !== 1) factor += 2;
  /** @param {number} rank */
  return (rank) => (rank * factor + (n >>> 1)) % n;
}

/**
 * A distribution: draws entries 0 <= i < n.
 * @callback Distribution
 * @param {Random} random
 * @returns {number}
 */

/** @param {number} n @returns {Distribution} */
export function uniform(n) {
  return (random) => random.below(n);
}

/**
 * Zipf's law after Gray et al., "Quickly generating billion-record synthetic databases".
 * @param {number} n @param {number} [theta] @returns {Distribution}
 */
export function zipf(n, theta = 0.99) {
  let zeta = 0;
  for (let i = 1; i <= n; i++) zeta += i ** -theta;
  const alpha = 1 / (1 - theta);
  const eta = (1 - (2 / n) ** (1 - theta)) / (1 - (1 + 2 ** -theta) / zeta);
  const spread = scatter(n);
  return (random) => {
    const u = random.unit();
    const uz = u * zeta;
    if (uz < 1) return spread(0);
    if (uz < 1 + 2 ** -theta) return spread(1);
    return spread(Math.min(n - 1, Math.floor(n * (eta * u - eta + 1) ** alpha)));
  };
}

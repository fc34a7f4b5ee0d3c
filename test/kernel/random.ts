// The seeded random numbers of the tests, with what sessions choose by.

import { Random as SeededRandom } from "../support/random.js";

export class Random extends SeededRandom {
  /** low <= result <= high */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.u32() < p * 2 ** 32;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.u32();
    return bytes;
  }
}

// Stands in for vitest in the browser: collects tests, and checks with vitest's own expect.

import * as expectations from "@vitest/expect";
import * as chai from "chai";

chai.use(expectations.JestExtend);
chai.use(expectations.JestChaiExpect);
chai.use(expectations.JestAsymmetricMatchers);

export const { expect } = chai;

/** What a run of all tests gave. */
export interface Results {
  readonly passed: number;
  readonly failed: readonly string[];
}

interface CollectedTest {
  readonly name: string;
  readonly body: () => unknown;
}

const tests: CollectedTest[] = [];
const suites: string[] = [];

export function describe(name: string, body: () => void): void {
  suites.push(name);
  body();
  suites.pop();
}

export function test(name: string, body: () => unknown): void {
  tests.push({ name: [...suites, name].join(" > "), body });
}

/** Runs what was collected, one after the other. */
export async function run(): Promise<Results> {
  const failed: string[] = [];
  for (const { name, body } of tests) {
    try {
      // One after the other.
      await body();
    } catch (error) {
      failed.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { passed: tests.length - failed.length, failed };
}

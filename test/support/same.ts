// For loops of many steps, where `expect` would take most of the time.

import { expect } from "vitest";

/** `expect(actual, message).toBe(wanted)`, which is called when it is going to fail only. */
export function expectSame(actual: unknown, wanted: unknown, message?: string): void {
  if (!Object.is(actual, wanted)) expect(actual, message).toBe(wanted);
}

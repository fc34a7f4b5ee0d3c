// Who waits for which ring buffer on this thread (plain build; threads wait on a word of the shared memory instead).

import type { BpfRuntime } from "./runtime.js";

/** Listeners for the core's wake-ups, by map handle. */
export class Wakeups {
  readonly #listeners = new Map<number, Set<() => void>>();

  /** Calls `listener` at each wake-up of a map until the function it returns is called. */
  add(runtime: BpfRuntime, handle: number, listener: () => void): () => void {
    const key = handle >>> 0;
    let listeners = this.#listeners.get(key);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(key, listeners);
      runtime.exports.ringbuf_await(handle, 1);
    }
    listeners.add(listener);
    return () => {
      const present = this.#listeners.get(key);
      if (present?.delete(listener) !== true || present.size > 0) return;
      this.#listeners.delete(key);
      if (!runtime.disposed) runtime.exports.ringbuf_await(handle, 0);
    };
  }

  /** The core's import. It runs inside a helper, so listeners must do no more than take a note. */
  wake(handle: number): void {
    for (const listener of this.#listeners.get(handle >>> 0) ?? []) listener();
  }
}

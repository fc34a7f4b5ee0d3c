// Waiting for a ring buffer: on one thread by the core's wake-up call, between threads on a word of the memory.

import type { BpfRuntime } from "../runtime.js";

/** Atomics.waitAsync, which the libraries of es2023 do not know. */
interface WaitAsync {
  waitAsync?(
    array: Int32Array,
    index: number,
    value: number,
    timeout?: number,
  ): { async: boolean; value: Promise<string> | string };
}

/** Between two looks where Atomics.waitAsync is missing, milliseconds. */
const POLL_MS = 2;
/** Longest delay that timers take. */
const TIMER_MAX_MS = 0x7fffffff;

/** Waits for one map's wake-ups. */
export class RingWaiter {
  readonly #runtime: BpfRuntime;
  readonly #handle: number;
  readonly #word: number;
  /** Ends the waits of this object (close). */
  readonly #endings = new Set<() => void>();

  constructor(runtime: BpfRuntime, handle: number) {
    this.#runtime = runtime;
    this.#handle = handle;
    this.#word = runtime.exports.ringbuf_wakeup_word(handle) >>> 2;
  }

  /** The number of wake-ups so far; read it before looking whether there is anything to wait for. */
  get count(): number {
    const { views } = this.#runtime;
    views.reach(this.#word << 2);
    return Atomics.load(views.i32, this.#word);
  }

  /**
   * Blocks this thread until the count is another than `count`.
   * @throws {TypeError} where blocking is not allowed (a browser's main thread), or the memory is not shared
   */
  block(count: number, timeoutMs: number): void {
    Atomics.wait(this.#runtime.views.i32, this.#word, count, timeoutMs);
  }

  /** Resolves when the count is another than `count`, after the time, or at end(). */
  async sleep(count: number, timeoutMs: number): Promise<void> {
    const { views } = this.#runtime;
    const { isShared } = views;
    if (this.count !== count) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stop = (): void => {};
    let done = (): void => {};
    const ended = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#endings.add(done);
    // A thread that only waits on a word counts as idle and would end: the timer says that it is not.
    if (isShared || timeoutMs !== Infinity) {
      timer = setTimeout(done, Math.min(timeoutMs, TIMER_MAX_MS));
    }
    if (isShared) this.#sleepOnWord(count, timeoutMs, done);
    else stop = this.#runtime.wakeups.add(this.#runtime, this.#handle, done);
    await ended;
    stop();
    clearTimeout(timer);
    this.#endings.delete(done);
  }

  #sleepOnWord(count: number, timeoutMs: number, done: () => void): void {
    const { waitAsync } = Atomics as WaitAsync;
    if (waitAsync === undefined) {
      const look = setInterval(() => {
        if (this.count === count && this.#endings.has(done)) return;
        clearInterval(look);
        done();
      }, POLL_MS);
      return;
    }
    const result = waitAsync(this.#runtime.views.i32, this.#word, count, timeoutMs);
    if (typeof result.value === "string") done();
    else void result.value.then(done);
  }

  /** Ends all waits. */
  end(): void {
    for (const done of this.#endings) done();
  }
}

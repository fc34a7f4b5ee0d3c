import { formatCount } from "./format.js";

/** One line on standard error, rewritten as a long job goes on. Nothing unless it is a terminal. */
export class Progress {
  readonly #size: number | undefined;
  readonly #isTerminal = process.stderr.isTTY;
  #bytes = 0;
  #isShown = false;
  // The first line comes late, so that a short job shows none.
  #nextAt = performance.now() + 500;

  /** `size` is how many bytes there will be, when that is known. */
  constructor(size: number | undefined) {
    this.#size = size;
  }

  /** `bytes` more were read; `packets` is how many there are so far. */
  advance(bytes: number, packets: number): void {
    this.#bytes += bytes;
    if (!this.#isTerminal || performance.now() < this.#nextAt) return;
    this.#nextAt = performance.now() + 100;
    this.#isShown = true;
    const megabytes = `${(this.#bytes / 1e6).toFixed(1)} MB`;
    const share = this.#size ? `, ${Math.floor((this.#bytes / this.#size) * 100)} %` : "";
    process.stderr.write(`\r\x1b[K${megabytes}${share}, ${formatCount(packets)} packets`);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#isShown) process.stderr.write("\r\x1b[K");
  }
}

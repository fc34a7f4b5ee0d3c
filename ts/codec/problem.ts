// What is wrong with a value, and where: the source of every error a codec throws.
//
// Checking returns a Problem instead of throwing, so that a container can put its own step
// (`.field`, `[3]`) in front of the path, and a good value costs no allocation and no try block.

/** Longest part of a caller's string that an error message repeats. */
const MAX_QUOTED = 48;

/** Shows a value in an error message: short, and with its JavaScript type recognisable. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case "bigint":
      return `${value}n`;
    case "string":
      return JSON.stringify(
        value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}\u2026` : value,
      );
    case "function":
      return "a function";
    case "object":
      return describeObject(value);
    default:
      return String(value);
  }
}

function describeObject(value: object | null): string {
  if (value === null) {
    return "null";
  }
  if (Array.isArray(value)) {
    return `an array of ${value.length}`;
  }
  if (ArrayBuffer.isView(value)) {
    // Not constructor.name: that may be anything, also missing.
    const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
    return `${tag} of ${value.byteLength} bytes`;
  }
  const keys = Object.keys(value);
  const shown = keys.slice(0, 4).join(", ");
  return `an object {${keys.length > 4 ? `${shown}, \u2026` : shown}}`;
}

/** Which error class a problem becomes: a value of the wrong JS type, or one outside the range. */
export type ProblemClass = "type" | "range";

/** Why a value cannot be encoded (or, for `asNumber`, decoded). Immutable. */
export class Problem {
  readonly class: ProblemClass;
  /** What is wrong, without the place: `expected ..., got ...`. */
  readonly text: string;
  /** Place below the value that was passed: `.flow.addrs[2]`, or empty. */
  readonly path: string;
  readonly cause: unknown;

  constructor(problemClass: ProblemClass, text: string, path = "", cause?: unknown) {
    this.class = problemClass;
    this.text = text;
    this.path = path;
    this.cause = cause;
  }

  /** The value has the wrong JavaScript type. */
  static type(expected: string, value: unknown): Problem {
    return new Problem("type", `expected ${expected}, got ${describe(value)}`);
  }

  /** The value has the right JavaScript type and cannot be represented. */
  static range(expected: string, value: unknown): Problem {
    return new Problem("range", `expected ${expected}, got ${describe(value)}`);
  }

  /** The same problem seen from the container: `step` is `.field` or `[index]`. */
  within(step: string): Problem {
    return new Problem(this.class, this.text, step + this.path, this.cause);
  }

  /** The error to throw; `name` is what the caller calls the value ("value", "key"). */
  toError(name: string): TypeError | RangeError {
    const message = `${name}${this.path}: ${this.text}`;
    const options = this.cause === undefined ? undefined : { cause: this.cause };
    return this.class === "type"
      ? new TypeError(message, options)
      : new RangeError(message, options);
  }
}

/**
 * Thrown by reading: the bytes hold a number that the codec cannot give (`asNumber` above 2^53-1).
 * A plain RangeError to users; containers extend its path through `locate`.
 */
class UnreadableError extends RangeError {
  readonly #problem: Problem;

  constructor(problem: Problem) {
    super(problem.toError("value").message);
    this.#problem = problem;
  }

  within(step: string): UnreadableError {
    return new UnreadableError(this.#problem.within(step));
  }
}

/** The error for bytes that cannot be decoded. */
export function unreadable(problem: Problem): RangeError {
  return new UnreadableError(problem);
}

/** Adds the container's `step` to an error caught while reading a member; others pass unchanged. */
export function locate(error: unknown, step: string): unknown {
  return error instanceof UnreadableError ? error.within(step) : error;
}

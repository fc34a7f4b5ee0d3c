/** A command line that makes no sense. The message is one line meant for a user; exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The number in `text`. Throws UsageError when it is no whole number in [min, max]. */
export function integerOption(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`${name} is a whole number from ${min} to ${max}, not "${text}"`);
}

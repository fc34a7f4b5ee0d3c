// What streams of records check of their arguments: where another type would be cut, or a record would be lost.

/** @throws {TypeError} no Uint8Array, whose elements would be cut to bytes */
export function checkBytes(name: string, value: unknown): void {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name}: expected a Uint8Array`);
}

/** @throws {TypeError} no function: the first record would count as read */
export function checkCallback(callback: unknown): void {
  if (typeof callback === "function") return;
  throw new TypeError(`callback: expected a function, got ${typeof callback}`);
}

/** @throws {TypeError} no number: the time would never be over */
export function checkTime(timeoutMs: unknown): void {
  if (typeof timeoutMs === "number" && !Number.isNaN(timeoutMs)) return;
  throw new TypeError(`timeoutMs: expected a number, got ${String(timeoutMs)}`);
}

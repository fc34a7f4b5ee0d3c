// What streams of records check of their arguments: where another type would be cut, or a record would be lost.

import { isUint8Array } from "../codec/base.js";
import { Problem } from "../codec/problem.js";

/**
 * Others would be copied as what they look like: a string as zeros, an object as no bytes at all.
 * @throws {TypeError} no Uint8Array
 */
export function checkRecord(record: unknown): void {
  if (isUint8Array(record)) return;
  throw Problem.type("a Uint8Array, as encode(codec, value) gives", record).toError("record");
}

/** @throws {TypeError} no Uint8Array to read records into */
export function checkOut(out: unknown): void {
  if (!isUint8Array(out)) throw Problem.type("a Uint8Array", out).toError("out");
}

/** @throws {TypeError} no function: the first record would count as read */
export function checkCallback(callback: unknown): void {
  if (typeof callback !== "function")
    throw Problem.type("a function", callback).toError("callback");
}

/** @throws {TypeError} no number: the time would never be over */
export function checkTime(timeoutMs: unknown): void {
  if (typeof timeoutMs === "number" && !Number.isNaN(timeoutMs)) return;
  throw Problem.type("a number", timeoutMs).toError("timeoutMs");
}

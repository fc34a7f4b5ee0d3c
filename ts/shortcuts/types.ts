// The shapes of the shortcuts' parts. All of them do the commonest case only.

import type { MapDoor } from "../door.js";

export type Door = MapDoor<unknown, unknown, unknown, unknown>;

export type Get = (key: unknown) => unknown;
export type GetInto = (key: unknown, out: unknown) => unknown;
export type Put<M> = (key: unknown, value: unknown) => M;
/** `has` and `delete`. */
export type Test = (key: unknown) => boolean;

/** Answers the address of the value of a key, 0 for none, or ASK_AT where the method has to decide. */
export type Find = (key: unknown) => number;
/** Updates with the value in the window, or deletes. @returns 0 or -errno, or REFUSED where the method has to decide */
export type ByKey = (key: unknown) => number;
/** Reads the value at an address. */
export type Read = (ptr: number) => unknown;
/** Encodes a value into the window; false where the method has to decide. */
export type Write = (value: unknown) => boolean;

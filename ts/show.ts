// What objects look like in logs. By themselves they would show their runtime: all of its memory, seen through eleven
// typed arrays, for minutes on end as JSON.

/** The name by which Node's console.log asks an object for its text. */
export const INSPECT: unique symbol = Symbol.for("nodejs.util.inspect.custom");

/** node:util's inspect. */
export type Inspect = (value: object, options: object) => string;

/** An object that says what it shows. */
export interface Shown {
  /** @internal What JSON.stringify and console.log show. */
  toJSON(): object;
}

/** The text for console.log: as that of any object of its class. */
export function show(object: Shown, options: object, inspect: Inspect): string {
  return `${object.constructor.name} ${inspect(object.toJSON(), options)}`;
}

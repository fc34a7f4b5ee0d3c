// Compile-time assertions: checked by `tsc --noEmit`, nothing runs.
/* oxlint-disable typescript/no-unnecessary-type-parameters -- the parameters are the assertion */

/** True only when A and B are the same type, not merely assignable. */
export type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Fails to compile unless the type argument is true. */
export function assertType<_Claim extends true>(): void {
  // The claim is in the type argument.
}

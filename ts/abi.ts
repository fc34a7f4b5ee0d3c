// What both halves must agree on beyond the kernel's own constants (uapi.ts).

/**
 * What map_get4 and map_get_u64 answer when the value is not the whole answer: the largest number of 32 bits, so that one
 * comparison tells. As i32.
 */
export const ASK = -1;

/** Where the whole answer is then, in the scratch area: the address of the value as u32, 0 when the key is absent. */
export const ANSWER_AT = 244;

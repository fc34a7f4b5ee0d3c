// What both halves must agree on beyond the kernel's own constants (uapi.ts).

/**
 * What map_get4 and map_get_u64 answer when the value is not the whole answer: a number hardly anybody stores (one who
 * does is served all the same). As i32.
 */
export const ASK = -1175333977;

/** Where the whole answer is then, in the scratch area: the address of the value as u32, 0 when the key is absent. */
export const ANSWER_AT = 244;

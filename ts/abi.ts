// What both halves must agree on beyond the kernel's own constants (uapi.ts).

/** The first word of a kernel's state, as long as it lives; the number of CPUs follows (u32 each; assembly/kernel.ts). */
export const KERNEL_MAGIC = 0x6b667062;

/** What the map_get4 doors answer instead of a value: the two largest numbers of 32 bits, so that one comparison tells. */
export const ABSENT = 0xfffffffe;
/** They could not settle it, or the value has more than 32 bits: ask another door. */
export const ASK = 0xffffffff;

/** ASK where the answer is an address. */
export const ASK_AT = 1;

/** Where a hash map counts the elements that went away, in its object: u32. */
export const REMOVALS_AT = 248;

/** Possible CPUs of a kernel, at most. */
export const CPUS_MAX = 1024;

/** Where in the scratch area a caller's attr of bpf(2) may be put, a page at most. */
export const ATTR_WINDOW = 256;

/** What map_iter_many writes for an element: the key, the address of the value at STEP_VALUE_AT, the position behind it. */
export const STEP_BYTES = 24;
export const STEP_VALUE_AT = 16;
export const STEP_POS_AT = 20;

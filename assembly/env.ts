// The core's imports. AssemblyScript takes the module's name, "env", from this file's.

/** The host's allocator (HEAP_MALLOC). @returns 0 when out of memory */
export declare function malloc(bytes: u32): u32;
export declare function free(ptr: u32): void;

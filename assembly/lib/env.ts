// What the host gives: the imports of the module, all under "env" (AssemblyScript names an import's module after the
// file that declares it).

/** The host's allocator; called for HEAP_MALLOC only. */
export declare function malloc(bytes: u32): u32;
export declare function free(ptr: u32): void;

/** Runs the callback `fn` of a program with the registers r1..r4; @returns r0 (callback.ts). */
export declare function callback(fn: u64, r1: u64, r2: u64, r3: u64, r4: u64): u64;

/** A ring buffer has something for whoever waits for it (ringbuf_await). Plain build: threads wait on a word instead. */
export declare function wakeup(map: u32): void;

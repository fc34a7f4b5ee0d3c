// Spin locks. The plain build has one thread per memory: there every function here compiles to nothing.
//
// Lock words are u32 in linear memory: 0 free, 1 held. They are leaves unless a caller's comment says otherwise;
// nobody calls back into the host while holding one.

/** True in the build for shared memory. A compile-time constant. */
export const SHARED: bool = ASC_FEATURE_THREADS;

export function lock(word: usize): void {
  if (SHARED) {
    while (atomic.cmpxchg<u32>(word, 0, 1) != 0) {
      while (atomic.load<u32>(word) != 0) {}
    }
  }
}

export function unlock(word: usize): void {
  if (SHARED) atomic.store<u32>(word, 0);
}

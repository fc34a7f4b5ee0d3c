// The typed views over a runtime's memory. One object per runtime; its views are replaced in place when the memory's
// buffer changes, so that whoever holds the object sees fresh ones.
//
// A plain memory that grows detaches its buffer: the old views have length 0. A shared one only gets longer. Either way
// an address at or beyond `u8.length` says that the views are stale, and that is the whole check an operation needs.

import { viewsOf } from "./codec.js";
import type { MemoryViews } from "./codec.js";
import { isSharedBuffer } from "./realm.js";

/** A WebAssembly.Memory, as far as views are concerned. */
export interface HasBuffer {
  readonly buffer: ArrayBufferLike;
}

/** A mutable {@link MemoryViews}. */
export class LiveViews implements MemoryViews {
  readonly memory: HasBuffer;
  /** Can other threads see the memory? */
  readonly isShared: boolean;
  u8!: Uint8Array;
  i8!: Int8Array;
  u16!: Uint16Array;
  i16!: Int16Array;
  u32!: Uint32Array;
  i32!: Int32Array;
  f32!: Float32Array;
  f64!: Float64Array;
  u64!: BigUint64Array;
  i64!: BigInt64Array;
  dv!: DataView;

  constructor(memory: HasBuffer) {
    this.memory = memory;
    this.isShared = isSharedBuffer(memory.buffer);
    this.refresh();
  }

  /** Nothing of all that memory: objects in logs have runtimes, and these have views. */
  toJSON(): undefined {
    return undefined;
  }

  /** Takes the views anew. */
  refresh(): void {
    Object.assign(this, viewsOf(this.memory.buffer));
  }

  /** Sees to it that the views reach `bytes` bytes from `ptr` on. A shared buffer may end in the middle of them. */
  reach(ptr: number, bytes = 1): void {
    if (ptr + bytes > this.u8.length) this.refresh();
  }
}

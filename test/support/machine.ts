// One kernel with both of its sides: bpf(2) with bytes, and a program's memory for the helpers.

import { BpfClient } from "./bpf.js";
import { u32At } from "./bytes.js";
import type { CreateSpec } from "./attr.js";
import type { Build, Runtime, RuntimeOptions } from "./builds.js";

export { u32At, u32s } from "./bytes.js";

export class Machine {
  readonly runtime: Runtime;
  readonly client: BpfClient;
  readonly #areas: number[] = [];

  constructor(runtime: Runtime) {
    this.runtime = runtime;
    this.client = new BpfClient(runtime);
  }

  static async start(build: Build, options: RuntimeOptions = {}): Promise<Machine> {
    return new Machine(await build.createRuntime(options));
  }

  /** An fd; creation must work. */
  create(spec: CreateSpec): number {
    const fd = this.client.create(spec);
    if (fd < 0) throw new Error(`creation failed: ${fd}`);
    return fd;
  }

  handle(fd: number): number {
    return this.runtime.exports.bpf_map_by_fd(fd) >>> 0;
  }

  /** Memory of the program, zeroed. */
  area(byteLength: number): number {
    const ptr = this.runtime.alloc(byteLength);
    if (ptr === 0) throw new Error("out of memory");
    this.#areas.push(ptr);
    this.bytes(ptr, byteLength).fill(0);
    return ptr;
  }

  /** A view that is valid until the memory grows. */
  bytes(ptr: number, byteLength: number): Uint8Array {
    return new Uint8Array(this.runtime.memory.buffer, ptr >>> 0, byteLength);
  }

  put(ptr: number, bytes: Uint8Array): number {
    this.bytes(ptr, bytes.length).set(bytes);
    return ptr;
  }

  u32(ptr: number): number {
    return u32At(this.bytes(ptr, 4).slice());
  }

  /** Bytes the core has allocated, the machine's own buffers aside. */
  usedBytes(): number {
    this.client.release();
    return this.runtime.exports.mem_used();
  }

  dispose(): void {
    this.runtime.dispose();
  }
}

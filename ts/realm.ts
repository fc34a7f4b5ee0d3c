// What an object is, also when it was made in another realm (a frame, node:vm, a test runner's sandbox), of whose classes
// it is no instance here.

function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

export function isMemory(value: unknown): value is WebAssembly.Memory {
  return tagOf(value) === "WebAssembly.Memory";
}

export function isModule(value: unknown): value is WebAssembly.Module {
  return tagOf(value) === "WebAssembly.Module";
}

export function isArrayBuffer(value: unknown): value is ArrayBuffer {
  return tagOf(value) === "ArrayBuffer";
}

export function isSharedBuffer(value: unknown): boolean {
  return tagOf(value) === "SharedArrayBuffer";
}

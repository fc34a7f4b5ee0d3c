// What the test suite needs of a runtime, and nothing more. The package's Runtime has this shape; so
// has any other backend of bpf(2) (a real kernel behind a driver) that the same tests are to drive.

/** A host object: something other than a map that has an fd. */
export interface HostObject {
  readonly fd: number;
  close(): void;
}

/** bpf(2) over one linear memory. */
export interface Kernel {
  readonly cpus: number;
  cpu: number;
  readonly memory: { readonly buffer: ArrayBufferLike };
  alloc(byteLength: number): number;
  free(ptr: number): void;
  bpf(cmd: number, attr: Uint8Array): number;
  bpf(cmd: number, attrPtr: number, size: number): number;
  close(fd: number): number;
  socket?(): HostObject;
  cgroup?(): HostObject;
  task?(): HostObject;
  inode?(): HostObject;
}

import * as uapi from "./uapi.js";

/** errno (positive) -> name, as Linux has them; 524 is ENOTSUPP. */
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(uapi)
    .filter(([name]) => /^E[A-Z0-9]+$/.test(name))
    .map(([name, value]) => [value, name]),
);

const TEXTS: Readonly<Record<string, string>> = {
  EPERM: "operation not permitted",
  ENOENT: "no such entry",
  E2BIG: "too big, or the map is full",
  EBADF: "bad file descriptor",
  EAGAIN: "try again",
  ENOMEM: "out of memory",
  EACCES: "permission denied",
  EFAULT: "bad address",
  EBUSY: "busy",
  EEXIST: "entry exists",
  ENODEV: "no such device",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  EINVAL: "invalid argument",
  EMFILE: "too many open files",
  ENOSPC: "no space left",
  ENAMETOOLONG: "name too long",
  ENOTEMPTY: "directory not empty",
  EOVERFLOW: "value too large",
  ENOTSOCK: "not a socket",
  EOPNOTSUPP: "operation not supported",
  ENOTSUPP: "operation not supported by this map type",
  EBADFD: "file descriptor in bad state",
};

/** The name of an errno, positive or negative: `errnoName(-2)` is `"ENOENT"`. */
export function errnoName(errno: number): string {
  return NAMES.get(Math.abs(errno)) ?? `E${Math.abs(errno)}`;
}

/**
 * An error of the map core, shaped like Node's SystemError.
 */
export class BpfError extends Error {
  override readonly name = "BpfError";
  /** The errno's name: `"ENOENT"`. */
  readonly code: string;
  /** The negative errno: -2. */
  readonly errno: number;
  /** What was called: `"bpf_map_update_elem"`. */
  readonly syscall: string;
  /** Batches: the number of elements done before the error. */
  readonly count?: number;

  /**
   * @param syscall what was called
   * @param errno   negative errno it answered
   * @param detail  replaces the general text of the errno
   * @param count   batches: elements done
   */
  constructor(syscall: string, errno: number, detail?: string, count?: number) {
    const code = errnoName(errno);
    super(`${code}: ${detail ?? TEXTS[code] ?? "error"}, ${syscall}`);
    this.code = code;
    this.errno = -Math.abs(errno);
    this.syscall = syscall;
    if (count !== undefined) this.count = count;
  }
}

/** Passes results >= 0 on and throws the others. */
export function check(result: number, syscall: string, detail?: string): number {
  if (result < 0) throw new BpfError(syscall, result, detail);
  return result;
}

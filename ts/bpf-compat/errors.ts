// Errors of this entry, in the shape of npm `bpf`.

import { errnoName } from "../errors.js";
import { EOPNOTSUPP } from "../uapi.js";

/** Numbers above errno that libbpf reports for its own failures; this library never raises them. */
export enum LibbpfErrno {
  LIBELF = 4000,
  FORMAT = 4001,
  KVERSION = 4002,
  ENDIAN = 4003,
  INTERNAL = 4004,
  RELOC = 4005,
  LOAD = 4006,
  VERIFY = 4007,
  PROG2BIG = 4008,
  KVER = 4009,
  PROGTYPE = 4010,
  WRNGPID = 4011,
  INVSEQ = 4012,
  NLPARSE = 4013,
}

/** {@link LibbpfErrno} -> what it says. */
export const libbpfErrnoMessages: { readonly [errno: number]: string } = {
  [LibbpfErrno.LIBELF]: "libelf failed",
  [LibbpfErrno.FORMAT]: "not a valid BPF object",
  [LibbpfErrno.KVERSION]: "no valid 'version' section",
  [LibbpfErrno.ENDIAN]: "wrong byte order",
  [LibbpfErrno.INTERNAL]: "libbpf failed internally",
  [LibbpfErrno.RELOC]: "a relocation failed",
  [LibbpfErrno.LOAD]: "a program could not be loaded",
  [LibbpfErrno.VERIFY]: "the verifier refused a program",
  [LibbpfErrno.PROG2BIG]: "a program is too big",
  [LibbpfErrno.KVER]: "wrong kernel version",
  [LibbpfErrno.PROGTYPE]: "program type unknown to the kernel",
  [LibbpfErrno.WRNGPID]: "a netlink message names another process",
  [LibbpfErrno.INVSEQ]: "netlink messages out of sequence",
  [LibbpfErrno.NLPARSE]: "netlink message not understood",
};

/** A map operation failed. */
export class BPFError extends Error {
  override name = "BPFError";
  /** What failed, as a libbpf function: `"bpf_map_update_elem"`. */
  operation: string;
  /** Positive errno; 524 is ENOTSUPP. */
  errno: number;
  /** `"EEXIST"`, `"ENOTSUPP"`, ... */
  code: string;
  /** Batches: how many entries were processed before the error; absent where that is unknown. */
  declare count?: number;

  constructor(errno: number, operation: string, count?: number) {
    const code = BPFError.getCode(errno);
    super(libbpfErrnoMessages[errno] ?? code);
    this.operation = operation;
    this.errno = errno;
    this.code = code;
    if (count !== undefined) this.count = count;
  }

  /** The name of a positive errno, as Node calls it. */
  static getCode(errno: number): string {
    if (errno === EOPNOTSUPP) return "ENOTSUP";
    const name = LibbpfErrno[errno] ?? errnoName(errno);
    return name === `E${errno}` ? `Unknown system error -${errno}` : name;
  }
}

/** @throws {BPFError} status is a negative errno */
export function checkStatus(operation: string, status: number, count?: number): void {
  if (status < 0) throw new BPFError(-status, operation, count);
}

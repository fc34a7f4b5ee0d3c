// What goes into attrs: numbers, pointers, paths and types, most of them wrong somewhere.

import { BTF_INT_SIGNED, BtfBuilder } from "../support/btf.js";
import { BTF_SLOT } from "./make-map.js";
import { INNER_SLOT } from "./types.js";
import { OBJECT } from "./wire.js";

export const RDONLY_SLOT = 1;
export const WRONLY_SLOT = 2;
/** Its descriptor was closed. */
export const CLOSED_SLOT = 3;
/** A HASH with 4-byte keys and values. */
export const OTHER_SLOT = 4;
/** What commands of the session open. */
export const NEW_SLOT = 6;
export const PINNED_SLOT = 7;
export const OBJECT_SLOT = 24;
export const OBJECTS = [OBJECT.SOCKET, OBJECT.TASK, OBJECT.FILE];
export const DIRECTORY_SLOT = 30;
export const FD_SLOTS = [
  RDONLY_SLOT,
  WRONLY_SLOT,
  CLOSED_SLOT,
  OTHER_SLOT,
  BTF_SLOT,
  NEW_SLOT,
  PINNED_SLOT,
  INNER_SLOT,
  OBJECT_SLOT,
  OBJECT_SLOT + 1,
  OBJECT_SLOT + 2,
  DIRECTORY_SLOT,
];
export const MARGIN = 16;
/** Elements of a batch at most. */
export const BATCH_MAX = 24;

/** Descriptors that are none of ours; the one before the last is AT_FDCWD. */
export const FD_NUMBERS = [0, 1, 2, 500, 0x7fff_ffff, 0x8000_0000, 0xffff_ff9c, 0xffff_ffff];

/** Outside memory for the kernel and for the library. */
export const BAD_POINTERS = [
  0n,
  0xffff_ffff_0000_0000n,
  0x1_0000_1000n,
  0xffff_8000_0000_1000n,
  1n << 63n,
];
export const U32S = [0, 1, 2, 3, 4, 7, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/** Paths that pins are made at and looked for. */
const BPFFS = "/sys/fs/bpf";
export const DIRECTORY = `${BPFFS}/d`;
export const PATHS = [
  `${BPFFS}/a`,
  `${BPFFS}/b`,
  `${BPFFS}/d/a`,
  `${BPFFS}/d/c`,
  `${BPFFS}/d/./c`,
  `${BPFFS}/d/../a`,
  `${BPFFS}//a`,
  `${BPFFS}/a/`,
  `${BPFFS}/d`,
  `${BPFFS}/d/`,
  BPFFS,
  `${BPFFS}/a/x`,
  `${BPFFS}/no/x`,
  `${BPFFS}/x.y`,
  "",
  "/",
  ".",
  "..",
  "a",
  "c",
  "./c",
  "../a",
  "d/c",
  "x".repeat(255),
  "x".repeat(256),
  `${BPFFS}/${"x".repeat(255)}`,
  `${BPFFS}/${"x".repeat(256)}`,
  `${BPFFS}/${"./".repeat(2050)}a`,
  "/dev/null",
  "/proc",
];

/** BTF with some of everything. */
export const MANY_TYPES = manyTypes();
/** One more than it has. */
export const TYPE_IDS = 30;

function manyTypes(): Uint8Array {
  const btf = new BtfBuilder();
  const int = btf.int("int", 4, BTF_INT_SIGNED);
  const u32 = btf.int("u32", 4);
  const u64 = btf.int("u64", 8);
  const char = btf.int("char", 1);
  const bits = btf.int("bits", 4, 0, 7);
  const member = (name: string, type: number, offset: number) => ({ name, type, offset });
  const lock = btf.struct("bpf_spin_lock", 4, [member("val", u32, 0)]);
  btf.array(char, int, 8);
  btf.array(char, int, 12);
  btf.typedef("word", int);
  btf.const(btf.volatile(u32));
  btf.ptr(int);
  btf.ptr(0);
  btf.struct("pair", 8, [member("a", int, 0), member("b", int, 4)]);
  const locked = btf.struct("locked", 8, [member("a", int, 0), member("lock", lock, 4)]);
  btf.struct("locked16", 16, [member("lock", lock, 0), member("b", u64, 8)]);
  btf.union("either", 8, [member("a", int, 0), member("b", u64, 0)]);
  btf.struct("cgroup_key", 16, [member("inode", u64, 0), member("type", u32, 8)]);
  btf.enum("choice", 4, { A: 1 });
  btf.fwd("later");
  btf.float("float", 4);
  const variable = btf.var("v", u64);
  btf.datasec(".data", 8, [{ type: variable, offset: 0, size: 8 }]);
  btf.struct("empty", 0, []);
  btf.array(lock, int, 2);
  btf.typedef("bits7", bits);
  btf.var("number", int);
  btf.var("guarded", btf.const(locked));
  return btf.build();
}

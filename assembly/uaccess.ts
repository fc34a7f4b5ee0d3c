// What the commands of bpf(2) read from and write to their caller's memory. Kernel: include/linux/uaccess.h.

import { E2BIG, EFAULT, PAGE_SIZE } from "../ts/uapi";
import { copyBytes, isUserRange, isZero, zeroBytes } from "./lib/bytes";

/**
 * Copies a struct of `size` bytes to one of which `known` bytes are known: what is missing is zero.
 * @returns whether what is not known is zero
 */
export function copyStruct(dst: usize, known: u32, src: usize, size: u32): bool {
  const taken = min(size, known);
  copyBytes(dst, src, taken);
  zeroBytes(dst + taken, known - taken);
  return isZero(src + taken, size - taken);
}

/** copyStruct from a user address. @returns 0; -E2BIG: more than a page, or more than is known; -EFAULT */
export function copyStructFromUser(dst: usize, known: u32, src: u64, size: u32): i32 {
  if (size > <u32>PAGE_SIZE) return -E2BIG;
  if (size > 0 && !isUserRange(src, size)) return -EFAULT;
  return copyStruct(dst, known, <usize>src, size) ? 0 : -E2BIG;
}

/** Writes the second word of the caller's attr: there commands answer an id or a length. @returns 0 or -EFAULT */
export function putAttr(userAttr: u32, value: u32): i32 {
  if (!isUserRange(userAttr, 8)) return -EFAULT;
  store<u32>(userAttr, value, 4);
  return 0;
}

// bpf_spin_lock in map values, for programs. Kernel: kernel/bpf/helpers.c.
//
// In the shared build these are the locks that BPF_F_LOCK takes. In the plain build there is nobody to wait for: the word
// says whether a program holds the lock, and nothing looks at it.

import { EINVAL } from "../ts/uapi";
import { SHARED, lock, unlock } from "./lib/lock";
import { findRegion, regionLo, regionOwner } from "./lib/region";

function setLock(addr: u32, isHeld: bool): i32 {
  const region = findRegion(addr);
  if (region == 0 || !regionOwner(region).isLockAt(regionLo(region), addr)) return -EINVAL;
  if (!SHARED) store<u32>(addr, isHeld ? 1 : 0);
  else if (isHeld) lock(addr);
  else unlock(addr);
  return 0;
}

/** Takes the lock at addr. @returns 0; -EINVAL: no lock of a live value */
export function bpf_spin_lock(addr: u32): i32 {
  return setLock(addr, true);
}

/** Gives the lock at addr back. @returns 0; -EINVAL: no lock of a live value */
export function bpf_spin_unlock(addr: u32): i32 {
  return setLock(addr, false);
}

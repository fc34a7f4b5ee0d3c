// The doors of the typed API to storages: owners are objects, not fds, so that they work as long as the object lives. The
// caller has an fd of the map that may read and write, and objects of the map's kind.

import { ENOENT } from "../ts/uapi";
import {
  LocalStorage,
  deleteStorage,
  elemValue,
  findElem,
  updateStorage,
} from "./bpf_local_storage";
import { mapFor } from "./fast";
import { HostObject, hostBySerial, hostLockWord } from "./host";
import { lock, unlock } from "./lib/lock";
import { isErr, mapByHandle } from "./map";

/** Address of the owner's value, 0 when it has none. */
export function storage_find(handle: u32, ptr: u32, serial: u32): usize {
  const mapPtr = mapByHandle(handle);
  if (mapPtr == 0) return 0;
  const map = changetype<LocalStorage>(mapPtr);
  lock(hostLockWord());
  const owner = hostBySerial(map.ownerKind, ptr, serial);
  const elem = owner == 0 ? 0 : findElem(map, owner, true);
  unlock(hostLockWord());
  return elem == 0 ? 0 : elemValue(elem);
}

/**
 * @param value address of valueSize bytes; 0: all zero
 * @returns 0; -ENOENT: the owner is gone, or is going and takes no new values; else as an update by bpf(2)
 */
export function storage_update(handle: u32, ptr: u32, serial: u32, value: usize, flags: u32): i32 {
  const mapPtr = mapFor(handle, 0, true);
  if (isErr(mapPtr)) return <i32>mapPtr;
  const map = changetype<LocalStorage>(mapPtr);
  lock(hostLockWord());
  const owner = hostBySerial(map.ownerKind, ptr, serial);
  const isThere = owner != 0 && !changetype<HostObject>(owner).dying;
  const ret = isThere ? updateStorage(map, changetype<HostObject>(owner), value, flags) : -ENOENT;
  unlock(hostLockWord());
  return ret;
}

/** @returns 0; -ENOENT: there is none, or the owner is gone */
export function storage_delete(handle: u32, ptr: u32, serial: u32): i32 {
  const mapPtr = mapFor(handle, 0, true);
  if (isErr(mapPtr)) return <i32>mapPtr;
  const map = changetype<LocalStorage>(mapPtr);
  lock(hostLockWord());
  const owner = hostBySerial(map.ownerKind, ptr, serial);
  const ret = owner == 0 ? -ENOENT : deleteStorage(map, owner);
  unlock(hostLockWord());
  return ret;
}

// What closing an fd does to the object behind it: one row a kind.

import { directoryPut } from "./bpffs";
import { Btf, btfPut } from "./btf";
import { FD_BTF, FD_DIRECTORY, FD_MAP } from "./fd";
import { BpfMap, mapPut } from "./map";

/** Drops the reference an fd held. */
export function fdRelease(kind: u32, object: usize): void {
  switch (kind) {
    case FD_MAP:
      mapPut(changetype<BpfMap>(object));
      break;
    case FD_DIRECTORY:
      directoryPut(object);
      break;
    case FD_BTF:
      btfPut(changetype<Btf>(object));
      break;
    default:
      break;
  }
}

// What closing an fd does to the object behind it: one row a kind.

import { directoryPut } from "./bpffs";
import { Btf, btfPut } from "./btf";
import {
  FD_BTF,
  FD_CGROUP,
  FD_DIRECTORY,
  FD_INODE,
  FD_MAP,
  FD_PERF_EVENT,
  FD_SOCKET,
  FD_TASK,
} from "./fd";
import { HostObject } from "./host";
import { hostPut } from "./host_objects";
import { BpfMap, mapPut } from "./map";
import { PerfEvent, eventPut } from "./perf_event";

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
    case FD_SOCKET:
    case FD_CGROUP:
    case FD_TASK:
    case FD_INODE:
      hostPut(changetype<HostObject>(object));
      break;
    case FD_PERF_EVENT:
      eventPut(changetype<PerfEvent>(object));
      break;
    default:
      break;
  }
}

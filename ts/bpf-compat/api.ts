// What both entries export; exports only.

export type { Bytes } from "./bytes.js";
export {
  AttachType,
  MapFlags,
  MapLookupFlags,
  MapType,
  MapUpdateFlags,
  OBJ_NAME_LEN,
  ProgramType,
} from "./constants.js";
export { BPFError, LibbpfErrno, libbpfErrnoMessages } from "./errors.js";
export { createMap, createMapRef, objGet, openMap } from "./map-ref.js";
export type { MapDef, MapDefOptional, MapInfo, MapRef } from "./map-ref.js";
export { perCpuType, u32type } from "./conversion.js";
export type { TypeConversion } from "./conversion.js";
export { ConvMap, RawMap } from "./map.js";
export type { IMap } from "./map.js";
export { ConvArrayMap, createArrayMap, RawArrayMap } from "./array-map.js";
export type { IArrayMap } from "./array-map.js";
export { ConvQueueMap, createQueueMap, createStackMap, RawQueueMap } from "./queue-map.js";
export type { IQueueMap } from "./queue-map.js";
export { version, versions } from "./version.js";

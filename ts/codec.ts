// The typed codecs: how JavaScript values are laid out in linear memory. Their parts are in codec/.

export { decode, encode, KIND, viewsOf } from "./codec/base.js";
export type {
  AnyCodec,
  BaseCodec,
  Codec,
  CodecKind,
  Infer,
  InferInput,
  MemoryViews,
} from "./codec/base.js";
export {
  bool,
  f32,
  f64,
  i16,
  i16be,
  i32,
  i32be,
  i64,
  i64be,
  i8,
  u16,
  u16be,
  u32,
  u32be,
  u64,
  u64be,
  u8,
} from "./codec/scalars.js";
export type { BigIntCodec, IntCodec, WideIntCodec } from "./codec/scalars.js";
export { array, bytes, cstring, perCpu } from "./codec/sequences.js";
export type { ArrayCodec, BytesCodec } from "./codec/sequences.js";
export { ipv4, ipv6, lpmKey } from "./codec/addresses.js";
export type { AddressCodec, LpmKey } from "./codec/addresses.js";
export { bits } from "./codec/bits.js";
export type { BitField, BitFieldBase } from "./codec/bits.js";
export { struct, union } from "./codec/struct.js";
export type {
  LayoutOptions,
  MemberInput,
  MemberValue,
  StructCodec,
  StructField,
  StructInput,
  StructMembers,
  StructValue,
  UnionCodec,
  UnionInput,
  UnionMembers,
  UnionValue,
} from "./codec/struct.js";
export type { Aimable, MemberView, StructView } from "./codec/struct-view.js";

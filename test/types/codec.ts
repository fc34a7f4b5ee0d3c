// What the codecs infer and refuse. Every `@ts-expect-error` line must fail to compile.

import {
  array,
  bits,
  bool,
  bytes,
  cstring,
  decode,
  encode,
  f64,
  ipv4,
  ipv6,
  lpmKey,
  perCpu,
  struct,
  u16be,
  u32,
  u64,
  u64be,
  u8,
  union,
} from "../../ts/codec.js";
import type { Codec, Infer, InferInput, LpmKey, MemoryViews } from "../../ts/codec.js";
import { assertType } from "./equal.js";
import type { Equal } from "./equal.js";

const Flow = struct({
  src: ipv4,
  dst: ipv6,
  port: u16be,
  flags: bits(u8, 3),
  wide: bits(u64, 40),
  counters: struct({ packets: u64, bytes: u64.asNumber }),
  comm: cstring(16),
  mac: bytes(6),
  history: array(struct({ at: f64, ok: bool }), 4),
});

interface FlowValue {
  src: string;
  dst: string;
  port: number;
  flags: number;
  wide: bigint;
  counters: { packets: bigint; bytes: number };
  comm: string;
  mac: Uint8Array;
  history: { at: number; ok: boolean }[];
}

const Either = union({ word: u32, parts: array(u8, 4) });

export function inference(): void {
  assertType<Equal<Infer<typeof u32>, number>>();
  assertType<Equal<Infer<typeof u64>, bigint>>();
  assertType<Equal<Infer<typeof u64.asNumber>, number>>();
  const network = decode(u64be, new Uint8Array(8));
  assertType<Equal<typeof network, bigint>>();
  assertType<Equal<Infer<typeof bool>, boolean>>();
  assertType<Equal<Infer<typeof Flow>, FlowValue>>();
  assertType<Equal<Infer<typeof Either>, { word: number; parts: number[] }>>();
  assertType<Equal<InferInput<typeof u64>, bigint>>();

  const addresses = lpmKey(ipv4);
  assertType<Equal<Infer<typeof addresses>, LpmKey<string>>>();
  assertType<Equal<InferInput<typeof addresses>, LpmKey<string> | string>>();
  const raw = lpmKey(bytes(4));
  assertType<Equal<InferInput<typeof raw>, LpmKey<Uint8Array>>>();

  const slots = perCpu(struct({ hits: u32 }), 2);
  assertType<Equal<Infer<typeof slots>, { hits: number }[]>>();
}

/** A map's signature, as the typed API has it: codecs decide all types. */
declare function createMap<K, KI, V, VI>(options: {
  key: Codec<K, KI>;
  value: Codec<V, VI>;
}): { get(key: KI): V | undefined; set(key: KI, value: VI): void; keys(): Iterable<K> };

/** A function that knows Codec<T> with one parameter only. */
declare function decodeAll<T>(codec: Codec<T>): T[];

export function maps(): void {
  const map = createMap({ key: lpmKey(ipv4), value: Flow });
  const found = map.get("10.0.0.0/8");
  assertType<Equal<typeof found, FlowValue | undefined>>();
  assertType<Equal<ReturnType<typeof map.keys>, Iterable<LpmKey<string>>>>();

  const either = createMap({ key: u32, value: Either });
  either.set(1, { word: 1 });
  either.set(1, { parts: [1, 2, 3, 4] });
  // @ts-expect-error: no member of the union
  either.set(1, { byte: 1 });
  // @ts-expect-error: the key is a number
  either.set(1n, { word: 1 });
  // @ts-expect-error: a string is no key without an address codec
  createMap({ key: lpmKey(bytes(4)), value: u32 }).get("10.0.0.0/8");

  const flows = decodeAll(Flow);
  assertType<Equal<typeof flows, FlowValue[]>>();
  const keys = decodeAll(lpmKey(ipv6));
  assertType<Equal<typeof keys, LpmKey<string>[]>>();
  const eithers = decodeAll(Either);
  assertType<Equal<typeof eithers, { word: number; parts: number[] }[]>>();
  const nested = decodeAll(struct({ either: Either, key: lpmKey(ipv4) }));
  assertType<
    Equal<typeof nested, { either: { word: number; parts: number[] }; key: LpmKey<string> }[]>
  >();
}

export function refusals(): void {
  // @ts-expect-error: u32 is a number
  encode(u32, 1n);
  // @ts-expect-error: u64 is a bigint
  encode(u64, 1);
  // @ts-expect-error: asNumber is a number
  encode(u64.asNumber, 1n);
  // @ts-expect-error: only 64-bit integers have asNumber
  encode(u32.asNumber, 1);
  // @ts-expect-error: bytes are a Uint8Array
  encode(bytes(2), [1, 2]);
  // @ts-expect-error: elements are numbers
  encode(array(u32, 2), ["1", "2"]);
  encode(array(u32, 2), [1, 2] as const);

  const Pair = struct({ packets: u32, bytes: u64 });
  encode(Pair, { packets: 1, bytes: 2n } as const);
  // @ts-expect-error: a member is missing
  encode(Pair, { packets: 1 });
  // @ts-expect-error: a member that the struct does not have
  encode(Pair, { packets: 1, bytes: 2n, more: 3 });
  // @ts-expect-error: a member of the wrong type
  encode(Pair, { packets: 1, bytes: 2 });
  // @ts-expect-error: no such member
  Pair.offsetof("hits");
  // @ts-expect-error: a struct has codecs as members
  struct({ packets: Number });
  // @ts-expect-error: a union has no bit-fields
  union({ flags: bits(u8, 1) });
  // @ts-expect-error: a bit-field is an integer or bool
  bits(ipv4, 3);
  // @ts-expect-error: a bit-field is no codec
  array(bits(u8, 3), 2);
}

export function views(mem: MemoryViews): void {
  const view = Flow.view().at(mem, 0);
  view.port = 1;
  view.counters.packets += 1n;
  view.mac = new Uint8Array(6);
  assertType<Equal<typeof view.wide, bigint>>();
  assertType<Equal<typeof view.comm, string>>();
  assertType<Equal<typeof view.counters.bytes, number>>();
  // @ts-expect-error: a struct inside is a view, not a value to assign
  view.counters = { packets: 1n, bytes: 2 };
  // @ts-expect-error: no such member
  view.hits = 1;
  // @ts-expect-error: the member is a number
  view.port = "80";
}

/** A codec of the user's own needs the three facts and two functions only. */
export const celsius: Codec<number> = {
  kind: 0,
  size: 2,
  align: 2,
  read: (mem, ptr) => mem.dv.getInt16(ptr, true) / 100,
  write: (mem, ptr, value) => mem.dv.setInt16(ptr, Math.round(value * 100), true),
};
assertType<Equal<Infer<typeof celsius>, number>>();
const Reading = struct({ temperature: celsius });
assertType<Equal<Infer<typeof Reading>, { temperature: number }>>();

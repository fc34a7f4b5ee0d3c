// Random codecs with matching values, for property tests.

import * as fc from "fast-check";
import {
  array,
  bits,
  bool,
  bytes,
  cstring,
  f32,
  f64,
  i16,
  i16be,
  i32,
  i32be,
  i64,
  i64be,
  i8,
  ipv4,
  lpmKey,
  perCpu,
  struct,
  u16,
  u16be,
  u32,
  u32be,
  u64,
  u64be,
  u8,
} from "../../ts/codec.js";
import type { AnyCodec, BigIntCodec, BitField, Codec, IntCodec } from "../../ts/codec.js";

/** A codec and a value that it takes and reads back. */
export interface Sample {
  readonly codec: Codec<unknown>;
  readonly value: unknown;
}

/** A member of a struct and its value. */
export interface Member {
  readonly member: AnyCodec | BitField<unknown>;
  readonly value: unknown;
}

function sample(codec: AnyCodec, value: unknown): Sample {
  return { codec: codec as Codec<unknown>, value };
}

const hostInts: readonly IntCodec[] = [u8, i8, u16, i16, u32, i32];
const otherInts: readonly IntCodec[] = [u64.asNumber, i64.asNumber, u16be, i16be, u32be, i32be];
const hostBigInts: readonly BigIntCodec[] = [u64, i64];
const otherBigInts: readonly BigIntCodec[] = [u64be, i64be];

/** Any integer codec with a value of its range. */
export const intSample: fc.Arbitrary<Sample> = fc.oneof(
  fc
    .constantFrom(...hostInts, ...otherInts)
    .chain((codec) => fc.integer(codec).map((value) => sample(codec, value))),
  fc
    .constantFrom(...hostBigInts, ...otherBigInts)
    .chain((codec) => fc.bigInt(codec).map((value) => sample(codec, value))),
);

const hostIntSample: fc.Arbitrary<Sample> = fc.oneof(
  fc
    .constantFrom(...hostInts)
    .chain((codec) => fc.integer(codec).map((value) => sample(codec, value))),
  fc
    .constantFrom(...hostBigInts)
    .chain((codec) => fc.bigInt(codec).map((value) => sample(codec, value))),
);

const scalarSample: fc.Arbitrary<Sample> = fc.oneof(
  { weight: 3, arbitrary: intSample },
  { weight: 1, arbitrary: fc.boolean().map((value) => sample(bool, value)) },
  { weight: 1, arbitrary: fc.float().map((value) => sample(f32, value)) },
  { weight: 1, arbitrary: fc.double().map((value) => sample(f64, value)) },
);

const text = fc.string({ unit: "binary", maxLength: 9 }).filter((value) => !value.includes("\0"));

const leafSample: fc.Arbitrary<Sample> = fc.oneof(
  { weight: 4, arbitrary: scalarSample },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 40 }).map((value) => sample(bytes(value.length), value)),
  },
  { weight: 1, arbitrary: text.map((value) => sample(cstring(40), value)) },
  { weight: 1, arbitrary: fc.ipV4().map((value) => sample(ipv4, value)) },
  {
    weight: 1,
    arbitrary: fc
      .record(
        { prefixlen: fc.integer({ min: 0, max: 32 }), data: fc.ipV4() },
        { noNullPrototype: true },
      )
      .map((value) => sample(lpmKey(ipv4), value)),
  },
);

/** A bit-field of any type and width with a value of its range. */
export const bitFieldMember: fc.Arbitrary<Member> = fc
  .constantFrom<IntCodec | BigIntCodec>(...hostInts, ...hostBigInts)
  .chain((base) => fc.tuple(fc.constant(base), fc.integer({ min: 1, max: base.size * 8 })))
  .chain(([base, width]) => {
    const half = 2n ** BigInt(width - 1);
    const [min, max] = base.min < 0 ? [-half, half - 1n] : [0n, 2n * half - 1n];
    return fc.bigInt({ min, max }).map((value) => ({
      member: bits(base, width),
      value: typeof base.min === "bigint" ? value : Number(value),
    }));
  });

/** The struct of these members, called m0, m1, ... */
export function structOf(members: readonly Member[], packed: boolean): Sample {
  const named = members.map(({ member }, index) => [`m${index}`, member] as const);
  const value = Object.fromEntries(members.map((member, index) => [`m${index}`, member.value]));
  return sample(struct(Object.fromEntries(named), { packed }), value);
}

/** A member that C has too: a host integer, a bit-field, or a struct of two integers. */
export const hostMember: fc.Arbitrary<Member> = fc.oneof(
  bitFieldMember,
  hostIntSample.map(({ codec, value }) => ({ member: codec, value })),
  fc
    .tuple(hostIntSample, hostIntSample)
    .map((pair) => {
      const members = pair.map(({ codec, value }) => ({ member: codec, value }));
      return structOf(members, false);
    })
    .map(({ codec, value }) => ({ member: codec, value })),
);

/** A struct of members like those given and of bit-fields, packed or not. */
export function structSample(members: fc.Arbitrary<Sample>): fc.Arbitrary<Sample> {
  const member = members.map((inner): Member => ({ member: inner.codec, value: inner.value }));
  return fc
    .tuple(fc.array(fc.oneof(member, bitFieldMember), { maxLength: 6 }), fc.boolean())
    .map(([list, packed]) => structOf(list, packed));
}

/** Any codec, nested up to a few levels, with a value. */
export const anySample: fc.Arbitrary<Sample> = fc.letrec<{ any: Sample }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leafSample,
    structSample(tie("any")),
    fc.tuple(tie("any"), fc.nat(3)).map(([element, count]) => {
      const values = Array.from({ length: count }, () => element.value);
      return sample(array(element.codec, count), values);
    }),
    fc.tuple(tie("any"), fc.integer({ min: 1, max: 3 })).map(([element, cpus]) => {
      const values = Array.from({ length: cpus }, () => element.value);
      return sample(perCpu(element.codec, cpus), values);
    }),
  ),
})).any;

// Random calls on the API of npm `bpf`, made from a seed. Hash seeds are zero, so that also the order of entries is the
// same everywhere; what differs by nature (fds, ids) is not printed.
//
// Not called: per-CPU types, on which the package overruns its buffers, and batches smaller than the map on hash types,
// on which it fails with ENOSPC.

import { MapType } from "../../ts/bpf-compat.js";
import { Random } from "../support/random.js";
import { attempt, type Bpf, type Script } from "./script.js";

const CALLS = 700;
const ZERO_SEED = 64;
const NO_PREALLOC = 1;
/** Mostly BPF_ANY; BPF_F_LOCK and an unknown flag among them. */
const FLAGS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 9];

/** Flags of creation; not BPF_F_NO_COMMON_LRU, which rounds maxEntries to the machine's CPUs. */
const CREATE_FLAGS = [0, 0, 0, 0, 1, 1, 4, 8, 0x10, 0x18, ZERO_SEED, 0x80, 1 << 20];

/** A named call with its arguments drawn from `random`. */
type Call = readonly [name: string, call: () => unknown];

/** Bytes of a length that is right, but for once in a while. */
function bytesOf(random: Random, size: number, alphabet: number): Buffer {
  const wrong = random.oneIn(40) ? random.pick([-1, 1]) : 0;
  const bytes = Buffer.alloc(Math.max(0, size + wrong));
  if (bytes.length > 0) bytes[0] = random.below(alphabet);
  return bytes;
}

/** A value: any bytes, once in a while too few or too many. */
function randomBytes(random: Random, size: number): Buffer {
  const bytes = bytesOf(random, size, 256);
  random.fill(bytes);
  return bytes;
}

interface RawShape {
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly makeKey: (random: Random) => Buffer;
}

/** Any call of RawMap. */
function rawCall(
  bpf: Bpf,
  map: InstanceType<Bpf["RawMap"]>,
  shape: RawShape,
  random: Random,
): Call {
  const key = shape.makeKey(random);
  const flags = random.pick(FLAGS);
  const value = randomBytes(random, shape.valueSize);
  const many = Array.from({ length: random.below(6) }, () => shape.makeKey(random));
  const entries = many.map((each): [Buffer, Buffer] => [
    each,
    randomBytes(random, shape.valueSize),
  ]);
  const all = shape.maxEntries + random.below(3);
  const calls: readonly Call[] = [
    ["get", () => map.get(key, random.oneIn(10) ? flags : 0)],
    ["get", () => map.get(key)],
    ["getDelete", () => map.getDelete(key)],
    ["set", () => map.set(key, value, flags) === map],
    ["set", () => map.set(key, value) === map],
    ["set", () => map.set(key, value) === map],
    ["delete", () => map.delete(key)],
    ["has", () => map.has(key)],
    ["getNextKey", () => map.getNextKey(random.oneIn(4) ? undefined : key)],
    ["keys", () => [...map.keys(random.oneIn(2) ? undefined : key)]],
    ["entries", () => [...map.entries()]],
    ["values", () => [...map.values(key)]],
    ["getBatch", () => [...map.getBatch(all)]],
    ["setBatch", () => map.setBatch(entries, random.pick([0, 0, 0, 1, 4])) === map],
    ["deleteBatch", () => map.deleteBatch(many)],
  ];
  const rare: readonly Call[] = [
    ["consumeEntries", () => [...map.consumeEntries()]],
    ["clear", () => map.clear(random.oneIn(2) ? undefined : key)],
    ["getBatch(0)", () => [...map.getBatch(0)]],
    ["first key", () => map.keys().next().value],
  ];
  return random.oneIn(25) ? random.pick(rare) : random.pick(calls);
}

function rawSession(title: string, seed: number, shape: RawShape): Script {
  return {
    title,
    needs: [shape.type],
    run(bpf, print) {
      const random = new Random(seed);
      const { makeKey: _makeKey, ...def } = shape;
      const map = new bpf.RawMap(bpf.createMap(def));
      for (let n = 0; n < CALLS; n++) {
        const [name, call] = rawCall(bpf, map, shape, random);
        print(`${name} ${attempt(bpf, call)}`);
      }
      map.freeze();
      print(attempt(bpf, () => map.set(shape.makeKey(random), Buffer.alloc(shape.valueSize))));
      print(attempt(bpf, () => [...map]));
      map.ref.close();
    },
  };
}

function convSession(title: string, seed: number): Script {
  return {
    title,
    needs: [MapType.HASH],
    run(bpf, print) {
      const random = new Random(seed);
      const def = {
        type: MapType.HASH,
        keySize: 4,
        valueSize: 4,
        maxEntries: 12,
        flags: ZERO_SEED,
      };
      const map = new bpf.ConvMap(bpf.createMap(def), bpf.u32type, bpf.u32type);
      const some = () => Array.from({ length: random.below(5) }, () => random.below(20));
      for (let n = 0; n < CALLS; n++) {
        const [key, flags] = [random.below(20), random.pick(FLAGS)];
        const [keys, value] = [some(), random.u32()];
        const [name, call] = random.pick<Call>([
          ["get", () => map.get(key)],
          ["getDelete", () => map.getDelete(key)],
          ["set", () => map.set(key, value, flags) === map],
          ["set", () => map.set(key, value) === map],
          ["delete", () => map.delete(key)],
          ["has", () => map.has(key)],
          ["keys", () => [...map.keys(key)]],
          ["entries", () => [...map]],
          ["values", () => [...map.values()]],
          ["getBatch", () => [...map.getBatch(12)]],
          ["setBatch", () => map.setBatch(keys.map((each) => [each, value])) === map],
          ["deleteBatch", () => map.deleteBatch(keys)],
        ]);
        print(`${name} ${attempt(bpf, call)}`);
      }
      map.ref.close();
    },
  };
}

function arraySession(title: string, seed: number): Script {
  return {
    title,
    needs: [MapType.ARRAY],
    run(bpf, print) {
      const random = new Random(seed);
      const raw = new bpf.RawArrayMap(
        bpf.createMap({ type: MapType.ARRAY, keySize: 4, valueSize: 6, maxEntries: 7 }),
      );
      const conv = bpf.createArrayMap(5, 4, bpf.u32type);
      for (let n = 0; n < CALLS; n++) {
        const [index, flags] = [random.below(8), random.pick(FLAGS)];
        const bytes = randomBytes(random, 6);
        const value = random.u32();
        const [name, call] = random.pick<Call>([
          ["get", () => raw.get(index)],
          ["get", () => conv.get(index, random.oneIn(8) ? flags : 0)],
          ["set", () => raw.set(index, bytes, flags) === raw],
          ["set", () => conv.set(index, value) === conv],
          ["values", () => [...raw]],
          ["values", () => [...conv]],
          ["getBatch", () => [...raw.getBatch(1 + random.below(9))]],
          ["getBatch", () => [...conv.getBatch(1 + random.below(9))]],
          [
            "setBatch",
            () =>
              conv.setBatch([
                [index, value],
                [random.below(6), n],
              ]) === conv,
          ],
          ["getAll", () => raw.getAll()],
          [
            "setAll",
            () => conv.setAll(Array.from({ length: 4 + random.below(2) }, () => n)) === conv,
          ],
          ["odd index", () => raw.get(random.pick([-1, 0.5, 2 ** 32, Number.NaN]))],
        ]);
        print(`${name} ${attempt(bpf, call)}`);
      }
      raw.ref.close();
      conv.ref.close();
    },
  };
}

function queueSession(title: string, seed: number, type: MapType): Script {
  return {
    title,
    needs: [type],
    run(bpf, print) {
      const random = new Random(seed);
      const def = { type, keySize: 0, valueSize: 4, maxEntries: 5 };
      const raw = new bpf.RawQueueMap(bpf.createMap(def));
      const conv = new bpf.ConvQueueMap(raw.ref, bpf.u32type);
      const generic = new bpf.RawMap(raw.ref);
      const noKey = Buffer.alloc(0);
      for (let n = 0; n < CALLS; n++) {
        const flags = random.pick(FLAGS);
        const bytes = randomBytes(random, 4);
        const [name, call] = random.pick<Call>([
          ["push", () => raw.push(bytes, flags) === raw],
          ["push", () => conv.push(n) === conv],
          ["push", () => conv.push(n) === conv],
          ["pop", () => raw.pop()],
          ["pop", () => conv.pop()],
          ["peek", () => raw.peek(random.oneIn(8) ? flags : 0)],
          ["empty", () => conv.empty()],
          ["consumeValues", () => [...conv.consumeValues(random.below(3))]],
          ["get", () => generic.get(noKey)],
          ["delete", () => generic.delete(noKey)],
          ["getNextKey", () => generic.getNextKey()],
          ["keyed", () => generic.set(Buffer.alloc(1), bytes)],
          ["getBatch", () => [...generic.getBatch(2)]],
        ]);
        print(`${name} ${attempt(bpf, call)}`);
      }
      print(attempt(bpf, () => [...raw]));
      raw.ref.close();
    },
  };
}

/** Parameters that make sense and such that do not: what creation answers, and what the map says it is. */
function createSession(title: string, seed: number, types: readonly MapType[]): Script {
  return {
    title,
    needs: types,
    run(bpf, print) {
      const random = new Random(seed);
      for (let n = 0; n < CALLS; n++) {
        const def = {
          type: random.pick(types),
          keySize: random.pick([0, 1, 4, 4, 4, 4, 5, 8, 8, 512, 513, -1]),
          valueSize: random.pick([0, 1, 4, 4, 8, 8, 31, 100, 1.5]),
          maxEntries: random.pick([0, 1, 1, 5, 8, 64, -5]),
          flags: random.pick(CREATE_FLAGS),
          ...(random.oneIn(3)
            ? { name: random.pick(["", "a", "with.dot_", "a b", "x".repeat(20), "nul\0x"]) }
            : {}),
          ...(random.oneIn(12) ? { numaNode: random.pick([0, 4000]) } : {}),
        };
        print(`create ${JSON.stringify(def)} ${attempt(bpf, () => createAndDescribe(bpf, def))}`);
      }
    },
  };
}

function createAndDescribe(bpf: Bpf, def: Parameters<Bpf["createMap"]>[0]): string {
  const ref = bpf.createMap(def);
  const { id, ...info } = ref;
  const again = bpf.openMap(id ?? 0);
  const text = Object.entries(info).map(([name, value]) => `${name}=${String(value)}`);
  text.push(`same=${again.id === id}`);
  again.close();
  ref.close();
  return text.join(" ");
}

/** Keys of which there are few more than entries. */
function keysOf(keySize: number, alphabet: number) {
  return (random: Random): Buffer => bytesOf(random, keySize, alphabet);
}

/** Keys of an LPM trie: a length in bits, then the address. */
function prefix(random: Random): Buffer {
  const key = bytesOf(random, 8, 1);
  if (key.length !== 8) return key;
  key.writeUInt32LE(random.below(34), 0);
  for (let i = 4; i < 8; i++) key[i] = random.pick([0, 0x80, 0xc0]);
  return key;
}

const HASH = {
  type: MapType.HASH,
  keySize: 4,
  valueSize: 8,
  maxEntries: 16,
  flags: ZERO_SEED,
};

export const SESSIONS: readonly Script[] = [
  rawSession("hash", 1, { ...HASH, makeKey: keysOf(4, 24) }),
  rawSession("hash without preallocation", 2, {
    ...HASH,
    keySize: 7,
    valueSize: 5,
    flags: ZERO_SEED | NO_PREALLOC,
    makeKey: keysOf(7, 24),
  }),
  rawSession("lru hash that never fills", 3, {
    ...HASH,
    type: MapType.LRU_HASH,
    keySize: 16,
    maxEntries: 1024,
    makeKey: keysOf(16, 24),
  }),
  rawSession("array as a map", 4, {
    ...HASH,
    type: MapType.ARRAY,
    maxEntries: 10,
    flags: 0,
    makeKey: keysOf(4, 12),
  }),
  rawSession("lpm trie", 5, {
    ...HASH,
    type: MapType.LPM_TRIE,
    keySize: 8,
    flags: NO_PREALLOC,
    makeKey: prefix,
  }),
  convSession("conversions", 6),
  arraySession("arrays", 7),
  queueSession("queue", 8, MapType.QUEUE),
  queueSession("stack", 9, MapType.STACK),
  createSession("creation", 10, [MapType.HASH, MapType.ARRAY, MapType.LRU_HASH]),
  createSession("creation of queues", 11, [MapType.QUEUE, MapType.STACK]),
  createSession("creation of tries", 12, [MapType.LPM_TRIE]),
];

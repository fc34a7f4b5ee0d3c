// The examples of npm bpf's README, and the rest of its API in the same manner.

import type { TypeConversion } from "../../ts/bpf-compat.js";
import {
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_STACK,
} from "../../ts/uapi.js";
import { attempt, type Bpf, type Script, show, sorted } from "./script.js";

type Print = (line: string) => void;

/** NUL-terminated strings, as in the README. */
const stringConversion: TypeConversion<string> = {
  parse: (buf) => {
    const size = buf.indexOf(0);
    return buf.subarray(0, size === -1 ? buf.length : size).toString();
  },
  format: (buf, x) => {
    buf.fill(0);
    buf.write(x);
  },
};

const doubleConversion: TypeConversion<number> = {
  parse: (buf) => buf.readDoubleLE(),
  format: (buf, x) => {
    buf.writeDoubleLE(x);
  },
};

function rawMapOperations(bpf: Bpf, print: Print): void {
  const ref = bpf.createMap({ type: bpf.MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 10 });
  const map = new bpf.RawMap(ref);
  const key1 = Buffer.of(0, 0, 0, 1);
  const key2 = Buffer.of(0, 0, 9, 2);
  map.set(key1, Buffer.from("abcd"));
  map.set(key2, Buffer.from("w00t"));
  const lines: string[] = [];
  for (const [k, v] of map) lines.push(`entry ${k.toString("hex")} = ${v.toString("ascii")}`);
  for (const line of sorted(lines)) print(line);
  print(show(map.get(key2)));
  print(show(map.delete(key2)));
  print(show(map.get(key2)));
  print(show(map.delete(key2)));
  print(show([map.has(key1), map.has(key2)]));
  const out = Buffer.alloc(4);
  print(show([map.get(key1, 0, out) === out, out]));
  map.clear();
  print(show([...map.keys()]));
  ref.close();
  ref.close();
  print(attempt(bpf, () => ref.fd));
  print(attempt(bpf, () => map.get(key1)));
}

function conversions(bpf: Bpf, print: Print): void {
  const ref = bpf.createMap({ type: bpf.MapType.HASH, keySize: 16, valueSize: 4, maxEntries: 7 });
  const map = new bpf.ConvMap(ref, stringConversion, bpf.u32type);
  map.set("a cat", 1);
  map.set("foo", 3458);
  map.set("test", 5).set("foo", 3459);
  print(show(sorted(map)));
  print(show(sorted(map.keys())));
  print(show(sorted(map.values())));
  print(show([map.get("foo"), map.get("bar"), map.has("test"), map.delete("bar")]));
  print(show(map.getDelete("foo")));
  print(show(sorted(map.consumeEntries())));
  print(show([...map]));
  ref.close();
}

function arrayMaps(bpf: Bpf, print: Print): void {
  const ref = bpf.createMap({ type: bpf.MapType.ARRAY, keySize: 4, valueSize: 8, maxEntries: 5 });
  const array = new bpf.ConvArrayMap(ref, doubleConversion);
  const array2 = bpf.createArrayMap(5, 8, doubleConversion);
  print(show([...array]));
  array.set(3, 106.5);
  print(show([...array]));
  print(show([array2.get(3), array2.length]));
  print(attempt(bpf, () => array.get(5)));
  print(attempt(bpf, () => array.get(-1)));
  print(attempt(bpf, () => array.set(0, 1, bpf.MapUpdateFlags.NOEXIST)));
  print(show([...array.getBatch(2)]));
  array.setBatch([
    [4, 4.5],
    [0, 0.5],
    [4, 9.5],
  ]);
  print(show(array.getAll()));
  print(show(array.setAll([1, 2, 3, 4, 5]).getAll()));
  print(attempt(bpf, () => array.setAll([1])));
  const raw = new bpf.RawArrayMap(array.ref);
  print(show([raw.get(1), raw.length]));
  array.freeze();
  print(attempt(bpf, () => array.set(0, 1)));
  print(attempt(bpf, () => array.get(0)));
  print(attempt(bpf, () => new bpf.RawQueueMap(ref)));
  ref.close();
  array2.ref.close();
}

function ownFd(bpf: Bpf, print: Print): void {
  const owner = bpf.createMap({
    type: bpf.MapType.HASH,
    keySize: 4,
    valueSize: 4,
    maxEntries: 3,
    name: "a_name_that_is_cut",
  });
  const { type, keySize, valueSize, maxEntries, flags, name } = owner;
  print(show([type, keySize, valueSize, maxEntries, flags, name]));
  const ref = bpf.createMapRef(owner.fd);
  print(show([ref.fd === owner.fd, ref.id === owner.id]));
  const map = new bpf.ConvMap(ref, bpf.u32type, bpf.u32type);
  const same = new bpf.ConvMap(bpf.openMap(owner.id ?? 0), bpf.u32type, bpf.u32type);
  owner.close();
  map.set(1, 2);
  print(show(same.get(1)));
  print(attempt(bpf, () => bpf.createMapRef(-1)));
  print(attempt(bpf, () => bpf.openMap(0xffffffff)));
  ref.close();
  same.ref.close();
}

function mapInMap(bpf: Bpf, print: Print): void {
  const innerParams = { type: bpf.MapType.ARRAY, keySize: 4, valueSize: 4, maxEntries: 5 };
  const createInnerMap = () => new bpf.ConvArrayMap(bpf.createMap(innerParams), bpf.u32type);
  const ref = bpf.createMap({
    type: bpf.MapType.ARRAY_OF_MAPS,
    keySize: 4,
    valueSize: 4,
    maxEntries: 7,
    innerMap: innerParams,
  });
  const map = new bpf.ConvMap(ref, bpf.u32type, bpf.u32type);
  print(show([...map]));
  const value1 = createInnerMap();
  map.set(2, value1.ref.fd);
  print(show(map.get(2) === value1.ref.id));
  print(show([map.get(3), [...map].length, map.delete(2), [...map]]));
  const like = bpf.createMap({
    ...innerParams,
    type: bpf.MapType.ARRAY_OF_MAPS,
    innerMap: value1.ref,
  });
  print(show(like.maxEntries));
  const other = bpf.createMap({ ...innerParams, maxEntries: 6 });
  print(attempt(bpf, () => map.set(1, other.fd)));
  for (const each of [ref, value1.ref, like, other]) each.close();
}

function queues(bpf: Bpf, print: Print): void {
  for (const create of [bpf.createQueueMap, bpf.createStackMap]) {
    const map = create(3, 4, bpf.u32type);
    print(show([map.empty(), map.peek(), map.pop()]));
    map.push(1).push(2).push(3);
    print(attempt(bpf, () => map.push(4)));
    print(attempt(bpf, () => map.push(4, bpf.MapUpdateFlags.NOEXIST)));
    map.push(5, bpf.MapUpdateFlags.EXIST);
    print(show([map.peek(), map.pop(), map.empty()]));
    print(show([...map.consumeValues(1)]));
    print(show([...map]));
    const raw = new bpf.RawQueueMap(map.ref);
    raw.push(Buffer.from("abcd"));
    print(show(raw.peek()));
    print(attempt(bpf, () => raw.push(Buffer.alloc(3))));
    raw.freeze();
    print(attempt(bpf, () => raw.pop()));
    print(attempt(bpf, () => new bpf.RawArrayMap(map.ref)));
    map.ref.close();
  }
}

function batches(bpf: Bpf, print: Print): void {
  const ref = bpf.createMap({ type: bpf.MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 8 });
  const map = new bpf.ConvMap(ref, bpf.u32type, bpf.u32type);
  map.setBatch([1, 2, 3, 4, 5].map((key) => [key, 10 * key]));
  print(show(sorted([...map.getBatch(8)].flat())));
  map.deleteBatch([1, 2]);
  print(attempt(bpf, () => map.deleteBatch([3, 4, 9, 5])));
  print(show([...map]));
  print(attempt(bpf, () => map.setBatch([[1, 1]], bpf.MapUpdateFlags.NOEXIST)));
  print(attempt(bpf, () => map.setBatch([[1, 1]], 64)));
  const tooMany = Array.from({ length: 9 }, (_, key): [number, number] => [key, key]);
  print(attempt(bpf, () => map.setBatch(tooMany)));
  print(show(sorted(map.keys())));
  print(attempt(bpf, () => [...map.getBatch(0)]));
  print(attempt(bpf, () => [...map.getBatch(-1)]));
  print(attempt(bpf, () => map.setBatch([]) === map));
  print(attempt(bpf, () => map.deleteBatch([])));
  ref.close();
}

function errors(bpf: Bpf, print: Print): void {
  const { HASH } = bpf.MapType;
  const sizes = { keySize: 4, valueSize: 4, maxEntries: 1 };
  print(attempt(bpf, () => bpf.createMap({ ...sizes, type: HASH, keySize: 0 })));
  print(attempt(bpf, () => bpf.createMap({ ...sizes, type: HASH, keySize: -1 })));
  print(attempt(bpf, () => bpf.createMap({ ...sizes, type: HASH, maxEntries: 0.5 })));
  print(attempt(bpf, () => bpf.createMap({ ...sizes, type: HASH, flags: 1 << 30 })));
  print(attempt(bpf, () => bpf.createMap({ ...sizes, type: HASH, name: "no space" })));
  const map = new bpf.RawMap(bpf.createMap({ ...sizes, type: HASH }));
  const [one, two] = [Buffer.from("key1"), Buffer.from("key2")];
  print(attempt(bpf, () => map.get(Buffer.alloc(3))));
  print(attempt(bpf, () => map.set(one, Buffer.alloc(5))));
  print(attempt(bpf, () => map.set(one, one, bpf.MapUpdateFlags.EXIST)));
  map.set(one, one, bpf.MapUpdateFlags.NOEXIST);
  print(attempt(bpf, () => map.set(one, two, bpf.MapUpdateFlags.NOEXIST)));
  print(attempt(bpf, () => map.set(two, two)));
  print(attempt(bpf, () => map.set(one, two, bpf.MapUpdateFlags.F_LOCK)));
  print(attempt(bpf, () => map.get(one, bpf.MapLookupFlags.F_LOCK)));
  print(attempt(bpf, () => map.get(one, 1)));
  const readOnly = bpf.createMap({ ...sizes, type: HASH, flags: bpf.MapFlags.RDONLY });
  const duplicate = bpf.createMapRef(readOnly.fd);
  print(attempt(bpf, () => new bpf.RawMap(duplicate).set(one, one)));
  print(attempt(bpf, () => new bpf.RawMap(duplicate).get(one)));
  const writeOnly = bpf.createMap({ ...sizes, type: HASH, flags: bpf.MapFlags.WRONLY });
  const duplicate2 = bpf.createMapRef(writeOnly.fd);
  print(attempt(bpf, () => new bpf.RawMap(duplicate2).get(one)));
  print(attempt(bpf, () => new bpf.RawMap(duplicate2).delete(one)));
  for (const ref of [map.ref, readOnly, duplicate, writeOnly, duplicate2]) ref.close();
  const error = new bpf.BPFError(524, "operation", 3);
  print(show([error instanceof Error, String(error), error.code, error.count]));
  print(show(Object.keys(new bpf.BPFError(2, "operation")).toSorted()));
  print(show([bpf.MapType[1], bpf.MapType.RINGBUF, bpf.ProgramType.XDP, bpf.AttachType[33]]));
  print(show([bpf.OBJ_NAME_LEN, bpf.version === bpf.versions.libbpf]));
}

/** Deleting what was just handed out is safe: every key turns up once. */
function iteration(bpf: Bpf, print: Print): void {
  const ref = bpf.createMap({ type: bpf.MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 100 });
  const map = new bpf.ConvMap(ref, bpf.u32type, bpf.u32type);
  for (let key = 0; key < 100; key++) map.set(key, key * key);
  const seen: number[] = [];
  for (const [key, value] of map) {
    if (value !== key * key) print(`wrong value of ${key}`);
    seen.push(key);
    map.delete(key);
  }
  print(show(seen.toSorted((a, b) => a - b)));
  print(show([...map.keys()]));
  map.set(1, 1);
  print(show([[...map.keys(1)], [...map.keys(2)]]));
  print(show(map.keys().next()));
  ref.close();
}

export const PROGRAM: readonly Script[] = [
  { title: "raw map operations", needs: [], run: rawMapOperations },
  { title: "conversions", needs: [], run: conversions },
  { title: "array maps", needs: [], run: arrayMaps },
  { title: "own fd", needs: [], run: ownFd },
  { title: "map in map", needs: [BPF_MAP_TYPE_ARRAY_OF_MAPS], run: mapInMap },
  { title: "queues", needs: [BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK], run: queues },
  { title: "batches", needs: [], run: batches },
  { title: "errors", needs: [], run: errors },
  { title: "iteration", needs: [], run: iteration },
];

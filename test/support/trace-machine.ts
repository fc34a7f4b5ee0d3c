// Runs the operations of the trace format on a kernel and words the answers as the traces do.
// Handles are names for fds; everything an operation needs to know about a map (sizes, type) is
// remembered from its creation, so that a closed or unknown handle still makes a well-formed call.

import * as uapi from "../../ts/uapi.js";
import { type CreateSpec, tokenSize, userValueSize } from "./attr.js";
import { type BatchLookup, type BatchResult, BpfClient } from "./bpf.js";
import { lockBtf, type MapBtf, plainBtf } from "./btf.js";
import type { HostObject, Kernel } from "./kernel.js";
import {
  compareBytes,
  errnoName,
  fromHex,
  joinRanges,
  mapTypeName,
  mapTypeNumber,
  toHex,
} from "./trace.js";

/** A key or value word: bytes, or null for `-` (a NULL pointer). */
type Operand = Uint8Array | null;
type Pair = readonly [key: Uint8Array, value: string];

type ObjectMethod = "socket" | "cgroup" | "task" | "inode";

interface Handle {
  readonly fd: number;
  readonly type: number;
  readonly keySize: number;
  /** As the syscall transfers it. */
  readonly valueSize: number;
  readonly tokenSize: number;
  readonly object?: HostObject;
}

/** The operations that make a host object, and the method of the kernel each needs. */
export const OBJECT_OPS: ReadonlyMap<string, ObjectMethod> = new Map([
  ["socket", "socket"],
  ["cgroup", "cgroup"],
  ["task", "task"],
  ["file", "inode"],
]);

const UNBOUND: Handle = {
  fd: -1,
  type: uapi.BPF_MAP_TYPE_UNSPEC,
  keySize: 4,
  valueSize: 8,
  tokenSize: 4,
};

const NO_BYTES = new Uint8Array(0);

/** No walk of a trace is longer; a longer one is a cycle. */
const MAX_WALK = 1 << 22;

export class TraceMachine {
  readonly #kernel: Kernel;
  readonly #client: BpfClient;
  readonly #handles = new Map<string, Handle>();
  /** The most recent handle of each map id, kept after close: values of maps of maps are ids. */
  readonly #nameById = new Map<number, string>();

  constructor(kernel: Kernel, client: BpfClient = new BpfClient(kernel)) {
    this.#kernel = kernel;
    this.#client = client;
  }

  /** Runs one operation; the answer is the text after `< `. Throws for what is no operation. */
  run(words: readonly string[]): string {
    const [op = "", name = "", ...rest] = words;
    const objectMethod = OBJECT_OPS.get(op);
    if (objectMethod !== undefined) return this.#makeObject(objectMethod, name);
    switch (op) {
      case "cpu":
        this.#kernel.cpu = Number(name);
        return "ok";
      case "create":
        return this.#create(name, rest);
      case "close":
        return this.#close(name);
      case "info":
        return this.#info(this.#handle(name));
      case "freeze":
        return status(this.#client.freeze(this.#handle(name).fd));
      default:
        return this.#runOnMap(op, this.#handle(name), rest);
    }
  }

  #runOnMap(op: string, map: Handle, rest: readonly string[]): string {
    const [first = "-", second, third, fourth] = rest;
    switch (op) {
      case "update":
        return status(
          this.#client.update(
            map.fd,
            this.#operand(first),
            this.#operand(second ?? "-"),
            flags(third),
          ),
        );
      case "lookup": {
        const key = this.#operand(first);
        const { ret, out } = this.#client.lookup(map.fd, key, map.valueSize, flags(second));
        return ret < 0 ? failure(ret) : `ok ${this.#valueText(map, out)}`;
      }
      case "lookup_delete": {
        const key = this.#operand(first);
        const result = this.#client.lookupAndDelete(map.fd, key, map.valueSize, flags(second));
        return result.ret < 0 ? failure(result.ret) : `ok ${this.#valueText(map, result.out)}`;
      }
      case "delete":
        return status(this.#client.delete(map.fd, this.#operand(first), flags(second)));
      case "test":
        return status(this.#client.test(map.fd, this.#operand(first), flags(second)));
      case "next": {
        const { ret, out } = this.#client.nextKey(map.fd, this.#operand(first), map.keySize);
        return ret < 0 ? failure(ret) : `ok ${toHex(out)}`;
      }
      case "lookup_batch":
      case "lookup_delete_batch": {
        const batch = this.#batch(map, this.#operand(first), Number(second), third, fourth);
        return this.#batchText(map, this.#lookupBatch(op, batch));
      }
      case "update_batch":
      case "delete_batch":
        return this.#writeBatch(op, map, first, second, third);
      default:
        return this.#runCompound(op, map, rest);
    }
  }

  #runCompound(op: string, map: Handle, rest: readonly string[]): string {
    switch (op) {
      case "keys": {
        const keys = this.#walk(map);
        return typeof keys === "number" ? failure(keys) : counted(keys.map(toHex));
      }
      case "count": {
        const keys = this.#walk(map);
        return typeof keys === "number" ? failure(keys) : `ok n=${keys.length}`;
      }
      case "dump":
        return this.#dump(map);
      case "alive":
        return this.#alive(map);
      case "batch_walk":
        return this.#batchWalk("lookup_batch", map, rest);
      case "batch_drain":
        return this.#batchWalk("lookup_delete_batch", map, rest);
      case "fill":
      case "unfill":
        return this.#fill(op, map, rest);
      default:
        throw new Error(`not an operation: ${op}`);
    }
  }

  #create(name: string, rest: readonly string[]): string {
    const word = new Map(rest.map((text) => [text.split("=", 1)[0], text.replace(/^[^=]*=/, "")]));
    const number = (key: string): number => Number(word.get(key) ?? 0);
    const type = mapTypeNumber(word.get("type") ?? "");
    const keySize = number("key");
    const valueSize = number("value");
    const btf = mapBtf(word.get("btf"), keySize, valueSize);
    const btfFd = btf === undefined ? 0 : this.#client.btfLoad(btf.blob);
    if (btfFd < 0) return `err BTF_${errnoName(btfFd)}`;
    const inner = word.get("inner");
    const spec: CreateSpec = {
      type,
      keySize,
      valueSize,
      maxEntries: number("max"),
      flags: number("flags"),
      innerMapFd: inner === undefined ? 0 : this.#handle(inner).fd,
      numaNode: number("numa"),
      name: Buffer.from(word.get("name") ?? "", "latin1"),
      mapExtra: BigInt(word.get("extra") ?? 0),
      btfFd,
      btfKeyTypeId: btf?.keyTypeId ?? 0,
      btfValueTypeId: btf?.valueTypeId ?? 0,
    };
    const fd = this.#client.create(spec);
    // The map keeps its BTF alive; the fd is not needed for that.
    if (btf !== undefined) this.#client.close(btfFd);
    if (fd < 0) return failure(fd);
    this.#handles.set(name, {
      fd,
      type,
      keySize,
      valueSize: userValueSize(type, valueSize, this.#kernel.cpus),
      tokenSize: tokenSize(type, keySize),
    });
    const { info } = this.#client.info(fd);
    if (info !== undefined) this.#nameById.set(info.id, name);
    return "ok";
  }

  #close(name: string): string {
    const handle = this.#handle(name);
    this.#handles.delete(name);
    if (handle.object === undefined) return status(this.#client.close(handle.fd));
    handle.object.close();
    return "ok";
  }

  #makeObject(method: ObjectMethod, name: string): string {
    const object = this.#kernel[method]?.();
    if (object === undefined) throw new Error(`the kernel has no ${method}()`);
    this.#handles.set(name, { ...UNBOUND, fd: object.fd, object });
    return "ok";
  }

  #info(map: Handle): string {
    const { ret, info } = this.#client.info(map.fd);
    if (info === undefined) return failure(ret);
    return (
      `ok type=${mapTypeName(info.type)} key=${info.keySize} value=${info.valueSize}` +
      ` max=${info.maxEntries} flags=0x${info.mapFlags.toString(16)}` +
      ` extra=${info.mapExtra} name=${info.name || "-"}`
    );
  }

  #batch(
    map: Handle,
    token: Operand,
    count: number,
    elemFlags: string | undefined,
    batchFlags: string | undefined,
  ): BatchLookup {
    return { ...map, token, count, elemFlags: flags(elemFlags), flags: flags(batchFlags) };
  }

  #lookupBatch(op: "lookup_batch" | "lookup_delete_batch", batch: BatchLookup): BatchResult {
    return op === "lookup_batch"
      ? this.#client.lookupBatch(batch)
      : this.#client.lookupAndDeleteBatch(batch);
  }

  #batchText(map: Handle, result: BatchResult): string {
    let text = `${status(result.ret)} count=${result.count}`;
    if (result.token !== null) text += ` token=${toHex(result.token)}`;
    const pairs = hasPairs(result.ret) ? this.#pairs(map, result) : [];
    return pairs.length === 0 ? text : `${text} ${pairs.map(pairText).join(",")}`;
  }

  #writeBatch(
    op: "update_batch" | "delete_batch",
    map: Handle,
    list: string,
    elemFlags: string | undefined,
    batchFlags: string | undefined,
  ): string {
    const elems = list === "-" ? [] : list.split(",").map((elem) => elem.split("="));
    const keys = elems.map(([key = ""]) => this.#operand(key) ?? NO_BYTES);
    const values = elems.map(([, value = ""]) => this.#operand(value) ?? NO_BYTES);
    const result = this.#client[op === "update_batch" ? "updateBatch" : "deleteBatch"]({
      fd: map.fd,
      keys: elems.length === 0 ? null : Buffer.concat(keys),
      values: elems.length === 0 || op === "delete_batch" ? null : Buffer.concat(values),
      count: elems.length,
      elemFlags: flags(elemFlags),
      flags: flags(batchFlags),
    });
    return `${status(result.ret)} count=${result.count}`;
  }

  /** All keys in get_next_key order, or the errno that ended the walk. */
  #walk(map: Handle): Uint8Array[] | number {
    const keys: Uint8Array[] = [];
    for (let key: Operand = null; keys.length < MAX_WALK; keys.push(key)) {
      const { ret, out } = this.#client.nextKey(map.fd, key, map.keySize);
      if (ret < 0) return ret === -uapi.ENOENT ? keys : ret;
      key = out;
    }
    throw new Error("the walk over the keys does not end");
  }

  #dump(map: Handle): string {
    const keys = this.#walk(map);
    if (typeof keys === "number") return failure(keys);
    const pairs = keys.map((key): Pair => {
      const { ret, out } = this.#client.lookup(map.fd, key, map.valueSize);
      return [key, ret < 0 ? `!${errnoName(ret)}` : this.#valueText(map, out)];
    });
    return counted(sorted(pairs).map(pairText));
  }

  #alive(map: Handle): string {
    const keys = this.#walk(map);
    if (typeof keys === "number") return failure(keys);
    const numbers = keys.map((key) => Buffer.from(key.buffer, key.byteOffset, 4).readUInt32LE());
    const text = joinRanges(numbers.toSorted((a, b) => a - b));
    return text === "" ? "ok n=0" : `ok n=${keys.length} ${text}`;
  }

  #batchWalk(
    op: "lookup_batch" | "lookup_delete_batch",
    map: Handle,
    [chunk, elemFlags, batchFlags]: readonly string[],
  ): string {
    const pairs: Pair[] = [];
    let count = Number(chunk);
    let token: Operand = null;
    for (let calls = 0; calls < MAX_WALK; calls++) {
      const result = this.#lookupBatch(op, this.#batch(map, token, count, elemFlags, batchFlags));
      if (hasPairs(result.ret)) pairs.push(...this.#pairs(map, result));
      if (result.ret === -uapi.ENOSPC) count *= 2;
      else if (result.ret === -uapi.ENOENT) return counted(sorted(pairs).map(pairText));
      else if (result.ret < 0) return failure(result.ret);
      else if (result.token === null) return counted(sorted(pairs).map(pairText));
      else token = result.token;
    }
    throw new Error("the batch walk does not end");
  }

  #fill(
    op: "fill" | "unfill",
    map: Handle,
    [from, count, step = "1", fillFlags]: readonly string[],
  ): string {
    const keyBytes = new Uint8Array(Math.max(8, map.keySize));
    const keyView = new DataView(keyBytes.buffer);
    const key = map.keySize === 0 ? null : keyBytes.subarray(0, map.keySize);
    const value = new Uint8Array(map.valueSize);
    const total = Number(count);
    for (let done = 0; done < total; done++) {
      keyView.setBigUint64(0, BigInt(from ?? 0) + BigInt(step) * BigInt(done), true);
      for (let j = 0; j < value.length; j++) {
        value[j] = (keyBytes[j % 4] ?? 0) + Math.floor(j / 4);
      }
      const ret =
        op === "fill"
          ? this.#client.update(map.fd, key, value, flags(fillFlags))
          : this.#client.delete(map.fd, key);
      if (ret < 0) return `${failure(ret)} n=${done}`;
    }
    return `ok n=${total}`;
  }

  #pairs(map: Handle, result: BatchResult): Pair[] {
    return Array.from({ length: result.count }, (_, i): Pair => {
      const value = result.values.subarray(i * map.valueSize, (i + 1) * map.valueSize);
      const key = result.keys.subarray(i * map.keySize, (i + 1) * map.keySize);
      return [key, this.#valueText(map, value)];
    });
  }

  #valueText(map: Handle, value: Uint8Array): string {
    if (
      map.type !== uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS &&
      map.type !== uapi.BPF_MAP_TYPE_HASH_OF_MAPS
    ) {
      return toHex(value);
    }
    const id = Buffer.from(value).readUInt32LE();
    return `@${this.#nameById.get(id) ?? `id:${id}`}`;
  }

  #operand(word: string): Operand {
    if (word === "-") return null;
    if (!word.startsWith("@")) return fromHex(word);
    const fd = new DataView(new ArrayBuffer(4));
    fd.setInt32(0, this.#handle(word.slice(1)).fd, true);
    return new Uint8Array(fd.buffer);
  }

  #handle(name: string): Handle {
    return this.#handles.get(name) ?? UNBOUND;
  }
}

function mapBtf(word: string | undefined, keySize: number, valueSize: number): MapBtf | undefined {
  if (word === undefined) return undefined;
  if (word === "plain") return plainBtf(keySize, valueSize);
  const lock = /^lock@(\d+)$/.exec(word);
  if (lock === null) throw new Error(`not a kind of BTF: ${word}`);
  return lockBtf(keySize, valueSize, Number(lock[1]));
}

function flags(word: string | undefined): bigint {
  return word === undefined ? 0n : BigInt(word);
}

function failure(ret: number): string {
  return `err ${errnoName(ret)}`;
}

function status(ret: number): string {
  return ret < 0 ? failure(ret) : "ok";
}

/** A batch lookup that ends the map says -ENOENT, and its pairs are valid. */
function hasPairs(ret: number): boolean {
  return ret >= 0 || ret === -uapi.ENOENT;
}

function sorted(pairs: Pair[]): Pair[] {
  return pairs.toSorted(([a], [b]) => compareBytes(a, b));
}

function pairText([key, value]: Pair): string {
  return `${toHex(key)}=${value}`;
}

function counted(items: readonly string[]): string {
  return items.length === 0 ? "ok n=0" : `ok n=${items.length} ${items.join(",")}`;
}

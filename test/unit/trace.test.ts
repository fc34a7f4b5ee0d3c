// The trace replayer and the syscall client themselves, on a kernel that only takes notes.

import { describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { ATTR_END, tokenSize, userValueSize } from "../support/attr.js";
import { BpfClient } from "../support/bpf.js";
import { BtfBuilder, lockBtf, plainBtf } from "../support/btf.js";
import type { HostObject, Kernel } from "../support/kernel.js";
import { replayTrace } from "../support/replay.js";
import {
  compareBytes,
  errnoName,
  fromHex,
  goldenTraceNames,
  joinRanges,
  mapTypeNumber,
  parseTrace,
  readGoldenTrace,
  toHex,
} from "../support/trace.js";
import { TraceMachine } from "../support/trace-machine.js";

/** A call as the kernel saw it. */
interface Call {
  readonly cmd: number;
  readonly attr: Uint8Array;
}

/** Answers every command with `answer` and remembers the attrs. */
class NotingKernel implements Kernel {
  readonly cpus = 2;
  cpu = 0;
  readonly memory = { buffer: new ArrayBuffer(1 << 20) };
  readonly calls: Call[] = [];
  readonly live = new Map<number, number>();
  #break = 64;
  #lastFd = 2;

  alloc(byteLength: number): number {
    const ptr = this.#break;
    this.#break += Math.ceil(byteLength / 8) * 8;
    this.live.set(ptr, byteLength);
    return this.#break <= this.memory.buffer.byteLength ? ptr : 0;
  }

  free(ptr: number): void {
    if (!this.live.delete(ptr)) throw new Error(`${ptr} is not allocated`);
  }

  bpf(cmd: number, attr: Uint8Array | number, size = 0): number {
    const bytes = typeof attr === "number" ? new Uint8Array(this.memory.buffer, attr, size) : attr;
    this.calls.push({ cmd, attr: bytes.slice() });
    if (cmd === uapi.BPF_MAP_CREATE || cmd === uapi.BPF_BTF_LOAD) return ++this.#lastFd;
    // Both ends of the batch walks: no room at first, the end of the map afterwards.
    const isBatch = cmd >= uapi.BPF_MAP_LOOKUP_BATCH && cmd <= uapi.BPF_MAP_DELETE_BATCH;
    if (isBatch) new DataView(bytes.buffer, bytes.byteOffset).setUint32(32, 0, true);
    return -uapi.ENOENT;
  }

  close(): number {
    return 0;
  }

  socket(): HostObject {
    return { fd: ++this.#lastFd, close: () => undefined };
  }

  cgroup(): HostObject {
    return this.socket();
  }

  task(): HostObject {
    return this.socket();
  }

  inode(): HostObject {
    return this.socket();
  }

  /** The bytes of the last call's attr as hex words, eight digits per four bytes. */
  lastAttr(): string {
    const hex = toHex(this.calls.at(-1)?.attr ?? new Uint8Array(0));
    return hex.replaceAll(/(.{8})(?=.)/g, "$1 ");
  }

  /** `size` bytes at the address that the last attr holds at `offset`. */
  pointedAt(offset: number, size: number): Uint8Array {
    const attr = this.calls.at(-1)?.attr ?? new Uint8Array(offset + 8);
    const ptr = new DataView(attr.buffer).getUint32(offset, true);
    return new Uint8Array(this.memory.buffer, ptr, size);
  }
}

describe("parseTrace", () => {
  it("reads header, line numbers, words and answers", () => {
    const trace = parseTrace("t", "# bpf map trace 1\n# cpus: 3\n> count m\n< ok n=0\n");
    expect(trace.cpus).toBe(3);
    expect(trace.steps).toEqual([{ line: 3, words: ["count", "m"], expected: "ok n=0" }]);
  });

  it("refuses text that is not a trace", () => {
    expect(() => parseTrace("t", "> count m\n> count m\n")).toThrow("t:2: two operations in a row");
    expect(() => parseTrace("t", "< ok\n")).toThrow("t:1: an answer to nothing");
    expect(() => parseTrace("t", "> count m\n")).toThrow("t: the last operation has no answer");
    expect(() => parseTrace("t", "hello\n")).toThrow("t:1: not a line of a trace");
  });

  it("finds as many operations in each golden trace as its header promises", () => {
    expect(goldenTraceNames().length).toBeGreaterThan(0);
    for (const name of goldenTraceNames()) {
      const trace = readGoldenTrace(name);
      expect(trace.steps.length, name).toBe(Number(trace.header.get("ops")));
    }
  });
});

describe("words of the traces", () => {
  it("turns hex into bytes and back", () => {
    expect(fromHex("00ff1a")).toEqual(new Uint8Array([0, 255, 26]));
    expect(toHex(fromHex("00ff1a"))).toBe("00ff1a");
    expect(() => fromHex("0")).toThrow("not hex");
  });

  it("names types and errnos with the kernel's words", () => {
    expect(mapTypeNumber("lru_percpu_hash")).toBe(uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH);
    expect(() => mapTypeNumber("tree")).toThrow("no map type is called tree");
    expect(errnoName(-524)).toBe("ENOTSUPP");
    expect(errnoName(-95)).toBe("EOPNOTSUPP");
    expect(errnoName(-4000)).toBe("-4000");
  });

  it("orders bytes like memcmp and joins ranges", () => {
    expect(compareBytes(fromHex("01ff"), fromHex("0200"))).toBeLessThan(0);
    expect(compareBytes(fromHex("01"), fromHex("0100"))).toBeLessThan(0);
    expect(joinRanges([2, 3, 4, 7, 9, 10])).toBe("2-4,7,9-10");
    expect(joinRanges([])).toBe("");
  });

  it("knows how long values and tokens are on the syscall side", () => {
    expect(userValueSize(uapi.BPF_MAP_TYPE_HASH, 5, 2)).toBe(5);
    expect(userValueSize(uapi.BPF_MAP_TYPE_PERCPU_ARRAY, 5, 2)).toBe(16);
    expect(userValueSize(uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 2)).toBe(4);
    expect(tokenSize(uapi.BPF_MAP_TYPE_LRU_HASH, 16)).toBe(4);
    expect(tokenSize(uapi.BPF_MAP_TYPE_LPM_TRIE, 20)).toBe(20);
  });
});

describe("BpfClient", () => {
  it("lays out the attr of a creation", () => {
    const kernel = new NotingKernel();
    const fd = new BpfClient(kernel).create({
      type: uapi.BPF_MAP_TYPE_BLOOM_FILTER,
      keySize: 0x11,
      valueSize: 0x22,
      maxEntries: 0xfffffffe,
      flags: uapi.BPF_F_NUMA_NODE,
      innerMapFd: -1,
      numaNode: 3,
      name: "abc",
      ifindex: 4,
      btfFd: 5,
      btfKeyTypeId: 6,
      btfValueTypeId: 7,
      btfVmlinuxValueTypeId: 8,
      mapExtra: 0x1122334455667788n,
    });
    expect(fd).toBe(3);
    expect(kernel.lastAttr()).toBe(
      "1e000000 11000000 22000000 feffffff 04000000 ffffffff 03000000 61626300 00000000 " +
        "00000000 00000000 04000000 05000000 06000000 07000000 08000000 88776655 44332211 " +
        "00000000 00000000 00000000 00000000 00000000",
    );
  });

  it("lays out the attrs of the element commands, flags in 64 bits", () => {
    const kernel = new NotingKernel();
    const client = new BpfClient(kernel);
    const key = fromHex("01020304");
    client.update(9, key, fromHex("aabb"), 1n << 63n);
    expect(kernel.lastAttr()).toMatch(
      /^09000000 00000000 (.{8}) 00000000 (.{8}) 00000000 00000000 00000080$/,
    );
    expect(toHex(kernel.pointedAt(8, 4))).toBe("01020304");
    expect(toHex(kernel.pointedAt(16, 2))).toBe("aabb");

    client.lookup(9, null, 8, 2 ** 32 + 1);
    expect(kernel.lastAttr()).toMatch(/^09000000 (0{8} ){3}.{8} 00000000 01000000 01000000$/);
    client.delete(9, null);
    expect(kernel.lastAttr()).toBe("09000000 00000000 00000000 00000000");
    client.delete(9, null, 1);
    expect(kernel.lastAttr()).toMatch(/^09000000 (0{8} ){5}01000000 00000000$/);
    expect(client.nextKey(9, null, 4)).toEqual({ ret: -uapi.ENOENT, out: new Uint8Array(0) });
    expect(kernel.lastAttr()).toMatch(/^09000000 (0{8} ){3}.{8} 00000000$/);
  });

  it("lays out the attr of the batches and reports an untouched token as none", () => {
    const kernel = new NotingKernel();
    const result = new BpfClient(kernel).lookupBatch({
      fd: 6,
      keySize: 4,
      valueSize: 8,
      tokenSize: 4,
      token: null,
      count: 3,
      elemFlags: 4,
      flags: 5,
    });
    expect(kernel.lastAttr()).toMatch(
      /^(0{8} ){2}(.{8} 0{8} ){3}03000000 06000000 04000000 00000000 05000000 00000000$/,
    );
    expect(result).toMatchObject({ ret: -uapi.ENOENT, count: 0, token: null });
  });

  it("passes as size the end of the command's last field", () => {
    const kernel = new NotingKernel();
    const client = new BpfClient(kernel);
    client.freeze(3);
    client.info(3);
    client.getNextId(3);
    client.getFdById(3);
    client.pin(3, "/a");
    client.get(null);
    client.btfLoad(new Uint8Array(4));
    for (const { cmd, attr } of kernel.calls) expect(attr.length).toBe(ATTR_END[cmd]);
    expect(kernel.calls.map(({ cmd }) => cmd)).toEqual([22, 15, 12, 14, 6, 7, 18]);
  });

  it("makes the same calls with the attr in memory, and gives its buffers back", () => {
    const answers = [false, true].map((attrInMemory) => {
      const kernel = new NotingKernel();
      const client = new BpfClient(kernel, { attrInMemory });
      const id = client.getNextId(7).id;
      client.freeze(12);
      client.release();
      expect(kernel.live.size).toBe(0);
      return { id, attrs: kernel.calls.map(({ attr }) => toHex(attr)) };
    });
    expect(answers[1]).toEqual(answers[0]);
  });
});

describe("BTF blobs", () => {
  it("follow the layout of the format", () => {
    const btf = new BtfBuilder();
    const int = btf.int("int", 4, 1);
    btf.struct("s", 8, [{ name: "int", type: int, offset: 4 }]);
    expect(toHex(btf.build())).toBe(
      "9feb010018000000000000002800000028000000" +
        "07000000" + // strings: "", "int", "s"
        "01000000000000010400000020000001" +
        "05000000010000040800000001000000010000002000000000696e74007300",
    );
  });

  it("describe keys and values of the traces' maps", () => {
    expect(plainBtf(4, 8)).toMatchObject({ keyTypeId: 1, valueTypeId: 3 });
    expect(plainBtf(8, 8)).toMatchObject({ keyTypeId: 3, valueTypeId: 4 });
    expect(plainBtf(0, 8).keyTypeId).toBe(0);
    const text = Buffer.from(lockBtf(4, 16, 4).blob).toString("latin1");
    expect(text).toContain("\0bpf_spin_lock\0");
  });
});

describe("replayTrace", () => {
  const trace = parseTrace(
    "t",
    [
      "> create q type=queue key=0 value=4 max=2\n< ok",
      "> update q - 01020304\n< ok",
      "> create h type=hash key=4 value=4 max=2\n< ok",
      "> update h 01000000 @q\n< ok",
      "> count h\n< ok n=1",
      "> close q\n< ok",
      "> create q type=queue key=9 value=4 max=2\n< err EINVAL",
      "> lookup q -\n< err EBADF",
    ].join("\n"),
  );

  it("counts what it compared and reports the first differences with context", () => {
    const report = replayTrace(new NotingKernel(), trace, () => true);
    expect(report).toMatchObject({ ops: 8, compared: 8, skipped: 0, mismatchCount: 5 });
    expect(report.mismatches[0]).toEqual({
      line: 3,
      text:
        "  1: create q type=queue key=0 value=4 max=2 -> ok\n  3: update q - 01020304\n" +
        "    recorded ok\n    actual   err ENOENT",
    });
  });

  it("skips operations on a missing type and what follows from them", () => {
    const report = replayTrace(
      new NotingKernel(),
      trace,
      (type) => type !== uapi.BPF_MAP_TYPE_QUEUE,
    );
    // Left: the creation of h, and the lookup of the handle that is closed by then.
    expect(report).toMatchObject({ compared: 2, skipped: 6, mismatchCount: 1 });
    expect([...report.skippedByType]).toEqual([["queue", 6]]);
  });

  it("recognises every operation of every golden trace", () => {
    for (const name of goldenTraceNames()) {
      const kernel = new NotingKernel();
      const { steps } = readGoldenTrace(name);
      const machine = new TraceMachine(kernel);
      for (const { words } of steps) machine.run(words);
      const creates = kernel.calls.filter(({ cmd }) => cmd === uapi.BPF_MAP_CREATE);
      expect(creates.length).toBe(steps.filter(({ words }) => words[0] === "create").length);
    }
  });
});

// The reader of object files: the example program as compiled by clang, linked and run.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { compileForBpf } from "../support/vm/clang.js";
import { ElfError, ElfObject } from "../support/vm/elf.js";
import { relocate } from "../support/vm/relocate.js";
import { JsVm, type HelperCall } from "../support/vm/vm.js";

const OBJECT = fileURLToPath(new URL("fixtures/update-stats.o", import.meta.url));
const SOURCE = fileURLToPath(new URL("fixtures/update-stats.c", import.meta.url));

const CTX = 64;
const PACKET = 128;
const STACK = 4096;
const VALUES = 16384;
const XDP_PASS = 2n;

/** Maps of u32 keys and 16-byte values, just enough for the example; handle = fd. */
class TinyMaps {
  readonly memory = new WebAssembly.Memory({ initial: 1 });
  readonly addresses = new Map<string, number>();

  get view(): DataView {
    return new DataView(this.memory.buffer);
  }

  readonly helper: HelperCall = (id, map, key, value) => {
    const name = `${map}/${this.view.getUint32(Number(key), true)}`;
    if (id === 1) return BigInt(this.addresses.get(name) ?? 0);
    const address = VALUES + this.addresses.size * 16;
    this.addresses.set(name, address);
    new Uint8Array(this.memory.buffer).copyWithin(address, Number(value), Number(value) + 16);
    return 0n;
  };

  pair(name: string): bigint[] | undefined {
    const address = this.addresses.get(name);
    if (address === undefined) return undefined;
    return [this.view.getBigUint64(address, true), this.view.getBigUint64(address + 8, true)];
  }
}

function checkObject(file: Uint8Array): void {
  const object = new ElfObject(file);
  expect(object.programs).toEqual(["xdp"]);
  expect(object.maps).toEqual(["packet_stats", "other_packets"]);

  const maps = new TinyMaps();
  // The array's one element is there from the start.
  maps.addresses.set("5/0", VALUES);
  const insns = relocate(object.link("xdp", { packet_stats: 4, other_packets: 5 }), {
    mapHandle: (fd) => fd,
    mapValueAddr: () => 0,
  });
  const vm = new JsVm({ memory: maps.memory, stack: STACK, helpers: maps.helper });
  vm.load(insns);
  const send = (protocol: number, source: number, length: number): bigint => {
    maps.view.setUint16(PACKET + 12, protocol);
    maps.view.setUint32(PACKET + 26, source, true);
    maps.view.setUint32(CTX, PACKET, true);
    maps.view.setUint32(CTX + 4, PACKET + length, true);
    return vm.exec(CTX, 8);
  };
  expect(send(0x0800, 0x0a000001, 100)).toBe(XDP_PASS);
  expect(send(0x0800, 0x0a000002, 60)).toBe(XDP_PASS);
  expect(send(0x0800, 0x0a000001, 1500)).toBe(XDP_PASS);
  expect(send(0x86dd, 0x0a000001, 1500)).toBe(XDP_PASS);
  expect(send(0x0800, 0x0a000001, 33)).toBe(XDP_PASS);
  expect(maps.pair("4/167772161")).toEqual([2n, 1600n]);
  expect(maps.pair("4/167772162")).toEqual([1n, 60n]);
  expect(maps.pair("5/0")).toEqual([2n, 0n]);
}

test("the example's object is linked and counts", () => {
  checkObject(readFileSync(OBJECT));
});

test("the same from its source by clang", ({ skip }) => {
  const object = compileForBpf(SOURCE);
  if (typeof object === "string") {
    console.log(`skipped, the example from its source: ${object}`);
    skip(object);
  } else {
    checkObject(object);
  }
});

test("what is no object, or cut off, is refused", () => {
  const file = new Uint8Array(readFileSync(OBJECT));
  expect(() => new ElfObject(new Uint8Array(10))).toThrow(ElfError);
  expect(() => new ElfObject(new Uint8Array(100))).toThrow("no ELF file");
  expect(() => new ElfObject(file.slice(0, -1))).toThrow("cut off");
  const other = file.slice();
  other[18] = 62;
  expect(() => new ElfObject(other)).toThrow("no eBPF object");
});

test("unknown sections and maps without an fd are errors", () => {
  const object = new ElfObject(readFileSync(OBJECT));
  expect(() => object.link("tc", {})).toThrow("no section tc");
  expect(() => object.link("xdp", {})).toThrow("no fd for map packet_stats");
});

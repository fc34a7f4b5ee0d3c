// Programs as people write them (programs/*.c, compiled by clang): the kernel runs them by
// BPF_PROG_TEST_RUN, the machine of the tests runs them on this library, both on the same packets.
// What each program answers and what is in its maps must be equal, to the byte.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { createRuntime } from "../../ts/index.js";
import { lockBtf } from "../support/btf.js";
import { compileForBpf } from "../support/vm/clang.js";
import { ElfObject } from "../support/vm/elf.js";
import { samplePackets } from "../support/vm/packets.js";
import { ATTR_END, CMD, TYPE } from "./abi.js";
import { Comparison } from "./compare.js";
import { buildDriver, KernelDriver, possibleCpus } from "./driver.js";
import { LibrarySide } from "./library.js";
import { canRunPrograms } from "./probe.js";
import { Random } from "./random.js";
import { ARRAY_ROW } from "./types.js";
import { BUF, type OpStream, PATCH } from "./wire.js";

/** Packets that one record hands to a program, and records of a session. */
const PACKETS = 150;
const ROUNDS = 8;
const SESSIONS = process.env["MODE"] === "full" ? 20 : 1;
/** The kernel hands no shorter packet to a program: an Ethernet and an IPv6 header. */
const PACKET_MIN = 54;
/** Descriptors of the BTF of maps with a lock, and of further inner maps. */
const BTF_SLOT = 40;
const INNER_SLOT = 20;

interface MapDefinition {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Slot of the inner map + 1. */
  readonly inner: number;
  readonly lock: number;
}

const sample = samplePackets()
  .map(({ data }) => data)
  .filter((data) => data.length >= PACKET_MIN);

/** A packet of few sources with few ports, so that programs meet them again; some are something else. */
function madeUp(random: Random): Uint8Array {
  const packet = new Uint8Array(random.between(PACKET_MIN, 400));
  const view = new DataView(packet.buffer);
  const host = (): number => 0x0a000000 + random.below(random.chance(0.7) ? 24 : 900);
  view.setUint16(12, random.chance(0.04) ? 0x86dd : 0x0800);
  packet[14] = 0x45;
  packet[23] = random.pick([6, 6, 6, 17, 17, 1]);
  view.setUint32(26, host());
  view.setUint32(30, host());
  view.setUint16(34, random.pick([80, 443, 53, random.below(2000)]));
  view.setUint16(36, random.pick([80, 443, 53, random.below(2000)]));
  packet[47] = random.pick([0x10, 0x10, 0x02, 0x11, 0x04]);
  return packet;
}

/** Writes one program's sessions. */
class ProgramSession {
  readonly random: Random;
  readonly ops: OpStream;
  readonly maps: readonly MapDefinition[];
  readonly #cpus: number;

  constructor(seed: number, ops: OpStream, maps: readonly MapDefinition[], cpus: number) {
    this.random = new Random(seed);
    this.ops = ops;
    this.maps = maps;
    this.#cpus = cpus;
  }

  slot(name: string): number {
    return this.maps.findIndex((map) => map.name === name);
  }

  create(map: MapDefinition, slot: number): void {
    const { ops } = this;
    if (map.lock > 0) {
      const btf = lockBtf(map.keySize, map.valueSize, map.lock - 1);
      ops.bpf(CMD.BTF_LOAD, ATTR_END.btfLoad);
      ops.attr32(16, btf.blob.length);
      ops.buffer(0, BUF.IN, btf.blob.length, btf.blob);
      ops.result(BTF_SLOT + slot);
      ops.endBpf();
    }
    ops.bpf(CMD.MAP_CREATE, ATTR_END.create);
    const { type, keySize, valueSize, maxEntries, flags } = map;
    for (const [i, word] of [type, keySize, valueSize, maxEntries, flags].entries()) {
      ops.attr32(4 * i, word);
    }
    if (map.lock > 0) {
      const btf = lockBtf(keySize, valueSize, map.lock - 1);
      ops.attr32(52, btf.keyTypeId);
      ops.attr32(56, btf.valueTypeId);
      ops.patch(0, PATCH.FD, 48, BTF_SLOT + slot);
    }
    if (map.inner > 0) ops.patch(0, PATCH.FD, 20, map.inner - 1);
    ops.result(slot);
    ops.endBpf();
  }

  update(slot: number, key: Uint8Array | null, value: Uint8Array): void {
    this.ops.bpf(CMD.MAP_UPDATE_ELEM, ATTR_END.elem);
    if (key) this.ops.buffer(8, BUF.IN, key.length, key);
    this.ops.buffer(16, BUF.IN, value.length, value);
    this.ops.patch(0, PATCH.FD, 0, slot);
    this.ops.endBpf();
  }

  /** Puts the map in the slot `inner` into a map of maps. */
  updateMap(slot: number, key: Uint8Array, inner: number): void {
    this.ops.bpf(CMD.MAP_UPDATE_ELEM, ATTR_END.elem);
    this.ops.buffer(8, BUF.IN, key.length, key);
    this.ops.buffer(16, BUF.IN, 4);
    this.ops.patch(2, PATCH.FD, 0, inner);
    this.ops.patch(0, PATCH.FD, 0, slot);
    this.ops.endBpf();
  }

  cpu(): void {
    this.ops.cpu(this.random.below(Math.min(2, this.#cpus)));
  }

  packets(): Uint8Array[] {
    const { random } = this;
    const start = random.below(Math.max(1, sample.length - PACKETS));
    if (random.chance(0.5)) return sample.slice(start, start + PACKETS);
    return Array.from({ length: PACKETS }, () => madeUp(random));
  }

  /** The whole contents of a map are an answer. */
  dump(map: MapDefinition, slot: number): void {
    const { ops } = this;
    const { type, keySize, valueSize, maxEntries } = map;
    if (type === TYPE.RINGBUF) return ops.consume(slot, maxEntries, 1000);
    if (type === TYPE.ARRAY_OF_MAPS || type === TYPE.HASH_OF_MAPS || type === TYPE.BLOOM_FILTER) {
      return;
    }
    const isPercpu = [TYPE.PERCPU_ARRAY, TYPE.PERCPU_HASH, TYPE.LRU_PERCPU_HASH].includes(
      type as never,
    );
    const bytes = isPercpu ? ((valueSize + 7) & ~7) * this.#cpus : valueSize;
    if (keySize === 0) {
      for (let i = 0; i <= maxEntries; i++) {
        ops.bpf(CMD.MAP_LOOKUP_AND_DELETE_ELEM, ATTR_END.elem);
        ops.buffer(16, BUF.OUT, bytes);
        ops.patch(0, PATCH.FD, 0, slot);
        ops.endBpf();
      }
      return;
    }
    ops.walk(slot, keySize, maxEntries + 1);
    ops.bpf(CMD.MAP_LOOKUP_BATCH, ATTR_END.batch);
    // An insert by a program leaves the padding of other CPUs' values as it was; here values have none.
    ops.attr32(32, maxEntries);
    ops.changed(32, 4);
    ops.buffer(8, BUF.OUT, Math.max(4, keySize));
    ops.buffer(16, BUF.OUT, keySize * maxEntries);
    ops.buffer(24, BUF.OUT, bytes * maxEntries);
    ops.patch(0, PATCH.FD, 36, slot);
    ops.endBpf();
  }
}

/** What user space does before a program runs, and between two records of packets. */
interface UserSpace {
  prepare?(session: ProgramSession): void;
  between?(session: ProgramSession): void;
}

const u32s = (...words: readonly number[]): Uint8Array =>
  new Uint8Array(Uint32Array.from(words).buffer);

function addRule(session: ProgramSession): void {
  const { random } = session;
  const length = random.pick([0, 8, 20, 24, 27, 28, 30, 32]);
  const key = u32s(length, 0);
  new DataView(key.buffer).setUint32(4, 0x0a000000 + random.below(900));
  session.update(session.slot("rules"), key, u32s(random.below(256), random.below(4)));
}

/** Further maps as the inner one, and their slots. */
function innerTables({ maps }: ProgramSession): (readonly [MapDefinition, number])[] {
  const tables = maps.filter(({ name }) => name === "table");
  return tables.flatMap((table) => [0, 1, 2].map((i) => [table, INNER_SLOT + i] as const));
}

function changeTables(session: ProgramSession): void {
  const { random } = session;
  const inner = INNER_SLOT + random.below(3);
  if (random.chance(0.5)) session.updateMap(session.slot("tables"), u32s(random.below(4)), inner);
  else {
    const protocol = Uint8Array.of(random.pick([6, 17, 1]));
    session.updateMap(session.slot("by_protocol"), protocol, inner);
  }
}

const PROGRAMS: Readonly<Record<string, UserSpace>> = {
  counters: {},
  token_bucket: {},
  conntrack: {},
  acl: {
    prepare: (session) => {
      for (let i = 0; i < 60; i++) addRule(session);
    },
    between: addRule,
  },
  histogram: {},
  events: {
    between: (session) => {
      const { maxEntries } = session.maps[session.slot("ring")] ?? { maxEntries: 0 };
      session.ops.consume(session.slot("ring"), maxEntries, session.random.pick([0, 5, 200]));
    },
  },
  config: {
    prepare: (session) => {
      for (const [table, slot] of innerTables(session)) session.create(table, slot);
      changeTables(session);
    },
    between: changeTables,
  },
  states: {},
  cleanup: {},
  pools: {
    prepare: (session) => {
      for (let port = 1000; port < 1040; port += 2) {
        session.update(session.slot("free_ports"), null, Uint8Array.of(port & 255, port >> 8));
      }
    },
  },
};

function definitions(object: ElfObject): MapDefinition[] {
  return object.maps.map((name) => {
    const bytes = object.mapData(name);
    const words = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 28));
    const [type = 0, keySize = 0, valueSize = 0, maxEntries = 0, flags = 0, inner = 0, lock = 0] =
      words;
    return { name, type, keySize, valueSize, maxEntries, flags, inner, lock };
  });
}

/** Replaces `ops` by session number `seed` of a program. */
function writeSession(
  seed: number,
  ops: OpStream,
  object: ElfObject,
  user: UserSpace,
  cpus: number,
): void {
  const maps = definitions(object);
  const session = new ProgramSession(seed, ops, maps, cpus);
  ops.clear();
  for (const [slot, map] of maps.entries()) session.create(map, slot);
  user.prepare?.(session);
  const slots = Object.fromEntries(maps.map(({ name }, slot) => [name, slot]));
  const insns = object.link("tc", slots);
  for (let i = 0; i < ROUNDS; i++) {
    session.cpu();
    ops.run(insns, object.functionStarts("tc"), new Uint8Array(0), 0, "", session.packets());
    user.between?.(session);
  }
  for (const [slot, map] of maps.entries()) session.dump(map, slot);
  for (const [table, slot] of innerTables(session)) session.dump(table, slot);
  ops.reset();
}

const directory = mkdtempSync(join(tmpdir(), "bpfmaps-programs-"));
const driver = buildDriver(directory);
if (typeof driver === "string") console.log(`programs against the kernel skipped: ${driver}`);
afterAll(() => rmSync(directory, { recursive: true }));

/** The compiled program, or why there is none. */
function compiled(name: string): ElfObject | string {
  const source = fileURLToPath(new URL(`programs/${name}.c`, import.meta.url));
  const file = compileForBpf(source);
  return typeof file === "string" ? file : new ElfObject(file);
}

test.for(Object.entries(PROGRAMS))("%s", async ([name, user], { skip }) => {
  if (typeof driver === "string") skip(driver);
  const object = compiled(name);
  if (typeof object === "string") skip(object);
  if (typeof driver === "string" || typeof object === "string") return;
  using kernel = new KernelDriver(driver.path);
  const cpus = possibleCpus();
  if (!(await canRunPrograms(kernel, ARRAY_ROW, cpus))) skip("programs cannot be run here");
  using rt = await createRuntime({ cpus, seed: 1 });
  const comparison = new Comparison(kernel, new LibrarySide(rt, false), {
    session: (seed, ops) => {
      writeSession(seed, ops, object, user, cpus);
      return name;
    },
  });
  for (let seed = 1; seed <= SESSIONS; seed++) await comparison.session(seed);
  for (const { text } of comparison.differences.values()) console.log(text);
  expect(comparison.differences.size).toBe(0);
});

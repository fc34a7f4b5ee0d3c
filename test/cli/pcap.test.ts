// Reading captures: packets of all link types, pcap and pcapng, and files that are none or end too early.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { readCapture } from "../../ts/cli/capture.js";
import { formatFlow } from "../../ts/cli/format.js";
import { decodeFrame, decoded, flowTupleSize } from "../../ts/cli/packet.js";
import { CaptureError, PcapngReader, PcapReader } from "../../ts/cli/pcap.js";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");
const concat = (...parts: Uint8Array[]): Buffer => Buffer.concat(parts);
const ignorePacket = (): void => undefined;

// 192.0.2.7:4660 > 198.51.100.9:80, without a link header.
const ipv4Header = "4500 0028 0001 0000 4006 0000 c0000207 c6336409";
const ipv4Tcp = hex(`${ipv4Header} 1234 0050 00000000 00000000 5000 0000 0000 0000`);
const ipv4Flow = "192.0.2.7:4660 > 198.51.100.9:80 tcp";
// [2001:db8::7]:53 > [2001:db8::9]:5353 udp
const ipv6Addresses = "20010db8000000000000000000000007 20010db8000000000000000000000009";
const ipv6Udp = hex(`6000 0000 0008 1140 ${ipv6Addresses} 0035 14e9 0008 0000`);
const ipv6Flow = "[2001:db8::7]:53 > [2001:db8::9]:5353 udp";
const macs = "020000000001 020000000002";

/** The flow of one frame as text, or why there is none. */
function flowOf(linkType: number, frame: Uint8Array): string {
  const tuple = new Uint8Array(flowTupleSize);
  const result = decodeFrame(linkType, frame, 0, frame.length, tuple, 0);
  if (result === decoded.ip) return formatFlow(tuple);
  return Object.entries(decoded).find(([, value]) => value === result)![0];
}

interface PcapOptions {
  little?: boolean;
  nanoseconds?: boolean;
  linkType?: number;
}

function pcap(frames: readonly Uint8Array[], options: PcapOptions = {}): Buffer {
  const { little = true, nanoseconds = false, linkType = 101 } = options;
  const header = new DataView(new ArrayBuffer(24));
  header.setUint32(0, nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, little);
  header.setUint16(4, 2, little);
  header.setUint16(6, 4, little);
  header.setUint32(16, 65535, little);
  header.setUint32(20, linkType, little);
  const parts: Uint8Array[] = [new Uint8Array(header.buffer)];
  for (const frame of frames) {
    const record = new DataView(new ArrayBuffer(16));
    record.setUint32(8, frame.length, little);
    record.setUint32(12, frame.length + 1000, little);
    parts.push(new Uint8Array(record.buffer), frame);
  }
  return concat(...parts);
}

function pcapngBlock(little: boolean, type: number, body: Uint8Array): Uint8Array {
  const padded = concat(body, new Uint8Array(-body.length & 3));
  const view = new DataView(new ArrayBuffer(8 + padded.length + 4));
  view.setUint32(0, type, little);
  view.setUint32(4, view.byteLength, little);
  view.setUint32(view.byteLength - 4, view.byteLength, little);
  const block = new Uint8Array(view.buffer);
  block.set(padded, 8);
  return block;
}

/** 16- and 32-bit numbers in the given byte order; a number below 0 is a 16-bit one, negated. */
function words(little: boolean, ...values: number[]): Uint8Array {
  const parts = values.map((value) => {
    const view = new DataView(new ArrayBuffer(value < 0 ? 2 : 4));
    if (value < 0) view.setUint16(0, -value, little);
    else view.setUint32(0, value, little);
    return new Uint8Array(view.buffer);
  });
  return concat(...parts);
}

function pcapngSection(little: boolean, linkType: number, frame: Uint8Array): Uint8Array {
  return concat(
    pcapngBlock(little, 0x0a0d0d0a, words(little, 0x1a2b3c4d, -1, 0, 0xffffffff, 0xffffffff)),
    pcapngBlock(little, 5, words(little, 1, 2, 3)), // interface statistics: passed over
    pcapngBlock(little, 1, words(little, linkType * (little ? 1 : 65536), 0)),
    pcapngBlock(
      little,
      6,
      concat(words(little, 0, 1, 2, frame.length, frame.length + 1000), frame),
    ),
    pcapngBlock(little, 3, concat(words(little, frame.length), frame)),
  );
}

interface Seen {
  flow: string;
  wireLength: number;
}

function collect(seen: Seen[]): ConstructorParameters<typeof PcapReader>[0] {
  return (data, start, end, wireLength, linkType) => {
    seen.push({ flow: flowOf(linkType, data.subarray(start, end)), wireLength });
  };
}

/** Pushes `file` in pieces of `step` bytes. */
function readAll(
  Reader: typeof PcapReader | typeof PcapngReader,
  file: Uint8Array,
  step = file.length,
): Seen[] {
  const seen: Seen[] = [];
  const reader = new Reader(collect(seen));
  for (let at = 0; at < file.length; at += step) reader.push(file.subarray(at, at + step));
  reader.end();
  return seen;
}

describe("decodeFrame", () => {
  it("understands raw IP under each of its five link types", () => {
    for (const linkType of [12, 14, 101, 228]) expect(flowOf(linkType, ipv4Tcp)).toBe(ipv4Flow);
    for (const linkType of [12, 14, 101, 229]) expect(flowOf(linkType, ipv6Udp)).toBe(ipv6Flow);
  });

  it("understands Ethernet", () => {
    expect(flowOf(1, concat(hex(`${macs} 0800`), ipv4Tcp))).toBe(ipv4Flow);
    expect(flowOf(1, concat(hex(`${macs} 86dd`), ipv6Udp))).toBe(ipv6Flow);
  });

  it("steps over VLAN tags, one or stacked", () => {
    expect(flowOf(1, concat(hex(`${macs} 8100 0007 0800`), ipv4Tcp))).toBe(ipv4Flow);
    expect(flowOf(1, concat(hex(`${macs} 88a8 0064 8100 0007 86dd`), ipv6Udp))).toBe(ipv6Flow);
    expect(flowOf(1, concat(hex(`${macs} 9100 0001 8100 0002 8100 0003 0800`), ipv4Tcp))).toBe(
      ipv4Flow,
    );
    expect(flowOf(1, hex(`${macs} 8100 00`))).toBe("tooShort");
  });

  it("understands Linux cooked captures of both versions", () => {
    const sll = hex("0000 0001 0006 0200000000010000 0800");
    expect(flowOf(113, concat(sll, ipv4Tcp))).toBe(ipv4Flow);
    const sll2 = hex("86dd 0000 00000002 0001 00 06 0200000000010000");
    expect(flowOf(276, concat(sll2, ipv6Udp))).toBe(ipv6Flow);
  });

  it("understands BSD loopback in both byte orders and every system's AF_INET6", () => {
    expect(flowOf(0, concat(hex("02000000"), ipv4Tcp))).toBe(ipv4Flow);
    expect(flowOf(0, concat(hex("00000002"), ipv4Tcp))).toBe(ipv4Flow);
    for (const family of ["18000000", "1c000000", "1e000000", "0000001e"]) {
      expect(flowOf(0, concat(hex(family), ipv6Udp))).toBe(ipv6Flow);
    }
    expect(flowOf(108, concat(hex("00000018"), ipv6Udp))).toBe(ipv6Flow);
    expect(flowOf(0, concat(hex("07000000"), ipv4Tcp))).toBe("notIp");
  });

  it("tells other protocols, other link types and cut headers apart", () => {
    expect(flowOf(1, hex(`${macs} 0806 0001 0800`))).toBe("notIp");
    expect(flowOf(101, hex("5500"))).toBe("notIp");
    expect(flowOf(105, ipv4Tcp)).toBe("unknownLink");
    expect(flowOf(1, hex("0200"))).toBe("tooShort");
    expect(flowOf(101, ipv4Tcp.subarray(0, 19))).toBe("tooShort");
    expect(flowOf(101, ipv6Udp.subarray(0, 39))).toBe("tooShort");
    expect(flowOf(101, concat(hex("44"), ipv4Tcp.subarray(1)))).toBe("tooShort");
    expect(flowOf(101, new Uint8Array(0))).toBe("tooShort");
  });

  it("finds the ports behind IPv4 options", () => {
    const withOptions = hex(
      "4700 0030 0001 0000 4011 0000 c0000207 c6336409 94040000 01010101 0035 1234",
    );
    expect(flowOf(101, withOptions)).toBe("192.0.2.7:53 > 198.51.100.9:4660 udp");
  });

  it("leaves the ports out where they were not captured or do not exist", () => {
    expect(flowOf(101, ipv4Tcp.subarray(0, 23))).toBe("192.0.2.7 > 198.51.100.9 tcp");
    const icmp = hex("4500 001c 0001 0000 4001 0000 c0000207 c6336409 0800 1234 0001 0001");
    expect(flowOf(101, icmp)).toBe("192.0.2.7 > 198.51.100.9 icmp");
    const unknown = hex("4500 001c 0001 0000 40fd 0000 c0000207 c6336409 0800 1234 0001 0001");
    expect(flowOf(101, unknown)).toBe("192.0.2.7 > 198.51.100.9 253");
  });

  it("gives the first IPv4 fragment its ports and the later ones none", () => {
    const first = hex("4500 0028 0001 2000 4011 0000 c0000207 c6336409 0035 1234 0008 0000");
    const later = hex("4500 0028 0001 00b9 4011 0000 c0000207 c6336409 0035 1234 0008 0000");
    expect(flowOf(101, first)).toBe("192.0.2.7:53 > 198.51.100.9:4660 udp");
    expect(flowOf(101, later)).toBe("192.0.2.7 > 198.51.100.9 udp");
  });

  it("walks IPv6 extension headers with their three units of length", () => {
    const hopByHop = "2b 00 050200000000"; // 8 bytes, then routing
    const routing = "3c 02 000000000000 0000000000000000 0000000000000000"; // 24 bytes
    const destination = "33 00 010400000000"; // 8 bytes, then authentication
    const authentication = "2c 04 0000 00000001 00000001 000000000000000000000000"; // 24 bytes
    const fragment = "11 00 0001 00000001"; // first fragment, then UDP
    const chain = `${hopByHop} ${routing} ${destination} ${authentication} ${fragment}`;
    const frame = hex(`6000 0000 0050 0040 ${ipv6Addresses} ${chain} 0035 14e9 0008 0000`);
    expect(flowOf(101, frame)).toBe(ipv6Flow);
  });

  it("gives later IPv6 fragments their protocol but no ports", () => {
    const frame = hex(
      `6000 0000 0010 2c40 ${ipv6Addresses} 11 00 00b9 00000001 0035 14e9 0008 0000`,
    );
    expect(flowOf(101, frame)).toBe("2001:db8::7 > 2001:db8::9 udp");
  });

  it("stops where an extension header was cut off", () => {
    const frame = hex(`6000 0000 0010 0040 ${ipv6Addresses} 11 ff 0502`);
    expect(flowOf(101, frame)).toBe("2001:db8::7 > 2001:db8::9 0");
  });

  it("reads nothing outside the frame and writes nothing outside the tuple", () => {
    const frame = concat(hex(`${macs} 0800`), ipv4Tcp);
    const room = concat(new Uint8Array(5).fill(0xee), frame, new Uint8Array(60).fill(0xee));
    const tuple = new Uint8Array(flowTupleSize + 16).fill(0xdd);
    for (let length = 0; length <= frame.length; length++) {
      decodeFrame(1, room, 5, 5 + length, tuple, 8);
      expect(tuple.subarray(0, 8).every((byte) => byte === 0xdd)).toBe(true);
      expect(tuple.subarray(48).every((byte) => byte === 0xdd)).toBe(true);
      if (length >= 34) expect(tuple.subarray(8, 48).includes(0xee)).toBe(false);
    }
  });
});

describe("PcapReader", () => {
  const frames = [ipv4Tcp, ipv6Udp, ipv4Tcp];
  const expected = [ipv4Tcp, ipv6Udp, ipv4Tcp].map((frame) => ({
    flow: frame === ipv4Tcp ? ipv4Flow : ipv6Flow,
    wireLength: frame.length + 1000,
  }));

  it("reads both byte orders with microseconds and nanoseconds", () => {
    for (const little of [true, false]) {
      for (const nanoseconds of [true, false]) {
        const file = pcap(frames, { little, nanoseconds });
        expect(PcapReader.matches(file.readUInt32LE(0))).toBe(true);
        expect(readAll(PcapReader, file)).toEqual(expected);
      }
    }
  });

  it("gives the same packets for pieces of any size", () => {
    for (let step = 1; step < 80; step++) {
      expect(readAll(PcapReader, pcap(frames), step)).toEqual(expected);
    }
  });

  it("ignores the frame check sequence bits beside the link type", () => {
    expect(readAll(PcapReader, pcap(frames, { linkType: 0x14000065 }))).toEqual(expected);
  });

  it("hands on what is complete and says that the rest is cut off", () => {
    const file = pcap(frames);
    const seen: Seen[] = [];
    const reader = new PcapReader(collect(seen));
    reader.push(file.subarray(0, -1));
    expect(seen).toEqual(expected.slice(0, 2));
    expect(() => reader.end()).toThrow(/cut off: 55 bytes of an incomplete record at offset 144/);
  });

  it("takes a header without packets as a whole file", () => {
    expect(readAll(PcapReader, pcap([]))).toEqual([]);
  });

  it("refuses an impossible packet length instead of waiting for it", () => {
    const file = pcap(frames);
    file.writeUInt32LE(0x7fffffff, 24 + 8);
    expect(() => readAll(PcapReader, file)).toThrow(/damaged: a packet of 2147483647 bytes/);
  });
});

describe("PcapngReader", () => {
  it("reads sections of both byte orders, in pieces of any size", () => {
    const file = concat(pcapngSection(true, 101, ipv4Tcp), pcapngSection(false, 229, ipv6Udp));
    const expected = [
      { flow: ipv4Flow, wireLength: ipv4Tcp.length + 1000 },
      { flow: ipv4Flow, wireLength: ipv4Tcp.length },
      { flow: ipv6Flow, wireLength: ipv6Udp.length + 1000 },
      { flow: ipv6Flow, wireLength: ipv6Udp.length },
    ];
    for (const step of [1, 3, 28, 64, file.length]) {
      expect(readAll(PcapngReader, file, step)).toEqual(expected);
    }
    expect(() => readAll(PcapngReader, file.subarray(0, -2))).toThrow(CaptureError);
  });

  it("reads the obsolete packet block", () => {
    const file = concat(
      pcapngSection(true, 101, ipv4Tcp),
      pcapngBlock(true, 2, concat(words(true, 0, 1, 2, ipv6Udp.length, 77), ipv6Udp)),
    );
    expect(readAll(PcapngReader, file).at(-1)).toEqual({ flow: ipv6Flow, wireLength: 77 });
  });

  it("refuses packets of unknown interfaces, wrong lengths and wrong byte orders", () => {
    const start = pcapngSection(true, 101, ipv4Tcp);
    const stray = pcapngBlock(true, 6, words(true, 9, 0, 0, 0, 0));
    const long = pcapngBlock(true, 6, words(true, 0, 0, 0, 500, 500));
    const tiny = words(true, 4, 8, 0);
    const section = pcapngBlock(true, 0x0a0d0d0a, words(true, 0x12345678, 0, 0, 0));
    for (const bad of [stray, long, tiny, section]) {
      expect(() => readAll(PcapngReader, concat(start, bad))).toThrow(/damaged/);
    }
  });
});

describe("readCapture", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "bpfmaps-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Writes a file, reads it, and gives the flows and the error's message. */
  async function read(name: string, content: Uint8Array): Promise<[string[], string?]> {
    const seen: Seen[] = [];
    writeFileSync(join(folder, name), content);
    try {
      await readCapture({ name: join(folder, name), onPacket: collect(seen) });
    } catch (error) {
      if (!(error instanceof CaptureError)) throw error;
      return [seen.map(({ flow }) => flow), error.message];
    }
    return [seen.map(({ flow }) => flow)];
  }

  it("knows gzip and the formats by their first bytes, whatever the name", async () => {
    const flows = [ipv4Flow, ipv6Flow];
    const file = pcap([ipv4Tcp, ipv6Udp]);
    expect(await read("a.gz", file)).toEqual([flows]);
    expect(await read("a.pcap", gzipSync(file))).toEqual([flows]);
    expect(await read("b", gzipSync(pcapngSection(false, 101, ipv4Tcp)))).toEqual([
      [ipv4Flow, ipv4Flow],
    ]);
  });

  it("reads the records of .pkt40 files", async () => {
    const record = hex(
      "00000000000000000000ffffc0000207 00000000000000000000ffffc6336409 3412 5000 06 04 2800",
    );
    expect(await read("a.pkt40", concat(record, record))).toEqual([[ipv4Flow, ipv4Flow]]);
    const [flows, message] = await read("b.pkt40.gz", gzipSync(concat(record, record.slice(1))));
    expect(flows).toEqual([ipv4Flow]);
    expect(message).toMatch(/cut off/);
  });

  it("keeps what came before the end of a cut gzip stream", async () => {
    const many = pcap(Array.from({ length: 5000 }, (_, i) => concat(ipv4Tcp, words(true, i * i))));
    const packed = gzipSync(many);
    const [flows, message] = await read("cut.gz", packed.subarray(0, packed.length - 2000));
    expect(message).toBe("the capture is cut off: its gzip stream has no end");
    expect(flows.length).toBeGreaterThan(3000);
    expect(flows.length).toBeLessThan(5000);
  });

  it("has one clear line for empty, foreign, damaged and missing files", async () => {
    const empty = "the capture is empty";
    expect(await read("empty", new Uint8Array(0))).toEqual([[], empty]);
    expect(await read("empty.gz", gzipSync(new Uint8Array(0)))).toEqual([[], empty]);
    const foreign = "not a capture: pcap, pcapng and .pkt40 are understood";
    expect(await read("foreign", Buffer.from("hello, world"))).toEqual([[], foreign]);
    expect(await read("foreign.gz", gzipSync(Buffer.from("hello")))).toEqual([[], foreign]);
    expect(await read("short", hex("d4c3"))).toEqual([[], foreign]);
    const packed = gzipSync(pcap([ipv4Tcp]));
    packed[packed.length - 6]! ^= 1;
    expect((await read("damaged.gz", packed))[1]).toMatch(
      /damaged: gzip says incorrect data check/,
    );
    await expect(readCapture({ name: join(folder, "no"), onPacket: ignorePacket })).rejects.toThrow(
      /^no such file$/,
    );
    await expect(readCapture({ name: folder, onPacket: ignorePacket })).rejects.toThrow(
      /directory/,
    );
  });
});

// Packets for the programs of the tests: the sample capture of the repository, or made-up headers
// where it is missing.
import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

/** A packet: its first bytes, and its length on the wire. */
export interface Packet {
  readonly data: Uint8Array;
  readonly length: number;
}

const SAMPLE = new URL("../../../examples/sample.pcap.gz", import.meta.url);
const GLOBAL_HEADER = 24;
const RECORD_HEADER = 16;

/** All packets of the sample capture, Ethernet. */
export function samplePackets(): Packet[] {
  return existsSync(SAMPLE) ? parse(gunzipSync(readFileSync(SAMPLE))) : madeUp(5000);
}

/** Little-endian pcap with microseconds, as the sample is. */
function parse(file: Uint8Array): Packet[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0, true) !== 0xa1b2c3d4) throw new Error("no little-endian pcap");
  const packets: Packet[] = [];
  for (let at = GLOBAL_HEADER; at < file.length;) {
    const captured = view.getUint32(at + 8, true);
    const length = view.getUint32(at + 12, true);
    const start = at + RECORD_HEADER;
    packets.push({ data: file.subarray(start, start + captured), length });
    at = start + captured;
  }
  return packets;
}

/** Ethernet and IPv4 headers of 97 sources, one of eight frames something else. */
function madeUp(count: number): Packet[] {
  return Array.from({ length: count }, (_, index) => {
    const data = new Uint8Array(34);
    const view = new DataView(data.buffer);
    view.setUint16(12, index % 8 === 0 ? 0x86dd : 0x0800);
    view.setUint32(26, 0x0a000000 + ((index * index) % 97));
    return { data, length: 60 + (index % 1400) };
  });
}

// Readers of captures on damaged files: they read or refuse, and never read outside.

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { decodeFrame, flowTupleSize } from "../../ts/cli/packet.js";
import { CaptureError, PcapngReader, PcapReader } from "../../ts/cli/pcap.js";

const samplePath = new URL("../../examples/sample.pcap.gz", import.meta.url);
const sample = gunzipSync(readFileSync(samplePath)).subarray(0, 6000);

/** Packets handed on, each as bytes and lengths; and whether the file was refused at some point. */
function readAll(
  Reader: typeof PcapReader | typeof PcapngReader,
  pieces: readonly Uint8Array[],
): { packets: string[]; isRefused: boolean } {
  const packets: string[] = [];
  const reader = new Reader((data, start, end, wireLength) => {
    expect(start).toBeLessThanOrEqual(end);
    expect(end).toBeLessThanOrEqual(data.length);
    packets.push(`${Buffer.from(data.subarray(start, end)).toString("hex")} ${wireLength}`);
  });
  try {
    for (const piece of pieces) reader.push(piece);
    reader.end();
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    return { packets, isRefused: true };
  }
  return { packets, isRefused: false };
}

function split(file: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const ends = [...cuts.map((cut) => cut % (file.length + 1)), file.length].toSorted(
    (a, b) => a - b,
  );
  return ends.map((end, index) => file.subarray(ends[index - 1] ?? 0, end));
}

const cuts = fc.array(fc.nat(), { maxLength: 20 });
const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });

describe("captures from anywhere", () => {
  it("read the same in pieces as at once, damaged or not", () => {
    fc.assert(
      fc.property(damage, cuts, fc.nat(sample.length), (changes, at, length) => {
        const file = Buffer.from(sample.subarray(0, Math.max(4, length)));
        for (const [offset, value] of changes) file[4 + (offset % (file.length - 4))] = value;
        expect(readAll(PcapReader, split(file, at))).toEqual(readAll(PcapReader, [file]));
      }),
      { numRuns: 300 },
    );
  });

  it("never make the pcapng reader do anything but read or refuse", () => {
    const block = fc.tuple(
      fc.constantFrom(0x0a0d0d0a, 1, 2, 3, 5, 6),
      fc.uint8Array({ maxLength: 64 }).map((body) => body.subarray(0, body.length & ~3)),
      fc.option(fc.nat(0xffffffff), { freq: 10, nil: undefined }),
    );
    fc.assert(
      fc.property(fc.array(block, { maxLength: 8 }), cuts, (blocks, at) => {
        const section = Buffer.from(
          "0a0d0d0a1c0000004d3c2b1a0100000000000000000000001c000000",
          "hex",
        );
        const parts = blocks.map(([type, body, length]) => {
          const header = Buffer.alloc(8);
          header.writeUInt32LE(type, 0);
          header.writeUInt32LE(length ?? body.length + 12, 4);
          return Buffer.concat([header, body, header.subarray(4, 8)]);
        });
        const file = Buffer.concat([section, ...parts]);
        expect(readAll(PcapngReader, split(file, at))).toEqual(readAll(PcapngReader, [file]));
      }),
      { numRuns: 300 },
    );
  });

  it("never make the decoder read or write out of bounds", () => {
    const linkTypes = fc.constantFrom(0, 1, 12, 14, 101, 108, 113, 228, 229, 276, -40, 7);
    fc.assert(
      fc.property(linkTypes, fc.uint8Array({ maxLength: 120 }), (linkType, frame) => {
        const tuple = new Uint8Array(flowTupleSize + 16).fill(0xdd);
        const alone = decodeFrame(linkType, frame, 0, frame.length, tuple, 8);
        expect(tuple.subarray(0, 8).every((byte) => byte === 0xdd)).toBe(true);
        expect(tuple.subarray(48).every((byte) => byte === 0xdd)).toBe(true);
        // The same frame with other bytes around it decodes to the same tuple.
        const room = Buffer.concat([Buffer.alloc(9, 0x45), frame, Buffer.alloc(64, 0x60)]);
        const other = new Uint8Array(flowTupleSize + 16).fill(0xdd);
        expect(decodeFrame(linkType, room, 9, 9 + frame.length, other, 8)).toBe(alone);
        expect(other).toEqual(tuple);
      }),
      { numRuns: 2000 },
    );
  });
});

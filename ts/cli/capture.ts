/**
 * Opening a capture: a file or standard input, compressed or not, whatever its format. Everything
 * streams; the memory used does not depend on the length of the capture.
 */

import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

import { flowTupleSize, linkPkt40 } from "./packet.js";
import { CaptureError, PcapngReader, PcapReader, PushReader } from "./pcap.js";
import type { CaptureReader, OnPacket } from "./pcap.js";

// Bytes read or unpacked at a time: larger pieces mean fewer trips through the streams.
const pieceSize = 1 << 18;

/** What to read and whom to tell. */
export interface CaptureSource {
  /** A path, or "-" for standard input. */
  readonly name: string;
  readonly onPacket: OnPacket;
  /** Called after each piece with its length as stored, that is, compressed. */
  readonly onBytes?: (length: number) => void;
  /** Aborting ends the reading early, without an error. */
  readonly signal?: AbortSignal;
}

/**
 * Reads a capture to its end. Packets that were complete have been handed on when it throws.
 *
 * @throws CaptureError when the capture cannot be opened, is none, is damaged or is cut off.
 */
export async function readCapture(source: CaptureSource): Promise<void> {
  const input =
    source.name === "-"
      ? process.stdin
      : createReadStream(source.name, { highWaterMark: pieceSize });
  const isPkt40 = /\.pkt40(\.gz)?$/.test(source.name);
  const reader = new DetectingReader(isPkt40, source.onPacket);
  source.signal?.addEventListener("abort", () => input.destroy(), { once: true });
  try {
    const chunks = readChunks(input, source.onBytes);
    const { head, rest } = await takeHead(chunks, 2);
    const isGzip = head[0] === 0x1f && head[1] === 0x8b;
    if (isGzip) await gunzip(prepend(head, rest), reader);
    else for await (const chunk of prepend(head, rest)) reader.push(chunk);
    if (source.signal?.aborted !== true) reader.end();
  } catch (error) {
    if (source.signal?.aborted !== true) throw asCaptureError(error);
  }
}

async function* readChunks(
  input: Readable,
  onBytes: ((length: number) => void) | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of input as AsyncIterable<Uint8Array>) {
    onBytes?.(chunk.length);
    yield chunk;
  }
}

/** Takes pieces until they are `length` bytes or the input ends. A pipe may give single bytes. */
async function takeHead(
  chunks: AsyncGenerator<Uint8Array>,
  length: number,
): Promise<{ head: Uint8Array; rest: AsyncGenerator<Uint8Array> }> {
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < length) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  return { head, rest: chunks };
}

async function* prepend(
  head: Uint8Array,
  rest: AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head;
  yield* rest;
}

/** Unpacks into `reader`, which gets everything that could be unpacked before an error. */
async function gunzip(packed: AsyncGenerator<Uint8Array>, reader: DetectingReader): Promise<void> {
  const unpacked = createGunzip({ chunkSize: pieceSize });
  // "data" and not `for await`: the latter drops what is still buffered when an error follows.
  unpacked.on("data", (chunk: Uint8Array) => {
    try {
      reader.push(chunk);
    } catch (error) {
      unpacked.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  // pipeline() is content when the last packed byte was written; an error can still follow.
  await Promise.all([pipeline(Readable.from(packed), unpacked), finished(unpacked)]);
}

/** Turns the errors of files and streams into one line that a user understands. */
function asCaptureError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CaptureError) return error;
  const code = "code" in error ? error.code : undefined;
  switch (code) {
    case "ENOENT":
      return new CaptureError("no such file");
    case "EISDIR":
      return new CaptureError("is a directory");
    case "EACCES":
      return new CaptureError("permission denied");
    case "Z_BUF_ERROR":
      return new CaptureError("the capture is cut off: its gzip stream has no end");
    case "Z_DATA_ERROR":
      return new CaptureError(`the capture is damaged: gzip says ${error.message}`);
    default:
      return code === undefined ? error : new CaptureError(error.message);
  }
}

/** Finds out the format from the first four bytes, then hands everything to the reader for it. */
class DetectingReader implements CaptureReader {
  readonly #isPkt40: boolean;
  readonly #onPacket: OnPacket;
  #head: Uint8Array = new Uint8Array(0);
  #reader: CaptureReader | undefined;

  constructor(isPkt40: boolean, onPacket: OnPacket) {
    this.#isPkt40 = isPkt40;
    this.#onPacket = onPacket;
  }

  push(chunk: Uint8Array): void {
    if (this.#reader !== undefined) {
      this.#reader.push(chunk);
      return;
    }
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length < 4) return;
    this.#reader = this.#detect();
    this.#reader.push(this.#head);
  }

  end(): void {
    if (this.#reader !== undefined) this.#reader.end();
    else if (this.#head.length === 0) throw new CaptureError("the capture is empty");
    else throw notACapture();
  }

  #detect(): CaptureReader {
    if (this.#isPkt40) return new Pkt40Reader(this.#onPacket);
    const { buffer, byteOffset } = this.#head;
    const magic = new DataView(buffer, byteOffset).getUint32(0, true);
    if (PcapReader.matches(magic)) return new PcapReader(this.#onPacket);
    if (PcapngReader.matches(magic)) return new PcapngReader(this.#onPacket);
    throw notACapture();
  }
}

function notACapture(): CaptureError {
  return new CaptureError("not a capture: pcap, pcapng and .pkt40 are understood");
}

/**
 * Reads records of 40 bytes that are header facts only: source and destination address (16 each),
 * ports (2 each), protocol, IP version (1 each), length (2); numbers are little-endian.
 */
class Pkt40Reader extends PushReader {
  readonly #onPacket: OnPacket;

  constructor(onPacket: OnPacket) {
    super();
    this.#onPacket = onPacket;
  }

  protected override consume(data: Uint8Array, view: DataView): number {
    let at = 0;
    for (; at + flowTupleSize <= data.length; at += flowTupleSize) {
      this.#onPacket(data, at, at + flowTupleSize, view.getUint16(at + 38, true), linkPkt40);
    }
    return at;
  }
}

/**
 * The pcap and pcapng file formats, read as a stream: bytes are pushed in pieces of any size, each
 * complete packet record goes to a callback at once, and what is not complete waits for the next
 * piece. Nothing is kept of a packet that was handed on.
 *
 * Formats: draft-ietf-opsawg-pcap (little and big endian, microseconds and nanoseconds) and
 * draft-ietf-opsawg-pcapng (section header, interface description, enhanced, simple and obsolete
 * packet blocks; every other block is passed over).
 */

/** What a reader calls for each packet: the captured bytes are `data[start..end)`. */
export type OnPacket = (
  data: Uint8Array,
  start: number,
  end: number,
  wireLength: number,
  linkType: number,
) => void;

/** A capture that cannot be read (further). The message is one line meant for a user. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
}

/** A push parser for one capture format. */
export interface CaptureReader {
  /** Takes the next bytes of the file. Throws CaptureError when they make no sense. */
  push(chunk: Uint8Array): void;
  /** Says that the file has ended. Throws CaptureError when that was in mid-record. */
  end(): void;
}

// No network link has longer packets (libpcap itself stops at 262,144 bytes); a larger number means
// that the file is damaged, and believing it would mean waiting for gigabytes.
const maxCapturedLength = 1 << 20;
const maxBlockLength = 1 << 24;

/**
 * Collects pushed pieces so that `consume` sees a contiguous run of bytes. What `consume` does not
 * take (its result is the number of bytes taken) is kept and put before the next piece.
 */
export abstract class PushReader implements CaptureReader {
  #rest: Uint8Array = new Uint8Array(0);
  /** Offset in the file of the first byte that `consume` gets; for messages. */
  protected fileOffset = 0;

  push(chunk: Uint8Array): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const taken = this.consume(data, view);
    this.fileOffset += taken;
    // A copy: the caller may use the memory of its chunk again, and a rest must not pin it.
    this.#rest = new Uint8Array(data.subarray(taken));
  }

  end(): void {
    const rest = this.#rest.length;
    if (rest === 0) return;
    throw new CaptureError(
      `the capture is cut off: ${rest} bytes of an incomplete record at offset ${this.fileOffset}`,
    );
  }

  /** Handles every complete record at the start of `data` and returns the bytes these take. */
  protected abstract consume(data: Uint8Array, view: DataView): number;
}

/** Reads the classic pcap format. */
export class PcapReader extends PushReader {
  readonly #onPacket: OnPacket;
  #littleEndian = true;
  #linkType = -1;

  constructor(onPacket: OnPacket) {
    super();
    this.#onPacket = onPacket;
  }

  /** Whether `magic`, the first four bytes read as a little-endian number, starts a pcap file. */
  static matches(magic: number): boolean {
    return pcapMagics.has(magic) || pcapMagicsSwapped.has(magic);
  }

  protected override consume(data: Uint8Array, view: DataView): number {
    let at = 0;
    if (this.#linkType < 0) {
      if (data.length < 24) return 0;
      this.#littleEndian = pcapMagics.has(view.getUint32(0, true));
      // The upper half of the field holds the length of a frame check sequence.
      this.#linkType = view.getUint32(20, this.#littleEndian) & 0xffff;
      at = 24;
    }
    const littleEndian = this.#littleEndian;
    while (at + 16 <= data.length) {
      const captured = view.getUint32(at + 8, littleEndian);
      if (captured > maxCapturedLength) {
        throw new CaptureError(
          `the capture is damaged: a packet of ${captured} bytes at offset ${this.fileOffset + at}`,
        );
      }
      const end = at + 16 + captured;
      if (end > data.length) break;
      this.#onPacket(data, at + 16, end, view.getUint32(at + 12, littleEndian), this.#linkType);
      at = end;
    }
    return at;
  }
}

const pcapMagics = new Set([0xa1b2c3d4, 0xa1b23c4d]);
const pcapMagicsSwapped = new Set([0xd4c3b2a1, 0x4d3cb2a1]);

const blockSectionHeader = 0x0a0d0d0a;
const blockInterface = 1;
const blockObsoletePacket = 2;
const blockSimplePacket = 3;
const blockEnhancedPacket = 6;
const byteOrderMagic = 0x1a2b3c4d;
const byteOrderMagicSwapped = 0x4d3c2b1a;

/** Reads the pcapng format, any number of sections and interfaces. */
export class PcapngReader extends PushReader {
  readonly #onPacket: OnPacket;
  #littleEndian = true;
  #interfaces: { linkType: number; snapLength: number }[] = [];

  constructor(onPacket: OnPacket) {
    super();
    this.#onPacket = onPacket;
  }

  /** Whether `magic`, the first four bytes read as a little-endian number, starts a pcapng file. */
  static matches(magic: number): boolean {
    return magic === blockSectionHeader; // reads the same in both byte orders
  }

  protected override consume(data: Uint8Array, view: DataView): number {
    let at = 0;
    while (at + 12 <= data.length) {
      const type = view.getUint32(at, this.#littleEndian);
      if (type === blockSectionHeader) this.#startSection(view.getUint32(at + 8, true));
      const length = view.getUint32(at + 4, this.#littleEndian);
      if (length < 12 || length % 4 !== 0 || length > maxBlockLength) {
        throw new CaptureError(
          `the capture is damaged: a block of ${length} bytes at offset ${this.fileOffset + at}`,
        );
      }
      if (at + length > data.length) break;
      this.#block(type, data, view, at + 8, at + length - 4);
      at += length;
    }
    return at;
  }

  #startSection(magic: number): void {
    this.#littleEndian = magic === byteOrderMagic;
    if (!this.#littleEndian && magic !== byteOrderMagicSwapped) {
      throw new CaptureError("the capture is damaged: a section without a byte order");
    }
    this.#interfaces = [];
  }

  /** Handles one block whose body is `data[start..end)`. */
  #block(type: number, data: Uint8Array, view: DataView, start: number, end: number): void {
    const littleEndian = this.#littleEndian;
    const room = end - start;
    if (type === blockInterface && room >= 8) {
      const snapLength = view.getUint32(start + 4, littleEndian);
      this.#interfaces.push({ linkType: view.getUint16(start, littleEndian), snapLength });
    } else if (type === blockEnhancedPacket && room >= 20) {
      const id = view.getUint32(start, littleEndian);
      const captured = view.getUint32(start + 12, littleEndian);
      const wireLength = view.getUint32(start + 16, littleEndian);
      this.#packet(data, start + 20, end, captured, wireLength, id);
    } else if (type === blockObsoletePacket && room >= 20) {
      const id = view.getUint16(start, littleEndian);
      const captured = view.getUint32(start + 12, littleEndian);
      const wireLength = view.getUint32(start + 16, littleEndian);
      this.#packet(data, start + 20, end, captured, wireLength, id);
    } else if (type === blockSimplePacket && room >= 4) {
      const wireLength = view.getUint32(start, littleEndian);
      const snapLength = this.#interfaces[0]?.snapLength || maxCapturedLength;
      const captured = Math.min(wireLength, snapLength, room - 4);
      this.#packet(data, start + 4, end, captured, wireLength, 0);
    }
  }

  #packet(
    data: Uint8Array,
    start: number,
    end: number,
    captured: number,
    wireLength: number,
    interfaceId: number,
  ): void {
    const source = this.#interfaces[interfaceId];
    if (source === undefined || captured > end - start) {
      throw new CaptureError("the capture is damaged: a packet block contradicts itself");
    }
    this.#onPacket(data, start, start + captured, wireLength, source.linkType);
  }
}

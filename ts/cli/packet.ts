/**
 * From a captured frame to its flow tuple: which addresses, ports and protocol. Only headers are
 * looked at, and every read is within the captured bytes, so a short snap length is no problem.
 */

/**
 * Size of a flow tuple, in bytes:
 *
 *     0               16              32    34    36 37      40
 *     +---------------+---------------+-----+-----+--+-------+
 *     | source        | destination   |sport|dport|pr| zero  |
 *     +---------------+---------------+-----+-----+--+-------+
 *
 * Addresses are IPv6; an IPv4 address is mapped (::ffff:a.b.c.d). Ports are little-endian and 0
 * where there are none: other protocols, and every fragment but the first.
 */
export const flowTupleSize = 40;

/** Why a packet was not counted, or that it has a tuple. */
export const decoded = { ip: 0, notIp: 1, tooShort: 2, unknownLink: 3 } as const;
/** One of the values of {@link decoded}. */
export type Decoded = (typeof decoded)[keyof typeof decoded];

// Link types: https://www.tcpdump.org/linktypes.html
const linkNull = 0;
const linkEthernet = 1;
const linkRawBsd = 12;
const linkRawOpenBsd = 14;
const linkRaw = 101;
const linkLoop = 108;
const linkLinuxSll = 113;
const linkIpv4 = 228;
const linkIpv6 = 229;
const linkLinuxSll2 = 276;
/** Not a link type of pcap: the frame is a 40-byte record of a .pkt40 file. */
export const linkPkt40 = -40;

const etherIpv4 = 0x0800;
const etherIpv6 = 0x86dd;
const etherVlan = 0x8100;
const etherServiceVlan = 0x88a8;
const etherOldServiceVlan = 0x9100;

// AF_INET, then AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
const ipFamilies = new Set([2, 10, 23, 24, 28, 30]);

const protocolHopByHop = 0;
const protocolTcp = 6;
const protocolUdp = 17;
const protocolDccp = 33;
const protocolRouting = 43;
const protocolFragment = 44;
const protocolAuthentication = 51;
const protocolDestination = 60;
const protocolSctp = 132;
const protocolMobility = 135;
const protocolUdpLite = 136;
const protocolHip = 139;
const protocolShim6 = 140;

// A chain of extension headers longer than this is an attack or noise; the last one seen counts.
const maxExtensionHeaders = 16;

/**
 * Writes the flow tuple of the frame `data[start..end)` to `tuple[at..at + flowTupleSize)`.
 * The tuple is only meaningful when the result is `decoded.ip`.
 */
export function decodeFrame(
  linkType: number,
  data: Uint8Array,
  start: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  switch (linkType) {
    case linkEthernet:
      return decodeEtherType(data, start + 12, start + 14, end, tuple, at);
    case linkLinuxSll:
      return decodeEtherType(data, start + 14, start + 16, end, tuple, at);
    case linkLinuxSll2:
      return decodeEtherType(data, start, start + 20, end, tuple, at);
    case linkRawBsd:
    case linkRawOpenBsd:
    case linkRaw:
    case linkIpv4:
    case linkIpv6:
      return decodeIp(data, start, end, tuple, at);
    case linkNull:
    case linkLoop:
      return decodeLoopback(data, start, end, tuple, at);
    case linkPkt40:
      return decodePkt40(data, start, end, tuple, at);
    default:
      return decoded.unknownLink;
  }
}

/** A record is a flow tuple already, with the IP version and a length in the place of the zeros. */
function decodePkt40(
  data: Uint8Array,
  start: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  if (start + flowTupleSize > end) return decoded.tooShort;
  const version = data[start + 37]!;
  if (version !== 4 && version !== 6) return decoded.notIp;
  for (let i = 0; i < 37; i++) tuple[at + i] = data[start + i]!;
  tuple.fill(0, at + 37, at + flowTupleSize);
  return decoded.ip;
}

/**
 * An Ethernet-like header whose type field is at `typeAt` and whose payload starts at `payload`;
 * VLAN tags in between are stepped over, however many there are.
 */
function decodeEtherType(
  data: Uint8Array,
  typeAt: number,
  payload: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  if (payload > end) return decoded.tooShort;
  let type = readUint16(data, typeAt);
  let next = payload;
  while (type === etherVlan || type === etherServiceVlan || type === etherOldServiceVlan) {
    if (next + 4 > end) return decoded.tooShort;
    type = readUint16(data, next + 2);
    next += 4;
  }
  if (type !== etherIpv4 && type !== etherIpv6) return decoded.notIp;
  return decodeIp(data, next, end, tuple, at);
}

/**
 * BSD loopback: the address family as a 32-bit number, in the byte order of the machine that
 * captured. The family of IPv6 differs between systems.
 */
function decodeLoopback(
  data: Uint8Array,
  start: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  if (start + 4 > end) return decoded.tooShort;
  const little = data[start]! | (data[start + 1]! << 8);
  const family = little !== 0 ? little : readUint16(data, start + 2);
  if (!ipFamilies.has(family)) return decoded.notIp;
  return decodeIp(data, start + 4, end, tuple, at);
}

function decodeIp(
  data: Uint8Array,
  start: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  if (start >= end) return decoded.tooShort;
  const version = data[start]! >> 4;
  if (version === 4) return decodeIpv4(data, start, end, tuple, at);
  if (version === 6) return decodeIpv6(data, start, end, tuple, at);
  return decoded.notIp;
}

function decodeIpv4(
  data: Uint8Array,
  start: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  const headerLength = (data[start]! & 15) * 4;
  if (start + 20 > end || headerLength < 20) return decoded.tooShort;
  tuple.fill(0, at, at + flowTupleSize);
  tuple[at + 10] = tuple[at + 11] = tuple[at + 26] = tuple[at + 27] = 0xff;
  for (let i = 0; i < 4; i++) {
    tuple[at + 12 + i] = data[start + 12 + i]!;
    tuple[at + 28 + i] = data[start + 16 + i]!;
  }
  const isFirstFragment = (readUint16(data, start + 6) & 0x1fff) === 0;
  const payload = isFirstFragment ? start + headerLength : end;
  writeProtocol(data[start + 9]!, data, payload, end, tuple, at);
  return decoded.ip;
}

function decodeIpv6(
  data: Uint8Array,
  start: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): Decoded {
  if (start + 40 > end) return decoded.tooShort;
  for (let i = 0; i < 32; i++) tuple[at + i] = data[start + 8 + i]!;
  tuple.fill(0, at + 32, at + flowTupleSize);

  let protocol = data[start + 6]!;
  let next = start + 40;
  for (let i = 0; i < maxExtensionHeaders && isExtensionHeader(protocol) && next + 8 <= end; i++) {
    const isLaterFragment =
      protocol === protocolFragment && (readUint16(data, next + 2) & 0xfff8) !== 0;
    const length = extensionHeaderLength(protocol, data[next + 1]!);
    protocol = data[next]!;
    next += length;
    if (isLaterFragment) {
      next = end; // what follows is the middle of somebody's payload
      break;
    }
  }
  writeProtocol(protocol, data, next, end, tuple, at);
  return decoded.ip;
}

function isExtensionHeader(protocol: number): boolean {
  switch (protocol) {
    case protocolHopByHop:
    case protocolRouting:
    case protocolFragment:
    case protocolAuthentication:
    case protocolDestination:
    case protocolMobility:
    case protocolHip:
    case protocolShim6:
      return true;
    default:
      return false;
  }
}

/** Bytes of an extension header whose length field is `field`; three units exist (RFC 8200, 4302). */
function extensionHeaderLength(protocol: number, field: number): number {
  if (protocol === protocolFragment) return 8;
  if (protocol === protocolAuthentication) return (field + 2) * 4;
  return (field + 1) * 8;
}

/** Completes a zeroed tuple with the protocol and, when it has them and they were captured, ports. */
function writeProtocol(
  protocol: number,
  data: Uint8Array,
  payload: number,
  end: number,
  tuple: Uint8Array,
  at: number,
): void {
  tuple[at + 36] = protocol;
  if (!hasPorts(protocol) || payload + 4 > end) return;
  tuple[at + 32] = data[payload + 1]!;
  tuple[at + 33] = data[payload]!;
  tuple[at + 34] = data[payload + 3]!;
  tuple[at + 35] = data[payload + 2]!;
}

function hasPorts(protocol: number): boolean {
  return (
    protocol === protocolTcp ||
    protocol === protocolUdp ||
    protocol === protocolSctp ||
    protocol === protocolDccp ||
    protocol === protocolUdpLite
  );
}

function readUint16(data: Uint8Array, at: number): number {
  return (data[at]! << 8) | data[at + 1]!;
}

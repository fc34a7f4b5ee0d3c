/** How numbers, addresses and tables look on a terminal. */

/** 1234567 as "1,234,567". */
export function formatCount(value: number | bigint): string {
  return value.toLocaleString("en-US");
}

/** `part` of `whole` in percent with one decimal; "0.0 %" of nothing. */
export function formatShare(part: number, whole: number): string {
  return `${(whole === 0 ? 0 : (part / whole) * 100).toFixed(1)} %`;
}

/** A rate per second, in millions from a million on: "12.3 M", "45,600". */
export function formatRate(perSecond: number): string {
  return perSecond >= 1e6
    ? `${(perSecond / 1e6).toFixed(1)} M`
    : formatCount(Math.round(perSecond));
}

/**
 * The 16 bytes at `at` as an address: dotted for a mapped IPv4 address, else IPv6 in the one form
 * that RFC 5952 allows (lower case, the first longest run of two or more zero groups as "::").
 */
export function formatAddress(bytes: Uint8Array, at = 0): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[at + i]! << 8) | bytes[at + i + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return Array.from(bytes.subarray(at + 12, at + 16)).join(".");
  }
  const run = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (run.length < 2) return hex.join(":");
  return `${hex.slice(0, run.start).join(":")}::${hex.slice(run.start + run.length).join(":")}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

const protocolNames = new Map([
  [1, "icmp"],
  [2, "igmp"],
  [6, "tcp"],
  [17, "udp"],
  [33, "dccp"],
  [41, "ipv6"],
  [47, "gre"],
  [50, "esp"],
  [51, "ah"],
  [58, "icmp6"],
  [89, "ospf"],
  [132, "sctp"],
  [136, "udplite"],
]);

/** An IP protocol's usual name, or its number. */
function formatProtocol(protocol: number): string {
  return protocolNames.get(protocol) ?? String(protocol);
}

/** "source:port > destination:port protocol"; ports are left out when both are 0. */
export function formatFlow(tuple: Uint8Array): string {
  const view = new DataView(tuple.buffer, tuple.byteOffset, tuple.byteLength);
  const sport = view.getUint16(32, true);
  const dport = view.getUint16(34, true);
  const hasPorts = sport !== 0 || dport !== 0;
  const source = formatEndpoint(formatAddress(tuple, 0), hasPorts ? sport : undefined);
  const destination = formatEndpoint(formatAddress(tuple, 16), hasPorts ? dport : undefined);
  return `${source} > ${destination} ${formatProtocol(tuple[36]!)}`;
}

function formatEndpoint(address: string, port: number | undefined): string {
  if (port === undefined) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Rows under a heading, columns padded; `right` says which columns hold numbers. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly boolean[],
): string {
  const widths = heading.map((title, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]!.length), title.length),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        right[column] === true ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join("  ")
      .trimEnd();
  return [heading, ...rows].map(line).join("\n");
}

// `bpfmaps flows` as a process: its counts against a count by hand, its options, its errors, its pipes.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const samplePath = fileURLToPath(new URL("../../examples/sample.pcap.gz", import.meta.url));
const sample = gunzipSync(readFileSync(samplePath));

interface Total {
  packets: number;
  bytes: number;
}

interface Report {
  complete: boolean;
  problem: string | null;
  packets: Record<string, number>;
  bytes: Record<string, number>;
  distinct: number;
  inserted: number;
  evictions: number;
  packetsPerSecond: Record<string, number | null>;
  top: ({ source?: string; flow?: string } & Total)[];
}

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

function run(args: readonly string[], input?: Uint8Array): Result {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], {
    encoding: "utf8",
    ...(input === undefined ? {} : { input }),
  });
  return { code: status, stdout, stderr };
}

function parseReport(stdout: string): Report {
  const report: Report = JSON.parse(stdout);
  return report;
}

/** Runs `flows --json --no-compare` and gives its report. */
function flows(...args: string[]): Report {
  const { code, stdout, stderr } = run(["flows", "--json", "--no-compare", ...args]);
  expect(`${code} ${stderr}`).toBe("0 ");
  return parseReport(stdout);
}

/**
 * The IP packets of the sample: its own small loop over a little-endian Ethernet capture without
 * VLANs, IP options or extension headers other than fragments, which is what the sample is.
 */
function* samplePackets(file: Buffer): Generator<{ source: string; flow: string; bytes: number }> {
  for (let at = 24; at < file.length; at += 16 + file.readUInt32LE(at + 8)) {
    const frame = file.subarray(at + 16, at + 16 + file.readUInt32LE(at + 8));
    const bytes = file.readUInt32LE(at + 12);
    const type = frame.readUInt16BE(12);
    if (type === 0x0800) {
      const source = frame.subarray(26, 30).toString("hex");
      const isLater = (frame.readUInt16BE(20) & 0x1fff) !== 0;
      const rest = flowRest(frame, frame[23]!, isLater ? frame.length : 34);
      yield { source, flow: source + frame.subarray(30, 34).toString("hex") + rest, bytes };
    } else if (type === 0x86dd) {
      const source = frame.subarray(22, 38).toString("hex");
      const isFragment = frame[20] === 44;
      const isLater = isFragment && frame.readUInt16BE(56) >>> 3 !== 0;
      const next = isLater ? frame.length : isFragment ? 62 : 54;
      const rest = flowRest(frame, isFragment ? frame[54]! : frame[20]!, next);
      yield { source, flow: source + frame.subarray(38, 54).toString("hex") + rest, bytes };
    }
  }
}

function flowRest(frame: Buffer, protocol: number, at: number): string {
  const hasPorts = (protocol === 6 || protocol === 17) && at + 4 <= frame.length;
  return `/${protocol}/${hasPorts ? frame.subarray(at, at + 4).toString("hex") : ""}`;
}

function totals(by: "source" | "flow"): Map<string, Total> {
  const result = new Map<string, Total>();
  for (const packet of samplePackets(sample)) {
    const total = result.get(packet[by]) ?? { packets: 0, bytes: 0 };
    total.packets++;
    total.bytes += packet.bytes;
    result.set(packet[by], total);
  }
  return result;
}

/** The counts alone, in the order of the report. */
function ranking(counts: Iterable<Total>): [number, number][] {
  return [...counts]
    .map(({ packets, bytes }): [number, number] => [bytes, packets])
    .toSorted((a, b) => b[0] - a[0] || b[1] - a[1]);
}

/** A source of samplePackets() as an address; the URL parser compresses IPv6 as RFC 5952 says. */
function addressOf(source: string): string {
  if (source.length === 8) return Buffer.from(source, "hex").join(".");
  return new URL(`http://[${source.match(/.{4}/g)!.join(":")}]/`).hostname.slice(1, -1);
}

describe("bpfmaps flows", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "bpfmaps-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function file(name: string, content: Uint8Array): string {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  }

  it("counts every source of the sample as a plain loop does, in a map of each type", () => {
    const expected = totals("source");
    expect(expected.size).toBeGreaterThan(300);
    for (const type of ["lru_hash", "hash", "percpu_hash", "lru_percpu_hash"]) {
      const cpus = type.includes("percpu") ? "3" : "1";
      const report = flows("--type", type, "--cpus", cpus, "--top", "10000", samplePath);
      const found = new Map(report.top.map((entry) => [entry.source!, entry]));
      expect(found.size).toBe(expected.size);
      for (const [source, total] of expected)
        expect(found.get(addressOf(source))).toMatchObject(total);
      expect(ranking(report.top)).toEqual(ranking(expected.values()));
      expect(report).toMatchObject({ distinct: expected.size, evictions: 0, complete: true });
    }
  });

  it("counts every flow of the sample as a plain loop does", () => {
    const expected = totals("flow");
    const report = flows("--key", "flow", "--top", "10000", samplePath);
    expect(report.distinct).toBe(expected.size);
    expect(ranking(report.top)).toEqual(ranking(expected.values()));
    expect(report.top.find(({ flow }) => flow!.endsWith("tcp"))!.flow).toMatch(
      /^[0-9a-f.:[\]]+:\d+ > [0-9a-f.:[\]]+:\d+ tcp$/,
    );
  });

  it("has totals that add up", () => {
    const report = flows(samplePath);
    expect(report.packets).toMatchInlineSnapshot(`
      {
        "ip": 11579,
        "notIp": 802,
        "read": 12381,
        "refused": 0,
        "tooShort": 0,
        "unknownLink": 0,
      }
    `);
    expect(report.bytes).toMatchInlineSnapshot(`
      {
        "ip": 4577446,
        "refused": 0,
      }
    `);
    const { read, ip, notIp, tooShort, unknownLink } = report.packets;
    expect(ip! + notIp! + tooShort! + unknownLink!).toBe(read);
    expect(report.packetsPerSecond).toMatchObject({ bpfmaps: null, map: null });
  });

  it("prints a table of the sample when no FILE is given, and says so", () => {
    const { code, stdout, stderr } = run(["flows", "--top", "3"]);
    expect(code).toBe(0);
    expect(stderr).toBe("bpfmaps: no FILE given, reading the bundled sample capture\n");
    const lines = stdout.split("\n");
    expect(lines.slice(0, 5)).toMatchInlineSnapshot(`
      [
        "#  source        packets      bytes   share",
        "1  192.0.2.1       4,926  3,450,788  75.4 %",
        "2  2001:db8::1       859    547,012  12.0 %",
        "3  203.0.113.30      557     49,448   1.1 %",
        "(and 502 more)",
      ]
    `);
    expect(stdout).toMatch(/^505 addresses in the map \(lru_hash, 65,536 entries\), 0 evictions$/m);
    expect(stdout).toMatch(/^Counting alone: bpfmaps [\d.,]+( M)? packets\/s, JavaScript Map/m);
  });

  it("stops counting new sources when a map of type hash is full, and says so", () => {
    const counted = new Set<string>();
    const refused = { packets: 0, bytes: 0 };
    for (const { source, bytes } of samplePackets(sample)) {
      if (counted.has(source)) continue;
      if (counted.size < 100) counted.add(source);
      else {
        refused.packets++;
        refused.bytes += bytes;
      }
    }
    const report = flows("--type", "hash", "--max-entries", "100", samplePath);
    expect(report).toMatchObject({ distinct: 100, inserted: 100, evictions: 0 });
    expect([report.packets.refused, report.bytes.refused]).toEqual([
      refused.packets,
      refused.bytes,
    ]);
    const args = ["--type", "hash", "--max-entries", "100", "--no-compare", samplePath];
    const packets = refused.packets.toLocaleString("en-US");
    expect(run(["flows", ...args]).stdout).toContain(
      `The map was full: ${packets} packets (${refused.bytes.toLocaleString("en-US")} bytes) of new`,
    );
  });

  it("makes room in a full LRU map and reports the evictions", () => {
    const sources = totals("source").size;
    const report = flows("--max-entries", "100", samplePath);
    expect(report.distinct).toBeLessThanOrEqual(100);
    expect(report.distinct).toBeGreaterThan(50);
    expect(report.inserted).toBeGreaterThanOrEqual(sources);
    expect(report.evictions).toBe(report.inserted - report.distinct);
    expect(report.packets.refused).toBe(0);
    expect(report.top[0]!.source).toBe("192.0.2.1");
  });

  it("reads standard input, packed or not", () => {
    const expected = flows(samplePath).top;
    for (const input of [sample, gzipSync(sample)]) {
      const { code, stdout } = run(["flows", "--json", "--no-compare", "-"], input);
      expect(code).toBe(0);
      expect(parseReport(stdout).top).toEqual(expected);
    }
  });

  it("prints what it has when a live capture is interrupted", async () => {
    const child = spawn(process.execPath, [cli, "flows", "--json", "--no-compare", "-"]);
    const output: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
    const exited = new Promise<number | null>((resolve) => {
      child.once("close", resolve);
    });
    child.stdin.on("error", () => undefined); // the pipe breaks when the child ends: expected
    // More than the pipe holds: once it is written, the child is reading, and listens to signals. It ends in mid-packet,
    // and the pipe stays open.
    await new Promise((resolve) => {
      child.stdin.write(sample.subarray(0, 900_001), resolve);
    });
    child.kill("SIGINT");
    expect(await exited).toBe(0);
    const report = parseReport(Buffer.concat(output).toString());
    expect(report.complete).toBe(true);
    expect(report.packets.read).toBeGreaterThan(500);
  });

  it("keeps what was read before a capture is cut off", () => {
    const cut = sample.subarray(0, 200_000);
    const packed = readFileSync(samplePath).subarray(0, 100_000);
    for (const path of [file("cut.pcap", cut), file("cut.pcap.gz", packed)]) {
      const { code, stdout, stderr } = run(["flows", "--json", "--no-compare", path]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^bpfmaps: \S+: the capture is cut off: [^\n]+\n$/);
      const report = parseReport(stdout);
      expect(report.complete).toBe(false);
      expect(report.packets.read).toBeGreaterThan(1500);
      expect(run(["flows", "--no-compare", path]).stdout).toMatch(/^ 1 {2}192\.0\.2\.1 /m);
    }
  });

  it("has one line and exit code 1 for what is no capture", () => {
    const cases: [string, RegExp][] = [
      [file("empty", new Uint8Array(0)), /: the capture is empty\n$/],
      [file("text.pcap", Buffer.from("Hello, world!\n")), /: not a capture: [^\n]+\n$/],
      [join(folder, "missing.pcap"), /: no such file\n$/],
      [folder, /: is a directory\n$/],
    ];
    for (const [path, message] of cases) {
      const { code, stdout, stderr } = run(["flows", path]);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(message);
      expect(stderr.split("\n")).toHaveLength(2);
    }
    expect(run(["flows", "-"], new Uint8Array(0))).toMatchObject({ code: 1, stdout: "" });
  });

  it("has a table without lines for a capture without packets", () => {
    const { code, stdout } = run(["flows", file("none.pcap", sample.subarray(0, 24))]);
    expect(code).toBe(0);
    expect(stdout).toContain("0 packets read, 0 IP packets counted, none skipped");
  });

  it("has one line and exit code 2 for what it does not understand", () => {
    const cases = [
      ["flows", "--key", "dstip"],
      ["flows", "--type", "array"],
      ["flows", "--max-entries", "0"],
      ["flows", "--max-entries", "1e3"],
      ["flows", "--top", "-1"],
      ["flows", "--nonsense"],
      ["flows", "a", "b"],
      ["flows", "--max-entries", "2147483647", samplePath],
      ["nonsense"],
    ];
    for (const args of cases) {
      const { code, stdout, stderr } = run(args);
      expect([args, code, stdout]).toEqual([args, 2, ""]);
      expect(stderr).toMatch(/^bpfmaps: [^\n]+\n$/);
    }
  });

  it("has no stack trace when nobody reads its output", async () => {
    const child = spawn(process.execPath, [cli, "flows", "--no-compare", "--top", "9999"]);
    const errors: Buffer[] = [];
    child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
    child.stdout.destroy();
    const code = await new Promise<number | null>((resolve) => {
      child.once("close", resolve);
    });
    expect(code).toBe(0);
    expect(Buffer.concat(errors).toString()).toMatch(/^bpfmaps: no FILE given[^\n]+\n$/);
  });

  it("knows --help and --version", () => {
    expect(run(["--help"])).toMatchObject({ code: 0, stderr: "" });
    expect(run(["flows", "--help"]).stdout).toMatch(/^Usage: bpfmaps flows /);
    expect(run([]).code).toBe(2);
    expect(run(["--version"]).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

/**
 * `bpfmaps flows`: packets and bytes per source address (or per flow) of a capture, counted in a
 * BPF map. Packets are decoded into batches of flow tuples in linear memory; each full batch is
 * counted at once, so the memory used is the map and one batch, whatever the capture's length.
 */

import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { BpfError, createRuntime } from "../index.js";
import type { BpfRuntime } from "../index.js";
import { readCapture } from "./capture.js";
import { compareCounters, keepPackets } from "./compare.js";
import type { Comparison, KeptPackets } from "./compare.js";
import { counterTypes, MapCounter, PacketBatch } from "./counter.js";
import type { Counted } from "./counter.js";
import { decodeFrame, decoded, flowTupleSize } from "./packet.js";
import { CaptureError } from "./pcap.js";
import { Progress } from "./progress.js";
import { renderReport, renderReportJson } from "./report.js";
import type { FlowsOptions, FlowsReport } from "./report.js";
import { integerOption, UsageError } from "./usage.js";

const flowsHelp = `Usage: bpfmaps flows [options] [FILE | -]

Counts packets and bytes per source address in a BPF map, as the example program of the
kernel's documentation does, and prints the top talkers.

  FILE               a capture: pcap or pcapng (Ethernet, raw IP, Linux cooked, loopback),
                     or .pkt40 records; gzip is recognised. Without FILE: the sample capture.
  -                  standard input, live: tcpdump -w - | bpfmaps flows -   (Ctrl-C ends it)

  --key srcip|flow   count per source address, or per flow (addresses, ports, protocol)
                     (default: srcip)
  --type TYPE        lru_hash, hash, percpu_hash or lru_percpu_hash (default: lru_hash)
  --max-entries N    size of the map (default: 65536)
  --cpus N           possible CPUs; batches of packets go to them in turn (default: 1)
  --top N            lines in the table (default: 20)
  --json             one JSON object instead of the table
  --no-compare       do not time the same job on a JavaScript Map
`;

const batchCapacity = 1024;
/** Bounds what is kept for the comparison: 10 MiB. */
const comparedPackets = 1 << 18;
/** How long to wait for the other end of a pipe to finish after Ctrl-C, in milliseconds. */
const interruptGrace = 300;

const samplePath = fileURLToPath(new URL("../../examples/sample.pcap.gz", import.meta.url));

/** Runs the command. The result is the exit code. */
export async function runFlows(args: readonly string[]): Promise<number> {
  const options = parseFlowsArgs(args);
  if (options === undefined) {
    process.stdout.write(flowsHelp);
    return 0;
  }
  if (options.file === undefined) {
    process.stderr.write("bpfmaps: no FILE given, reading the bundled sample capture\n");
  }
  const report = await countFlows(options);
  const isUseless = report.problem !== undefined && report.packets.read === 0;
  if (!isUseless) process.stdout.write((options.json ? renderReportJson : renderReport)(report));
  if (report.problem === undefined) return 0;
  process.stderr.write(`bpfmaps: ${report.file}: ${report.problem}\n`);
  return 1;
}

function parseFlowsArgs(args: readonly string[]): FlowsOptions | undefined {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      key: { type: "string", default: "srcip" },
      type: { type: "string", default: "lru_hash" },
      "max-entries": { type: "string", default: "65536" },
      cpus: { type: "string", default: "1" },
      top: { type: "string", default: "20" },
      json: { type: "boolean", default: false },
      "no-compare": { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  if (positionals.length > 1) throw new UsageError("flows reads one FILE at a time");
  if (positionals[0] === "-" && process.stdin.isTTY) {
    throw new UsageError("- reads a capture from a pipe, and standard input is a terminal");
  }
  const { key } = values;
  if (key !== "srcip" && key !== "flow") throw new UsageError("--key is srcip or flow");
  const type = counterTypes.find((name) => name === values.type);
  if (type === undefined) throw new UsageError(`--type is one of ${counterTypes.join(", ")}`);
  return {
    key,
    keySize: key === "srcip" ? 16 : flowTupleSize,
    type,
    maxEntries: integerOption("--max-entries", values["max-entries"], 1, 0x7fffffff),
    cpus: integerOption("--cpus", values.cpus, 1, 64),
    top: integerOption("--top", values.top, 0, 0x7fffffff),
    json: values.json,
    compare: !values["no-compare"],
    file: positionals[0],
  };
}

/** Reads the capture and counts; what was read before a problem is in the report. */
async function countFlows(options: FlowsOptions): Promise<FlowsReport> {
  const file = options.file ?? samplePath;
  const rt = await createRuntime({ cpus: options.cpus });
  const job = createJob(rt, options);
  const started = performance.now();
  const problem = await readInto(job, file);
  job.flush();
  const seconds = (performance.now() - started) / 1000;
  const entries = job.counter.entries();
  const { inserted, refusedPackets, refusedBytes } = job.counter;
  entries.sort(byBytes);
  job.counter.close(); // makes room for the maps of the comparison
  const comparison = options.compare ? tryComparison(rt, options, job.kept) : undefined;
  rt.dispose();
  return {
    file: displayName(options.file),
    options,
    packets: { ...job.packets, refused: refusedPackets },
    bytes: { ip: job.ipBytes, refused: refusedBytes },
    inserted,
    entries,
    seconds,
    comparison,
    problem,
  };
}

/** The comparison makes maps of its own: without room for those, the counts are still worth having. */
function tryComparison(
  rt: BpfRuntime,
  options: FlowsOptions,
  kept: KeptPackets,
): Comparison | undefined {
  try {
    return compareCounters(rt, options, kept);
  } catch (error) {
    if (error instanceof BpfError) return undefined;
    throw error;
  }
}

function createJob(rt: BpfRuntime, options: FlowsOptions): FlowsJob {
  try {
    return new FlowsJob(rt, options);
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    const { type, maxEntries } = options;
    throw new UsageError(`no ${type} of ${maxEntries} entries can be created: ${error.message}`);
  }
}

/** The counting of one capture: from frames to entries of the map. */
class FlowsJob {
  readonly counter: MapCounter;
  readonly packets = { read: 0, ip: 0, notIp: 0, tooShort: 0, unknownLink: 0 };
  ipBytes = 0;
  /** The first packets, for the comparison. */
  readonly kept: KeptPackets;
  readonly #rt: BpfRuntime;
  readonly #batch: PacketBatch;

  constructor(rt: BpfRuntime, options: FlowsOptions) {
    this.#rt = rt;
    this.counter = new MapCounter(rt, options);
    this.#batch = new PacketBatch(rt, batchCapacity);
    this.kept = { chunks: [], limit: options.compare ? comparedPackets : 0, count: 0 };
  }

  packet(data: Uint8Array, start: number, end: number, wireLength: number, linkType: number): void {
    const batch = this.#batch;
    const at = batch.count * flowTupleSize;
    this.packets.read++;
    switch (decodeFrame(linkType, data, start, end, batch.tuples, at)) {
      case decoded.ip:
        this.packets.ip++;
        this.ipBytes += wireLength;
        batch.lengths[batch.count++] = wireLength;
        if (batch.count === batch.capacity) this.flush();
        break;
      case decoded.notIp:
        this.packets.notIp++;
        break;
      case decoded.tooShort:
        this.packets.tooShort++;
        break;
      case decoded.unknownLink:
        this.packets.unknownLink++;
        break;
    }
  }

  /** Counts the packets that wait, then moves to the next CPU, as a network card would. */
  flush(): void {
    const batch = this.#batch;
    this.counter.count(batch);
    keepPackets(this.kept, batch);
    batch.count = 0;
    this.#rt.cpu = (this.#rt.cpu + 1) % this.#rt.cpus;
  }
}

function displayName(file: string | undefined): string {
  if (file === undefined) return "examples/sample.pcap.gz";
  return file === "-" ? "standard input" : file;
}

function byBytes(a: Counted, b: Counted): number {
  return b.bytes - a.bytes || b.packets - a.packets || Buffer.compare(a.key, b.key);
}

/** Reads the file (or "-") into the job. The result is what went wrong, if anything did. */
async function readInto(job: FlowsJob, file: string): Promise<string | undefined> {
  const size = file === "-" ? undefined : (await stat(file).catch(() => undefined))?.size;
  const progress = new Progress(size);
  const stop = new AbortController();
  const interrupt = (): void => {
    // tcpdump gets the same Ctrl-C and writes out what it has: give it a moment.
    const timer = setTimeout(() => stop.abort(), file === "-" ? interruptGrace : 0);
    timer.unref();
  };
  process.once("SIGINT", interrupt);
  try {
    await readCapture({
      name: file,
      signal: stop.signal,
      onPacket: (data, start, end, wireLength, linkType) =>
        job.packet(data, start, end, wireLength, linkType),
      onBytes: (length) => progress.advance(length, job.packets.read),
    });
    return undefined;
  } catch (error) {
    if (error instanceof CaptureError) return error.message;
    throw error;
  } finally {
    process.off("SIGINT", interrupt);
    progress.clear();
  }
}

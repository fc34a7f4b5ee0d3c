// Who owns what: fds, buffers, runtimes.

import { expect, test } from "vitest";
import * as bpf from "../../ts/bpf-compat.js";
import { BpfClient } from "../support/bpf.js";
import { collectUntil } from "../support/collect.js";
import { attempt } from "./script.js";
import { describeCompat } from "./support.js";

const { MapType } = bpf;
const HASH = { type: MapType.HASH, keySize: 4, valueSize: 4, maxEntries: 8 };

/** A map with its buffers. */
function use(): bpf.MapRef {
  const ref = bpf.createMap(HASH);
  new bpf.RawMap(ref).has(Buffer.alloc(4));
  return ref;
}

describeCompat("a reference", {}, (build) => {
  test("lists the map's info and nothing else, and cannot be changed", () => {
    const ref = bpf.createMap({ ...HASH, name: "flows", flags: bpf.MapFlags.NO_PREALLOC });
    expect({ ...ref }).toEqual({
      ...HASH,
      id: 1,
      flags: 1,
      name: "flows",
      ifindex: 0,
      netnsDev: 0n,
      netnsIno: 0n,
    });
    expect(Object.isFrozen(ref)).toBe(true);
    expect(ref.toString()).toBe("<FDRef: 3>");
    ref.close();
    expect(ref.toString()).toBe("<FDRef: closed>");
  });

  test("closing gives the fd and the buffers back", () => {
    const first = bpf.createMap(HASH);
    const { fd } = first;
    first.close();
    const used = bpf.runtime.exports.mem_used();
    const ref = bpf.createMap(HASH);
    expect(ref.fd).toBe(fd);
    const map = new bpf.RawMap(ref);
    map.set(Buffer.alloc(4), Buffer.alloc(4));
    expect([...map.getBatch(8)]).toHaveLength(1);
    ref.close();
    expect(bpf.runtime.exports.mem_used()).toBe(used);
    expect(() => map.get(Buffer.alloc(4))).toThrow("FD was closed");
  });

  test("calls take no memory of the core once the buffers are there", () => {
    const map = new bpf.ConvMap(bpf.createMap(HASH), bpf.u32type, bpf.u32type);
    const round = (): void => {
      map.set(1, 2).set(2, 3);
      map.setBatch([[4, 5]]);
      map.deleteBatch([4]);
      expect([...map.getBatch(8)].flat()).toHaveLength(2);
      expect([...map]).toHaveLength(2);
      map.clear();
    };
    round();
    const used = bpf.runtime.exports.mem_used();
    for (let n = 0; n < 100; n++) round();
    expect(bpf.runtime.exports.mem_used()).toBe(used);
  });

  test("large batch buffers are not kept", () => {
    const map = bpf.createArrayMap(1 << 18, 8, { parse: () => 0, format: () => undefined });
    expect(map.get(0)).toBe(0);
    const used = bpf.runtime.exports.mem_used();
    expect(map.getAll()).toHaveLength(1 << 18);
    expect(bpf.runtime.exports.mem_used()).toBe(used);
  });

  test("closes itself when it is no longer used", async () => {
    // The core's tables stay as large as they once were.
    for (const ref of Array.from({ length: 20 }, use)) ref.close();
    const used = bpf.runtime.exports.mem_used();
    for (let n = 0; n < 20; n++) use();
    expect(bpf.runtime.exports.mem_used()).toBeGreaterThan(used);
    expect(await collectUntil(() => bpf.runtime.exports.mem_used() <= used)).toBe(true);
    expect(bpf.runtime.exports.mem_used()).toBe(used);
  });

  test("taking an fd over closes it once; a number that is no map stays the caller's", () => {
    const client = new BpfClient(bpf.runtime);
    const fd = client.create(HASH);
    const ref = bpf.createMapRef(fd, { transfer: true });
    expect(ref.fd).toBe(fd);
    ref.close();
    expect(client.freeze(fd)).toBeLessThan(0);
    expect(attempt(bpf, () => bpf.createMapRef(0, { transfer: true }))).toBe(
      "BPFError EINVAL bpf_obj_get_info_by_fd 22 EINVAL undefined",
    );
    expect(attempt(bpf, () => bpf.createMapRef(0))).toContain("22");
  });

  test("may be a program's own", () => {
    const client = new BpfClient(bpf.runtime);
    let open = client.create(HASH);
    const ref: bpf.MapRef = {
      ...HASH,
      flags: 0,
      get fd() {
        return open;
      },
      close() {
        bpf.runtime.close(open);
        open = -1;
      },
    };
    const map = new bpf.ConvMap(ref, bpf.u32type, bpf.u32type);
    map.set(1, 2);
    expect(map.get(1)).toBe(2);
    ref.close();
    expect(attempt(bpf, () => map.get(1))).toContain("EBADF");
  });

  test("touches nothing after its runtime's end", () => {
    const { runtime } = bpf;
    const map = new bpf.ConvMap(bpf.createMap(HASH), bpf.u32type, bpf.u32type);
    map.setBatch([[1, 2]]);
    const { ref } = map;
    runtime.dispose();
    const bytes = new Uint8Array(runtime.memory.buffer).fill(0xa5);
    const calls = [
      () => map.get(1),
      () => map.set(1, 2),
      () => map.delete(1),
      () => map.setBatch([[1, 2]]),
      () => [...map.getBatch(8)],
      () => [...map.keys()],
      () => map.freeze(),
      () => bpf.createMap(HASH),
      () => bpf.createMapRef(3),
    ];
    for (const call of calls) expect(attempt(bpf, call), String(call)).toContain("EBADF");
    ref.close();
    expect(bytes.every((byte) => byte === 0xa5)).toBe(true);
  });

  test("stays on its runtime when another one is chosen", async () => {
    const before = bpf.runtime;
    const map = new bpf.ConvMap(bpf.createMap(HASH), bpf.u32type, bpf.u32type);
    const other = await build.createRuntime({ cpus: 4 });
    bpf.useRuntime(other);
    expect(bpf.runtime).toBe(other);
    const ref = bpf.createMap({ ...HASH, type: MapType.PERCPU_HASH });
    expect(new bpf.RawMap(ref).valueBufferSize).toBe(32);
    expect(attempt(bpf, () => bpf.openMap(map.ref.id ?? 0).close())).toBe("undefined");
    map.set(1, 2);
    expect(map.get(1)).toBe(2);
    bpf.useRuntime(before);
    other.dispose();
    expect(ref.close()).toBe(undefined);
    expect(map.get(1)).toBe(2);
  });

  test("memory that runs out is ENOMEM", () => {
    const ref = bpf.createMap(HASH);
    const map = new bpf.RawMap(ref);
    const blocks: number[] = [];
    for (let size = 1 << 28; size >= 8;) {
      const ptr = bpf.runtime.alloc(size);
      if (ptr === 0) size >>= 1;
      else blocks.push(ptr);
    }
    expect(attempt(bpf, () => map.has(Buffer.alloc(4)))).toContain("ENOMEM");
    for (const ptr of blocks) bpf.runtime.free(ptr);
    expect(map.has(Buffer.alloc(4))).toBe(false);
  });

  test("what is no bytes is refused", () => {
    const map = new bpf.RawMap(bpf.createMap(HASH));
    for (const key of ["abcd", [1, 2, 3, 4], undefined, null, new Uint32Array(4), 5]) {
      expect(() => map.get(key as unknown as Uint8Array)).toThrow(TypeError);
    }
    map.set(new Uint8Array(4), new Uint8ClampedArray(4) as unknown as Uint8Array);
    expect(map.get(new Uint8Array(4))).toEqual(Buffer.alloc(4));
  });

  test("objGet names its operation", () => {
    expect(attempt(bpf, () => bpf.objGet("/sys/fs/bpf/nothing_here"))).toBe(
      "BPFError ENOENT bpf_obj_get 2 ENOENT undefined",
    );
    expect(() => bpf.objGet(5 as unknown as string)).toThrow(TypeError);
  });
});

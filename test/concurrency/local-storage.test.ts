// Storages between threads: the same sockets and maps, sockets that come and go, and a counter under a bpf_spin_lock.

import { describe, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { StorageRig } from "../support/storage.js";
import { canThread, inThread, sharedRuntime } from "../support/threads.js";

const THREADS = 3;
const ROUNDS = 30_000;

const isBuilt = canThread("storages between threads");

describe.skipIf(!isBuilt)("storages between threads", () => {
  it("stay whole, and a lock keeps others out", async () => {
    const rt = await sharedRuntime({ cpus: THREADS + 1, maxBytes: 1 << 26 });
    const rig = new StorageRig(rt);
    const SK = uapi.BPF_MAP_TYPE_SK_STORAGE;
    const sockets = Array.from({ length: 6 }, () => rt.socket());
    const maps = [8, 8, 100, 2000].map((size) => rig.map(SK, size));
    const counter = rig.map(SK, 8, { lockOffset: 0 });
    expect(rig.update(counter, sockets[0]?.fd ?? -1, new Uint8Array(8))).toBe(0);
    const data = {
      sockets: sockets.map(({ fd, ptr }) => ({ fd, ptr })),
      maps: maps.map(({ fd }) => fd),
      counter: counter.fd,
      rounds: ROUNDS,
    };
    const answers = await Promise.all(
      Array.from({ length: THREADS }, (_, i) =>
        inThread<number[]>(rt, "storage-worker.mjs", i + 1, data),
      ),
    );
    expect([...new Set(answers.flat())].toSorted((a, b) => a - b)).toEqual([-uapi.ENOENT, 0]);
    const counted = rig.lookup(counter, sockets[0]?.fd ?? -1, uapi.BPF_F_LOCK);
    expect(counted).toEqual(new Uint8Array(new Uint32Array([0, THREADS * ROUNDS]).buffer));
    for (const map of maps) {
      for (const { fd } of sockets) rig.delete(map, fd);
    }
    for (const [i, socket] of sockets.entries()) {
      expect(socket.omemAlloc).toBe(i === 0 ? 72 + 8 + 176 : 0);
      socket.close();
    }
    rt.dispose();
  });
});

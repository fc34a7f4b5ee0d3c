// The kernel's CPUs, as callers without TypeScript's checks name them.

import { expect, it } from "vitest";
import { CPUS_MAX } from "../../ts/abi.js";
import { instantiate } from "../../ts/core.js";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { type Build, describeEachBuild } from "../support/builds.js";
import { u32s } from "../support/bytes.js";
import { place } from "../support/raw.js";

const HEAP_GROW = 0;

describeEachBuild("CPUs", (build: Build) => {
  it("set_cpu passes a CPU that there is not over", async () => {
    const rt = await build.createRuntime({ cpus: 2 });
    const client = new BpfClient(rt);
    const fd = client.create({
      type: uapi.BPF_MAP_TYPE_PERCPU_HASH,
      keySize: 4,
      valueSize: 4,
      maxEntries: 8,
    });
    const handle = rt.exports.bpf_map_by_fd(fd);
    const [key, value] = [place(rt, u32s(7)), place(rt, u32s(1))];
    rt.exports.set_cpu(1);
    for (const cpu of [2, 20000, 0x3ffff, -1]) {
      rt.exports.set_cpu(cpu);
      expect(rt.exports.get_cpu()).toBe(1);
      expect(rt.exports.bpf_map_update_elem(handle, key, value, 0n)).toBe(0);
    }
    expect(client.lookup(fd, u32s(7), 16).out).toEqual(u32s(0, 0, 1, 0));
    rt.dispose();
  });

  it(`kernel_init takes 1 to ${CPUS_MAX} CPUs`, () => {
    const shared = build.name === "shared";
    const init = (nrCpus: number): number => {
      const memory = new WebAssembly.Memory({ initial: 2, maximum: 64, shared });
      const none = { malloc: () => 0, free: () => {}, callback: () => 0n, wakeup: () => {} };
      const exports = instantiate(build.core, memory, none);
      return exports.kernel_init(HEAP_GROW, 64, 2 * 65536, 64n * 65536n, nrCpus, 1n);
    };
    for (const nrCpus of [0, CPUS_MAX + 1, 200_000, -1]) expect(init(nrCpus), `${nrCpus}`).toBe(0);
    for (const nrCpus of [1, CPUS_MAX]) expect(init(nrCpus), `${nrCpus}`).not.toBe(0);
  });

  it("kernel_attach refuses a CPU that there is not", async () => {
    const rt = await build.createRuntime({ cpus: 2 });
    const none = { malloc: () => 0, free: () => {}, callback: () => 0n, wakeup: () => {} };
    const other = instantiate(build.core, rt.memory, none);
    const root = new Uint32Array(rt.memory.buffer).indexOf(0x6b667062) * 4;
    expect(other.kernel_attach(root, 2)).toBe(0);
    expect(other.kernel_attach(root, 1)).toBe(1);
    expect(other.get_cpu()).toBe(1);
    rt.dispose();
  });
});

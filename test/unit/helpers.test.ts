// Every helper with every map type, by number: what fits works, what does not is refused, and nothing a program passes
// ends in a trap. What each helper does in detail is tested with its map type.

import { afterEach, beforeEach, expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { expectSound } from "../support/debug.js";
import { type Helper, type HelperName, HELPERS, type Rig, RigMaker } from "../support/helpers.js";
import { Random } from "../support/random.js";
import { u64s } from "../support/bytes.js";

/** Helpers whose first results for the operands of RigMaker differ by type; all others give 0, or an address. */
function expectedErrno(name: HelperName, type: number): number {
  const isArray = type === uapi.BPF_MAP_TYPE_ARRAY || type === uapi.BPF_MAP_TYPE_PERCPU_ARRAY;
  switch (name) {
    case "bpf_map_delete_elem":
      return isArray ? -uapi.EINVAL : 0;
    case "bpf_for_each_map_elem":
      return isArray ? 4 : 1;
    default:
      return 0;
  }
}

/** In this order each helper finds what the ones before have left. */
function inOrder(names: readonly string[]): (a: Helper, b: Helper) => number {
  const place = ({ name }: Helper) => names.findIndex((part) => name.includes(part));
  return (a, b) => place(a) - place(b);
}
const ORDER = inOrder(["update", "push", "peek", "pop", "lookup", "for_each", "get", "delete", ""]);

describeEachBuild("helpers", (build) => {
  let rt: Runtime;
  let maker: RigMaker;

  beforeEach(async () => {
    rt = await build.createRuntime({ cpus: 2, seed: 1 });
    maker = new RigMaker(rt);
    rt.setCallback(() => 0n);
  });
  afterEach(() => rt.dispose());

  function call(id: number, ...args: readonly bigint[]): bigint {
    const [r1 = 0n, r2 = 0n, r3 = 0n, r4 = 0n, r5 = 0n] = args;
    return rt.exports.bpf_helper_call(id, r1, r2, r3, r4, r5);
  }

  /** Has the core a type that the helper is for, or is it for none? */
  function isThere({ types = [] }: Helper): boolean {
    return types.length === 0 || types.some((type) => rt.exports.map_type_supported(type) === 1);
  }

  /** What a helper says to a map that it does not know. */
  function refusal({ result }: Helper): bigint {
    return result === "errno" ? -BigInt(uapi.EINVAL) : 0n;
  }

  function callOn(rig: Rig, helper: Helper): bigint {
    maker.resetOperands();
    return rig.run(() => call(helper.id, rig.handle, ...rig.operands(helper.name)));
  }

  it("answers right pairs, refuses wrong ones", () => {
    const ofMaps = HELPERS.filter(({ types }) => types !== undefined).toSorted(ORDER);
    for (const rig of maker.types().map((type) => maker.make(type))) {
      for (const helper of ofMaps) {
        const result = callOn(rig, helper);
        const pair = `${helper.name} of ${rig.typeName}`;
        if (!helper.types?.includes(rig.type)) {
          // The one wrong pair for which the kernel has an answer of its own.
          const isBloomPop = pair === "bpf_map_pop_elem of BLOOM_FILTER";
          const expected = isBloomPop ? -BigInt(uapi.EOPNOTSUPP) : refusal(helper);
          if (isThere(helper)) expect(result, pair).toBe(expected);
        } else if (helper.result === "errno") {
          expect(result, pair).toBe(BigInt(expectedErrno(helper.name, rig.type)));
        } else {
          expect(result, pair).toBeGreaterThan(0n);
        }
      }
    }
  });

  it("has every helper by name, too", () => {
    const names = HELPERS.filter((helper) => isThere(helper) && helper.types?.length !== 0);
    const missing = names.filter(({ name }) => typeof Reflect.get(rt.exports, name) !== "function");
    const isComplete = rt.exports.map_type_supported(uapi.BPF_MAP_TYPE_RINGBUF) === 1;
    // Dynptrs come with ring buffers.
    const isDynptr = /dynptr|ringbuf/;
    expect(missing.filter(({ name }) => isComplete || !isDynptr.test(name))).toEqual([]);
  });

  it("refuses handles that are none: 0, closed ones, numbers", () => {
    for (const type of maker.types()) {
      const rig = maker.make(type);
      rt.close(rig.fd);
      const next = maker.make(type);
      const wrong = [0n, rig.handle, next.handle ^ 0x1000000n, next.handle | (1n << 32n), ~0n, 1n];
      for (const helper of HELPERS.filter(({ types }) => types?.includes(type))) {
        for (const handle of wrong) {
          const result = call(helper.id, handle, ...rig.operands(helper.name));
          expect(result, `${helper.name}(${handle})`).toBe(refusal(helper));
        }
      }
    }
  });

  it("knows no other numbers", () => {
    const known = new Set(HELPERS.flatMap(({ id, types }) => (types?.length === 0 ? [] : [id])));
    const { handle } = maker.make(uapi.BPF_MAP_TYPE_HASH);
    const ids = [-1, 0x7fffffff, -0x80000000, ...Array.from({ length: 300 }, (_, id) => id)];
    for (const id of ids) {
      if (known.has(id)) continue;
      expect(call(id, handle, BigInt(maker.key))).toBe(-BigInt(uapi.EINVAL));
    }
  });

  it("refuses keys and values outside the memory", () => {
    const end = BigInt(rt.memory.buffer.byteLength);
    const bad = [0n, end - 3n, end, 0xffffffffn, 0x1_0000_0000n + BigInt(maker.key), 1n << 63n];
    for (const rig of maker.types().map((type) => maker.make(type))) {
      for (const helper of HELPERS.filter(({ types }) => types?.includes(rig.type))) {
        const good = rig.operands(helper.name);
        good.forEach((operand, index) => {
          if (operand < 64n) return;
          for (const address of bad) {
            const result = call(helper.id, rig.handle, ...good.with(index, address));
            const text = `${helper.name} of ${rig.typeName}, r${index + 2} = ${address}`;
            // A storage's value may be NULL or anything while none is created; its owner may not.
            if (helper.name.includes("_storage_") && index > 0) continue;
            if (helper.result === "pointer") expect(result, text).toBe(0n);
            else expect([-uapi.EFAULT, -uapi.EINVAL], text).toContain(Number(result));
          }
        });
      }
    }
  });

  it("never traps, whatever the registers hold", () => {
    const random = new Random(7);
    const rigs = maker.types().map((type) => maker.make(type));
    const stale = maker.make(uapi.BPF_MAP_TYPE_HASH);
    rt.close(stale.fd);
    // Pages that are nobody's, so that what a helper writes to the last bytes of the memory hurts none.
    rt.memory.grow(1);
    const end = BigInt(rt.memory.buffer.byteLength);
    const handles = [stale, ...rigs].map(({ handle }) => handle);
    const owners = rigs.flatMap((rig) => rig.operands("bpf_sk_storage_get").slice(0, 1));
    const own = [maker.key, maker.value, maker.room].map(BigInt);
    const edges = [end - 8n, end - 4n, end - 1n, end, 0xffffffffn, 0x1_0000_0000n, 1n << 63n, ~0n];
    const small = [0n, 1n, 2n, 4n, 7n, 8n];
    const operand = (): bigint =>
      random.pick(random.pick([handles, own, own, edges, small, owners]));
    const ids = HELPERS.filter(({ name }) => !name.includes("spin")).map(({ id }) => id);
    for (let round = 0; round < 200_000; round++) {
      // A dynptr is any bytes; here bytes that name no memory of others.
      if (round % 8 === 0) {
        const dynptr = u64s(random.pick([...own, ...edges, 0n]), random.pick([8n, 1n << 28n, 0n]));
        new Uint8Array(rt.memory.buffer).set(dynptr, maker.room);
      }
      if (round % 64 === 0) rt.cpu = random.below(2);
      const r1 = random.oneIn(3) ? operand() : random.pick(handles);
      call(random.pick(ids), r1, operand(), operand(), operand(), operand());
    }
    expectSound(rt, ...rigs.map(({ fd }) => fd));
  });

  it("tells the CPU", () => {
    expect(call(uapi.BPF_FUNC_get_smp_processor_id)).toBe(0n);
    rt.cpu = 1;
    expect(call(uapi.BPF_FUNC_get_smp_processor_id)).toBe(1n);
  });

  it("tells a time that only the host moves on, and that never stands still", () => {
    const now = () => call(uapi.BPF_FUNC_ktime_get_ns);
    expect([rt.ktime, now(), now(), rt.ktime]).toEqual([0n, 1n, 2n, 2n]);
    rt.ktime = 5_000_000_000n;
    expect(rt.ktime).toBe(5_000_000_000n);
    expect([now(), rt.exports.bpf_ktime_get_ns()]).toEqual([5_000_000_001n, 5_000_000_002n]);
    expect(() => (rt.ktime = 1n)).toThrow(RangeError);
    expect(() => (rt.ktime = 1n << 63n)).toThrow(RangeError);
    expect(() => Reflect.set(rt, "ktime", 1)).toThrow(TypeError);
    rt.exports.set_ktime(1n);
    expect(rt.ktime).toBe(5_000_000_002n);
  });

  it("starts at the host's time when there is no seed", async () => {
    const before = BigInt(Math.floor(performance.now() * 1e6));
    const other = await build.createRuntime();
    expect(other.ktime).toBeGreaterThanOrEqual(before);
    expect(other.ktime).toBeLessThan(before + 60_000_000_000n);
    other.dispose();
    expect(other.ktime).toBe(0n);
  });

  it("gives the same random numbers for the same seed", async () => {
    const numbers = (runtime: Runtime) =>
      Array.from({ length: 100 }, () =>
        runtime.exports.bpf_helper_call(uapi.BPF_FUNC_get_prandom_u32, 0n, 0n, 0n, 0n, 0n),
      );
    const again = await build.createRuntime({ cpus: 2, seed: 1 });
    const other = await build.createRuntime({ cpus: 2, seed: 2 });
    const first = numbers(rt);
    expect(numbers(again)).toEqual(first);
    expect(numbers(other)).not.toEqual(first);
    expect(first.every((number) => number >= 0n && number < 1n << 32n)).toBe(true);
    expect(new Set(first).size).toBe(100);
    again.dispose();
    other.dispose();
  });
});

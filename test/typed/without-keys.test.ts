// Queue, Stack and BloomFilter, the typed maps without keys.

import { afterEach, beforeEach, expect, it } from "vitest";
import { BPF_EXIST, BpfError, Queue, Stack, struct, u32, u64, u8 } from "../../ts/index.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";

describeEachBuild("typed maps without keys", (build) => {
  let rt: Runtime;

  beforeEach(async () => {
    rt = await build.createRuntime();
  });
  afterEach(() => rt.dispose());

  it("a queue hands out what came first, a stack what came last", () => {
    const queue = rt.createMap({ type: "queue", value: u32, maxEntries: 3 });
    const stack = rt.createMap({ type: "stack", value: u32, maxEntries: 3 });
    expect(queue).toBeInstanceOf(Queue);
    expect(stack).toBeInstanceOf(Stack);
    queue.push(1).push(2).push(3);
    stack.push(1).push(2).push(3);
    expect([queue.peek(), queue.pop(), queue.peek()]).toEqual([1, 1, 2]);
    expect([stack.peek(), stack.pop(), stack.peek()]).toEqual([3, 3, 2]);
    expect([...queue]).toEqual([2, 3]);
    expect([...stack]).toEqual([2, 1]);
    expect([queue.pop(), queue.peek(), stack.pop()]).toEqual([undefined, undefined, undefined]);
  });

  it("a full one refuses, or drops its oldest value with BPF_EXIST", () => {
    const queue = rt.createMap({ type: "queue", value: u8, maxEntries: 2 });
    queue.push(1).push(2);
    expect(() => queue.push(3)).toThrow(`E2BIG: the map of fd ${queue.fd} is full (maxEntries 2)`);
    queue.push(3, BPF_EXIST);
    expect(() => queue.push(4, 1)).toThrow("EINVAL");
    expect([...queue]).toEqual([2, 3]);
  });

  it("takes structs, refuses what does not fit, and a loop may be left early", () => {
    const point = struct({ x: u32, y: u64 });
    const queue = rt.createMap({ type: "queue", value: point, maxEntries: 4 });
    for (let n = 1; n <= 3; n++) queue.push({ x: n, y: BigInt(n) });
    expect(() => queue.push({ x: -1, y: 0n })).toThrow(RangeError);
    for (const { x } of queue) if (x === 2) break;
    expect(queue.pop()).toEqual({ x: 3, y: 3n });
  });

  it("frozen or closed, it throws", () => {
    const queue = rt.createMap({ type: "queue", value: u32, maxEntries: 2, name: "jobs" });
    queue.push(1).freeze();
    expect(() => queue.push(2)).toThrow("EPERM");
    expect(() => queue.pop()).toThrow("EPERM");
    expect(queue.peek()).toBe(1);
    queue.close();
    expect(() => queue.peek()).toThrow(BpfError);
    expect(() => queue.push(1)).toThrow("map 'jobs' is closed");
  });

  it("mapFromFd finds out what it is", () => {
    const queue = rt.createMap({ type: "queue", value: u32, maxEntries: 2 });
    const other = rt.mapFromFd(queue.fd, { value: u32 });
    expect(other).toBeInstanceOf(Queue);
    expect(() => rt.mapFromFd(queue.fd, { value: u64 })).toThrow(RangeError);
    expect(() => rt.mapFromFd(queue.fd, {})).toThrow(TypeError);
  });

  it("a bloom filter has what was added, and hardly anything else", () => {
    const seen = rt.createMap({ type: "bloom_filter", value: u64, maxEntries: 1000, mapExtra: 4 });
    for (let n = 0n; n < 1000n; n++) seen.add(n);
    let wrong = 0;
    for (let n = 0n; n < 1000n; n++) {
      expect(seen.mightHave(n)).toBe(true);
      if (seen.mightHave(n + 1_000_000n)) wrong++;
    }
    expect(wrong).toBeLessThan(150);
    expect(() => seen.add(-1n)).toThrow(RangeError);
    seen.freeze();
    expect(() => seen.add(1n)).toThrow("EPERM");
    seen.close();
    expect(() => seen.mightHave(1n)).toThrow("EBADF");
  });
});

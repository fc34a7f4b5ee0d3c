// eBPF programs on queues, ring buffers and maps of maps: both machines, all kinds of memory.
import { expect, test } from "vitest";
import { struct, u32, u64 } from "../../ts/api.js";
import { loadText, SETUPS, type Setup } from "../support/vm/machines.js";
import { VmError } from "../support/vm/vm.js";

const event = struct({ id: u64, double: u64 });

/** A context of two u64 words. */
function contextOf({ rt }: Setup, ...words: readonly number[]): number {
  const ctx = rt.alloc(16);
  const view = new DataView(rt.memory.buffer);
  words.forEach((word, index) => view.setBigUint64(ctx + index * 8, BigInt(word), true));
  return ctx;
}

/** Reserves a record, fills it with the context's number and its double, and submits it; 0 when there is no room. */
const RESERVE = `
  r6 = *(u64 *)(r1 + 0)
  r1 = map[events] ll
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  if r0 == 0 goto out
  *(u64 *)(r0 + 0) = r6
  r6 += r6
  *(u64 *)(r0 + 8) = r6
  r1 = r0
  r2 = 0
  call bpf_ringbuf_submit
  r1 = map[events] ll
  r2 = 0                              // BPF_RB_AVAIL_DATA
  call bpf_ringbuf_query
out:
  exit`;

test.for(SETUPS)("%s: records in a ring buffer, in place", async ([, create]) => {
  const setup = await create();
  const events = setup.rt.createMap({ type: "ringbuf", value: event, maxEntries: 4096 });
  loadText(setup, RESERVE, { events: events.fd });
  const ctx = contextOf(setup, 21);
  expect([1, 2].map(() => setup.machine.exec(ctx, 16))).toEqual([24n, 48n]);
  expect(events.take()).toEqual({ id: 21n, double: 42n });
  let count = 1;
  while (setup.machine.exec(ctx, 16) !== 0n) count++;
  // A ring is never full to its last byte; what was taken is free again.
  expect(count).toBe(Math.floor(4095 / 24));
});

test.for(SETUPS)("%s: records in a ring buffer, copied", async ([, create]) => {
  const setup = await create();
  const events = setup.rt.createMap({ type: "ringbuf", value: event, maxEntries: 4096 });
  const text = `*(u64 *)(r10 - 16) = 3; *(u64 *)(r10 - 8) = 6; r1 = map[events] ll
    r2 = r10; r2 += -16; r3 = 16; r4 = 0; call bpf_ringbuf_output; exit`;
  loadText(setup, text, { events: events.fd });
  expect(setup.machine.exec(0, 0)).toBe(0n);
  expect([events.take(), events.take()]).toEqual([{ id: 3n, double: 6n }, undefined]);
});

/** Writes the context's words through a dynptr: a record whose size is known late. */
const DYNPTR = `
  r6 = r1
  r1 = map[events] ll
  r2 = 16
  r3 = 0
  r4 = r10; r4 += -16
  call bpf_ringbuf_reserve_dynptr
  r7 = r0
  r1 = r10; r1 += -16
  r2 = 0
  r3 = r6
  r4 = 16
  r5 = 0
  call bpf_dynptr_write
  r7 |= r0
  r1 = r10; r1 += -16
  r2 = 0
  call bpf_ringbuf_submit_dynptr
  r0 = r7
  exit`;

test.for(SETUPS)("%s: records in a ring buffer, by dynptr", async ([, create]) => {
  const setup = await create();
  const events = setup.rt.createMap({ type: "ringbuf", value: event, maxEntries: 4096 });
  loadText(setup, DYNPTR, { events: events.fd });
  expect(setup.machine.exec(contextOf(setup, 5, 10), 16)).toBe(0n);
  expect(events.take()).toEqual({ id: 5n, double: 10n });
});

test.for(SETUPS.filter(([name]) => name !== "Wasm machine" && !name.includes("shared")))(
  "%s: a record is the program's until it is submitted",
  async ([, create]) => {
    const setup = await create();
    const events = setup.rt.createMap({ type: "ringbuf", value: event, maxEntries: 4096 });
    const withRecord = (text: string) => {
      const reserve = "r1 = map[events] ll; r2 = 16; r3 = 0; call bpf_ringbuf_reserve; r6 = r0";
      loadText(setup, `${reserve}; ${text}; exit`, { events: events.fd });
      return setup.machine.exec(0, 0);
    };
    const submit = "r1 = r6; r2 = 0; call bpf_ringbuf_submit";
    expect(withRecord(`*(u64 *)(r6 + 8) = 1; ${submit}`)).toBe(0n);
    expect(() => withRecord("*(u64 *)(r6 + 16) = 1")).toThrow(VmError);
    expect(() => withRecord("*(u8 *)(r6 - 1) = 1")).toThrow(VmError);
    expect(() => withRecord(`${submit}; *(u64 *)(r6 + 0) = 1`)).toThrow(VmError);
  },
);

/** Sums the first words of all samples that user space has sent; r0: 1000 * samples + sum. */
const DRAIN = `
  *(u64 *)(r10 - 8) = 0
  r1 = map[commands] ll
  r2 = &add ll
  r3 = r10; r3 += -8
  r4 = 0
  call bpf_user_ringbuf_drain
  r0 *= 1000
  r1 = *(u64 *)(r10 - 8)
  r0 += r1
  exit
add:                                  // (dynptr, ctx)
  r6 = r2
  r3 = r1
  r1 = r10; r1 += -8
  r2 = 8
  r4 = 0
  r5 = 0
  call bpf_dynptr_read
  if r0 != 0 goto done
  r1 = *(u64 *)(r10 - 8)
  lock *(u64 *)(r6 + 0) += r1
done:
  r0 = 0
  exit`;

test.for(SETUPS)("%s: samples from user space, by callback", async ([, create]) => {
  const setup = await create();
  const commands = setup.rt.createMap({ type: "user_ringbuf", maxEntries: 4096 });
  for (const number of [1, 2, 3, 4]) {
    const sample = commands.reserve(8);
    new DataView(sample?.bytes.buffer ?? new ArrayBuffer(0), sample?.bytes.byteOffset).setBigUint64(
      0,
      BigInt(number),
      true,
    );
    sample?.submit();
  }
  loadText(setup, DRAIN, { commands: commands.fd });
  expect(setup.machine.exec(0, 0)).toBe(4010n);
  expect(setup.machine.exec(0, 0)).toBe(0n);
});

/** Moves a value from a queue to a stack, and asks a bloom filter whether it has seen it; r0: seen or not. */
const MOVE = `
  r1 = map[queue] ll
  r2 = r10; r2 += -8
  call bpf_map_pop_elem
  if r0 != 0 goto out
  r1 = map[stack] ll
  r2 = r10; r2 += -8
  r3 = 0
  call bpf_map_push_elem
  if r0 != 0 goto out
  r1 = map[seen] ll
  r2 = r10; r2 += -8
  call bpf_map_peek_elem
  r6 = r0
  r1 = map[seen] ll
  r2 = r10; r2 += -8
  r3 = 0
  call bpf_map_push_elem
  r0 = r6
out:
  exit`;

test.for(SETUPS)("%s: queue, stack and bloom filter", async ([, create]) => {
  const setup = await create();
  const { rt } = setup;
  const queue = rt.createMap({ type: "queue", value: u64, maxEntries: 8 });
  const stack = rt.createMap({ type: "stack", value: u64, maxEntries: 8 });
  const seen = rt.createMap({ type: "bloom_filter", value: u64, maxEntries: 100 });
  for (const value of [5n, 6n, 5n]) queue.push(value);
  loadText(setup, MOVE, { queue: queue.fd, stack: stack.fd, seen: seen.fd });
  const results = [1, 2, 3, 4].map(() => BigInt.asIntN(64, setup.machine.exec(0, 0)));
  expect(results).toEqual([-2n, -2n, 0n, -2n]);
  expect([stack.pop(), stack.pop(), stack.pop(), stack.pop()]).toEqual([5n, 6n, 5n, undefined]);
});

/** Counts in element 0 of the inner map that the outer one has for the context's key. */
const NESTED = `
  r2 = *(u64 *)(r1 + 0)
  *(u32 *)(r10 - 4) = r2
  r2 = r10; r2 += -4
  r1 = map[outer] ll
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  *(u32 *)(r10 - 4) = 0
  r1 = r0
  r2 = r10; r2 += -4
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = 1
  lock *(u64 *)(r0 + 0) += r1
  r0 = *(u64 *)(r0 + 0)
out:
  exit`;

test.for(SETUPS)("%s: maps of maps", async ([, create]) => {
  const setup = await create();
  const { rt } = setup;
  const newInner = () => rt.createMap({ type: "array", value: u64, maxEntries: 1 });
  const [first, second] = [newInner(), newInner()];
  const outer = rt.createMap({ type: "hash_of_maps", key: u32, maxEntries: 4, inner: first });
  outer.set(7, first);
  outer.set(8, second);
  loadText(setup, NESTED, { outer: outer.fd });
  const run = (key: number) => setup.machine.exec(contextOf(setup, key), 16);
  expect([run(7), run(7), run(8), run(9)]).toEqual([1n, 2n, 1n, 0n]);
  expect([first.get(0), second.get(0)]).toEqual([2n, 1n]);
});

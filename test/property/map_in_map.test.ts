// ARRAY_OF_MAPS and HASH_OF_MAPS against a Map of ids and counts of references.

import * as fc from "fast-check";
import { expect, it } from "vitest";
import * as uapi from "../../ts/uapi.js";
import { describeEachBuild } from "../support/builds.js";
import { Machine, u32s, u32At } from "../support/machine.js";

const { E2BIG, EBADF, ENOENT } = uapi;
const CAPACITY = 3;

const keyOf = fc.integer({ min: 0, max: 4 });
const op = fc.oneof(
  fc.record({ op: fc.constant("put" as const), key: keyOf, inner: fc.nat(3) }),
  fc.record({ op: fc.constant("delete" as const), key: keyOf, inner: fc.constant(0) }),
  fc.record({ op: fc.constant("lookup" as const), key: keyOf, inner: fc.constant(0) }),
  fc.record({ op: fc.constant("closeInner" as const), key: fc.constant(0), inner: fc.nat(3) }),
);
const scenario = fc.record({
  isArray: fc.boolean(),
  noPrealloc: fc.boolean(),
  ops: fc.array(op, { maxLength: 40 }),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

function run(m: Machine, { isArray, noPrealloc, ops }: Scenario): void {
  const spec = { type: uapi.BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: 4, maxEntries: 1 };
  const fds = [0, 1, 2, 3].map(() => m.create(spec));
  const ids = fds.map((fd) => m.client.info(fd).info?.id ?? -1);
  const isOpen = [true, true, true, true];
  const outer = m.create({
    type: isArray ? uapi.BPF_MAP_TYPE_ARRAY_OF_MAPS : uapi.BPF_MAP_TYPE_HASH_OF_MAPS,
    keySize: 4,
    valueSize: 4,
    maxEntries: CAPACITY,
    flags: !isArray && noPrealloc ? uapi.BPF_F_NO_PREALLOC : 0,
    innerMapFd: fds[0] as number,
  });
  const model = new Map<number, number>();
  const expectedPut = (key: number, inner: number): number => {
    if (isArray && key >= CAPACITY) return -E2BIG;
    if (!isOpen[inner]) return -EBADF;
    return !isArray && !model.has(key) && model.size === CAPACITY ? -E2BIG : 0;
  };
  for (const { op: name, key, inner } of ops) {
    const bytes = u32s(key);
    if (name === "put") {
      const expected = expectedPut(key, inner);
      const value = u32s(isOpen[inner] ? (fds[inner] as number) : -1);
      expect(m.client.update(outer, bytes, value)).toBe(expected);
      if (expected === 0) model.set(key, inner);
    } else if (name === "delete") {
      const isOutside = isArray && key >= CAPACITY;
      const expected = isOutside ? -E2BIG : model.has(key) ? 0 : -ENOENT;
      expect(m.client.delete(outer, bytes)).toBe(expected);
      model.delete(key);
    } else if (name === "lookup") {
      const { ret, out } = m.client.lookup(outer, bytes, 4);
      const expected = model.get(key);
      expect(ret < 0 ? ret : u32At(out)).toBe(expected === undefined ? -ENOENT : ids[expected]);
    } else if (isOpen[inner]) {
      m.client.close(fds[inner] as number);
      isOpen[inner] = false;
    }
    const held = new Set(model.values());
    ids.forEach((id, i) => {
      const fd = m.client.getFdById(id);
      expect(fd >= 0).toBe(isOpen[i] === true || held.has(i));
      if (fd >= 0) m.client.close(fd);
    });
  }
  m.client.close(outer);
  fds.forEach((fd, i) => isOpen[i] && m.client.close(fd));
}

describeEachBuild("maps of maps", (build) => {
  it("hold exactly the references of what is in them", async () => {
    const m = await Machine.start(build);
    m.client.close(m.create({ type: 2, keySize: 4, valueSize: 4, maxEntries: 1 }));
    const before = m.usedBytes();
    fc.assert(
      fc.property(scenario, (s) => run(m, s)),
      { numRuns: 100 },
    );
    expect(m.usedBytes()).toBe(before);
    m.dispose();
  });
});

// Arrays over buffers that change their length. In a file of its own: in Node 20's optimised code, once it has met such arrays,
// any detached array keeps its length.

import { expect, it } from "vitest";
import { bytes } from "../../ts/index.js";
import { describeEachBuild } from "../support/builds.js";

/** A buffer of 16 bytes, and what changes its length. */
function resizable(): { array: Uint8Array; resize: (bytes: number) => void } {
  const buffer = Reflect.construct(ArrayBuffer, [16, { maxByteLength: 64 }]) as ArrayBuffer;
  const method = Reflect.get(buffer, "resize") as (bytes: number) => void;
  return { array: new Uint8Array(buffer), resize: method.bind(buffer) };
}

describeEachBuild("arrays over resizable buffers", (build) => {
  it("are none of 16 bytes any more when they became longer or shorter", async () => {
    using rt = await build.createRuntime();
    const map = rt.createMap({ type: "hash", key: bytes(16), value: bytes(16), maxEntries: 8 });
    const good = new Uint8Array(16);
    map.set(good, good);
    for (const length of [32, 8]) {
      for (const odd of ["key", "value", "out"]) {
        const { array, resize } = resizable();
        const of = (name: string): Uint8Array => (name === odd ? array : good);
        const call = (): unknown =>
          odd === "value" ? map.set(of("key"), array) : map.getInto(of("key"), of("out"));
        for (let i = 0; i < 20; i++) call();
        if (odd === "key") for (let i = 0; i < 20; i++) expect(map.get(array)).toEqual(good);
        resize(length);
        for (let i = 0; i < 20; i++) expect(call, `${odd} of ${length}`).toThrow(/16 bytes/);
        if (odd === "key") expect(() => map.get(array)).toThrow(RangeError);
      }
    }
  });
});

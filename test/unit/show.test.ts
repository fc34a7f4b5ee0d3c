// What objects of the library look like in logs: small, whatever the runtime holds.

import { inspect } from "node:util";
import { expect, it } from "vitest";
import { createRuntime, u32, u64 } from "../../ts/index.js";

it("console.log and JSON.stringify show what an object is, not the memory it lives in", async () => {
  const rt = await createRuntime({ cpus: 2, minBytes: 1 << 20 });
  const map = rt.createMap({ type: "hash", key: u32, value: u64, maxEntries: 4, name: "m" });
  const socket = rt.socket();
  const about = {
    fd: map.fd,
    name: "m",
    mapType: 1,
    keySize: 4,
    valueSize: 8,
    maxEntries: 4,
    mapFlags: 0,
    closed: false,
  };
  expect(JSON.parse(JSON.stringify({ map }))).toEqual({ map: about });
  expect(inspect(map)).toBe(`HashMap ${inspect(about)}`);
  expect(inspect({ deep: { map } })).toContain("HashMap {");
  expect(JSON.stringify(rt)).toBe('{"cpus":2,"bytes":1048576,"disposed":false}');
  expect(inspect(rt)).toBe("BpfRuntime { cpus: 2, bytes: 1048576, disposed: false }");
  expect(inspect(socket)).toBe(`Socket { fd: ${socket.fd}, ptr: ${socket.ptr} }`);
  expect(JSON.stringify(map.cursor())).toBe('{"keyPtr":0,"valuePtr":0}');
  expect(inspect(map.cursor())).toBe("MapCursor { keyPtr: 0, valuePtr: 0 }");
  rt.dispose();
  expect(inspect(map)).toContain("closed: true");
  expect(inspect(rt)).toContain("disposed: true");
});

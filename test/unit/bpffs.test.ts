// Pinned maps and the file system they are pinned in. The tables are answers of Linux 6.18, row by row.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BpfError, u32 } from "../../ts/index.js";
import * as uapi from "../../ts/uapi.js";
import { BpfClient } from "../support/bpf.js";
import { describeEachBuild, type Runtime } from "../support/builds.js";
import { expectSound } from "../support/debug.js";
import { Random } from "../support/random.js";
import { u32At, u32s } from "../support/bytes.js";

const ROOT = "/sys/fs/bpf";
const LONGEST_NAME = "n".repeat(255);
const { EACCES, EBADF, EBUSY, EEXIST, EFAULT, EINVAL, EISDIR } = uapi;
const { ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM } = uapi;

/** path -> errno of pinning a map there; the tree is that of `plant`. In order: later rows see earlier pins. */
const PINS: readonly (readonly [string, number])[] = [
  [`${ROOT}/new`, 0],
  [`${ROOT}/new`, EEXIST],
  [`${ROOT}/a`, EEXIST],
  [`${ROOT}/nodir/a`, ENOENT],
  [`${ROOT}/a/x`, ENOTDIR],
  [`${ROOT}/b/`, ENOENT],
  [`${ROOT}/a/`, EEXIST],
  [ROOT, EEXIST],
  [`${ROOT}/`, EEXIST],
  [`${ROOT}/d`, EEXIST],
  [`${ROOT}/d/`, EEXIST],
  [`${ROOT}/d/x`, EEXIST],
  [`${ROOT}//d///y`, 0],
  [`${ROOT}/d/.`, EEXIST],
  [`${ROOT}/d/..`, EEXIST],
  [`${ROOT}/.`, EEXIST],
  [`${ROOT}/..`, EEXIST],
  [`${ROOT}/.h`, EPERM],
  [`${ROOT}/x.y`, EPERM],
  [`${ROOT}/d/../e`, 0],
  [`${ROOT}/d/x/..`, ENOTDIR],
  ["", ENOENT],
  ["/", EEXIST],
  ["rel", EPERM],
  ["/rel", EPERM],
  ["/tmp/x", EPERM],
  ["/tmp/x.y", EPERM],
  ["/tmp/x/", ENOENT],
  ["/tmp", EEXIST],
  ["/dev/null/x", ENOTDIR],
  ["/dev/null", EEXIST],
  ["/nonexist/x", ENOENT],
  ["/sys/fs", EEXIST],
  ["/sys/fs/x", EPERM],
  ["/sys/fs/x/y", ENOENT],
  [`${ROOT}/../x`, EPERM],
  ["sys/fs/bpf/relative", 0],
  [`${ROOT}/${LONGEST_NAME}`, 0],
  [`${ROOT}/${LONGEST_NAME}n`, ENAMETOOLONG],
  [`${ROOT}${"/".repeat(4083)}f`, 0],
  [`${ROOT}${"/".repeat(4084)}f`, ENAMETOOLONG],
];

/** path -> errno of BPF_OBJ_GET. */
const GETS: readonly (readonly [string, number])[] = [
  [`${ROOT}/a`, 0],
  [`${ROOT}/d/x`, 0],
  [`${ROOT}/d/./x`, 0],
  [`${ROOT}/d/../a`, 0],
  [`${ROOT}/./d/x`, 0],
  ["sys/fs/bpf/a", 0],
  ["/../../sys/fs/bpf/a", 0],
  [`${ROOT}${"/".repeat(4083)}a`, 0],
  [`${ROOT}${"/".repeat(4084)}a`, ENAMETOOLONG],
  [`${ROOT}/a/x`, ENOTDIR],
  [`${ROOT}/a/`, ENOTDIR],
  [`${ROOT}/d/x/..`, ENOTDIR],
  [`${ROOT}/d/x/.`, ENOTDIR],
  [`${ROOT}/nodir/a`, ENOENT],
  [`${ROOT}/nope`, ENOENT],
  [ROOT, EACCES],
  [`${ROOT}/`, EACCES],
  [`${ROOT}/d`, EACCES],
  [`${ROOT}/d/`, EACCES],
  [`${ROOT}/d/..`, EACCES],
  [`${ROOT}/x.y`, EPERM],
  [`${ROOT}/${LONGEST_NAME}`, ENOENT],
  [`${ROOT}/${LONGEST_NAME}n`, ENAMETOOLONG],
  ["", ENOENT],
  ["/", EACCES],
  ["rel", ENOENT],
  ["/tmp", EACCES],
  ["/tmp/x", ENOENT],
  ["/dev/null", EACCES],
  ["/dev/null/x", ENOTDIR],
  ["/nonexist/x", ENOENT],
  ["/sys/fs/x", ENOENT],
];

const MKDIRS: readonly (readonly [string, number])[] = [
  [`${ROOT}/d`, EEXIST],
  [`${ROOT}/a`, EEXIST],
  [`${ROOT}/a/z`, ENOTDIR],
  [`${ROOT}/nope/z`, ENOENT],
  [`${ROOT}/q.r`, EPERM],
  [`${ROOT}/q/`, 0],
  [`${ROOT}/q/.`, EEXIST],
  [`${ROOT}/q/..`, EEXIST],
  [`${ROOT}/q`, EEXIST],
  [`${ROOT}/q/deeper`, 0],
  [`${ROOT}/${LONGEST_NAME}n`, ENAMETOOLONG],
  [ROOT, EEXIST],
  ["", ENOENT],
  ["/", EEXIST],
  ["/tmp/d", EPERM],
];

const UNLINKS: readonly (readonly [string, number])[] = [
  [`${ROOT}/nope`, ENOENT],
  [`${ROOT}/d`, EISDIR],
  [`${ROOT}/a/`, ENOTDIR],
  [`${ROOT}/a/x`, ENOTDIR],
  [`${ROOT}/d/.`, EISDIR],
  [`${ROOT}/d/..`, EISDIR],
  [ROOT, EISDIR],
  ["", ENOENT],
  ["/", EISDIR],
  ["/dev/null", EPERM],
  [`${ROOT}/a`, 0],
  [`${ROOT}/a`, ENOENT],
];

const RMDIRS: readonly (readonly [string, number])[] = [
  [`${ROOT}/a`, ENOTDIR],
  [`${ROOT}/d`, ENOTEMPTY],
  [`${ROOT}/nope`, ENOENT],
  [`${ROOT}/d/.`, EINVAL],
  [`${ROOT}/d/..`, ENOTEMPTY],
  [ROOT, EBUSY],
  [`${ROOT}/.`, EINVAL],
  ["", ENOENT],
  ["/", EBUSY],
  ["/tmp", EPERM],
  [`${ROOT}/empty/`, 0],
  [`${ROOT}/empty`, ENOENT],
];

describeEachBuild("bpffs", (build) => {
  let rt: Runtime;
  let client: BpfClient;
  let fd: number;

  beforeEach(async () => {
    rt = await build.createRuntime();
    client = new BpfClient(rt);
    fd = create();
  });
  afterEach(() => rt.dispose());

  function create(flags = 0): number {
    const type = uapi.BPF_MAP_TYPE_HASH;
    return client.create({ type, keySize: 4, valueSize: 4, maxEntries: 4, flags });
  }

  /** a: a pin, d: a directory with the pin x, empty: a directory. */
  function plant(): void {
    rt.bpffs.mkdir(`${ROOT}/d`);
    rt.bpffs.mkdir(`${ROOT}/empty`);
    expect(client.pin(fd, `${ROOT}/a`)).toBe(0);
    expect(client.pin(fd, `${ROOT}/d/x`)).toBe(0);
  }

  /** 0, or the errno that a method of rt.bpffs throws. */
  function errnoOf(call: () => unknown): number {
    try {
      call();
      return 0;
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      return -error.errno;
    }
  }

  const short = (path: string): string =>
    path.length > 60 ? `${path.slice(0, 40)}... (${path.length})` : path;

  it("pins as the kernel does", () => {
    plant();
    for (const [path, errno] of PINS) {
      expect(client.pin(fd, path), short(path)).toBe(errno === 0 ? 0 : -errno);
    }
  });

  it("opens pins as the kernel does", () => {
    plant();
    for (const [path, errno] of GETS) {
      const got = client.get(path);
      expect(Math.min(got, 0), short(path)).toBe(errno === 0 ? 0 : -errno);
      if (got >= 0) expect(rt.close(got)).toBe(0);
    }
  });

  describe.each([
    ["mkdir", MKDIRS],
    ["unlink", UNLINKS],
    ["rmdir", RMDIRS],
  ] as const)("%s", (name, rows) => {
    it("answers as the kernel does", () => {
      plant();
      for (const [path, errno] of rows) {
        expect(
          errnoOf(() => rt.bpffs[name](path)),
          short(path),
        ).toBe(errno);
      }
    });
  });

  it("checks flags, then the fd, then the path", () => {
    const path = `${ROOT}/p`;
    for (const flags of [1, uapi.BPF_F_RDONLY, uapi.BPF_F_WRONLY, 0x8000]) {
      expect(client.pin(fd, path, flags)).toBe(-EINVAL);
    }
    expect(client.pin(fd, path, 0, 3)).toBe(-EINVAL);
    for (const notMap of [0, 99, -1]) expect(client.pin(notMap, path)).toBe(-EINVAL);
    expect(client.pin(99, null)).toBe(-EINVAL);
    expect(client.pin(99, `${ROOT}/nodir/x`)).toBe(-EINVAL);
    expect(client.pin(fd, null)).toBe(-EFAULT);
    expect(client.get(null)).toBe(-EFAULT);
    expect(client.get(path, 1)).toBe(-EINVAL);
    expect(client.get(null, uapi.BPF_F_RDONLY | uapi.BPF_F_WRONLY)).toBe(-EINVAL);
    expect(client.get(path, 0, 5)).toBe(-EINVAL);
    expect(rawGet(0, 3)).toBe(-EINVAL);
    expect(rawGet(rt.memory.buffer.byteLength, 0)).toBe(-EFAULT);
    // A path that runs into the memory's end, in a page that is not the core's.
    rt.memory.grow(1);
    const last = rt.memory.buffer.byteLength - 4;
    new Uint8Array(rt.memory.buffer).fill(0x61, last);
    expect(rawGet(last, 0)).toBe(-EFAULT);
    expect(rawGet(2 ** 40, 0)).toBe(-EFAULT);
  });

  function rawGet(path: number, bpfFd: number): number {
    const attr = new DataView(new ArrayBuffer(20));
    attr.setBigUint64(0, BigInt(path), true);
    attr.setInt32(8, bpfFd, true);
    return rt.bpf(uapi.BPF_OBJ_GET, new Uint8Array(attr.buffer));
  }

  it("starts relative paths at the directory of path_fd", () => {
    plant();
    const flag = uapi.BPF_F_PATH_FD;
    const dir = rt.bpffs.open(ROOT);
    const sub = rt.bpffs.open(`${ROOT}/d`);
    expect(client.pin(fd, `${ROOT}/f1`, flag)).toBe(0);
    expect(client.pin(fd, `${ROOT}/f2`, flag, 99)).toBe(0);
    expect(client.pin(fd, "f3", flag, 99)).toBe(-EBADF);
    expect(client.pin(fd, "f3", flag, 0)).toBe(-ENOTDIR);
    expect(client.pin(fd, "f3", flag, fd)).toBe(-ENOTDIR);
    expect(client.pin(fd, "f3", flag, -100)).toBe(-EPERM);
    expect(client.pin(fd, "f3", flag, dir)).toBe(0);
    expect(client.pin(fd, "d/f4", flag, dir)).toBe(0);
    expect(client.pin(fd, "f5", flag, sub)).toBe(0);
    expect(client.pin(fd, "../f6", flag, sub)).toBe(0);
    expect(client.pin(fd, "", flag, dir)).toBe(-ENOENT);
    expect(client.pin(fd, ".", flag, dir)).toBe(-EEXIST);
    expect(client.get(".", flag, dir)).toBe(-EACCES);
    expect(client.get("f3", 0, dir)).toBe(-EINVAL);
    for (const path of ["f3", "d/f4", "d/f5", "f6", "d/../a"]) {
      expect(client.get(path, flag, dir), path).toBeGreaterThan(0);
    }
    expect(errnoOf(() => rt.bpffs.open(`${ROOT}/a`))).toBe(ENOTDIR);
    expect(errnoOf(() => rt.bpffs.open(`${ROOT}/nope`))).toBe(ENOENT);
    expect(rt.close(dir)).toBe(0);
    expect(client.get("f3", flag, dir)).toBe(-EBADF);
    // A directory's fd is no map.
    expect(client.lookup(sub, u32s(1), 4).ret).toBe(-EINVAL);
    expect(client.pin(sub, `${ROOT}/z`)).toBe(-EINVAL);
  });

  it("keeps a removed directory for its fds, empty", () => {
    plant();
    const flag = uapi.BPF_F_PATH_FD;
    rt.bpffs.mkdir(`${ROOT}/r`);
    const removed = rt.bpffs.open(`${ROOT}/r`);
    rt.bpffs.rmdir(`${ROOT}/r`);
    expect(client.pin(fd, "x", flag, removed)).toBe(-ENOENT);
    expect(client.get("x", flag, removed)).toBe(-ENOENT);
    expect(client.get(".", flag, removed)).toBe(-EACCES);
    expect(client.pin(fd, "../xx", flag, removed)).toBe(0);
    expect(client.get("../a", flag, removed)).toBeGreaterThan(0);
  });

  it("gives each fd its own access mode", () => {
    const mode = (got: number): string => {
      const canWrite = client.update(got, u32s(1), u32s(1)) === 0;
      return (client.lookup(got, u32s(1), 4).ret === 0 ? "r" : "-") + (canWrite ? "w" : "-");
    };
    client.update(fd, u32s(1), u32s(1));
    expect(client.pin(fd, `${ROOT}/a`)).toBe(0);
    expect(client.pin(create(uapi.BPF_F_WRONLY), `${ROOT}/wo`)).toBe(0);
    expect(mode(client.get(`${ROOT}/a`))).toBe("rw");
    expect(mode(client.get(`${ROOT}/a`, uapi.BPF_F_RDONLY))).toBe("r-");
    expect(mode(client.get(`${ROOT}/a`, uapi.BPF_F_WRONLY))).toBe("-w");
    expect(client.update(client.get(`${ROOT}/wo`), u32s(1), u32s(1))).toBe(0);
    expect(mode(client.get(`${ROOT}/wo`))).toBe("rw");
    const readOnly = client.get(`${ROOT}/a`, uapi.BPF_F_RDONLY);
    expect(client.pin(readOnly, `${ROOT}/again`)).toBe(0);
  });

  it("keeps a map alive while it is pinned", () => {
    client.update(fd, u32s(7), u32s(70));
    const id = client.info(fd).info?.id ?? 0;
    expect(client.pin(fd, `${ROOT}/one`)).toBe(0);
    expect(client.pin(fd, `${ROOT}/two`)).toBe(0);
    expect(rt.close(fd)).toBe(0);
    const again = client.get(`${ROOT}/one`);
    expect(u32At(client.lookup(again, u32s(7), 4).out)).toBe(70);
    rt.bpffs.unlink(`${ROOT}/one`);
    rt.close(again);
    const byId = client.getFdById(id);
    expect(byId).toBeGreaterThan(0);
    rt.bpffs.unlink(`${ROOT}/two`);
    expect(client.lookup(byId, u32s(7), 4).ret).toBe(0);
    rt.close(byId);
    expect(client.getFdById(id)).toBe(-ENOENT);
  });

  it("gives all memory back", () => {
    plant();
    rt.bpffs.unlink(`${ROOT}/a`);
    client.get("/");
    const before = rt.exports.mem_used();
    for (let i = 0; i < 3; i++) {
      const map = create();
      rt.bpffs.mkdir(`${ROOT}/d/e`);
      const dir = rt.bpffs.open(`${ROOT}/d/e`);
      expect(client.pin(map, `${ROOT}/d/e/m`)).toBe(0);
      rt.close(map);
      rt.bpffs.unlink(`${ROOT}/d/e/m`);
      rt.bpffs.rmdir(`${ROOT}/d/e`);
      rt.close(dir);
    }
    expect(rt.exports.mem_used()).toBe(before);
  });

  it("lists directories, newest name first", () => {
    plant();
    expect(rt.bpffs.readdir(ROOT)).toEqual([
      { name: "a", isDirectory: false },
      { name: "empty", isDirectory: true },
      { name: "d", isDirectory: true },
    ]);
    expect(rt.bpffs.readdir(`${ROOT}/empty`)).toEqual([]);
    expect(errnoOf(() => rt.bpffs.readdir(`${ROOT}/a`))).toBe(ENOTDIR);
    rt.bpffs.mkdir(`${ROOT}/größe`);
    expect(rt.bpffs.readdir(ROOT)[0]?.name).toBe("größe");
  });

  it("typed maps are pinned and opened at whole paths only", () => {
    const map = rt.createMap({ type: "array", value: u32, maxEntries: 1 });
    for (const path of [`${ROOT}/a\0b`, 5 as never]) {
      expect(() => map.pin(path)).toThrow(TypeError);
      expect(() => rt.open(path, { type: "array", value: u32 })).toThrow(TypeError);
    }
    expect(rt.bpffs.readdir(ROOT)).toEqual([]);
  });

  it("finds every name of a large directory, and none that is gone", () => {
    const random = new Random(9);
    const used = rt.exports.mem_used();
    const names: string[] = [];
    rt.bpffs.mkdir(`${ROOT}/large`);
    for (let step = 0; step < 2000; step++) {
      // Many, then few, then none.
      if (random.below(2000) >= step || names.length === 0) {
        const name = `${random.pick(["n", "name-", "x".repeat(200)])}${step}`;
        rt.bpffs.mkdir(`${ROOT}/large/${name}`);
        names.unshift(name);
      } else {
        const [name = ""] = names.splice(random.below(names.length), 1);
        rt.bpffs.rmdir(`${ROOT}/large/${name}`);
        expect(errnoOf(() => rt.bpffs.rmdir(`${ROOT}/large/${name}`))).toBe(ENOENT);
      }
      if (names.length === 0) continue;
      const some = random.pick(names);
      expect(errnoOf(() => rt.bpffs.mkdir(`${ROOT}/large/${some}`))).toBe(EEXIST);
    }
    expect(rt.bpffs.readdir(`${ROOT}/large`).map(({ name }) => name)).toEqual(names);
    for (const name of names) rt.bpffs.rmdir(`${ROOT}/large/${name}`);
    rt.bpffs.rmdir(`${ROOT}/large`);
    // What is around the mount, which stays.
    expect(rt.exports.mem_used() - used).toBeLessThan(1024);
    expectSound(rt);
  });

  it("throws errors that say what was asked", () => {
    expect(() => rt.bpffs.mkdir(`${ROOT}/a/b`)).toThrow(
      expect.objectContaining({ code: "ENOENT", errno: -2, syscall: "mkdir" }),
    );
    expect(() => rt.bpffs.mkdir(`${ROOT}/a/b`)).toThrow('cannot mkdir "/sys/fs/bpf/a/b"');
    expect(() => rt.bpffs.mkdir("a\0b")).toThrow(TypeError);
    expect(() => rt.bpffs.mkdir(5 as never)).toThrow(TypeError);
  });
});

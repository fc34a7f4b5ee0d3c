// The peers from npm, all optional: one row each. BPFMAPS_BENCH_PEERS=DIR takes those that are not installed from
// DIR/node_modules.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** @typedef {import("./loops.mjs").MapLike} MapLike */

/** The shape of a peer's module is nobody's business but its row's. @typedef {any} Module */

/**
 * LRU caches: name of the package, and how to make a cache of so many entries. The first is the one the goals are
 * judged against.
 * @type {readonly { name: string, make: (module: Module, capacity: number) => MapLike }[]}
 */
export const LRU_PEERS = [
  { name: "lru-cache", make: (m, max) => new m.LRUCache({ max }) },
  { name: "lru.min", make: (m, max) => m.createLRU({ max }) },
  { name: "quick-lru", make: (m, maxSize) => new m.default({ maxSize }) },
  { name: "tiny-lru", make: (m, max) => m.lru(max) },
  {
    name: "mnemonist",
    make: (m, capacity) => new (m.LRUMap ?? m.default.LRUMap)(Int32Array, Float64Array, capacity),
  },
];

/** The way it is often written by hand: a Map in the order of use. */
export class MapLru {
  #map = new Map();
  #capacity;

  /** @param {number} capacity */
  constructor(capacity) {
    this.#capacity = capacity;
  }

  /** @param {number} key */
  get(key) {
    const value = this.#map.get(key);
    if (value === undefined) return undefined;
    this.#map.delete(key);
    this.#map.set(key, value);
    return value;
  }

  /** @param {number} key @param {number} value */
  set(key, value) {
    this.#map.delete(key);
    if (this.#map.size === this.#capacity) this.#map.delete(this.#map.keys().next().value);
    this.#map.set(key, value);
  }
}

/** @param {string} name */
async function importPeer(name) {
  try {
    return await import(name);
  } catch (error) {
    const folder = process.env.BPFMAPS_BENCH_PEERS;
    if (folder === undefined) throw error;
    const file = createRequire(join(resolve(folder), "package.json")).resolve(name);
    return import(pathToFileURL(file).href);
  }
}

/** Loads peers once each; one that is not there is named once and left out. */
export class Peers {
  /** @type {Map<string, Promise<Module>>} undefined: not installed */
  #modules = new Map();

  /** @param {string} name @returns {Promise<Module>} undefined: not installed */
  load(name) {
    let module = this.#modules.get(name);
    if (module === undefined) {
      module = importPeer(name).catch(() => {
        console.log(`peer ${name} not installed: skipped`);
      });
      this.#modules.set(name, module);
    }
    return module;
  }

  /** Makes a cache of each LRU peer there is. @param {number} capacity @returns {Promise<[string, MapLike][]>} */
  async lruCaches(capacity) {
    /** @type {[string, MapLike][]} */
    const caches = [];
    for (const { name, make } of LRU_PEERS) {
      const module = await this.load(name);
      if (module !== undefined) caches.push([name, make(module, capacity)]);
    }
    return caches;
  }
}

// LPM_TRIE as a typed map.

import { encode, u32 } from "../codec.js";
import { FMODE_READ } from "../holdings.js";
import { KeyedMap } from "../map.js";

/** Bytes of a key before its data. */
const PREFIXLEN_SIZE = 4;

/** What a key's data is written as: a string for `lpmKey(ipv4)`. */
export type LpmData<KI> = KI extends { readonly data: infer D } ? D : never;

/**
 * BPF_MAP_TYPE_LPM_TRIE: prefixes, found by longest match. Keys are made by `lpmKey`. `get` matches a prefix as the kernel
 * does (its own length caps the match), `match` an address. BPF_F_NO_PREALLOC, which the kernel insists on, is added.
 *
 * @example
 * ```ts
 * const routes = rt.createMap({
 *   type: "lpm_trie",
 *   key: lpmKey(ipv4),
 *   value: u32,
 *   maxEntries: 1000,
 * });
 * routes.set("10.0.0.0/8", 1).set("10.1.0.0/16", 2);
 * routes.match("10.1.2.3"); // 2
 * routes.matchU32(0x0a020304); // 1
 * ```
 */
export class LpmTrie<K, KI = K, V = unknown, VI = V> extends KeyedMap<K, KI, V, VI> {
  /**
   * The value of the longest prefix of an address; undefined when there is none.
   * @param data the address, as the key codec's data takes it
   */
  match(data: LpmData<KI>): V | undefined {
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    const { door } = this;
    const prefixlen = (this.keySize - PREFIXLEN_SIZE) * 8;
    door.encodeKey({ prefixlen, data } as KI);
    const ptr = this.core.map_lpm_match(door.handle, door.keyPtr + PREFIXLEN_SIZE) >>> 0;
    return ptr === 0 ? undefined : door.read(ptr);
  }

  /**
   * `match` for IPv4 addresses as numbers, without allocation: 10.0.0.1 is 0x0a000001.
   * @param address an integer of 32 bits, signed or not
   * @throws {TypeError} a trie whose data is not 4 bytes, or no number
   * @throws {RangeError} no integer of 32 bits
   */
  matchU32(address: number): V | undefined {
    if (this.keySize !== PREFIXLEN_SIZE + 4)
      throw new TypeError("matchU32: the keys' data is not 4 bytes");
    // As the codec says, or a signed number.
    if ((address | 0) !== address) encode(u32, address);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    const { core, door } = this;
    const ptr = core.map_lpm_match_u32(door.map, door.handle, address) >>> 0;
    return ptr === 0 ? undefined : door.read(ptr);
  }

  /** Number of prefixes. */
  get size(): number {
    return this.countElems();
  }

  /**
   * Deletes exactly this prefix.
   * @returns was it there?
   * @throws {BpfError} EPERM: frozen
   */
  delete(key: KI): boolean {
    return this.deleteElem(key);
  }

  /** Deletes all prefixes. */
  clear(): void {
    this.deleteAll();
  }
}

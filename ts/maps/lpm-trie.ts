// LPM_TRIE as a typed map.

import type { MapBatch } from "../batch.js";
import { ErasableMap } from "../batched-map.js";
import { encode, u32 } from "../codec.js";
import { isArrayOf, isUint8Array } from "../codec/base.js";
import { FMODE_READ } from "../holdings.js";
import type { LaneKind, NumericArray } from "../lane.js";
import { Lanes } from "../many.js";
import type { FindMany } from "../many.js";
import { integer } from "../numbers.js";

/** Bytes of a key before its data. */
const PREFIXLEN_SIZE = 4;

/** What a key's data is written as: a string for `lpmKey(ipv4)`. */
export type LpmData<KI> = KI extends { readonly data: infer D } ? D : never;

/**
 * BPF_MAP_TYPE_LPM_TRIE: prefixes, found by longest match. Keys are made by `lpmKey`. `get` and `getMany` match a prefix as
 * the kernel does (its own length caps the match), `match` and its relatives an address. BPF_F_NO_PREALLOC, which the
 * kernel insists on, is added.
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
 * const hops = new Uint32Array(2);
 * routes.matchManyU32(Uint32Array.of(0x0a010203, 0x0a020304), hops); // 2; hops: [2, 1]
 * ```
 */
export class LpmTrie<K, KI = K, V = unknown, VI = V> extends ErasableMap<K, KI, V, VI> {
  readonly #find: FindMany = (data, count, values, found) => {
    const hits = this.core.map_lpm_match_many(this.door.handle, data, count, values, 0, found);
    if (hits < 0) throw this.failed("bpf_map_lookup_elem", hits);
    return hits;
  };
  /** Made when they are first used. */
  #bytes: Lanes | undefined;
  #numbers: Lanes | undefined;

  /**
   * The value of the longest prefix of an address; undefined when there is none.
   * @param data the address, as the key codec's data takes it
   * @throws {TypeError | RangeError} the address does not fit the codec
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  match(data: LpmData<KI>): V | undefined {
    const { door } = this;
    const prefixlen = (this.keySize - PREFIXLEN_SIZE) * 8;
    door.encodeKey({ prefixlen, data } as KI);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    if (door.mem.isShared) return this.#copyMatch();
    const ptr = this.core.map_lpm_match(door.handle, door.keyPtr + PREFIXLEN_SIZE) >>> 0;
    return ptr === 0 ? undefined : door.read(ptr);
  }

  /**
   * `match` for IPv4 addresses as numbers, without allocation: 10.0.0.1 is 0x0a000001.
   * @param address an integer of 32 bits, signed or not
   * @throws {TypeError} a trie whose data is not 4 bytes, or no number
   * @throws {RangeError} no integer of 32 bits
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  matchU32(address: number): V | undefined {
    this.#mustHaveWords("matchU32");
    // As the codec says, or a signed number.
    if ((address | 0) !== address) encode(u32, address);
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    const { core, door } = this;
    if (door.mem.isShared) {
      door.mem.reach(door.keyPtr, this.keySize);
      door.mem.dv.setInt32(door.keyPtr + PREFIXLEN_SIZE, address);
      return this.#copyMatch();
    }
    const ptr = core.map_lpm_match_u32(door.map, door.handle, address) >>> 0;
    return ptr === 0 ? undefined : door.read(ptr);
  }

  /** The match of the address in the window, whose value the core copies while it holds the lock. */
  #copyMatch(): V | undefined {
    const { core, door } = this;
    const data = door.keyPtr + PREFIXLEN_SIZE;
    const hits = core.map_lpm_match_many(door.handle, data, 1, door.valuePtr, 0, 0);
    return hits > 0 ? door.read(door.valuePtr) : undefined;
  }

  // Where other threads may delete the prefix, its memory is another's at once: values are copied while the core holds the
  // lock, as by bpf(2).

  /**
   * The value of the longest prefix that covers a key; undefined when there is none.
   * @throws {TypeError | RangeError} the key does not fit its codec
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  override get(key: KI): V | undefined {
    return this.door.mem.isShared ? this.lookup(key) : super.get(key);
  }

  /** The same as `get`. */
  override peek(key: KI): V | undefined {
    return this.get(key);
  }

  /** As `get`, decoding into `out` (a struct's object, a Uint8Array) and returning it. */
  override getInto(key: KI, out: V): V | undefined {
    return this.door.mem.isShared ? this.lookupInto(key, out) : super.getInto(key, out);
  }

  /**
   * `match` for many addresses with one crossing. `out` receives a value for each, misses read as zero, and `found`, when
   * given, gets 1 or 0 for each; arrays as in `getMany`.
   * @param addresses the bytes of their data one behind the other, as keys have it behind the prefix length: 4 bytes each
   * for IPv4, 16 for IPv6, the first byte of the address first
   * @returns the number of matches
   * @throws {TypeError | RangeError} no arrays of these types; arrays that are too short
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  matchMany(addresses: Uint8Array, out: NumericArray, found?: Uint8Array): number {
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    // Words would be taken for bytes, 10.0.0.1 for 1.0.0.10.
    if (!isUint8Array(addresses)) {
      throw new TypeError("addresses: expected a Uint8Array (of numbers: matchManyU32)");
    }
    this.#bytes ??= this.#lanes("bytes");
    return this.#bytes.lookUp(this.#find, addresses, out, found);
  }

  /**
   * `matchMany` for IPv4 addresses as numbers, as `matchU32` takes them: 10.0.0.1 is 0x0a000001.
   * @returns the number of matches
   * @throws {TypeError} a trie whose data is not 4 bytes
   * @throws {TypeError | RangeError} no arrays of these types; arrays that are too short
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  matchManyU32(addresses: Uint32Array | Int32Array, out: NumericArray, found?: Uint8Array): number {
    this.#mustHaveWords("matchManyU32");
    this.mustAllow("bpf_map_lookup_elem", FMODE_READ);
    if (!isArrayOf("Uint32Array", addresses) && !isArrayOf("Int32Array", addresses)) {
      throw new TypeError("addresses: expected a Uint32Array or an Int32Array");
    }
    this.#numbers ??= this.#lanes("big-endian words");
    return this.#numbers.lookUp(this.#find, addresses, out, found);
  }

  /**
   * All prefixes, `batchSize` at a time: as the other types' `batches`, and prefixes that are deleted on the way are no
   * matter, while a `lookupBatch` goes on from a key and begins again when that is gone.
   * @throws {BpfError} EPERM: the fd is not open for reading
   */
  override *batches(batchSize = 256): IterableIterator<MapBatch<K, V>> {
    integer("count", batchSize, 1, 0x7fffffff);
    const batch = this.batching.newBatch();
    for (const element of this.cursor()) {
      batch.add(element.key, element.value);
      if (batch.count < batchSize) continue;
      yield batch;
      batch.restart();
    }
    batch.finish();
    if (batch.count > 0) yield batch;
  }

  #mustHaveWords(verb: string): void {
    if (this.keySize === PREFIXLEN_SIZE + 4) return;
    throw new TypeError(`${verb}: the keys' data is not 4 bytes`);
  }

  #lanes(keyKind: LaneKind): Lanes {
    return new Lanes({
      holdings: this.holdings,
      mem: this.door.mem,
      name: "addresses",
      keySize: this.keySize - PREFIXLEN_SIZE,
      keyKind,
      valueSize: this.valueSize,
    });
  }
}

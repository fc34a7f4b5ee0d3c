// Matching in an LPM trie: the syscall's and the helper's lookup, and the doors of the typed API.

import { EFAULT, EINVAL, BPF_MAP_TYPE_LPM_TRIE } from "../ts/uapi";
import { isOpen } from "./fast";
import { copyBytes, isUserRange, zeroBytes } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import {
  ADDRESS,
  DEEP,
  NODE,
  commonBits,
  dataOf,
  entryAt,
  nodeAt,
  parentOf,
  prefixlenOf,
} from "./lpm_node";
import { BpfLpmTrie, lockOf } from "./lpm_trie";
import { mapOfType } from "./map";

/** The longest prefix that matches the first `len` bits of the data and is no longer than that; 0 when none does. */
export function lpmMatch(trie: BpfLpmTrie, data: usize, len: u32): u32 {
  if (len != trie.maxPrefixlen) return len > trie.maxPrefixlen ? 0 : matchShort(trie, data, len);
  if (trie.dir != 0) {
    const index = ((<u32>load<u8>(data)) << 8) | load<u8>(data, 1);
    const elem = matchFrom(trie, load<u32>(trie.dir + (index << 2)), 2, data);
    if (elem != 0) return elem;
  }
  return matchFrom(trie, entryAt(nodeAt(trie.root), load<u8>(data)), 1, data);
}

/** Follows an entry for a key of full length; `next` is the byte behind the one that led to it. */
function matchFrom(trie: BpfLpmTrie, entry: u32, next: u32, data: usize): u32 {
  const off = trie.infoOff;
  let best: u32 = 0;
  while (entry & NODE) {
    const node = nodeAt(entry);
    if (node.cover != 0) best = node.cover;
    const depth: u32 = node.depth;
    if (depth != next && !trie.isBelow(node, next, data)) return best;
    entry = entryAt(node, load<u8>(data + depth));
    next = depth + 1;
  }
  let elem = entry & ADDRESS;
  if (entry & DEEP) {
    const len = prefixlenOf(elem, off);
    if (commonBits(dataOf(elem, off), data, len) != len) elem = parentOf(elem, off);
  }
  return elem != 0 ? elem : best;
}

/** As matchFrom from the root, for a key of `len` bits: longer prefixes do not count. */
function matchShort(trie: BpfLpmTrie, data: usize, len: u32): u32 {
  const off = trie.infoOff;
  let node = nodeAt(trie.root);
  let best: u32 = 0;
  while (true) {
    const entry = entryAt(node, load<u8>(data + node.depth));
    const child = nodeAt(entry);
    let elem = entry & NODE ? child.cover : entry & ADDRESS;
    if (entry & DEEP) {
      const whole = prefixlenOf(elem, off);
      if (whole > len || commonBits(dataOf(elem, off), data, whole) != whole)
        elem = parentOf(elem, off);
    }
    while (elem != 0 && prefixlenOf(elem, off) > len) elem = parentOf(elem, off);
    if (elem != 0) best = elem;
    if ((entry & NODE) == 0 || len <= (<u32>child.depth) << 3) return best;
    if (!trie.isBelow(child, node.depth + 1, data)) return best;
    node = child;
  }
}

// ---- data of 4 bytes in a register --------------------------------------------------------------------------------

/** As lpmMatch for a key of 32 bits; `word` is the data as it is loaded from memory. */
function match4(trie: BpfLpmTrie, word: u32): u32 {
  if (trie.dir != 0) {
    const index = ((word & 255) << 8) | ((word >> 8) & 255);
    const entry = load<u32>(trie.dir + (index << 2));
    if ((entry & (NODE | DEEP)) == 0) return entry;
    const elem = matchFrom4(trie, entry, 2, word);
    if (elem != 0) return elem;
  }
  return matchFrom4(trie, entryAt(nodeAt(trie.root), word & 255), 1, word);
}

function matchFrom4(trie: BpfLpmTrie, entry: u32, next: u32, word: u32): u32 {
  const off = trie.infoOff;
  let best: u32 = 0;
  while (entry & NODE) {
    const node = nodeAt(entry);
    if (node.cover != 0) best = node.cover;
    const depth: u32 = node.depth;
    const shift = depth << 3;
    if (depth != next) {
      // The low bits of the word are the bytes in front.
      const differing = word ^ load<u32>(dataOf(node.rep, off));
      if (differing << (32 - shift) != 0) return best;
    }
    entry = entryAt(node, (word >> shift) & 255);
    next = depth + 1;
  }
  let elem = entry & ADDRESS;
  if (entry & DEEP) {
    const differing = bswap<u32>(word ^ load<u32>(dataOf(elem, off)));
    if (<u32>clz<u32>(differing) < prefixlenOf(elem, off)) elem = parentOf(elem, off);
  }
  return elem != 0 ? elem : best;
}

// ---- doors --------------------------------------------------------------------------------------------------------

/**
 * LPM_TRIE with 4 bytes of data (the caller knows): the value of the longest prefix that matches all 32 bits.
 * @param map  the map's address (map_by_handle); see isOpen
 * @param word the data as loaded from memory: little-endian, the first byte lowest
 * @returns the value's address; 0 when nothing matches
 */
export function map_lpm_match4(map: usize, handle: u32, word: u32): usize {
  if (!isOpen(map, handle)) return 0;
  const trie = changetype<BpfLpmTrie>(map);
  lock(lockOf(trie));
  const elem = match4(trie, word);
  unlock(lockOf(trie));
  return elem;
}

/** As map_lpm_match4 for an address as a number: 10.0.0.1 is 0x0a000001. */
export function map_lpm_match_u32(map: usize, handle: u32, address: u32): usize {
  return map_lpm_match4(map, handle, bswap<u32>(address));
}

/** LPM_TRIE of any size: as map_lpm_match4, for the data at an address the caller owns. */
export function map_lpm_match(handle: u32, data: usize): usize {
  const ptr = mapOfType(handle, BPF_MAP_TYPE_LPM_TRIE);
  if (ptr == 0) return 0;
  const trie = changetype<BpfLpmTrie>(ptr);
  lock(lockOf(trie));
  const elem = lpmMatch(trie, data, trie.maxPrefixlen);
  unlock(lockOf(trie));
  return elem;
}

/**
 * Matches `count` addresses of dataSize bytes each (no prefix length in front), one behind the other.
 * @param values `count` values of valueSize bytes; misses read as `miss` where values have 4 bytes, as zeros elsewhere
 * @param found  a byte for each: 1 a match, 0 none; may be 0
 * @returns the number of matches, or -EINVAL: no trie, -EFAULT: an address outside the memory
 */
export function map_lpm_match_many(
  handle: u32,
  data: usize,
  count: u32,
  values: usize,
  miss: u32,
  found: usize,
): i32 {
  const ptr = mapOfType(handle, BPF_MAP_TYPE_LPM_TRIE);
  if (ptr == 0) return -EINVAL;
  const trie = changetype<BpfLpmTrie>(ptr);
  const dataSize = trie.dataSize;
  const valueSize = trie.valueSize;
  if (
    !isUserRange(data, <u64>count * dataSize) ||
    !isUserRange(values, <u64>count * valueSize) ||
    (found != 0 && !isUserRange(found, count))
  )
    return -EFAULT;
  let hits: i32 = 0;
  lock(lockOf(trie));
  for (let i: u32 = 0; i < count; i++) {
    const elem =
      dataSize == 4 ? match4(trie, load<u32>(data)) : lpmMatch(trie, data, trie.maxPrefixlen);
    if (valueSize == 4) store<u32>(values, elem == 0 ? miss : load<u32>(elem));
    else if (elem == 0) zeroBytes(values, valueSize);
    else copyBytes(values, elem, valueSize);
    if (elem != 0) hits++;
    if (found != 0) store<u8>(found + i, elem == 0 ? 0 : 1);
    data += dataSize;
    values += valueSize;
  }
  unlock(lockOf(trie));
  return hits;
}

// The table that takes a lookup in a large LPM trie past the first two bytes of the data: 65536 entries, one for each value of
// those bytes, of the kinds a node's slots have (lpm_node.ts). It holds nothing that is not in the nodes of depth 0 and 1, so
// it can be filled from them at any time, and may be missing.
//
//   0            no prefix of at most 16 bits covers these, and nothing is below
//   elem         the longest prefix of at most 16 bits that covers them; nothing is below
//   elem | DEEP  a prefix longer than 16 bits that is still to be compared; where it fails, the whole walk decides
//   node | NODE  a node of depth 2 or more whose byte 1 is this one; where nothing in it matches, the whole walk decides

import { ADDRESS, DEEP, NODE, dataOf, entryAt, nodeAt, parentOf, prefixlenOf } from "./lpm_node";
import { BpfLpmTrie } from "./lpm_trie";

export const DIR_BYTES: u32 = 65536 * 4;

/** Brings the entries from first to last up to date. */
export function dirFill(trie: BpfLpmTrie, first: u32, last: u32): void {
  for (let index = first; index <= last; index++) {
    store<u32>(trie.dir + (index << 2), resolve(trie, index));
  }
}

/** The table's entry. */
export function resolve(trie: BpfLpmTrie, index: u32): u32 {
  const off = trie.infoOff;
  const second = index & 255;
  const entry = entryAt(nodeAt(trie.root), index >> 8);
  if (entry & NODE) {
    const node = nodeAt(entry);
    if (node.depth == 1) {
      const found = entryAt(node, second);
      return found == 0 ? node.cover : found;
    }
    return load<u8>(dataOf(node.rep, off), 1) == second ? entry : node.cover;
  }
  if ((entry & DEEP) == 0) return entry;
  const elem = entry & ADDRESS;
  const len = prefixlenOf(elem, off);
  // The bits that the prefix leaves open may differ.
  const differing = load<u8>(dataOf(elem, off), 1) ^ second;
  if (differing > 255 >> min(len - 8, 8)) return parentOf(elem, off);
  return len > 16 ? entry : elem;
}

// The table that takes a lookup in a large LPM trie past the first two bytes of the data: 65536 entries, one for each value of
// those bytes, of the kinds a node's slots have (lpm_node.ts). It holds nothing that is not in the nodes of depth 0 and 1, so
// it can be filled from them at any time, and may be missing.
//
//   0            no prefix of at most 16 bits covers these, and nothing is below
//   elem         the longest prefix of at most 16 bits that covers them; nothing is below
//   elem | DEEP  a prefix longer than 16 bits that is still to be compared; where it fails, the whole walk decides
//   node | NODE  a node of depth 2 or more whose byte 1 is this one; where nothing in it matches, the whole walk decides

import {
  ADDRESS,
  DEEP,
  NODE,
  dataOf,
  entryAt,
  firstSlot,
  lastSlot,
  nodeAt,
  parentOf,
  prefixlenOf,
} from "./lpm_node";
import { BpfLpmTrie } from "./lpm_trie";

export const DIR_BYTES: u32 = 65536 * 4;

/** Brings the entries from first to last up to date. */
export function dirFill(trie: BpfLpmTrie, first: u32, last: u32): void {
  const root = nodeAt(trie.root);
  for (let index = first; index <= last; index++) {
    store<u32>(trie.dir + (index << 2), resolve(trie, entryAt(root, index >> 8), index & 255));
  }
}

/** The table's entry for a slot of the root and a second byte. */
export function resolve(trie: BpfLpmTrie, entry: u32, second: u32): u32 {
  const off = trie.infoOff;
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
  const data = dataOf(elem, off);
  if (second < firstSlot(data, len, 1) || second > lastSlot(data, len, 1))
    return parentOf(elem, off);
  return len > 16 ? entry : elem;
}

// The order of an LPM trie: postorder. By the data's bits, 0 before 1; of two prefixes that cover each other the longer one
// comes first. In a node that is: slot by slot, what is below it, then the prefixes that end with it, longest first.

import {
  ADDRESS,
  DEEP,
  LpmNode,
  NODE,
  commonBits,
  dataOf,
  entryAt,
  headOf,
  lastSlot,
  nextRun,
  nodeAt,
  parentOf,
  prefixlenOf,
  upTo,
} from "./lpm_node";
import { BpfLpmTrie, KEY_HDR } from "./lpm_trie";

/**
 * The prefix behind `key`'s; 0 at the end.
 * @param key     0: the first prefix is wanted
 * @param goOn    what comes behind a key that is no prefix of the trie: false, the first prefix (as in the kernel); true,
 *                the one that would follow it
 */
export function nextElem(trie: BpfLpmTrie, key: usize, goOn: bool): u32 {
  const data = key + KEY_HDR;
  const len: u32 = key == 0 ? ~0 : load<u32>(key);
  if (len <= trie.maxPrefixlen) {
    const node = trie.descend(data, len);
    if (goOn || trie.findExact(node, data, len) != 0) return nextFrom(trie, node, data, len);
  }
  return firstFrom(trie, nodeAt(trie.root), 0);
}

/** The prefix behind the one that has, or would have, its home in `node`, the end of the path. */
function nextFrom(trie: BpfLpmTrie, node: LpmNode, data: usize, len: u32): u32 {
  const off = trie.infoOff;
  const entry = entryAt(node, load<u8>(data + node.depth));
  let cover = headOf(entry);
  if (len > ((<u32>node.depth) << 3) + 8) {
    const below = belowAndBehind(trie, entry, data, len);
    if (below != 0) return below;
    if (entry & DEEP) cover = parentOf(cover, off);
  }
  cover = upTo(cover, off, <i32>len - 1);
  let slot = lastSlot(data, len, node.depth);
  let level = trie.pathLength - 1;
  while (true) {
    // Everything up to `slot` is done but what covers it and ends with it; the longest such is next.
    if (cover != 0 && lastSlot(dataOf(cover, off), prefixlenOf(cover, off), node.depth) == slot)
      return cover;
    const found = firstFrom(trie, node, slot + 1);
    if (found != 0 || level == 0) return found;
    cover = node.cover;
    level--;
    node = trie.nodeOfPath(level);
    slot = load<u8>(data + node.depth);
  }
}

/** Of what a slot has below it, the first prefix if all of that comes behind a prefix that is not below; 0 otherwise. */
function belowAndBehind(trie: BpfLpmTrie, entry: u32, data: usize, len: u32): u32 {
  const off = trie.infoOff;
  if ((entry & (NODE | DEEP)) == 0) return 0;
  const elem = entry & NODE ? nodeAt(entry).rep : entry & ADDRESS;
  const own = dataOf(elem, off);
  const ownLen = prefixlenOf(elem, off);
  const common = commonBits(own, data, min<u32>(ownLen, len));
  if (common == len) return 0;
  // A prefix that covers the key comes behind it; of others, the first bit that differs decides.
  const isCover = common == ownLen;
  const bit = (<u32>load<u8>(data + (common >> 3)) >> (7 - (common & 7))) & 1;
  if (!isCover && bit != 0) return 0;
  return entry & NODE ? firstFrom(trie, nodeAt(entry), 0) : elem;
}

/** The first prefix in postorder of those that end in or below the slots of `node` from `slot` on; 0 when there is none. */
export function firstFrom(trie: BpfLpmTrie, node: LpmNode, slot: u32): u32 {
  const off = trie.infoOff;
  while (slot < 256) {
    const entry = entryAt(node, slot);
    const next = nextRun(node, slot);
    if (entry & NODE) {
      // Every child holds a prefix.
      node = nodeAt(entry);
      slot = 0;
      continue;
    }
    const elem = entry & ADDRESS;
    if (entry & DEEP) return elem;
    // What is painted here goes on behind a run that ends earlier.
    if (elem != 0 && lastSlot(dataOf(elem, off), prefixlenOf(elem, off), node.depth) == next - 1)
      return elem;
    slot = next;
  }
  return 0;
}

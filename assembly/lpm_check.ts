// The invariants of lpm_trie.ts, for debug builds.

import { resolve } from "./lpm_dir";
import {
  ADDRESS,
  DEEP,
  LIVE,
  LpmNode,
  NODE,
  capacityOf,
  commonBits,
  dataOf,
  entryAt,
  lastSlot,
  nextRun,
  nodeAt,
  parentOf,
  prefixlenOf,
  runCount,
} from "./lpm_node";
import { BpfLpmTrie } from "./lpm_trie";

/** @returns 0, or the number of the broken invariant (in the hundreds: something in a node) */
export function checkTrie(trie: BpfLpmTrie): i32 {
  if (ASC_NO_ASSERT) return 0;
  const root = nodeAt(trie.root);
  if (root.depth != 0 || root.cover != 0) return 1;
  const found = checkNode(trie, root, true);
  if (found < 0) return -found;
  if (<u32>found != trie.count) return 4;
  if (trie.dir == 0) return 0;
  for (let index: u32 = 0; index < 65536; index++) {
    const want = resolve(trie, index);
    if (load<u32>(trie.dir + (index << 2)) != want) return 5;
  }
  return 0;
}

/** @returns the number of prefixes in and below a node; negative: minus the number of what is wrong */
function checkNode(trie: BpfLpmTrie, node: LpmNode, isRoot: bool): i32 {
  const off = trie.infoOff;
  const depth: u32 = node.depth;
  if (!isRoot && <u32>node.elems + node.children < 2) return -200;
  if (runCount(node) > capacityOf(node) || (node.starts0 & 1) == 0) return -201;
  if (!isRoot && (prefixlenOf(node.rep, off) <= depth << 3 || !isPresent(trie, node.rep)))
    return -202;
  let total: i32 = 0;
  let elems: u32 = 0;
  let children: u32 = 0;
  let runs: u32 = 0;
  for (let slot: u32 = 0; slot < 256; slot = nextRun(node, slot)) {
    const entry = entryAt(node, slot);
    const end = nextRun(node, slot) - 1;
    runs++;
    if (slot > 0 && entryAt(node, slot - 1) == entry) return -203;
    let head = entry & ADDRESS;
    if (entry & NODE) {
      const child = nodeAt(entry);
      if (end != slot || <u32>child.depth <= depth) return -204;
      if (
        !isRoot &&
        commonBits(dataOf(child.rep, off), dataOf(node.rep, off), depth << 3) != depth << 3
      )
        return -205;
      if (load<u8>(dataOf(child.rep, off) + depth) != slot) return -206;
      const below = checkNode(trie, child, false);
      if (below < 0) return below;
      total += below;
      children++;
      head = child.cover;
    } else if (entry & DEEP) {
      if (end != slot || prefixlenOf(head, off) <= (depth << 3) + 8) return -207;
      if (load<u8>(dataOf(head, off) + depth) != slot) return -208;
    }
    const ended = checkChain(trie, node, head, slot, end, (entry & DEEP) != 0);
    if (ended < 0) return ended;
    elems += ended;
  }
  if (runs != runCount(node)) return -209;
  if (elems != node.elems || children != node.children) return -210;
  return total + <i32>elems;
}

/** Looks at the chain of a run; @returns how many of its prefixes end with the run, or minus what is wrong. */
function checkChain(
  trie: BpfLpmTrie,
  node: LpmNode,
  head: u32,
  slot: u32,
  end: u32,
  deep: bool,
): i32 {
  const off = trie.infoOff;
  const depth: u32 = node.depth;
  let ended: i32 = 0;
  let longer: u32 = 0xffffffff;
  for (let elem = head; elem != 0; elem = parentOf(elem, off)) {
    const len = prefixlenOf(elem, off);
    if (!isPresent(trie, elem) || len >= longer) return -211;
    if (depth != 0 && len <= depth << 3) return -212;
    longer = len;
    const isDeep = deep && elem == head;
    if (!isDeep && len > (depth << 3) + 8) return -213;
    const data = dataOf(elem, off);
    if (depth != 0 && commonBits(data, dataOf(node.rep, off), depth << 3) != depth << 3)
      return -214;
    const bits = len - (depth << 3);
    const differing = <u32>load<u8>(data + depth) ^ slot;
    if (bits < 8 && differing >> (8 - bits) != 0) return -215;
    if (isDeep || lastSlot(data, len, depth) == end) ended++;
  }
  return ended;
}

function isPresent(trie: BpfLpmTrie, elem: u32): bool {
  return (load<u32>(elem + trie.infoOff) & LIVE) != 0;
}

// Nodes and prefixes of the LPM trie: layouts, and the editing of one node.
//
// A node looks at one byte of the data (its depth). Conceptually it is an array of 256 slots, one a value of that byte;
// what is kept are the runs of equal slots: a bitmap says where runs start, popcnt finds a slot's run. A slot holds
//
//   0                nothing
//   elem             the longest prefix that ends in this byte and covers the slot ("painted" over its range)
//   elem | DEEP      the only prefix below this slot that goes beyond this byte; whether it matches is still to be seen
//   node | NODE      the child that tells apart the several prefixes below this slot
//
// Prefixes of one node that cover each other are linked: elem.parent is the next shorter one. So everything that covers a
// slot in this node is the chain that starts at its elem (painted or deep) or at its child's `cover`, longest first. A prefix
// that is painted over completely is in the chains all the same.

import { alloc, free } from "./kernel";
import { copyBytes } from "./lib/bytes";

/** Tags of a slot's value; the rest is an address. */
export const NODE: u32 = 1;
export const DEEP: u32 = 2;
export const ADDRESS: u32 = ~7;

/** A slot value that does not occur. */
const NONE: u32 = 0xffffffff;

//   LpmNode: NODE_HDR + 4 * capacity bytes
//   0             32       36      40    44      45         46          47    48      50         52
//   | starts[256] | ranks  | cover | rep | depth | half cap | count - 1 | pad | elems | children | entries[capacity] |
@unmanaged
export class LpmNode {
  /** Bit s: a run starts at slot s; bit 0 is always set. */
  starts0: u64;
  starts1: u64;
  starts2: u64;
  starts3: u64;
  /** Byte w: number of starts in the words before starts<w>. */
  ranks: u32;
  /** The longest prefix that covers this whole node and has its home in the parent node; 0 for none. */
  cover: u32;
  /** Some prefix below: its data has the bytes in front of `depth`. The root has none. */
  rep: u32;
  /** The byte of the data this node looks at. */
  depth: u8;
  /** Entries there is room for, halved: capacities are odd, which makes blocks multiples of 8. */
  halfCapacity: u8;
  /** Number of runs minus 1. */
  lastRun: u8;
  pad: u8;
  /** Prefixes that have their home here. */
  elems: u16;
  children: u16;
}
const NODE_HDR: u32 = 52;
if (offsetof<LpmNode>() != 52) ERROR("LpmNode must be NODE_HDR bytes");
if (offsetof<LpmNode>("ranks") != 32) ERROR("entryPtr reads ranks at 32");

export function nodeAt(ptr: u32): LpmNode {
  return changetype<LpmNode>(ptr & ADDRESS);
}

export function runCount(node: LpmNode): u32 {
  return <u32>node.lastRun + 1;
}

export function capacityOf(node: LpmNode): u32 {
  return ((<u32>node.halfCapacity) << 1) | 1;
}

export function nodeBytes(capacity: u32): u32 {
  return NODE_HDR + capacity * 4;
}

/** The capacity of a node that has `count` runs and may get some more. */
export function capacityFor(count: u32): u32 {
  return min<u32>(count + (count >> 3) + 2, 256) | 1;
}

/** A node without prefixes and links; 0 when out of memory. */
export function allocNode(depth: u32, capacity: u32): usize {
  const ptr = alloc(nodeBytes(capacity));
  if (ptr == 0) return 0;
  memory.fill(ptr, 0, nodeBytes(1));
  const node = changetype<LpmNode>(ptr);
  node.depth = <u8>depth;
  node.halfCapacity = <u8>(capacity >> 1);
  node.starts0 = 1;
  node.ranks = 0x01010100;
  return ptr;
}

/** Copies a node into a block of another capacity, and frees the old block. */
export function moveNode(from: LpmNode, to: usize): void {
  const half = changetype<LpmNode>(to).halfCapacity;
  memory.copy(to, changetype<usize>(from), nodeBytes(runCount(from)));
  changetype<LpmNode>(to).halfCapacity = half;
  free(changetype<usize>(from));
}

// ---- slots --------------------------------------------------------------------------------------------------------

/** Index of the run that holds a slot. */
function runOf(node: LpmNode, slot: u32): u32 {
  const ptr = changetype<usize>(node);
  const word = slot >> 6;
  const starts = load<u64>(ptr + (word << 3));
  return <u32>load<u8>(ptr + word, 32) + <u32>popcnt<u64>(starts << (63 - (slot & 63))) - 1;
}

/** Address of the run's entry. */
export function entryPtr(node: LpmNode, slot: u32): usize {
  return changetype<usize>(node) + NODE_HDR + (runOf(node, slot) << 2);
}

export function entryAt(node: LpmNode, slot: u32): u32 {
  return load<u32>(changetype<usize>(node) + (runOf(node, slot) << 2), 52);
}

/** The first slot of the run behind the one that holds `slot`; 256 when it is the last. */
export function nextRun(node: LpmNode, slot: u32): u32 {
  let word = slot >> 6;
  let starts = load<u64>(changetype<usize>(node) + (word << 3)) & (~(<u64>1) << (slot & 63));
  while (starts == 0) {
    if (++word == 4) return 256;
    starts = load<u64>(changetype<usize>(node) + (word << 3));
  }
  return (word << 6) + <u32>ctz<u64>(starts);
}

/** Number of runs that start in front of a slot (0..256). */
function runsBefore(node: LpmNode, slot: u32): u32 {
  return slot == 0 ? 0 : runOf(node, slot - 1) + 1;
}

/** Of the prefixes that end in this byte and cover a slot, the longest; or the only one below it. 0 for none. */
export function headOf(entry: u32): u32 {
  return entry & NODE ? nodeAt(entry).cover : entry & ADDRESS;
}

/** The first non-empty entry. */
export function firstEntry(node: LpmNode): u32 {
  let entry = changetype<usize>(node) + NODE_HDR;
  while (load<u32>(entry) == 0) entry += 4;
  return load<u32>(entry);
}

// ---- prefixes -----------------------------------------------------------------------------------------------------

//   Elem: | value, padded to 4 | prefixlen | LIVE | parent | data (as given, host bits included) |
//         0                    infoOff            +4       +8

/** Set in the info word of a present prefix. */
export const LIVE: u32 = 0x80000000;

/** Where the parts of an element are; the same for all elements of a map. */
export function infoOffset(valueSize: u32): u32 {
  return (valueSize + 3) & ~3;
}

export function prefixlenOf(elem: u32, infoOff: u32): u32 {
  return load<u32>(elem + infoOff) & ~LIVE;
}

export function parentOf(elem: u32, infoOff: u32): u32 {
  return load<u32>(elem + infoOff, 4);
}

export function setParent(elem: u32, infoOff: u32, parent: u32): void {
  store<u32>(elem + infoOff, parent, 4);
}

export function dataOf(elem: u32, infoOff: u32): usize {
  return elem + infoOff + 8;
}

/** The first prefix of a chain that is no longer than `len`; 0 when there is none. */
export function upTo(elem: u32, infoOff: u32, len: i32): u32 {
  while (elem != 0 && <i32>prefixlenOf(elem, infoOff) > len) elem = parentOf(elem, infoOff);
  return elem;
}

/** The number of equal leading bits, `limit` at most. */
export function commonBits(a: usize, b: usize, limit: u32): u32 {
  const bytes = (limit + 7) >> 3;
  let i: u32 = 0;
  for (; i + 4 <= bytes; i += 4) {
    const x = load<u32>(a + i) ^ load<u32>(b + i);
    if (x != 0) return min<u32>(limit, (i << 3) + <u32>clz<u32>(bswap<u32>(x)));
  }
  for (; i < bytes; i++) {
    const x: u32 = load<u8>(a + i) ^ load<u8>(b + i);
    if (x != 0) return min<u32>(limit, (i << 3) + <u32>clz<u32>(x) - 24);
  }
  return limit;
}

/** First and last slot that a prefix covers in the node of `depth` on its way. */
export function firstSlot(data: usize, prefixlen: u32, depth: u32): u32 {
  return <u32>load<u8>(data + depth) & ~(255 >> min(prefixlen - (depth << 3), 8));
}

export function lastSlot(data: usize, prefixlen: u32, depth: u32): u32 {
  return <u32>load<u8>(data + depth) | (255 >> min(prefixlen - (depth << 3), 8));
}

// ---- editing ------------------------------------------------------------------------------------------------------

//   Edit: the new runs of a range of slots, made before anything changes
@unmanaged
export class Edit {
  first: u32;
  last: u32;
  /** Indices of the first run that they replace and of the first one behind. */
  from: u32;
  to: u32;
  /** Number of new runs. */
  count: u32;
  /** Runs of the node afterwards. */
  total: u32;
  /** Then the new runs: slot, entry (u32 each). */
}
const EDIT_HDR: u32 = 24;
if (offsetof<Edit>() != 24) ERROR("Edit must be EDIT_HDR bytes");
export const EDIT_BYTES: u32 = EDIT_HDR + 258 * 8;

function pushRun(edit: Edit, slot: u32, entry: u32): void {
  const ptr = changetype<usize>(edit) + EDIT_HDR + (edit.count << 3);
  store<u32>(ptr, slot);
  store<u32>(ptr, entry, 4);
  edit.count++;
}

/** What a slot holds once `elem` (of length prefixlen, entry `tagged`) is there. */
function withElem(entry: u32, tagged: u32, prefixlen: u32, infoOff: u32): u32 {
  if (entry == 0) return tagged;
  if (entry & (NODE | DEEP)) return entry;
  return prefixlenOf(entry, infoOff) < prefixlen ? tagged : entry;
}

/** What a slot holds once `elem` is gone. */
function withoutElem(entry: u32, elem: u32, infoOff: u32): u32 {
  return (entry & ADDRESS) == elem ? parentOf(elem, infoOff) : entry;
}

/**
 * Plans what a node looks like when `elem` is put into its slots from first to last, or removed from them.
 * @param tagged the entry: elem, elem | DEEP, or a child for an empty slot
 * @param len    elem's prefix length
 */
export function planEdit(
  edit: Edit,
  node: LpmNode,
  first: u32,
  last: u32,
  tagged: u32,
  len: u32,
  infoOff: u32,
  remove: bool,
): void {
  edit.first = first;
  edit.last = last;
  edit.count = 0;
  let before = first == 0 ? NONE : entryAt(node, first - 1);
  for (let slot = first; slot <= last; slot = nextRun(node, slot)) {
    const entry = entryAt(node, slot);
    const then = remove
      ? withoutElem(entry, tagged & ADDRESS, infoOff)
      : withElem(entry, tagged, len, infoOff);
    if (then != before) pushRun(edit, slot, then);
    before = then;
  }
  // The slot behind the range starts a run of its own, unless it continues what is now in front of it.
  let behind = last + 1;
  if (behind < 256) {
    const entry = entryAt(node, behind);
    if (entry != before) pushRun(edit, behind, entry);
    behind++;
  }
  edit.from = runsBefore(node, first);
  edit.to = runsBefore(node, behind);
  edit.total = runCount(node) - edit.to + edit.from + edit.count;
}

/** Writes the planned runs; the node has room for them. */
export function applyEdit(edit: Edit, node: LpmNode): void {
  const ptr = changetype<usize>(node);
  const behind = min<u32>(edit.last + 2, 256);
  const to = ptr + NODE_HDR + (edit.to << 2);
  let entry = ptr + NODE_HDR + (edit.from << 2);
  const end = entry + (edit.count << 2);
  const tail = (runCount(node) - edit.to) << 2;
  if (tail != 0 && end != to) memory.copy(end, to, tail);
  for (let slot = edit.first; slot < behind; slot = nextRun(node, slot)) {
    const word = ptr + ((slot >> 6) << 3);
    store<u64>(word, load<u64>(word) & ~((<u64>1) << (slot & 63)));
  }
  let run = changetype<usize>(edit) + EDIT_HDR;
  while (entry != end) {
    const slot = load<u32>(run);
    const word = ptr + ((slot >> 6) << 3);
    store<u64>(word, load<u64>(word) | ((<u64>1) << (slot & 63)));
    store<u32>(entry, load<u32>(run, 4));
    entry += 4;
    run += 8;
  }
  node.lastRun = <u8>(edit.total - 1);
  countRanks(node);
}

function countRanks(node: LpmNode): void {
  const first = <u32>popcnt<u64>(node.starts0);
  const second = first + <u32>popcnt<u64>(node.starts1);
  const third = second + <u32>popcnt<u64>(node.starts2);
  node.ranks = (first << 8) | (second << 16) | (third << 24);
}

/**
 * Gives the chains of the edited slots another middle: what is longer than `len` continues with `below`, which is a new
 * prefix of that length or the parent of one that goes. The node still has its old runs.
 */
export function relink(edit: Edit, node: LpmNode, below: u32, len: u32, infoOff: u32): void {
  for (let slot = edit.first; slot <= edit.last; slot = nextRun(node, slot)) {
    const entry = entryAt(node, slot);
    let top = entry & NODE ? nodeAt(entry).cover : entry & ADDRESS;
    if (top == 0 || prefixlenOf(top, infoOff) <= len) {
      if (entry & NODE) nodeAt(entry).cover = below;
    } else {
      while (true) {
        const next = parentOf(top, infoOff);
        if (next == 0 || prefixlenOf(next, infoOff) <= len) break;
        top = next;
      }
      setParent(top, infoOff, below);
    }
  }
}

/** Fills in a prefix that nobody can see yet. */
export function writeElem(elem: u32, infoOff: u32, data: usize, dataSize: u32, len: u32): void {
  store<u32>(elem + infoOff, len | LIVE);
  setParent(elem, infoOff, 0);
  copyBytes(dataOf(elem, infoOff), data, dataSize);
}

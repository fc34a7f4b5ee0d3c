// LPM_TRIE. Kernel: kernel/bpf/lpm_trie.c (behaviour checked against 6.18).
//
// The kernel has a binary trie; what can be seen of it (matches, errors, the order of a walk) follows from the set of
// prefixes alone, so the structure here is another one: nodes of 8 bits that are compressed in both directions. Runs of
// equal slots are kept once (lpm_node.ts), and a node exists only where several prefixes part or end below it. Lookups in
// large tries skip the first two bytes by a table (lpm_dir.ts).
//
// Invariants (lpm_check.ts):
//   1. a prefix of length n has its home in the node of depth d with 8d < n <= 8d + 8 (n = 0: the root); or, when nothing
//      else is below its slot of a node further up, there (DEEP);
//   2. every node but the root has two prefixes and children at least, and the bytes between it and its parent are those of
//      its `rep`;
//   3. a slot shows the longest prefix of its node that covers it; parent links lead through all that do, longest first;
//   4. count is the number of prefixes.
//
// Differs: replacing a value happens in place, where the kernel swaps in another node. An address therefore stays as long
// as its prefix is present, and a program that holds one sees the new value.

import {
  BPF_EXIST,
  BPF_F_NO_PREALLOC,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_NOEXIST,
  EEXIST,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOSPC,
} from "../ts/uapi";
import { alloc, allocGrow, free, reserve, usePromise } from "./kernel";
import { copyBytes, equalBytes, isUserRange, round8 } from "./lib/bytes";
import { lock, unlock } from "./lib/lock";
import {
  Pool,
  poolAlloc,
  poolCreate,
  poolDestroy,
  poolElemAt,
  poolEmpty,
  poolFree,
} from "./lib/pool";
import { DEAD } from "./lib/region";
import { DIR_BYTES, dirFill } from "./lpm_dir";
import { checkTrie } from "./lpm_check";
import { lpmMatch } from "./lpm_match";
import {
  ADDRESS,
  DEEP,
  EDIT_BYTES,
  Edit,
  LIVE,
  LpmNode,
  NODE,
  allocNode,
  applyEdit,
  capacityFor,
  capacityOf,
  commonBits,
  dataOf,
  entryAt,
  entryPtr,
  firstEntry,
  firstSlot,
  headOf,
  infoOffset,
  lastSlot,
  moveNode,
  nextRun,
  nodeAt,
  nodeBytes,
  parentOf,
  planEdit,
  prefixlenOf,
  relink,
  runCount,
  setParent,
  upTo,
  writeElem,
} from "./lpm_node";
import { nextElem } from "./lpm_walk";
import { BATCH_DELETE, BATCH_LOOKUP, BATCH_UPDATE, BpfMap, MapCreateAttr } from "./map";
import { KMALLOC_MAX_SIZE, attrLegal, copyValueOut } from "./map";

/** struct bpf_lpm_trie_key without data: the prefix length. */
export const KEY_HDR: u32 = 4;
const DATA_MAX: u32 = 256;
/** In the kernel a node is its header (24 bytes), the data and the value. */
const VALUE_MAX: u32 = KMALLOC_MAX_SIZE - DATA_MAX - 24;
const LPM_FLAGS: u32 =
  BPF_F_NO_PREALLOC |
  BPF_F_NUMA_NODE |
  BPF_F_RDONLY |
  BPF_F_WRONLY |
  BPF_F_RDONLY_PROG |
  BPF_F_WRONLY_PROG;

/** Runs a new node has room for: two prefixes need five. */
const FIRST_CAPACITY: u32 = 5;
/** What nodes are promised for each prefix, bytes; real routing tables need about 10, the worst case is 84. */
const NODE_BYTES_PER_ELEM: u64 = 48;
/** The promise for nodes, at most. */
const RESERVE_MAX: u64 = 192 << 20;
/** The promise for maps of more than HUGE_ENTRIES, which nobody means to fill: it is for their elements, too. */
const RESERVE_HUGE: u64 = 64 << 20;
const HUGE_ENTRIES: u32 = 1 << 24;
/** The table for the first two bytes is made at this many prefixes and given up at a quarter of it. */
const DIR_ENTRIES: u32 = 16384;

export class BpfLpmTrie extends BpfMap {
  /** Bytes of data in a key. */
  dataSize: u32;
  /** Bits of data in a key. */
  maxPrefixlen: u32;
  /** Offset of an element's info word (lpm_node.ts). */
  infoOff: u32;
  /** The entry that leads to it. */
  root: u32;
  count: u32;
  /** lpm_dir.ts; 0 while the trie is small. */
  dir: u32;
  /** Number of prefixes at which making the table is tried. */
  dirAt: u32;
  pool: u32;
  edit: u32;
  /** The nodes from the root to a prefix's home (u32 each), and how many: set by descend. */
  path: u32;
  pathLength: u32;
  /** What is left of the promise that nodes will find memory, bytes. */
  reserved: u64;

  /** EINVAL: flags, sizes. The kernel looks at them here, behind all that is checked for every type. */
  override init(attr: MapCreateAttr): i32 {
    if (!attrLegal(attr, attr.keySize, LPM_FLAGS)) return -EINVAL;
    if ((attr.mapFlags & BPF_F_NO_PREALLOC) == 0 || attr.valueSize > VALUE_MAX) return -EINVAL;
    if (attr.keySize <= KEY_HDR || attr.keySize > KEY_HDR + DATA_MAX) return -EINVAL;
    this.dataSize = attr.keySize - KEY_HDR;
    this.maxPrefixlen = this.dataSize << 3;
    this.infoOff = infoOffset(attr.valueSize);
    this.dirAt = DIR_ENTRIES;
    return this.allocParts() ? 0 : -ENOMEM;
  }

  private allocParts(): bool {
    this.edit = <u32>allocGrow(EDIT_BYTES + this.dataSize * 4);
    this.path = this.edit + EDIT_BYTES;
    const elemSize = round8(this.infoOff + 8 + this.dataSize);
    this.pool = poolCreate(changetype<usize>(this), elemSize, 0, this.maxEntries);
    if (this.edit == 0 || this.pool == 0) return false;
    this.reserved =
      this.maxEntries > HUGE_ENTRIES
        ? RESERVE_HUGE
        : min(RESERVE_MAX, NODE_BYTES_PER_ELEM * this.maxEntries);
    reserve(this.reserved);
    this.root = <u32>this.makeNode(0, FIRST_CAPACITY);
    return this.root != 0;
  }

  override release(): void {
    if (this.root != 0) freeNodes(nodeAt(this.root));
    free(this.dir);
    free(this.edit);
    poolDestroy(this.pool);
    usePromise(this.promise(), this.reserved);
  }

  // ---- lookups ----

  override lookupElem(key: usize): usize {
    lock(lockOf(this));
    const elem = lpmMatch(this, key + KEY_HDR, load<u32>(key));
    unlock(lockOf(this));
    return elem;
  }

  override lookupUser(key: usize, value: u64, flags: u64): i32 {
    lock(lockOf(this));
    const elem = lpmMatch(this, key + KEY_HDR, load<u32>(key));
    const ret = elem == 0 ? -ENOENT : copyValueOut(this, value, elem, flags);
    unlock(lockOf(this));
    return ret;
  }

  override getNextKey(key: usize, next: u64): i32 {
    lock(lockOf(this));
    const elem = nextElem(this, key, false);
    let ret = -ENOENT;
    if (elem != 0) {
      ret = isUserRange(next, this.keySize) ? 0 : -EFAULT;
      if (ret == 0) this.copyKey(<usize>next, elem);
    }
    unlock(lockOf(this));
    return ret;
  }

  /** Goes on behind the last key even when that is no longer there. */
  override iterNext(iter: usize, key: usize): usize {
    lock(lockOf(this));
    const elem = nextElem(this, load<u32>(iter) == 0 ? 0 : key, true);
    store<u32>(iter, 1);
    if (elem != 0) this.copyKey(key, elem);
    unlock(lockOf(this));
    return elem;
  }

  private copyKey(to: usize, elem: u32): void {
    store<u32>(to, prefixlenOf(elem, this.infoOff));
    copyBytes(to + KEY_HDR, dataOf(elem, this.infoOff), this.dataSize);
  }

  // ---- places ----

  /** Walks to the home of a prefix, existing or not: the last node whose bytes in front agree. Sets path. */
  descend(data: usize, len: u32): LpmNode {
    let node = nodeAt(this.root);
    let level: u32 = 0;
    while (true) {
      store<u32>(this.path + level * 4, changetype<usize>(node));
      level++;
      if (len <= ((<u32>node.depth) << 3) + 8) break;
      const entry = entryAt(node, load<u8>(data + node.depth));
      if ((entry & NODE) == 0) break;
      const child = nodeAt(entry);
      if (len <= (<u32>child.depth) << 3 || !this.isBelow(child, node.depth + 1, data)) break;
      node = child;
    }
    this.pathLength = level;
    return node;
  }

  /** Do the bytes from `from` on that were skipped between the node above and `child` agree with the data? */
  isBelow(child: LpmNode, from: u32, data: usize): bool {
    const skipped = <u32>child.depth - from;
    return skipped == 0 || equalBytes(dataOf(child.rep, this.infoOff) + from, data + from, skipped);
  }

  /** The prefix itself, given its home; 0 when absent. */
  findExact(node: LpmNode, data: usize, len: u32): u32 {
    const off = this.infoOff;
    const entry = entryAt(node, load<u8>(data + node.depth));
    if (len > ((<u32>node.depth) << 3) + 8) {
      const elem = entry & ADDRESS;
      if ((entry & DEEP) == 0 || prefixlenOf(elem, off) != len) return 0;
      return commonBits(dataOf(elem, off), data, len) == len ? elem : 0;
    }
    let elem = entry & NODE ? nodeAt(entry).cover : entry & ADDRESS;
    while (elem != 0 && prefixlenOf(elem, off) > len) elem = parentOf(elem, off);
    return elem != 0 && prefixlenOf(elem, off) == len ? elem : 0;
  }

  // ---- update ----

  /** Order of checks: flags, length, EEXIST, ENOENT, ENOSPC, ENOMEM. */
  override updateElem(key: usize, value: usize, flags: u64, syscall: bool): i32 {
    if (flags > <u64>BPF_EXIST || load<u32>(key) > this.maxPrefixlen) return -EINVAL;
    lock(lockOf(this));
    const ret = this.update(key + KEY_HDR, load<u32>(key), value, <u32>flags);
    unlock(lockOf(this));
    return ret;
  }

  private update(data: usize, len: u32, value: usize, flags: u32): i32 {
    const node = this.descend(data, len);
    const found = this.findExact(node, data, len);
    if (found != 0) {
      if (flags == BPF_NOEXIST) return -EEXIST;
      copyBytes(dataOf(found, this.infoOff), data, this.dataSize);
      copyBytes(found, value, this.valueSize);
      return 0;
    }
    if (flags == BPF_EXIST) return -ENOENT;
    if (this.count == this.maxEntries) return -ENOSPC;
    const elem = <u32>poolAlloc(changetype<Pool>(this.pool));
    if (elem == 0) return -ENOMEM;
    writeElem(elem, this.infoOff, data, this.dataSize, len);
    if (!this.insert(node, elem, len)) {
      this.dropElem(elem);
      return -ENOMEM;
    }
    copyBytes(elem, value, this.valueSize);
    this.count++;
    if (this.count >= this.dirAt) this.makeDir();
    return 0;
  }

  /** Puts a new prefix into its home, below it where it meets another prefix or a child. */
  private insert(node: LpmNode, elem: u32, len: u32): bool {
    const data = dataOf(elem, this.infoOff);
    const depth: u32 = node.depth;
    if (len > (depth << 3) + 8) {
      const slot = load<u8>(data + depth);
      const entry = entryAt(node, slot);
      if (entry & (NODE | DEEP)) {
        node = this.split(node, slot, entry, data, len);
        if (changetype<usize>(node) == 0) return false;
      }
    }
    if (!this.place(node, elem, len)) return false;
    this.refreshDir(data, len, depth);
    return true;
  }

  /**
   * Puts a node between `node` and what is in one of its slots, at the byte where a new prefix goes another way or ends.
   * The new node has room for that prefix. @returns the node; 0 when out of memory
   */
  private split(node: LpmNode, slot: u32, entry: u32, data: usize, len: u32): LpmNode {
    const off = this.infoOff;
    const other = entry & ADDRESS;
    const isNode = (entry & NODE) != 0;
    const rep = isNode ? nodeAt(entry).rep : other;
    // A child wants to stay below; of a prefix the last bit has to.
    const limit = isNode ? (<u32>nodeAt(entry).depth) << 3 : prefixlenOf(other, off) - 1;
    const depth = commonBits(dataOf(rep, off), data, min<u32>(limit, len - 1)) >> 3;
    const ptr = this.makeNode(depth, FIRST_CAPACITY);
    if (ptr == 0) return changetype<LpmNode>(0);
    const middle = changetype<LpmNode>(ptr);
    middle.rep = rep;
    if (isNode) {
      middle.cover = nodeAt(entry).cover;
      nodeAt(entry).cover = 0;
      this.placeChild(middle, entry, load<u8>(dataOf(rep, off) + depth));
    } else {
      middle.cover = parentOf(other, off);
      setParent(other, off, 0);
      this.place(middle, other, prefixlenOf(other, off));
      node.elems--;
      node.children++;
    }
    store<u32>(entryPtr(node, slot), <u32>ptr | NODE);
    store<u32>(this.path + this.pathLength * 4, <u32>ptr);
    this.pathLength++;
    return middle;
  }

  /** Puts a child into the slot of an empty node. */
  private placeChild(node: LpmNode, entry: u32, slot: u32): void {
    const edit = changetype<Edit>(this.edit);
    planEdit(edit, node, slot, slot, entry, 0, this.infoOff, false);
    applyEdit(edit, node);
    node.children++;
  }

  /** Puts a prefix into its home, which ends the path. @returns false when out of memory: nothing has changed */
  private place(node: LpmNode, elem: u32, len: u32): bool {
    const off = this.infoOff;
    const edit = changetype<Edit>(this.edit);
    planEditOf(edit, node, elem, len, off, false);
    if (edit.total > capacityOf(node)) {
      const ptr = this.makeNode(node.depth, capacityFor(edit.total));
      if (ptr == 0) return false;
      node = this.replaceNode(node, ptr, dataOf(elem, off));
    }
    const parent = upTo(headOf(entryAt(node, edit.first)), off, len);
    relink(edit, node, elem, len, off);
    setParent(elem, off, parent);
    applyEdit(edit, node);
    node.elems++;
    return true;
  }

  /** Moves the last node of the path to another block. */
  private replaceNode(node: LpmNode, to: usize, data: usize): LpmNode {
    moveNode(node, to);
    const level = this.pathLength - 1;
    store<u32>(this.path + level * 4, to);
    store<u32>(this.entryTo(level, data), <u32>to | NODE);
    return changetype<LpmNode>(to);
  }

  nodeOfPath(level: u32): LpmNode {
    return changetype<LpmNode>(load<u32>(this.path + level * 4));
  }

  /** Address of the entry that leads to a node of the path. */
  private entryTo(level: u32, data: usize): usize {
    if (level == 0) return changetype<usize>(this) + offsetof<BpfLpmTrie>("root");
    const above = this.nodeOfPath(level - 1);
    return entryPtr(above, load<u8>(data + above.depth));
  }

  private makeNode(depth: u32, capacity: u32): usize {
    const ptr = allocNode(depth, capacity);
    if (ptr != 0) {
      usePromise(this.promise(), nodeBytes(capacity) + 8);
    }
    return ptr;
  }

  private promise(): usize {
    return changetype<usize>(this) + offsetof<BpfLpmTrie>("reserved");
  }

  /** Takes back an element that is in no node. */
  private dropElem(elem: u32): void {
    store<u32>(elem + this.infoOff, 0);
    poolFree(changetype<Pool>(this.pool), elem);
  }

  // ---- delete ----

  override deleteElem(key: usize): i32 {
    const len = load<u32>(key);
    if (len > this.maxPrefixlen) return -EINVAL;
    lock(lockOf(this));
    const node = this.descend(key + KEY_HDR, len);
    const elem = this.findExact(node, key + KEY_HDR, len);
    if (elem != 0) this.remove(node, elem, len);
    unlock(lockOf(this));
    return elem == 0 ? -ENOENT : 0;
  }

  /** Removes a prefix from its home, the end of the path. Needs no memory. */
  private remove(node: LpmNode, elem: u32, len: u32): void {
    const off = this.infoOff;
    const edit = changetype<Edit>(this.edit);
    const data = dataOf(elem, off);
    const depth: u32 = node.depth;
    planEditOf(edit, node, elem, len, off, true);
    relink(edit, node, parentOf(elem, off), len, off);
    applyEdit(edit, node);
    node.elems--;
    if (this.pathLength > 1 && <u32>node.elems + node.children == 1) this.collapse(node, data);
    else this.shrink(node, data);
    this.renewReps(elem);
    this.refreshDir(data, len, depth);
    this.dropElem(elem);
    this.count--;
    if (this.count == 0) poolEmpty(changetype<Pool>(this.pool));
    if (this.dir != 0 && this.count < DIR_ENTRIES / 4) this.dropDir();
  }

  /** Replaces a node with one prefix or one child by that, in the node above. */
  private collapse(node: LpmNode, data: usize): void {
    const off = this.infoOff;
    this.pathLength--;
    const above = this.nodeOfPath(this.pathLength - 1);
    const to = this.entryTo(this.pathLength, data);
    const left = firstEntry(node);
    if (left & NODE) {
      nodeAt(left).cover = node.cover;
      store<u32>(to, left);
    } else {
      setParent(left & ADDRESS, off, node.cover);
      store<u32>(to, left | DEEP);
      above.children--;
      above.elems++;
    }
    free(changetype<usize>(node));
  }

  /** Gives back the room that a node no longer needs, if a smaller block can be had. */
  private shrink(node: LpmNode, data: usize): void {
    const runs = runCount(node);
    const wanted = runs == 1 ? FIRST_CAPACITY : capacityFor(runs);
    const slack = runs == 1 ? 0 : 8 + (runs >> 1);
    if (capacityOf(node) <= wanted + slack) return;
    const ptr = this.makeNode(node.depth, wanted);
    if (ptr != 0) this.replaceNode(node, ptr, data);
  }

  /** Gives the nodes whose representative was `gone` another one. */
  private renewReps(gone: u32): void {
    for (let level = this.pathLength - 1; level > 0; level--) {
      const node = this.nodeOfPath(level);
      if (node.rep != gone) continue;
      const entry = firstEntry(node);
      node.rep = entry & NODE ? nodeAt(entry).rep : entry & ADDRESS;
    }
  }

  // ---- the table of the first two bytes ----

  private makeDir(): void {
    // A failure is no harm; it is tried again when the trie has doubled.
    this.dirAt = this.count * 2;
    if (this.dir != 0 || this.dataSize < 2) return;
    this.dir = <u32>alloc(DIR_BYTES);
    if (this.dir != 0) dirFill(this, 0, 0xffff);
  }

  private dropDir(): void {
    free(this.dir);
    this.dir = 0;
    this.dirAt = DIR_ENTRIES;
  }

  /** Brings the table up to date after a change that began in a node of `depth`. */
  private refreshDir(data: usize, len: u32, depth: u32): void {
    if (this.dir == 0) return;
    let first = firstSlot(data, len, 0) << 8;
    let last = (lastSlot(data, len, 0) << 8) | 255;
    if (depth > 1) {
      first |= load<u8>(data, 1);
      last = first;
    }
    dirFill(this, first, last);
  }

  // ---- the rest ----

  override batchOps(): u32 {
    return BATCH_LOOKUP | BATCH_UPDATE | BATCH_DELETE;
  }

  override elemCount(): i64 {
    return this.count;
  }

  override liveOffset(lo: u32, addr: u32): u32 {
    const elem = poolElemAt(changetype<Pool>(this.pool), lo, addr);
    return elem != 0 && load<u32>(elem + this.infoOff) & LIVE ? addr - elem : DEAD;
  }

  override check(): i32 {
    return checkTrie(this);
  }
}

export function lockOf(trie: BpfLpmTrie): usize {
  return changetype<usize>(trie) + offsetof<BpfLpmTrie>("lockWord");
}

function planEditOf(edit: Edit, node: LpmNode, elem: u32, len: u32, off: u32, remove: bool): void {
  const data = dataOf(elem, off);
  const depth: u32 = node.depth;
  const tagged = len > (depth << 3) + 8 ? elem | DEEP : elem;
  planEdit(
    edit,
    node,
    firstSlot(data, len, depth),
    lastSlot(data, len, depth),
    tagged,
    len,
    off,
    remove,
  );
}

/** Frees a node and all below it. */
function freeNodes(node: LpmNode): void {
  for (let slot: u32 = 0; slot < 256; slot = nextRun(node, slot)) {
    const entry = entryAt(node, slot);
    if (entry & NODE) freeNodes(nodeAt(entry));
  }
  free(changetype<usize>(node));
}

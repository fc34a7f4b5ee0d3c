// The lists behind LRU_HASH and LRU_PERCPU_HASH. Kernel: kernel/bpf/bpf_lru_list.c, described in our own words in
// ARCHITECTURE.md (behaviour checked against 6.18: every eviction is the kernel's).
//
// An elem is a node: it is on exactly one list, always. A list set has ACTIVE, INACTIVE and FREE.
//   common:         one set for the map; each CPU has a local FREE and a local PENDING list in front of it
//   NO_COMMON_LRU:  one set per CPU, no local lists
// "Head" is the newest end: sentinel.next. Links lead from the head to the tail through `next`.
//
//   node links      8: next u32, 12: prev u32, 16: cpu u16, 18: list u8     (ref is byte 7 of the elem)
//   LruSet          three sentinels, rotation cursor, counters
//   LruLocal        two sentinels, next CPU to steal from

import { allocZeroed, free, kernel } from "./kernel";
import { ELEM_LIVE, ELEM_REF } from "./htab_table";
import { BpfHtab } from "./hashtab";
import { evictElem } from "./htab_update";

const NODE_NEXT: u32 = 8;
const NODE_PREV: u32 = 12;
const NODE_CPU: u32 = 16;
const NODE_LIST: u32 = 18;
/** Bytes of the header of an elem with LRU links. */
export const LRU_ELEM_HDR: u32 = 20;

const LIST_ACTIVE: u32 = 0;
const LIST_INACTIVE: u32 = 1;
const LIST_FREE: u32 = 2;
const LIST_LOCAL_FREE: u32 = 3;
const LIST_LOCAL_PENDING: u32 = 4;

/** A sentinel has links where a node has them. */
const SENTINEL: u32 = 16;

//   LruSet:    0 ACTIVE | 16 INACTIVE | 32 FREE | 48 rotation cursor | 52 active count | 56 inactive count | pad to 64
//   LruLocal:  0 FREE | 16 PENDING | 32 next CPU to steal from | pad to 64
const SET_SIZE: u32 = 64;
const SET_ROTATION: u32 = 48;
const SET_COUNTS: u32 = 52;
const LOCAL_PENDING: u32 = 16;
const LOCAL_STEAL: u32 = 32;

const COMMON_SCANS: u32 = 128;
const PERCPU_SCANS: u32 = 4;
const PERCPU_TARGET: u32 = 4;

// ---- links ----------------------------------------------------------------------------------------------------------

function nextOf(node: u32): u32 {
  return load<u32>(node, NODE_NEXT);
}

function prevOf(node: u32): u32 {
  return load<u32>(node, NODE_PREV);
}

function listInit(sentinel: u32): void {
  store<u32>(sentinel, sentinel, NODE_NEXT);
  store<u32>(sentinel, sentinel, NODE_PREV);
}

function isEmpty(sentinel: u32): bool {
  return nextOf(sentinel) == sentinel;
}

function addHead(sentinel: u32, node: u32): void {
  const first = nextOf(sentinel);
  store<u32>(node, first, NODE_NEXT);
  store<u32>(node, sentinel, NODE_PREV);
  store<u32>(first, node, NODE_PREV);
  store<u32>(sentinel, node, NODE_NEXT);
}

function unlink(node: u32): void {
  const next = nextOf(node);
  const prev = prevOf(node);
  store<u32>(prev, next, NODE_NEXT);
  store<u32>(next, prev, NODE_PREV);
}

function listOf(node: u32): u32 {
  return load<u8>(node, NODE_LIST);
}

function setList(node: u32, list: u32): void {
  store<u8>(node, list, NODE_LIST);
}

function cpuOf(node: u32): u32 {
  return load<u16>(node, NODE_CPU);
}

function isReferenced(node: u32): bool {
  return load<u8>(node, ELEM_REF) != 0;
}

function clearRef(node: u32): void {
  store<u8>(node, 0, ELEM_REF);
}

function addCount(set: u32, list: u32, by: i32): void {
  if (list <= LIST_INACTIVE) {
    const ptr = set + SET_COUNTS + (list << 2);
    store<u32>(ptr, load<u32>(ptr) + by);
  }
}

/** Takes a node off a list of the set: counter, rotation cursor. */
function leaveSet(set: u32, node: u32): void {
  addCount(set, listOf(node), -1);
  if (load<u32>(set, SET_ROTATION) == node) store<u32>(set, prevOf(node), SET_ROTATION);
  unlink(node);
}

/** Puts an unlinked node at the head of a list; a move costs the reference. */
function enter(sentinel: u32, node: u32, list: u32): void {
  addHead(sentinel, node);
  setList(node, list);
  clearRef(node);
}

/** Puts an unlinked node on a list of the set. */
function enterSet(set: u32, node: u32, list: u32): void {
  enter(set + list * SENTINEL, node, list);
  addCount(set, list, 1);
}

function moveInSet(set: u32, node: u32, list: u32): void {
  leaveSet(set, node);
  enterSet(set, node, list);
}

// ---- creation -------------------------------------------------------------------------------------------------------

function setOf(h: BpfHtab, cpuIndex: u32): u32 {
  return h.lruSets + (h.lruPerCpu ? cpuIndex * SET_SIZE : 0);
}

function localOf(h: BpfHtab, cpuIndex: u32): u32 {
  return h.lruLocals + cpuIndex * SET_SIZE;
}

/** Sets up the lists and puts every elem on a FREE list. @returns false when out of memory */
export function lruInit(h: BpfHtab): bool {
  const nrCpus = kernel().nrCpus;
  const sets = h.lruPerCpu ? nrCpus : 1;
  const block = allocZeroed(<u64>(sets + nrCpus) * SET_SIZE, 64);
  if (block == 0) return false;
  h.lruSets = <u32>block;
  h.lruLocals = <u32>block + sets * SET_SIZE;
  for (let i: u32 = 0; i < sets; i++) {
    const set = h.lruSets + i * SET_SIZE;
    for (let list: u32 = 0; list < 3; list++) listInit(set + list * SENTINEL);
    store<u32>(set, set + LIST_INACTIVE * SENTINEL, SET_ROTATION);
  }
  for (let i: u32 = 0; i < nrCpus; i++) {
    const local = localOf(h, i);
    listInit(local);
    listInit(local + LOCAL_PENDING);
    store<u32>(local, i, LOCAL_STEAL);
  }
  h.lruTarget = h.lruPerCpu ? PERCPU_TARGET : max<u32>(1, min<u32>(128, h.maxEntries / nrCpus / 2));
  const share = h.maxEntries / sets;
  // Backwards, so that the elements are handed out in the order of their addresses.
  for (let index = h.maxEntries; index > 0; index--) {
    const node = h.elems + (index - 1) * h.elemSize;
    const home = h.lruPerCpu ? (index - 1) / share : 0;
    store<u16>(node, home, NODE_CPU);
    store<u8>(node, 0, ELEM_LIVE);
    enterSet(setOf(h, home), node, LIST_FREE);
  }
  return true;
}

export function lruRelease(h: BpfHtab): void {
  free(h.lruSets);
}

// ---- maintenance ----------------------------------------------------------------------------------------------------

function scansOf(h: BpfHtab): u32 {
  return h.lruPerCpu ? PERCPU_SCANS : COMMON_SCANS;
}

/** Moves from ACTIVE's tail what lost its reference, when ACTIVE is the longer list. */
function rotateActive(h: BpfHtab, set: u32): void {
  const active = set + LIST_ACTIVE * SENTINEL;
  const first = nextOf(active);
  let node = prevOf(active);
  let left = scansOf(h);
  while (true) {
    const towardHead = prevOf(node);
    moveInSet(set, node, isReferenced(node) ? LIST_ACTIVE : LIST_INACTIVE);
    if (--left == 0 || node == first) return;
    node = towardHead;
  }
}

/** Goes on where it stopped last: referenced nodes of INACTIVE move to ACTIVE. */
function rotateInactive(h: BpfHtab, set: u32): void {
  const inactive = set + LIST_INACTIVE * SENTINEL;
  if (isEmpty(inactive)) return;
  let node = load<u32>(set, SET_ROTATION);
  let last = nextOf(node);
  if (last == inactive) last = nextOf(last);
  let towardHead = node;
  let left = scansOf(h);
  while (left != 0) {
    if (node == inactive) {
      node = prevOf(node);
      continue;
    }
    towardHead = prevOf(node);
    if (isReferenced(node)) moveInSet(set, node, LIST_ACTIVE);
    if (node == last) break;
    node = towardHead;
    left--;
  }
  store<u32>(set, towardHead, SET_ROTATION);
}

function rotate(h: BpfHtab, set: u32): void {
  if (load<u32>(set, SET_COUNTS + 4) < load<u32>(set, SET_COUNTS)) rotateActive(h, set);
  rotateInactive(h, set);
}

/** Puts a node that shrink freed on `unused`: the set's own FREE list, or a CPU's local one. */
function moveToFree(set: u32, unused: u32, node: u32): void {
  leaveSet(set, node);
  enter(unused, node, unused == set + LIST_FREE * SENTINEL ? LIST_FREE : LIST_LOCAL_FREE);
}

/** Evicts up to `want` nodes without a reference from INACTIVE's tail; at least one from somewhere. */
function shrink(h: BpfHtab, set: u32, want: u32, unused: u32): void {
  const inactive = set + LIST_INACTIVE * SENTINEL;
  if (evictFrom(h, set, inactive, want, scansOf(h), false, unused) != 0) return;
  const list = isEmpty(inactive) ? set + LIST_ACTIVE * SENTINEL : inactive;
  evictFrom(h, set, list, 1, h.maxEntries, true, unused);
}

/** Looks at `left` nodes from a list's tail on, and evicts up to `want`; `force`: whatever their references say. */
function evictFrom(
  h: BpfHtab,
  set: u32,
  list: u32,
  want: u32,
  left: u32,
  force: bool,
  unused: u32,
): u32 {
  let freed: u32 = 0;
  for (let node = prevOf(list); node != list && left != 0; left--) {
    const towardHead = prevOf(node);
    if (!force && isReferenced(node)) {
      moveInSet(set, node, LIST_ACTIVE);
    } else if (evictElem(h, node)) {
      moveToFree(set, unused, node);
      if (++freed == want) break;
    }
    node = towardHead;
  }
  return freed;
}

// ---- getting a node -------------------------------------------------------------------------------------------------

function popHead(sentinel: u32): u32 {
  if (isEmpty(sentinel)) return 0;
  const node = nextOf(sentinel);
  unlink(node);
  return node;
}

/** Flushes PENDING into the set, rotates, and fills the local FREE list with up to lruTarget nodes. */
function refillLocal(h: BpfHtab, set: u32, local: u32): void {
  const pending = local + LOCAL_PENDING;
  let node = prevOf(pending);
  while (node != pending) {
    const newer = prevOf(node);
    enterSet(set, node, isReferenced(node) ? LIST_ACTIVE : LIST_INACTIVE);
    node = newer;
  }
  listInit(pending);
  rotate(h, set);
  let moved: u32 = 0;
  while (moved < h.lruTarget && !isEmpty(set + LIST_FREE * SENTINEL)) {
    const unused = nextOf(set + LIST_FREE * SENTINEL);
    leaveSet(set, unused);
    enter(local, unused, LIST_LOCAL_FREE);
    moved++;
  }
  if (moved < h.lruTarget) shrink(h, set, h.lruTarget - moved, local);
}

/** Takes a node from another CPU's local lists. */
function steal(h: BpfHtab, local: u32): u32 {
  const nrCpus = kernel().nrCpus;
  let victim = load<u32>(local, LOCAL_STEAL);
  let node: u32 = 0;
  for (let i: u32 = 0; i < nrCpus && node == 0; i++) {
    const from = localOf(h, victim);
    node = popHead(from);
    if (node == 0) node = stealPending(h, from, false);
    if (node == 0) node = stealPending(h, from, true);
    victim = victim + 1 == nrCpus ? 0 : victim + 1;
  }
  store<u32>(local, victim, LOCAL_STEAL);
  return node;
}

function stealPending(h: BpfHtab, local: u32, ignoreRef: bool): u32 {
  const pending = local + LOCAL_PENDING;
  for (let node = prevOf(pending); node != pending; node = prevOf(node)) {
    if ((ignoreRef || !isReferenced(node)) && evictElem(h, node)) {
      unlink(node);
      return node;
    }
  }
  return 0;
}

/** A node for a new element on this CPU, which may evict others; 0 when there is none at all. */
export function lruPopFree(h: BpfHtab, cpuIndex: u32): u32 {
  const set = setOf(h, cpuIndex);
  if (h.lruPerCpu) {
    rotate(h, set);
    const unused = set + LIST_FREE * SENTINEL;
    if (isEmpty(unused)) shrink(h, set, PERCPU_TARGET, unused);
    if (isEmpty(unused)) return 0;
    const node = nextOf(unused);
    moveInSet(set, node, LIST_INACTIVE);
    return node;
  }
  const local = localOf(h, cpuIndex);
  let node = popHead(local);
  if (node == 0) {
    refillLocal(h, set, local);
    node = popHead(local);
    if (node == 0) node = steal(h, local);
    if (node == 0) return 0;
  }
  store<u16>(node, cpuIndex, NODE_CPU);
  enter(local + LOCAL_PENDING, node, LIST_LOCAL_PENDING);
  return node;
}

/** Gives a node back: a pending one to the CPU it came from, any other to its set. */
export function lruPushFree(h: BpfHtab, node: u32): void {
  const home = cpuOf(node);
  const wasPending = leave(h, node, home);
  enterFree(h, node, home, wasPending);
}

/** Takes a node off its list. @returns was it a pending one? */
function leave(h: BpfHtab, node: u32, home: u32): bool {
  const isPending = listOf(node) == LIST_LOCAL_PENDING;
  if (isPending) unlink(node);
  else leaveSet(setOf(h, home), node);
  return isPending;
}

function enterFree(h: BpfHtab, node: u32, home: u32, wasPending: bool): void {
  if (wasPending) enter(localOf(h, home), node, LIST_LOCAL_FREE);
  else enterSet(setOf(h, home), node, LIST_FREE);
}

/**
 * A replaced element gets a new node in the kernel and the old one is given back. Addresses stay here, so the two nodes
 * swap their places in the lists instead: `elem` takes the place of the fresh `node`, referenced, and `node` is given
 * back from where `elem` was.
 */
export function lruReplace(h: BpfHtab, elem: u32, node: u32): void {
  const home = cpuOf(elem);
  const wasPending = leave(h, elem, home);
  takePlace(h, elem, node);
  store<u16>(node, home, NODE_CPU);
  enterFree(h, node, home, wasPending);
}

/** Puts the unlinked `elem` where `node` is, which is unlinked by it. */
function takePlace(h: BpfHtab, elem: u32, node: u32): void {
  const next = nextOf(node);
  const prev = prevOf(node);
  store<u32>(elem, next, NODE_NEXT);
  store<u32>(elem, prev, NODE_PREV);
  store<u32>(prev, elem, NODE_NEXT);
  store<u32>(next, elem, NODE_PREV);
  setList(elem, listOf(node));
  store<u16>(elem, cpuOf(node), NODE_CPU);
  store<u8>(elem, 1, ELEM_REF);
  const set = setOf(h, cpuOf(node));
  if (load<u32>(set, SET_ROTATION) == node) store<u32>(set, elem, SET_ROTATION);
}

// ---- debug build ----------------------------------------------------------------------------------------------------

/** Every elem is on exactly one list, the one it names; counters and cursors are right. @returns 0, or a number */
export function lruCheck(h: BpfHtab): i32 {
  const nrCpus = kernel().nrCpus;
  const sets = h.lruPerCpu ? nrCpus : 1;
  let total: u32 = 0;
  for (let i: u32 = 0; i < sets; i++) {
    const set = setOf(h, i);
    const cursor = load<u32>(set, SET_ROTATION);
    let cursorFound: bool = cursor == set + LIST_INACTIVE * SENTINEL;
    for (let list: u32 = 0; list < 3; list++) {
      const count = countList(set + list * SENTINEL, list, h.maxEntries);
      if (count < 0) return 40 + list;
      if (list <= LIST_INACTIVE && <u32>count != load<u32>(set + SET_COUNTS + (list << 2)))
        return 50 + list;
      if (list == LIST_INACTIVE && !cursorFound)
        cursorFound = isOnList(set + list * SENTINEL, cursor);
      total += count;
    }
    if (!cursorFound) return 60;
  }
  for (let i: u32 = 0; i < nrCpus; i++) {
    const local = localOf(h, i);
    const unused = countList(local, LIST_LOCAL_FREE, h.maxEntries);
    const pending = countList(local + LOCAL_PENDING, LIST_LOCAL_PENDING, h.maxEntries);
    if (unused < 0 || pending < 0) return 43;
    if (load<u32>(local, LOCAL_STEAL) >= nrCpus) return 61;
    total += unused + pending;
  }
  return total == h.maxEntries ? 0 : 62;
}

/** Number of nodes of a list; -1: broken links, another list's node, a live elem where free ones belong or vice versa. */
function countList(sentinel: u32, list: u32, most: u32): i32 {
  const isUnused = list == LIST_FREE || list == LIST_LOCAL_FREE;
  let count: u32 = 0;
  let node = nextOf(sentinel);
  while (node != sentinel) {
    if (prevOf(nextOf(node)) != node || nextOf(prevOf(node)) != node) return -1;
    if (listOf(node) != list || ++count > most) return -1;
    if ((load<u8>(node, ELEM_LIVE) == 0) != isUnused) return -1;
    node = nextOf(node);
  }
  return count;
}

function isOnList(sentinel: u32, wanted: u32): bool {
  let node = nextOf(sentinel);
  while (node != sentinel && node != wanted) node = nextOf(node);
  return node == wanted;
}

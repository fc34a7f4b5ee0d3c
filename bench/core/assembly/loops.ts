// Loops inside Wasm, over the core's memory: what the table costs when nothing crosses the boundary to JavaScript. Every
// lookup still is a call into another instance, as from a virtual machine that was compiled to Wasm.

import { bpf_map_lookup_elem, map_get4, map_get4_any } from "./core";

/** Adds the u32 values of `count` keys (u32) from `keys` on; all are present. */
export function get4(map: u32, handle: u32, keys: u32, count: u32): u32 {
  let sum: u32 = 0;
  const end = keys + count * 4;
  for (let ptr = keys; ptr < end; ptr += 4) {
    const key = load<u32>(ptr);
    let value = map_get4(map, handle, key);
    // Not the value, or a large one: the second door knows.
    if (<i32>value < 0) value = map_get4_any(map, handle, key);
    sum += value;
  }
  return sum;
}

/**
 * Looks up `count` random keys 0 <= key <= mask as a program does: the key on its stack, then the helper. The generator
 * is that of bench/kernel/lookup.c.
 * @param stack 4 bytes for the key
 * @returns hits
 */
export function helper4(handle: u32, stack: u32, mask: u32, seed: u32, count: u32): u32 {
  let state = <u64>seed;
  let hits: u32 = 0;
  for (; count != 0; count--) {
    state = state * 6364136223846793005 + 1442695040888963407;
    store<u32>(stack, <u32>(state >> 33) & mask);
    if (bpf_map_lookup_elem(handle, stack) != 0) hits++;
  }
  return hits;
}

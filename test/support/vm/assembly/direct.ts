// The measure of the machine: its counting loop (lookup, load, add, store per key) written directly
// against the helpers, in a module of its own.
import { bpf_map_lookup_elem } from "./helpers";

/**
 * Adds 1 to the u64 value of each of `count` keys (u32) from `keys` on.
 * @param scratch 4 bytes for the key, as a program has it on its stack
 * @returns how many keys the map has not
 */
export function count_keys(map: i32, keys: u32, count: u32, scratch: u32): u32 {
  let missing: u32 = 0;
  const end = keys + count * 4;
  for (let key = keys; key < end; key += 4) {
    store<u32>(scratch, load<u32>(key));
    const value = bpf_map_lookup_elem(map, scratch);
    if (value == 0) missing++;
    else store<u64>(value, load<u64>(value) + 1);
  }
  return missing;
}

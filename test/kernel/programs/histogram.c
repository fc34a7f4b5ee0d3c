// Lengths by powers of two on each CPU, and the same by source in a per-CPU LRU map.
#include "program.h"

struct map lengths SEC("maps") = {PERCPU_ARRAY, 4, 8, 16};
struct map by_source SEC("maps") = {LRU_PERCPU_HASH, 4, 64, 48, ZERO_SEED};
struct map by_port SEC("maps") = {PERCPU_HASH, 2, 8, 4000, ZERO_SEED | NO_PREALLOC};

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  if (!parse(skb, &p)) return 0;
  u32 slot = 0;
#pragma unroll
  for (int i = 4; i < 15; i++)
    if (p.length >> i) slot = i;
  count(&lengths, slot);
  u32 *row = lookup(&by_source, &p.source);
  if (row) row[slot & 15]++;
  else {
    u32 first[16] = {};
    first[slot & 15] = 1;
    if (update(&by_source, &p.source, first, ANY)) return 9;
  }
  u64 one = 1, *n = lookup(&by_port, &p.dport);
  if (n) ++*n;
  else if (update(&by_port, &p.dport, &one, ANY)) return 8;
  return slot;
}

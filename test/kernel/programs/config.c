// Tables by protocol: a map of maps that the test changes while packets come in.
#include "program.h"

struct map table SEC("maps") = {HASH, 4, 8, 64, ZERO_SEED};
struct map tables SEC("maps") = {ARRAY_OF_MAPS, 4, 4, 4, 0, 1};
struct map by_protocol SEC("maps") = {HASH_OF_MAPS, 1, 4, 8, ZERO_SEED, 1};
struct map misses SEC("maps") = {ARRAY, 4, 8, 3};

INLINE int add(void *inner, u32 key) {
  u64 one = 1, *n = lookup(inner, &key);
  if (n) {
    __sync_fetch_and_add(n, 1);
    return 1;
  }
  if (update(inner, &key, &one, NOEXIST)) {
    count(&misses, 2);
    return 3;
  }
  return 2;
}

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  if (!parse(skb, &p)) return 0;
  u32 index = p.source & 3;
  void *inner = lookup(&tables, &index);
  int ret = 0;
  if (inner) ret = add(inner, p.target);
  else count(&misses, 0);
  inner = lookup(&by_protocol, &p.protocol);
  if (inner) ret |= add(inner, p.dport) << 4;
  else count(&misses, 1);
  return ret;
}

// A rate limit by source: buckets under a lock, a clock of packets.
#include "program.h"

struct bucket {
  u32 lock, tokens;
  u64 last, passed, dropped;
};
struct map buckets SEC("maps") = {HASH, 4, sizeof(struct bucket), 200, ZERO_SEED | NO_PREALLOC, 0, 1};
struct map clock SEC("maps") = {ARRAY, 4, 8, 1};

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  u32 zero = 0;
  u64 *now = lookup(&clock, &zero);
  if (!now || !parse(skb, &p)) return 0;
  u64 time = ++*now;
  struct bucket *bucket = lookup(&buckets, &p.source);
  if (!bucket) {
    struct bucket first = {0, 3, time, 1, 0};
    return update(&buckets, &p.source, &first, NOEXIST) ? 3 : 1;
  }
  int pass = 0;
  spin_lock(&bucket->lock);
  u64 gained = (time - bucket->last) / 16;
  if (gained) bucket->last = time;
  u64 tokens = bucket->tokens + gained;
  if (tokens > 4) tokens = 4;
  if (tokens) {
    tokens--;
    bucket->passed++;
    pass = 1;
  } else bucket->dropped++;
  bucket->tokens = tokens;
  spin_unlock(&bucket->lock);
  return pass ? 1 : 2;
}

// Entries that were not used for a while are deleted from time to time, in a walk over the map.
#include "program.h"

struct entry {
  u64 last, packets;
};
struct sweep {
  u64 now, kept, deleted;
};
struct map entries SEC("maps") = {HASH, 4, sizeof(struct entry), 256, ZERO_SEED};
struct map sweeps SEC("maps") = {ARRAY, 4, sizeof(struct sweep), 1};

static long sweep(void *map, u32 *key, struct entry *entry, struct sweep *ctx) {
  if (entry->last + 100 > ctx->now) {
    ctx->kept = ctx->kept * 31 + *key;
    return 0;
  }
  ctx->deleted++;
  delete(map, key);
  return ctx->deleted % 7 == 6;
}

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  u32 zero = 0;
  struct sweep *total = lookup(&sweeps, &zero);
  if (!total || !parse(skb, &p)) return 0;
  u64 now = ++total->now;
  struct entry *entry = lookup(&entries, &p.source), first = {now, 1};
  if (entry) {
    entry->last = now;
    entry->packets++;
  } else if (update(&entries, &p.source, &first, NOEXIST)) return 1;
  if (now % 40) return 2;
  struct sweep ctx = {now, 0, 0};
  long visited = for_each(&entries, sweep, &ctx, 0);
  total->kept ^= ctx.kept;
  total->deleted += ctx.deleted;
  return visited + 10;
}

// Packets and bytes by source, packets by protocol and CPU, everything else.
#include "program.h"

struct stats {
  u64 packets, bytes;
};
struct map by_source SEC("maps") = {HASH, 4, sizeof(struct stats), 300, ZERO_SEED};
struct map by_protocol SEC("maps") = {PERCPU_ARRAY, 4, 8, 256};
struct map failed SEC("maps") = {ARRAY, 4, 8, 2};

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  if (!parse(skb, &p)) {
    count(&failed, 0);
    return 0;
  }
  count(&by_protocol, p.protocol);
  struct stats *stats = lookup(&by_source, &p.source);
  if (stats) {
    __sync_fetch_and_add(&stats->packets, 1);
    __sync_fetch_and_add(&stats->bytes, p.length);
    return 1;
  }
  struct stats first = {1, p.length};
  if (update(&by_source, &p.source, &first, NOEXIST)) count(&failed, 1);
  return 2;
}

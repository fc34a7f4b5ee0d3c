// Ports from a pool: a queue of free ones, a stack of those given back, a filter of the sources seen.
#include "program.h"

struct map free_ports SEC("maps") = {QUEUE, 0, 2, 40};
struct map returned SEC("maps") = {STACK, 0, 2, 10};
struct map seen SEC("maps") = {BLOOM_FILTER, 0, 4, 100, ZERO_SEED};
struct map owners SEC("maps") = {HASH, 4, 2, 60, ZERO_SEED};
struct map next_port SEC("maps") = {ARRAY, 4, 2, 1};

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  u32 zero = 0;
  u16 port = 0, *owned, *next = lookup(&next_port, &zero);
  if (!next || !parse(skb, &p)) return 0;
  int known = peek(&seen, &p.source) == 0;
  if (!known) push(&seen, &p.source, ANY);
  owned = lookup(&owners, &p.source);
  if (owned) {
    port = *owned;
    if ((p.length & 7) != 0) return 1;
    delete(&owners, &p.source);
    return push(&returned, &port, EXIST) ? 9 : 2 + known;
  }
  if (pop(&returned, &port)) {
    if (pop(&free_ports, &port)) {
      ++*next;
      port = *next;
      if (push(&free_ports, &port, ANY)) return 8;
      return 4;
    }
  }
  if (update(&owners, &p.source, &port, NOEXIST)) {
    push(&free_ports, &port, EXIST);
    return 5;
  }
  return 6;
}

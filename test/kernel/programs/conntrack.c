// Connections in an LRU map that is too small for them: both directions find the same entry.
#include "program.h"

struct tuple {
  u32 source, target;
  u16 sport, dport;
  u8 protocol, pad[3];
};
struct connection {
  u32 state, packets[2];
  u64 bytes;
};
struct map connections SEC("maps") = {LRU_HASH, sizeof(struct tuple), sizeof(struct connection), 64, ZERO_SEED};
struct map events SEC("maps") = {ARRAY, 4, 8, 5};

enum { NEW, ORIGINAL, REPLY, CLOSED, FULL };

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  if (!parse(skb, &p)) return 0;
  struct tuple t = {p.source, p.target, p.sport, p.dport, p.protocol};
  struct connection *c = lookup(&connections, &t);
  int reply = 0;
  if (!c) {
    struct tuple back = {p.target, p.source, p.dport, p.sport, p.protocol};
    c = lookup(&connections, &back);
    reply = c != 0;
    if (c && (p.tcp_flags & 5)) {
      count(&events, CLOSED);
      return delete(&connections, &back) ? 9 : 4;
    }
  }
  if (c) {
    count(&events, reply ? REPLY : ORIGINAL);
    c->packets[reply]++;
    c->bytes += p.length;
    if (reply) c->state |= 2;
    if (p.tcp_flags & 2) c->state |= 4;
    return reply ? 3 : 2;
  }
  struct connection first = {1, {1, 0}, p.length};
  count(&events, NEW);
  if (update(&connections, &t, &first, NOEXIST)) count(&events, FULL);
  return 1;
}

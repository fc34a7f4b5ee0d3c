// Events of the beginnings and ends of connections; the ring is too small when nobody reads.
#include "program.h"

struct event {
  u32 source, target, kind, available;
  u16 ports[2];
};
struct map ring SEC("maps") = {RINGBUF, 0, 0, 4096};
struct map lost SEC("maps") = {ARRAY, 4, 8, 2};

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  if (!parse(skb, &p)) return 0;
  struct event *event = reserve(&ring, sizeof *event, 0);
  if (!event) {
    count(&lost, 0);
    return 1;
  }
  event->source = p.source;
  event->target = p.target;
  event->ports[0] = p.sport;
  event->ports[1] = p.dport;
  event->available = query(&ring, 0);
  if (p.protocol == 17 || (p.tcp_flags & 7)) {
    event->kind = p.tcp_flags;
    submit(event, p.length & 1);
    return 2;
  }
  count(&lost, 1);
  discard(event, 1);
  return 3;
}

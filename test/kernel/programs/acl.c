// An access list of prefixes: the test puts rules in, the program bans single sources and lifts bans.
#include "program.h"

struct prefix {
  u32 length;
  u8 address[4];
};
struct rule {
  u32 id, action;
};
struct map rules SEC("maps") = {LPM_TRIE, 8, sizeof(struct rule), 256, NO_PREALLOC};
struct map hits SEC("maps") = {PERCPU_ARRAY, 4, 8, 512};

SEC("tc") int program(struct skb *skb) {
  struct packet p;
  if (!parse(skb, &p)) return 0;
  struct prefix key = {32};
  *(u32 *)key.address = p.source;
  struct rule *rule = lookup(&rules, &key);
  u32 id = rule ? rule->id & 511 : 511;
  u32 action = rule ? rule->action : 0;
  count(&hits, id);
  if (action == 2) {
    struct rule ban = {256 + (p.source >> 24), 3};
    return update(&rules, &key, &ban, ANY) ? 7 : 2;
  }
  if (action == 3 && (p.length & 3) == 0) return delete(&rules, &key) ? 8 : 3;
  return action;
}

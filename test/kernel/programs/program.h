// What the programs here share: helpers by number, maps as { attributes, inner, lock }, packets.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline

/** A map: the test reads this and makes it. */
struct map {
  u32 type, key_size, value_size, max_entries, flags;
  /** Number of the inner map (in the order of their definition) + 1. */
  u32 inner;
  /** Offset of the value's bpf_spin_lock + 1. */
  u32 lock;
};

enum { HASH = 1, ARRAY = 2, PERCPU_HASH = 5, PERCPU_ARRAY = 6, LRU_HASH = 9, LRU_PERCPU_HASH = 10, LPM_TRIE = 11 };
enum { ARRAY_OF_MAPS = 12, HASH_OF_MAPS = 13, QUEUE = 22, STACK = 23, RINGBUF = 27, BLOOM_FILTER = 30 };
enum { NO_PREALLOC = 1, ZERO_SEED = 0x40 };
enum { ANY, NOEXIST, EXIST };

static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*delete)(void *map, const void *key) = (void *)3;
static long (*push)(void *map, const void *value, u64 flags) = (void *)87;
static long (*pop)(void *map, void *value) = (void *)88;
static long (*peek)(void *map, void *value) = (void *)89;
static void (*spin_lock)(void *lock) = (void *)93;
static void (*spin_unlock)(void *lock) = (void *)94;
static void *(*reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*submit)(void *record, u64 flags) = (void *)132;
static void (*discard)(void *record, u64 flags) = (void *)133;
static u64 (*query)(void *ring, u64 what) = (void *)134;
static long (*for_each)(void *map, void *callback, void *ctx, u64 flags) = (void *)164;

/** struct __sk_buff, as far as it is used. */
struct skb {
  u32 len, other[18], data, data_end;
};

struct packet {
  u32 source, target, length;
  u16 sport, dport;
  u8 protocol, tcp_flags;
};

INLINE u16 swap16(u16 x) { return (u16)(x << 8 | x >> 8); }

/** Reads what the programs look at; 0 for anything but IPv4 with the first bytes of a transport header. */
INLINE int parse(struct skb *skb, struct packet *p) {
  u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
  if (data + 48 > end) return 0;
  if (*(u16 *)(data + 12) != 0x0008 || (data[14] & 0xf) != 5) return 0;
  p->source = *(u32 *)(data + 26);
  p->target = *(u32 *)(data + 30);
  p->length = skb->len;
  p->protocol = data[23];
  p->sport = swap16(*(u16 *)(data + 34));
  p->dport = swap16(*(u16 *)(data + 36));
  p->tcp_flags = p->protocol == 6 ? data[47] : 0;
  return 1;
}

/** Counts in element `key` of an array of u64. */
INLINE void count(void *map, u32 key) {
  u64 *n = lookup(map, &key);
  if (n) __sync_fetch_and_add(n, 1);
}

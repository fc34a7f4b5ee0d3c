#!/usr/bin/env bash
# Records sample.pcap.gz: real programs (curl, dig, ping, nc, Python's web server, dnsmasq) that talk
# to each other through two network namespaces joined by a veth pair. Nothing leaves the machine;
# all addresses are from the ranges set aside for documentation (RFC 5737, RFC 3849).
#
# Needs root and: iproute2 ethtool tcpdump curl python3 dnsmasq dig ping nc (openbsd)
# Usage: examples/record-sample.sh [OUTPUT]
set -euo pipefail

output=${1:-"$(dirname "$0")/sample.pcap.gz"}
clients=bpfmaps-clients-$$ # this namespace has several hundred addresses
server=bpfmaps-server-$$   # this one has the services
snap=72                    # Ethernet + IPv6 + ports, or Ethernet + IPv4 + a TCP header
work=$(mktemp -d)
jobs_at_once=24

cleanup() {
  for ns in "$clients" "$server"; do
    ip netns pids "$ns" 2>/dev/null | xargs -r kill 2>/dev/null || true
    ip netns del "$ns" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT

on_server() { ip netns exec "$server" "$@"; }

build_network() {
  ip netns add "$clients"
  ip netns add "$server"
  ip link add talk0 netns "$clients" type veth peer name talk0 netns "$server"
  for ns in "$clients" "$server"; do
    # Packets as they would be on a wire, not merged into segments of 64 KB.
    ip netns exec "$ns" ethtool -K talk0 tso off gso off gro off >/dev/null
    ip -n "$ns" link set lo up
    ip -n "$ns" link set talk0 up
  done
  ip -n "$server" addr add 192.0.2.1/24 dev talk0
  ip -n "$server" addr add 2001:db8::1/64 dev talk0 nodad
  ip -n "$server" route add 198.51.100.0/24 dev talk0
  ip -n "$server" route add 203.0.113.0/24 dev talk0
  {
    for i in $(seq 2 151); do
      echo "addr add 192.0.2.$i/24 dev talk0"
      echo "addr add 198.51.100.$i/24 dev talk0"
    done
    for i in $(seq 2 101); do
      echo "addr add 203.0.113.$i/24 dev talk0"
      printf 'addr add 2001:db8::%x/64 dev talk0 nodad\n' $((i * 3))
    done
  } | ip -n "$clients" -batch -
}

start_services() {
  mkdir "$work/www"
  for kb in 1 3 9 27; do
    head -c "${kb}K" /dev/zero | tr '\0' 'x' >"$work/www/$kb"
  done
  on_server python3 -m http.server --bind :: --directory "$work/www" 80 >/dev/null 2>&1 &
  on_server dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file= \
    --address=/example.org/192.0.2.1 --address=/example.org/2001:db8::1 >/dev/null 2>&1 &
  ip netns exec "$server" tcpdump -i talk0 -s "$snap" -B 8192 --immediate-mode \
    -w "$work/sample.pcap" 2>"$work/log" &
  tcpdump_pid=$!
  until on_server curl -so /dev/null "http://[::1]/1" && grep -q listening "$work/log"; do
    sleep 0.2
  done
}

# One line per thing a client does. A few sources are busy and most are not: the n-th address of a
# shuffled list has about 120/n turns, at least one.
list_turns() {
  ip -n "$clients" -o addr show dev talk0 scope global | awk '{ sub(/\/.*/, "", $4); print $4 }' |
    awk 'BEGIN { srand(7) } { print rand(), $0 }' | sort -g | awk '
      BEGIN { srand(11); split("1 1 3 9 27", page) }
      {
        from = $2; v6 = from ~ /:/; to = v6 ? "2001:db8::1" : "192.0.2.1"
        url = v6 ? "http://[" to "]" : "http://" to
        turns = int(120 / NR) + 1
        for (i = 0; i < turns; i++) {
          kind = rand()
          if (kind < 0.40)
            cmd = "curl -s -o /dev/null --interface " from " " url "/" page[1 + int(rand() * 5)]
          else if (kind < 0.75)
            cmd = "dig +tries=1 +time=2 -b " from " @" to " host" int(rand() * 1000) ".example.org " (v6 ? "AAAA" : "A")
          else if (kind < 0.93)
            cmd = "ping -q -i 0.2 -c " (1 + int(rand() * 3)) " -I " from " " to
          else if (kind < 0.96) # longer than the MTU: fragments
            cmd = "ping -q -c 1 -s 3200 -I " from " " to
          else # nobody listens there: ICMP unreachable
            cmd = "echo hello | nc -u -w 1 -s " from " " to " " (5000 + int(rand() * 9))
          print rand(), cmd
        }
      }' | sort -g | cut -d" " -f2-
}

build_network
start_services
list_turns >"$work/turns"
ip netns exec "$clients" xargs -a "$work/turns" -d '\n' -P "$jobs_at_once" -n 1 \
  bash -c 'eval "$0" >/dev/null 2>&1 || true'
sleep 1
kill "$tcpdump_pid"
wait "$tcpdump_pid" || true
gzip -9 -n -c "$work/sample.pcap" >"$output"
tail -n 3 "$work/log"
ls -l "$output"

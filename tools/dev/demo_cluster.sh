#!/usr/bin/env bash
# Starts etcd and three daemons, each in a network namespace, spreads a workload over them round
# robin with every byte checked, kills one daemon midway, and says what came of it. Where network
# namespaces are not permitted they share the loopback. REQUESTS (500) is the workload's length.
# Builds nothing; BIN names the folder of larderd, larderctl and larder-bench when it is not the
# release build's. Exit code non-zero when a byte was wrong, a call failed that was not asked of the
# killed daemon, or the others did not go on. Whatever it started ends with it.
set -euo pipefail

requests="${REQUESTS:-500}"
# The killed daemon has looked up so many prompts by then: half of its third.
killed_after=$((requests / 6))
patience_s=60

fail() {
  echo "The demo FAILED: $1" >&2
  for log in "$work"/*.log; do
    echo "--- $(basename "$log")" >&2
  tail -n 5 "$log" >&2
  done
  exit 1
}

# eventually COMMAND...: until it succeeds.
eventually() {
  local end=$((SECONDS + patience_s))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# --- the network ----------------------------------------------------------------------------------

# This namespace is the switch, with etcd on it; each node has one of its own.
make_network() {
  mount -t tmpfs tmpfs /run
  ip link set lo up
  ip link add lan type bridge
  ip address add 10.77.0.254/24 dev lan
  ip link set lan up
  for node in 1 2 3; do
    ip netns add "n$node"
    ip link add "port$node" type veth peer name eth0 netns "n$node"
    ip link set "port$node" master lan up
    ip -n "n$node" address add "10.77.0.$node/24" dev eth0
    ip -n "n$node" link set eth0 up
    ip -n "n$node" link set lo up
  done
}

# Sets etcd, etcd_peer, and of each node rpc, bytes, inside (the command that runs others there).
use_network() {
  etcd=10.77.0.254:2379 etcd_peer=10.77.0.254:2380
  for node in 1 2 3; do
    rpc[node]=10.77.0.$node:7411
    bytes[node]=10.77.0.$node:7413
    inside[node]="nsenter --net=/run/netns/n$node"
  done
}

use_loopback() {
  local base=$((20000 + RANDOM % 10000))
  etcd=127.0.0.1:$base etcd_peer=127.0.0.1:$((base + 1))
  for node in 1 2 3; do
    rpc[node]=127.0.0.1:$((base + 10 + node))
    bytes[node]=127.0.0.1:$((base + 20 + node))
    inside[node]=""
  done
}

# --- the programs ---------------------------------------------------------------------------------

start_etcd() {
  etcd --name demo --data-dir "$work/etcd" --logger zap \
    --listen-client-urls "http://$etcd" --advertise-client-urls "http://$etcd" \
    --listen-peer-urls "http://$etcd_peer" --initial-advertise-peer-urls "http://$etcd_peer" \
    --initial-cluster "demo=http://$etcd_peer" --log-level error >"$work/etcd.log" 2>&1 &
  pids+=($!)
  eventually etcd_answers || fail "etcd did not start"
}

etcd_answers() { (: <>"/dev/tcp/${etcd%:*}/${etcd#*:}") 2>/dev/null; }

start_node() {
  # shellcheck disable=SC2086  # A command of several words, or none.
  ${inside[$1]} "$bin/larderd" --cluster demo --node "n$1" --etcd "$etcd" \
    --peer-listen "${bytes[$1]}" --grpc-listen "${rpc[$1]}" --metrics-listen "" \
    --set "cluster.secret_file=$work/secret" --set cluster.lease_ttl=3s \
    --socket "$work/n$1.sock" --arena-directory "$work/n$1" --arena-bytes 96MiB \
    >"$work/n$1.log" 2>&1 &
  pids+=($!)
  node_pid[$1]=$!
  disown  # The shell need not say that one was killed.
}

# Members that node $1 is connected to, itself not counted.
members_up() {
  "$bin/larderctl" cluster --address "${rpc[$1]}" --json 2>/dev/null |
    python3 -c 'import json, sys; print(sum(m["up"] for m in json.load(sys.stdin)["members"]))' 2>/dev/null
}

sees_others() { [ "$(members_up "$1")" = "$2" ]; }

lookups_of() {
  "$bin/larderctl" spaces --address "${rpc[$1]}" --json 2>/dev/null |
    python3 -c 'import json, sys; print(sum(s["lookups"] for s in json.load(sys.stdin)["spaces"]))' 2>/dev/null
}

busy_or_ended() { ! kill -0 "$replay" 2>/dev/null || [ "$(lookups_of 2)" -ge "$killed_after" ]; }

# --- the demo -------------------------------------------------------------------------------------

run_demo() {
  local -a rpc bytes inside node_pid
  pids=()
  trap 'kill -9 "${pids[@]}" 2>/dev/null || true' EXIT
  trap 'exit 130' INT TERM
  if [ "$1" = namespaces ]; then
    make_network
    use_network
    echo "Each daemon has a network namespace of its own, etcd sits between them."
  else
    use_loopback
    echo "Network namespaces are not permitted here: the daemons share the loopback."
  fi
  head -c 32 /dev/urandom | base64 >"$work/secret"
  chmod 600 "$work/secret"
  start_etcd
  for node in 1 2 3; do start_node "$node"; done
  for node in 1 2 3; do
    eventually sees_others "$node" 2 || fail "node n$node does not see the others"
  done

  "$bin/larder-bench" replay --generate conversation --seed 1 --limit "$requests" --lost-nodes 1 \
    --socket "$work/n1.sock,$work/n2.sock,$work/n3.sock" >"$work/replay.txt" 2>&1 &
  replay=$!
  pids+=("$replay")
  eventually busy_or_ended || fail "node n2 got no work"
  kill -0 "$replay" 2>/dev/null || fail "the replay ended early: $(cat "$work/replay.txt")"
  kill -9 "${node_pid[2]}"
  echo "Node n2 was killed after $killed_after of its lookups."
  echo
  local result=0
  wait "$replay" || result=1
  cat "$work/replay.txt"
  [ "$result" -eq 0 ] || fail "a byte was wrong or a call failed; see above"
  eventually sees_others 1 1 || fail "node n1 still takes n2 for alive"
  echo
  echo "What node n1 knows of the cluster now (larderctl cluster):"
  echo
  "$bin/larderctl" cluster --address "${rpc[1]}"
  "$bin/larderctl" cluster --address "${rpc[1]}" --json | python3 -c '
import json, sys
cluster = json.load(sys.stdin)
wrong = [name for name in ("corrupt_arrivals", "bad_messages") if int(cluster[name]) > 0]
if int(cluster["fetched_chunks"]) == 0: wrong.append("nothing came from other nodes")
sys.exit(", ".join(wrong) or 0)' || fail "see the line above"
}

# Runs this script in namespaces of its own, whose end is the end of all that is in them.
in_namespaces() {
  local options=(--mount --net --pid --fork --kill-child --mount-proc)
  [ "$(id -u)" -eq 0 ] || options+=(--user --map-root-user)
  local probe="mount -t tmpfs tmpfs /run && ip netns add probe && ip link add lan type bridge"
  if unshare "${options[@]}" sh -c "$probe" 2>/dev/null; then
    unshare "${options[@]}" "$self" namespaces
  else
    "$self" loopback
  fi
}

self="$(readlink -f "$0")"
cd "$(dirname "$self")/../.."
bin="$(readlink -f "${BIN:-build/release/bin}")"
if [ $# -gt 0 ]; then
  work="$DEMO_DIRECTORY"
  run_demo "$1"
  exit 0
fi

cat <<'TEXT'
Three daemons share what they keep: a prompt that one of them has seen is found by all.

This demo plays three inference engines, one on each daemon, behind a router that sends each prompt
to the next of them, whoever has seen the conversation before. Midway one daemon is killed. For each
prompt the engine asks how much of it is stored, here or on another node, fetches that, and stores
the rest.

TEXT
DEMO_DIRECTORY="$(mktemp -d /dev/shm/larder-demo.XXXXXX)"
export DEMO_DIRECTORY
trap 'rm -rf "$DEMO_DIRECTORY"' EXIT
in_namespaces

#!/bin/sh
# Three nodes on this machine that behave as one registry; one is killed and comes back, and nothing is lost.
#
#     sh examples/cluster/three_nodes.sh
#
# PORTS chooses other ports, ARTEMIS another command than `artemis`.
set -eu

ARTEMIS=${ARTEMIS:-artemis}
set -- ${PORTS:-8181 8182 8183}
one=http://127.0.0.1:$1 two=http://127.0.0.1:$2 three=http://127.0.0.1:$3
data=$(mktemp -d)
pids=

node() { # PORT: every node has the same list of peers; its own URL may be in it
    : >"$data/$1.log" # here, as `ready` is not to find what a former life said
    $ARTEMIS serve --port "$1" --peers "$one,$two,$three" --data-dir "$data/$1" 2>"$data/$1.log" >/dev/null &
    last=$!
    pids="$pids $last"
}

ready() { # PORT: a node serves when it has copied what the others know, and says so
    until grep -q "node serves" "$data/$1.log"; do sleep 0.1; done
}

end() {
    kill $pids 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$data"
}
trap end EXIT

node "$1"; first=$last
node "$2"
node "$3"
for port in "$@"; do ready "$port"; done

echo "== Registered at the first node, seen at the third"
$ARTEMIS register --server "$one" --service orders --instance a --port 7001 --keep 2>/dev/null &
pids="$pids $!"
until $ARTEMIS instances orders --server "$three" 2>/dev/null | grep 7001; do sleep 0.5; done

echo "== The cluster as its nodes see it"
$ARTEMIS cluster status --server "$two"

echo "== The first node is killed: the others go on, and say what they think of it"
kill -9 "$first"
wait "$first" 2>/dev/null || true
$ARTEMIS register --server "$two" --service orders --instance b --port 7002 --keep 2>/dev/null &
pids="$pids $!"
until $ARTEMIS instances orders --server "$three" 2>/dev/null | grep 7002; do sleep 0.5; done
$ARTEMIS cluster status --server "$three" || true

echo "== It comes back, and has what happened meanwhile"
node "$1"
ready "$1"
$ARTEMIS instances orders --server "$one"
$ARTEMIS cluster diff --server "$one"

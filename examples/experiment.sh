#!/usr/bin/env bash
# An experiment of five processes on one bus: a broker, two producers and two consumers. When all is over the books are
# closed over what each of them has written down: where has every single message gone?
#
#     experiment.sh [MESSAGES [ADDRESS...]]     MESSAGES of each producer (10000); the broker listens on each ADDRESS
#                                               (unix://experiment and a free tcp port of 127.0.0.1)
#
# The first consumer comes by the first address, the second by the last, and the producers likewise. Ends with 0 if every
# message came to both; with 5 if the books do not close; else with the code of the first process that failed.
# `bus` is the one that PATH finds.
set -euo pipefail
messages=${1:-10000}
shift $(($# > 0 ? 1 : 0))
(($# > 0)) || set -- "unix://experiment" "tcp://127.0.0.1:0"

work=$(mktemp -d)
broker=''
finish() {
  [[ -z $broker ]] || kill "$broker" 2>/dev/null || true
  wait || true  # the producers and consumers end with the broker
  rm -rf "$work"
}
trap finish EXIT

# waits FILE COUNT TEXT: until a process has said TEXT so often.
waits() {
  until (($(grep -c -- "$3" "$1") >= $2)); do
    kill -0 $! 2>/dev/null || { cat "$1" >&2; exit 1; }
    sleep 0.01
  done
}

listen=()
for address in "$@"; do listen+=(--listen "$address"); done
bus broker "${listen[@]}" --books 2>"$work/broker.err" &
broker=$!
waits "$work/broker.err" $# "listening on "
# The ways in, with the real ports. Nobody shall host a broker of his own if this one is gone.
mapfile -t ways < <(sed -n 's/^bus: listening on //p' "$work/broker.err")
first="${ways[0]}" last="${ways[-1]}"
[[ $first == *'?'* ]] && first+="&embed=never" || first+="?embed=never"
[[ $last == *'?'* ]] && last+="&embed=never" || last+="?embed=never"

export BUS_RECORD=$work/records  # where each producer and consumer writes what it has published or received
total=$((2 * messages))
processes=()
bus sub 'numbers.>' --bus "$first" --count $total --timeout 60s --format none &
processes+=($!)
bus sub 'numbers.>' --bus "$last" --count $total --timeout 60s --format none &
processes+=($!)
# A producer begins when both are there.
seq $messages | bus pub numbers.one --bus "$first" --wait-subs 2 &
processes+=($!)
seq $messages | bus pub numbers.two --bus "$last" --wait-subs 2 &
processes+=($!)
for process in "${processes[@]}"; do wait "$process"; done

kill "$broker"
wait "$broker" || (($? == 143))  # ended by the signal, in good order
broker=''
cat "$work/broker.err" >&2
bus audit "$work"/records/*

#!/usr/bin/env bash
# tools/measure/against_sockperf.sh [BUS [TURNS]]: raw rows of bus compare beside other tools' figures, in turns.
#
# Both measure the round trip of 64 bytes between two processes that block in the kernel: sockperf for TCP and UDP, perf for the pipe
# (one word).
# The sockets' ends are on CPUs 0 and 1, both of the pipe on CPU 0: where they run matters more than anything. Both come with Debian. Debian 12's sockperf (3.7) knows no Unix sockets.
set -euo pipefail
bus=${1:-build/release/bin/bus}
turns=${2:-7}
command -v sockperf >/dev/null || { echo "against_sockperf: sockperf is missing: apt-get install sockperf" >&2; exit 1; }
[[ -x $bus ]] || { echo "against_sockperf: no program at $bus" >&2; exit 1; }

work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

# theirs KIND: the p50 of a round trip in microseconds.
theirs() {
  if [[ $1 == pipe ]]; then
    # A mean: perf tells no other. A loop is a round trip of one word.
    taskset -c 0 perf bench -f simple sched pipe --loop 50000 | awk '{ print $1 / 50000 * 1e6 }'
    return
  fi
  local options=(-i 127.0.0.1)
  case $1 in
    tcp) options+=(-p 17111 --tcp) ;;
    udp) options+=(-p 17112) ;;
  esac
  taskset -c 1 sockperf server "${options[@]}" >"$work/server.log" 2>&1 &
  server=$!
  for _ in $(seq 100); do
    grep -q "start of receiving\|Press\|Waiting\|listening" "$work/server.log" && break
    sleep 0.02
  done
  taskset -c 0 sockperf ping-pong "${options[@]}" --full-rtt -m 64 -t 1 >"$work/client.log" 2>&1 || { cat "$work/client.log" >&2; exit 1; }
  kill "$server" 2>/dev/null
  wait "$server" 2>/dev/null || true
  server=
  sed -n 's/.*percentile 50.000 = *\([0-9.]*\).*/\1/p' "$work/client.log"
}

bus_p50() {
  "$bus" compare none --peers none --floors "$2" --sizes 64 --wait block --pin "$3" --duration 1s --warmup 200ms --repetitions 1 --json |
    python3 -c 'import json, sys
row = json.load(sys.stdin)["rows"][0]
print(row["summary"]["figures"]["p50"]["value"] / 1000)'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

printf '%-6s %14s %14s %8s\n' socket "other tool" "raw row p50" ratio
for kind in tcp udp pipe; do
  floor=raw-$kind pin=send=0,receive=1
  [[ $kind != pipe ]] || floor=pipe pin=send=0,receive=0
  if [[ $kind == pipe ]] && ! command -v perf >/dev/null; then
    echo "pipe: skipped: perf is missing (apt-get install linux-perf)"
    continue
  fi
  for _ in $(seq "$turns"); do
    theirs "$kind" >>"$work/$kind.theirs"
    bus_p50 "$kind" "$floor" "$pin" >>"$work/$kind.ours"
  done
  awk -v k="$kind" -v t="$(median <"$work/$kind.theirs")" -v o="$(median <"$work/$kind.ours")" 'BEGIN { printf "%-6s %11.2f us %11.2f us %8.2f\n", k, t, o, o / t }'
done

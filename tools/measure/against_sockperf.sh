#!/usr/bin/env bash
# tools/measure/against_sockperf.sh [BUS [TURNS]]: raw rows of bus compare beside other programs' figures, in turns.
#
# All measure the round trip of 64 bytes between two processes that block in the kernel: sockperf for TCP and UDP; perf
# for the pipe (one word); and for Unix sockets, which Debian 12's sockperf (3.7) does not know, thirty lines of C that
# stand below and share nothing with this project. Both ends are on CPU 0: between two CPUs of a virtual machine most of
# the time is the host's, waking one of them, and that drifts by a third from run to run. KINDS names some of them.
set -euo pipefail
bus=${1:-build/release/bin/bus}
turns=${2:-7}
command -v sockperf >/dev/null || { echo "against_sockperf: sockperf is missing: apt-get install sockperf" >&2; exit 1; }
[[ -x $bus ]] || { echo "against_sockperf: no program at $bus" >&2; exit 1; }

work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

cat >"$work/unix.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { kWarmUp = 20000, kTimed = 200000 };
static long took[kTimed];
static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
static int by_value(const void* a, const void* b) { return (*(long*)a > *(long*)b) - (*(long*)a < *(long*)b); }

int main(void) {
  int ends[2];
  char message[64] = {1};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
  if (fork() == 0) {
    close(ends[0]);
    while (read(ends[1], message, 64) == 64) if (write(ends[1], message, 64) != 64) return 1;
    return 0;
  }
  close(ends[1]);
  for (long i = 0; i < kWarmUp + kTimed; ++i) {
    const long begin = now();
    if (write(ends[0], message, 64) != 64 || read(ends[0], message, 64) != 64) return 1;
    if (i >= kWarmUp) took[i - kWarmUp] = now() - begin;
  }
  qsort(took, kTimed, sizeof *took, by_value);
  printf("%.3f\n", (double)took[kTimed / 2] / 1000);
}
END

# theirs KIND: the p50 of a round trip in microseconds.
theirs() {
  if [[ $1 == pipe ]]; then
    # A mean: perf tells no other. A loop is a round trip of one word.
    taskset -c 0 perf bench -f simple sched pipe --loop 50000 | awk '{ print $1 / 50000 * 1e6 }'
    return
  fi
  if [[ $1 == unix ]]; then
    taskset -c 0 "$work/unix"
    return
  fi
  local options=(-i 127.0.0.1)
  case $1 in
    tcp) options+=(-p 17111 --tcp) ;;
    udp) options+=(-p 17112) ;;
  esac
  taskset -c 0 sockperf server "${options[@]}" >"$work/server.log" 2>&1 &
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
  "$bus" compare none --peers none --floors "$1" --sizes 64 --wait block --pin send=0,receive=0 --duration 1s --warmup 200ms --repetitions 1 --json |
    python3 -c 'import json, sys
row = json.load(sys.stdin)["rows"][0]
print(row["summary"]["figures"]["p50"]["value"] / 1000)'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

printf '%-6s %14s %14s %8s\n' socket "other program" "raw row p50" ratio
cc -O2 -o "$work/unix" "$work/unix.c"
for kind in ${KINDS:-unix tcp udp pipe}; do
  floor=raw-$kind
  [[ $kind != pipe ]] || floor=pipe
  if [[ $kind == pipe ]] && ! command -v perf >/dev/null; then
    echo "pipe: skipped: perf is missing (apt-get install linux-perf)"
    continue
  fi
  for _ in $(seq "$turns"); do
    theirs "$kind" >>"$work/$kind.theirs"
    bus_p50 "$floor" >>"$work/$kind.ours"
  done
  awk -v k="$kind" -v t="$(median <"$work/$kind.theirs")" -v o="$(median <"$work/$kind.ours")" 'BEGIN { printf "%-6s %11.2f us %11.2f us %8.2f\n", k, t, o, o / t }'
done

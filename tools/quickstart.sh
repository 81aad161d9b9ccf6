#!/usr/bin/env bash
# tools/quickstart.sh: from nothing to real data over every transport: installs what is needed, builds the program,
# then for each transport
#   - sends a file of random bytes from one process (`bus send`) to another (`bus recv`) and compares the SHA-256,
#   - measures round trips between two processes (`bus ping`, `bus echo`),
# and prints one table. inproc joins threads of one process, so there examples/two_threads does both.
#
# Stops at the first failure with its reason. Leaves nothing behind but build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: tools/quickstart.sh
environment: BYTES of the file (default 64 MiB), ROUND_TRIPS (default 20000), JOBS for the build (default: all CPUs)
END
}
case ${1-} in
  "") ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
bytes=${BYTES:-$((64 << 20))}
round_trips=${ROUND_TRIPS:-20000}
[[ $bytes =~ ^[1-9][0-9]*$ && $round_trips =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }

work='' background=()
cleanup() {
  local status=$? pid
  trap - EXIT
  for pid in "${background[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${background[@]}"; do wait "$pid" 2>/dev/null || true; done
  [[ -z $work ]] || rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { echo "== $*"; }
# fail REASON [FILE...]: with what the processes concerned have said.
fail() {
  echo "quickstart: $1" >&2
  shift
  local file
  for file in "$@"; do [[ ! -s $file ]] || sed "s/^/  ${file##*\/}: /" "$file" >&2; done
  exit 1
}

# field NAME TEXT: the value of a field of JSON; empty if it is not there.
field() { sed -n "s/.*\"$1\":\([0-9.]*\|true\|false\|null\)[,}].*/\1/p" <<<"$2" | tail -n 1; }

# microseconds NANOSECONDS
microseconds() {
  local ns=${1%%.*}
  [[ $ns =~ ^[0-9]+$ ]] && printf '%d.%02d us' $((ns / 1000)) $((ns % 1000 / 10)) || echo "?"
}

# listen NAME ADDRESS...: starts `bus NAME ADDRESS...` and waits until it says where it listens. Sets `address`, `pid`.
listen() {
  local name=$1 deadline=$((SECONDS + 15))
  : >"$work/$name.err"
  "$bus" "$@" >"$work/$name.out" 2>"$work/$name.err" &
  pid=$!
  background+=("$pid")
  until address=$(sed -n 's/^.*listening on //p' "$work/$name.err" | head -n 1) && [[ -n $address ]]; do
    kill -0 "$pid" 2>/dev/null || fail "bus $* ended before it listened" "$work/$name.err"
    ((SECONDS < deadline)) || fail "bus $* does not say where it listens" "$work/$name.err"
    sleep 0.01
  done
}

rows=()
# row TRANSPORT BYTES P50 P99 LOST: compares the copy with the file and adds a line to the table.
row() {
  local copied
  copied=$(sha256sum <"$work/copy")
  [[ $copied == "$checksum" ]] || fail "$1: the copy has another SHA-256 than the file"
  rows+=("$(printf '%-10s %12s   %-14s %12s %12s %6s' "$1" "$2" yes "$(microseconds "$3")" "$(microseconds "$4")" "$5")")
  echo "   $2 bytes, SHA-256 equal; round trip p50 $(microseconds "$3"), p99 $(microseconds "$4"), $5 lost"
}

# Two processes: a file from send to recv, then round trips between ping and echo.
two_processes() {
  local transport=$1 to=$2 summary received
  say "$transport: a file through bus send and bus recv, round trips between bus ping and bus echo"
  rm -f "$work/copy"
  listen recv "$to" --output "$work/copy" --timeout 30s --json
  timeout --foreground 120 "$bus" send "$address" --file "$work/file" --chunk 64KiB --json >"$work/send.out" 2>"$work/send.err" ||
    fail "$transport: bus send $address failed (exit $?)" "$work/send.err" "$work/recv.err"
  wait "$pid" || fail "$transport: bus recv $to failed (exit $?)" "$work/recv.err" "$work/send.err"
  received=$(tail -n 1 "$work/recv.out")
  [[ $(field closed "$(tail -n 1 "$work/send.out")") == true && $(field closed "$received") == true ]] ||
    fail "$transport: the books do not close" "$work/send.out" "$work/recv.out"

  listen echo "$to"
  timeout --foreground 120 "$bus" ping "$address" --interval 0 --count "$round_trips" --json >"$work/ping.out" 2>"$work/ping.err" ||
    fail "$transport: bus ping $address failed (exit $?)" "$work/ping.err" "$work/echo.err"
  kill -TERM "$pid"
  wait "$pid" 2>/dev/null || true  # 143: ended by that signal
  summary=$(tail -n 1 "$work/ping.out")
  row "$transport" "$(field bytes "$received")" "$(field p50 "$summary")" "$(field p99 "$summary")" "$(field lost "$summary")"
}

# inproc does not leave its process: two threads of one program do the same.
one_process() {
  local summary
  say "inproc: the same between two threads of examples/two_threads, because inproc stays in its process"
  rm -f "$work/copy"
  summary=$(timeout --foreground 120 "$two_threads" inproc://quickstart "$work/file" "$work/copy" "$round_trips" 2>"$work/two_threads.err") ||
    fail "inproc: two_threads failed (exit $?)" "$work/two_threads.err"
  row inproc "$(field bytes "$summary")" "$(field p50 "$summary")" "$(field p99 "$summary")" "$(field lost "$summary")"
}

say "packages"
tools/install_packages.sh

# Sockets and copies are here, and go with it.
work=$(mktemp -d)
export XDG_RUNTIME_DIR=$work/run
mkdir -m 0700 "$XDG_RUNTIME_DIR"

say "build: build/release/bin/bus (from nothing: a minute or two on two CPUs)"
build() { cmake --build build/release --parallel "${JOBS:-$(nproc)}" --target bin/bus bin/two_threads; }
cmake --preset release >"$work/cmake.log" 2>&1 || fail "the source does not configure" "$work/cmake.log"
if [[ -t 1 ]]; then
  build || fail "the source does not build"  # the terminal shows how far it is
else
  build >"$work/build.log" 2>&1 || fail "the source does not build" "$work/build.log"
fi
bus=$PWD/build/release/bin/bus
two_threads=$PWD/build/release/bin/two_threads
"$bus" --version
began=$SECONDS

head -c "$bytes" /dev/urandom >"$work/file"
checksum=$(sha256sum <"$work/file")

one_process
two_processes shm "shm://quickstart"
two_processes unix "unix://quickstart"
two_processes tcp "tcp://127.0.0.1:0"
two_processes udp "udp://127.0.0.1:0"
two_processes mq "mq://quickstart-$$"

say "done in $((SECONDS - began)) s: $bytes random bytes in pieces of 64 KiB, then $round_trips round trips, on each transport"
printf '\n%-10s %12s   %-14s %12s %12s %6s\n' transport "bytes moved" "checksum equal" "RTT p50" "RTT p99" lost
printf '%s\n' "${rows[@]}"

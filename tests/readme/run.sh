#!/usr/bin/env bash
# tests/readme/run.sh README BIN_DIR: what the README says is so: its program is the one that is built, and works; the
# commands of its tour work and print what it shows; the files that it links to exist; the options that it shows are
# options of that verb.
set -euo pipefail
readme=$1 bin=$2
root=$(cd "$(dirname "$readme")" && pwd)
work=$(mktemp -d)
server=''
cleanup() {
  [[ -z $server ]] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
export XDG_RUNTIME_DIR=$work/run
mkdir -m 0700 "$XDG_RUNTIME_DIR"
fail() { echo "readme: $*" >&2; exit 1; }

echo "== the program"
sed -n '/^<!-- examples\/readme_program.cpp -->$/,/^```$/p' "$readme" | sed '1,2d;$d' >"$work/program.cpp"
[[ -s $work/program.cpp ]] || fail "there is no program behind <!-- examples/readme_program.cpp -->"
diff -u "$root/examples/readme_program.cpp" "$work/program.cpp" || fail "the program is another one than examples/readme_program.cpp"

"$bin/readme_program" serve unix://readme 2>"$work/server.err" &
server=$!
"$bin/readme_program" ask unix://readme one two >"$work/answers" || fail "ask failed: $(cat "$work/server.err")"
wait "$server" || fail "serve failed: $(cat "$work/server.err")"
server=''
diff -u - "$work/answers" <<<$'ONE\nTWO\n2 sent, 2 received, the books close' || fail "other answers were expected"

echo "== five minutes, and the bus"
mkdir "$work/tour"
(cd "$work/tour" && python3 "$root/tests/readme/tour.py" "$readme" "$bin")

echo "== links"
while read -r link; do
  [[ -e $root/$link ]] || fail "the link to $link leads nowhere"
done < <(awk '/^```/ { code = !code } !code' "$readme" | grep -o '](\([^)#:]*\))' | sed 's/^](//; s/)$//' | sort -u)

echo "== options"
while read -r verb option; do
  help=$("$bin/bus" help "$verb")  # not a pipe: grep -q leaves before all is said
  grep -q -e "--$option\b" <<<"$help" || fail "bus $verb has no option --$option"
done < <(grep -o 'bus \(send\|recv\|echo\|ping\|pub\|sub\|request\|reply\|broker\|audit\) .*' "$readme" | sed 's/[|#].*//' |
  awk '{ for (i = 3; i <= NF; ++i) if ($i ~ /^--[a-z]/) { sub(/^--/, "", $i); sub(/[^a-z-].*/, "", $i); print $2, $i } }' | sort -u)
echo "readme: ok"

#!/usr/bin/env bash
# tests/run.sh: from nothing to a verdict: installs what is needed, builds everything, and runs every test.
#
#   style        clang-format over all sources
#   release      g++, all tests; among them the installed tree (static library) used by another project
#   asan         clang 14 with AddressSanitizer (and leaks) and UndefinedBehaviorSanitizer: all tests; warnings of clang
#                are errors here
#   tsan         g++ with ThreadSanitizer: all tests
#   shared       clang 14, shared library and program, hardly optimised; the installed tree used by another project
#   tidy         clang-tidy over library and tools
#   fuzz         clang 14, libFuzzer with ASan and UBSan: each target for some seconds, from its corpus
#
# Stops at the first step that fails, with its reason, and ends with `N passed, N failed, N skipped`: CTest's entries
# of all builds plus one for each other check. On unchanged files a second run builds nothing, runs the release tests
# again, and does not repeat the other steps that passed: it names and counts them as skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: tests/run.sh [--quick] [--again] [--keep-going] [STEP...]
  --quick        style and release alone: a few minutes
  --again        repeats also what passed before on the same files
  --keep-going   goes on after a step that failed
  STEP           only these: style release asan tsan shared tidy fuzz; and ubsan (g++, by itself)
environment: JOBS (default: the CPUs that this process may use), FUZZ_SECONDS for each fuzz target (default 5)
END
}

all_steps=(style release asan tsan shared tidy fuzz)
other_steps=(ubsan)  # part of asan; by itself when only that is wanted
steps=() again=0 keep_going=0
while (($# > 0)); do
  case $1 in
    --quick) steps+=(style release) ;;
    --again) again=1 ;;
    --keep-going) keep_going=1 ;;
    -h | --help) usage; exit 0 ;;
    *)
      [[ " ${all_steps[*]} ${other_steps[*]} " == *" $1 "* ]] || { echo "tests/run.sh: unknown step or option \"$1\"" >&2; usage >&2; exit 2; }
      steps+=("$1")
      ;;
  esac
  shift
done
((${#steps[@]} > 0)) || steps=("${all_steps[@]}")
jobs=${JOBS:-$(nproc)}
fuzz_seconds=${FUZZ_SECONDS:-5}

passed=0 failed=0 skipped=0
failures=()
logs=build/logs
mkdir -p "$logs"

# The verdict, however the run ends.
finish() {
  local status=$?
  trap - EXIT
  if ((status != 0 && failed == 0)); then
    failed=1
    failures+=("the run was ended (status $status)")
  fi
  echo
  for failure in "${failures[@]}"; do echo "FAILED: $failure"; done
  echo "took $((SECONDS / 60)) min $((SECONDS % 60)) s"
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0)) || exit $((status != 0 ? status : 1))
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

# fail REASON [LOG]: counts it; ends the run unless --keep-going.
fail() {
  failed=$((failed + 1))
  failures+=("$1")
  if [[ -n ${2-} ]]; then
    echo "--- the end of $2"
    tail -n 120 "$2"
    echo "---"
  fi
  say "FAILED: $1"
  ((keep_going)) || exit 1
}

# check NAME COMMAND...: one check, its output in a log.
check() {
  local name=$1 began=$SECONDS
  shift
  if "$@" >"$logs/$name.log" 2>&1; then
    passed=$((passed + 1))
    say "ok: $name ($((SECONDS - began)) s)"
  else
    fail "$name: $*" "$logs/$name.log"
    return 1
  fi
}

# One number for everything that an outcome depends on: the files here, the packages and the kernel.
fingerprint() {
  {
    find . \( -path ./build -o -path ./.git -o -path ./results \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
    dpkg-query -W
    uname -r
  } | sha256sum | cut -d' ' -f1
}

# A step that passed on the same files is not repeated. The memory holds how many tests it had.
remembered() {
  local memory=build/passed/$1
  ((again == 0)) && [[ -f $memory ]] && [[ $(head -n 1 "$memory") == "$state" ]] || return 1
  local count
  count=$(tail -n 1 "$memory")
  skipped=$((skipped + count))
  say "skipped: $1: its $count passed before on these very files (--again repeats them)"
}
remember() {
  mkdir -p build/passed
  [[ $(fingerprint) == "$state" ]] || return 0  # somebody edited meanwhile
  printf '%s\n%s\n' "$state" "$2" >"build/passed/$1"
}

# build_preset BUILD PRESET [CMAKE_ARGUMENT...]: configures and builds.
build_preset() {
  local build=$1 preset=$2 began=$SECONDS
  shift 2
  say "building $build"
  if ! cmake --preset "$preset" -B "build/$build" "$@" >"$logs/$build-configure.log" 2>&1; then
    fail "$build does not configure" "$logs/$build-configure.log"
    return 1
  fi
  if ! cmake --build "build/$build" --parallel "$jobs" >"$logs/$build-build.log" 2>&1; then
    fail "$build does not build" "$logs/$build-build.log"
    return 1
  fi
  say "built $build ($((SECONDS - began)) s)"
}

# Sanitizers of these compilers need the old, narrower randomisation of addresses; some kernels give more bits.
fixed_addresses=()
if setarch -R true 2>/dev/null; then fixed_addresses=(setarch -R); fi

# run_tests BUILD [CTEST_ARGUMENT...]: sets `ran` to the number of tests that passed. One more at a time than there are
# CPUs: many wait for processes most of the time. (ThreadSanitizer lets each process sleep a second before it ends unless
# told otherwise; the system tests start hundreds.)
run_tests() {
  local build=$1 began=$SECONDS status=0 prefix=()
  shift
  local log=$PWD/$logs/$build-tests.log report=$PWD/$logs/$build-tests.xml
  case $build in asan | ubsan | tsan) prefix=("${fixed_addresses[@]}") ;; esac
  say "testing $build"
  rm -f "$report"
  ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1 \
    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=50:suppressions='$PWD/tests/tsan.supp'" \
    "${prefix[@]}" ctest --test-dir "build/$build" --parallel "$((jobs + 1))" --output-on-failure --no-tests=error --timeout 600 \
    --output-junit "$report" "$@" >"$log" 2>&1 || status=$?
  local total off names bad
  total=$(sed -n 's/.*[[:space:]]tests="\([0-9]*\)".*/\1/p' "$report" 2>/dev/null | head -n 1)
  off=$(listed "$log" "did not run" | wc -l)
  names=$(listed "$log" FAILED)
  bad=$(grep -c . <<<"$names" || true)
  if ((status != 0 && bad == 0)); then  # CTest itself failed
    bad=1 names="ctest ended with status $status"
  fi
  ran=$((${total:-0} > bad + off ? total - bad - off : 0))
  passed=$((passed + ran)) skipped=$((skipped + off))
  if ((bad > 0)); then
    failed=$((failed + bad - 1))  # fail() adds one
    fail "$build: $bad of ${total:-0} tests: $(paste -sd, <<<"$names" | sed 's/,/, /g')" "$log"
    return 1
  fi
  listed "$log" "did not run" | sed 's/^/         skipped: /'
  say "ok: $build: $ran tests passed, $off skipped ($((SECONDS - began)) s)"
}
# listed LOG WHICH: the tests that CTest lists under "The following tests WHICH:".
listed() { sed -n "/^The following tests $2:/,/^[^[:space:]]*\$/s/^\t *[0-9]* - \(.*\)/\1/p" "$1"; }

sources() {
  find bus transports tools tests examples \( -name '*.cpp' -o -name '*.hpp' \) -print0 | sort -z
}
style() { sources | xargs -0 clang-format-14 --dry-run -Werror; }

fuzz_one() {
  local target=$1 name=${1##*/} corpus
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus" build/fuzz/findings
  local known=() dictionary=()
  [[ -d tests/fuzz/corpus/${name#fuzz_} ]] && known=("tests/fuzz/corpus/${name#fuzz_}")
  [[ -f tests/fuzz/${name#fuzz_}.dict ]] && dictionary=("-dict=tests/fuzz/${name#fuzz_}.dict")
  "${fixed_addresses[@]}" "$target" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/findings/$name-" "${dictionary[@]}" "$corpus" "${known[@]}"
}

step_style() { check style style || true; }

step_release() {
  build_preset release release || return 0
  run_tests release || return 0
}

step_tidy() {
  ! remembered tidy || return 0
  build_shared || return 0
  say "checking with clang-tidy"
  if check tidy tests/tidy.py build/shared -j "$jobs"; then
    tail -n 1 "$logs/tidy.log"
    remember tidy 1
  fi
}

# sanitized NAME [CMAKE_ARGUMENT...]
sanitized() {
  ! remembered "$1" || return 0
  build_preset "$1" "$@" || return 0
  run_tests "$1" || return 0
  remember "$1" "$ran"
}
step_asan() { sanitized asan -DCMAKE_CXX_COMPILER=clang++-14 -DBUS_SANITIZE=address,undefined; }
step_tsan() { sanitized tsan; }
step_ubsan() { sanitized ubsan; }

# How fast it is nobody asks here: what is looked at is what gets installed, and by clang-tidy.
build_shared() {
  build_preset shared release -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
    -DBUILD_SHARED_LIBS=ON -DBUS_BUILD_TESTS=OFF -DBUS_BUILD_EXAMPLES=OFF
}

step_shared() {
  ! remembered shared || return 0
  build_shared || return 0
  local version
  version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' build/shared/CMakeCache.txt)
  check install-shared tests/install/run.sh build/shared clang++-14 "$version" || return 0
  remember shared 1
}

step_fuzz() {
  ! remembered fuzz || return 0
  build_preset fuzz fuzz || return 0
  local target count=0
  for target in build/fuzz/bin/fuzz_*; do
    [[ -x $target ]] || { fail "build/fuzz/bin has no fuzz targets"; return 0; }
    check "${target##*/}" fuzz_one "$target" || return 0
    count=$((count + 1))
  done
  remember fuzz "$count"
}

tools/install_packages.sh --with tests --with brokers
say "with $jobs jobs: ${steps[*]}; $(c++ --version | head -n 1); $(clang++-14 --version | head -n 1)"
state=$(fingerprint)
for step in "${steps[@]}"; do "step_$step"; done

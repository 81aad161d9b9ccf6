#!/usr/bin/env bash
# tests/install/run.sh BUILD_DIR COMPILER VERSION: the installed tree is whole, can be moved, and serves other projects.
#
# Installs into a temporary folder, moves that, and from there builds and runs a project that finds ipcbus by CMake and
# the same program by pkg-config. Ends at the first thing that is not so, and says which.
set -euo pipefail
build=$1 compiler=$2 version=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_RUNTIME_DIR=$work/run
mkdir -m 0700 "$XDG_RUNTIME_DIR"
fail() { echo "install: $*" >&2; exit 1; }

echo "== install, then move the tree"
cmake --install "$build" --prefix "$work/first" >"$work/install.log" || { cat "$work/install.log" >&2; fail "cmake --install failed"; }
prefix=$work/moved
mv "$work/first" "$prefix"
(cd "$prefix" && find . \( -type f -o -type l \) | sort)
! grep -rIl "$work/first" "$prefix" || fail "these files name the folder of the installation"
! grep -rIl "$(cd "$here/../.." && pwd)" "$prefix" || fail "these files name the source tree"

echo "== each public header compiles alone, with nothing but the installed ones"
for header in "$prefix"/include/ipcbus/bus/core/*.hpp; do
  "$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$prefix/include/ipcbus" \
    -include "$header" -x c++ /dev/null || fail "${header##*/} does not compile alone"
done

echo "== find_package(ipcbus)"
cmake -S "$here/consumer" -B "$work/by-cmake" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$prefix" -DIPCBUS_VERSION="$version" >"$work/cmake.log" 2>&1 ||
  { cat "$work/cmake.log" >&2; fail "find_package does not find the installed tree"; }
cmake --build "$work/by-cmake" >"$work/cmake.log" 2>&1 || { cat "$work/cmake.log" >&2; fail "the project does not build"; }
"$work/by-cmake/consumer" | tee "$work/output"
grep -q "^ipcbus $version," "$work/output" || fail "the program was not built with version $version"

echo "== find_package(ipcbus) with a version that this is not"
if cmake -S "$here/consumer" -B "$work/by-cmake-99" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$prefix" -DIPCBUS_VERSION=99.0 >"$work/cmake.log" 2>&1; then
  fail "find_package(ipcbus 99.0) accepts version $version"
fi
grep -q 'requested version "99.0"' "$work/cmake.log" || { cat "$work/cmake.log" >&2; fail "refused, but not for its version"; }

echo "== pkg-config ipcbus"
pc=$(find "$prefix" -name ipcbus.pc)
export PKG_CONFIG_PATH=${pc%/*}
[[ $(pkg-config --modversion ipcbus) == "$version" ]] || fail "pkg-config says version $(pkg-config --modversion ipcbus)"
# shellcheck disable=SC2046  # several words are wanted
"$compiler" -std=c++20 -O2 "$here/consumer/main.cpp" -o "$work/by-pkg-config" $(pkg-config --cflags --libs ipcbus) ||
  fail "does not build by pkg-config"
LD_LIBRARY_PATH=$(pkg-config --variable=libdir ipcbus) "$work/by-pkg-config"

if [[ -x $prefix/bin/bus ]]; then
  echo "== the installed program"
  "$prefix/bin/bus" --version | tee "$work/output"
  grep -q "$version" "$work/output" || fail "bus --version does not say $version"
fi

echo "== hardening"
# hardened FILE PATTERN WHAT
hardened() {
  local elf
  elf=$(readelf --wide --file-header --program-headers --dynamic --symbols "$1")
  grep -Eq "$2" <<<"$elf" || fail "${1#"$prefix"/} has no $3"
}
for file in "$prefix/bin/bus" "$prefix"/lib*/libipcbus.so; do
  [[ -f $file ]] || continue
  hardened "$file" 'Type: +DYN' 'position-independent code'
  hardened "$file" 'GNU_RELRO' 'RELRO'
  hardened "$file" 'BIND_NOW|Flags:.* NOW' 'immediate binding, so its RELRO is partial'
  hardened "$file" 'GNU_STACK.* RW ' 'stack that is not executable'
  hardened "$file" '__stack_chk_fail' 'stack protector'
done
leftovers=$(find "$XDG_RUNTIME_DIR" -type s)
[[ -z $leftovers ]] || fail "sockets are left: $leftovers"
echo "install: ok"

#!/usr/bin/env bash
# tools/install_packages.sh [--with tests] [--with brokers]: installs the Debian 12 packages that this source needs, if
# any is missing.
#
# The one list of them. Silent when nothing is missing; otherwise it needs root or sudo, and apt's configured mirrors.
set -euo pipefail

packages=(
  g++ cmake ninja-build  # compiler and build
  libboost1.81-dev       # shared memory mapping, the baseline queue, results; 1.74 is refused: its mutexes are not robust
  libboost-url1.81-dev   # addresses
  libcxxopts-dev         # command line
  libspdlog-dev          # logging, with fmt
  nlohmann-json3-dev     # JSON output
  libsimdjson-dev        # JSON lines, read fast
  libtomlplusplus-dev    # configuration files
  nodejs npm             # the charts of the HTML report; without them it is left out
  libzmq3-dev libnng-dev # peers in comparisons; without them they are left out
  libnats-dev libmosquitto-dev libhiredis-dev  # clients of other brokers in comparisons; the same
  catch2                 # the tests, which every preset configures
)
test_packages=(
  clang-14 libclang-rt-14-dev       # the second compiler, with its sanitizers and libFuzzer
  clang-format-14 clang-tidy-14     # the style check and the static analysis
  binutils pkgconf                  # the test of the installed tree: readelf, pkg-config
  python3 python3-jsonschema        # what holds a document against its JSON Schema
  netcat-openbsd procps             # programs that know nothing of ipcbus and are talked to; pgrep, ps
  chromium                          # the browser that opens the HTML report
)
# Other brokers, for bus compare --brokers. They are wanted as programs: none of them is to run as a service.
broker_packages=(nats-server mosquitto redis-server)
# What another source may have installed under another name; Debian's package would be in conflict with that one.
declare -A command_of=([nodejs]=node [npm]=npm)

while (($# > 0)); do
  case "$1 ${2-}" in
    "--with tests") packages+=("${test_packages[@]}"); shift 2 ;;
    "--with brokers") packages+=("${broker_packages[@]}"); shift 2 ;;
    *) echo "usage: tools/install_packages.sh [--with tests] [--with brokers]" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install_packages: this is no Debian: install what stands for these packages, then use CMake as the README says:" >&2
  echo "  ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] && continue
  [[ -n ${command_of[$package]-} ]] && command -v "${command_of[$package]}" >/dev/null && continue
  missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0

echo "installing ${#missing[@]} packages: ${missing[*]}"
as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install_packages: not root, and there is no sudo. As root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 "$@"
}
# One broken source of many is no reason to stop: the installation tells whether what is needed was found.
apt update || echo "install_packages: apt-get update failed; trying with the package lists that are here" >&2
# A link to /dev/null in the place of a unit: it is not started, now or when the system is. Source: systemd.unit(5).
# Where there is no systemd, a policy says no while packages are installed. Source: invoke-rc.d(8).
services=()
for package in "${broker_packages[@]}"; do
  [[ " ${missing[*]} " != *" $package "* ]] || services+=("$package.service")
done
if ((${#services[@]} > 0)); then
  echo "none of these is going to run as a service (systemctl unmask NAME undoes that): ${services[*]}"
  echo "so what is said now of masked units and denied starts is as it shall be"
  units=/etc/systemd/system
  "${as_root[@]}" mkdir -p "$units"
  for service in "${services[@]}"; do
    [[ -e $units/$service || -L $units/$service ]] || "${as_root[@]}" ln -s /dev/null "$units/$service"
  done
  policy=/usr/sbin/policy-rc.d
  mark='# Made by install_packages.sh for as long as it runs.'
  # One of ours is there when a run was killed.
  if [[ ! -e $policy ]] || grep -qxF "$mark" "$policy"; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
  fi
fi
apt install -y --no-install-recommends "${missing[@]}" >/dev/null

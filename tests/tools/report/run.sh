#!/usr/bin/env bash
# tests/tools/report/run.sh REPORT_PAGE [SCREENSHOTS]: opens the HTML report in headless Chromium. 77: cannot be done here.
set -euo pipefail
page=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() {
  echo "skipped: $1"
  exit 77
}

status=0
"$page" >/dev/null || status=$?
((status != 77)) || skip "this build has no HTML report: npm was not there, or could not fetch (the configure step says which)"
((status == 0)) || exit "$status"
command -v node >/dev/null || skip "there is no node (Debian: apt-get install nodejs)"
for chromium in "${CHROMIUM:-chromium}" chromium-browser google-chrome; do
  if command -v "$chromium" >/dev/null; then exec node "$here/report_test.mjs" "$page" "$chromium" "${@:2}"; fi
done
skip "there is no Chromium (Debian: apt-get install chromium)"

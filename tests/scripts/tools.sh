#!/usr/bin/env bash
# Installs what the tests need under target/, unless it is installed: Python packages, including cargo-nextest, and a
# browser for the console. If a tool must be installed by the user, prints one line about it.
#
#   ./tests/scripts/tools.sh          for some tests
#   ./tests/scripts/tools.sh --all    for all tests
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
fail() { printf '%s, then run this again\n' "$1" >&2; exit 1; }
"$root/infra/local/prerequisites" >/dev/null
if [ "${1:-}" = --all ]; then
    version=$(node --version 2>/dev/null || true)
    version=${version#v} version=${version%%.*}
    [ "${version:-0}" -ge 20 ] || fail "Node 20 or newer was not found: install it"
    command -v npm >/dev/null || fail "npm was not found: install it (Debian: apt-get install npm)"
    [ "$(uname -sm)" = "Linux x86_64" ] || [ -n "$("$root/tests/scripts/browser.sh" --installed)" ] ||
        fail "no browser was found: install Chrome or Chromium, or set BINDERY_CHROMIUM=/path/to/chrome"
fi
"$root/infra/local/venv" "$root/target/tests-venv" "$root/tests/scripts/requirements.txt"
[ "${1:-}" = --all ] || exit 0
"$root/infra/local/venv" "$root/target/generated-venv" "$root/tests/scripts/generator-requirements.txt"
"$root/tests/scripts/browser.sh" >/dev/null

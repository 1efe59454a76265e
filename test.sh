#!/usr/bin/env bash
# Builds the solution, runs every test project and ends with the line "N passed, N failed, N skipped".
# Arguments go to the test runner, for instance: ./test.sh --filter-class '*StoreTests'
set -uo pipefail
cd "$(dirname "$0")"
dotnet build Chat.sln -c Release -v q --nologo || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
log=$(mktemp); trap 'rm -f "$log"' EXIT
# One project after the other: both drive real servers and there are two cores.
dotnet test --solution Chat.sln -c Release --no-build --no-ansi --no-progress --max-parallel-test-modules 1 "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
# A test program that died reports no failed test: it counts as one.
awk -v code="$code" '/^ *total:/{t=$2} /^ *failed:/{f=$2} /^ *succeeded:/{p=$2} /^ *skipped:/{s=$2} END{if (code && !f) f = 1; printf "%d passed, %d failed, %d skipped\n", p, f, s}' "$log"
exit "$code"

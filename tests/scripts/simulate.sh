#!/usr/bin/env bash
# Simulates random instructions under random faults, for as long as you like. --help lists the options. Starts its own
# stack, like ./tests/run, and stops it afterwards.
#
#   ./tests/scripts/simulate.sh     every fault with every flow: the table of tests/results/SIMULATION.md
#   ./tests/scripts/simulate.sh --seed 7 --flow bulks --fault crashes     repeats a single run
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
export BINDERY_LOCAL_DIR=$root/target/test BINDERY_PORT=0
cargo build --locked --package local-runner --package tests --bin local-runner --bin simulate
case " $* " in *" --help "*) exec target/debug/simulate --help ;; esac
tests/scripts/tools.sh
trap './infra/local/down >/dev/null' EXIT
./infra/local/down >/dev/null
./infra/local/up --no-demo
# shellcheck disable=SC1091
source tests/scripts/env.sh
target/debug/simulate "$@"

# What tests want to know, for `source`: the stack in BINDERY_LOCAL_DIR, and the tests' own Python environment.
tools=$root/target/tests-venv
set -a
# shellcheck disable=SC1091
source "$BINDERY_LOCAL_DIR/watch.env"
# shellcheck disable=SC1091
source "$BINDERY_LOCAL_DIR/env"
# Clocks of functions that are wrong.
FAKETIME_LIBRARY=$(find "$tools/lib" -name 'libfaketime.so.1' -o -name 'libfaketime.1.dylib' | head -n 1)
set +a

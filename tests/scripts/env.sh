# Sets the variables that tests need: the stack in BINDERY_LOCAL_DIR and the tests' Python environment. To be sourced.
tools=$root/target/tests-venv
set -a
# shellcheck disable=SC1091
source "$BINDERY_LOCAL_DIR/watch.env"
# shellcheck disable=SC1091
source "$BINDERY_LOCAL_DIR/env"
# Gives functions wrong clocks.
FAKETIME_LIBRARY=$(find "$tools/lib" -name 'libfaketime.so.1' -o -name 'libfaketime.1.dylib' | head -n 1)
set +a

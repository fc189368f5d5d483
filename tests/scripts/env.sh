# What tests want to know, for `source`: the stack in BINDERY_LOCAL_DIR, and the tests' own Python environment.
tools=$root/target/tests-venv
# The documents of the API, for tests that are written in Rust.
for document in openapi asyncapi; do
    "$tools/bin/python" -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)' \
        <"$root/infra/api/$document.yaml" >"$BINDERY_LOCAL_DIR/$document.json"
done
set -a
# shellcheck disable=SC1091
source "$BINDERY_LOCAL_DIR/watch.env"
# shellcheck disable=SC1091
source "$BINDERY_LOCAL_DIR/env"
# Clocks of functions that are wrong.
FAKETIME_LIBRARY=$(find "$tools/lib" -name 'libfaketime.so.1' -o -name 'libfaketime.1.dylib' | head -n 1)
set +a

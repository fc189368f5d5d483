#!/usr/bin/env bash
# Tests that `cargo lambda watch` serves the API against the stack whose variables are set, and that
# `cargo lambda invoke` runs a worker with its sample. Called by ./tests/run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$PWD/target/local/venv/bin:$PATH
at=(--invoke-address "$BINDERY_WATCH_ADDRESS" --invoke-port "$BINDERY_WATCH_PORT")
log=$BINDERY_LOCAL_DIR/logs/watch.log
# Its own process group, so that stopping it also stops the functions that it started.
set -m
cargo lambda watch "${at[@]}" --env-file "$BINDERY_LOCAL_DIR/watch.env" \
    >"$log" 2>&1 </dev/null &
watch=$!
set +m
trap 'kill -- -"$watch" 2>/dev/null || true' EXIT

expect() { # what, expected, actual
    if [ "$2" = "$3" ]; then echo "ok: $1"; else echo "FAILED: $1: expected $2, got $3; see $log" >&2; exit 1; fi
}
status() { # path, curl's arguments: prints the response's status
    curl --silent --output /dev/null --write-out '%{http_code}' --max-time 120 \
        --retry 60 --retry-delay 1 --retry-connrefused "${@:2}" "$BINDERY_WATCH_URL$1"
}
bind="/wallet/v2/cards/$BINDERY_CARD/noname/bind"
account=(-H "x-account-id: $BINDERY_ACCOUNT" -H "x-customer-id: $BINDERY_CUSTOMER")
# Every route of the template, with 1 as its parameter.
routes=$(python3 -c '
import os, re, tomllib
router = tomllib.load(open(os.environ["CARGO_LAMBDA_GLOBAL"], "rb"))["watch"]["router"]
for path, methods in router.items():
    for route in methods:
        print(route["method"], re.sub(r"{\w+}", "1", path))
')
[ -n "$routes" ] || { echo "FAILED: watch.toml has no routes" >&2; exit 1; }
while read -r method path; do
    expect "watch refuses $method $path without a token" 401 "$(status "$path" -X "$method" "${account[@]}" </dev/null)"
done <<<"$routes"
token=(-H "Authorization: Bearer $BINDERY_TOKEN")
expect "watch accepts a bind" 202 "$(status "$bind" -X PUT "${token[@]}" "${account[@]}")"
expect "watch reads the card" 200 "$(status "/cards/v1/cards/$BINDERY_CARD" "${token[@]}")"
expect "watch does not find an unknown operation" 404 "$(status "/operations/x" "${token[@]}")"
expect "watch creates a bulk" 201 "$(status /cards/v1/bulks -X POST "${token[@]}" -H 'Content-Type: application/json' \
    -d '{"program_id": 1, "external_ids": ["watched"]}')"
expect "watch starts a bulk" 202 "$(status "/cards/v1/bulks/$BINDERY_BULK/start" -X POST "${token[@]}")"
expect "watch cancels an item" 202 "$(status "/cards/v1/bulks/$BINDERY_BULK/cancel" -X POST "${token[@]}" \
    -H 'Content-Type: application/json' -d '{"cancel_type": "PARTIAL", "external_ids": ["demo-card-5"]}')"
expect "watch responds to a cancellation of orders" 200 "$(status /api/orders/cancellations -X POST "${token[@]}" \
    -H 'Content-Type: application/json' -d '[{"OrderID": 1}]')"
expect "watch reads a bulk" 200 "$(status "/cards/v1/bulks/$BINDERY_BULK" "${token[@]}")"
member() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
invoke() { cargo lambda invoke "${at[@]}" "$1" --data-file "infra/events/$1.json"; }
expect "invoke runs the worker" '{"batchItemFailures":[]}' "$(invoke bind-card-worker)"
expect "invoke runs an endpoint" 200 "$(invoke get-card | member statusCode)"
expect "the sample card is bound" CREATED \
    "$(curl --silent "${token[@]}" "$BINDERY_WATCH_URL/cards/v1/cards/900000001" | member status)"
# It accepts requests from any web page, so a page must neither find its address nor be allowed to read its responses.
[ "$(uname)" != Linux ] || expect "watch is not at 127.0.0.1" 7 \
    "$(curl --silent "http://127.0.0.1:$BINDERY_WATCH_PORT" >/dev/null; echo $?)"
expect "watch sends no CORS headers" 0 \
    "$(curl --silent --include --header 'Origin: http://bindery.example' "$BINDERY_WATCH_URL/operations/x" |
        grep -ci access-control)"

#!/usr/bin/env bash
# A bulk of cards by curl: created, started, one card bound, the rest canceled; then its events.
# `source target/local/env` first. Needs curl (7.66 or newer), Python 3 and, for the events, the AWS CLI.
set -euo pipefail
cid=example-curl-$(date +%s)-$$
events=$(mktemp)
trap 'rm -f "$events"' EXIT

# curl waits as long as Retry-After says, in seconds or by a date, and then sends the same again.
ask() { # method, path, further arguments of curl
    curl --silent --show-error --fail --max-time 30 --retry 5 --retry-connrefused --request "$1" "$BINDERY_URL$2" \
        --header "Authorization: Bearer $BINDERY_TOKEN" --header "x-correlation-id: $cid" "${@:3}"
}
# Every instruction has a key of its own: sent again, it is the same operation.
instruct() { # the instruction's name, method, path, further arguments of curl
    ask "$2" "$3" --header "Idempotency-Key: \"$cid-$1\"" --header "Content-Type: application/json" "${@:4}"
}
value() { # what Python makes of the JSON that is read, in `it`
    python3 -c "import json, sys; it = json.load(sys.stdin); print($1)"
}
follow() { # operation: waits for its end
    local state=PENDING
    until [ "$state" = SUCCEEDED ]; do
        [ "$state" != FAILED ] || { echo "operation $1 failed" >&2; exit 1; }
        sleep 0.3
        state=$(ask GET "/operations/$1" | value 'it["status"]')
    done
    ask GET "/operations/$1" | value 'it["kind"], it["status"], it["counts"]'
}

bulk=$(instruct create POST /cards/v1/bulks --data '{"program_id": 1, "external_ids": ["a", "b", "c"]}' | value 'it["id"]')
echo "bulk $bulk"
follow "$(instruct start POST "/cards/v1/bulks/$bulk/start" | value 'it["operation_id"]')"

card=$(ask GET "/cards/v1/bulks/$bulk" | value 'it["items"][0]["card_id"]')
follow "$(instruct bind PUT "/wallet/v2/cards/$card/noname/bind" --header "x-account-id: $BINDERY_ACCOUNT" \
    --header "x-customer-id: $BINDERY_CUSTOMER" | value 'it["operation_id"]')"

follow "$(instruct cancel POST "/cards/v1/bulks/$bulk/cancel" \
    --data '{"cancel_type": "PARTIAL", "external_ids": ["b", "c"]}' | value 'it["operation_id"]')"

# Version 1 of the AWS CLI does not look for another address of SQS by itself.
queue() { # command, further arguments of `aws sqs`
    aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} sqs "$1" --queue-url "$EVENTS_QUEUE_URL" "${@:2}"
}
# Events come at least once, in any order: what counts is the event_id.
distinct() { sort -u "$events" | wc -l | tr -d ' '; }
until [ "$(distinct)" -ge 7 ]; do
    [ $SECONDS -lt 120 ] || { echo "only $(distinct) events came" >&2; exit 1; }
    queue receive-message --max-number-of-messages 10 --wait-time-seconds 2 --visibility-timeout 60 \
        --query 'Messages[].[ReceiptHandle, Body]' --output text |
        while IFS=$'\t' read -r receipt message; do
            # The local stack's queue has everybody's events. Yours would have yours alone.
            [[ $message == *"\"$cid\""* ]] || continue
            value '(e := it["detail"])["event_id"], e["event_type"], e["data"].get("external_id", "")' <<<"$message" >>"$events"
            queue delete-message --receipt-handle "$receipt"
        done
done
sort -u "$events"

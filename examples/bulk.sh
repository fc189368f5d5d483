#!/usr/bin/env bash
# Creates and starts a bulk of cards with curl, binds one card, cancels the rest, and reads the events.
# Run `source target/local/env` first. Needs curl (7.66 or newer), Python 3 and, for the events, the AWS CLI.
set -euo pipefail
cid=example-curl-$(date +%s)-$$
events=$(mktemp)
trap 'rm -f "$events"' EXIT

# curl waits as long as Retry-After says, in seconds or until a date, and then sends the same request again.
request() { # method, path, more curl arguments
    curl --silent --show-error --fail --max-time 30 --retry 5 --retry-connrefused --request "$1" "$BINDERY_URL$2" \
        --header "Authorization: Bearer $BINDERY_TOKEN" --header "x-correlation-id: $cid" "${@:3}"
}
# Every instruction has its own key: if it is sent again, the operation is the same.
instruct() { # the instruction's name, method, path, more curl arguments
    request "$2" "$3" --header "Idempotency-Key: \"$cid-$1\"" --header "Content-Type: application/json" "${@:4}"
}
value() { # a Python expression on the JSON from standard input, which is `it`
    python3 -c "import json, sys; it = json.load(sys.stdin); print($1)"
}
follow() { # operation: waits for its end
    local state=PENDING
    until [ "$state" = SUCCEEDED ]; do
        [ "$state" != FAILED ] || { echo "operation $1 failed" >&2; exit 1; }
        sleep 0.3
        state=$(request GET "/operations/$1" | value 'it["status"]')
    done
    request GET "/operations/$1" | value 'it["kind"], it["status"], it["counts"]'
}

bulk=$(instruct create POST /cards/v1/bulks --data '{"program_id": 1, "external_ids": ["a", "b", "c"]}' |
    value 'it["id"]')
echo "bulk $bulk"
follow "$(instruct start POST "/cards/v1/bulks/$bulk/start" | value 'it["operation_id"]')"

card=$(request GET "/cards/v1/bulks/$bulk" | value 'it["items"][0]["card_id"]')
follow "$(instruct bind PUT "/wallet/v2/cards/$card/noname/bind" --header "x-account-id: $BINDERY_ACCOUNT" \
    --header "x-customer-id: $BINDERY_CUSTOMER" | value 'it["operation_id"]')"

follow "$(instruct cancel POST "/cards/v1/bulks/$bulk/cancel" \
    --data '{"cancel_type": "PARTIAL", "external_ids": ["b", "c"]}' | value 'it["operation_id"]')"

# Version 1 of the AWS CLI ignores AWS_ENDPOINT_URL, so pass it on.
queue() { # command, more arguments of `aws sqs`
    aws ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} sqs "$1" --queue-url "$EVENTS_QUEUE_URL" "${@:2}"
}
# Events are delivered at least once, in any order, so count each event_id once.
distinct() { sort -u "$events" | wc -l | tr -d ' '; }
until [ "$(distinct)" -ge 7 ]; do
    [ $SECONDS -lt 120 ] || { echo "only $(distinct) events arrived" >&2; exit 1; }
    queue receive-message --max-number-of-messages 10 --wait-time-seconds 2 --visibility-timeout 60 \
        --query 'Messages[].[ReceiptHandle, Body]' --output text |
        while IFS=$'\t' read -r receipt message; do
            # The local stack's queue has the events of all clients. Your own queue would have only yours.
            [[ $message == *"\"$cid\""* ]] || continue
            value '(e := it["detail"])["event_id"], e["event_type"], e["data"].get("external_id", "")' \
                <<<"$message" >>"$events"
            queue delete-message --receipt-handle "$receipt"
        done
done
sort -u "$events"

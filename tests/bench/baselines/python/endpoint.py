"""The endpoint `bind-card` in Python: the same checks, rows, message and responses as functions/bind-card.

Left out: verifying a token where no gateway has, giving up before Lambda's deadline, headers that come twice or in
capitals, lone surrogates in JSON, parameters of a structured-field key, a token's account that is written as a float.
"""

import json
import os
import time
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from common import (
    CORRELATION_ID,
    FACTS,
    OPTIONAL_FACTS,
    ORG,
    REFUSALS,
    TABLE,
    Metrics,
    Refused,
    Row,
    card_key,
    check_card,
    check_reissued,
    dynamodb,
    from_item,
    get,
    get_operation,
    is_final,
    log,
    operation_key,
    sqs,
    timestamp,
    to_item,
    to_json,
    trace,
    uuid7,
)
from request import Problem, Request, broken, integer_id, invalid, part, unavailable

QUEUE_URL = os.environ["BIND_CARD_QUEUE_URL"]

# The relative path from a bind's URL to the start of the API's paths. Only the client knows what comes before them.
WAY_UP = "../../../../../"
RETENTION = timedelta(days=90)
HEADERS = {"cache-control": "no-store"}
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
# A missing card is 403, because it must look the same as another account's card.
REFUSAL_STATUS = {"CARD_NOT_FOUND": 403, "REISSUED_CARD_NOT_FOUND": 403}


def handler(event: Row, context: Any) -> Row:
    """Handles a request."""
    started, metrics = time.perf_counter(), Metrics()
    seen = {"request_id": context.aws_request_id, "cid": event["headers"].get("x-correlation-id", uuid7())}
    try:
        operation_id, sent, replayed = bind_card(event, seen)
    except Problem as problem:
        return refuse(problem, seen, started, metrics)
    except ClientError as error:
        return refuse(broken(error) if is_final(error) else unavailable(error), seen, started, metrics)
    except BotoCoreError as error:
        return refuse(unavailable(error), seen, started, metrics)
    except Exception as error:
        return refuse(broken(error), seen, started, metrics)
    if sent:
        metrics.counts["Accepted"] += 1
    log("INFO", "request handled", started, **seen, operation_id=operation_id, outcome=202)
    metrics.flush()
    headers = {**HEADERS, "content-type": "application/json", "location": f"{WAY_UP}operations/{operation_id}"}
    if replayed:
        headers["idempotent-replayed"] = "true"
    body = to_json({"operation_id": operation_id, "status": "PENDING"})
    return {"statusCode": 202, "headers": {**headers, "x-correlation-id": seen["cid"]}, "body": body}


def refuse(problem: Problem, seen: Row, started: float, metrics: Metrics) -> Row:
    """Returns an error response (RFC 9457)."""
    fields = {**seen, "outcome": problem.status, "code": problem.code}
    if problem.cause:
        log("ERROR", "request failed", started, **fields, cause=problem.cause)
    else:
        log("INFO", "request refused", started, **fields)
    if problem.status >= 500:
        metrics.counts["Failed"] += 1
    else:
        metrics.refused[problem.code] += 1
    metrics.flush()
    body = {
        "type": f"urn:bindery:problem:{problem.code}",
        "title": TITLES[problem.status],
        "status": problem.status,
        "detail": problem.detail,
        "instance": seen["request_id"],
    }
    if problem.errors:
        body["errors"] = problem.errors
    headers = {**HEADERS, "content-type": "application/problem+json", "x-correlation-id": seen["cid"]}
    headers |= {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(problem.status, {})
    return {"statusCode": problem.status, "headers": headers, "body": to_json(body)}


def bind_card(event: Row, seen: Row) -> tuple[str, bool, bool]:
    """Returns the request's operation, whether its message was sent now, and whether it was recorded before."""
    claims = event["requestContext"].get("authorizer", {}).get("jwt", {}).get("claims")
    cid = seen["cid"]
    malformed = not CORRELATION_ID.fullmatch(cid)
    if malformed:
        seen["cid"] = uuid7()
    if claims is None:
        raise Problem(401, "unauthorized", "The access token is missing or invalid.")
    if not {"cards:bind", "cards:write"} & set(claims.get("scope", "").split(" ")):
        raise Problem(403, "forbidden", "The access token lacks the scope for this request.")
    org = claims.get("tenant_id", "")
    if not ORG.fullmatch(org):
        raise Problem(403, "forbidden", "The access token names no organization.")
    seen["tenant"] = org
    if malformed:
        detail = "must be 1 to 255 printable ASCII characters" if cid.isascii() else "must be printable ASCII"
        raise invalid([part("header", "x-correlation-id", detail)])
    return accept(Request(event, org, integer_id(claims.get("account_id", "")), cid))


def accept(request: Request) -> tuple[str, bool, bool]:
    """Records the operation, then sends its message. A repeated request does what is still to be done."""
    before = request.operation_id, False, True
    known = recorded(request)
    if known and is_under_way(known, request):
        return before
    try:
        instruction, accepted_at = prepare(request, known is not None)
    except Problem:
        # The refusal may come from this very operation, recorded meanwhile by another copy of the request.
        known = None if known else recorded(request)
        if known is None:
            raise
        if is_under_way(known, request):
            return before
        instruction, accepted_at = prepare(request, True)
    made = None
    if known is None:
        made, known = record(request, accepted_at or request.now)
    operation = made or known
    if operation is None:
        return before
    message = {
        "version": 1,
        "kind": "bind-card",
        "org_id": request.org,
        "operation_id": request.operation_id,
        "cid": operation["cid"],
        "accepted_at": operation["created_at"],
        "instruction": instruction,
    }
    # The body is ASCII, because SQS refuses some characters.
    body = json.dumps(message, separators=(",", ":"), default=int).replace("\x7f", "\\u007f")
    try:
        sqs.send_message(QueueUrl=QUEUE_URL, MessageBody=body, MessageGroupId=request.org, **trace())
    except (BotoCoreError, ClientError) as error:
        raise unavailable(error) from error
    return request.operation_id, True, made is None


def recorded(request: Request) -> Row | None:
    """Returns the operation of an earlier request with the same key."""
    return get_operation(request.org, request.operation_id, request.now) if request.keyed else None


def is_under_way(operation: Row, request: Request) -> bool:
    """Returns whether only the response is left to do. Otherwise the message may still have to be sent."""
    if operation["fingerprint"] != request.fingerprint:
        raise Problem(422, "idempotency-key-reused", "The Idempotency-Key was used with another request.")
    return operation["state"] != "PENDING"


def prepare(request: Request, is_recorded: bool) -> tuple[Row, datetime | None]:
    """Returns the message's instruction. If it was carried out and its row is gone, also returns when it was accepted.

    The cards' state counts only before the operation is recorded.
    """
    bind = request.bind
    card = get(card_key(request.org, bind["card_id"]))
    accepted_at = None if is_recorded else carried_out(request, card)
    if not is_recorded and not accepted_at:
        try:
            check_card(card)
            if "reissued_card_id" in bind:
                check_reissued(get(card_key(request.org, bind["reissued_card_id"])), bind)
        except Refused as refused:
            code = str(refused)
            name = code.lower().replace("_", "-")
            raise Problem(REFUSAL_STATUS.get(code, 409), name, REFUSALS[code]) from refused
    if card is None:
        raise broken("the operation's card is gone")
    facts = {name: card[name] for name in FACTS if name in card or name not in OPTIONAL_FACTS}
    return {"bind": bind, "card": facts}, accepted_at


def carried_out(request: Request, card: Row | None) -> datetime | None:
    """Returns when the operation was accepted that made this very bind, by the card's mark, unless it has expired."""
    mark = card.get("bound", {}) if card else {}
    names = ("account_id", "customer_id", "reissued_card_id")
    is_this = all(mark.get(name) == request.bind.get(name) for name in names)
    if mark.get("by") != request.operation_id or not is_this:
        return None
    accepted_at = datetime.fromisoformat(mark["accepted_at"])
    return accepted_at if accepted_at + RETENTION > request.now else None


def record(request: Request, accepted_at: datetime) -> tuple[Row | None, Row | None]:
    """Records the operation and returns it. Returns one with its ID that is recorded, unless it is under way."""
    operation = {
        "org_id": request.org,
        "operation_id": request.operation_id,
        "account_id": request.bind["account_id"],
        "state": "PENDING",
        "fingerprint": request.fingerprint,
        "cid": request.cid,
        "created_at": timestamp(accepted_at),
        "kind": "BIND_CARD",
        **{name: value for name, value in request.bind.items() if name in ("card_id", "reissued_card_id")},
    }
    expires_at = int((accepted_at + RETENTION).timestamp())
    row = {**operation, **operation_key(request.org, request.operation_id), "expires_at": expires_at}
    try:
        dynamodb.put_item(
            TableName=TABLE,
            Item=to_item(row),
            ConditionExpression="attribute_not_exists(pk) OR expires_at <= :now",
            ExpressionAttributeValues=to_item({":now": int(request.now.timestamp())}),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        existing = from_item(error.response["Item"])
        return None, None if is_under_way(existing, request) else existing
    return operation, None


if __name__ == "__main__":
    from bootstrap import serve

    serve(__file__)

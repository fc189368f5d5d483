"""The cases of the check: the rows in the table, the events to handle, and how AWS behaves meanwhile."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]

ORG = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11"
ACCOUNT, CUSTOMER = 4001, 7001
CARD, OLD = 1001, 1002
OTHER = "0192d1c0-0000-7000-8000-000000000002"
LONG_AGO = "2025-10-09T08:53:20.000Z"
# An operation that was accepted then has not expired yet.
RECENTLY = (datetime.now(UTC) - timedelta(days=10)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Case:
    """A sequence of events for an endpoint or a worker."""

    name: str
    rows: list[Row]
    # The process responds to each event before it gets the next one.
    events: list[Row]
    # Responds to calls in place of a service (see `Aws.override`).
    override: Callable[[str, int], tuple[int, Row] | None] = lambda _operation, _number: None
    # Rows that are written by others right before the call with this operation and number.
    between: dict[tuple[str, int], list[Row]] = field(default_factory=dict)
    # The baselines that differ in this case, as their own documentation states.
    but: tuple[str, ...] = ()


def to_item(value: Any) -> Row:
    """Converts a value to DynamoDB's JSON."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case dict():
            return {"M": {name: to_item(member) for name, member in value.items()}}
    raise TypeError(value)


def card(card_id: int = CARD, status: str = "UNBOUND", **more: Any) -> Row:
    """Returns a card's row."""
    facts = {
        "program_id": 5,
        "bulk_id": "a bulk",
        "external_id": f'ä#/"😀-{card_id}',
        "contactless_enabled": True,
        "issuing_date": "2026-01-31T00:00:00Z",
        "expiration_date": "2032-01-31T00:00:00Z",
    }
    keys = {"pk": f"{ORG}#CARD#{card_id}", "sk": "CARD"}
    return to_item({**keys, "card_id": card_id, "status": status, **facts, **more})["M"]


def plain(row: Row) -> Row:
    """Returns the same card without its optional attributes."""
    return {name: value for name, value in row.items() if name not in ("bulk_id", "external_id")}


def bound(by: str = OTHER, account: int = ACCOUNT, accepted_at: str = LONG_AGO, **more: Any) -> Row:
    """Returns the mark of a bound card."""
    mark = {"by": by, "accepted_at": accepted_at, "at": LONG_AGO, "account_id": account, "customer_id": CUSTOMER}
    return {"bound": {**mark, **more}}


def replaced(by: str, accepted_at: str = LONG_AGO) -> Row:
    """Returns the mark of a card that the new card replaces."""
    mark = {"by": by, "accepted_at": accepted_at, "at": LONG_AGO}
    return {"replaced": {**mark, "new_card_id": CARD, "previous_status": "NORMAL"}}


def operation_id(key: str) -> str:
    """Returns the ID of the operation that a key identifies for the account."""
    return str(uuid.uuid5(uuid.UUID("6f1d6c0e-3b0a-4f3c-9a55-1b1de29c0b47"), f"{ORG}\n{ACCOUNT}\nbind-card\n{key}"))


def operation(id: str, fingerprint: str = "?", **more: Any) -> Row:
    """Returns an operation's row."""
    row = {
        "pk": f"{ORG}#OP#{id}",
        "sk": "OP",
        "org_id": ORG,
        "operation_id": id,
        "account_id": ACCOUNT,
        "state": "PENDING",
        "fingerprint": fingerprint,
        "cid": "c-0",
        "created_at": LONG_AGO,
        "kind": "BIND_CARD",
        "card_id": CARD,
        "expires_at": 4_000_000_000,
    }
    return to_item({**row, **more})["M"]


def request(key: str | None = "k", body: Any = None, card_id: Any = CARD, claims: Any = None, **headers: Any) -> Row:
    """Returns the gateway's event for a bind. A header that is `None` is left out."""
    all_headers = {
        "host": "api.test",
        "content_type": "application/json",
        "x_account_id": ACCOUNT,
        "x_customer_id": CUSTOMER,
        "x_correlation_id": "c-1",
        "idempotency_key": key,
        **headers,
    }
    if claims is None:
        claims = {"tenant_id": ORG, "account_id": str(ACCOUNT), "scope": "cards:read cards:write"}
    path = f"/wallet/v2/cards/{card_id}/noname/bind"
    http = {"method": "PUT", "path": path, "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "t"}
    context = {"accountId": "0", "apiId": "check", "stage": "$default", "requestId": "r", "http": http}
    if claims:
        context["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {name.replace("_", "-"): str(value) for name, value in all_headers.items() if value is not None},
        "requestContext": context,
        "pathParameters": {"cardId": str(card_id)},
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }


def message(id: str = OTHER[:-1] + "1", reissued: int | None = None, card_id: int = CARD, **more: Any) -> Row:
    """Returns a message of the queue."""
    row = card(card_id)
    texts = ("bulk_id", "external_id", "issuing_date", "expiration_date")
    facts = {"program_id": 5, "contactless_enabled": True, **{name: row[name]["S"] for name in texts}}
    bind = {"card_id": card_id, "account_id": ACCOUNT, "customer_id": CUSTOMER}
    if reissued:
        bind["reissued_card_id"] = reissued
    instruction = {"bind": bind, "card": facts}
    head = {"version": 1, "kind": "bind-card", "org_id": ORG, "operation_id": id, "cid": "c-1", "accepted_at": LONG_AGO}
    return {**head, "instruction": instruction, **more}


def batch(*messages: Row | str, receive_count: int = 1) -> Row:
    """Returns SQS's event for these messages."""
    bodies = [body if isinstance(body, str) else json.dumps(body) for body in messages]
    return {
        "Records": [
            {
                "messageId": f"m-{position}",
                "receiptHandle": "r",
                "body": body,
                "attributes": {"ApproximateReceiveCount": str(receive_count)},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "awsRegion": "eu-central-1",
            }
            for position, body in enumerate(bodies)
        ]
    }


def error(code: str, status: int = 400, **more: Any) -> tuple[int, Row]:
    """Returns an error response of AWS."""
    return status, {"__type": f"com.amazonaws#{code}", "message": "no", **more}


def failing(operation: str, *responses: tuple[int, Row] | None) -> Callable[[str, int], tuple[int, Row] | None]:
    """Returns an override that responds to the first calls with these, and to all later ones with the last of these."""

    def override(called: str, number: int) -> tuple[int, Row] | None:
        return responses[min(number, len(responses)) - 1] if called == operation else None

    return override

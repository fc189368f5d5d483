"""Reads requests to bind a card: the instruction if it is well formed, and the error responses if it is not."""

import base64
import codecs
import hashlib
import json
import re
import uuid
from decimal import Decimal
from typing import Any

from common import CORRELATION_ID, MAX_INTEGER_ID, Row, to_json, utc_now, uuid7

MAX_BODY_BYTES = 64 * 1024
OPERATION_NAMESPACE = uuid.UUID("6f1d6c0e-3b0a-4f3c-9a55-1b1de29c0b47")
INTEGER_ID = "must be an integer from 1 to 9007199254740991"
FOREIGN = "The access token is not for this account."
STRUCTURED_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
PLACES = {"header": "The header {}", "parameter": "The parameter {}", "pointer": "The body's {}"}
UNAVAILABLE = "The service is temporarily unavailable. Repeat the request with the same Idempotency-Key."


class Problem(Exception):  # noqa: N818
    """A response other than success."""

    def __init__(self, status: int, code: str, detail: str, errors: tuple = (), cause: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors, self.cause = status, code, detail, errors, cause


class Request:
    """A bind that is well formed, and for the token's own account."""

    def __init__(self, event: Row, org: str, account: int | None, cid: str) -> None:
        self.org, self.cid, self.now = org, cid, utc_now()
        self.bind = read_bind(event, account)
        key = read_key(event["headers"])
        self.keyed = key is not None
        name = f"{org}\n{account}\nbind-card\n{key}"
        self.operation_id = str(uuid.uuid5(OPERATION_NAMESPACE, name)) if self.keyed else uuid7()
        asked = hashlib.sha256(to_json(["bind-card", self.bind]).encode()).digest()
        self.fingerprint = base64.urlsafe_b64encode(asked).rstrip(b"=").decode()


def read_bind(event: Row, account: int | None) -> Row:
    """Reads the instruction."""
    if account is None:
        raise Problem(403, "forbidden", FOREIGN)
    headers, errors = event["headers"], []
    card_id = integer_id(event.get("pathParameters", {}).get("cardId", ""))
    if card_id is None:
        errors.append(part("parameter", "cardId", INTEGER_ID))
    bind = {"card_id": card_id}
    for member, header in (("account_id", "x-account-id"), ("customer_id", "x-customer-id")):
        bind[member] = integer_id(headers.get(header, ""))
        if bind[member] is None:
            errors.append(part("header", header, INTEGER_ID if header in headers else "is required"))
    try:
        members = read_body(event)
    except Problem:
        if not errors:
            raise
        members = {}
    if "reissued_card_id" in members:
        reissued = members["reissued_card_id"]
        # Some serializers write a fraction of zero. Decimals are compared exactly, because they may have any size.
        if type(reissued) not in (int, Decimal) or not 1 <= reissued <= MAX_INTEGER_ID or reissued != int(reissued):
            errors.append(part("pointer", "/reissued_card_id", INTEGER_ID))
        elif reissued == card_id:
            detail = "must be another card than the one that is bound"
            errors.append(part("pointer", "/reissued_card_id", detail))
        else:
            bind["reissued_card_id"] = int(reissued)
    if errors:
        raise invalid(errors)
    if bind["account_id"] != account:
        raise Problem(403, "forbidden", FOREIGN)
    return bind


def read_body(event: Row) -> Row:
    """Returns the members of the body's JSON object except null ones. No body, or null, counts as an empty object."""
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if len(body) > MAX_BODY_BYTES:
        raise Problem(413, "body-too-large", f"The body must not exceed {MAX_BODY_BYTES} bytes.")
    body = body.removeprefix(codecs.BOM_UTF8)
    if not body:
        return {}
    if event["headers"].get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise invalid([part("header", "content-type", "must be application/json")])
    try:
        members = json.loads(
            body.decode(), object_pairs_hook=unique, parse_constant=refuse_constant, parse_float=Decimal
        )
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise invalid([part("pointer", "", "is not valid JSON")]) from error
    if members is None:
        return {}
    if not isinstance(members, dict):
        raise invalid([part("pointer", "", "must be a JSON object")])
    return {name: value for name, value in members.items() if value is not None}


def unique(pairs: list[tuple[str, Any]]) -> Row:
    """Returns an object's members. Raises an error if two have the same name."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has two members of one name")
    return members


def refuse_constant(name: str) -> None:
    """Refuses NaN and the infinities, which JSON does not have."""
    raise ValueError(name)


def read_key(headers: Row) -> str | None:
    """Returns the idempotency key: a structured-field string, or the same text without quotes."""
    if "idempotency-key" not in headers:
        return None
    text = headers["idempotency-key"].strip()
    if text.startswith('"'):
        structured = STRUCTURED_STRING.fullmatch(text)
        if not structured:
            raise invalid([part("header", "idempotency-key", "is not a structured-field string")])
        text = re.sub(r"\\(.)", r"\1", structured[1])
    elif re.search(r'[, "]', text):
        detail = "is neither a structured-field string nor a bare word"
        raise invalid([part("header", "idempotency-key", detail)])
    if not CORRELATION_ID.fullmatch(text):
        raise invalid([part("header", "idempotency-key", "must have 1 to 255 characters")])
    return text


def integer_id(text: str) -> int | None:
    """Returns the ID, if these are its decimal digits."""
    value = int(text) if re.fullmatch(r"[0-9]{1,40}", text) else 0
    return value if 1 <= value <= MAX_INTEGER_ID else None


def part(kind: str, name: str, detail: str) -> Row:
    """Returns an invalid part of the request."""
    return {kind: name, "detail": detail}


def invalid(errors: list[Row]) -> Problem:
    """Returns the problem for these invalid parts of the request."""
    detail = f"{len(errors)} parts of the request are invalid."
    if len(errors) == 1:
        kind, name = next(iter(errors[0].items()))
        place = PLACES[kind].format(name) if name else "The body"
        detail = f"{place} {errors[0]['detail']}."
    return Problem(400, "invalid-request", detail, tuple(errors))


def broken(cause: Any) -> Problem:
    """Returns the problem for a bug or bad data."""
    return Problem(500, "internal-error", "Internal server error.", cause=repr(cause))


def unavailable(cause: Any) -> Problem:
    """Returns the problem for a dependency that did not respond."""
    return Problem(503, "unavailable", UNAVAILABLE, cause=repr(cause))

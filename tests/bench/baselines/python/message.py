"""Reads messages of the bind-card queue. Every member is checked, because guessing could move cards."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from common import CORRELATION_ID, MAX_INTEGER_ID, OPTIONAL_FACTS, ORG, Row, timestamp

OPERATION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MIDNIGHT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T00:00:00Z")


class Broken(Exception):  # noqa: N818
    """A permanent failure: a bug, or bad data."""


class Unexpected(Exception):  # noqa: N818
    """A state that is impossible, unless it is only partly visible yet."""


def read(body: str) -> Row:
    """Returns the message, if it has the known form."""
    try:
        # Some serializers write a byte order mark before a text.
        message = json.loads(body.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise Broken("unreadable message: not JSON") from error
    try:
        known = conforms(message, MESSAGE)
    except ValueError:
        known = False
    if not known:
        raise Broken("unreadable message: not of the known form")
    # The form of times in marks and operations, which this one is compared with.
    message["accepted_at"] = timestamp(datetime.fromisoformat(message["accepted_at"]).astimezone(UTC))
    return message


def conforms(value: Any, form: Row, optional: frozenset | set = frozenset()) -> bool:
    """Returns whether the value has the form's members, and no others."""
    if not isinstance(value, dict) or not form.keys() - optional <= value.keys() <= form.keys():
        return False
    return all(form[name](member) for name, member in value.items())


def matches(pattern: re.Pattern) -> Callable[[Any], bool]:
    """Returns a function that checks whether a value is a text that matches."""
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def is_id(value: Any) -> bool:
    """Returns whether the value is an integer ID."""
    return type(value) is int and 1 <= value <= MAX_INTEGER_ID


def is_name(value: Any) -> bool:
    """Returns whether the value is a bulk's or an item's ID."""
    return isinstance(value, str) and 1 <= len(value) <= 255


def is_date(value: Any) -> bool:
    """Returns whether the value is a calendar date, written as the date-time at which it begins."""
    midnight = isinstance(value, str) and MIDNIGHT.fullmatch(value)
    return bool(midnight and date.fromisoformat(midnight[1]))


BIND = dict.fromkeys(("card_id", "account_id", "customer_id", "reissued_card_id"), is_id)
CARD = {
    "program_id": is_id,
    "bulk_id": is_name,
    "external_id": is_name,
    "contactless_enabled": lambda value: isinstance(value, bool),
    "issuing_date": is_date,
    "expiration_date": is_date,
}
INSTRUCTION = {
    "bind": lambda value: conforms(value, BIND, {"reissued_card_id"}),
    "card": lambda value: conforms(value, CARD, OPTIONAL_FACTS),
}
MESSAGE = {
    "version": lambda value: type(value) is int and value == 1,
    "kind": lambda value: value == "bind-card",
    "org_id": matches(ORG),
    "operation_id": matches(OPERATION_ID),
    "cid": matches(CORRELATION_ID),
    "accepted_at": lambda value: isinstance(value, str) and bool(datetime.fromisoformat(value).tzinfo),
    "instruction": lambda value: conforms(value, INSTRUCTION),
}

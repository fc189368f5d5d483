"""What the endpoint and the worker share: clients, rows, the rules of a bind, log lines and metrics."""

import json
import os
import random
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError

Row = dict[str, Any]

# Clients live as long as the process, and keep their connections.
CONFIG = Config(
    connect_timeout=1, read_timeout=1.5, retries={"mode": "standard", "total_max_attempts": 3}, tcp_keepalive=True
)
dynamodb = boto3.client("dynamodb", config=CONFIG)
sqs = boto3.client("sqs", config=CONFIG)

TABLE = os.environ["TABLE_NAME"]
STACK = os.environ["STACK_NAME"]
FUNCTION = os.environ["AWS_LAMBDA_FUNCTION_NAME"]

MAX_INTEGER_ID = 2**53 - 1
ORG = re.compile(r"TN-[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
CORRELATION_ID = re.compile(r"[ -~]{1,255}")

# What a card's row says from its issue on, and so may be copied into messages.
FACTS = ("program_id", "bulk_id", "external_id", "contactless_enabled", "issuing_date", "expiration_date")
OPTIONAL_FACTS = {"bulk_id", "external_id"}

# The status that a reissue leaves a card in, by the one that it had.
AFTER_REISSUE = {
    "CREATED": "REISSUED",
    "NORMAL": "REISSUED",
    "BLOCKED": "BLOCKED",
    "PENDING": "PENDING",
    "WARNING": "WARNING",
}
REFUSALS = {
    "CARD_NOT_FOUND": "The card was not found.",
    "CARD_NOT_UNBOUND": "The card is not UNBOUND.",
    "REISSUED_CARD_NOT_FOUND": "The card to be reissued was not found.",
    "REISSUED_CARD_NOT_ELIGIBLE": "The card to be reissued is in a final status.",
    "REISSUED_CARD_ALREADY_REPLACED": "The card to be reissued was already replaced.",
}

# Codes of DynamoDB's that say the request itself is wrong; every other is worth another try.
FINAL_CODES = {"ItemCollectionSizeLimitExceededException", "ValidationException", "ValidationError"}
CONFLICT_ATTEMPTS = 6
CONFLICT_WAIT = 0.02

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class Refused(Exception):  # noqa: N818
    """A bind that cannot be; its argument is the code."""


class Conflict(Exception):  # noqa: N818
    """Another transaction holds the rows, or they changed between read and write."""


def to_item(row: Row) -> Row:
    """A row as DynamoDB has it."""
    return {name: _serialize(value) for name, value in row.items()}


def from_item(item: Row) -> Row:
    """DynamoDB's row as plain values."""
    return {name: _deserialize(value) for name, value in item.items()}


def get(key: Row) -> Row | None:
    """The row of this key, read consistently."""
    item = dynamodb.get_item(TableName=TABLE, Key=to_item(key), ConsistentRead=True).get("Item")
    return from_item(item) if item else None


def card_key(org: str, card: int) -> Row:
    """Where a card's row stands."""
    return {"pk": f"{org}#CARD#{card}", "sk": "CARD"}


def operation_key(org: str, operation_id: str) -> Row:
    """Where an operation's row stands."""
    return {"pk": f"{org}#OP#{operation_id}", "sk": "OP"}


def get_operation(org: str, operation_id: str, now: datetime) -> Row | None:
    """The operation's row, unless it has expired."""
    operation = get(operation_key(org, operation_id))
    return operation if operation and operation["expires_at"] > int(now.timestamp()) else None


def check_card(card: Row | None) -> None:
    """Refuses a card that may not be bound."""
    if card is None:
        raise Refused("CARD_NOT_FOUND")
    if card["status"] != "UNBOUND" or "bound" in card:
        raise Refused("CARD_NOT_UNBOUND")


def check_reissued(card: Row | None, bind: Row) -> str:
    """The status that the bind leaves the card in that it replaces, unless it may not replace it."""
    bound = card.get("bound", {}) if card else {}
    if (bound.get("account_id"), bound.get("customer_id")) != (bind["account_id"], bind["customer_id"]):
        raise Refused("REISSUED_CARD_NOT_FOUND")
    if "replaced" in card or card["status"] == "REISSUED":
        raise Refused("REISSUED_CARD_ALREADY_REPLACED")
    if card["status"] not in AFTER_REISSUE:
        raise Refused("REISSUED_CARD_NOT_ELIGIBLE")
    return AFTER_REISSUE[card["status"]]


def retrying(attempt: Callable[[], Any]) -> Any:
    """Tries again at once, a few times, what ends in a conflict."""
    for number in range(CONFLICT_ATTEMPTS - 1):
        try:
            return attempt()
        except Conflict:
            time.sleep(CONFLICT_WAIT * 2**number * random.random())
    return attempt()


def is_final(error: ClientError) -> bool:
    """Whether the same call would fail again."""
    return error.response["Error"]["Code"] in FINAL_CODES


def trace() -> Row:
    """What makes the worker's trace a part of this invocation's."""
    header = os.environ.get("_X_AMZN_TRACE_ID")
    attributes = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    return {"MessageSystemAttributes": attributes} if header else {}


def to_json(value: Any) -> str:
    """Compact JSON; DynamoDB's numbers come as decimals, and all of ours are integers."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=int)


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)


def timestamp(at: datetime) -> str:
    """RFC 3339 with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def uuid7() -> str:
    """An ID that begins with the time (Python has none before 3.14)."""
    bits = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=bits & ~(0x3 << 62) | 2 << 62))


LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2, "ERROR": 3}
LEVEL = LEVELS.get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO"), 1)


def log(level: str, message: str, started: float, **fields: Any) -> None:
    """One JSON object a line; `None`s are left out."""
    if LEVELS[level] >= LEVEL:
        line = {"timestamp": timestamp(utc_now()), "level": level, "message": message}
        line |= {name: value for name, value in fields.items() if value is not None}
        line["duration_ms"] = int((time.perf_counter() - started) * 1000)
        sys.stdout.write(to_json(line) + "\n")


class Metrics:
    """What an invocation counts, written in CloudWatch's embedded metric format."""

    def __init__(self) -> None:
        self.counts = Counter()
        self.refused = Counter()
        self.to_event = {}

    def flush(self) -> None:
        """Writes what was counted."""
        values: Row = dict(self.counts)
        if self.to_event:
            values["AcceptanceToEvent"] = list(self.to_event.values())[:100]
        if values:
            self._write({}, values)
        for code, count in self.refused.items():
            self._write({"Code": code}, {"Refused": count})

    @staticmethod
    def _write(dimensions: Row, values: Row) -> None:
        def unit(name: str) -> str:
            return "Milliseconds" if name == "AcceptanceToEvent" else "Count"

        dimensions = {"Stack": STACK, "Function": FUNCTION, **dimensions}
        metrics = [{"Name": name, "Unit": unit(name)} for name in values]
        directive = {"Namespace": "Bindery", "Dimensions": [list(dimensions)], "Metrics": metrics}
        head = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
        sys.stdout.write(to_json({"_aws": head, **dimensions, **values}) + "\n")

"""Code that the endpoint and the worker share: clients, rows, the rules of a bind, log lines and metrics."""

import json
import os
import random
import re
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError

Row = dict[str, Any]

# Clients live as long as the process, and keep their connections open.
CONFIG = Config(
    connect_timeout=1, read_timeout=1.5, retries={"mode": "standard", "total_max_attempts": 3}, tcp_keepalive=True
)
# Milliseconds of each call that has ended, by the call's name, and their attempts beyond the first.
call_times: dict[str, list[int]] = defaultdict(list)
call_retries = Counter()


def timed(client: Any) -> Any:
    """Returns the client, which adds the times of its calls."""

    def began(model: Any, context: Row, **_: Any) -> None:
        name = f"{client.meta.service_model.service_id}.{model.name}"
        context["timed"] = name, time.perf_counter()

    def ended(context: Row, parsed: Row | None = None, **_: Any) -> None:
        name, started = context["timed"]
        call_times[name].append(round((time.perf_counter() - started) * 1000))
        call_retries["CallRetries"] += (parsed or {}).get("ResponseMetadata", {}).get("RetryAttempts", 0)

    client.meta.events.register("before-call", began)
    client.meta.events.register("after-call", ended)
    client.meta.events.register("after-call-error", ended)
    return client


dynamodb = timed(boto3.client("dynamodb", config=CONFIG))
sqs = timed(boto3.client("sqs", config=CONFIG))

TABLE = os.environ["TABLE_NAME"]
STACK = os.environ["STACK_NAME"]
FUNCTION = os.environ["AWS_LAMBDA_FUNCTION_NAME"]

MAX_INTEGER_ID = 2**53 - 1
ORG = re.compile(r"TN-[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
CORRELATION_ID = re.compile(r"[ -~]{1,255}")

# Attributes that a card has from its issue on and that never change, so they may be copied into messages.
FACTS = ("program_id", "bulk_id", "external_id", "contactless_enabled", "issuing_date", "expiration_date")
OPTIONAL_FACTS = {"bulk_id", "external_id"}

# The status of a card after it is replaced, by its status before.
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

# DynamoDB error codes for requests that are wrong in themselves. All other errors are worth a retry.
FINAL_CODES = {"ItemCollectionSizeLimitExceededException", "ValidationException", "ValidationError"}
CONFLICT_ATTEMPTS = 6
CONFLICT_WAIT = 0.02

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class Refused(Exception):  # noqa: N818
    """A bind that is refused. Its argument is the code."""


class Conflict(Exception):  # noqa: N818
    """Another transaction holds the rows, or they changed between read and write."""


def to_item(row: Row) -> Row:
    """Converts a row to DynamoDB's JSON."""
    return {name: _serialize(value) for name, value in row.items()}


def from_item(item: Row) -> Row:
    """Converts a row in DynamoDB's JSON to plain values."""
    return {name: _deserialize(value) for name, value in item.items()}


def get(key: Row) -> Row | None:
    """Returns the row with this key, read consistently."""
    item = dynamodb.get_item(TableName=TABLE, Key=to_item(key), ConsistentRead=True).get("Item")
    return from_item(item) if item else None


def card_key(org: str, card: int) -> Row:
    """Returns the key of a card's row."""
    return {"pk": f"{org}#CARD#{card}", "sk": "CARD"}


def operation_key(org: str, operation_id: str) -> Row:
    """Returns the key of an operation's row."""
    return {"pk": f"{org}#OP#{operation_id}", "sk": "OP"}


def get_operation(org: str, operation_id: str, now: datetime) -> Row | None:
    """Returns the operation's row, unless it has expired."""
    operation = get(operation_key(org, operation_id))
    return operation if operation and operation["expires_at"] > int(now.timestamp()) else None


def check_card(card: Row | None) -> None:
    """Refuses a card that may not be bound."""
    if card is None:
        raise Refused("CARD_NOT_FOUND")
    if card["status"] != "UNBOUND" or "bound" in card:
        raise Refused("CARD_NOT_UNBOUND")


def check_reissued(card: Row | None, bind: Row) -> str:
    """Returns the status of the replaced card after the bind, unless the bind may not replace it."""
    bound = card.get("bound", {}) if card else {}
    if (bound.get("account_id"), bound.get("customer_id")) != (bind["account_id"], bind["customer_id"]):
        raise Refused("REISSUED_CARD_NOT_FOUND")
    if "replaced" in card or card["status"] == "REISSUED":
        raise Refused("REISSUED_CARD_ALREADY_REPLACED")
    if card["status"] not in AFTER_REISSUE:
        raise Refused("REISSUED_CARD_NOT_ELIGIBLE")
    return AFTER_REISSUE[card["status"]]


def retrying(attempt: Callable[[], Any]) -> Any:
    """Retries an attempt that ends in a conflict, a few times after short waits."""
    for number in range(CONFLICT_ATTEMPTS - 1):
        try:
            return attempt()
        except Conflict:
            time.sleep(CONFLICT_WAIT * 2**number * random.random())
    return attempt()


def is_final(error: ClientError) -> bool:
    """Returns whether the same call would fail again."""
    return error.response["Error"]["Code"] in FINAL_CODES


def trace() -> Row:
    """Returns the attributes that make the worker's trace a part of this invocation's."""
    header = os.environ.get("_X_AMZN_TRACE_ID")
    attributes = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    return {"MessageSystemAttributes": attributes} if header else {}


def to_json(value: Any) -> str:
    """Returns compact JSON. DynamoDB's numbers are decimals, and all of ours are integers."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=int)


def utc_now() -> datetime:
    """Returns the current time."""
    return datetime.now(UTC)


def timestamp(at: datetime) -> str:
    """Formats a time as in RFC 3339, with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def uuid7() -> str:
    """Returns an ID that begins with the time. Python has such IDs only from 3.14 on."""
    bits = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=bits & ~(0x3 << 62) | 2 << 62))


LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2, "ERROR": 3}
LEVEL = LEVELS.get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO"), 1)


def log(level: str, message: str, started: float, **fields: Any) -> None:
    """Writes one JSON object on a line, without fields that are `None`."""
    if LEVELS[level] >= LEVEL:
        line = {"timestamp": timestamp(utc_now()), "level": level, "message": message}
        line |= {name: value for name, value in fields.items() if value is not None}
        line["duration_ms"] = int((time.perf_counter() - started) * 1000)
        sys.stdout.write(to_json(line) + "\n")


class Metrics:
    """The counts of an invocation, written in CloudWatch's embedded metric format."""

    def __init__(self) -> None:
        self.counts = Counter()
        self.refused = Counter()
        self.to_event = {}

    def flush(self) -> None:
        """Writes the counts."""
        values: Row = dict(self.counts + call_retries)
        if self.to_event:
            values["AcceptanceToEvent"] = list(self.to_event.values())[:100]
        times: Row = {name: times[:100] for name, times in call_times.items()}
        call_times.clear()
        call_retries.clear()
        if values or times:
            self._write({}, values, times)
        for code, count in self.refused.items():
            self._write({"Code": code}, {"Refused": count}, {})

    @staticmethod
    def _write(dimensions: Row, values: Row, times: Row) -> None:
        dimensions = {"Stack": STACK, "Function": FUNCTION, **dimensions}
        directives = []
        for namespace, members in (("Bindery", values), ("BinderyCalls", times)):
            units = {name: "Milliseconds" if isinstance(value, list) else "Count" for name, value in members.items()}
            metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
            if metrics:
                directives.append({"Namespace": namespace, "Dimensions": [list(dimensions)], "Metrics": metrics})
        head = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": directives}
        sys.stdout.write(to_json({"_aws": head, **dimensions, **values, **times}) + "\n")
